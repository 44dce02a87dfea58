// Batch: many pictures with the form's values, uploaded (one job each) or in a folder of the server (one job). What A1111 calls "Append png info" takes
// what a picture says of itself. The work itself is in `batch_run.js`, fetched when Generate is pressed.

import { keptSource, mountFolders, source } from './batch_folders.js';
import { button, byId, h, icon } from './dom.js';
import { toast } from './toast.js';
import { t } from './words.js';

const PROPS = { prompt: 'prompt', negative_prompt: 'negative_prompt', seed: 'seed', cfg_scale: 'cfg_scale', sampler: 'sampler', steps: 'steps', checkpoint: 'checkpoint' };

const files = { pictures: [], masks: [] };
const SOURCES = { upload: 'img2img_batch_upload_tab', folder: 'img2img_batch_from_dir_tab' }; // A1111's ids
let parts, from = source(), working = false;

const stem = (file) => file.name.replace(/\.[^.]+$/, '').toLowerCase();
// A picture's mask: the one of its name, or the only one there is. A1111's rule.
const maskOf = (picture) => files.masks.find((mask) => stem(mask) === stem(picture)) ?? (files.masks.length === 1 ? files.masks[0] : null);

export function mountBatch() {
  const chooser = (name, folder) => h('input', { type: 'file', class: 'sr-only', id: `img2img_batch_${name}${folder ? '_folder' : ''}`, accept: 'image/*', multiple: true, webkitdirectory: folder, tabindex: '-1', 'aria-label': t(`batch_${name}`), onchange: ({ target }) => { add(name, [...target.files]); target.value = ''; } });
  const zone = (name) => {
    const inputs = [chooser(name, false), chooser(name, true)], list = h('p', { class: 'none' });
    const over = (event) => { if (event.dataTransfer?.types.includes('Files')) { event.preventDefault(); if (event.type === 'drop') add(name, [...event.dataTransfer.files]); } };
    const act = (key, run) => h('button', { type: 'button', class: 'act', text: t(key), onclick: run });
    return { list, element: h('div', { class: 'zone', ondragover: over, ondrop: over }, icon('picture'), h('strong', { text: t(`batch_${name}`) }), list, h('div', { class: 'row' }, act('batch_files', () => inputs[0].click()), act('batch_folder', () => inputs[1].click()), button('close', t('batch_none'), () => { files[name] = []; draw(); }, { class: 'icon-button' })), ...inputs) };
  };
  const props = Object.keys(PROPS).map((name) => h('label', { class: 'check' }, h('input', { type: 'checkbox', 'data-prop': name, checked: true }), h('span', { text: t(PROPS[name]) })));
  parts = { pictures: zone('pictures'), masks: zone('masks'), info: h('input', { type: 'checkbox', id: 'img2img_batch_use_png_info', onchange: draw }), status: h('p', { class: 'said', role: 'status' }), props: h('div', { class: 'knobs' }, ...props) };
  parts.folders = mountFolders();
  parts.zones = h('div', { class: 'zones' }, parts.pictures.element, parts.masks.element);
  parts.sources = h('div', { class: 'modes', role: 'tablist', id: 'img2img_batch_source', 'aria-label': t('batch_source') }, ...Object.entries(SOURCES).map(([name, id]) => h('button', { type: 'button', role: 'tab', id, 'data-source': name, text: t(`batch_from_${name}`), onclick: () => { from = name; keptSource(name); draw(); } })));
  parts.all = h('div', { class: 'batch', id: 'img2img_batch' }, parts.sources, parts.zones, parts.folders.element, h('label', { class: 'check' }, parts.info, h('span', { text: t('batch_info') })), parts.props, parts.folders.info, parts.status);
  // Before Gradio hears of it: in this mode Generate is ours.
  document.addEventListener('click', (event) => {
    if (document.body.dataset.mode !== 'batch' || !event.target.closest?.('#img2img_generate')) return;
    event.preventDefault();
    event.stopPropagation();
    (from === 'folder' ? runFolder : run)();
  }, true);
  draw();
  return parts.all;
}

function add(name, chosen) {
  files[name].push(...chosen.filter((file) => file.type.startsWith('image/')));
  draw();
}

function draw() {
  for (const name of ['pictures', 'masks']) {
    const names = files[name].map((file) => file.name);
    parts[name].list.textContent = names.length ? `${names.length}: ${names.slice(0, 3).join(', ')}${names.length > 3 ? ', …' : ''}` : t(`batch_${name}_none`);
  }
  const folder = from === 'folder';
  for (const tab of parts.sources.children) tab.setAttribute('aria-selected', String(tab.dataset.source === from));
  parts.zones.hidden = folder;
  parts.folders.element.hidden = !folder;
  if (folder && parts.all.isConnected) parts.folders.open();
  parts.props.hidden = !parts.info.checked;
  parts.folders.info.hidden = !folder || !parts.info.checked;
  parts.status.textContent = !folder && files.pictures.length ? t('batch_ready', { n: files.pictures.length }) : '';
}

const wanted = () => [...parts.props.querySelectorAll('[data-prop]')].filter((box) => box.checked).map((box) => box.dataset.prop);

async function run() {
  if (working) return;
  if (!files.pictures.length) return void toast({ message: t('batch_pictures_none') }, 'error');
  if (files.masks.length > 1 && files.pictures.some((picture) => !maskOf(picture))) return void toast({ message: t('batch_no_mask', { name: files.pictures.find((picture) => !maskOf(picture)).name }) }, 'error');
  working = true;
  try {
    const { queueAll } = await import('./batch_run.js'), done = await queueAll(files.pictures, maskOf, parts.info.checked && wanted(), (text) => { parts.status.textContent = text; });
    if (done.length) { files.pictures = files.pictures.filter((file) => !done.includes(file)); draw(); }
  } finally { working = false; }
}

async function runFolder() {
  if (working) return;
  parts.folders.clear();
  const folders = parts.folders.values();
  if (!folders.input_dir) return void parts.folders.show({ field: 'batch.input_dir', message: t('batch_no_folder') });
  working = true;
  try {
    const { queueFolder } = await import('./batch_run.js');
    (await queueFolder({ ...folders, use_png_info: parts.info.checked, png_info_props: wanted() })).forEach(parts.folders.show);
  } finally { working = false; }
}
