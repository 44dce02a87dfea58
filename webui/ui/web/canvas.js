// The canvas of img2img: modes, tools and keys around the sheet (`canvas_paper.js`) and its view (`canvas_view.js`). Drawn when its tab is first opened.

import { mountBatch } from './canvas_batch.js';
import { Keeper, decode } from './canvas_store.js';
import { Paper } from './canvas_paper.js';
import { View } from './canvas_view.js';
import { addIcons, button, byId, h, icon } from './dom.js';
import { change, forms, onFill, provide, valueOf } from './forms.js';
import { mountInterrogate } from './interrogate.js';
import { toast } from './toast.js';
import { t } from './words.js';

const { easel } = window;
const TAB = 'img2img', PIXELS = 100e6;
// Mode: the id of its chip (A1111's), the layer that is painted on, the layers that count.
const MODES = {
  img2img: ['img2img_img2img_tab', null, []], sketch: ['img2img_img2img_sketch_tab', 'colour', ['colour']], inpaint: ['img2img_inpaint_tab', 'mask', ['mask']],
  inpaint_sketch: ['img2img_inpaint_sketch_tab', 'colour', ['colour']], inpaint_upload: ['img2img_inpaint_upload_tab', 'mask', ['mask']],
  batch: ['img2img_batch_tab', null, []],
};
// Tool: its icon and its key.
const TOOLS = { brush: ['brush', 'b'], erase: ['eraser', 'e'], fill: ['bucket', 'g'], lasso: ['lasso', 'l'], rect: ['rect', 'm'], pick: ['picker', 'i'], hand: ['hand', 'h'], frame: ['expand', 'x'] };
const RANGES = { size: [1, 512], softness: [0, 100], opacity: [1, 100] };

addIcons({
  eraser: 'M9 19h11M4 14l9-9 7 7-7 7H9z M8.5 9.5l7 7', bucket: 'M5 12l7-7 7 7-7 7zM10 3l2 2M20 15c1.4 2 1.4 4 0 4s-1.4-2 0-4z',
  rect: 'M4 4h3M10 4h4M17 4h3v3M20 10v4M20 17v3h-3M14 20h-4M7 20H4v-3M4 14v-4M4 7V4', picker: 'M14 7l3 3M12 9l3 3-8 8H4v-3zM13 6l2-2a2.8 2.8 0 0 1 4 4l-2 2z',
  hand: 'M12 3v18M3 12h18M12 3l-2.5 2.5M12 3l2.5 2.5M12 21l-2.5-2.5M12 21l2.5-2.5M3 12l2.5-2.5M3 12l2.5 2.5M21 12l-2.5-2.5M21 12l-2.5 2.5',
  expand: 'M8 8h8v8H8zM4 8V4h4M16 4h4v4M20 16v4h-4M8 20H4v-4', undo: 'M8 5L4 9l4 4M4 9h10a5 5 0 0 1 0 10h-3', redo: 'M16 5l4 4-4 4M20 9H10a5 5 0 0 0 0 10h3',
  plus: 'M12 6v12M6 12h12', minus: 'M6 12h12', fit: 'M4 9V5h5M15 5h5v4M20 15v4h-5M9 19H4v-4', full: 'M14 4h6v6M20 4l-7 7M10 20H4v-6M4 20l7-7',
  open: 'M4 7h6l2 2h8v10H4z',
});

const read = () => { try { return JSON.parse(localStorage.getItem('easel.canvas')); } catch { return null; } };
const chosen = { mode: 'img2img', tool: 'brush', size: 40, softness: 0, opacity: 100, pressure: true, colour: '#d9483b', blur: false, ...read() };
const choose = (values) => { Object.assign(chosen, values); try { localStorage.setItem('easel.canvas', JSON.stringify(chosen)); } catch { /* the page works without it */ } draw(); };
const complain = (error) => toast(error.info ?? { message: String(error.message || error) }, 'error');
const say = (path) => valueOf(TAB, path);

let parts, paper, view, keeper, extent = null, ctrl = false;

export async function mountCanvas() {
  paper = new Paper(onChange);
  keeper = new Keeper(TAB, (part) => paper.file(part));
  build();
  view = new View(paper, parts.sheet, parts.canvas, look, {
    moved: status, hover, click, shape, stroke: onStroke, control: () => ctrl, resize,
    pulled: (sides) => { parts.sides.forEach((box, index) => { box.value = sides[index]; }); status(); }, extend: (sides) => extend(sides),
  });
  easel.sizeOfPicture = sizeOfPicture;
  provide(TAB, fields);
  onFill(taken);
  mountInterrogate({ picture: () => (paper.doc ? keeper.ref('picture') : null), write: (text) => change({ prompt: text }, TAB) });
  document.addEventListener('keydown', onKey, true);
  document.addEventListener('keyup', (event) => { ctrl = event.ctrlKey; if (event.key === ' ' || event.key.toLowerCase() === 'f') { view.held = false; draw(); } });
  document.addEventListener('paste', onPaste, true);
  document.addEventListener('easel:keep', ({ detail }) => { if (detail.startsWith(`${TAB}/`)) { draw(); view.draw(); } });
  draw();
  const before = await keeper.load();
  if (before?.picture && !paper.doc) await restore(before).catch(complain);
  parts.sheet.dataset.ready = '';
}

// For tests and the bench: where a point of the sheet is on the screen, what was sent, how long the frames of the last stroke took.
export const inspect = () => {
  const { left, top } = parts.sheet.getBoundingClientRect(), { scale, x, y, frames } = view;
  return { left: left + x, top: top + y, scale, width: paper.width, height: paper.height, sent: keeper.sent, frames, steps: paper.done.length, mode: chosen.mode };
};

// What was on the sheet when the page was left.
async function restore({ picture, colour, mask }) {
  const files = { picture, colour, mask }, images = {};
  for (const [part, blob] of Object.entries(files)) if (blob) images[part] = await decode(blob);
  paper.open(images.picture, picture);
  if (images.colour) paper.layer('colour').drawImage(images.colour, 0, 0);
  if (images.mask) paper.layer('mask').putImageData(paper.maskOf(images.mask), 0, 0);
  for (const [part, blob] of Object.entries(files)) keeper.files[part] = { version: keeper.versions[part] || 0, blob };
  keeper.saved = { ...keeper.versions };
  onChange('mask', true);
  view.fit();
}

// ---- for the form and for other parts of the page

// A picture comes in: from a file, the clipboard, the gallery. What was there can be taken back.
export async function openPicture(blob, mode = chosen.mode) {
  try {
    const picture = await decode(blob).catch(() => { throw new Error(t('canvas_unreadable')); });
    if (picture.width * picture.height > PIXELS) throw new Error(t('canvas_too_large', { width: picture.width, height: picture.height }));
    paper.open(picture, blob);
    choose({ mode: mode === 'batch' ? 'img2img' : mode });
    view.fit();
  } catch (error) { complain(error); }
}

const sentMode = () => (chosen.mode === 'batch' ? 'img2img' : chosen.mode);

// What Generate sends of the canvas; what is not up yet goes up now.
async function fields() {
  try {
    await paper.busy; // an undo that is under way
    const [, , shows] = MODES[chosen.mode], of = (part) => (paper.doc && (part === 'picture' || shows.includes(part)) ? keeper.ref(part) : null);
    const [image, colour, mask] = await Promise.all(['picture', 'colour', 'mask'].map(of));
    return { mode: sentMode(), image, colour, mask };
  } catch (error) {
    complain(error);
    return { mode: sentMode(), image: null, colour: null, mask: null };
  }
}

// The form was filled: by the parameters of another picture, or by undo.
async function taken(tab, values) {
  if (tab !== TAB) return;
  if (values.mode in MODES) choose({ mode: values.mode });
  if (!values.image || values.image.sha256 === keeper.refs.picture?.ref.sha256) return;
  const load = async (ref) => (ref ? decode(await (await fetch(`api/v1/images/${ref.sha256}`)).blob()) : null);
  try {
    const [picture, colour, mask] = await Promise.all([values.image, values.colour, values.mask].map(load));
    paper.open(picture, null);
    if (colour) paper.layer('colour').drawImage(colour, 0, 0);
    if (mask) paper.takeMask(mask);
    view.fit();
  } catch { toast({ message: t('canvas_gone') }, 'error'); }
}

async function sizeOfPicture() {
  if (!paper.doc) return void toast({ message: t('canvas_empty') });
  const near = (side) => Math.min(8192, Math.max(64, Math.round(side / 8) * 8));
  change({ width: near(paper.width), height: near(paper.height) }, TAB);
}

// ---- what is seen

function look() {
  const [, layer, shows] = MODES[chosen.mode];
  const [red, green, blue] = chosen.colour.match(/\w\w/g).map((part) => parseInt(part, 16));
  return {
    tool: chosen.tool, layer, shows, size: chosen.size, softness: chosen.softness / 100, opacity: chosen.opacity / 100, pressure: chosen.pressure,
    colour: `rgb(${red} ${green} ${blue})`, tint: getComputedStyle(parts.sheet).getPropertyValue('--mask'), blur: chosen.blur && say('mask_blur'), frame: onlyMasked(),
  };
}

// The part that is worked on with "only masked": around the mask, with the padding, in the shape of the result. A1111's rule.
function onlyMasked() {
  const box = chosen.mode.startsWith('inpaint') && say('inpaint_full_res') && !say('inpainting_mask_invert') && extent;
  if (!box) return null;
  const pad = say('inpaint_full_res_padding') + Math.round(say('mask_blur') * 2), by = say('resize_by');
  const [W, H] = by ? [paper.width * by, paper.height * by] : [say('width'), say('height')];
  let [left, top, right, bottom] = [Math.max(0, box[0] - pad), Math.max(0, box[1] - pad), Math.min(paper.width, box[0] + box[2] + pad), Math.min(paper.height, box[1] + box[3] + pad)];
  const widen = (low, high, most, wanted) => {
    const more = Math.floor(wanted - (high - low));
    let [from, to] = [low - Math.floor(more / 2), high + more - Math.floor(more / 2)];
    if (to > most) [from, to] = [from - (to - most), most];
    if (from < 0) [from, to] = [0, to - from];
    return [from, Math.min(to, most)];
  };
  if ((right - left) / (bottom - top) > W / H) [top, bottom] = widen(top, bottom, paper.height, (right - left) * H / W);
  else [left, right] = widen(left, right, paper.width, (bottom - top) * W / H);
  return [left, top, right - left, bottom - top];
}

function onChange(part, quiet) {
  if (part === 'steps') return draw();
  if (!quiet) keeper.changed(part);
  const masking = chosen.mode === 'inpaint_sketch' ? 'colour' : 'mask';
  if (part === masking || part === 'picture') extent = paper.extent(masking);
  if (view) view.opaque = paper.doc?.blob?.type === 'image/jpeg';
  if (view) view.draw();
  draw();
}

function onStroke(gesture) {
  if (gesture.erase || !gesture.box) return;
  const grown = paper.clip(gesture.box);
  if (grown && say('inpaint_full_res')) { extent = extent ? [Math.min(extent[0], grown[0]), Math.min(extent[1], grown[1]), Math.max(extent[0] + extent[2], grown[0] + grown[2]) - Math.min(extent[0], grown[0]), Math.max(extent[1] + extent[3], grown[1] + grown[3]) - Math.min(extent[1], grown[1])] : grown; view.draw(); }
}

function hover(spot, scale) {
  const [, layer] = MODES[chosen.mode], seen = spot && paper.doc && layer && ['brush', 'erase'].includes(chosen.tool) && !view.held;
  parts.ring.hidden = !seen;
  if (!seen) return;
  const size = Math.max(3, chosen.size * scale);
  Object.assign(parts.ring.style, { width: `${size}px`, height: `${size}px`, transform: `translate(${spot[0] - size / 2}px, ${spot[1] - size / 2}px)` });
}

// ---- what the tools do

const ink = () => (MODES[chosen.mode][1] === 'mask' ? 'rgb(255 255 255)' : chosen.colour);

function click(tool, [x, y]) {
  if (tool === 'pick') {
    const inside = paper.clip([x, y, 1, 1]);
    if (!inside) return;
    const [red, green, blue] = paper.visible().getImageData(inside[0], inside[1], 1, 1).data;
    choose({ colour: `#${[red, green, blue].map((part) => part.toString(16).padStart(2, '0')).join('')}`, tool: 'brush' });
  }
  if (tool === 'fill') {
    paper.flood(MODES[chosen.mode][1], x, y, (context, form, [left, top]) => {
      const shade = form.getContext('2d');
      shade.globalCompositeOperation = 'source-in';
      shade.fillStyle = ink();
      shade.fillRect(0, 0, form.width, form.height);
      context.globalAlpha = chosen.opacity / 100;
      context.drawImage(form, left, top);
    });
  }
}

function shape(spots, erase) {
  const path = new Path2D(), xs = spots.map(([x]) => x), ys = spots.map(([, y]) => y);
  spots.forEach(([x, y]) => path.lineTo(x, y));
  path.closePath();
  paper.edit(MODES[chosen.mode][1], [Math.min(...xs) - 1, Math.min(...ys) - 1, Math.max(...xs) - Math.min(...xs) + 2, Math.max(...ys) - Math.min(...ys) + 2], (context) => {
    context.globalCompositeOperation = erase ? 'destination-out' : 'source-over';
    context.globalAlpha = chosen.opacity / 100;
    context.fillStyle = ink();
    context.fill(path);
  });
}

function extend(sides) {
  const [left, top, right, bottom] = sides.map((side) => Math.max(0, Math.round(side)));
  if (!left && !top && !right && !bottom) return;
  if (Math.max(paper.width + left + right, paper.height + top + bottom) > 8192) return void toast({ message: t('canvas_too_large', { width: paper.width + left + right, height: paper.height + top + bottom }) }, 'error');
  paper.extend(left, top, right, bottom);
  parts.sides.forEach((box) => { box.value = 0; });
  choose({ mode: chosen.mode === 'inpaint_upload' ? chosen.mode : 'inpaint' });
  view.fit(0.85);
  toast({ message: t('canvas_extended', { width: paper.width, height: paper.height }), action: { label: t('undo'), act: () => paper.undo() } });
}

const resize = (by) => choose({ size: Math.min(512, Math.max(1, Math.round(by > 0 ? Math.max(chosen.size + 1, chosen.size * 1.15) : Math.min(chosen.size - 1, chosen.size / 1.15)))) });

function blank() {
  const context = Object.assign(document.createElement('canvas'), { width: say('width'), height: say('height') }).getContext('2d');
  context.fillStyle = '#fff';
  context.fillRect(0, 0, context.canvas.width, context.canvas.height);
  paper.open(context.canvas, null);
  choose({ mode: 'sketch', tool: 'brush' });
  view.fit();
}

async function loadMask(file) {
  try {
    const picture = await decode(file).catch(() => { throw new Error(t('canvas_unreadable')); });
    if (picture.width !== paper.width || picture.height !== paper.height) toast({ message: t('canvas_mask_stretched', { from: `${picture.width}×${picture.height}`, to: `${paper.width}×${paper.height}` }) });
    paper.takeMask(picture);
  } catch (error) { complain(error); }
}

// ---- keys, clipboard, drop

function full(on = !parts.all.classList.contains('full')) {
  parts.all.classList.toggle('full', on);
  document.body.classList.toggle('canvas-full', on);
  parts.fullscreen.setAttribute('aria-pressed', String(on));
  requestAnimationFrame(() => view.fit());
}

function onKey(event) {
  ctrl = event.ctrlKey || event.key === 'Control';
  if (easel.tab !== TAB || document.querySelector('dialog[open]') || event.target.closest?.('textarea, select, input:not([type=range], [type=checkbox], [type=color])')) return;
  const here = parts.all.contains(document.activeElement) || parts.all.matches(':hover, .full'), key = event.key.toLowerCase();
  const act = here && keyed(event, key);
  if (!act) return;
  event.preventDefault();
  event.stopPropagation();
  act();
}

function keyed(event, key) {
  if (event.altKey) return null;
  if (event.ctrlKey || event.metaKey) {
    if (key === 'z' && !event.shiftKey) return paper.done.length ? () => paper.undo() : null;
    if (key === 'y' || key === 'z') return paper.undone.length ? () => paper.redo() : null;
    return key === 'o' ? () => parts.file.click() : null;
  }
  const tool = Object.keys(TOOLS).find((name) => TOOLS[name][1] === key);
  if (tool && !byId(`canvas_${tool}`).hidden) return () => choose({ tool });
  if (key === 'escape') return parts.all.classList.contains('full') ? () => full(false) : null;
  if (key === ' ' && event.target.closest?.('button')) return null; // the button's own
  return {
    '[': () => resize(-1), ']': () => resize(1), q: () => resize(-1), w: () => resize(1), '+': () => view.zoom(1.25), '=': () => view.zoom(1.25), '-': () => view.zoom(0.8), 0: () => view.fit(), r: () => view.fit(),
    s: () => full(), f: () => { view.held = true; draw(); }, ' ': () => { view.held = true; draw(); },
    arrowleft: () => view.pan(40, 0), arrowright: () => view.pan(-40, 0), arrowup: () => view.pan(0, 40), arrowdown: () => view.pan(0, -40),
  }[parts.sheet === document.activeElement || !key.startsWith('arrow') ? key : ''];
}

function onPaste(event) {
  const file = [...event.clipboardData?.files || []].find((item) => item.type.startsWith('image/'));
  const words = event.clipboardData?.types.includes('text/plain') && event.target.closest?.('textarea, input');
  if (easel.tab !== TAB || !file || words || document.querySelector('dialog[open]')) return;
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
  const tip = (name, key) => `${t(`canvas_${name}`)}${key ? ` (${key.toUpperCase()})` : ''}`;
  const tool = ([name, [picture, key]]) => button(picture, tip(name, key), () => choose({ tool: name }), { id: `canvas_${name}`, class: 'icon-button', 'aria-pressed': 'false', 'aria-keyshortcuts': key });
  const act = (name, picture, run, key = '') => button(picture, tip(name, key), run, { id: `canvas_${name}`, class: 'icon-button' });
  const wordy = (name, run) => h('button', { type: 'button', class: 'act', id: `canvas_${name}`, text: t(`canvas_${name}`), onclick: run });
  const masked = (name, run) => wordy(name, () => paper.doc && run());
  const chooser = (id, label, take) => h('input', { type: 'file', class: 'sr-only', id, accept: 'image/*', tabindex: '-1', 'aria-label': label, onchange: ({ target }) => { if (target.files[0]) take(target.files[0]); target.value = ''; } });
  const knob = (name) => {
    const [min, max] = RANGES[name], label = t(`canvas_${name}`), set = ({ target }) => { const value = Math.round(Number(target.value)); if (value >= min && value <= max) choose({ [name]: value }); };
    const range = h('input', { type: 'range', min, max, 'aria-label': label, oninput: set }), box = h('input', { type: 'number', min, max, 'aria-label': label, oninput: set, onblur: () => draw() });
    return { element: h('label', { class: 'knob' }, h('span', { text: label }), range, box), range, box };
  };
  parts = {
    modes: h('div', { class: 'modes', role: 'tablist', id: 'mode_img2img', 'aria-label': t('img2img_mode') }, ...Object.entries(MODES).map(([mode, [id]]) => h('button', { type: 'button', role: 'tab', id, 'data-mode': mode, text: t(`mode_${mode}`), onclick: () => { choose({ mode }); onChange('mask', true); } }))),
    tools: Object.fromEntries(Object.entries(TOOLS).map((entry) => [entry[0], tool(entry)])),
    undo: act('undo', 'undo', () => paper.undo()), redo: act('redo', 'redo', () => paper.redo()),
    percent: h('button', { type: 'button', class: 'percent', title: t('canvas_actual'), onclick: () => view.zoom(1 / view.scale) }),
    fullscreen: act('full', 'full', () => full(), 's'),
    colour: h('input', { type: 'color', id: 'canvas_colour', 'aria-label': t('canvas_colour'), title: t('canvas_colour'), oninput: ({ target }) => choose({ colour: target.value }) }),
    knobs: Object.fromEntries(Object.keys(RANGES).map((name) => [name, knob(name)])),
    pressure: h('input', { type: 'checkbox', onchange: ({ target }) => choose({ pressure: target.checked }) }), blur: h('input', { type: 'checkbox', id: 'canvas_blur', onchange: ({ target }) => { choose({ blur: target.checked }); view.draw(); } }),
    file: chooser('img2img_image_file', t('canvas_open'), (file) => openPicture(file)), maskFile: chooser('img_inpaint_mask_file', t('canvas_load_mask'), loadMask),
    canvas: h('canvas', {}), ring: h('div', { class: 'ring', hidden: true }), status: h('p', { class: 'status', role: 'status' }),
    sides: ['left', 'top', 'right', 'bottom'].map((side) => h('input', { type: 'number', min: 0, max: 8192, step: 8, value: 0, 'aria-label': t(`canvas_${side}`), title: t(`canvas_${side}`) })),
  };
  parts.invite = h('div', { class: 'invite' }, icon('picture'), h('strong', { text: t('canvas_invite') }), h('p', { text: t('canvas_invite_text') }), h('div', { class: 'row' }, wordy('open', () => parts.file.click()), wordy('blank', blank)));
  parts.sheet = h('div', { class: 'sheet', id: 'img2img_image', tabindex: '0', role: 'application', 'aria-label': t('canvas_label'), ondragover: onDrop, ondragleave: onDrop, ondrop: onDrop }, parts.canvas, parts.ring, parts.invite);
  const { size, softness, opacity } = parts.knobs;
  parts.strokes = h('div', { class: 'knobs' }, parts.colour, size.element, softness.element, opacity.element, h('label', { class: 'check' }, parts.pressure, h('span', { text: t('canvas_pressure') })));
  parts.masks = h('div', { class: 'knobs' }, masked('invert', () => paper.invert()), masked('grow', () => paper.grow(4)), masked('shrink', () => paper.grow(-4)), masked('load_mask', () => parts.maskFile.click()), masked('clear_mask', () => paper.clear('mask')),
    h('label', { class: 'check' }, parts.blur, h('span', { text: t('canvas_blur') })));
  parts.frames = h('div', { class: 'knobs' }, ...parts.sides.map((box) => h('label', { class: 'side' }, h('span', { text: box.getAttribute('aria-label') }), box)), wordy('extend', () => extend(parts.sides.map((box) => Number(box.value)))));
  parts.bar = h('div', { class: 'tools', role: 'toolbar', 'aria-label': t('canvas_tools') }, act('replace', 'open', () => parts.file.click()), ...Object.values(parts.tools), h('i'), parts.undo, parts.redo, h('i'),
    act('out', 'minus', () => view.zoom(0.8), '-'), parts.percent, act('in', 'plus', () => view.zoom(1.25), '+'), act('fit', 'fit', () => view.fit(), 'r'), parts.fullscreen);
  parts.all = h('section', { class: 'canvas', 'aria-label': t('canvas_label') }, parts.modes, parts.bar, parts.strokes, parts.masks, parts.frames, parts.sheet, parts.status, parts.batch = mountBatch(), parts.file, parts.maskFile);
  byId('img2img_canvas').replaceChildren(parts.all);
}

function draw() {
  if (!parts) return;
  const [, layer] = MODES[chosen.mode], { doc } = paper, painting = doc && layer;
  const batch = chosen.mode === 'batch';
  parts.sheet.hidden = parts.status.hidden = batch;
  parts.batch.hidden = !batch;
  document.body.dataset.mode = chosen.mode; // what counts in a mode is shown by the style sheet
  for (const each of parts.modes.children) each.setAttribute('aria-selected', String(each.dataset.mode === chosen.mode));
  for (const [name, element] of Object.entries(parts.tools)) {
    element.hidden = !layer && !['hand', 'frame'].includes(name) || name === 'pick' && layer !== 'colour';
    element.setAttribute('aria-pressed', String(chosen.tool === name));
  }
  parts.bar.hidden = !doc || batch;
  parts.colour.hidden = layer !== 'colour';
  parts.colour.value = chosen.colour;
  parts.strokes.hidden = !painting || chosen.tool === 'frame';
  parts.masks.hidden = !painting || layer !== 'mask' || chosen.tool === 'frame';
  parts.frames.hidden = !doc || batch || chosen.tool !== 'frame';
  for (const [name, { range, box }] of Object.entries(parts.knobs)) { range.value = chosen[name]; range.style.setProperty('--at', (chosen[name] - RANGES[name][0]) / (RANGES[name][1] - RANGES[name][0]) * 100); if (document.activeElement !== box) box.value = chosen[name]; }
  parts.pressure.checked = chosen.pressure;
  parts.blur.checked = chosen.blur;
  parts.undo.disabled = !paper.done.length;
  parts.redo.disabled = !paper.undone.length;
  parts.invite.hidden = Boolean(doc);
  parts.sheet.dataset.tool = view?.held || !layer && chosen.tool !== 'frame' ? 'hand' : chosen.tool;
  status();
}

function status() {
  const by = say('resize_by'), { doc } = paper;
  parts.percent.textContent = view && doc ? `${Math.round(view.scale * 100)} %` : '';
  const size = doc && `${paper.width} × ${paper.height}`, result = doc && (by ? `${Math.round(paper.width * by)} × ${Math.round(paper.height * by)}` : `${say('width')} × ${say('height')}`);
  parts.status.textContent = doc ? [`${size} → ${result}`, t(`mode_${chosen.mode}_hint`)].join(' · ') : t(`mode_${chosen.mode}_hint`);
}
