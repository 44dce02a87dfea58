// What the form begins with (`ui-config.json`): what differs now, save it as the defaults, go back to Easel's own, or put the form back.

import { call } from './api.js';
import { byId, h } from './dom.js';
import { forms } from './forms.js';
import { toast } from './toast.js';
import { t } from './words.js';

const { easel } = window;
// Fields by their keys in the draft, `steps` and `img2img/steps`: { tab, path }. What is on the canvas and overrides of settings have no default.
const places = new Map(Object.entries(forms).flatMap(([tab, form]) => Object.entries(form).map(([path, { key }]) => [key, { tab, path }])));
const paths = [...places.keys()];

const NONE = ['checkpoint', 'settings', 'image', 'colour', 'mask', 'mode'];
const own = (key) => !NONE.includes(places.get(key)?.path) && !places.get(key)?.path.startsWith('ext.') && key in easel.born;
const now = (path) => (path in easel.draft ? easel.draft[path] : easel.born[path]);
const differing = () => paths.filter((path) => own(path) && JSON.stringify(now(path)) !== JSON.stringify(easel.born[path]));
const shown = (value) => (Array.isArray(value) ? value.join(', ') : String(value ?? '')) || t('settings_empty');

function nameOf(key) {
  const { tab, path } = places.get(key), name = t(forms[tab][path].label);
  return tab === 'txt2img' ? name : `${t(`tab_${tab}`)}: ${name}`;
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
  sessionStorage.setItem('easel.draft.before', JSON.stringify(easel.draft));
  easel.remember('easel.draft', Object.fromEntries(Object.entries(easel.draft).filter(([path]) => !own(path))));
  location.reload();
}

// After the reload: say what happened, with the way back.
export function offerOldForm() {
  const before = sessionStorage.getItem('easel.draft.before');
  if (!before) return;
  sessionStorage.removeItem('easel.draft.before');
  toast({ message: t('defaults_form_reset'), action: { label: t('take_back'), act: () => {
    easel.remember('easel.draft', JSON.parse(before));
    location.reload();
  } } });
}
