// The Models tab: cards of every model file, of which only those in sight are drawn; merger and converter beside them. Knows no engine: a click on a
// checkpoint sets the form's field.

import { get, newest, post } from './api.js';
import { button, h, icon } from './dom.js';
import { mountForms, useCheckpoint } from './model_forms.js';
import { openCard } from './model_card.js';
import { subscribe } from './store.js';
import { toast } from './toast.js';
import { t } from './words.js';

export const KINDS = ['checkpoint', 'lora', 'vae', 'embedding', 'hypernetwork', 'controlnet', 'upscaler'];
const SORTS = ['name', 'newest', 'largest', 'folder'];
const ROW = 286, LEAST = 176, GAP = 14; // a card's height and least width, in px
const kept = (() => { try { return JSON.parse(sessionStorage.getItem('easel.models')) || {}; } catch { return {}; } })();
const view = { pane: 'cards', kind: '', folder: '', sort: 'name', search: '', ...kept };
const { easel } = window;
const latest = newest();
let parts = null, models = [], found = [], drawn = '', stale = false;

export function mountModels() {
  build();
  subscribe((_, event) => { if (parts && (event.type === 'catalog' || (event.type === 'job' && event.job.kind === 'hash' && event.job.ended))) reload(); });
}

const complain = (error) => toast(error.info || { message: String(error) }, 'error');
const keep = (values) => {
  Object.assign(view, values);
  try { sessionStorage.setItem('easel.models', JSON.stringify(view)); } catch { /* storage is full or forbidden */ }
};
export const addressOf = (model, what) => `models/${what}?kind=${encodeURIComponent(model.kind)}&name=${encodeURIComponent(model.name)}`;
export const pictureOf = (model) => (model.preview ? `api/v1/${addressOf(model, 'preview')}&v=${model.preview}` : null);
export const sizeOf = (bytes) => (bytes >= 1e9 ? `${(bytes / 1e9).toFixed(2)} GB` : bytes >= 1e6 ? `${(bytes / 1e6).toFixed(0)} MB` : `${Math.max(1, Math.round(bytes / 1e3))} kB`);

function build() {
  const choose = (key) => (event) => { keep({ [key]: event.target.value }); list(); };
  parts = {
    tabs: h('div', { class: 'panes', role: 'tablist', 'aria-label': t('tab_models') }),
    search: h('input', { type: 'search', id: 'models_search', value: view.search, placeholder: t('models_search'), 'aria-label': t('models_search'), oninput: (event) => { keep({ search: event.target.value }); list(); } }),
    kinds: h('div', { class: 'kinds', role: 'group', 'aria-label': t('models_kind') }),
    folder: h('select', { 'aria-label': t('models_folder'), onchange: choose('folder') }),
    sort: h('select', { 'aria-label': t('models_sort'), onchange: choose('sort') }, ...SORTS.map((name) => h('option', { value: name, text: t(`models_sort_${name}`), selected: name === view.sort }))),
    count: h('span', { class: 'none', role: 'status' }),
    grid: h('div', { class: 'grid', id: 'models_grid', role: 'list' }),
    work: h('div', { class: 'work' }),
  };
  parts.cards = h('div', { class: 'browse' },
    h('div', { class: 'line' }, parts.search, parts.folder, parts.sort, button('again', t('refresh_checkpoints'), rescan, { class: 'icon-button', id: 'models_refresh' })),
    h('div', { class: 'line' }, parts.kinds, parts.count), parts.grid);
  document.getElementById('easel_models').replaceChildren(h('section', { class: 'models', 'aria-label': t('tab_models') }, parts.tabs, parts.cards, parts.work));
  mountForms(parts.work);
  addEventListener('scroll', place, { passive: true, capture: true });
  new ResizeObserver(() => { drawn = ''; place(); if (stale && parts.grid.offsetParent) reload(); }).observe(parts.grid);
  document.addEventListener('easel:keep', (event) => { if (event.detail === 'checkpoint') { drawn = ''; place(); } });
  show(view.pane);
  reload();
}

// `Cards`, `Merge` or `Convert`.
export function show(pane) {
  keep({ pane });
  const names = ['cards', 'merge', 'convert'];
  parts.tabs.replaceChildren(...names.map((name) => h('button', {
    type: 'button', role: 'tab', id: `models_${name}`, 'aria-selected': String(name === pane), text: t(`models_${name}`), onclick: () => { show(name); document.getElementById(`models_${name}`).focus(); },
  })));
  parts.cards.hidden = pane !== 'cards';
  parts.work.hidden = pane === 'cards';
  if (pane !== 'cards') parts.work.dispatchEvent(new CustomEvent('easel:pane', { detail: pane }));
  else { drawn = ''; place(); }
}

async function reload() {
  stale = !parts.grid.offsetParent && models.length > 0; // out of sight: when it is looked at again
  if (stale) return;
  let read;
  try { read = await latest(get('models')); } catch (error) { return complain(error); }
  if (!read) return; // it is read again already
  models = read;
  const called = (model) => [model.kind, model.folder, model.title].join('/'), alike = new Map();
  for (const model of models) alike.set(called(model), (alike.get(called(model)) || 0) + 1);
  for (const model of models) if (alike.get(called(model)) > 1) model.title = model.name.split('/').pop(); // a file and a folder, or two formats of one model
  for (const model of models) model.names = [model.name, model.folder, model.base, model.about, model.activation, ...(model.tags || []), model.hash].join(' ').toLowerCase();
  list();
}

async function rescan() {
  try { await post('checkpoints/refresh'); } catch (error) { complain(error); }
  reload();
}

// ---- which, in which order

function list() {
  const words = view.search.toLowerCase().split(/\s+/).filter(Boolean);
  const matching = models.filter((model) => words.every((word) => model.names.includes(word)));
  const counts = new Map();
  for (const model of matching) counts.set(model.kind, (counts.get(model.kind) || 0) + 1);
  const kinds = KINDS.filter((kind) => models.some((model) => model.kind === kind));
  if (!kinds.includes(view.kind)) view.kind = '';
  const chip = (kind, label, count) => h('button', { type: 'button', class: 'kind', 'data-kind': kind, 'aria-pressed': String(view.kind === kind), onclick: () => {
    keep({ kind, folder: '' });
    list();
    parts.kinds.querySelector(`[data-kind="${kind}"]`)?.focus();
  } }, h('span', { text: label }), h('span', { class: 'count', text: String(count) }));
  parts.kinds.replaceChildren(chip('', t('models_all'), matching.length), ...kinds.map((kind) => chip(kind, t(`kind_${kind}`), counts.get(kind) || 0)));
  const ofKind = matching.filter((model) => !view.kind || model.kind === view.kind);
  drawFolders(models.filter((model) => !view.kind || model.kind === view.kind));
  found = ofKind.filter((model) => !view.folder || model.folder === view.folder || model.folder?.startsWith(`${view.folder}/`));
  const by = {
    name: (a, b) => a.title.localeCompare(b.title, undefined, { numeric: true }), newest: (a, b) => b.mtime - a.mtime, largest: (a, b) => b.size - a.size,
    folder: (a, b) => (a.folder || '').localeCompare(b.folder || '') || by.name(a, b),
  };
  if (view.sort === 'name') { // a comparer made once: thousands of names in a few milliseconds
    const order = new Intl.Collator(undefined, { numeric: true });
    found.sort((a, b) => KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind) || order.compare(a.title, b.title));
  } else found.sort(by[view.sort]);
  parts.count.textContent = found.length === models.length ? '' : t('models_found', { n: found.length, m: models.length });
  drawn = '';
  place();
}

function drawFolders(among) {
  const folders = [...new Set(among.map((model) => model.folder).filter(Boolean))].sort();
  if (view.folder && !folders.some((name) => name === view.folder)) keep({ folder: '' });
  parts.folder.hidden = !folders.length;
  parts.folder.replaceChildren(h('option', { value: '', text: t('models_all_folders') }), ...folders.map((name) => h('option', { value: name, text: name, selected: name === view.folder })));
}

// ---- cards in sight

function place() {
  if (!parts || !parts.grid.offsetParent) return;
  const width = parts.grid.clientWidth, columns = Math.max(2, Math.floor((width + GAP) / (LEAST + GAP)));
  const rows = Math.ceil(found.length / columns), top = parts.grid.getBoundingClientRect().top;
  const first = Math.max(0, Math.floor(-top / ROW) - 1), last = Math.min(rows, Math.ceil((innerHeight - top) / ROW) + 1);
  const key = `${first} ${last} ${columns} ${found.length} ${width}`;
  if (key === drawn) return;
  drawn = key;
  const focus = document.activeElement?.dataset?.model;
  parts.grid.style.height = found.length ? `${rows * ROW - GAP}px` : '';
  parts.grid.style.setProperty('--columns', columns);
  const inSight = h('div', { class: 'in-sight' }, ...found.slice(first * columns, last * columns).map(card));
  inSight.style.top = `${first * ROW}px`;
  parts.grid.replaceChildren(found.length ? inSight : h('p', { class: 'none', text: t(models.length ? 'models_none_found' : 'models_none') }));
  if (focus) parts.grid.querySelector(`[data-model="${CSS.escape(focus)}"]`)?.focus();
}

function card(model) {
  const used = model.kind === 'checkpoint' && (easel.draft.checkpoint ?? easel.born.checkpoint) === model.name;
  const source = pictureOf(model);
  const face = source ? h('img', { src: source, alt: '', loading: 'lazy', decoding: 'async', draggable: 'false' })
    : h('span', { class: 'blank', 'aria-hidden': 'true', text: [...model.title][0]?.toUpperCase() || '?' });
  const facts = [t(`kind_one_${model.kind}`), baseName(model.base), sizeOf(model.size)].filter(Boolean).join(' · ');
  const open = () => openCard(model, { changed: reload });
  const act = () => (model.kind === 'checkpoint' && !model.error ? useCheckpoint(model) : open());
  return h('article', { class: `card${used ? ' used' : ''}${model.error ? ' broken' : ''}`, role: 'listitem' },
    h('button', { type: 'button', class: 'face', 'data-model': `${model.kind}/${model.name}`, title: model.error || model.name, 'aria-label': `${model.title}. ${facts}`, 'aria-pressed': model.kind === 'checkpoint' ? String(used) : undefined, onclick: act },
      face, used && h('span', { class: 'badge', text: t('models_used') }), model.error && h('span', { class: 'badge warn', text: '⚠' })),
    h('div', { class: 'text' }, h('strong', { text: model.title, title: model.name }), h('span', { class: 'facts', text: facts, title: facts }),
      h('span', { class: 'tags', text: model.error || (model.tags || []).join(', ') || model.about || model.folder || '' })),
    h('button', { type: 'button', class: 'icon-button more', 'data-model': `more/${model.kind}/${model.name}`, 'aria-label': t('models_details', { name: model.title }), title: t('models_details', { name: model.title }), onclick: open }, icon('pencil')));
}

const BASES = { sd1: 'SD 1.x', sd2: 'SD 2.x', sdxl: 'SDXL', 'sdxl-refiner': 'SDXL refiner', sd3: 'SD 3', flux: 'Flux' };
export const baseName = (base) => BASES[base] || base || '';
