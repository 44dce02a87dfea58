// The styles editor: pick or name a style, write its two texts, save, delete (and take that back). The file is A1111's styles.csv.

import { call, get, inLine, newest, post } from './api.js';
import { same } from './diff.js';
import { button, byId, h } from './dom.js';
import { current, fieldOf, valueOf } from './forms.js';
import { toast } from './toast.js';
import { t } from './words.js';

const { easel } = window;
const parts = {};
const latest = newest(), inTurn = inLine();
let styles = [];

export function mountStyles(tab) {
  byId(`${tab}_styles_edit_button`).addEventListener('click', () => open());
  easel.applyStyles = applyStyles;
}

const complain = (error) => toast(error.info || { message: String(error) }, 'error');
const named = (name) => styles.find((style) => style.name === name);
const texts = () => ({ prompt: parts.prompt.value, negative_prompt: parts.negative.value });

async function open() {
  if (!parts.dialog) build();
  let read;
  try { read = await latest(get('styles')); } catch (error) { return void complain(error); }
  if (!read) return; // the button was pressed again
  styles = read;
  list();
  const chosen = valueOf(current(), 'styles')?.at(-1) || '';
  fill(named(chosen) ? chosen : '');
  parts.dialog.showModal();
  parts.name.focus();
}

function build() {
  const area = (id, label) => h('textarea', { id, rows: '4', 'aria-label': t(label), spellcheck: 'false', oninput: judge });
  const field = (label, control) => h('label', {}, h('span', { text: t(label) }), control);
  parts.names = h('datalist', { id: 'txt2img_edit_style_names' });
  parts.name = h('input', { type: 'text', id: 'txt2img_edit_style', list: 'txt2img_edit_style_names', autocomplete: 'off', maxlength: '200', 'aria-label': t('style_name'), oninput: onName });
  parts.prompt = area('txt2img_edit_style_prompt', 'prompt');
  parts.negative = area('txt2img_edit_style_neg_prompt', 'negative_prompt');
  parts.note = h('p', { class: 'note', role: 'status' });
  const act = (id, label, run, look = '') => h('button', { type: 'button', class: `act ${look}`, id, text: t(label), onclick: run });
  parts.save = act('txt2img_edit_style_save', 'style_save', save, 'primary');
  parts.remove = act('txt2img_edit_style_delete', 'style_delete', remove);
  parts.dialog = document.body.appendChild(h('dialog', { class: 'sheet-dialog', id: 'txt2img_edit_style_dialog', 'aria-label': t('styles_edit') },
    h('header', {}, h('h2', { text: t('styles_edit') }), button('close', t('close'), () => parts.dialog.close(), { class: 'icon-button' })),
    field('style_name', parts.name), parts.names, field('prompt', parts.prompt), field('negative_prompt', parts.negative), h('p', { class: 'help', text: t('style_help') }), parts.note,
    h('div', { class: 'row' }, parts.save, parts.remove, act('txt2img_style_copy', 'style_copy', copy, 'quiet'))));
}

function list() {
  parts.names.replaceChildren(...styles.map((style) => h('option', { value: style.name })));
}

// A known name shows its style, unless a text was typed that would be lost.
let filled = { prompt: '', negative_prompt: '' };
function onName() {
  if (named(parts.name.value) && same(texts(), filled)) fill();
  judge();
}

// Whether this still stands there: nothing was written since.
const shows = ({ name, ...said }) => parts.name.value.trim() === name && same(said, texts());

function fill(name = parts.name.value) {
  const style = named(parts.name.value = name);
  parts.prompt.value = style?.prompt || '';
  parts.negative.value = style?.negative_prompt || '';
  filled = texts();
  judge();
}

function judge() {
  const name = parts.name.value.trim(), style = named(name);
  const differs = style && (style.prompt !== parts.prompt.value || style.negative_prompt !== parts.negative.value);
  parts.save.disabled = !name || (style && !differs);
  parts.remove.disabled = !style;
  parts.note.textContent = !name ? t('style_needs_name') : !style ? t('style_is_new') : differs ? t('style_differs') : '';
}

function copy() {
  parts.prompt.value = fieldOf(current(), 'prompt').querySelector('textarea').value;
  parts.negative.value = fieldOf(current(), 'negative_prompt').querySelector('textarea').value;
  judge();
}

// The file may have been edited by hand meanwhile: what is written is the newest list with one style changed.
const write = (change) => inTurn(async () => {
  styles = await call('PUT', 'styles', change(await get('styles')));
  list();
  document.querySelectorAll('[id$="_relist_styles"]').forEach((each) => each.click());
  judge();
});

async function save() {
  const written = texts(), style = { name: parts.name.value.trim(), ...written };
  const put = (all) => (all.some((other) => other.name === style.name) ? all.map((other) => (other.name === style.name ? style : other)) : [...all, style]);
  try {
    await write(put);
    filled = written;
    parts.note.textContent = t('style_saved', { name: style.name });
  } catch (error) { parts.note.textContent = error.info?.message || String(error); }
}

async function remove() {
  const style = named(parts.name.value.trim()), place = styles.indexOf(style), written = texts();
  try {
    await write((all) => all.filter((other) => other.name !== style.name));
  } catch (error) { return void (parts.note.textContent = error.info?.message || String(error)); }
  if (shows({ name: style.name, ...written })) fill('');
  const back = (all) => (all.some((other) => other.name === style.name) ? all : [...all.slice(0, place), style, ...all.slice(place)]);
  parts.note.replaceChildren(h('span', { text: `${t('style_deleted', { name: style.name })} ` }),
    h('button', { type: 'button', class: 'act quiet', id: 'txt2img_edit_style_undo', text: t('take_back'), onclick: () => write(back).then(() => {
      if (shows({ name: '', ...filled })) fill(style.name);
    }).catch(complain) }));
}

// What Gradio puts into the three fields: the styles' texts in the prompts, no style chosen. What was typed while the server was asked is asked for again.
async function applyStyles(tab) {
  const box = (path) => fieldOf(tab, path).querySelector('textarea').value;
  const read = () => ({ prompt: box('prompt'), negative_prompt: box('negative_prompt'), styles: valueOf(tab, 'styles') || [] });
  for (let said = read(), seen; ; said = seen) {
    if (!said.styles.length) toast({ message: t('style_none_chosen') });
    const done = said.styles.length > 0 && await post('styles/apply', said).catch(complain);
    seen = read();
    if (!done) return [seen.prompt, seen.negative_prompt, seen.styles];
    if (!same(said, seen)) continue;
    toast({ message: t('style_applied', { names: said.styles.join(', ') }) });
    return [done.prompt, done.negative_prompt, []];
  }
}
