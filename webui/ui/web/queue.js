// The queue pill and the panel behind it: what runs, what waits (drag or buttons change the order), what ended early and can be queued again.

import { post } from './api.js';
import { button, byId, h } from './dom.js';
import { running, state, subscribe, waitingJobs } from './store.js';
import { toast } from './toast.js';
import { t } from './words.js';

let pill, panel, list, dragged = null;

export function mountQueue() {
  pill = h('button', { type: 'button', id: 'easel_queue', class: 'pill', 'aria-expanded': 'false', 'aria-controls': 'easel_queue_panel', onclick: toggle },
    h('span', { class: 'dot' }), h('span', { class: 'label' }));
  list = h('div', { class: 'jobs' });
  panel = h('aside', { id: 'easel_queue_panel', class: 'panel', role: 'dialog', 'aria-label': t('queue'), hidden: true },
    h('header', {}, h('h2', { text: t('queue') }), button('close', t('close'), toggle, { class: 'icon-button' })), list);
  byId('easel_tools').firstElementChild?.remove();
  document.body.append(panel);
  document.addEventListener('click', (event) => {
    // composedPath: a button of the list is no longer in the page when its own click redrew the list
    if (!panel.hidden && ![panel, pill].some((element) => event.composedPath().includes(element))) toggle();
  });
  subscribe((_, event) => { if (event.type !== 'preview') draw(['progress', 'working', 'hashing'].includes(event.type)); });
  draw();
  return pill;
}

export const queueIsOpen = () => panel && !panel.hidden;

export function toggle() {
  panel.hidden = !panel.hidden;
  pill.setAttribute('aria-expanded', String(!panel.hidden));
  if (!panel.hidden) { draw(); panel.querySelector('button')?.focus(); }
  else pill.focus();
}

function draw(onlyProgress = false) {
  const job = running(), waiting = waitingJobs();
  pill.classList.toggle('busy', Boolean(job));
  const label = waiting.length ? t('queue_count', { n: waiting.length }) : t(job ? 'queue_running' : 'queue_idle');
  if (pill.lastChild.textContent !== label) pill.lastChild.textContent = label;
  pill.setAttribute('aria-label', `${t('queue')}: ${label}`);
  if (panel.hidden || dragged) return;
  const done = (id) => [state.progress, state.working, state.hashing].find((item) => item?.job_id === id)?.fraction ?? 0;
  const fill = () => list.querySelectorAll('.row-fill').forEach((bar) => { bar.style.transform = `scaleX(${done(bar.dataset.job)})`; });
  if (onlyProgress) return fill();
  const focus = document.activeElement?.dataset?.key;
  const others = [...state.jobs.values()].filter((item) => item.status === 'running' && item !== job);
  const early = [...state.jobs.values()].filter((item) => ['interrupted', 'failed'].includes(item.status)).sort((a, b) => b.ended - a.ended).slice(0, 10);
  const group = (key, jobs, row) => (jobs.length ? [h('h3', { text: t(key) }), h('ul', {}, ...jobs.map(row))] : []);
  list.replaceChildren(
    ...group('queue_now', [...(job ? [job] : []), ...others], runningRow), ...group('queue_waiting', waiting, waitingRow),
    ...group('queue_ended', early, endedRow));
  fill();
  if (!job && !waiting.length && !others.length) list.prepend(h('p', { class: 'none', text: t('queue_empty') }));
  if (focus) list.querySelector(`[data-key="${focus}"]`)?.focus();
}

const act = (path, body) => post(path, body).catch((error) => toast(error.info, 'error'));
const title = (job) => (['hash', 'replay', 'merge', 'convert', 'extras', 'interrogate'].includes(job.kind) ? t(`job_${job.kind}`, { name: job.title || t('untitled') }) : job.title || t('untitled'));

function about(job, ...more) {
  const facts = [job.planned > 1 || job.pictures ? t('pictures_of', { n: job.pictures, m: Math.max(job.planned, job.pictures) }) : '', job.repeat ? t('forever_mark') : ''];
  return h('div', { class: 'what' }, h('span', { class: 'title', title: job.title, text: title(job) }),
    h('span', { class: 'facts', text: [...facts, ...more].filter(Boolean).join(' · ') }));
}

const rowButton = (name, label, job, path, props = {}) =>
  button(name, `${t(label)}: ${title(job)}`.slice(0, 90), () => act(`jobs/${job.id}/${path}`), { class: 'icon-button', 'data-key': `${path}-${job.id}`, ...props });

function runningRow(job) {
  return h('li', { class: 'job now' }, about(job), rowButton('close', 'interrupt', job, 'interrupt'), h('div', { class: 'row-bar' }, h('div', { class: 'row-fill', 'data-job': job.id })));
}

function endedRow(job) {
  const error = job.error && h('p', { class: 'error', text: [job.error.message, job.error.hint].filter(Boolean).join(' ') });
  return h('li', { class: 'job ended' }, about(job, t(`status_${job.status}`)), rowButton('again', 'requeue', job, 'requeue'), error);
}

function waitingRow(job, index, all) {
  const move = (name, label, to, off) => button(name, `${t(label)}: ${title(job)}`.slice(0, 90), () => moveTo(job.id, to), {
    class: 'icon-button', 'data-key': `${name}-${job.id}`, disabled: off,
  });
  const row = h('li', { class: 'job waiting', draggable: 'true', 'data-job': job.id, title: t('queue_drag') }, h('span', { class: 'grip', 'aria-hidden': 'true' }),
    about(job), move('up', 'move_up', all[index - 1]?.id, index === 0),
    move('down', 'move_down', all[index + 2]?.id ?? null, index === all.length - 1), rowButton('close', 'cancel', job, 'cancel'));
  row.addEventListener('dragstart', (event) => {
    dragged = job.id;
    event.dataTransfer.setData('text/plain', job.id);
    event.dataTransfer.effectAllowed = 'move';
    row.classList.add('dragged');
  });
  row.addEventListener('dragover', (event) => { if (dragged) { event.preventDefault(); markDrop(row, event); } });
  row.addEventListener('dragleave', () => row.classList.remove('drop-before', 'drop-after'));
  row.addEventListener('drop', (event) => {
    event.preventDefault();
    const before = dropsBefore(row, event) ? job.id : all[index + 1]?.id ?? null;
    if (dragged && dragged !== before) moveTo(dragged, before);
  });
  row.addEventListener('dragend', () => { dragged = null; draw(); });
  return row;
}

function dropsBefore(row, event) {
  const { top, height } = row.getBoundingClientRect();
  return event.clientY < top + height / 2;
}

function markDrop(row, event) {
  row.classList.toggle('drop-before', dropsBefore(row, event));
  row.classList.toggle('drop-after', !dropsBefore(row, event));
}

function moveTo(id, before) {
  act(`jobs/${id}/move`, { before });
}
