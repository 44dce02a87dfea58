// The Extras tab: pictures in, operations of the server's schema, results beside what they were made of. Loaded when the tab is first opened. Knows no
// operation by its work: which fields belong to which the server says.

import { get, inLine, newest, post } from './api.js';
import { control } from './controls.js';
import { button, byId, h, icon, whenLeft } from './dom.js';
import { fileAt } from './extras_target.js';
import { mountResults, showResults } from './extras_results.js';
import { running, state, subscribe } from './store.js';
import { toast } from './toast.js';
import { choiceName, t } from './words.js';

const MODES = ['single', 'batch', 'directory'];
const TABS = { single: 'extras_single_tab', batch: 'extras_batch_process_tab', directory: 'extras_batch_directory_tab' }; // A1111's ids
const BY = ['upscaling_resize', 'max_side_length'], TO = ['upscaling_resize_w', 'upscaling_resize_h', 'upscaling_crop'];
const kept = (() => { try { return JSON.parse(sessionStorage.getItem('easel.extras')) || {}; } catch { return {}; } })();
const draft = { mode: 'single', values: {}, pictures: [], ...kept };
const latest = newest(), inTurn = inLine();
let parts, form = null, uploading = 0, arriving = null; // how many pictures are on their way, and a promise of them

export async function mountExtras() {
  const sheet = h('link', { rel: 'stylesheet', href: 'web/extras.css' });
  await new Promise((resolve) => { sheet.onload = sheet.onerror = resolve; document.head.append(sheet); });
  build();
  subscribe((_, event) => {
    if (event.type === 'catalog') load();
    if (['job', 'progress', 'snapshot', 'picture'].includes(event.type)) follow();
  });
  await load();
  follow();
}

// Pictures sent from elsewhere (files, or promises of them), to be worked on: one, or several.
export function receive(files) {
  if (files.length > 1 && draft.mode !== 'batch') choose('batch');
  if (files.length === 1 && draft.mode === 'directory') choose('single');
  take(files);
}

const keep = () => { try { sessionStorage.setItem('easel.extras', JSON.stringify(draft)); } catch { /* storage is full or forbidden */ } };
const complain = (error) => toast(error.info || { message: String(error) }, 'error');
const addressOf = (picture) => `api/v1/images/${picture.sha256}`;

// ---- the layout

function build() {
  const file = h('input', { type: 'file', class: 'sr-only', accept: 'image/*', id: 'extras_file', 'aria-label': t('pnginfo_choose'), onchange: () => { take([...file.files]); file.value = ''; } });
  parts = {
    file,
    tabs: h('div', { class: 'panes', id: 'mode_extras', role: 'tablist', 'aria-label': t('tab_extras') }),
    image: h('img', { alt: '' }),
    invite: h('div', { class: 'invite' }, icon('download'), h('strong', { text: t('extras_drop') }), h('span', { text: t('pnginfo_choose') })),
    list: h('ul', { class: 'given' }),
    folders: h('div', { class: 'folders' }),
    operations: h('div', { class: 'operations' }),
    start: button('', t('generate'), submit, { id: 'extras_generate', class: 'act primary large', text: t('generate') }),
    stop: button('', t('interrupt'), stop, { id: 'extras_interrupt', class: 'act', text: t('interrupt'), disabled: true }),
    work: h('div', { class: 'extras-work', role: 'status' }),
    results: h('section', { id: 'extras_gallery', class: 'extras-results', 'aria-label': t('results') }),
  };
  parts.clear = button('close', t('extras_clear'), () => { draft.pictures = []; keep(); drawInput(); }, { class: 'icon-button clear', id: 'extras_clear' });
  parts.zone = h('label', { class: 'dropzone', id: 'extras_image' }, file, parts.invite, parts.image);
  parts.input = h('div', { class: 'extras-input' }, parts.zone, parts.clear, parts.list, parts.folders);
  const left = h('div', { class: 'extras-left' }, parts.tabs, parts.input, parts.operations);
  const right = h('div', { class: 'extras-right' }, h('div', { class: 'row' }, parts.start, parts.stop), parts.work, parts.results);
  const tab = h('section', { class: 'models extras', 'aria-label': t('tab_extras') }, left, right);
  const over = (event) => { if (event.dataTransfer?.types.includes('Files')) { event.preventDefault(); parts.zone.classList.add('over'); } };
  for (const type of ['dragenter', 'dragover']) tab.addEventListener(type, over);
  tab.addEventListener('dragleave', (event) => { if (!tab.contains(event.relatedTarget)) parts.zone.classList.remove('over'); });
  tab.addEventListener('drop', (event) => {
    if (!event.dataTransfer?.files.length) return;
    event.preventDefault(); // else the page would read the picture's infotext
    parts.zone.classList.remove('over');
    receive([...event.dataTransfer.files]);
  });
  byId('easel_extras').replaceChildren(tab);
  mountResults(parts.results, { use: useResult });
  choose(draft.mode);
}

function choose(mode) {
  draft.mode = MODES.includes(mode) ? mode : 'single';
  keep();
  parts.tabs.replaceChildren(...MODES.map((name) => h('button', {
    type: 'button', role: 'tab', id: TABS[name], 'aria-selected': String(name === draft.mode), text: t(`extras_${name}`),
    onclick: () => { choose(name); byId(TABS[name]).focus(); },
  })));
  drawInput();
}

// ---- what is worked on

function drawInput() {
  const { mode, pictures } = draft, one = mode === 'single' && pictures[0];
  parts.zone.hidden = mode === 'directory';
  parts.folders.hidden = mode !== 'directory';
  parts.zone.classList.toggle('small', mode === 'batch' && pictures.length > 0);
  parts.file.multiple = mode === 'batch';
  parts.image.hidden = !one;
  parts.invite.hidden = Boolean(one);
  parts.clear.hidden = mode === 'directory' || !pictures.length;
  parts.list.hidden = mode !== 'batch' || !pictures.length;
  parts.invite.querySelector('strong').textContent = uploading ? t('extras_uploading', { n: uploading }) : t(mode === 'batch' ? 'extras_drop_many' : 'extras_drop');
  if (one) { parts.image.src = addressOf(one); parts.image.alt = one.name || t('pnginfo_picture'); }
  parts.list.replaceChildren(...(mode === 'batch' ? pictures : []).map((picture, index) => h('li', { title: `${picture.name} ${picture.width}×${picture.height}` },
    h('img', { src: addressOf(picture), alt: picture.name, loading: 'lazy', decoding: 'async' }),
    button('close', t('extras_remove', { name: picture.name }), () => { draft.pictures.splice(index, 1); keep(); drawInput(); }, { class: 'icon-button' }))));
}

function take(files) {
  if (!files.length) return;
  const single = draft.mode === 'single', wanted = single ? files.slice(0, 1) : files;
  if (single) draft.pictures = [];
  const into = draft.pictures; // when that is another list, others were chosen, or none
  uploading += wanted.length;
  drawInput();
  const upload = async () => {
    for (const given of wanted) { // one after another: their order stays, the server is not flooded
      try {
        const file = await given;
        if (into === draft.pictures) into.push({ ...await post('images', file), name: file.name || '' });
      } catch (error) { complain(error); }
      uploading -= 1;
      keep();
      drawInput();
    }
  };
  arriving = Promise.all([arriving, single ? upload() : inTurn(upload)]);
}

function useResult(picture) {
  choose('single');
  take([fileAt(picture.url, picture.name)]);
}

// ---- the operations

async function load() {
  let read;
  try { read = await latest(get('extras/form')); } catch (error) { return complain(error); }
  if (!read) return; // it is read again already
  form = read;
  whenLeft(parts.operations.parentElement, draw);
}

const fieldOf = (key) => form.fields.find((field) => field.key === key);
const valueOf = (key) => (key in draft.values ? draft.values[key] : fieldOf(key).default);
const set = (key, value) => { draft.values[key] = value; keep(); };

function draw() {
  parts.rows = new Map();
  parts.operations.replaceChildren(...Object.entries(form.operations).map(([name, keys]) => operation(name, keys)));
  parts.folders.replaceChildren(...['input_dir', 'output_dir', 'show_extras_results'].map(row), h('p', { class: 'help roots', text: t('extras_roots', { roots: form.roots.join(', ') }) }));
  arrange();
}

function operation(name, keys) {
  const title = t(fieldOf(name).label), body = h('div', { class: 'body' });
  const toggle = h('input', { type: 'checkbox', id: `extras_${fieldOf(name).elem}`, checked: valueOf(name), onchange: () => { set(name, toggle.checked); body.hidden = !toggle.checked; clear(box); } });
  const box = h('section', { class: 'operation', id: `extras_${name}`, 'data-key': name, 'aria-label': title }, h('label', { class: 'switch' }, toggle, h('span', { text: title })), body);
  body.hidden = !valueOf(name);
  body.append(...keys.filter((key) => key !== 'resize_mode').map(row));
  parts.rows.set(name, box);
  if (name === 'upscale') addModes(body);
  return box;
}

function row(key) {
  const field = fieldOf(key), label = t(field.label), help = field.help && t(field.help);
  const labels = Object.fromEntries(field.choices.map((choice) => [choice, choice === '' ? t('extras_first_file') : choiceName(choice)]));
  const line = h('div', { class: `work-field of-${field.kind}`, id: `extras_${field.elem}`, 'data-key': key }, h('span', { class: 'label', text: label }),
    control({ ...field, label, labels }, valueOf(key), (value) => { set(key, value); clear(line); }), help && h('p', { class: 'help', text: help }));
  parts.rows.set(key, line);
  return line;
}

// A1111's two tabs within upscaling: a factor, or a size.
function addModes(body) {
  const tabs = h('div', { class: 'panes small', id: 'extras_resize_mode', role: 'tablist', 'aria-label': t('extras_resize_mode') },
    ...[['Scale by', 'extras_scale_by_tab'], ['Scale to', 'extras_scale_to_tab']].map(([mode, id]) => h('button', {
      type: 'button', role: 'tab', id, 'data-mode': mode, text: choiceName(mode), onclick: () => { set('resize_mode', mode); arrange(); },
    })));
  const swap = button('swap', t('extras_swap'), () => {
    const [wide, high] = [valueOf('upscaling_resize_w'), valueOf('upscaling_resize_h')];
    set('upscaling_resize_w', high);
    set('upscaling_resize_h', wide);
    draw();
    byId('upscaling_res_switch_btn').focus();
  }, { id: 'upscaling_res_switch_btn', class: 'icon-button' });
  parts.rows.get('upscaling_resize').before(tabs);
  parts.rows.get('upscaling_crop').before(h('div', { class: 'swap' }, swap));
}

function arrange() {
  const mode = valueOf('resize_mode');
  for (const tab of parts.operations.querySelectorAll('[data-mode]')) tab.setAttribute('aria-selected', String(tab.dataset.mode === mode));
  for (const key of BY) parts.rows.get(key).hidden = mode !== 'Scale by';
  for (const key of TO) parts.rows.get(key).hidden = mode !== 'Scale to';
  parts.operations.querySelector('.swap').hidden = mode !== 'Scale to';
}

// ---- the job

function clear(line) {
  line.classList.remove('has-error');
  line.querySelectorAll('.field-error').forEach((note) => note.remove());
}

function showError(error) {
  const place = parts.rows.get(error.field) || (/^images/.test(error.field || '') && parts.input);
  if (!place) return void toast(error, 'error');
  const body = place.querySelector(':scope > .body') || place;
  clear(place);
  place.classList.add('has-error');
  body.hidden = false;
  const note = h('p', { class: 'field-error', role: 'alert', text: [error.message, error.hint].filter(Boolean).join(' ') });
  if (place.classList.contains('operation')) body.prepend(note); else place.append(note);
  place.scrollIntoView({ block: 'nearest' });
}

async function submit() {
  [...parts.rows.values(), parts.input].forEach(clear);
  if (draft.mode !== 'directory' && uploading) { // what was chosen is meant
    parts.start.disabled = true;
    while (uploading) await arriving;
    parts.start.disabled = false;
  }
  const fields = form.fields.map((field) => field.key).filter((key) => key in draft.values && !['input_dir', 'output_dir', 'show_extras_results'].includes(key));
  const body = Object.fromEntries(fields.map((key) => [key, draft.values[key]]));
  if (draft.mode === 'directory') {
    for (const key of ['input_dir', 'output_dir', 'show_extras_results']) body[key] = valueOf(key);
    if (!body.input_dir.trim()) return showError({ field: 'input_dir', message: t('extras_no_folder') });
  } else {
    const chosen = draft.mode === 'single' ? draft.pictures.slice(0, 1) : draft.pictures;
    body.images = chosen.map(({ name, ...image }) => ({ image, name }));
  }
  try { await post('extras', body); } catch (error) { (error.info?.errors || [error.info || { message: String(error) }]).forEach(showError); }
}

const jobs = () => [...state.jobs.values()].filter((job) => job.kind === 'extras').sort((a, b) => a.created - b.created);
const current = () => jobs().find((job) => job.status === 'running') || jobs().at(-1);

function stop() {
  const job = jobs().find((one) => one.status === 'running') || jobs().find((one) => one.status === 'queued');
  if (job) post(`jobs/${job.id}/${job.status === 'running' ? 'interrupt' : 'cancel'}`).catch(complain);
}

let toldOf = null;
function follow() {
  const job = current(), busy = job?.status === 'running' || job?.status === 'queued';
  parts.stop.disabled = !busy;
  if (!job) return;
  const progress = state.progress?.job_id === job.id ? state.progress : null;
  const waits = job.status === 'queued' && running() && running().id !== job.id;
  const words = [job.status === 'running' && progress ? t(`phase_${progress.phase}`, { step: progress.step, steps: progress.steps }) : t(`status_${job.status}`),
    progress && progress.pictures > 1 && t('picture_n', { n: progress.picture, m: progress.pictures }), waits && t('extras_waits')].filter(Boolean);
  const fill = h('div', { class: 'row-fill' });
  fill.style.transform = `scaleX(${progress?.fraction ?? 0})`;
  parts.work.replaceChildren(...(busy ? [h('p', { text: words.join(' · ') }), h('div', { class: 'row-bar' }, fill)] : []));
  if (job.status === 'failed' && job.error && toldOf !== job.id + job.ended) {
    toldOf = job.id + job.ended;
    showError(job.error);
  }
  showResults(job);
}
