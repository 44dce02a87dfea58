// Batch over folders of the server: which fields there are, what is in them, and what the server says of them.

import { get } from './api.js';
import { h } from './dom.js';
import { t } from './words.js';

const KEY = 'easel.batch';
const NAMES = ['input_dir', 'output_dir', 'inpaint_mask_dir', 'png_info_dir'];
const read = () => { try { return JSON.parse(localStorage.getItem(KEY)) || {}; } catch { return {}; } };

// `values()` are the folders as they are typed, `show(error)` puts a message under its field, `open()` says that somebody looks.
export function mountFolders() {
  const kept = read(), roots = h('p', { class: 'help' });
  const keep = () => { try { localStorage.setItem(KEY, JSON.stringify({ ...read(), ...values() })); } catch { /* the page works without it */ } };
  const rows = Object.fromEntries(NAMES.map((name) => {
    const box = h('input', { type: 'text', spellcheck: 'false', oninput: () => { clear(); keep(); } });
    box.value = kept[name] || '';
    return [name, { box, element: h('label', { class: 'folder', id: `img2img_batch_${name}` }, h('span', { text: t(`batch_${name}`) }), box, h('p', { class: 'help', text: t(`batch_${name}_info`) })) }];
  }));
  const values = () => Object.fromEntries(NAMES.map((name) => [name, rows[name].box.value.trim()]));
  const clear = () => { for (const { element } of Object.values(rows)) { element.classList.remove('has-error'); element.querySelector('.field-error')?.remove(); } };
  const show = ({ field, message, hint }) => {
    const row = rows[field.split('.')[1]] || rows.input_dir;
    clear();
    row.element.classList.add('has-error');
    row.element.append(h('p', { class: 'field-error', role: 'alert', text: [message, hint].filter(Boolean).join(' ') }));
    row.box.focus();
  };
  // The folders that may be named are asked for when they are first of interest.
  const open = () => { if (!roots.textContent) get('extras/form').then((form) => { roots.textContent = t('extras_roots', { roots: form.roots.join(', ') }); }, () => {}); };
  return { element: h('div', { class: 'folders' }, ...NAMES.slice(0, 3).map((name) => rows[name].element), roots), info: rows.png_info_dir.element, values, show, clear, open };
}

export const keptSource = (source) => { try { localStorage.setItem(KEY, JSON.stringify({ ...read(), source })); } catch { /* as above */ } };
export const source = () => (read().source === 'folder' ? 'folder' : 'upload');
