// The Settings tab: sections at the side, search, what differs from its default, reset, apply. What is changed and not yet applied survives a reload.

import { same } from './diff.js';
import { button, h, whenLeft } from './dom.js';
import { control } from './controls.js';
import { drawDefaults } from './form_defaults.js';
import { isDefault, loadSettings, onSettings, rereadSettings, saveSettings, settings } from './settings_store.js';
import { toast } from './toast.js';
import { t } from './words.js';

const DEFAULTS = 'defaults';
const kept = (() => { try { return JSON.parse(sessionStorage.getItem('easel.settings')) || {}; } catch { return {}; } })();
const view = { section: 'saving-images', search: '', onlyChanged: false, edits: kept, reload: false, saving: false };
const parts = {};

export function mountSettings() {
  loadSettings().then(build).catch((error) => toast(error.info || { message: String(error) }, 'error'));
  document.addEventListener('click', (event) => {
    if (parts.list && event.target.closest?.('[role="tab"]')) rereadSettings().catch(() => {}); // another page may have changed them
  });
}

function build() {
  for (const key of Object.keys(view.edits)) if (!settings.byKey.has(key)) delete view.edits[key];
  if (!settings.sections.some((section) => section.id === view.section)) view.section = settings.sections[0].id;
  parts.search = h('input', { type: 'search', id: 'settings_search', placeholder: t('settings_search'), 'aria-label': t('settings_search'), oninput: (event) => {
    view.search = event.target.value.trim().toLowerCase();
    draw();
  } });
  parts.only = h('input', { type: 'checkbox', id: 'settings_only_changed', onchange: (event) => { view.onlyChanged = event.target.checked; draw(); } });
  parts.nav = h('nav', { 'aria-label': t('settings_sections') });
  parts.list = h('div', { class: 'rows', id: 'settings_rows' });
  parts.apply = h('button', { type: 'button', class: 'act primary', id: 'settings_submit', onclick: apply });
  parts.discard = h('button', { type: 'button', class: 'act quiet', id: 'settings_discard', text: t('settings_discard'), onclick: () => { keep({}); draw(); } });
  parts.reload = h('button', { type: 'button', class: 'act', id: 'settings_restart_gradio', text: t('settings_reload'), title: t('settings_reload_title'), onclick: () => location.reload() });
  document.getElementById('settings').replaceChildren(h('section', { class: 'settings', 'aria-label': t('tab_settings') },
    h('aside', {}, parts.search, h('label', { class: 'check' }, parts.only, h('span', { text: t('settings_only_changed') })), parts.nav),
    h('div', { class: 'sheet' }, parts.list, h('footer', {}, parts.apply, parts.discard, parts.reload))));
  onSettings(() => whenLeft(parts.list, draw));
  draw();
}

function keep(edits) {
  view.edits = edits;
  try { sessionStorage.setItem('easel.settings', JSON.stringify(edits)); } catch { /* storage is full or forbidden */ }
}

const valueOf = (setting) => (setting.key in view.edits ? view.edits[setting.key] : settings.values[setting.key]);

function edit(setting, value) {
  const { [setting.key]: _, ...others } = view.edits;
  keep(!view.saving && same(value, settings.values[setting.key]) ? others : { ...others, [setting.key]: value });
  mark(setting);
  drawFooter();
}

function draw() {
  const words = view.search.split(/\s+/).filter(Boolean);
  const wide = words.length || view.onlyChanged; // then all sections are looked through
  const fits = (setting) => words.every((word) => setting.names.includes(word)) && (!view.onlyChanged || !isDefault(setting, valueOf(setting)));
  const found = settings.sections.map((section) => ({ ...section, shown: section.settings.filter(fits) }));
  drawNav(found, wide);
  if (!wide && view.section === DEFAULTS) parts.list.replaceChildren(h('h2', { text: t('defaults_title') }), drawDefaults());
  else {
    const sections = found.filter((section) => section.shown.length && (wide || section.id === view.section));
    parts.list.replaceChildren(...sections.flatMap((section) => [h('h2', { text: section.title }), ...section.shown.map(row)]));
    if (!sections.length) parts.list.replaceChildren(h('p', { class: 'none', text: t(words.length ? 'settings_none_found' : 'settings_none_changed') }));
  }
  drawFooter();
}

function drawNav(found, wide) {
  const entry = (id, title, count) => h('button', {
    type: 'button', 'data-section': id, 'aria-current': !wide && id === view.section ? 'true' : undefined, disabled: wide && !count,
    onclick: () => (wide ? document.querySelector(`#settings_rows [data-key="${found.find((section) => section.id === id).shown[0].key}"]`)?.scrollIntoView({ block: 'center' }) : open(id)),
  }, h('span', { text: title }), wide && id !== DEFAULTS ? h('span', { class: 'count', text: String(count) }) : null);
  parts.nav.replaceChildren(...found.map((section) => entry(section.id, section.title, section.shown.length)), entry(DEFAULTS, t('defaults_title'), 0));
}

function open(id) {
  view.section = id;
  draw();
  parts.nav.querySelector(`[data-section="${id}"]`)?.focus();
}

function row(setting) {
  const atTop = window.easel.server.settings.quicksettings_list.includes(setting.key);
  const box = h('div', { class: `setting of-${setting.kind}`, 'data-key': setting.key, id: atTop ? null : `setting_${setting.key}` });
  const field = control(setting, valueOf(setting), (value) => edit(setting, value));
  const shown = Array.isArray(setting.default) ? setting.default.join(', ') : setting.kind === 'checkbox' ? t(setting.default ? 'settings_on' : 'settings_off') : String(setting.default);
  box.append(h('div', { class: 'label' }, h('span', { text: setting.label }), h('code', { text: setting.key })), h('div', { class: 'field' }, field),
    h('p', { class: 'help', text: setting.help }),
    h('p', { class: 'meta' }, h('span', { class: 'default', text: t('settings_default', { value: shown || t('settings_empty') }) }),
      h('span', { class: `effect ${setting.effect.split(' ')[0]}`, text: t(`effect_${setting.effect.replace(' ', '_')}`) }),
      button('again', `${t('settings_reset')}: ${setting.label}`, () => { edit(setting, setting.default); box.replaceWith(row(setting)); },
        { text: t('settings_reset'), class: 'act quiet reset' })));
  mark(setting, box);
  return box;
}

function mark(setting, box = parts.list.querySelector(`[data-key="${setting.key}"]`)) {
  if (!box) return;
  box.classList.toggle('edited', setting.key in view.edits);
  box.classList.toggle('changed', !isDefault(setting, valueOf(setting)));
  box.classList.remove('has-error');
  box.querySelectorAll('.field-error').forEach((note) => note.remove());
}

function drawFooter() {
  const count = Object.keys(view.edits).length;
  parts.apply.textContent = count ? t('settings_apply_n', { n: count }) : t('settings_apply');
  parts.apply.disabled = parts.discard.disabled = !count;
  parts.reload.classList.toggle('wanted', view.reload);
}

async function apply() {
  const changes = view.edits;
  if (view.saving) return;
  view.saving = true;
  try {
    await saveSettings(changes);
  } catch (error) {
    return showError(error.info || { message: String(error) });
  } finally { view.saving = false; }
  view.reload ||= Object.keys(changes).some((key) => settings.byKey.get(key).effect === 'page reload');
  const since = Object.entries(view.edits).filter(([key, value]) => !same(value, changes[key]) && !same(value, settings.values[key]));
  keep(Object.fromEntries(since)); // what was edited while it was saved is not saved
  drawFooter();
  whenLeft(parts.list, draw);
  toast({ message: t('settings_saved'), hint: view.reload ? t('settings_wants_reload') : undefined });
}

function showError(error) {
  const setting = settings.byKey.get(error.field);
  if (!setting) return void toast(error, 'error');
  if (!parts.list.querySelector(`[data-key="${setting.key}"]`)) {
    Object.assign(view, { search: '', onlyChanged: false, section: settings.sections.find((section) => section.settings.includes(setting)).id });
    parts.search.value = '';
    parts.only.checked = false;
    draw();
  }
  const box = parts.list.querySelector(`[data-key="${setting.key}"]`);
  mark(setting);
  box.classList.add('has-error');
  box.append(h('p', { class: 'field-error', role: 'alert', text: [error.message, error.hint].filter(Boolean).join(' ') }));
  const input = box.querySelector('input:not([type=range]), select');
  input?.setAttribute('aria-invalid', 'true');
  input?.focus();
}
