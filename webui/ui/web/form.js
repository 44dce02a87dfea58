// Around Gradio's form: errors at their fields, token counters, script panels, the buttons that depend on the running job.

import { get, newest, post } from './api.js';
import { button, byId, h, icon } from './dom.js';
import { current, fieldOf, forms, pasteButton } from './forms.js';
import { change, foreverJobs, running, subscribe, waitingJobs } from './store.js';
import { toast } from './toast.js';
import { follow, select, shown } from './viewer.js';
import { t } from './words.js';

const { easel } = window;
const counting = []; // the counters of each form, to be asked again

export function mountForm() {
  easel.answered = answered;
  easel.showScript = showScript;
  easel.reuseSeed = (seed) => shown()?.seed ?? seed;
  easel.openPanel = openPanel;
  easel.enlarge = enlarge;
  easel.shown = () => shown()?.id ?? null;
  easel.rescan = () => post('checkpoints/refresh').then(relist, (error) => toast(error.info, 'error'));
  document.addEventListener('input', (event) => clearError(event.target.closest('.has-error')));
  const keep = easel.keep;
  easel.keep = (key, value) => { keep(key, value); if (/(^|\/)styles$/.test(key)) easel.recount(); }; // chosen styles count too
  easel.recount = () => counting.forEach((count) => count()); // after a field was set by a script
  mountTab('txt2img');
  if (easel.early) answered(...easel.early);
}

// What stands around the form of one tab, once Gradio has drawn it.
export function mountTab(tab) {
  showScript(easel.draft[forms[tab].script.key] || '', tab);
  nameTools(tab);
  mountCounters(tab);
  mountButtons(tab);
}

// ---- Generate's answer

let again = false; // a picture that the server has lost goes up again, once

function answered(answer, tab) {
  document.querySelectorAll('.has-error').forEach(clearError);
  if (!answer) return;
  again = !again && Boolean(answer.errors?.some(({ type, field }) => type === 'LostPictureError' && ['image', 'colour', 'mask'].includes(field)));
  if (answer.id) { follow(); select(null); return; }
  if (again) {
    document.dispatchEvent(new Event('easel:lost'));
    return void byId(`${tab}_generate`).click();
  }
  const first = answer.errors.map((error) => showError(error, tab)).find(Boolean);
  first?.focus();
}

// Puts the message under its field and returns the control to focus; an error without a field on this page becomes a toast.
function showError(error, tab) {
  const drawn = { image: 'canvas', colour: 'canvas', mask: 'canvas', depth: 'depth_place' }[error.field?.split('.')[0]];
  const chip = document.querySelector(`.chip[data-setting="${CSS.escape(error.field?.match(/^settings\.([^.]+)/)?.[1] ?? '')}"]`); // an override
  const block = chip ? byId(`${tab}_override_settings`) : drawn ? byId(`${tab}_${drawn}`) : fieldOf(tab, error.field);
  const control = chip ? chip.querySelector('button') : block?.querySelector('.sheet, textarea, input:not([type=range]), input');
  if (!control) return void toast(error, 'error');
  chip?.classList.add('has-error');
  const id = `error_${error.field.replaceAll('.', '_')}`;
  block.classList.add('has-error');
  control.setAttribute('aria-invalid', 'true');
  control.setAttribute('aria-describedby', id);
  block.append(h('p', { class: 'field-error', id, role: 'alert', text: [error.message, error.hint].filter(Boolean).join(' ') }));
  return control;
}

function clearError(block) {
  if (!block) return;
  block.classList.remove('has-error');
  block.querySelectorAll('.field-error').forEach((note) => note.remove());
  block.querySelectorAll('[aria-invalid]').forEach((control) => { control.removeAttribute('aria-invalid'); control.removeAttribute('aria-describedby'); });
}

// ---- scripts and checkpoints

function showScript(script, tab) {
  for (const panel of document.querySelectorAll(`.script-panel[id^="${tab}_script_"]`)) panel.classList.toggle('chosen', panel.id === `${tab}_script_${script}`);
}

const latestList = newest();
export async function loadCheckpoints() {
  const checkpoints = await latestList(get('checkpoints')).catch(() => null);
  if (checkpoints) change({ checkpoints });
}

// The list of checkpoints is read again, but not under the hand of somebody who has it open.
export function relist() {
  const box = byId('setting_sd_model_checkpoint')?.querySelector('input');
  if (box?.getAttribute('aria-expanded') === 'true') return void box.addEventListener('blur', relist, { once: true });
  byId('easel_relist_checkpoints')?.click();
  loadCheckpoints();
}

// ---- panels with a switch: hires fix, refiner

// Switched on, its fields show; switched off they stay as they are.
function openPanel(id, on) {
  const head = byId(id)?.querySelector('button.label-wrap');
  if (on && head && !head.classList.contains('open')) head.click();
}

// ✨: Gradio gave the fields of the second pass; the picture's own request is the server's.
function enlarge(answer) {
  if (!answer || !answer.hires) return void (answer && answered(answer, 'txt2img'));
  if (answer.picture === null) return;
  document.querySelectorAll('.has-error').forEach(clearError);
  post(`pictures/${answer.picture}/hires`, answer.hires).then((done) => answered(done, 'txt2img'), (error) => answered({ errors: [error.info] }, 'txt2img'));
}

// Buttons whose face is a sign get a drawn icon and a name.
function nameTools(tab) {
  const tools = {
    refresh_sd_model_checkpoint: ['again', 'refresh_checkpoints'], [`${tab}_res_switch_btn`]: ['swap', 'swap_size'],
    [`${tab}_style_apply`]: ['apply', 'style_apply'], [`${tab}_styles_edit_button`]: ['pencil', 'styles_edit'], [pasteButton(tab)]: ['paste', 'paste_button'],
    [`${tab}_random_seed`]: ['dice', 'random_seed'], [`${tab}_reuse_seed`]: ['seed', 'reuse_seed'], [`${tab}_detect_image_size_btn`]: ['ruler', 'detect_size'],
  };
  for (const [id, [picture, label]] of Object.entries(tools)) {
    const element = byId(id);
    if (!element || element.querySelector('.icon')) continue;
    element.setAttribute('aria-label', t(label));
    element.title = t(label);
    element.append(icon(picture));
  }
  for (const { element: id } of Object.values(forms[tab])) { // Gradio's own names of a slider's two controls are English: the label says it
    const label = byId(id)?.querySelector('[data-testid="block-info"]')?.textContent;
    for (const control of byId(id)?.querySelectorAll('input[type=number], input[type=range]') || []) if (label) control.setAttribute('aria-label', label.trim());
  }
}

// ---- token counters

function mountCounters(tab) {
  const counters = [['prompt', `${tab}_token_counter`], ['negative_prompt', `${tab}_negative_token_counter`]].map(([path, id]) => {
    const text = h('span', { class: 'count', title: t('tokens_title'), text: '0/75' });
    const hint = h('span', { class: 'slip', role: 'status' });
    byId(id).replaceChildren(hint, text);
    return { area: fieldOf(tab, path).querySelector('textarea'), text, hint };
  });
  let timer = 0, asked = null;
  const latest = newest();
  const stepsBox = fieldOf(tab, 'steps')?.querySelector('input[type=number]');
  const count = async () => {
    const body = { texts: counters.map(({ area }) => area.value), negative: [1] };
    if (easel.server.settings.include_styles_into_token_counters) body.styles = easel.draft[forms[tab].styles.key] || [];
    const steps = Number(stepsBox?.value);
    if (Number.isInteger(steps) && steps >= 1 && steps <= 1000) body.steps = steps; // else the field itself complains
    if (JSON.stringify(body) === asked) return;
    asked = JSON.stringify(body);
    const answer = await latest(post('tokens', body)).catch(() => { asked = null; });
    answer?.counts.forEach(({ tokens, limit, hints }, index) => {
      counters[index].text.textContent = `${tokens}/${limit}`;
      counters[index].hint.textContent = hints.length ? t(`slip_${hints[0].kind}`, { text: hints[0].text }) : '';
    });
  };
  const soon = () => { clearTimeout(timer); timer = setTimeout(count, 250); };
  for (const control of [...counters.map(({ area }) => area), stepsBox]) control?.addEventListener('input', soon);
  counting.push(soon);
  soon();
}

// ---- Generate, Interrupt, Skip

function mountButtons(tab) {
  const start = byId(`${tab}_generate`), stop = byId(`${tab}_interrupt`), skip = byId(`${tab}_skip`);
  stop.addEventListener('click', () => interrupt());
  skip.addEventListener('click', () => skipBatch());
  const menu = mountMenu(start, tab);
  const note = byId(`${tab}_generate_note`);
  const end = button('infinity', t('forever_stop'), stopForever, { text: t('forever_stop'), class: 'act forever', id: `${tab}_forever_stop` });
  note.replaceChildren(end);
  const draw = () => {
    const job = running();
    stop.disabled = skip.disabled = !job;
    const waiting = waitingJobs().length;
    if (waiting) start.dataset.queued = `(${t('plus_queued', { n: waiting })})`;
    else delete start.dataset.queued;
    start.classList.toggle('working', Boolean(job));
    end.hidden = !foreverJobs().length;
    menu.draw();
  };
  subscribe(draw);
  draw();
}

export const generate = () => byId(`${current()}_generate`).click();
export const interrupt = () => post('interrupt').catch((error) => toast(error.info, 'error'));
export const skipBatch = () => post('skip').catch((error) => toast(error.info, 'error'));
const stopForever = () => post('forever/stop').catch((error) => toast(error.info, 'error'));

function mountMenu(start, tab) {
  const entry = (label, act) => h('button', { type: 'button', role: 'menuitem', text: t(label), onclick: () => { close(); act(); } });
  const forever = entry('generate_forever', () => byId(`${tab}_generate_forever`).click());
  const stop = entry('forever_stop', stopForever);
  const menu = document.body.appendChild(h('div', { class: 'menu', role: 'menu', 'aria-label': t('menu_generate'), hidden: true }, forever, stop));
  function close() {
    if (!menu.hidden && menu.contains(document.activeElement)) start.focus();
    menu.hidden = true;
  }
  start.addEventListener('contextmenu', (event) => {
    event.preventDefault();
    menu.hidden = false;
    const { left, bottom } = start.getBoundingClientRect();
    const [x, y] = event.clientX || event.clientY ? [event.clientX, event.clientY] : [left, bottom]; // 0,0 when opened by key
    menu.style.left = `${Math.max(8, Math.min(x, innerWidth - menu.offsetWidth - 8))}px`;
    menu.style.top = `${Math.max(8, Math.min(y, innerHeight - menu.offsetHeight - 8))}px`;
    forever.focus();
  });
  menu.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') { event.stopPropagation(); close(); }
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') { event.preventDefault(); (document.activeElement === forever && !stop.disabled ? stop : forever).focus(); }
  });
  document.addEventListener('pointerdown', (event) => { if (!menu.contains(event.target)) close(); });
  return { draw: () => { stop.disabled = !foreverJobs().length; } };
}

