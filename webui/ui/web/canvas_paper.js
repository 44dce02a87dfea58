// The sheet that is worked on: a picture, strokes of colour over it, a mask. Every change can be taken back. Knows no page and no pointer.

import { encodePng } from './canvas_png.js';

const STEPS = 100, ROOM = 1 << 30; // of undo; bytes it may take before the oldest go
const PLAIN = '#ffffff'; // of a mask, in which only the cover counts

export function surface(width, height) {
  const canvas = document.createElement('canvas');
  Object.assign(canvas, { width, height });
  return canvas.getContext('2d', { willReadFrequently: true }); // in memory: it is read for undo and for upload, and a part of it is drawn at a time
}

const copyOf = (source, width, height, x = 0, y = 0) => {
  const context = surface(width, height);
  context.drawImage(source, x, y);
  return context;
};

// The box around two: [x, y, width, height].
export const around = (a, b) => {
  if (!a || !b) return a || b;
  const x = Math.min(a[0], b[0]), y = Math.min(a[1], b[1]);
  return [x, y, Math.max(a[0] + a[2], b[0] + b[2]) - x, Math.max(a[1] + a[3], b[1] + b[3]) - y];
};

// All of a surface in one colour; 'xor' swaps what is covered and what is not.
export function cover(context, colour, how = 'source-over') {
  context.globalCompositeOperation = how;
  context.fillStyle = colour;
  context.fillRect(0, 0, context.canvas.width, context.canvas.height);
}

const packing = (name, bytes) => new Response(new Blob([bytes]).stream().pipeThrough(new name('deflate-raw'))).arrayBuffer();

export class Paper {
  constructor(changed) {
    this.changed = changed; // hears the name of what changed: 'picture', 'colour', 'mask', 'steps'
    this.done = [];
    this.undone = [];
    this.busy = Promise.resolve(); // undo and redo wait for each other
  }

  get width() { return this.doc?.width ?? 0; }
  get height() { return this.doc?.height ?? 0; }
  get box() { return [0, 0, this.width, this.height]; }
  has(name) { return Boolean(this.doc?.layers[name]); }
  layer(name) { return (this.doc.layers[name] ??= surface(this.width, this.height)); }
  tell(...names) { names.forEach((name) => this.changed(name)); }

  // A picture in place of the one before. `blob` is its file, when it has one; `colour` and `mask` are pictures of what lies on it.
  open(picture, blob, { colour, mask } = {}) {
    if (this.doc !== undefined) this.keep({ doc: this.doc }); // null: nothing lay there
    this.doc = { picture, blob, width: picture.width, height: picture.height, layers: {} };
    if (colour) this.layer('colour').drawImage(colour, 0, 0);
    if (mask) this.layer('mask').putImageData(this.maskOf(mask), 0, 0);
    this.tell('picture', 'colour', 'mask');
  }

  clip([x, y, width, height]) {
    const left = Math.max(0, Math.floor(x)), top = Math.max(0, Math.floor(y));
    const right = Math.min(this.width, Math.ceil(x + width)), bottom = Math.min(this.height, Math.ceil(y + height));
    return right > left && bottom > top ? [left, top, right - left, bottom - top] : null;
  }

  // Changes a layer inside a box by `paint(context)`, as one step.
  edit(name, box, paint) {
    const inside = this.clip(box), context = this.layer(name);
    if (!inside) return;
    this.keep({ name, box: inside, data: context.getImageData(...inside) });
    context.save();
    paint(context);
    context.restore();
    this.tell(name);
  }

  keep(step) {
    this.undone.length = 0;
    this.push(this.done, step);
    this.tell('steps');
  }

  push(steps, step) {
    steps.push(step);
    if (step.data) this.pack(step);
    const size = ({ data, bytes, doc }) => data?.data.length ?? bytes?.byteLength ?? (doc ? doc.width * doc.height * 4 * (1 + Object.keys(doc.layers).length) : 0);
    while (steps.length > 1 && (steps.length > STEPS || steps.reduce((sum, each) => sum + size(each), 0) > ROOM)) steps.shift();
  }

  // Masks and strokes are mostly even: packed they are a hundredth.
  async pack(step) {
    const bytes = await packing(CompressionStream, step.data.data);
    Object.assign(step, { bytes, data: null });
  }

  undo() { return this.step(this.done, this.undone); }
  redo() { return this.step(this.undone, this.done); }

  step(from, to) {
    return (this.busy = this.busy.then(async () => {
      const step = from.at(-1);
      const old = step?.name && (step.data || new ImageData(new Uint8ClampedArray(await packing(DecompressionStream, step.bytes)), step.box[2], step.box[3]));
      if (!step || from.at(-1) !== step) return; // a stroke was made meanwhile
      from.pop();
      if ('doc' in step) {
        this.push(to, { doc: this.doc });
        this.doc = step.doc;
        this.tell('picture', 'colour', 'mask');
      } else {
        const { name, box } = step, context = this.layer(name);
        this.push(to, { name, box, data: context.getImageData(...box) });
        context.putImageData(old, box[0], box[1]);
        this.tell(name);
      }
      this.tell('steps');
      return step.name;
    }));
  }

  // ---- whole layers

  mask(paint) { this.edit('mask', this.box, paint); }

  clear() { if (this.has('mask')) this.mask((context) => context.clearRect(...this.box)); }

  invert() { this.mask((context) => cover(context, PLAIN, 'xor')); }

  // Moves the mask's edge by so many pixels, outward or (less than 0) inward: everything within that distance of it joins.
  grow(by) {
    this.mask((context) => {
      for (let left = Math.abs(by); left > 0; left -= 4) {
        const reach = Math.min(4, left), before = copyOf(context.canvas, this.width, this.height);
        if (by < 0) cover(before, PLAIN, 'xor'); // the outside grows
        context.globalCompositeOperation = by < 0 ? 'destination-out' : 'source-over';
        for (let turn = 0; turn < 16; turn++) context.drawImage(before.canvas, Math.round(Math.cos(turn * Math.PI / 8) * reach), Math.round(Math.sin(turn * Math.PI / 8) * reach));
      }
    });
  }

  // A picture as the mask, stretched: what is bright in it, or opaque where it has transparency.
  takeMask(picture) { this.mask((context) => context.putImageData(this.maskOf(picture), 0, 0)); }

  maskOf(picture) {
    const context = surface(this.width, this.height);
    context.drawImage(picture, 0, 0, this.width, this.height);
    const data = context.getImageData(...this.box), pixels = data.data;
    let seen = false;
    for (let at = 3; at < pixels.length && !seen; at += 4) seen = pixels[at] < 255;
    for (let at = 0; at < pixels.length; at += 4) {
      if (!seen) pixels[at + 3] = Math.round(pixels[at] * 0.299 + pixels[at + 1] * 0.587 + pixels[at + 2] * 0.114);
      pixels[at] = pixels[at + 1] = pixels[at + 2] = 255;
    }
    return data;
  }

  // More room on the sides, transparent and under the mask, which reaches a little into the picture so that the two grow together.
  extend(left, top, right, bottom, overlap = 8) {
    const { picture, layers } = this.doc, width = this.width + left + right, height = this.height + top + bottom;
    const wider = (source) => source && copyOf(source, width, height, left, top).canvas;
    const into = (side) => side && side + overlap, mask = surface(width, height);
    cover(mask, PLAIN);
    mask.clearRect(into(left), into(top), width - into(left) - into(right), height - into(top) - into(bottom));
    if (layers.mask) mask.drawImage(layers.mask.canvas, left, top);
    this.open(wider(picture), null, { colour: wider(layers.colour?.canvas), mask: mask.canvas });
  }

  copy() { return copyOf(this.doc.picture, this.width, this.height); }

  // Picture and colour as one sees them.
  visible() {
    const context = this.copy();
    if (this.has('colour')) context.drawImage(this.layer('colour').canvas, 0, 0);
    return context;
  }

  // Fills what is connected with a point and alike: in the mask what is as covered as there, else what looks as there.
  flood(name, x, y, { colour, opacity }, tolerance = 32) {
    const { width, height } = this, at = Math.floor(y) * width + Math.floor(x);
    if (x < 0 || y < 0 || x >= width || y >= height) return;
    const source = name === 'mask' ? this.layer('mask') : this.visible();
    const pixels = source.getImageData(...this.box).data, here = pixels.slice(at * 4, at * 4 + 4), found = new Uint32Array(width * height), waiting = [at];
    const near = (place, part) => Math.abs(pixels[place * 4 + part] - here[part]) <= tolerance;
    const alike = (place) => !found[place] && near(place, 0) && near(place, 1) && near(place, 2) && near(place, 3);
    let bounds = null;
    while (waiting.length) {
      let place = waiting.pop();
      if (!alike(place)) continue;
      const row = Math.floor(place / width) * width;
      while (place > row && alike(place - 1)) place--;
      const first = place - row;
      let above = false, below = false;
      for (; place < row + width && alike(place); place++) {
        found[place] = 0xff000000; // opaque
        const up = row > 0 && alike(place - width), down = row + width < found.length && alike(place + width);
        if (up && !above) waiting.push(place - width);
        if (down && !below) waiting.push(place + width);
        [above, below] = [up, down];
      }
      bounds = around(bounds, [first, row / width, place - row - first, 1]);
    }
    if (!bounds) return;
    const [left, top, wide, high] = bounds, form = surface(wide, high);
    form.putImageData(new ImageData(new Uint8ClampedArray(found.buffer), width), -left, -top);
    cover(form, colour, 'source-in');
    this.edit(name, bounds, (context) => {
      context.globalAlpha = opacity;
      context.drawImage(form.canvas, left, top);
    });
  }

  // ---- what goes to the server

  // The box around everything in a layer, to a pixel of a copy of at most `most` pixels a side; null when it is empty.
  extent(name, most = 512) {
    if (!this.has(name)) return null;
    const by = Math.min(1, most / Math.max(this.width, this.height)), width = Math.ceil(this.width * by), height = Math.ceil(this.height * by), small = surface(width, height);
    small.drawImage(this.layer(name).canvas, 0, 0, width, height);
    const pixels = new Uint32Array(small.getImageData(0, 0, width, height).data.buffer);
    let [left, top, right, bottom] = [width, height, -1, -1];
    for (let at = 0; at < pixels.length; at++) {
      if (!(pixels[at] >>> 24)) continue;
      const x = at % width, y = (at - x) / width;
      if (x < left) left = x;
      if (x > right) right = x;
      if (y < top) top = y;
      bottom = y;
    }
    return right < 0 ? null : this.clip([left / by, top / by, (right - left + 1) / by, (bottom - top + 1) / by]);
  }

  // A part at once: the picture's own file if it has one, else pixels; null for a layer with nothing on it.
  raw(name) {
    if (name === 'picture') return this.doc && (this.doc.blob ?? this.copy().getImageData(...this.box));
    return this.extent(name, Infinity) && this.layer(name).getImageData(...this.box);
  }

  // The file of a part: the picture's own, or a PNG; null as above.
  async file(name) {
    await this.busy;
    const { doc } = this, pixels = name !== 'picture' && this.raw(name);
    if (name === 'picture') return doc && (doc.blob ??= await new Promise((done) => this.copy().canvas.toBlob(done, 'image/png')));
    return pixels && encodePng(pixels, name === 'mask');
  }
}
