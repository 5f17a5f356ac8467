// Charts of the past on a canvas. An hour of seconds is drawn as the lowest and highest value of each column of pixels, so that a spike of
// one second shows at any width, and a chart costs well under a millisecond.
// All charts share one span of time and one crosshair; a frame is drawn only when something has changed and somebody can see it. The crosshair
// lies over the canvas: moving it draws nothing anew.
// SPDX-License-Identifier: Apache-2.0
import { h, say } from './dom.js';
import { indexAt } from './past.js';
import { time, timeShort } from './format.js';

const LEFT = 56; // room for the scale
const TOP = 10;
const BOTTOM = 22;

/** What the charts of a page share. */
export class Board {
  constructor(past) {
    this.past = past;
    this.span = 300000;
    this.cross = null; // a time, or null
    this.charts = new Set();
    this.waiting = 0;
    this.colours = {};
    this.seen = new IntersectionObserver((list) => {
      for (const e of list) {
        e.target.chart.visible = e.isIntersecting;
        if (e.isIntersecting) e.target.chart.ask();
      }
    });
    this.sized = new ResizeObserver((list) => {
      for (const e of list) e.target.chart.resize(e);
    });
    document.addEventListener('visibilitychange', () => this.changed());
  }
  add(chart) {
    this.charts.add(chart);
    this.seen.observe(chart.canvas);
    this.sized.observe(chart.canvas);
  }
  remove(chart) {
    this.charts.delete(chart);
    this.seen.unobserve(chart.canvas);
    this.sized.unobserve(chart.canvas);
  }
  changed() {
    for (const c of this.charts) c.ask();
  }
  setSpan(ms) {
    this.span = ms;
    this.changed();
  }
  setCross(t) {
    if (this.cross === t) return;
    this.cross = t;
    for (const c of this.charts) c.moved = true;
    this.frame();
  }
  /** The theme is another: colours are read from the style sheet again. */
  recolour() {
    this.colours = {};
    this.changed();
  }
  colour(name) {
    if (!this.colours[name]) {
      const probe = document.body.appendChild(h('i', { hidden: true }));
      probe.style.color = `var(--${name})`;
      this.colours[name] = getComputedStyle(probe).color;
      probe.remove();
    }
    return this.colours[name];
  }
  frame() {
    if (this.waiting || document.hidden) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = 0;
      for (const c of this.charts) {
        if (!c.visible) continue;
        if (c.dirty) c.draw();
        if (c.moved) c.cross();
      }
    });
  }
}

/** 1, 2, 2.5 or 5 times a power of ten, not below v; of bytes likewise in powers of two. */
export function niceTop(v, binary) {
  if (!(v > 0)) return 1;
  const base = binary ? 2 ** (10 * Math.floor(Math.log2(v) / 10)) : 10 ** Math.floor(Math.log10(v));
  const steps = binary ? [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024] : [1, 2, 2.5, 5, 10];
  return base * steps.find((step) => base * step >= v);
}

/** Lowest and highest of values[from..to) into columns of pixels; returns what was drawn of: [column, low, high, last] each. */
export function columnsOf(times, values, from, to, x) {
  const out = [];
  let at = NaN;
  let cell;
  for (let i = from; i < to; i++) {
    const column = Math.round(x(times[i]));
    const v = values[i];
    if (column !== at) out.push((cell = [(at = column), v, v, v]));
    else {
      if (v < cell[1]) cell[1] = v;
      if (v > cell[2]) cell[2] = v;
      cell[3] = v;
    }
  }
  return out;
}

export class Chart {
  /** title; series: [{name, column, colour: 'c1', fill?}]; format: of a value; log: a scale of decades from that value on; binary: a scale of
   * bytes; least: what the scale reaches at least; height in pixels. */
  constructor(board, options) {
    this.board = board;
    this.o = { least: 1, height: 150, format: String, ...options };
    this.dirty = true;
    this.moved = false; // the crosshair is to be set anew
    this.visible = false;
    this.width = 0;
    this.y = () => 0; // of a value, as last drawn
    this.canvas = h('canvas', { tabindex: '0', role: 'img', height: this.o.height, class: 'plot' });
    this.canvas.chart = this;
    this.when = h('span', { class: 'when muted' });
    this.legend = this.o.series.map((one) => {
      const value = h('span', { class: 'value' }, '–');
      return { one, value, node: h('span', { class: 'key' }, h('i', { class: `swatch ${one.colour}` }), one.name, value) };
    });
    this.element = h('figure', { class: 'chart panel' },
      h('figcaption', {}, h('span', { class: 'title' }, this.o.title), this.when, h('span', { class: 'keys' }, this.legend.map((l) => l.node))),
      h('div', { class: 'plotbox' }, this.canvas, (this.hair = h('i', { class: 'hair', hidden: true })), (this.dots = this.o.series.map((one) => h('i', { class: `dot-at ${one.colour}`, hidden: true })))));
    this.canvas.setAttribute('aria-label', this.o.title);
    this.canvas.addEventListener('pointermove', (e) => this.point(e));
    this.canvas.addEventListener('pointerdown', (e) => this.point(e));
    this.canvas.addEventListener('pointerleave', () => this.board.setCross(null));
    this.canvas.addEventListener('keydown', (e) => this.step(e));
    this.canvas.addEventListener('blur', () => this.board.setCross(null));
    board.add(this);
  }
  close() {
    this.board.remove(this);
  }
  ask() {
    this.dirty = true;
    this.board.frame();
  }
  resize(entry) {
    const ratio = devicePixelRatio || 1;
    this.width = entry.contentRect.width;
    this.canvas.width = Math.round(this.width * ratio);
    this.canvas.height = Math.round(this.o.height * ratio);
    this.ask();
  }
  get end() {
    const times = this.board.past.times;
    return times.length ? times[times.length - 1] : Date.now();
  }
  x(t) {
    return LEFT + ((t - (this.end - this.board.span)) / this.board.span) * (this.width - LEFT - 8);
  }
  point(e) {
    const within = (e.offsetX - LEFT) / (this.width - LEFT - 8);
    this.board.setCross(within < 0 || within > 1 ? null : this.end - this.board.span + within * this.board.span);
  }
  step(e) {
    const far = e.shiftKey ? 30000 : 1000;
    const by = { ArrowLeft: -far, ArrowRight: far }[e.key];
    if (by) {
      const t = (this.board.cross ?? this.end) + by;
      this.board.setCross(Math.min(this.end, Math.max(this.end - this.board.span, t)));
    } else if (e.key === 'Escape') this.board.setCross(null);
    else return;
    e.preventDefault();
  }
  /** [lowest shown, highest shown, value to height (0 below, 1 above), lines] */
  scale(top) {
    if (this.o.log) {
      const low = this.o.log;
      const decades = Math.max(2, Math.ceil(Math.log10(Math.max(top, low * 10) / low)));
      const lines = Array.from({ length: decades + 1 }, (_, i) => low * 10 ** i);
      return [(v) => (v <= low ? 0 : Math.log10(v / low) / decades), lines];
    }
    const high = niceTop(Math.max(top, this.o.least), this.o.binary);
    return [(v) => v / high, [0, high / 2, high]];
  }
  draw() {
    this.dirty = false;
    this.moved = true;
    const { past, span } = this.board;
    const g = this.canvas.getContext('2d');
    const ratio = devicePixelRatio || 1;
    const { width } = this;
    const { height } = this.o;
    const times = past.times;
    const from = Math.max(0, indexAt(times, this.end - span) - 1);
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, width, height);
    let top = 0;
    const series = this.o.series.map((one) => ({ one, values: past.column(one.column) })).filter((l) => l.values);
    for (const { values } of series) for (let i = from; i < values.length; i++) if (values[i] > top) top = values[i];
    const [part, lines] = this.scale(top);
    const y = (this.y = (v) => TOP + (1 - Math.min(1, part(v))) * (height - TOP - BOTTOM));
    this.grid(g, lines, y);
    g.save();
    g.beginPath();
    g.rect(LEFT, 0, width - LEFT, height - BOTTOM + 1);
    g.clip();
    for (const { one, values } of series) this.line(g, one, columnsOf(times, values, from, values.length, (t) => this.x(t)), y);
    g.restore();
  }
  grid(g, lines, y) {
    const { board, width } = this;
    const { height } = this.o;
    g.font = '11px system-ui, sans-serif';
    g.lineWidth = 1;
    g.strokeStyle = board.colour('line');
    g.fillStyle = board.colour('muted');
    g.textAlign = 'right';
    g.textBaseline = 'middle';
    const every = Math.ceil(lines.length / 5);
    lines.forEach((v, i) => {
      const at = Math.round(y(v)) + 0.5;
      g.beginPath();
      g.moveTo(LEFT, at);
      g.lineTo(width, at);
      g.stroke();
      if (i % every === 0 || i === lines.length - 1) g.fillText(this.o.format(v), LEFT - 7, at);
    });
    g.textAlign = 'center';
    g.textBaseline = 'alphabetic';
    const wide = (width - LEFT) / 72;
    const step = [60, 120, 300, 600, 900, 1800].find((sec) => board.span / 1000 / sec <= wide) * 1000;
    for (let t = Math.ceil((this.end - board.span) / step) * step; t <= this.end; t += step) {
      const at = this.x(t);
      if (at > LEFT + 16 && at < width - 18) g.fillText(timeShort(t), at, height - 6);
    }
  }
  line(g, one, cells, y) {
    if (!cells.length) return;
    const colour = this.board.colour(one.colour);
    if (one.fill) {
      g.beginPath();
      g.moveTo(cells[0][0], y(0));
      for (const [x, , high] of cells) g.lineTo(x, y(high));
      g.lineTo(cells[cells.length - 1][0], y(0));
      g.closePath();
      g.globalAlpha = 0.13;
      g.fillStyle = colour;
      g.fill();
      g.globalAlpha = 1;
    }
    g.beginPath();
    g.strokeStyle = colour;
    g.lineWidth = 1.4;
    g.lineJoin = 'round';
    cells.forEach(([x, low, high, last], i) => {
      if (!i) g.moveTo(x, y(low));
      else g.lineTo(x, y(low));
      if (high !== low) {
        g.lineTo(x, y(high));
        g.lineTo(x, y(last));
      }
    });
    g.stroke();
  }
  /** The crosshair, and the values there or at the end. */
  cross() {
    this.moved = false;
    const { past, cross } = this.board;
    const times = past.times;
    const newest = times.length - 1;
    const at = cross === null ? newest : Math.min(newest, indexAt(times, cross - 500));
    const shown = cross !== null && at >= 0;
    const x = shown ? Math.round(this.x(times[at])) : 0;
    this.hair.hidden = !shown;
    this.hair.style.transform = `translateX(${x}px)`;
    this.legend.forEach(({ one, value }, i) => {
      const v = past.column(one.column)?.[at];
      this.dots[i].hidden = !shown || v === undefined;
      if (shown && v !== undefined) this.dots[i].style.transform = `translate(${x}px, ${this.y(v)}px)`;
      say(value, v === undefined || (this.o.log && !v) ? '–' : this.o.format(v)); // a time of 0: nothing came
    });
    say(this.when, shown ? time(times[at]) : '');
  }
}

/** A line of the last minutes without scale or words, for a table or a card. */
export class Spark extends Chart {
  constructor(board, options) {
    super(board, { height: 36, ...options });
    this.canvas.className = 'spark';
    this.canvas.removeAttribute('tabindex');
    this.canvas.setAttribute('aria-hidden', 'true');
    this.element = this.canvas;
  }
  x(t) {
    const span = this.o.span ?? this.board.span;
    return 1 + ((t - (this.end - span)) / span) * (this.width - 2);
  }
  point() {}
  cross() {
    this.moved = false;
  }
  draw() {
    this.dirty = false;
    const { past } = this.board;
    const g = this.canvas.getContext('2d');
    const ratio = devicePixelRatio || 1;
    const times = past.times;
    const from = Math.max(0, indexAt(times, this.end - (this.o.span ?? this.board.span)) - 1);
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, this.width, this.o.height);
    for (const one of this.o.series) {
      const values = past.column(one.column);
      if (!values) continue;
      let top = this.o.least;
      let any = false;
      for (let i = from; i < values.length; i++) {
        if (values[i] > top) top = values[i];
        any ||= values[i] > 0;
      }
      if (!any) continue;
      this.line(g, one, columnsOf(times, values, from, values.length, (t) => this.x(t)), (v) => 3 + (1 - v / top) * (this.o.height - 5));
    }
  }
}
