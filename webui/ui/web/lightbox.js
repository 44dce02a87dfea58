// A picture as large as the window; arrow keys walk through the strip, R makes it again, Esc closes.

import { button, h } from './dom.js';
import { replay, replayBox } from './replay.js';
import { sendRow } from './send.js';
import { state, subscribe } from './store.js';
import { fileOf, t } from './words.js';

let box;

// `onClose(id)` gets the picture that was shown last.
export function openLightbox(id, onClose) {
  box ??= build();
  box.id = id;
  box.onClose = onClose;
  show(0);
  box.dialog.showModal();
}

function build() {
  const image = h('img', { onclick: () => dialog.close() });
  const words = h('span', {}), report = replayBox();
  const again = button('replay', t('replay_title'), () => picture() && replay(picture()), { id: 'lightbox_replay', text: t('replay'), class: 'act' });
  const send = h('div', { class: 'send', role: 'group', 'aria-label': t('send_to'), onclick: ({ target }) => { if (target.closest('button')) dialog.close(); } });
  const foot = h('div', { class: 'foot' }, report.box, h('div', { class: 'caption' }, words, again, send));
  const dialog = h('dialog', { class: 'lightbox', tabindex: -1, 'aria-label': t('enlarge') }, image, foot,
    button('left', t('previous'), () => show(-1), { class: 'round left' }), button('right', t('next'), () => show(1), { class: 'round right' }),
    button('close', t('close'), () => dialog.close(), { class: 'round close' }));
  dialog.addEventListener('keydown', (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by) { event.preventDefault(); show(by); }
    if (event.key === 'r' && !event.ctrlKey && !event.metaKey && !event.altKey) again.click();
  });
  dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener('close', () => box.onClose(box.id));
  document.body.append(dialog);
  subscribe(() => { if (dialog.open) draw(); });
  return { dialog, image, words, report, send, id: null, onClose: () => {} };
}

const picture = () => state.pictures.find((one) => one.id === box.id);

function show(by) {
  const next = state.pictures[state.pictures.findIndex((one) => one.id === box.id) + by];
  if (next) box.id = next.id;
  draw();
}

function draw() {
  const index = state.pictures.findIndex((one) => one.id === box.id), one = state.pictures[index];
  if (!one) return;
  if (box.image.getAttribute('src') !== one.url) box.image.src = one.url;
  box.image.alt = t('picture_alt', { seed: one.seed, prompt: one.infotext.split('\n')[0].slice(0, 120) });
  box.words.textContent = `${index + 1} / ${state.pictures.length} · ${one.width}×${one.height} · ${fileOf(one, state.hashing)}`;
  if (box.send.dataset.picture !== String(one.id)) box.send.replaceChildren(...sendRow({ id: one.id, url: one.url }, (target) => `lightbox_send_to_${target}`));
  box.send.dataset.picture = one.id;
  box.report.draw(one);
  if (box.dialog.open && !box.dialog.contains(document.activeElement)) box.dialog.focus(); // a button that is gone must not take the keys with it
}
