// One control for one setting, as its schema says. `changed(value)` hears every change; nothing is corrected here, the server judges.

import { button, h, setRange } from './dom.js';
import { t } from './words.js';

export function control(setting, value, changed) {
  const make = setting.multiple ? names : { checkbox, dropdown, slider, number }[setting.kind] || text;
  return make(setting, value, changed);
}

function checkbox(setting, value, changed) {
  return h('input', { type: 'checkbox', 'aria-label': setting.label, checked: value, onchange: (event) => changed(event.target.checked) });
}

function dropdown(setting, value, changed) {
  const choices = setting.choices.includes(value) ? setting.choices : [value, ...setting.choices];
  const box = h('select', { 'aria-label': setting.label, onchange: () => changed(box.value) },
    ...choices.map((choice) => h('option', { value: choice, text: setting.labels?.[choice] || choice, selected: choice === value })));
  return box;
}

function text(setting, value, changed) {
  if (setting.lines > 1) {
    const area = h('textarea', { 'aria-label': setting.label, rows: String(setting.lines), spellcheck: 'false', oninput: () => changed(area.value) });
    area.value = value;
    return area;
  }
  return h('input', { type: 'text', 'aria-label': setting.label, value, spellcheck: 'false', oninput: (event) => changed(event.target.value) });
}

const numberOf = (box) => (box.value === '' ? null : Number(box.value));

function number(setting, value, changed) {
  return h('input', { type: 'number', 'aria-label': setting.label, value, step: setting.step || 'any', oninput: (event) => changed(numberOf(event.target)) });
}

function slider(setting, value, changed) {
  const { minimum: min, maximum: max, step, label } = setting;
  const box = h('input', { type: 'number', 'aria-label': label, min, max, step, value, oninput: () => { setRange(range, box.value); changed(numberOf(box)); } });
  const range = h('input', { type: 'range', 'aria-label': label, min, max, step, oninput: () => { setRange(range, range.value); box.value = range.value; changed(numberOf(box)); } });
  setRange(range, value);
  return h('div', { class: 'slider' }, range, box);
}

// A list of names in an order: chips, and a box to add one (of the choices, or anything where there are none).
function names(setting, value, changed) {
  const box = h('div', { class: 'names', role: 'group', 'aria-label': setting.label });
  let chosen = value || [];
  const set = (next, focus) => { chosen = next; changed(next); draw(focus); };
  const add = (name) => { if (name && !chosen.includes(name)) set([...chosen, name], true); };
  function draw(focus = false) {
    const left = setting.choices.filter((name) => !chosen.includes(name));
    const adder = setting.choices.length
      ? h('select', { 'aria-label': `${t('add')}: ${setting.label}`, onchange: (event) => add(event.target.value) },
        h('option', { value: '', text: t('add') }), ...left.map((name) => h('option', { value: name, text: name })))
      : h('input', { type: 'text', placeholder: t('add'), 'aria-label': `${t('add')}: ${setting.label}`, onchange: (event) => add(event.target.value.trim()) });
    const chips = chosen.map((name, index) => h('span', { class: 'chip' }, h('span', { text: name }),
      index > 0 && button('left', `${t('move_up')}: ${name}`, () => {
        set([...chosen.slice(0, index - 1), name, chosen[index - 1], ...chosen.slice(index + 1)], true);
      }),
      button('close', `${t('remove')}: ${name}`, () => set(chosen.filter((other) => other !== name), true))));
    box.replaceChildren(...chips, adder);
    if (focus) adder.focus();
  }
  draw();
  return box;
}
