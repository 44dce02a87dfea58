// What one sees of the sheet and does to it by mouse, finger and pen: zoom, pan, the tools. A stroke is drawn at the screen's size while it is made and
// at the sheet's when it ends, so that a large picture costs a frame nothing.

import { around, surface } from './canvas_paper.js';

const CHECK = 10, REACH = 24; // pixels of the screen

// Draws a stroke from point `from` on; points are [x, y, radius, and, where it is soft, the way since the last stamp]. Returns the box that it touched.
export function drawStroke(context, { points, softness, colour }, from = 0) {
  let box = null;
  context.strokeStyle = colour;
  context.lineCap = 'round';
  for (let at = from; at < points.length; at++) {
    const point = points[at], before = points[Math.max(0, at - 1)], [x, y, radius] = point, [beforeX, beforeY] = before;
    const way = Math.hypot(x - beforeX, y - beforeY), reach = radius + 2;
    box = around(box, [Math.min(x, beforeX) - reach, Math.min(y, beforeY) - reach, Math.abs(x - beforeX) + 2 * reach, Math.abs(y - beforeY) + 2 * reach]);
    if (softness) {
      const spacing = Math.max(0.5, radius * 0.2), shade = stamp(radius, softness, colour);
      let gone = at ? Math.max(0, spacing - before[3]) : 0;
      for (; gone <= way; gone += spacing) {
        const share = way && gone / way;
        context.drawImage(shade, beforeX + (x - beforeX) * share - radius, beforeY + (y - beforeY) * share - radius, radius * 2, radius * 2);
      }
      point[3] = way - gone + spacing;
    } else {
      context.lineWidth = radius * 2;
      context.beginPath();
      context.moveTo(beforeX, beforeY);
      context.lineTo(way ? x : x + 0.001, y);
      context.stroke();
    }
  }
  return box;
}

let last = { key: '', canvas: null };
function stamp(radius, softness, colour) {
  const side = Math.max(4, Math.ceil(radius * 2)), key = `${side} ${softness} ${colour}`;
  if (last.key === key) return last.canvas;
  const context = surface(side, side), half = side / 2, shade = context.createRadialGradient(half, half, half * (1 - softness) * 0.9, half, half, half);
  for (const [at, cover] of [[0, '99'], [0.4, '4d'], [0.75, '0f'], [1, '00']]) shade.addColorStop(at, colour + cover);
  context.fillStyle = shade;
  context.fillRect(0, 0, side, side);
  last = { key, canvas: context.canvas };
  return last.canvas;
}

// Paints only inside a box.
function within(context, box, paint) {
  context.save();
  context.beginPath();
  context.rect(...box);
  context.clip();
  paint();
  context.restore();
}

const rectangle = ([x, y, width, height]) => [[x, y], [x + width, y], [x + width, y + height], [x, y + height]];

export class View {
  // `look()` gives what the page has chosen: tool, layer ('colour', 'mask', null), size, softness, opacity, colour, pressure, tint, blur, frame.
  constructor(paper, sheet, canvas, look, on) {
    Object.assign(this, { paper, sheet, canvas, look, on, scale: 1, x: 0, y: 0, gesture: null, held: false, pointers: new Map(), pen: false, frames: [], patterns: {} });
    this.context = canvas.getContext('2d', { willReadFrequently: true });
    new ResizeObserver(() => this.resize()).observe(sheet);
    const hear = { pointerdown: this.down, pointermove: this.move, pointerup: this.up, pointercancel: this.up, pointerleave: () => on.hover(null), contextmenu: (event) => event.preventDefault(), wheel: this.wheel };
    for (const [name, act] of Object.entries(hear)) sheet.addEventListener(name, act.bind(this), { passive: false });
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.sheet, fitted = this.fitted ?? true;
    if (!width || !height) return;
    this.ratio = Math.min(devicePixelRatio || 1, 2);
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
    this.moveTo((width - this.paper.width * this.scale) / 2, (height - this.paper.height * this.scale) / 2);
    this.fitted = share === 1;
  }

  zoom(by, x = this.sheet.clientWidth / 2, y = this.sheet.clientHeight / 2) {
    if (!this.paper.doc) return;
    const scale = Math.min(64, Math.max(0.02, this.scale * by)), real = scale / this.scale;
    this.scale = scale;
    this.moveTo(x - (x - this.x) * real, y - (y - this.y) * real);
  }

  pan(x, y) { this.moveTo(this.x + x, this.y + y); }

  moveTo(x, y) {
    Object.assign(this, { x, y, fitted: false, coarse: true }); // sharp again when it rests
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

  // From here on `target` is drawn on in pixels of the sheet.
  place(target) {
    const by = this.scale * this.ratio;
    target.setTransform(by, 0, 0, by, this.x * this.ratio, this.y * this.ratio);
    target.imageSmoothingEnabled = by < 3;
    return target;
  }

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
    const part = box ? [box[0] * by + this.x * ratio - 2, box[1] * by + this.y * ratio - 2, box[2] * by + 4, box[3] * by + 4].map(Math.round) : [0, 0, canvas.width, canvas.height];
    if (!box && this.gesture?.points) drawStroke(this.place(this.wipe()), this.gesture); // the view is another one
    within(context, part, () => {
      context.clearRect(...part);
      if (!paper.doc) return;
      context.imageSmoothingQuality = this.coarse || this.gesture ? 'low' : 'medium';
      this.paintGround(part, by);
      this.place(context);
      context.drawImage(paper.doc.picture, 0, 0);
      if (look.layer) this.paintLayer(look, part);
      this.paintFrame(look);
    });
  }

  // Chequers under what is transparent.
  paintGround(part, by) {
    const { context, ratio, paper } = this, side = CHECK * ratio, edges = [this.x, this.y].map((edge) => Math.ceil(edge * ratio)); // not a half pixel beyond the edge
    within(context, [...edges, Math.floor(this.x * ratio + paper.width * by) - edges[0], Math.floor(this.y * ratio + paper.height * by) - edges[1]], () => {
      context.fillStyle = '#fff';
      context.fillRect(...part);
      if (!this.opaque) context.fillStyle = this.pattern('ground', side * 2, (tile) => { tile.fillStyle = '#d9d9d9'; tile.fillRect(0, 0, side, side); tile.fillRect(side, side, side, side); });
      context.fillRect(...part);
    });
  }

  paintLayer({ layer, blur, tint }, part) {
    const { paper, over, gesture, context } = this, made = gesture?.points;
    if (!paper.has(layer) && !made) return;
    within(over, part, () => {
      over.clearRect(...part);
      if (paper.has(layer)) {
        this.place(over);
        if (layer === 'mask' && blur) over.filter = `blur(${blur * this.scale * this.ratio}px)`;
        over.drawImage(paper.layer(layer).canvas, 0, 0);
        over.filter = 'none';
      }
      over.resetTransform();
      if (made) this.lay(over, this.live, gesture);
      if (layer !== 'mask') return;
      over.globalAlpha = 1;
      over.globalCompositeOperation = 'source-in';
      over.fillStyle = this.stripes(tint);
      over.fillRect(...part);
    });
    context.save();
    context.resetTransform();
    context.globalAlpha = layer === 'mask' ? 0.62 : 1;
    context.drawImage(over.canvas, 0, 0);
    context.restore();
  }

  // A stroke onto its layer.
  lay(target, { canvas }, { opacity, erase }, x = 0, y = 0) {
    target.globalAlpha = opacity;
    target.globalCompositeOperation = erase ? 'destination-out' : 'source-over';
    target.drawImage(canvas, x, y);
  }

  // The mask's colour with lighter stripes, so that it shows on a picture of any colour.
  stripes(tint) {
    const side = 8 * this.ratio;
    return this.pattern(tint, side, (tile) => {
      tile.fillStyle = tint;
      tile.fillRect(0, 0, side, side);
      tile.strokeStyle = '#fff6';
      tile.lineWidth = side / 5;
      for (const from of [-side, 0, side]) { tile.beginPath(); tile.moveTo(from, side); tile.lineTo(from + side, 0); tile.stroke(); }
    });
  }

  pattern(name, side, paint) {
    const key = `${name} ${side}`;
    if (!this.patterns[key]) {
      const tile = surface(side, side);
      paint(tile);
      this.patterns[key] = this.context.createPattern(tile.canvas, 'repeat');
    }
    return this.patterns[key];
  }

  // What is worked on with "only masked", a shape that is being drawn, a frame that is being pulled.
  paintFrame({ frame, tool }) {
    const { context, gesture, scale, paper } = this;
    const line = (spots, dashes) => {
      const path = new Path2D();
      spots.forEach((spot) => path.lineTo(...spot));
      path.closePath();
      context.lineWidth = 1.5 / scale;
      context.setLineDash(dashes.map((length) => length / scale));
      for (const [colour, start] of [['#000a', 0], ['#fff', dashes[0]]]) {
        context.lineDashOffset = start / scale;
        context.strokeStyle = colour;
        context.stroke(path);
      }
    };
    if (frame) line(rectangle(frame), [6, 4]);
    if (gesture?.path) line(gesture.path, [4, 4]);
    if (tool !== 'frame') return;
    const [left, top, right, bottom] = gesture?.sides || [0, 0, 0, 0];
    line(rectangle([-left, -top, paper.width + left + right, paper.height + top + bottom]), [10, 6]);
  }

  // ---- pointers. A gesture hears `move(spot on the sheet, event, way on the screen)` and `end()`.

  down(event) {
    if (event.target.closest('button, input, label') || !this.paper.doc) return;
    this.sheet.focus({ preventScroll: true });
    this.sheet.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.at(event));
    if (event.pointerType === 'pen') this.pen = true;
    if (this.pointers.size === 1) this.gesture = this.begin(event, this.look());
    if (this.pointers.size === 2) this.gesture = this.pinching();
  }

  begin(event, look) {
    const { button, altKey, pointerType } = event, tool = button === 2 ? 'erase' : look.tool, spot = this.onPaper(this.at(event));
    const finger = pointerType === 'touch' && this.pen; // with a pen in hand a finger only moves the sheet
    if (button === 1 || this.held || finger || tool === 'hand' || !look.layer && tool !== 'frame' && tool !== 'pick') return this.panning();
    if (tool === 'brush' || tool === 'erase') return this.stroking(event, spot, look, tool === 'erase');
    if (tool === 'frame') return this.pulling(spot);
    if (tool === 'lasso' || tool === 'rect') return this.shaping(tool, spot, altKey);
    this.on.click(tool, spot);
    return null;
  }

  move(event) {
    this.on.hover(this.at(event));
    const before = this.pointers.get(event.pointerId), here = this.at(event);
    if (!before) return;
    this.pointers.set(event.pointerId, here);
    this.gesture?.move(this.onPaper(here), event, [here[0] - before[0], here[1] - before[1]]);
  }

  up(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    const { gesture } = this;
    if (gesture?.fingers && this.pointers.size) return void (this.gesture = this.panning()); // the finger that is left
    if (this.pointers.size) return;
    this.end(event.type === 'pointerup');
    this.draw();
  }

  // Nothing is being made any more.
  stop() {
    this.gesture = null;
    this.wipe();
  }

  wipe() {
    this.live?.resetTransform();
    this.live?.clearRect(0, 0, this.canvas.width, this.canvas.height);
    return this.live;
  }

  // What is being made ends here and counts (`keep`), or is dropped.
  end(keep) {
    const { gesture } = this;
    this.pointers.clear();
    this.stop();
    if (keep) gesture?.end?.();
    else if (gesture?.sides) this.on.pulled([0, 0, 0, 0]);
  }

  panning() { return { move: (spot, event, way) => this.pan(...way) }; }

  pinching() {
    this.stop();
    const look = () => { const [a, b] = [...this.pointers.values()]; return [Math.hypot(a[0] - b[0], a[1] - b[1]), (a[0] + b[0]) / 2, (a[1] + b[1]) / 2]; };
    let before = look();
    this.draw();
    return {
      fingers: true,
      move: () => {
        const [width, x, y] = look();
        this.pan(x - before[1], y - before[2]);
        this.zoom(width / Math.max(1, before[0]), x, y);
        before = [width, x, y];
      },
    };
  }

  shaping(tool, from, erase) {
    const path = [from];
    return {
      path,
      move: (spot) => {
        if (tool === 'lasso') path.push(spot);
        else path.splice(0, path.length, ...rectangle([...from, spot[0] - from[0], spot[1] - from[1]]).map((corner) => corner.map(Math.round)));
        this.draw();
      },
      end: () => { if (path.length > 2) this.on.shape(path, erase); },
    };
  }

  // The frame by the edge or corner that is nearest to where it was taken, in steps of 8 pixels, outward only.
  pulling([fromX, fromY]) {
    const { width, height } = this.paper, slack = REACH / this.scale, out = (taken, by) => (taken ? Math.max(0, Math.round(by / 8) * 8) : 0), gesture = { sides: [0, 0, 0, 0] };
    gesture.move = ([x, y]) => {
      gesture.sides = [out(fromX < slack, fromX - x), out(fromY < slack, fromY - y), out(fromX > width - slack, x - fromX), out(fromY > height - slack, y - fromY)];
      this.on.pulled(gesture.sides);
      this.draw();
    };
    gesture.end = () => { if (gesture.sides.some(Boolean)) this.on.extend(gesture.sides); };
    return gesture;
  }

  stroking(event, spot, look, erase) {
    const { layer, size, softness, opacity, colour } = look, pressed = look.pressure && event.pointerType === 'pen';
    const gesture = { layer, erase, softness, opacity, colour, points: [], box: null };
    const add = ([x, y], { pressure }) => gesture.points.push([x, y, Math.max(0.5, size / 2 * (pressed ? Math.max(0.05, pressure) : 1))]);
    const show = (from) => { // the new part, at the screen's size
      const box = drawStroke(this.place(this.live), gesture, from);
      gesture.box = around(gesture.box, box);
      this.draw(box);
      this.on.stroke(gesture);
    };
    gesture.move = (here, moved) => {
      const from = gesture.points.length, all = moved.getCoalescedEvents?.() || [];
      for (const each of all.length ? all : [moved]) add(this.onPaper(this.at(each)), each);
      show(from);
    };
    gesture.end = () => this.endStroke(gesture);
    if (event.shiftKey && this.lastSpot) add(this.lastSpot, { pressure: 1 }); // a straight line from where the last one ended
    add(spot, event);
    this.frames.length = 0;
    show(0);
    return gesture;
  }

  // The stroke again, at the size of the sheet.
  endStroke(gesture) {
    const inside = this.paper.clip(gesture.box);
    this.lastSpot = gesture.points.at(-1).slice(0, 2);
    if (!inside) return;
    const [x, y, width, height] = inside, whole = surface(width, height);
    whole.translate(-x, -y);
    drawStroke(whole, gesture);
    this.paper.edit(gesture.layer, inside, (context) => this.lay(context, whole, gesture, x, y));
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
