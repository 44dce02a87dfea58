// What the form begins with (`ui-config.json`): what differs now, save it as the defaults, go back to Easel's own, or put the form back.

import { call } from './api.js';
import { byId, h } from './dom.js';
import { fieldOf, forms } from './forms.js';
import { toast } from './toast.js';
import { t } from './words.js';

const { easel } = window;
const paths = Object.keys(forms.txt2img);

const own = (path) => path !== 'checkpoint' && path !== 'settings' && !path.startsWith('ext.') && path in easel.born;
const now = (path) => (path in easel.draft ? easel.draft[path] : easel.born[path]);
const differing = () => paths.filter((path) => own(path) && JSON.stringify(now(path)) !== JSON.stringify(easel.born[path]));
const shown = (value) => (Array.isArray(value) ? value.join(', ') : String(value ?? '')) || t('settings_empty');

function nameOf(path) {
  return fieldOf('txt2img', path)?.querySelector('[data-testid="block-info"]')?.textContent.trim() || path;
}

export function drawDefaults() {
  const found = differing();
  const table = h('table', { id: 'ui_defaults_review' },
    h('thead', {}, h('tr', {}, ...['defaults_field', 'defaults_old', 'defaults_now'].map((key) => h('th', { scope: 'col', text: t(key) })))),
    h('tbody', {}, ...found.map((path) => h('tr', { 'data-field': path }, h('th', { scope: 'row', text: nameOf(path) }),
      h('td', { text: shown(easel.born[path]) }), h('td', { text: shown(now(path)) })))));
  const act = (id, label, run, off = false) => h('button', { type: 'button', class: 'act', id, text: t(label), onclick: run, disabled: off });
  return h('div', { class: 'defaults' }, h('p', { text: t('defaults_text') }), found.length ? table : h('p', { class: 'none', text: t('defaults_none') }),
    h('div', { class: 'row' }, act('ui_defaults_apply', 'defaults_save', save, !found.length), act('ui_defaults_reset_form', 'defaults_reset_form', resetForm, !found.length),
      act('ui_defaults_clear', 'defaults_clear', clear)));
}

const answer = (promise, message) => promise.then(() => toast({ message: t(message) })).catch((error) => toast(error.info || { message: String(error) }, 'error'));

function save() {
  const values = Object.fromEntries(paths.filter(own).map((path) => [path, now(path)]));
  answer(call('PUT', 'defaults', values).then(() => { Object.assign(easel.born, values); byId('ui_defaults_apply')?.closest('.defaults')?.replaceWith(drawDefaults()); }), 'defaults_saved');
}

const clear = () => answer(call('DELETE', 'defaults'), 'defaults_cleared');

// The form as it begins; the prompt is part of it, so the old draft can be fetched back once.
function resetForm() {
  localStorage.setItem('easel.draft.before', localStorage.getItem('easel.draft') || '{}');
  const draft = Object.fromEntries(Object.entries(easel.draft).filter(([path]) => !own(path)));
  localStorage.setItem('easel.draft', JSON.stringify(draft));
  sessionStorage.setItem('easel.form-reset', '1');
  location.reload();
}

// After the reload: say what happened, with the way back.
export function offerOldForm() {
  if (!sessionStorage.getItem('easel.form-reset')) return;
  sessionStorage.removeItem('easel.form-reset');
  toast({ message: t('defaults_form_reset'), action: { label: t('take_back'), act: () => {
    localStorage.setItem('easel.draft', localStorage.getItem('easel.draft.before') || '{}');
    location.reload();
  } } });
}
