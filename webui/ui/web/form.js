// Around Gradio's form: errors at their fields, token counters, script panels, the buttons that depend on the running job.

import { get, post } from './api.js';
import { button, byId, h, icon } from './dom.js';
import { change, foreverJobs, running, state, subscribe, waitingJobs } from './store.js';
import { toast } from './toast.js';
import { follow, select, shown } from './viewer.js';
import { t } from './words.js';

const { easel, easelPage: page } = window;

export function mountForm() {
  easel.answered = answered;
  easel.showScript = showScript;
  easel.reuseSeed = (seed) => shown()?.seed ?? seed;
  easel.openPanel = openPanel;
  easel.enlarge = enlarge;
  easel.rescan = () => post('checkpoints/refresh').then(loadCheckpoints).catch((error) => toast(error.info, 'error'));
  showScript(easel.draft.script || '');
  nameTools();
  mountCounters();
  mountButtons();
  document.addEventListener('input', (event) => clearError(event.target.closest('.has-error')));
  if (easel.early) answered(easel.early);
}

// ---- Generate's answer

function answered(answer) {
  document.querySelectorAll('.has-error').forEach(clearError);
  if (!answer) return;
  if (answer.id) { follow(); select(null); return; }
  const first = answer.errors.map(showError).find(Boolean);
  first?.focus();
}

// Puts the message under its field and returns the control to focus; an error without a field on this page becomes a toast.
function showError(error) {
  const path = Object.keys(page.elements).find((name) => name === error.field);
  const chip = document.querySelector(`.chip[data-setting="${CSS.escape(error.field?.match(/^settings\.([^.]+)/)?.[1] ?? '')}"]`); // an override
  const block = chip ? byId('txt2img_override_settings') : path && byId(page.elements[path]);
  const control = chip ? chip.querySelector('button') : block?.querySelector('textarea, input:not([type=range]), input');
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

function showScript(script) {
  const id = `txt2img_script_${script}`;
  document.querySelectorAll('.script-panel').forEach((panel) => panel.classList.toggle('chosen', panel.id === id));
}

export async function loadCheckpoints() {
  change({ checkpoints: await get('checkpoints').catch(() => state.checkpoints) });
}

// ---- panels with a switch: hires fix, refiner

// Switched on, its fields show; switched off they stay as they are.
function openPanel(id, on) {
  const head = byId(id)?.querySelector('button.label-wrap');
  if (on && head && !head.classList.contains('open')) head.click();
}

// ✨: Gradio gave the fields of the second pass; the picture's own request is the server's.
function enlarge(answer) {
  if (!answer || !answer.hires) return void (answer && answered(answer));
  const picture = shown();
  if (!picture) return;
  document.querySelectorAll('.has-error').forEach(clearError);
  post(`pictures/${picture.id}/hires`, answer.hires).then(answered, (error) => answered({ errors: [error.info] }));
}

// Buttons whose face is a sign get a drawn icon and a name.
function nameTools() {
  const tools = {
    refresh_sd_model_checkpoint: ['again', 'refresh_checkpoints'], txt2img_res_switch_btn: ['swap', 'swap_size'],
    txt2img_style_apply: ['apply', 'style_apply'], txt2img_styles_edit_button: ['pencil', 'styles_edit'], paste: ['paste', 'paste_button'],
    txt2img_random_seed: ['dice', 'random_seed'], txt2img_reuse_seed: ['seed', 'reuse_seed'],
  };
  for (const [id, [picture, label]] of Object.entries(tools)) {
    const element = byId(id);
    element.setAttribute('aria-label', t(label));
    element.title = t(label);
    element.append(icon(picture));
  }
  for (const id of Object.values(page.elements)) { // Gradio's own names of a slider's two controls are English: the label says it
    const label = byId(id)?.querySelector('[data-testid="block-info"]')?.textContent;
    for (const control of byId(id)?.querySelectorAll('input[type=number], input[type=range]') || []) if (label) control.setAttribute('aria-label', label.trim());
  }
}

// ---- token counters

function mountCounters() {
  const counters = [['prompt', 'txt2img_token_counter'], ['negative_prompt', 'txt2img_negative_token_counter']].map(([path, id]) => {
    const text = h('span', { class: 'count', title: t('tokens_title'), text: '0/75' });
    const hint = h('span', { class: 'slip', role: 'status' });
    byId(id).replaceChildren(hint, text);
    return { area: byId(page.elements[path]).querySelector('textarea'), text, hint };
  });
  let timer = 0, asked = null, ticket = 0;
  const stepsBox = byId(page.elements.steps)?.querySelector('input[type=number]');
  const count = async () => {
    const body = { texts: counters.map(({ area }) => area.value), negative: [1] };
    if (easel.server.settings.include_styles_into_token_counters) body.styles = easel.draft.styles || [];
    const steps = Number(stepsBox?.value);
    if (Number.isInteger(steps) && steps >= 1 && steps <= 1000) body.steps = steps; // else the field itself complains
    if (JSON.stringify(body) === asked) return;
    asked = JSON.stringify(body);
    const mine = ++ticket;
    const answer = await post('tokens', body).catch(() => null);
    if (!answer) asked = null;
    if (!answer || mine !== ticket) return;
    answer.counts.forEach(({ tokens, limit, hints }, index) => {
      counters[index].text.textContent = `${tokens}/${limit}`;
      counters[index].hint.textContent = hints.length ? t(`slip_${hints[0].kind}`, { text: hints[0].text }) : '';
    });
  };
  const soon = () => { clearTimeout(timer); timer = setTimeout(count, 250); };
  for (const control of [...counters.map(({ area }) => area), stepsBox]) control?.addEventListener('input', soon);
  const keep = easel.keep;
  easel.keep = (path, value) => { keep(path, value); if (path === 'styles') soon(); }; // chosen styles count too
  easel.recount = soon; // after a field was set by a script
  soon();
}

// ---- Generate, Interrupt, Skip

function mountButtons() {
  const start = byId('txt2img_generate'), stop = byId('txt2img_interrupt'), skip = byId('txt2img_skip');
  stop.addEventListener('click', () => interrupt());
  skip.addEventListener('click', () => skipBatch());
  const menu = mountMenu(start);
  const note = byId('txt2img_generate_note');
  const end = button('infinity', t('forever_stop'), stopForever, { text: t('forever_stop'), class: 'act forever', id: 'txt2img_forever_stop' });
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

export const generate = () => byId('txt2img_generate').click();
export const interrupt = () => post('interrupt').catch((error) => toast(error.info, 'error'));
export const skipBatch = () => post('skip').catch((error) => toast(error.info, 'error'));
const stopForever = () => post('forever/stop').catch((error) => toast(error.info, 'error'));

function mountMenu(start) {
  const entry = (label, act) => h('button', { type: 'button', role: 'menuitem', text: t(label), onclick: () => { close(); act(); } });
  const forever = entry('generate_forever', () => byId('txt2img_generate_forever').click());
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

