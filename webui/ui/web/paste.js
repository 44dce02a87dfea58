// From a picture or a text to the form: dropped anywhere, pasted, or read with ↙; a dialog "now → then". Knows field paths, no field by name.

import { get, newest, post } from './api.js';
import { same, wordDiff } from './diff.js';
import { button, byId, h } from './dom.js';
import { change, current, fieldOf, forms, now, onFill, pasteButton, undo, valueOf } from './forms.js';
import { showFile } from './pnginfo.js';
import { registerTarget } from './send.js';
import { state } from './store.js';
import { toast } from './toast.js';
import { t } from './words.js';

const { easel, easelPage: page } = window;

export function mountPaste() {
  registerTarget('txt2img', { label: 'send_txt2img', icon: 'paste', takes: ({ metadata }) => hasValues(metadata), send: ({ metadata, blob }) => openDiff(metadata, { blob, tab: 'txt2img' }) });
  onFill((tab, values) => {
    if ('settings' in values) drawOverrides(values.settings, tab);
    if ('script' in values) easel.showScript(values.script, tab);
  });
  document.addEventListener('paste', onPaste);
  mountDrop();
  mountPasteTab('txt2img');
}

// What a form has of this: the button ↙, and its overrides of settings.
export function mountPasteTab(tab) {
  byId(pasteButton(tab)).addEventListener('click', () => readBox(tab));
  drawOverrides(easel.draft[forms[tab].settings.key] || {}, tab);
}

// ---- where it comes from

const complain = (error) => toast(error.info ?? { message: String(error) }, 'error');
export const hasValues = (metadata) => metadata && Object.keys(metadata.values).length > 0;

const latest = newest();
// `answer`: a promise of metadata. `source`: {blob} or {url} of the picture, to be shown beside, or a function of the metadata that gives it; {tab}: the form,
// else the one that is meant now.
export async function pasteFrom(answer, source = {}) {
  const tab = current();
  try {
    const metadata = await latest(answer);
    if (metadata) await openDiff(metadata, { tab, ...typeof source === 'function' ? source(metadata) : source });
  } catch (error) { complain(error); }
}

function readBox(tab) {
  const text = fieldOf(tab, 'prompt').querySelector('textarea').value;
  const last = state.pictures.at(-1);
  if (text.trim()) pasteFrom(post('png-info', new Blob([text])), { tab });
  else pasteFrom(get('params'), (metadata) => ({ tab, url: last?.infotext === metadata.text ? last.url : null })); // params.txt, as in A1111
}

function takeFile(file) {
  if (easel.tab === 'pnginfo') showFile(file);
  else pasteFrom(post('png-info', file), { blob: file });
}

// The picture that is pasted, if not the words beside it are meant: an office program gives both.
export function pastedPicture({ clipboardData, target }) {
  const words = clipboardData?.types.includes('text/plain') && target.closest?.('textarea, input');
  return !words && [...clipboardData?.files || []].find((item) => item.type.startsWith('image/'));
}

function onPaste(event) {
  const file = pastedPicture(event);
  if (!file || event.defaultPrevented || document.querySelector('dialog[open]')) return;
  event.preventDefault();
  takeFile(file);
}

// A component with a use of its own for a file has called preventDefault before the page hears of it.
function mountDrop() {
  const veil = document.body.appendChild(h('div', { class: 'drop-veil', hidden: true }, h('p', { text: t('drop_here') })));
  const wanted = (event) => !event.defaultPrevented && event.dataTransfer?.types.includes('Files') && !document.querySelector('dialog[open]');
  for (const type of ['dragenter', 'dragover']) {
    document.addEventListener(type, (event) => {
      veil.hidden = !wanted(event);
      if (wanted(event)) { event.preventDefault(); event.dataTransfer.dropEffect = 'copy'; }
    });
  }
  document.addEventListener('dragleave', (event) => { if (!event.relatedTarget) veil.hidden = true; });
  document.addEventListener('drop', (event) => {
    veil.hidden = true;
    if (!wanted(event)) return;
    event.preventDefault();
    const file = event.dataTransfer.files[0];
    if (file) takeFile(file);
  });
}

// ---- the dialog

const empty = (value) => value === null || value === undefined || value === '' || same(value, []) || same(value, {});

// One row for each field that would change; settings are rows of their own, `settings.<key>`, with undefined for "as the server has it".
export function compare(current, values, tab) {
  const rows = [], paths = Object.keys(forms[tab]);
  let equal = 0;
  const look = (path, old, value) => { if (same(old, value)) equal++; else rows.push({ path, old, value }); };
  for (const path of paths) {
    if (!(path in values)) continue;
    if (path !== 'settings') { look(path, current[path], values[path]); continue; }
    for (const key of new Set([...Object.keys(current.settings || {}), ...Object.keys(values.settings)])) look(`settings.${key}`, current.settings?.[key], values.settings[key]);
  }
  return { rows, equal, homeless: Object.keys(values).filter((path) => !paths.includes(path) && values[path] && !empty(values[path])) };
}

// `source` may also bring a title and a summary of its own, and with `extra(dialog)` further buttons: then the dialog opens even when nothing differs.
export async function openDiff(metadata, source = {}) {
  if (!source.extra && !hasValues(metadata)) return void toast({ message: metadata.comments[0] || t('paste_nothing'), hint: t('paste_hint') }, 'error');
  const tab = source.tab ?? current(), before = await now(tab);
  const { rows, equal, homeless } = compare(before, metadata.values, tab);
  const notes = [...metadata.comments, ...(homeless.length ? [t('paste_homeless', { names: homeless.join(', ') })] : [])];
  if (!rows.length && !notes.length && !source.extra) return void toast({ message: t('paste_same') });
  const boxes = new Map(rows.map((row) => [row, h('input', { type: 'checkbox', checked: true, onchange: () => tell() })]));
  const apply = h('button', { type: 'submit', class: 'act primary' }), url = source.blob?.type.startsWith('image/') ? URL.createObjectURL(source.blob) : source.url;
  const tell = () => {
    const count = [...boxes.values()].filter((box) => box.checked).length;
    apply.textContent = t('paste_apply', { n: count });
    apply.disabled = !count;
  };
  const form = h('form', { method: 'dialog', onsubmit: () => take(tab, before, rows.filter((row) => boxes.get(row).checked)) },
    h('header', {}, url && h('img', { src: url, alt: '' }), h('div', {}, h('h2', { text: source.title ?? t('paste_title') }), h('p', { text: source.summary ?? summary(metadata, equal) })),
      button('close', t('close'), () => dialog.close(), { class: 'icon-button' })),
    h('div', { class: 'paste-body' }, notes.length > 0 && h('ul', { class: 'paste-notes', 'aria-label': t('paste_notes') }, ...notes.map((text) => h('li', { text }))),
      rows.length ? h('ul', { class: 'paste-rows' }, ...rows.map((row) => h('li', {}, h('label', {}, boxes.get(row), h('span', { class: 'name', text: labelOf(row.path, tab) }), changed(row, tab))))) : notes.length === 0 && h('p', { class: 'none', text: t('paste_same') })),
    h('footer', {}, h('button', { type: 'button', class: 'act', text: t('cancel'), onclick: () => dialog.close() }), rows.length > 0 && apply));
  const dialog = document.body.appendChild(h('dialog', { class: 'paste', id: 'easel_paste', 'aria-label': source.title ?? t('paste_title') }, form));
  if (source.extra) form.querySelector('footer').prepend(h('div', { class: 'extra' }, ...source.extra(dialog)));
  dialog.addEventListener('close', () => { dialog.remove(); if (source.blob && url) URL.revokeObjectURL(url); });
  dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
  tell();
  dialog.showModal();
  (apply.isConnected ? apply : form.querySelector('footer button')).focus();
}

const summary = (metadata, equal) => [t(`wrote_${metadata.kind}`), metadata.width ? `${metadata.width}×${metadata.height}` : '', equal ? t('paste_equal', { n: equal }) : ''].filter(Boolean).join(' · ');

export const labelOf = (path, tab = current()) => (path.startsWith('settings.') ? page.settingNames[path.slice(9)] ?? path.slice(9) : t(forms[tab][path].label));

function changed({ path, old, value }, tab) {
  if (typeof old === 'string' && typeof value === 'string' && (old + value).length > 60) {
    const tags = { same: 'span', old: 'del', new: 'ins' };
    return h('span', { class: 'words' }, ...wordDiff(old, value).map(([kind, text]) => h(tags[kind], { text })));
  }
  return h('span', { class: 'values' }, h('del', { class: empty(old ?? '') && 'nothing', text: show(path, old, tab) }), h('span', { class: 'arrow', 'aria-label': t('paste_becomes'), text: '→' }), h('ins', { text: show(path, value, tab) }));
}

function show(path, value, tab) {
  if (value === undefined) return t('as_in_settings');
  if (typeof value === 'boolean') return t(value ? 'yes' : 'no');
  if (empty(value)) return '—';
  if (value.sha256) return `${value.width}×${value.height}, ${value.sha256.slice(0, 8)}`; // a picture
  if (typeof value === 'object') return Array.isArray(value) ? value.join(', ') : JSON.stringify(value);
  const choices = window.gradio_config.components.find((component) => component.id === forms[tab][path]?.id)?.props.choices || [];
  const label = choices.find((choice) => choice[1] === value)?.[0];
  if (path === 'checkpoint' || typeof label !== 'string') return String(value);
  return label.startsWith('__i18n__') ? t(String(value)) : label; // a choice of ours has its value as its key
}

async function take(tab, before, rows) {
  await change(valuesOf(before, rows), tab);
  document.querySelector(`#tab_${tab}-button[aria-selected="false"]`)?.click();
  toast({ message: t('paste_done', { n: rows.length }), action: { label: t('undo'), act: undo } });
}

export function valuesOf(before, rows) {
  const values = {};
  for (const { path, value } of rows) {
    if (!path.startsWith('settings.')) { values[path] = value; continue; }
    values.settings ??= { ...before.settings };
    if (value === undefined) delete values.settings[path.slice(9)];
    else values.settings[path.slice(9)] = value;
  }
  return values;
}

// ---- settings that only the next request has

function drawOverrides(settings, tab) {
  const place = byId(`${tab}_override_settings`);
  if (!place) return; // not drawn yet: `mountPasteTab` does it
  const keys = Object.keys(settings || {});
  const without = (key) => ({ settings: Object.fromEntries(Object.entries(valueOf(tab, 'settings') || {}).filter(([name]) => name !== key)) });
  const chip = (key) => {
    const text = `${labelOf(`settings.${key}`)}: ${show(`settings.${key}`, settings[key], tab)}`;
    return h('li', { class: 'chip', 'data-setting': key }, h('span', { text }), button('close', t('override_remove', { text }), () => change(() => without(key), tab)));
  };
  place.classList.remove('has-error');
  place.replaceChildren(keys.length
    ? h('div', { class: 'overrides' }, h('span', { class: 'name', title: t('override_info'), text: t('override_settings') }), h('ul', {}, ...keys.map(chip))) : '');
}
