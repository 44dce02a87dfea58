// What one sees of the sheet and does to it by mouse, finger and pen: zoom, pan, the tools. A stroke is drawn at the screen's size while it is made and
// at the sheet's when it ends, so that a large picture costs a frame nothing.

import { around, surface } from './canvas_paper.js';

const CHECK = 10, REACH = 24; // pixels of the screen

// Draws the part of a stroke from point `from` on; points are [x, y, radius]. Returns the box that it touched.
export function drawStroke(context, points, { softness, colour }, from = 0) {
  let box = null;
  context.fillStyle = context.strokeStyle = colour;
  context.lineCap = 'round';
  for (let at = Math.max(0, from); at < points.length; at++) {
    const [x, y, radius] = points[at], [beforeX, beforeY] = points[Math.max(0, at - 1)], way = Math.hypot(x - beforeX, y - beforeY);
    const reach = radius + 2;
    box = around(box, [Math.min(x, beforeX) - reach, Math.min(y, beforeY) - reach, Math.abs(x - beforeX) + 2 * reach, Math.abs(y - beforeY) + 2 * reach]);
    if (softness === 0) {
      context.lineWidth = radius * 2;
      context.beginPath();
      context.moveTo(beforeX, beforeY);
      context.lineTo(way ? x : x + 0.001, y);
      context.stroke();
      continue;
    }
    const spacing = Math.max(0.5, radius * 0.2), shade = stamp(radius, softness, colour);
    for (let gone = at ? spacing - (points[at - 1].rest ?? 0) : 0; gone <= way; gone += spacing) {
      const share = way ? gone / way : 0;
      context.drawImage(shade, beforeX + (x - beforeX) * share - radius, beforeY + (y - beforeY) * share - radius, radius * 2, radius * 2);
      points[at].rest = way - gone;
    }
    points[at].rest ??= way + (at ? points[at - 1].rest ?? 0 : 0);
  }
  return box;
}

let last = { key: '', canvas: null };
function stamp(radius, softness, colour) {
  const side = Math.max(4, Math.ceil(radius * 2)), key = `${side} ${softness} ${colour}`;
  if (last.key === key) return last.canvas;
  const context = surface(side, side), half = side / 2, shade = context.createRadialGradient(half, half, half * (1 - softness) * 0.9, half, half, half);
  const [red, green, blue] = colour.match(/\d+/g);
  for (const [at, cover] of [[0, 0.6], [0.4, 0.3], [0.75, 0.06], [1, 0]]) shade.addColorStop(at, `rgb(${red} ${green} ${blue} / ${cover})`);
  context.fillStyle = shade;
  context.fillRect(0, 0, side, side);
  last = { key, canvas: context.canvas };
  return last.canvas;
}

export class View {
  // `look()` gives what the page has chosen: tool, layer ('colour', 'mask', null), size, softness, opacity, colour, pressure, tint, blur, frame.
  constructor(paper, sheet, canvas, look, on) {
    Object.assign(this, { paper, sheet, canvas, look, on, scale: 1, x: 0, y: 0, gesture: null, held: false, pointers: new Map(), pen: false, frames: [] });
    this.context = canvas.getContext('2d', { willReadFrequently: true });
    new ResizeObserver(() => this.resize()).observe(sheet);
    for (const [name, act] of Object.entries({ pointerdown: this.down, pointermove: this.move, pointerup: this.up, pointercancel: this.cancel })) sheet.addEventListener(name, act.bind(this));
    sheet.addEventListener('pointerleave', () => this.hover(null));
    sheet.addEventListener('contextmenu', (event) => event.preventDefault());
    sheet.addEventListener('wheel', (event) => this.wheel(event), { passive: false });
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.sheet;
    if (!width || !height) return;
    this.ratio = Math.min(devicePixelRatio || 1, 2);
    const fitted = !this.canvas.width || this.fitted;
    Object.assign(this.canvas, { width: Math.round(width * this.ratio), height: Math.round(height * this.ratio) });
    this.live = surface(this.canvas.width, this.canvas.height); // the stroke that is being made
    this.over = surface(this.canvas.width, this.canvas.height); // a layer with it
    if (fitted) this.fit();
    else this.draw();
  }

  // ---- where one looks

  fit(share = 1) {
    const { clientWidth: width, clientHeight: height } = this.sheet;
    if (!this.paper.doc) return this.draw();
    this.scale = Math.min((width - 16) / this.paper.width, (height - 16) / this.paper.height, 8) * share;
    this.x = (width - this.paper.width * this.scale) / 2;
    this.y = (height - this.paper.height * this.scale) / 2;
    this.fitted = share === 1;
    this.moved();
  }

  zoom(by, x = this.sheet.clientWidth / 2, y = this.sheet.clientHeight / 2) {
    if (!this.paper.doc) return;
    const scale = Math.min(64, Math.max(0.02, this.scale * by));
    this.x = x - (x - this.x) * scale / this.scale;
    this.y = y - (y - this.y) * scale / this.scale;
    this.scale = scale;
    this.fitted = false;
    this.moved();
  }

  pan(x, y) {
    this.x += x;
    this.y += y;
    this.fitted = false;
    this.moved();
  }

  moved() {
    this.coarse = true; // sharp again when it rests
    clearTimeout(this.resting);
    this.resting = setTimeout(() => { this.coarse = false; this.draw(); }, 160);
    this.draw();
    this.on.moved();
  }

  at(event) {
    const { left, top } = this.sheet.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  }

  onPaper([x, y]) { return [(x - this.x) / this.scale, (y - this.y) / this.scale]; }

  // ---- drawing; `box` is a part of the sheet, without one everything is drawn

  draw(box = null) {
    this.pending = this.pending === undefined ? box : this.pending && box && around(this.pending, box);
    this.asked ??= requestAnimationFrame(() => {
      const part = this.pending, began = performance.now();
      this.pending = this.asked = undefined;
      this.paint(part);
      if (this.gesture?.points) this.frames.push(performance.now() - began); // for the test of its speed
    });
  }

  paint(box) {
    const { context, paper, ratio, canvas } = this, by = this.scale * ratio, look = this.look();
    if (!canvas.width || !this.over) return;
    let part = [0, 0, canvas.width, canvas.height];
    if (box) part = [box[0] * by + this.x * ratio - 2, box[1] * by + this.y * ratio - 2, box[2] * by + 4, box[3] * by + 4].map(Math.round);
    const place = (target) => target.setTransform(by, 0, 0, by, this.x * ratio, this.y * ratio);
    context.save();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.beginPath();
    context.rect(...part);
    context.clip();
    context.clearRect(...part);
    if (paper.doc) {
      context.imageSmoothingEnabled = by < 3;
      context.imageSmoothingQuality = this.coarse || this.gesture ? 'low' : 'medium';
      this.paintGround(context, part, by);
      place(context);
      context.drawImage(paper.doc.picture, 0, 0);
      for (const name of ['colour', 'mask']) if (look.shows.includes(name)) this.paintLayer(name, part, place, look);
      this.paintFrame(context, by, look);
    }
    context.restore();
  }

  // Chequers under what is transparent.
  paintGround(context, part, by) {
    const side = CHECK * this.ratio, [x, y] = [Math.ceil(this.x * this.ratio), Math.ceil(this.y * this.ratio)]; // not a half pixel beyond the edge
    context.save();
    context.beginPath();
    context.rect(x, y, Math.floor(this.x * this.ratio + this.paper.width * by) - x, Math.floor(this.y * this.ratio + this.paper.height * by) - y);
    context.clip();
    context.fillStyle = '#fff';
    context.fillRect(...part);
    if (!this.opaque) {
      const tile = surface(side * 2, side * 2);
      tile.fillStyle = '#d9d9d9';
      tile.fillRect(0, 0, side, side);
      tile.fillRect(side, side, side, side);
      context.fillStyle = context.createPattern(tile.canvas, 'repeat');
      context.fillRect(...part);
    }
    context.restore();
  }

  paintLayer(name, part, place, look) {
    const { paper, over, gesture } = this, made = gesture?.points && gesture.layer === name ? gesture : null;
    if (!paper.has(name) && !made) return;
    over.save();
    over.setTransform(1, 0, 0, 1, 0, 0);
    over.clearRect(...part);
    over.beginPath();
    over.rect(...part);
    over.clip();
    if (paper.has(name)) {
      place(over);
      if (name === 'mask' && look.blur) over.filter = `blur(${look.blur * this.scale * this.ratio}px)`;
      over.imageSmoothingEnabled = this.scale * this.ratio < 3;
      over.drawImage(paper.layer(name).canvas, 0, 0);
      over.filter = 'none';
    }
    over.setTransform(1, 0, 0, 1, 0, 0);
    if (made) {
      over.globalAlpha = made.opacity;
      over.globalCompositeOperation = made.erase ? 'destination-out' : 'source-over';
      over.drawImage(this.live.canvas, 0, 0);
      over.globalAlpha = 1;
    }
    if (name === 'mask') {
      over.globalCompositeOperation = 'source-in';
      over.fillStyle = this.stripes(look.tint);
      over.fillRect(...part);
    }
    over.restore();
    this.context.save();
    this.context.setTransform(1, 0, 0, 1, 0, 0);
    this.context.globalAlpha = name === 'mask' ? 0.62 : 1;
    this.context.drawImage(over.canvas, 0, 0);
    this.context.restore();
  }

  // The mask's colour with lighter stripes, so that it shows on a picture of any colour.
  stripes(tint) {
    if (this.striped?.tint === tint) return this.striped.pattern;
    const side = 8 * this.ratio, tile = surface(side, side);
    tile.fillStyle = tint;
    tile.fillRect(0, 0, side, side);
    tile.strokeStyle = '#fff6';
    tile.lineWidth = side / 5;
    for (const from of [-side, 0, side]) { tile.beginPath(); tile.moveTo(from, side); tile.lineTo(from + side, 0); tile.stroke(); }
    this.striped = { tint, pattern: this.over.createPattern(tile.canvas, 'repeat') };
    return this.striped.pattern;
  }

  // What is worked on with "only masked", a shape that is being drawn, a frame that is being pulled.
  paintFrame(context, by, look) {
    const { gesture } = this, line = (path, dashes = [6, 4]) => {
      for (const [colour, start] of [['#000a', 0], ['#fff', dashes[0]]]) {
        context.lineWidth = 1.5 * this.ratio / by;
        context.setLineDash(dashes.map((length) => length * this.ratio / by));
        context.lineDashOffset = start * this.ratio / by;
        context.strokeStyle = colour;
        context.stroke(path);
      }
    };
    const boxed = ([x, y, width, height]) => { const path = new Path2D(); path.rect(x, y, width, height); return path; };
    if (look.frame) line(boxed(look.frame));
    if (gesture?.path) { const path = new Path2D(); gesture.path.forEach(([x, y]) => path.lineTo(x, y)); line(path, [4, 4]); }
    if (gesture?.rect) line(boxed(gesture.rect), [4, 4]);
    if (look.tool === 'frame') {
      const [left, top, right, bottom] = gesture?.sides || [0, 0, 0, 0];
      line(boxed([-left, -top, this.paper.width + left + right, this.paper.height + top + bottom]), [10, 6]);
    }
  }

  hover(event) { this.on.hover(event && this.at(event), this.scale); }

  // ---- pointers

  down(event) {
    if (event.target.closest('button, input, label') || !this.paper.doc) return;
    this.sheet.focus({ preventScroll: true });
    this.sheet.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.at(event));
    if (event.pointerType === 'pen') this.pen = true;
    if (this.pointers.size === 2) return this.beginPinch();
    if (this.pointers.size > 2) return;
    const look = this.look(), finger = event.pointerType === 'touch' && this.pen; // with a pen in hand a finger only moves the sheet
    const spot = this.onPaper(this.at(event)), tool = event.button === 2 ? 'erase' : look.tool;
    if (event.button === 1 || this.held || finger || tool === 'hand' || !look.layer && tool !== 'frame' && tool !== 'pick') this.gesture = { kind: 'pan', from: this.at(event) };
    else if (tool === 'brush' || tool === 'erase') this.beginStroke(event, spot, look, tool === 'erase');
    else if (tool === 'lasso') this.gesture = { kind: tool, path: [spot], erase: event.altKey };
    else if (tool === 'rect') this.gesture = { kind: tool, from: spot, rect: [...spot, 0, 0], erase: event.altKey };
    else if (tool === 'frame') this.gesture = { kind: tool, from: spot, sides: [0, 0, 0, 0] };
    else this.on.click(tool, spot);
  }

  beginStroke(event, spot, look, erase) {
    const rgb = look.layer === 'mask' ? 'rgb(255 255 255)' : look.colour;
    this.gesture = { kind: 'stroke', layer: look.layer, erase, opacity: look.opacity, softness: look.softness, colour: rgb, points: [], shown: 0, box: null, pressure: look.pressure && event.pointerType === 'pen', size: look.size };
    if (event.shiftKey && this.lastSpot) this.gesture.points.push(Object.assign([...this.lastSpot, look.size / 2])); // a straight line from where the last one ended
    this.frames.length = 0;
    this.addPoint(event, spot);
    this.extendStroke();
  }

  addPoint(event, [x, y]) {
    const { gesture } = this, force = gesture.pressure ? Math.max(0.05, event.pressure) : 1;
    gesture.points.push([x, y, Math.max(0.5, gesture.size / 2 * force)]);
  }

  // The new part of the stroke, at the screen's size.
  extendStroke() {
    const { gesture, live, ratio } = this, by = this.scale * ratio;
    live.setTransform(by, 0, 0, by, this.x * ratio, this.y * ratio);
    const box = drawStroke(live, gesture.points, gesture, gesture.shown);
    gesture.shown = gesture.points.length;
    gesture.box = around(gesture.box, box);
    if (box) this.draw(box);
    this.on.stroke(gesture);
  }

  beginPinch() {
    this.endLive();
    const [a, b] = [...this.pointers.values()];
    this.gesture = { kind: 'pinch', a, b };
    this.draw();
  }

  move(event) {
    this.hover(event);
    if (!this.pointers.has(event.pointerId)) return;
    const before = this.pointers.get(event.pointerId), here = this.at(event), { gesture } = this, spot = this.onPaper(here);
    this.pointers.set(event.pointerId, here);
    if (!gesture) return;
    if (gesture.kind === 'pan') this.pan(here[0] - before[0], here[1] - before[1]);
    else if (gesture.kind === 'pinch') this.pinch(gesture);
    else if (gesture.kind === 'stroke') {
      const all = event.getCoalescedEvents?.() || [];
      for (const each of all.length ? all : [event]) this.addPoint(each, this.onPaper(this.at(each)));
      this.extendStroke();
    } else if (gesture.kind === 'lasso') { gesture.path.push(spot); this.draw(); }
    else if (gesture.kind === 'rect') {
      gesture.rect = [Math.min(spot[0], gesture.from[0]), Math.min(spot[1], gesture.from[1]), Math.abs(spot[0] - gesture.from[0]), Math.abs(spot[1] - gesture.from[1])];
      this.draw();
    } else this.pull(gesture, spot);
  }

  pinch(gesture) {
    const [a, b] = [...this.pointers.values()], width = ([one, other]) => Math.hypot(one[0] - other[0], one[1] - other[1]), middle = ([one, other]) => [(one[0] + other[0]) / 2, (one[1] + other[1]) / 2];
    const [x, y] = middle([a, b]), [beforeX, beforeY] = middle([gesture.a, gesture.b]);
    this.pan(x - beforeX, y - beforeY);
    this.zoom(width([a, b]) / Math.max(1, width([gesture.a, gesture.b])), x, y);
    Object.assign(gesture, { a, b });
  }

  // The frame by the edge or corner that is nearest to where it was taken, in steps of 8 pixels, outward only.
  pull(gesture, spot) {
    const { width, height } = this.paper, [fromX, fromY] = gesture.from, slack = REACH / this.scale, out = (by) => Math.max(0, Math.round(by / 8) * 8);
    const [byX, byY] = [spot[0] - fromX, spot[1] - fromY];
    gesture.sides = [fromX < slack ? out(-byX) : 0, fromY < slack ? out(-byY) : 0, fromX > width - slack ? out(byX) : 0, fromY > height - slack ? out(byY) : 0];
    this.on.pulled(gesture.sides);
    this.draw();
  }

  up(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    const { gesture } = this;
    if (gesture?.kind === 'pinch' && this.pointers.size) return void (this.gesture = { kind: 'pan' }); // the finger that is left
    if (this.pointers.size || !gesture) return;
    if (gesture.kind === 'stroke') return this.endStroke(gesture);
    this.gesture = null;
    if (gesture.kind === 'lasso' && gesture.path.length > 2) this.on.shape(gesture.path, gesture.erase);
    if (gesture.kind === 'rect') { const [x, y, width, height] = gesture.rect; this.on.shape([[x, y], [x + width, y], [x + width, y + height], [x, y + height]].map((spot) => spot.map(Math.round)), gesture.erase); }
    if (gesture.kind === 'frame' && gesture.sides.some(Boolean)) this.on.extend(gesture.sides);
    this.draw();
  }

  cancel(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    this.endLive();
    this.draw();
  }

  endLive() {
    this.gesture = null;
    this.live?.setTransform(1, 0, 0, 1, 0, 0);
    this.live?.clearRect(0, 0, this.canvas.width, this.canvas.height);
  }

  // The stroke again, at the size of the sheet.
  endStroke(gesture) {
    const { paper } = this;
    if (gesture.shown < gesture.points.length) this.extendStroke();
    this.lastSpot = gesture.points.at(-1).slice(0, 2);
    const inside = gesture.box && paper.clip(gesture.box);
    this.endLive();
    if (inside) {
      const whole = surface(inside[2], inside[3]);
      whole.translate(-inside[0], -inside[1]);
      drawStroke(whole, gesture.points.map((point) => point.slice(0, 3)), gesture);
      paper.edit(gesture.layer, inside, (context) => {
        context.globalAlpha = gesture.opacity;
        context.globalCompositeOperation = gesture.erase ? 'destination-out' : 'source-over';
        context.drawImage(whole.canvas, inside[0], inside[1]);
      });
    }
    this.draw(gesture.box);
  }

  // A1111's: Ctrl changes the brush, Alt (or nothing) zooms, Shift moves sideways. Two fingers on a pad say "Ctrl" without the key.
  wheel(event) {
    if (!this.paper.doc || this.gesture) return;
    event.preventDefault();
    const by = event.deltaMode ? event.deltaY * 30 : event.deltaY;
    if (event.shiftKey) this.pan(-(by || event.deltaX), 0);
    else if (event.ctrlKey && this.on.control()) this.on.resize(by < 0 ? 1 : -1);
    else this.zoom(Math.exp(-by * (event.ctrlKey ? 0.01 : 0.0015)), ...this.at(event));
  }
}
