// Results of Extras: the one that was chosen laid over what it was made of, with a line between the two that can be moved; thumbnails; what can be done.

import { get } from './api.js';
import { button, h } from './dom.js';
import { sendRow } from './send.js';
import { state } from './store.js';
import { t } from './words.js';

let parts, acts, shown = { job: null, requests: [], known: [], selected: null, drawn: '' };

// `actions.use(picture)`: take it as the next picture to work on.
export function mountResults(place, actions) {
  acts = actions;
  parts = {
    before: h('img', { class: 'before', alt: t('extras_before'), draggable: 'false' }),
    after: h('img', { class: 'after', alt: t('extras_after'), draggable: 'false' }),
    range: h('input', { type: 'range', min: '0', max: '100', value: '50', step: '0.1', 'aria-label': t('extras_compare'), oninput: () => slide(Number(parts.range.value)) }),
    strip: h('div', { class: 'strip', role: 'group', 'aria-label': t('thumbnails') }),
    actions: h('div', { class: 'actions', id: 'image_buttons_extras' }),
    sends: h('span', { class: 'sends' }),
    facts: h('p', { class: 'facts' }),
    line: h('pre', { class: 'infotext', id: 'html_info_extras', tabindex: '0', 'aria-label': t('infotext') }),
    empty: h('p', { class: 'none', text: t('extras_empty') }),
  };
  parts.labels = [h('span', { class: 'side left', text: t('extras_before') }), h('span', { class: 'side right', text: t('extras_after') })];
  parts.compare = h('div', { class: 'compare' }, parts.after, parts.before, h('div', { class: 'line', 'aria-hidden': 'true' }), ...parts.labels, parts.range);
  place.replaceChildren(parts.empty, parts.compare, parts.facts, parts.strip, parts.actions, parts.line);
  slide(50);
  draw();
}

function slide(at) {
  parts.compare.style.setProperty('--at', `${at}%`);
}

// The pictures of a job, those that come while it runs included.
export async function showResults(job) {
  if (shown.job !== job.id) {
    if (job.status === 'queued') return; // what the one before has made is still looked at
    shown = { job: job.id, requests: [], known: [], selected: null, drawn: '' };
    try {
      const { request, pictures } = await get(`jobs/${job.id}`);
      if (shown.job !== job.id) return;
      Object.assign(shown, { requests: request.images, known: pictures, drawn: '' }); // what came meanwhile was drawn without its original
    } catch { return; } // it is too old
  }
  const ids = new Set(shown.known.map((picture) => picture.id)); // also what came while the server was asked
  shown.known.push(...state.extras.filter((picture) => picture.job_id === job.id && !ids.has(picture.id)));
  draw();
}

const chosen = () => shown.known.find((picture) => picture.id === shown.selected) || shown.known.at(-1);

function draw() {
  const picture = chosen();
  for (const part of [parts.compare, parts.facts, parts.actions, parts.line]) part.hidden = !picture;
  parts.empty.hidden = Boolean(picture);
  parts.strip.hidden = shown.known.length < 2;
  const key = `${shown.known.map((one) => one.id)}|${picture?.id}`;
  if (key === shown.drawn) return;
  shown.drawn = key;
  parts.strip.replaceChildren(...shown.known.map((one) => h('button', {
    type: 'button', class: 'thumb', 'aria-pressed': String(one.id === picture.id), 'aria-label': one.name, title: one.name, 'data-picture': one.id,
    onclick: () => { shown.selected = one.id; draw(); parts.strip.querySelector(`[data-picture="${one.id}"]`)?.focus(); },
  }, h('img', { src: one.url, alt: '', loading: 'lazy', decoding: 'async' }))));
  if (picture) drawPicture(picture);
}

function drawPicture(picture) {
  const source = shown.requests[Number(picture.key.split('/')[0])];
  parts.after.src = picture.url;
  if (source) parts.before.src = `api/v1/images/${source.image.sha256}`;
  // What was cut or turned cannot be laid over the original.
  const like = source && Math.abs(source.image.width / source.image.height / (picture.width / picture.height) - 1) < 0.03 && picture.key.endsWith('/0');
  for (const part of [parts.before, parts.range, ...parts.labels]) part.hidden = !like;
  parts.compare.classList.toggle('alone', !like);
  parts.compare.style.setProperty('--ratio', `${picture.width} / ${picture.height}`);
  parts.compare.style.setProperty('--wide', picture.width / picture.height);
  const size = source ? `${source.image.width}×${source.image.height} → ${picture.width}×${picture.height}` : `${picture.width}×${picture.height}`;
  parts.facts.textContent = `${size} · ${picture.name}`;
  parts.line.textContent = picture.infotext;
  parts.line.hidden = !picture.infotext;
  parts.sends.replaceChildren();
  parts.actions.replaceChildren(
    button('download', t('download'), () => fetchFile(`${picture.url}?download=1`), { id: 'download_extras', text: t('download'), class: 'act' }),
    button('zip', t('extras_zip'), () => fetchFile(`api/v1/zip?ids=${shown.known.map((one) => one.id).join(',')}`), { id: 'save_zip_extras', text: t('zip'), class: 'act' }),
    button('again', t('extras_use_title'), () => acts.use(picture), { id: 'extras_use', text: t('extras_use'), class: 'act' }), parts.sends);
  offer(picture);
}

// Where else it can go: told by what its file says, which is asked when it is looked at.
async function offer(picture) {
  try {
    const [metadata, answer] = await Promise.all([get(`pictures/${picture.id}/info`), fetch(picture.url)]);
    const content = await answer.blob(), blob = new File([content], picture.name, { type: content.type });
    if (chosen()?.id === picture.id) parts.sends.replaceChildren(...sendRow({ metadata, blob, url: picture.url, id: picture.id }, (id) => `extras_send_to_${id}`, 'extras'));
  } catch { /* the file is gone: nothing to send */ }
}

function fetchFile(url) {
  const link = h('a', { href: url, download: '' });
  document.body.append(link);
  link.click();
  link.remove();
}
