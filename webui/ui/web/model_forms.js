// Merger and converter: two forms drawn from the server's schema. What was typed survives a reload; errors stand at their fields; the job's progress
// stands under the button.

import { get, newest, post } from './api.js';
import { control } from './controls.js';
import { h, whenLeft } from './dom.js';
import { change } from './forms.js';
import { state, subscribe } from './store.js';
import { toast } from './toast.js';
import { choiceName, t } from './words.js';

const PREFIX = { merge: 'modelmerger', convert: 'modelconvert' }; // the first is A1111's
const USES = { 'No interpolation': ['primary_model_name'], 'Weighted sum': ['primary_model_name', 'secondary_model_name'], 'Add difference': ['primary_model_name', 'secondary_model_name', 'tertiary_model_name'] };
const MODELS = ['primary_model_name', 'secondary_model_name', 'tertiary_model_name'];
const RARE = ['blocks', 'base', 'discard_weights', 'config_source', 'save_metadata', 'add_merge_recipe', 'copy_metadata_fields', 'metadata_json'];
const complain = (error) => toast(error.info || { message: String(error) }, 'error');
const kept = (() => { try { return JSON.parse(sessionStorage.getItem('easel.modelwork')) || {}; } catch { return {}; } })();
const values = { merge: {}, convert: {}, ...kept };
const latest = newest();
let box, pane = null, forms = null, parts = {};

export async function useCheckpoint(model) {
  await change({ checkpoint: model.name });
  toast({ message: t('models_now_used', { name: model.title }) });
}

export function mountForms(place) {
  box = place;
  box.addEventListener('easel:pane', ({ detail }) => { pane = detail; if (forms) draw(); load(); });
  subscribe((_, event) => { if (pane && ['working', 'job', 'snapshot', 'hashing'].includes(event.type)) drawWork(); if (pane && event.type === 'catalog') load(); });
}

// The lists are read again each time: files come and go.
async function load() {
  let read;
  try { read = await latest(get('models/forms')); } catch (error) { return complain(error); }
  if (!read) return; // it is read again already
  forms = read;
  whenLeft(box, draw);
}

const valueOf = (field) => (field.key in values[pane] ? values[pane][field.key] : field.default);
const set = (key, value, form = pane) => {
  values[form][key] = value;
  try { sessionStorage.setItem('easel.modelwork', JSON.stringify(values)); } catch { /* storage is full or forbidden */ }
};

function draw() {
  const open = box.querySelector('details')?.open;
  const fields = forms[pane].map((field) => ({ ...field, label: t(field.label), help: field.help && t(field.help) }));
  parts = { rows: new Map(), work: h('div', { class: 'progress-of-work', id: `${PREFIX[pane]}_result`, role: 'status' }) };
  const rare = fields.filter((field) => pane === 'merge' && RARE.includes(field.key)), usual = fields.filter((field) => !rare.includes(field));
  // novalidate: 0.33 lies between two steps of the slider and is as good, and what is wrong the server says at its field, in words
  box.replaceChildren(h('form', { class: 'work-form', novalidate: true, onsubmit: (event) => { event.preventDefault(); submit(); } },
    h('p', { class: 'lead', text: t(`${pane}_lead`) }), ...usual.flatMap(row),
    rare.length ? h('details', { open }, h('summary', { text: t('merge_more') }), ...rare.flatMap(row),
      h('button', { type: 'button', class: 'act', id: 'modelmerger_read_metadata', text: t('merge_read_metadata'), onclick: readMetadata })) : null,
    h('div', { class: 'row' }, h('button', { type: 'submit', class: 'act primary', id: `${PREFIX[pane]}_${pane}`, text: t(`models_${pane}`) })), parts.work));
  follow();
  drawWork();
}

function row(field) {
  const labels = Object.fromEntries(field.choices.map((choice) => [choice, choice === '' ? '—' : choiceName(choice)]));
  const line = h('div', { class: `work-field of-${field.kind}`, id: `${PREFIX[pane]}_${field.elem || field.key}`, 'data-key': field.key },
    h('span', { class: 'label', text: field.label }),
    control({ ...field, labels, lines: field.lines }, valueOf(field), (value) => { set(field.key, value); clear(line); follow(); }),
    field.help && h('p', { class: 'help', text: field.help }));
  parts.rows.set(field.key, line);
  return [line];
}

// Fields that this method does not use are out of the way; what they say stays.
function follow() {
  if (pane !== 'merge') return;
  const method = values.merge.interp_method ?? 'Weighted sum';
  for (const key of MODELS) parts.rows.get(key).hidden = !USES[method].includes(key);
  for (const key of ['multiplier', 'blocks', 'base']) parts.rows.get(key).hidden = method === 'No interpolation';
  let note = box.querySelector('#modelmerger_interp_description');
  if (!note) {
    note = h('p', { class: 'help', id: 'modelmerger_interp_description' });
    parts.rows.get('interp_method').append(note);
  }
  note.textContent = t(`interp_${method.split(' ')[0].toLowerCase()}`);
}

function clear(line) {
  line.classList.remove('has-error');
  line.querySelectorAll('.field-error').forEach((note) => note.remove());
}

function showError(error) {
  const line = parts.rows.get(error.field);
  if (!line) return void toast(error, 'error');
  line.hidden = false;
  const fold = line.closest('details');
  if (fold) fold.open = true;
  line.classList.add('has-error');
  line.append(h('p', { class: 'field-error', role: 'alert', text: [error.message, error.hint].filter(Boolean).join(' ') }));
  line.querySelector('input, select, textarea')?.focus();
}

async function submit() {
  parts.rows.forEach(clear);
  const mine = pane;
  const known = new Set(forms[mine].map((field) => field.key));
  const body = Object.fromEntries(Object.entries(values[mine]).filter(([key]) => known.has(key)));
  try {
    const { output } = await post(`models/${mine}`, body);
    toast({ message: t('work_queued', { name: output }) });
  } catch (error) {
    (error.info?.errors || [error.info || { message: String(error) }]).forEach(mine === pane ? showError : (one) => toast(one, 'error'));
  }
}

async function readMetadata() {
  const asked = () => JSON.stringify([...MODELS, 'metadata_json'].map((key) => values.merge[key])), before = asked();
  const names = MODELS.map((key) => values.merge[key]).filter(Boolean);
  if (!names.length) return showError({ field: 'primary_model_name', message: t('merge_choose_first') });
  try {
    const found = await get(`models/metadata?${names.map((name) => `names=${encodeURIComponent(name)}`).join('&')}`);
    if (asked() !== before) return; // other models were chosen since, or something was written there
    set('metadata_json', JSON.stringify(found, null, 2), 'merge');
    whenLeft(box, draw);
  } catch (error) { complain(error); }
}

// ---- the job

function drawWork() {
  if (!parts.work) return;
  const jobs = [...state.jobs.values()].filter((job) => job.kind === pane).sort((a, b) => b.created - a.created).slice(0, 4);
  parts.work.replaceChildren(...jobs.map((job) => {
    const running = job.status === 'running';
    const fraction = state.working?.job_id === job.id ? state.working.fraction : 0;
    const fill = h('div', { class: 'row-fill' });
    fill.style.transform = `scaleX(${fraction})`;
    const made = job.status === 'done' && job.title.endsWith('.safetensors');
    return h('div', { class: `work-job ${job.status}` }, h('span', { class: 'title', text: job.title }),
      h('span', { class: 'facts', text: running ? `${Math.round(fraction * 100)} %` : t(`status_${job.status}`) }),
      running && h('button', { type: 'button', class: 'act', text: t('interrupt'), onclick: () => post(`jobs/${job.id}/interrupt`).catch(complain) }),
      job.status === 'queued' && h('button', { type: 'button', class: 'act', text: t('cancel'), onclick: () => post(`jobs/${job.id}/cancel`).catch(complain) }),
      made && h('button', { type: 'button', class: 'act', text: t('models_use'), onclick: () => useCheckpoint({ name: job.title, title: job.title.replace(/\.safetensors$/, '') }) }),
      running && h('div', { class: 'row-bar' }, fill), job.error && h('p', { class: 'error', text: [job.error.message, job.error.hint].filter(Boolean).join(' ') }));
  }));
}
