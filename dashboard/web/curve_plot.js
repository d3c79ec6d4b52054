// Best so far against trials or search time, a line for each search.
import { element, fill, themeColours } from './dom.js';
import { drawFrame, drawNothing, drawNumberAxis, drawTimeAxis, extent, plotColours, scale, Surface, timeText, timeUnit } from './plot.js';
import { duration } from './format.js';

const SERIES = 8;  // colours of lines: --series-1 ...
const MOST_NAMED = 8;

export class CurvePlot {
  // pick(row): the trial that the pointer chose.
  constructor(holder, legend, pick) {
    this.legend = legend;
    this.surface = new Surface(holder, () => this.draw());
    const { over } = this.surface;
    over.addEventListener('pointermove', (event) => this.#point(event.offsetX, event.offsetY));
    over.addEventListener('pointerleave', () => this.#point(NaN, NaN));
    over.addEventListener('click', () => this.near && pick(this.near.point.row));
  }

  // curves: of bestSoFar(), each with a name. lines: [{value, name}], across the plot.
  update({ curves, by, logarithmic, relative, lines, dots }) {
    Object.assign(this, { curves, by, logarithmic, relative, lines, dots });
    this.near = null;
    this.draw();
    this.#legend();
  }

  #colours() {
    return themeColours(Array.from({ length: SERIES }, (_, index) => `series-${index + 1}`));
  }

  #colourOf(index) {
    return this.curves.length > MOST_NAMED ? this.series['series-1'] : this.series[`series-${(index % SERIES) + 1}`];
  }

  draw() {
    if (!this.curves || this.surface.width === 0) return;
    this.colours = plotColours();
    this.series = this.#colours();
    const { surface, colours } = this;
    if (this.curves.length === 0) return drawNothing(surface, colours, 'No trial of the selection has passed yet');
    const values = this.curves.flatMap((curve) => [curve.points[0].value, curve.points.at(-1).value]);
    const [low, high] = extent([...values, ...this.lines.map((line) => line.value)], this.logarithmic);
    const box = { left: 56, right: surface.width - 12, top: 22, bottom: surface.height - 44 };
    const furthest = Math.max(1, ...this.curves.map((curve) => curve.points.at(-1)[this.by]));
    this.x = scale(0, furthest, box.left, box.right);
    this.y = scale(low, high, box.bottom, box.top, this.logarithmic);
    this.box = box;
    this.unit = timeUnit(high, this.relative);
    const context = surface.context(surface.base);
    drawTimeAxis(context, this.y, box, colours, this.unit);
    drawNumberAxis(context, this.x, box, colours, this.by === 'trials' ? 'trials' : 'seconds of search');
    drawFrame(context, box, colours);
    context.save();
    context.rect(box.left, box.top, box.right - box.left, box.bottom - box.top);
    context.clip();
    this.#drawDots(context);
    this.#drawLines(context);
    this.curves.forEach((curve, index) => this.#drawCurve(context, curve, this.#colourOf(index)));
    context.restore();
    this.#drawOver();
  }

  // Each trial faintly behind a single curve: how much of the search was luck.
  #drawDots(context) {
    if (!this.dots) return;
    context.fillStyle = this.colours.muted;
    context.globalAlpha = 0.35;
    for (const { trials, seconds, value } of this.dots) {
      if (value <= this.y.high) context.fillRect(this.x(this.by === 'trials' ? trials : seconds) - 1, this.y(value) - 1, 2, 2);
    }
    context.globalAlpha = 1;
  }

  #drawLines(context) {
    for (const { value, name } of this.lines) {
      const at = Math.round(this.y(value)) + 0.5;
      context.strokeStyle = this.colours.muted;
      context.setLineDash([5, 4]);
      context.beginPath();
      context.moveTo(this.box.left, at);
      context.lineTo(this.box.right, at);
      context.stroke();
      context.setLineDash([]);
      context.fillStyle = this.colours.muted;
      context.textAlign = 'right';
      context.textBaseline = 'bottom';
      context.fillText(name, this.box.right - 6, at - 2);
    }
  }

  #drawCurve(context, curve, colour) {
    context.strokeStyle = colour;
    context.lineWidth = this.curves.length > MOST_NAMED ? 1 : 2;
    context.beginPath();
    curve.points.forEach((point, index) => {
      const [x, y] = [this.x(point[this.by]), this.y(point.value)];
      if (index === 0) {
        context.moveTo(x, y);
      } else {
        context.lineTo(x, this.y(curve.points[index - 1].value));
        context.lineTo(x, y);
      }
    });
    context.stroke();
    context.lineWidth = 1;
  }

  #point(x, y) {
    this.near = null;
    if (Number.isFinite(x) && this.curves?.length) {
      let least = 40;
      this.curves.forEach((curve, index) => {
        const reached = curve.points.filter((point) => this.x(point[this.by]) <= x + 0.5).at(-1) ?? curve.points[0];
        const distance = Math.abs(this.y(reached.value) - y);
        if (distance < least) {
          least = distance;
          this.near = { curve, index, point: reached, x };
        }
      });
    }
    this.#drawOver();
    this.surface.over.classList.toggle('can-pick', this.near !== null);
  }

  #drawOver() {
    const context = this.surface.context(this.surface.over);
    if (!this.near) return;
    const { curve, index, point } = this.near;
    const [x, y] = [this.x(point[this.by]), this.y(point.value)];
    context.fillStyle = this.#colourOf(index);
    context.beginPath();
    context.arc(x, y, 4.5, 0, 2 * Math.PI);
    context.fill();
    const at = this.by === 'trials' ? `trial ${point.trials}` : duration(point.seconds);
    const lines = [`${timeText(point.value, this.unit)} at ${at}`, curve.name];
    const width = Math.max(...lines.map((line) => context.measureText(line).width)) + 16;
    const left = Math.min(x + 10, this.box.right - width), top = Math.max(this.box.top, y - 48);
    context.fillStyle = this.colours.surface;
    context.strokeStyle = this.colours.grid;
    context.fillRect(left, top, width, 40);
    context.strokeRect(left + 0.5, top + 0.5, width - 1, 39);
    context.fillStyle = this.colours.text;
    context.textAlign = 'left';
    context.textBaseline = 'top';
    lines.forEach((line, row) => context.fillText(line, left + 8, top + 6 + 16 * row));
  }

  #legend() {
    const named = this.curves.slice(0, MOST_NAMED);
    const many = this.curves.length > MOST_NAMED;
    fill(this.legend, ...(many
      ? [element('li', {}, `${this.curves.length} searches; point at a line for its name, or choose a shape`)]
      : named.map((curve, index) => element('li', {},
          element('span', { class: 'line', style: { background: `var(--series-${(index % SERIES) + 1})` }, 'aria-hidden': 'true' }),
          `${curve.name}: ${timeText(curve.value, timeUnit(curve.value, this.relative))} after ${curve.trials}`))));
    this.surface.over.setAttribute('aria-label', many || named.length === 0
      ? `Best so far of ${this.curves.length} searches`
      : `Best so far. ${named.map((curve) => `${curve.name}: ${timeText(curve.value, timeUnit(curve.value, this.relative))} after ${curve.trials} trials`).join('; ')}`);
  }
}
