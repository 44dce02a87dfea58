// The forms of the page, one for each tab that makes pictures: what their fields are called, reading and filling them through Gradio, one undo for all.
// Knows field paths, no field by name.

import { inLine } from './api.js';
import { byId, keyOf } from './dom.js';

const { easel, easelPage: page } = window;
const KEPT = 30;
const UNTOUCHED = { __type__: 'update' }; // Gradio's word for a component that stays as it is
const undone = [], done = []; // what redo and undo put back: { tab, values by path }
const filled = {}; // what a form held after its last fill, to tell a text box's own undo from ours
const provided = {}; // fields that are held by another part of the page: it gives them when they are asked for, which can take as long as an upload
const names = {}; // what they are called, once they were asked for
const filling = []; // hear of every fill: (tab, values)

export const forms = page.forms;
// The form that is meant: that of the open tab, or of the one that was open before.
export const current = () => (forms[easel.tab] ? easel.tab : easel.making);
export const fieldOf = (tab, path) => forms[tab][path] && byId(forms[tab][path].element);
export const valueOf = (tab, path) => { const { key } = forms[tab][path]; return key in easel.draft ? easel.draft[key] : easel.born[key]; };

export const pasteButton = (tab) => (tab === 'txt2img' ? 'paste' : `${tab}_paste`); // A1111 has two of one name

export function mountForms() {
  easel.fill = fill;
  easel.read = async (values, tab) => readers[tab].shift()?.({ ...byPath(tab, values), ...await held(tab) });
  // On their way to the server: the values of Gradio's components, with what is held elsewhere.
  easel.withCanvas = async (tab, values) => {
    const own = await held(tab);
    return Object.keys(forms[tab]).map((path, index) => (path in own ? own[path] : values[index]));
  };
  document.addEventListener('keydown', onKey);
}

export const provide = (tab, give) => { provided[tab] = give; };
async function held(tab) {
  const own = await provided[tab]?.();
  if (own) names[tab] = Object.keys(own);
  return own ?? {};
}
export const onFill = (listener) => filling.push(listener);

const byPath = (tab, values) => Object.fromEntries(Object.keys(forms[tab]).map((path, index) => [path, values[index]]));
const readers = Object.fromEntries(Object.keys(forms).map((tab) => [tab, []])); // who waits for the values of a form
const inTurn = inLine(); // one step of undo after the other
let order = null;

export const now = (tab = current()) => new Promise((resolve) => { readers[tab].push(resolve); byId(`${tab}_read`).click(); });

// Puts values into fields and gives what they were. Gradio calls `fill` with everything, on the way.
async function put(tab, values) {
  const isOther = names[tab]?.every((path) => !(path in values)), own = Object.entries(isOther ? {} : await held(tab)).filter(([path]) => path in values);
  const before = await new Promise((resolve) => { order = { values, resolve }; byId(`${tab}_fill`).click(); });
  return { ...before, ...Object.fromEntries(own) };
}

function fill(current, tab) {
  if (!order) return current;
  const { values, resolve } = order, paths = Object.keys(forms[tab]);
  order = null;
  const before = byPath(tab, current), changed = Object.keys(values).filter((path) => path in before);
  filled[tab] = { ...before, ...values };
  for (const path of changed) easel.keep(forms[tab][path].key, values[path]); // a field in a folded part says nothing itself
  for (const listener of filling) listener(tab, values);
  easel.recount?.();
  resolve(Object.fromEntries(changed.map((path) => [path, before[path]])));
  return paths.map((path) => (changed.includes(path) ? values[path] : UNTOUCHED)); // in the others somebody may be typing
}

// Sets fields by path, as one step of undo. `values`: also a function that gives them when it is their turn.
export const change = (values, tab = current()) => inTurn(async () => {
  done.push({ tab, values: await put(tab, typeof values === 'function' ? values() : values) });
  if (done.length > KEPT) done.shift();
  undone.length = 0;
});

const step = (from, to) => inTurn(async () => {
  const { tab, values } = from.pop() || {};
  if (tab) to.push({ tab, values: await put(tab, values) });
});

export const undo = () => step(done, undone);

// Ctrl+Z belongs to a text box as long as it holds something that was typed since; then it is ours.
function onKey(event) {
  if (!(event.ctrlKey || event.metaKey) || event.altKey || event.defaultPrevented || document.querySelector('dialog[open]')) return;
  const key = keyOf(event), back = key === 'z' && !event.shiftKey, again = key === 'y' || (key === 'z' && event.shiftKey);
  if (!(back && done.length) && !(again && undone.length)) return;
  const box = event.target.closest('textarea, input:not([type=range], [type=checkbox])'), tab = current();
  const path = box && Object.keys(forms[tab]).find((name) => fieldOf(tab, name)?.contains(box)), last = filled[tab]?.[path];
  if (box && (!path || (Array.isArray(last) ? box.value : box.value !== String(last ?? '')))) return;
  event.preventDefault();
  if (back) undo();
  else step(undone, done);
}
