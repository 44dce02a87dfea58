// The PNG Info tab: a picture, what its file says about how it was made, and where that can be sent.

import { newest, post } from './api.js';
import { button, byId, copyText, h, icon, present } from './dom.js';
import { sendRow } from './send.js';
import { toast } from './toast.js';
import { t } from './words.js';

const latest = newest();
let parts, url = null;
const ready = present('easel_pnginfo').then(mount); // the tab is drawn when it is first opened

function mount() {
  const file = h('input', { type: 'file', class: 'sr-only', accept: 'image/*,.txt,.json', 'aria-label': t('pnginfo_choose'), onchange: () => { if (file.files[0]) showFile(file.files[0]); file.value = ''; } });
  parts = {
    image: h('img', { alt: '', hidden: true }),
    invite: h('div', { class: 'invite' }, icon('download'), h('strong', { text: t('pnginfo_drop') }), h('span', { text: t('pnginfo_choose') })),
    facts: h('div', { class: 'facts', 'aria-live': 'polite' }, h('p', { class: 'none', text: t('pnginfo_empty') })),
  };
  const zone = h('label', { class: 'dropzone', id: 'pnginfo_image' }, file, parts.invite, parts.image);
  byId('easel_pnginfo').replaceChildren(h('div', { class: 'pnginfo' }, zone, parts.facts));
}

// Read a file (picture or text) and show what it says.
export async function showFile(file) {
  try {
    const metadata = await latest(ready.then(() => post('png-info', file)));
    if (!metadata) return; // another was chosen meanwhile
    if (url) URL.revokeObjectURL(url);
    url = metadata.width ? URL.createObjectURL(file) : null;
    parts.image.hidden = !url;
    parts.invite.hidden = Boolean(url);
    if (url) parts.image.src = url;
    parts.image.alt = file.name || t('pnginfo_picture');
    draw(metadata, file);
  } catch (error) {
    toast(error.info ?? { message: String(error) }, 'error');
  }
}

function draw(metadata, file) {
  const { kind, text, comments, chunks, width, height } = metadata;
  const size = [file.name, width ? `${width}×${height}` : '', `${Math.max(1, Math.round(file.size / 1024)).toLocaleString(easel.locale)} kB`].filter(Boolean).join(' · ');
  const others = Object.entries(chunks).filter(([name, value]) => value !== text && name !== 'parameters');
  const raw = text ? details(t('pnginfo_raw'), text, { id: 'pnginfo_generation_info' }) : null;
  const copy = () => { raw.open = true; copyText(raw.querySelector('pre')).then(() => toast({ message: t('copied') })); };
  parts.facts.replaceChildren(...[
    h('header', {}, h('h2', { text: t(`wrote_${kind}`) }), h('p', { text: size })),
    h('div', { class: 'actions send' }, ...sendRow({ metadata, blob: file }), raw && button('copy', t('copy'), copy, { text: t('copy'), class: 'act' })),
    comments.length > 0 && h('ul', { class: 'paste-notes' }, ...comments.map((comment) => h('li', { text: comment }))),
    ...table(metadata),
    raw, ...others.map(([name, value]) => details(name, pretty(value))),
  ].filter(Boolean));
}

const { easel } = window;
const details = (name, text, props = {}) => h('details', props, h('summary', { text: name }), h('pre', { class: 'infotext', tabindex: '0', text }));

function pretty(value) {
  try { return JSON.stringify(JSON.parse(value), null, 2); } catch { return value; }
}

// Prompts, then the fields that the line itself names: the dictionary also holds what A1111 takes for granted.
function table({ fields, text }) {
  const rows = new Map();
  for (const [key, value] of Object.entries(fields)) {
    const pair = key.match(/^(.*)-([12])$/), name = pair && !text.includes(`${key}:`) ? pair[1] : key;
    if (['Prompt', 'Negative prompt'].includes(key) || !text.includes(`${name}:`)) continue;
    rows.set(name, rows.has(name) ? `${rows.get(name)}×${value}` : String(value));
  }
  const prompts = [['prompt', fields.Prompt], ['negative_prompt', fields['Negative prompt']]].filter(([, value]) => value);
  return [...prompts.map(([key, value]) => h('section', {}, h('h3', { text: t(key) }), h('p', { class: 'prompt-text', text: value }))),
    rows.size > 0 && h('dl', {}, ...[...rows].map(([name, value]) => h('div', {}, h('dt', { text: name }), h('dd', { text: value }))))];
}
