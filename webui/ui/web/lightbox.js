// A picture as large as the window; arrow keys walk through the strip, Esc closes.

import { button, h } from './dom.js';
import { state } from './store.js';
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
  const caption = h('div', { class: 'caption' });
  const dialog = h('dialog', { class: 'lightbox', 'aria-label': t('enlarge') }, image, caption,
    button('left', t('previous'), () => show(-1), { class: 'left' }), button('right', t('next'), () => show(1), { class: 'right' }),
    button('close', t('close'), () => dialog.close(), { class: 'close' }));
  dialog.addEventListener('keydown', (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by) { event.preventDefault(); show(by); }
  });
  dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener('close', () => box.onClose(box.id));
  document.body.append(dialog);
  return { dialog, image, caption, id: null, onClose: () => {} };
}

function show(by) {
  const index = state.pictures.findIndex((picture) => picture.id === box.id);
  const next = Math.min(state.pictures.length - 1, Math.max(0, index + by));
  const picture = state.pictures[next];
  if (!picture) return;
  box.id = picture.id;
  box.image.src = picture.url;
  box.image.alt = t('picture_alt', { seed: picture.seed, prompt: picture.infotext.split('\n')[0].slice(0, 120) });
  box.caption.textContent = `${next + 1} / ${state.pictures.length} · ${picture.width}×${picture.height} · ${fileOf(picture, state.hashing)}`;
}
