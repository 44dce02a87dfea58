// The right side of the tab: what the running job looks like, the pictures that are finished, and what can be done with them.

import { ApiError, get, post } from './api.js';
import { button, byId, copyText, h, present } from './dom.js';
import { forms } from './forms.js';
import { openLightbox } from './lightbox.js';
import { pageSettings } from './page_settings.js';
import { pasteFrom } from './paste.js';
import { replay, replayBox, verdict } from './replay.js';
import { sendRow } from './send.js';
import { running, state, subscribe } from './store.js';
import { fileOf, t, timeLeft } from './words.js';
import { toast } from './toast.js';

const { easel } = window;
const view = { selected: null, following: true, failed: null }; // `selected`: id of a picture, or null for the newest thing
let parts;

export const shown = () => state.pictures.find((picture) => picture.id === view.selected) || state.pictures.at(-1) || null;

export function follow() {
  view.following = true;
  view.failed = null;
}

export function select(id) {
  view.selected = id;
  view.following = id === null || id === state.pictures.at(-1)?.id && !running();
  draw();
}

// Build the elements once; from then on only their contents change.
export function mountViewer() {
  const action = (name, id, act) => button(name, t(`${name}_title`), act, { id, text: t(name), class: 'act' });
  parts = {
    empty: h('div', { class: 'empty' }),
    picture: h('img', { class: 'picture', draggable: 'false' }),
    partial: h('span', { class: 'badge', text: t('partial') }),
    fail: h('div', { class: 'fail', role: 'alert' }),
    bar: h('div', { class: 'bar' }, h('div', { class: 'fill' })),
    text: h('div', { class: 'progress-text' }),
    say: h('div', { class: 'sr-only', 'aria-live': 'polite', role: 'status' }),
    strip: h('div', { class: 'strip', role: 'group', 'aria-label': t('thumbnails') }),
    info: h('pre', { class: 'infotext', tabindex: '0', 'aria-label': t('infotext') }),
  };
  parts.big = h('button', { type: 'button', class: 'big', 'aria-label': t('enlarge'), onclick: () => shown() && pageSettings.js_modal_lightbox !== false && openLightbox(shown().id, select) }, parts.picture);
  parts.progress = h('div', { class: 'progress', role: 'progressbar', 'aria-label': t('queue_running'), 'aria-valuemin': '0', 'aria-valuemax': '100' }, parts.bar);
  parts.stage = h('div', { class: 'stage' }, parts.empty, parts.big, parts.partial, parts.fail);
  parts.actions = h('div', { class: 'actions', id: 'image_buttons_txt2img' },
    action('replay', 'replay_txt2img', again), action('save', 'save_txt2img', save), action('zip', 'save_zip_txt2img', zip), action('download', 'download_txt2img', download),
    parts.sparkle = action('sparkle', 'txt2img_upscale', () => byId('txt2img_upscale_fields')?.click()),
    button('seed', t('reuse_seed'), () => byId(`${easel.making}_reuse_seed`)?.click(), { id: 'viewer_reuse_seed', text: t('seed'), class: 'act' }));
  parts.send = h('div', { class: 'actions send', role: 'group', 'aria-label': t('send_to') });
  parts.replay = replayBox();
  parts.about = h('div', { class: 'about', id: 'html_info_txt2img' },
    h('header', {}, h('span', { text: t('infotext') }),
      button('paste', t('paste_shown'), () => shown() && pasteFrom(get(`pictures/${shown().id}/info`), { url: shown().url }), { class: 'act quiet', text: t('to_form') }),
      button('copy', t('copy'), copyInfotext, { class: 'act quiet', text: t('copy') })), parts.info);
  parts.all = h('section', { id: 'txt2img_gallery', class: 'viewer', 'aria-label': t('results') },
    parts.stage, parts.progress, parts.text, parts.strip, parts.actions, parts.send, parts.replay.box, parts.about, parts.say);
  place('txt2img');
  document.addEventListener('easel:tab', ({ detail: tab }) => { if (forms[tab]) present(`${tab}_gallery_container`).then(() => place(tab)); });
  subscribe(update);
  draw();
}

// There is one viewer: what was made is there in whichever tab one works. A1111's ids are those of the tab it stands in.
function place(tab) {
  if (tab !== easel.making) return;
  const before = parts.all.id.split('_')[0];
  for (const each of [parts.all, ...parts.all.querySelectorAll(`[id*="${before}"]`)]) if (before !== tab) each.id = each.id.replace(before, tab);
  byId(`${tab}_gallery_container`).replaceChildren(parts.all);
  parts.sparkle.hidden = tab !== 'txt2img'; // A1111 has it there, and its fields are there
}

function update(_, event) {
  if (event.type === 'job') noteJob(event.job);
  if (event.type === 'snapshot') view.failed = null;
  if (event.type === 'picture') announce(t('say_finished', countOf(event.picture)));
  if (event.type === 'picture' && view.following) view.selected = null;
  if (event.type === 'progress') noteProgress(event);
  if (event.type === 'replay') noteReplay(event.report);
  draw();
}

function countOf(picture) {
  const job = state.jobs.get(picture.job_id);
  const n = state.pictures.filter((item) => item.job_id === picture.job_id).length;
  return { n, m: Math.max(n, job ? job.planned : n) };
}

function noteJob(job) {
  if (!job.lane.startsWith('device')) return;
  if (job.status === 'running') {
    if (view.failed?.id !== job.id || job.started !== view.failed?.started) view.failed = null;
    if (job.pictures === 0) announce(t('say_started'));
  }
  if (job.status === 'failed') {
    view.failed = job;
    announce(t('say_failed', { message: job.error ? job.error.message : '' }));
  }
  if (job.status === 'interrupted') announce(t('say_interrupted'));
}

let saidQuarter = 0;
function noteProgress({ fraction }) {
  const quarter = Math.floor(fraction * 4);
  if (quarter > saidQuarter && quarter < 4) announce(t('say_percent', { n: quarter * 25 })); // not every step: a screen reader would never stop
  saidQuarter = quarter;
}

function announce(text) {
  if (parts) parts.say.textContent = text;
}

function draw() {
  if (!parts) return;
  const job = running();
  const live = job && view.following && state.preview && state.preview.job_id === job.id ? state.preview : null;
  const picture = shown();
  drawStage(job, live, picture);
  drawProgress(job, picture);
  drawStrip(job, picture, Boolean(live));
  parts.actions.hidden = parts.send.hidden = parts.about.hidden = !picture;
  drawSend(picture);
  parts.replay.draw(picture);
  if (picture && parts.info.textContent !== picture.infotext) parts.info.textContent = picture.infotext;
}

let sent = null;
function drawSend(picture) {
  if (!picture || sent === picture.id) return;
  sent = picture.id;
  const { id, url } = picture;
  parts.send.replaceChildren(...sendRow({ id, url }, (target) => `${easel.making}_send_to_${target}`));
}

function drawStage(job, live, picture) {
  const failed = view.failed && !job ? view.failed : null;
  parts.stage.classList.toggle('working', Boolean(job));
  parts.big.hidden = !(live || picture) || Boolean(failed);
  parts.big.disabled = Boolean(live);
  parts.fail.hidden = !failed;
  parts.empty.hidden = Boolean(live || picture || failed);
  parts.partial.hidden = Boolean(live || failed) || !picture || !picture.partial;
  parts.stage.classList.toggle('live', Boolean(live));
  if (failed) drawFailure(failed);
  if (!parts.empty.hidden) drawEmpty();
  if (parts.big.hidden) return;
  const url = live ? live.url : picture.url;
  if (parts.picture.getAttribute('src') !== url) parts.picture.src = url;
  parts.picture.alt = live ? t('preview_alt') : t('picture_alt', { seed: picture.seed, prompt: picture.infotext.split('\n')[0].slice(0, 120) });
  const size = live || picture;
  parts.picture.style.setProperty('--ratio', `${size.width} / ${size.height}`);
}

let failureShown = null;
function drawFailure(job) {
  if (failureShown === job && parts.fail.childElementCount) return;
  failureShown = job;
  const retry = () => post(`jobs/${job.id}/requeue`).then(() => select(null)).catch(complain);
  parts.fail.replaceChildren(h('strong', { text: t('job_failed') }), h('p', { text: job.error ? job.error.message : '' }),
    job.error && job.error.hint ? h('p', { class: 'hint', text: job.error.hint }) : '',
    h('div', { class: 'row' }, button('again', t('requeue'), retry, { text: t('requeue'), class: 'act' }),
      button('close', t('dismiss'), () => { view.failed = null; draw(); }, { text: t('dismiss'), class: 'act quiet' })));
}

let emptyKind = null;
function drawEmpty() {
  const kind = state.checkpoints && !state.checkpoints.length ? 'no_checkpoint' : 'empty';
  if (kind === emptyKind) return;
  emptyKind = kind;
  const art = h('div', { class: 'art', 'aria-hidden': 'true' }, h('i'), h('i'), h('i'));
  parts.empty.replaceChildren(art, h('strong', { text: t(`${kind}_title`) }), h('p', { text: t(`${kind}_text`) }));
  if (kind === 'no_checkpoint') {
    parts.empty.append(h('code', { text: window.easelPage.checkpointFolder }),
      button('again', t('read_again'), () => byId('refresh_sd_model_checkpoint')?.click(), { text: t('read_again'), class: 'act' }));
  }
}

function drawProgress(job, picture) {
  const progress = job && state.progress && state.progress.job_id === job.id ? state.progress : null;
  const percent = progress ? Math.round(progress.fraction * 100) : 0;
  parts.progress.classList.toggle('on', Boolean(job));
  parts.progress.classList.toggle('unsure', Boolean(job) && (!progress || progress.phase === 'loading'));
  parts.progress.setAttribute('aria-valuenow', percent);
  parts.bar.firstChild.style.transform = `scaleX(${percent / 100})`;
  document.title = job && pageSettings.show_progress_in_title !== false ? t('page_title_running', { n: percent }) : 'Easel';
  if (!job) return void (parts.text.textContent = picture ? `${picture.width} × ${picture.height} · ${fileOf(picture, state.hashing)}` : '');
  const words = [progress ? t(`phase_${progress.phase}`, { step: progress.step, steps: progress.steps }) : t('phase_starting')];
  if (progress && progress.pictures > 1) words.push(t('picture_n', { n: progress.picture, m: progress.pictures }));
  if (progress && progress.eta !== null) words.push(timeLeft(progress.eta));
  if (progress?.note) words.push(progress.note);
  const text = words.join(' · ');
  if (parts.text.textContent !== text) parts.text.textContent = text;
}

let stripKey = '';
function drawStrip(job, picture, live) {
  parts.strip.hidden = state.pictures.length + (job ? 1 : 0) < 2;
  const key = `${state.pictures.map((item) => item.id)}|${Boolean(job)}`;
  if (key !== stripKey) {
    stripKey = key;
    const focused = document.activeElement?.dataset?.picture;
    parts.strip.replaceChildren(...state.pictures.map(thumbnail), ...(job ? [liveThumbnail()] : []));
    if (view.following) parts.strip.scrollLeft = parts.strip.scrollWidth;
    if (focused) parts.strip.querySelector(`[data-picture="${focused}"]`)?.focus();
  }
  for (const item of parts.strip.children) {
    const current = item.dataset.picture === (live || (job && view.following) ? 'live' : String(picture?.id));
    item.setAttribute('aria-pressed', String(current));
  }
  const image = parts.strip.querySelector('[data-picture="live"] img');
  if (image && state.preview) image.src = state.preview.url;
  if (image) image.hidden = !state.preview;
}

function thumbnail(picture, index, all) {
  const first = index > 0 && all[index - 1].job_id !== picture.job_id;
  const label = t('thumbnail', { n: index + 1, seed: picture.seed });
  return h('button', {
    type: 'button', class: first ? 'thumb first' : 'thumb', 'data-picture': picture.id, 'aria-label': label, title: label, onclick: () => select(picture.id),
    ondblclick: () => openLightbox(picture.id, select),
  }, h('img', { src: picture.url, alt: '', loading: 'lazy', decoding: 'async' }));
}

function liveThumbnail() {
  return h('button', {
    type: 'button', class: 'thumb live', 'data-picture': 'live', 'aria-label': t('thumbnail_live'), title: t('thumbnail_live'),
    onclick: () => { follow(); select(null); },
  }, h('img', { alt: '', hidden: true }), h('span', { class: 'dot' }));
}

const complain = (error) => toast(error instanceof ApiError ? error.info : { message: String(error) }, 'error');

async function save() {
  const picture = shown();
  if (!picture) return;
  try {
    const all = pageSettings.save_selected_only === false ? (await get(`jobs/${picture.job_id}`)).pictures : [picture];
    let path = '';
    for (const one of all) ({ path } = await post(`pictures/${one.id}/save`));
    toast({ message: all.length > 1 ? t('saved_all', { n: all.length, path }) : t('saved_to', { path }) });
  } catch (error) { complain(error); }
}

function again() {
  const picture = shown();
  if (!picture) return;
  select(picture.id); // its report comes here
  replay(picture);
}

function noteReplay(report) {
  toast({ message: verdict(report), action: shown()?.id === report.picture_id ? null : { label: t('show'), act: () => select(report.picture_id) } });
}

function fetchFile(url) {
  const link = h('a', { href: url, download: '' });
  document.body.append(link);
  link.click();
  link.remove();
}

async function zip() {
  const picture = shown();
  if (!picture) return;
  try {
    const { pictures } = await get(`jobs/${picture.job_id}`); // all of the job, also those the strip has dropped
    fetchFile(`api/v1/zip?ids=${pictures.map((item) => item.id).join(',')}`);
  } catch (error) { complain(error); }
}

function download() {
  const picture = shown();
  if (picture) fetchFile(`${picture.url}?download=1`);
}

async function copyInfotext() {
  await copyText(parts.info);
  toast({ message: t('copied') });
}
