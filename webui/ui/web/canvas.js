// The canvas of img2img: modes, tools and keys around the sheet (`canvas_paper.js`) and its view (`canvas_view.js`). Drawn when its tab is first opened.

import { mountBatch } from './canvas_batch.js';
import { Keeper, decode, inTurn } from './canvas_store.js';
import { Paper, around, cover, surface } from './canvas_paper.js';
import { View } from './canvas_view.js';
import { addIcons, button, byId, h, icon, keyOf, setRange } from './dom.js';
import { change, onFill, provide, valueOf } from './forms.js';
import { mountInterrogate } from './interrogate.js';
import { pastedPicture } from './paste.js';
import { toast } from './toast.js';
import { t } from './words.js';

const { easel } = window;
const TAB = 'img2img', PIXELS = 100e6, SIDE = 8192;
// Mode → the layer that is painted on; the other one stays as it is and is not sent.
const MODES = { img2img: null, sketch: 'colour', inpaint: 'mask', inpaint_sketch: 'colour', inpaint_upload: 'mask', batch: null };
const RANGES = { size: [1, 512], softness: [0, 100], opacity: [1, 100] };
const SIDES = ['left', 'top', 'right', 'bottom'];
// The toolbar: name, icon, keys (the first is shown), what it does; without that it is a tool. An empty one is a line between groups.
const BUTTONS = [
  ['replace', 'open', ['ctrl+o'], () => parts.file.click()],
  ['brush', 'brush', ['b']], ['erase', 'eraser', ['e']], ['fill', 'bucket', ['g']], ['lasso', 'lasso', ['l']], ['rect', 'rect', ['m']], ['pick', 'picker', ['i']], ['hand', 'hand', ['h']], ['frame', 'expand', ['x']], [],
  ['undo', 'undo', ['ctrl+z'], () => follow(paper.undo())], ['redo', 'redo', ['ctrl+shift+z', 'ctrl+y'], () => follow(paper.redo())], [],
  ['out', 'minus', ['-'], () => view.zoom(0.8)], ['in', 'plus', ['+', '='], () => view.zoom(1.25)], ['fit', 'fit', ['0', 'r'], () => view.fit()], ['full', 'full', ['s'], () => full()],
];
const hold = () => { view.held = true; draw(); };
// Keys without a button. Arrows are the sheet's own.
const KEYS = { '[': () => resize(-1), q: () => resize(-1), ']': () => resize(1), w: () => resize(1), f: hold, ' ': hold, arrowleft: () => view.pan(40, 0), arrowright: () => view.pan(-40, 0), arrowup: () => view.pan(0, 40), arrowdown: () => view.pan(0, -40) };

addIcons({
  eraser: 'M9 19h11M4 14l9-9 7 7-7 7H9z M8.5 9.5l7 7', bucket: 'M5 12l7-7 7 7-7 7zM10 3l2 2M20 15c1.4 2 1.4 4 0 4s-1.4-2 0-4z',
  rect: 'M4 4h3M10 4h4M17 4h3v3M20 10v4M20 17v3h-3M14 20h-4M7 20H4v-3M4 14v-4M4 7V4', picker: 'M14 7l3 3M12 9l3 3-8 8H4v-3zM13 6l2-2a2.8 2.8 0 0 1 4 4l-2 2z',
  hand: 'M12 3v18M3 12h18M12 3l-2.5 2.5M12 3l2.5 2.5M12 21l-2.5-2.5M12 21l2.5-2.5M3 12l2.5-2.5M3 12l2.5 2.5M21 12l-2.5-2.5M21 12l-2.5 2.5',
  expand: 'M8 8h8v8H8zM4 8V4h4M16 4h4v4M20 16v4h-4M8 20H4v-4', undo: 'M8 5L4 9l4 4M4 9h10a5 5 0 0 1 0 10h-3', redo: 'M16 5l4 4-4 4M20 9H10a5 5 0 0 0 0 10h3',
  plus: 'M12 6v12M6 12h12', minus: 'M6 12h12', fit: 'M4 9V5h5M15 5h5v4M20 15v4h-5M9 19H4v-4', full: 'M14 4h6v6M20 4l-7 7M10 20H4v-6M4 20l7-7',
  open: 'M4 7h6l2 2h8v10H4z',
});

const chosen = { mode: 'img2img', tool: 'brush', size: 40, softness: 0, opacity: 100, pressure: true, colour: '#d9483b', blur: false, ...easel.recall('easel.canvas') };
const SEEN = ['mode', 'tool', 'blur']; // what the sheet looks like depends on these
function choose(values) {
  Object.assign(chosen, values);
  easel.remember('easel.canvas', chosen);
  (SEEN.some((name) => name in values) ? redraw : draw)();
}
const arrivals = () => import('./to_canvas.js'); // fetched when needed
const complain = (error) => toast(error.info ?? { message: String(error.message || error) }, 'error');
const say = (path) => valueOf(TAB, path);
const layer = () => MODES[chosen.mode];
const ink = () => (layer() === 'mask' ? '#ffffff' : chosen.colour);

let parts, paper, view, keeper, ctrl = false;
let ring; // where the pointer is over the sheet, on the screen
let extent; // of what is painted; undefined: not looked at since it changed

export async function mountCanvas() {
  paper = new Paper(onChange);
  keeper = new Keeper(TAB, (part) => paper.file(part), (part) => paper.raw(part));
  build();
  view = new View(paper, parts.sheet, parts.canvas, look, {
    moved: status, hover, click, shape, extend, resize, stroke: onStroke, control: () => ctrl, pulled: (sides) => sides.forEach((side, index) => { parts.sides[index].value = side; }),
  });
  easel.sizeOfPicture = sizeOfPicture;
  provide(TAB, fields);
  onFill(taken);
  mountInterrogate(TAB, () => (paper.doc ? keeper.ref('picture') : null));
  document.addEventListener('keydown', onKey, true);
  document.addEventListener('keyup', (event) => { ctrl = event.ctrlKey; if ([' ', 'f'].includes(keyOf(event))) { view.held = false; draw(); } });
  document.addEventListener('paste', onPaste, true);
  addEventListener('pagehide', () => { view.end(Boolean(view.gesture?.points)); keeper.leave(); }); // with the stroke under way
  document.addEventListener('easel:keep', ({ detail }) => { if (detail.startsWith(`${TAB}/`)) redraw(); });
  draw();
  await inTurn(async () => {
    const before = await keeper.load(); // the sheet as it was left
    if (before?.picture && !paper.doc) await lay(before).then(() => keeper.took(before), complain);
    paper.doc ??= null;
  });
  parts.sheet.dataset.ready = '';
}

// For tests and the bench: where the sheet is on the screen, what was sent, the frames of the last stroke.
export const inspect = () => {
  const { left, top } = parts.sheet.getBoundingClientRect(), { scale, x, y, frames } = view;
  return { left: left + x, top: top + y, scale, width: paper.width, height: paper.height, sent: keeper.sent, frames, steps: paper.done.length, mode: chosen.mode };
};

// ---- for the form and for other parts of the page

// A picture onto the sheet, and what lies on it. What was there can be taken back.
async function lay(files) {
  const images = {};
  for (const [part, blob] of Object.entries(files)) if (blob) images[part] = await decode(blob);
  const { width, height } = images.picture;
  if (width * height > PIXELS) throw new Error(t('canvas_too_large', { width, height }));
  paper.open(images.picture, files.picture, images);
  view.fit();
}

const sentMode = () => (chosen.mode === 'batch' ? 'img2img' : chosen.mode);

// A picture comes in: from a file, the clipboard, the gallery, for the chosen mode or another. Gives the sheet.
export const openPicture = (blob, mode) => inTurn(() => lay({ picture: blob })).then(() => { choose({ mode: mode ?? sentMode() }); return paper; }, complain);

// What Generate sends of the canvas; what is not up yet goes up now.
async function fields() {
  const sent = { mode: sentMode(), image: null, colour: null, mask: null };
  if (!paper.doc) return sent;
  try {
    await paper.busy; // an undo that is under way
    const wanted = { image: 'picture', ...layer() && { [layer()]: layer() } };
    await Promise.all(Object.entries(wanted).map(async ([name, part]) => { sent[name] = await keeper.ref(part); }));
  } catch (error) { complain(error); }
  return sent;
}

// The form was filled: by the parameters of another picture, or by undo.
function taken(tab, values) {
  if (tab !== TAB) return;
  const seen = layer();
  if (values.mode in MODES) choose({ mode: values.mode });
  if (values.image || paper.doc && (values.colour || values.mask)) inTurn(() => arrivals().then(({ bring }) => bring(values, seen, keeper)).then(lay)).catch(complain);
}

function sizeOfPicture() {
  if (paper.doc) sizeTo(paper.width, paper.height);
  else toast({ message: t('canvas_empty') });
}

function sizeTo(width, height) {
  const near = (side) => Math.min(SIDE, Math.max(64, Math.round(side / 8) * 8));
  change({ width: near(width), height: near(height) }, TAB);
}

// ---- what is seen

function look() {
  const { tool, size, softness, opacity, pressure, blur } = chosen;
  return {
    tool, layer: layer(), size, softness: softness / 100, opacity: opacity / 100, pressure, colour: ink(),
    tint: getComputedStyle(parts.sheet).getPropertyValue('--mask'), blur: blur && say('mask_blur'), frame: onlyMasked(),
  };
}

// What the form makes of the picture: [width, height].
const result = () => { const by = say('resize_by'); return by ? [Math.round(paper.width * by), Math.round(paper.height * by)] : [say('width'), say('height')]; };

const framed = () => paper.doc && chosen.mode.startsWith('inpaint') && say('inpaint_full_res') && !say('inpainting_mask_invert');

// The part that is worked on with "only masked": around the mask, with the padding, in the shape of the result. A1111's rule.
function onlyMasked() {
  const box = framed() && (extent = extent === undefined ? paper.extent(layer()) : extent);
  if (!box) return null;
  const pad = say('inpaint_full_res_padding') + Math.round(say('mask_blur') * 2), [W, H] = result();
  const [x, y, width, height] = paper.clip([box[0] - pad, box[1] - pad, box[2] + 2 * pad, box[3] + 2 * pad]);
  const widen = (low, size, most, wanted) => {
    const more = Math.floor(wanted - size), whole = Math.min(most, size + more);
    return [Math.min(Math.max(0, low - Math.floor(more / 2)), most - whole), whole];
  };
  const wide = width / height > W / H, [left, across] = wide ? [x, width] : widen(x, width, paper.width, height * W / H), [top, down] = wide ? widen(y, height, paper.height, width * H / W) : [y, height];
  return [left, top, across, down];
}

function onChange(part) {
  if (part === 'steps') return draw();
  keeper.changed(part);
  if (part === 'picture' && paper.doc?.form) sizeTo(...paper.doc.form);
  redraw();
}

// The frame grows with the stroke.
function onStroke({ box, erase }) {
  if (erase || !framed()) return;
  extent = around(extent, paper.clip(box));
  view.draw();
}

function hover(spot = ring) {
  const { scale } = view, seen = (ring = spot) && paper.doc && layer() && ['brush', 'erase'].includes(chosen.tool) && !view.held, size = Math.max(3, chosen.size * scale);
  parts.ring.hidden = !seen;
  if (seen) Object.assign(parts.ring.style, { width: `${size}px`, height: `${size}px`, transform: `translate(${spot[0] - size / 2}px, ${spot[1] - size / 2}px)` });
}

// ---- what the tools do

function click(tool, [x, y]) {
  const spot = paper.clip([x, y, 1, 1]);
  if (tool === 'pick' && spot) choose({ colour: `#${[...paper.visible().getImageData(spot[0], spot[1], 1, 1).data.slice(0, 3)].map((part) => part.toString(16).padStart(2, '0')).join('')}`, tool: 'brush' });
  if (tool === 'fill') paper.flood(layer(), x, y, look());
}

function shape(spots, erase) {
  const path = new Path2D();
  spots.forEach((spot) => path.lineTo(...spot));
  paper.edit(layer(), spots.map(([x, y]) => [x - 1, y - 1, 2, 2]).reduce(around), (context) => {
    context.globalCompositeOperation = erase ? 'destination-out' : 'source-over';
    context.globalAlpha = chosen.opacity / 100;
    context.fillStyle = ink();
    context.fill(path);
  });
}

function extend(wanted) {
  const sides = wanted.map((side) => Math.max(0, Math.round(side))), [left, top, right, bottom] = sides, width = paper.width + left + right, height = paper.height + top + bottom;
  if (!sides.some(Boolean)) return;
  if (Math.max(width, height) > SIDE) return void complain(new Error(t('canvas_too_large', { width, height })));
  const before = paper.doc, form = [say('width'), say('height')];
  paper.extend(...sides);
  if (!say('resize_by')) { // what is there stays as large in the result as it was, and comes back with an undo
    before.form = form;
    paper.doc.form = [form[0] * width / before.width, form[1] * height / before.height];
    sizeTo(...paper.doc.form);
  }
  parts.sides.forEach((box) => { box.value = 0; });
  choose({ mode: chosen.mode === 'inpaint_upload' ? chosen.mode : 'inpaint' });
  view.fit(0.85);
  toast({ message: t('canvas_extended', { width, height }), action: { label: t('undo'), act: () => paper.undo() } });
}

// What undo and redo change is seen, in another mode too.
async function follow(turn) {
  const part = await turn;
  if (part && part !== layer()) choose({ mode: part === 'mask' ? 'inpaint' : 'sketch' });
}

const resize = (by) => choose({ size: Math.min(512, Math.max(1, Math.round(by > 0 ? Math.max(chosen.size + 1, chosen.size * 1.15) : Math.min(chosen.size - 1, chosen.size / 1.15)))) });

function blank() {
  const context = surface(say('width'), say('height'));
  cover(context, '#fff');
  paper.open(context.canvas, null);
  choose({ mode: 'sketch', tool: 'brush' });
  view.fit();
}

// ---- keys, clipboard, drop

function full(on = !parts.all.classList.contains('full')) {
  parts.all.classList.toggle('full', on);
  document.body.classList.toggle('canvas-full', on);
  byId('canvas_full').setAttribute('aria-pressed', String(on));
  requestAnimationFrame(() => view.fit());
}

const busy = () => easel.tab !== TAB || document.querySelector('dialog[open]');

function onKey(event) {
  ctrl = event.ctrlKey || event.key === 'Control';
  if (busy() || event.altKey || event.target.closest?.('textarea, select, input:not([type=range], [type=checkbox], [type=color])')) return;
  const act = parts.all.contains(document.activeElement) || parts.all.matches(':hover, .full') ? actOf(event) : null;
  if (!act) return;
  event.preventDefault();
  event.stopPropagation();
  act();
}

function actOf(event) {
  const { ctrlKey, metaKey, shiftKey, target } = event, key = keyOf(event), chord = ctrlKey || metaKey ? `ctrl+${shiftKey ? 'shift+' : ''}${key}` : key;
  if (key === 'escape') return view.gesture ? () => { view.end(false); redraw(); } : parts.all.classList.contains('full') ? () => full(false) : null;
  if (chosen.mode === 'batch') return null;
  if (key === ' ' && target.closest?.('button')) return null; // the button's own
  const face = byId(`canvas_${BUTTONS.find(([, , keys]) => keys?.includes(chord))?.[0]}`);
  if (face) return face.hidden || face.disabled ? null : () => face.click();
  return parts.sheet === document.activeElement || !key.startsWith('arrow') ? KEYS[chord] : null;
}

function onPaste(event) {
  const file = !busy() && pastedPicture(event);
  if (!file) return;
  event.preventDefault();
  openPicture(file);
}

function onDrop(event) {
  if (!event.dataTransfer?.types.includes('Files')) return;
  event.preventDefault(); // the page would ask for its parameters
  parts.sheet.classList.toggle('over', event.type === 'dragover');
  const file = event.type === 'drop' && event.dataTransfer.files[0];
  if (file) openPicture(file);
}

// ---- the elements

function build() {
  const box = (...children) => h('div', { class: 'knobs' }, ...children);
  const wordy = (name, act) => h('button', { type: 'button', class: 'act', id: `canvas_${name}`, text: t(`canvas_${name}`), onclick: act });
  const chooser = (id, name, take) => h('input', { type: 'file', class: 'sr-only', id, accept: 'image/*', tabindex: '-1', 'aria-label': t(name), onchange: ({ target }) => { if (target.files[0]) take(target.files[0]); target.value = ''; } });
  const check = (name) => h('label', { class: 'check' }, h('input', { type: 'checkbox', id: `canvas_${name}`, onchange: ({ target }) => choose({ [name]: target.checked }) }), h('span', { text: t(`canvas_${name}`) }));
  const knob = (name) => {
    const [min, max] = RANGES[name], label = t(`canvas_${name}`), set = ({ target }) => { const value = Math.round(Number(target.value)); if (value >= min && value <= max) choose({ [name]: value }); };
    return h('label', { class: 'knob' }, h('span', { text: label }), ...['range', 'number'].map((type) => h('input', { type, min, max, 'data-of': name, 'aria-label': label, oninput: set, onblur: draw })));
  };
  const chip = (mode) => h('button', { type: 'button', role: 'tab', id: `img2img_${mode === 'sketch' ? 'img2img_sketch' : mode}_tab`, 'data-mode': mode, text: t(`mode_${mode}`), onclick: () => choose({ mode }) }); // A1111's ids
  const tool = ([name, picture, keys, act]) => (name
    ? button(picture, `${t(`canvas_${name}`)} (${keys[0].replace(/\b[a-z]/g, (letter) => letter.toUpperCase())})`, act || (() => choose({ tool: name })), { id: `canvas_${name}`, class: 'icon-button', 'data-tool': !act && name, 'aria-keyshortcuts': keys.join(' ').replaceAll('ctrl', 'Control').replaceAll('shift', 'Shift') }) : h('i'));
  parts = {
    modes: h('div', { class: 'modes', role: 'tablist', id: 'mode_img2img', 'aria-label': t('img2img_mode') }, ...Object.keys(MODES).map(chip)),
    bar: h('div', { class: 'tools', role: 'toolbar', 'aria-label': t('canvas_tools') }, ...BUTTONS.map(tool)),
    percent: h('button', { type: 'button', class: 'percent', title: t('canvas_actual'), onclick: () => view.zoom(1 / view.scale) }),
    colour: h('input', { type: 'color', id: 'canvas_colour', 'aria-label': t('canvas_colour'), title: t('canvas_colour'), oninput: ({ target }) => choose({ colour: target.value }) }),
    sides: SIDES.map((side) => h('input', { type: 'number', min: 0, max: SIDE, step: 8, value: 0, 'aria-label': t(`canvas_${side}`) })),
    file: chooser('img2img_image_file', 'canvas_open', openPicture), maskFile: chooser('img_inpaint_mask_file', 'canvas_load_mask', (file) => arrivals().then(({ bringMask }) => bringMask(file, paper)).catch(complain)),
    canvas: h('canvas'), ring: h('div', { class: 'ring', hidden: true }), status: h('p', { class: 'status', role: 'status' }), batch: mountBatch(),
    invite: h('div', { class: 'invite' }, icon('picture'), h('strong', { text: t('canvas_invite') }), h('p', { text: t('canvas_invite_text') }), h('div', { class: 'row' }, wordy('open', () => parts.file.click()), wordy('blank', blank))),
    masks: box(wordy('invert', () => paper.invert()), wordy('grow', () => paper.grow(4)), wordy('shrink', () => paper.grow(-4)), wordy('load_mask', () => parts.maskFile.click()), wordy('clear_mask', () => paper.clear()), check('blur')),
  };
  parts.strokes = box(parts.colour, ...Object.keys(RANGES).map(knob), check('pressure'));
  parts.frames = box(...SIDES.map((side, index) => h('label', { class: 'side' }, h('span', { text: t(`canvas_${side}`) }), parts.sides[index])), wordy('extend', () => extend(parts.sides.map((side) => Number(side.value)))));
  parts.sheet = h('div', { class: 'sheet', id: 'img2img_image', tabindex: '0', role: 'application', 'aria-label': t('canvas_label'), ondragover: onDrop, ondragleave: onDrop, ondrop: onDrop }, parts.canvas, parts.ring, parts.invite);
  parts.all = h('section', { class: 'canvas', 'aria-label': t('canvas_label') }, ...['modes', 'bar', 'strokes', 'masks', 'frames', 'sheet', 'status', 'batch', 'file', 'maskFile'].map((name) => parts[name]));
  byId('img2img_canvas').replaceChildren(parts.all);
  byId('canvas_out').after(parts.percent);
}

// The sheet too.
function redraw() {
  extent = undefined;
  view.opaque = paper.doc?.blob?.type === 'image/jpeg';
  view.draw();
  draw();
}

function draw() {
  const { mode, tool } = chosen, { doc } = paper, batch = mode === 'batch', painting = doc && layer() && tool !== 'frame';
  document.body.dataset.mode = mode; // what counts in a mode is shown by the style sheet
  parts.sheet.dataset.tool = view.held || !layer() && tool !== 'frame' ? 'hand' : tool;
  const seen = { sheet: !batch, status: !batch, batch, bar: doc && !batch, strokes: painting, colour: layer() === 'colour', masks: painting && layer() === 'mask', frames: doc && !batch && tool === 'frame', invite: !doc };
  for (const [name, shown] of Object.entries(seen)) parts[name].hidden = !shown;
  for (const chip of parts.modes.children) chip.setAttribute('aria-selected', String(chip.dataset.mode === mode));
  for (const face of parts.bar.querySelectorAll('[data-tool]')) {
    face.hidden = !layer() && !['hand', 'frame'].includes(face.dataset.tool) || face.dataset.tool === 'pick' && layer() !== 'colour';
    face.setAttribute('aria-pressed', String(face.dataset.tool === tool));
  }
  for (const input of parts.strokes.querySelectorAll('[data-of]')) {
    const value = chosen[input.dataset.of];
    if (input.type === 'range') setRange(input, value);
    else if (document.activeElement !== input) input.value = value;
  }
  parts.colour.value = chosen.colour;
  for (const name of ['pressure', 'blur']) byId(`canvas_${name}`).checked = chosen[name];
  byId('canvas_pressure').parentElement.hidden = !view.pen; // until one is used
  byId('canvas_undo').disabled = !paper.done.length;
  byId('canvas_redo').disabled = !paper.undone.length;
  status();
}

function status() {
  const { doc, width, height } = paper, hint = t(`mode_${chosen.mode}_hint`);
  parts.percent.textContent = doc ? `${Math.round(view.scale * 100)} %` : '';
  hover();
  parts.status.textContent = doc ? `${width} × ${height} → ${result().join(' × ')} · ${hint}` : hint;
}
