// Each trial's time against an axis of its config, its order, or a resource. Trials without a time stand in a
// lane above the plot.
import { OUTCOMES } from './columns.js';
import { themeColours } from './dom.js';
import { axisValue } from './format.js';
import { drawFrame, drawMarker, drawNothing, drawNumberAxis, drawTimeAxis, drawTitle, extent, MARKERS, plotColours, scale, sprite, Surface, timeUnit } from './plot.js';
import { inPieces, PIECE } from './pieces.js';
import { median } from './statistics.js';

const RADIUS = 3;
const REACH = 14;  // pixels from which the pointer takes a trial
const LANE = 26;   // height of the lane of trials without a time
const CELL = 16;   // of the index by which the pointer finds trials

// What beside the config's axes a time may stand against.
export const MEASURES = {
  '#order': { name: 'order of trials', of: (trials, row) => trials.numbers.id[row] },
  '#registers': { name: 'registers a thread', of: (trials, row) => trials.numbers.registers[row] },
  '#smem': { name: 'shared memory (KiB)', of: (trials, row) => trials.numbers.smem_bytes[row] / 1024 },
  '#spill': { name: 'spilled (B)', of: (trials, row) => trials.numbers.spill_bytes[row] },
  '#compile': { name: 'compile time (ms)', of: (trials, row) => trials.numbers.compile_ms[row] },
  '#clock': { name: 'SM clock (MHz)', of: (trials, row) => trials.numbers.sm_clock_mhz[row] },
};

// Spreads the points of one value, the same way each time.
function jitter(row) {
  return (Math.imul(row + 1, 0x9e3779b1) >>> 8) / 0x1000000 - 0.5;
}

export class ScatterPlot {
  // hover(row or -1, x, y) and pick(row): what the pointer or the keys chose.
  constructor(holder, { hover, pick }) {
    this.hover = hover;
    this.pinned = [];
    this.current = -1;
    this.drawings = 0;  // counts them, so that one that another overtook ends
    this.surface = new Surface(holder, () => this.draw());
    const { over } = this.surface;
    over.addEventListener('pointermove', (event) => this.#choose(this.#nearest(event.offsetX, event.offsetY)));
    over.addEventListener('pointerleave', () => this.#choose(-1));
    over.addEventListener('blur', () => this.#choose(-1));
    over.addEventListener('click', (event) => {
      const row = this.#nearest(event.offsetX, event.offsetY);
      if (row >= 0) pick(row);
    });
    over.addEventListener('keydown', (event) => {
      if ((event.key === 'Enter' || event.key === ' ') && this.current >= 0) pick(this.current);
      else if (event.key === 'Escape') this.#choose(-1);
      else if (!this.#step(event.key)) return;
      event.preventDefault();
    });
  }

  // axis: one of trials.axes, or null for `measure`, a key of MEASURES. Resolves when it is drawn.
  update({ trials, rows, axis, measure, logarithmic, relative }) {
    Object.assign(this, { trials, rows, axis, measure, logarithmic, relative });
    this.current = -1;
    return this.draw();
  }

  mark(pinned) {
    this.pinned = pinned;
    this.#drawOver();
  }

  // Takes another trial than the pointer did, as when a table's row has the focus.
  // Few points at once, many in pieces, on a canvas of their own that is shown when all are there.
  async draw() {
    if (!this.rows || this.surface.width === 0) return;
    const drawing = ++this.drawings;
    this.colours = plotColours();
    const outcome = themeColours(OUTCOMES.map((name) => `outcome-${name}`));
    const { surface, colours, trials } = this;
    this.atX = new Float32Array(0);
    this.cells = null;  // until then nothing can be pointed at
    if (this.rows.length === 0) return drawNothing(surface, colours, 'No trial matches');
    const value = (row) => (this.relative ? trials.ratio(row) : trials.us(row));
    const timed = extent(this.rows.map(value).filter(Number.isFinite), this.logarithmic);
    const untimed = this.rows.some((row) => !Number.isFinite(value(row)));
    const box = { left: 56, right: surface.width - 12, top: untimed ? 22 + LANE : 22, bottom: surface.height - 44 };
    this.box = box;
    this.y = timed && scale(...timed, box.bottom, box.top, this.logarithmic);
    const whole = this.rows.length <= PIECE;
    const canvas = whole ? surface.base : document.createElement('canvas');
    const context = surface.context(canvas);
    if (this.y) drawTimeAxis(context, this.y, box, colours, timeUnit(timed[1], this.relative));
    drawFrame(context, box, colours);
    if (untimed) this.#drawLane(context);
    const x = this.axis ? this.#categories(context) : this.#numbers(context);
    this.atX = Float32Array.from(this.rows, x);
    this.atY = Float32Array.from(this.rows, (row) => (Number.isFinite(value(row)) ? this.y(value(row)) : box.top - LANE / 2 + jitter(row * 7) * (LANE - 12)));
    if (!await this.#drawPoints(context, outcome, () => this.drawings !== drawing)) return;
    if (this.axis) this.#drawMedians(context, value);
    if (!whole) surface.context(surface.base).drawImage(canvas, 0, 0, surface.width, surface.height);
    this.#index();
    this.#drawOver();
  }

  #drawLane(context) {
    const { box, colours } = this;
    context.strokeStyle = colours.grid;
    context.strokeRect(box.left + 0.5, box.top - LANE + 0.5, box.right - box.left - 1, LANE);
    context.fillStyle = colours.muted;
    context.textAlign = 'right';
    context.textBaseline = 'middle';
    context.fillText('no time', box.left - 6, box.top - LANE / 2);
  }

  // A place for each value that occurs, in the axis's own order, "not used" last.
  #categories(context) {
    const { axis, trials, box, colours } = this;
    const present = new Set(this.rows.map((row) => axis.dictionary.at[row]));
    this.values = [...trials.orderedValues(axis), -1].filter((index) => present.has(index));
    const step = (box.right - box.left) / this.values.length;
    const place = new Map(this.values.map((index, at) => [index, box.left + step * (at + 0.5)]));
    context.textAlign = 'center';
    context.textBaseline = 'top';
    context.fillStyle = colours.muted;
    const every = Math.ceil(34 / step);
    this.values.forEach((index, at) => {
      if (at % every) return;
      const label = axisValue(axis.dictionary.values[index]);
      context.fillText(shortened(context, label, step * every - 6), place.get(index), box.bottom + 6);
    });
    drawTitle(context, box, colours, axis.name);
    this.step = step;
    this.place = place;
    return (row) => place.get(axis.dictionary.at[row]) + jitter(row) * Math.min(step * 0.7, 90);
  }

  #numbers(context) {
    const { name, of } = MEASURES[this.measure];
    const values = this.rows.map((row) => of(this.trials, row)).filter(Number.isFinite);
    const [low, high] = extent(values, false) ?? [0, 1];
    const x = scale(low, high, this.box.left + 6, this.box.right - 6);
    drawNumberAxis(context, x, this.box, this.colours, name);
    return (row) => x(of(this.trials, row));
  }

  async #drawPoints(context, outcomeColours, stale) {
    const sprites = OUTCOMES.map((name) => sprite(MARKERS[name], outcomeColours[`outcome-${name}`], RADIUS));
    const { values, at } = this.trials.words.outcome;
    const codes = values.map((name) => OUTCOMES.indexOf(name));
    const byOutcome = OUTCOMES.map(() => []);
    this.rows.forEach((row, index) => byOutcome[codes[at[row]]].push(index));
    const order = byOutcome.reverse().flat();  // what failed lies below, what passed above
    const { rows, atX, atY } = this;
    context.globalAlpha = rows.length > 3000 ? 0.55 : 0.85;
    const drawn = await inPieces(order.length, (from, to) => {
      const start = performance.now();
      for (let i = from; i < to; ++i) {
        const index = order[i];
        const { canvas, size } = sprites[codes[at[rows[index]]]];
        context.drawImage(canvas, atX[index] - size / 2, atY[index] - size / 2, size, size);
      }
      performance.measure('attune:points', { start, detail: { points: to - from } });
    }, stale);
    context.globalAlpha = 1;
    return drawn;
  }

  #drawMedians(context, value) {
    const byValue = new Map();
    for (const row of this.rows) {
      if (!Number.isFinite(value(row))) continue;
      const index = this.axis.dictionary.at[row];
      if (!byValue.has(index)) byValue.set(index, []);
      byValue.get(index).push(value(row));
    }
    context.strokeStyle = this.colours.text;
    context.lineWidth = 2;
    for (const [index, times] of byValue) {
      const half = Math.min(this.step * 0.4, 50), at = this.y(median(times));
      context.beginPath();
      context.moveTo(this.place.get(index) - half, at);
      context.lineTo(this.place.get(index) + half, at);
      context.stroke();
    }
    context.lineWidth = 1;
  }

  #index() {
    this.cells = new Map();
    for (let i = 0; i < this.rows.length; ++i) {
      if (!Number.isFinite(this.atX[i])) continue;
      const key = Math.floor(this.atX[i] / CELL) * 65536 + Math.floor(this.atY[i] / CELL);
      const cell = this.cells.get(key);
      if (cell) cell.push(i);
      else this.cells.set(key, [i]);
    }
  }

  #nearest(x, y) {
    if (!this.cells) return -1;
    let best = -1, least = REACH * REACH;
    const [column, line] = [Math.floor(x / CELL), Math.floor(y / CELL)];
    for (let dx = -1; dx <= 1; ++dx) {
      for (let dy = -1; dy <= 1; ++dy) {
        for (const i of this.cells.get((column + dx) * 65536 + line + dy) ?? []) {
          const distance = (this.atX[i] - x) ** 2 + (this.atY[i] - y) ** 2;
          if (distance <= least) {
            least = distance;
            best = this.rows[i];
          }
        }
      }
    }
    return best;
  }

  // By keys: left and right in the order of the horizontal axis, up and down by time. Begins at the fastest.
  #step(key) {
    const along = { ArrowLeft: ['atX', -1], ArrowRight: ['atX', 1], ArrowUp: ['atY', -1], ArrowDown: ['atY', 1] }[key];
    if (!along || !this.atX?.length) return false;
    const [name, direction] = along;
    const order = [...this.rows.keys()].filter((i) => Number.isFinite(this.atX[i])).sort((a, b) => this[name][a] - this[name][b] || a - b);
    const at = order.findIndex((i) => this.rows[i] === this.current);
    const fastest = [...this.rows.keys()].reduce((best, i) => (this.atY[i] >= this.atY[best] ? i : best), 0);
    const next = at < 0 ? fastest : order[Math.min(order.length - 1, Math.max(0, at + direction))];
    this.#choose(this.rows[next]);
    return true;
  }

  #choose(row) {
    if (row === this.current) return;
    this.current = row;
    this.surface.over.classList.toggle('can-pick', row >= 0);
    this.#drawOver();
    const index = this.rows ? this.rows.indexOf(row) : -1;
    this.hover(row, index < 0 ? 0 : this.atX[index], index < 0 ? 0 : this.atY[index]);
  }

  #drawOver() {
    if (!this.atX || !this.colours) return;
    const context = this.surface.context(this.surface.over);
    const ring = (row, colour, radius) => {
      const index = this.rows.indexOf(row);
      if (index < 0) return;
      context.strokeStyle = colour;
      context.lineWidth = 2;
      drawMarker(context, 'ring', this.atX[index], this.atY[index], radius);
    };
    this.pinned.forEach((row, slot) => {
      const index = this.rows.indexOf(row);
      ring(row, this.colours.text, RADIUS + 4);
      if (index < 0) return;
      context.fillStyle = this.colours.text;
      context.font = 'bold 12px system-ui, sans-serif';
      context.textAlign = 'left';
      context.fillText('AB'[slot], this.atX[index] + 9, this.atY[index] - 6);
    });
    if (this.current >= 0) ring(this.current, this.colours.accent, RADIUS + 3);
  }
}

function shortened(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let length = text.length;
  while (length > 1 && context.measureText(`${text.slice(0, length)}…`).width > width) --length;
  return `${text.slice(0, length)}…`;
}
