// What the plots share: two canvases (the drawing, and above it what follows the pointer), scales, axes.
import { significant } from './format.js';
import { themeColours } from './dom.js';

export const FONT = '12px system-ui, sans-serif';

export class Surface {
  constructor(holder, onResize) {
    this.holder = holder;
    this.base = holder.querySelector('.base');
    this.over = holder.querySelector('.over');
    this.width = this.height = 0;
    new ResizeObserver(() => {
      const { clientWidth, clientHeight } = holder;
      if (clientWidth === this.width && clientHeight === this.height) return;
      this.width = clientWidth;
      this.height = clientHeight;
      onResize();
    }).observe(holder);
    this.width = holder.clientWidth;
    this.height = holder.clientHeight;
  }

  // A cleared context in CSS pixels.
  context(canvas) {
    const dots = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(this.width * dots), Math.round(this.height * dots)];
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    const context = canvas.getContext('2d');
    context.setTransform(dots, 0, 0, dots, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    context.font = FONT;
    return context;
  }
}

export function plotColours() {
  return themeColours(['text', 'muted', 'grid', 'surface', 'accent']);
}

// A scale from values to pixels. `logarithmic` wants low > 0.
export function scale(low, high, from, to, logarithmic) {
  const f = logarithmic ? Math.log : (value) => value;
  const [a, b] = [f(low), f(high)];
  const map = (value) => from + ((f(value) - a) / (b - a || 1)) * (to - from);
  return Object.assign(map, { low, high, logarithmic });
}

// Low and high of values with some room around, never of zero width.
export function extent(values, logarithmic) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) return null;
  if (logarithmic) {
    const room = Math.max(Math.log(high / low) * 0.05, 0.01);
    return [low * Math.exp(-room), high * Math.exp(room)];
  }
  const room = Math.max((high - low) * 0.05, high * 0.005);
  return [Math.max(0, low - room), high + room];
}

export function ticks(low, high, logarithmic, most = 6) {
  if (logarithmic && high / low > 8) {
    const marks = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); ++power) {
      for (const factor of high / low > 1000 ? [1] : [1, 2, 5]) marks.push(factor * 10 ** power);
    }
    return marks.filter((mark) => mark >= low && mark <= high);
  }
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough);
  const marks = [];
  for (let mark = Math.ceil(low / step) * step; mark <= high + step * 1e-9; mark += step) marks.push(Number(mark.toPrecision(12)));
  return marks;
}

// One unit for all ticks of a time axis.
export function timeUnit(highUs, relative) {
  if (relative) return { unit: '× fastest', factor: 1 };
  return highUs < 1000 ? { unit: 'µs', factor: 1 } : { unit: 'ms', factor: 1e-3 };
}

export function tickLabel(value) {
  return Number(value.toPrecision(6)).toLocaleString('en-US', { maximumFractionDigits: 6 });
}

export function drawTimeAxis(context, y, box, colours, { unit, factor }) {
  context.textAlign = 'right';
  context.textBaseline = 'middle';
  for (const mark of ticks(y.low * factor, y.high * factor, y.logarithmic)) {
    const at = Math.round(y(mark / factor)) + 0.5;
    context.strokeStyle = colours.grid;
    context.beginPath();
    context.moveTo(box.left, at);
    context.lineTo(box.right, at);
    context.stroke();
    context.fillStyle = colours.muted;
    context.fillText(tickLabel(mark), box.left - 6, at);
  }
  context.textAlign = 'left';
  context.textBaseline = 'alphabetic';
  context.fillText(unit, 4, 12);
}

export function drawNumberAxis(context, x, box, colours, title) {
  context.textBaseline = 'top';
  context.textAlign = 'center';
  context.fillStyle = colours.muted;
  for (const mark of ticks(x.low, x.high, false, Math.max(2, Math.floor((box.right - box.left) / 80)))) {
    context.fillText(tickLabel(mark), x(mark), box.bottom + 6);
  }
  drawTitle(context, box, colours, title);
}

export function drawTitle(context, box, colours, title) {
  context.textBaseline = 'top';
  context.textAlign = 'right';
  context.fillStyle = colours.text;
  context.fillText(title, box.right, box.bottom + 24);
}

export function drawFrame(context, box, colours) {
  context.strokeStyle = colours.grid;
  context.lineWidth = 1;
  context.strokeRect(box.left + 0.5, box.top + 0.5, box.right - box.left - 1, box.bottom - box.top - 1);
}

export function drawNothing(surface, colours, text) {
  const context = surface.context(surface.base);
  surface.context(surface.over);
  context.fillStyle = colours.muted;
  context.textAlign = 'center';
  context.fillText(text, surface.width / 2, surface.height / 2);
}

// Markers tell outcomes apart without colour.
export const MARKERS = {
  ok: 'disc', slow: 'ring', spilled: 'triangle', does_not_fit: 'square', compile_error: 'cross',
  launch_fault: 'diamond', timeout: 'frame', wrong_answer: 'plus',
};

// The same for text.
export const SYMBOLS = {
  ok: '●', slow: '○', spilled: '▲', does_not_fit: '■', compile_error: '✕', launch_fault: '◆', timeout: '□', wrong_answer: '✚',
};

const OUTLINES = {
  triangle: [[0, -1.15], [1.05, 0.8], [-1.05, 0.8]],
  square: [[-0.85, -0.85], [0.85, -0.85], [0.85, 0.85], [-0.85, 0.85]],
  frame: [[-0.85, -0.85], [0.85, -0.85], [0.85, 0.85], [-0.85, 0.85]],
  diamond: [[0, -1.2], [1.2, 0], [0, 1.2], [-1.2, 0]],
};

export function drawMarker(context, marker, x, y, radius) {
  context.beginPath();
  if (marker === 'disc' || marker === 'ring') {
    context.arc(x, y, radius, 0, 2 * Math.PI);
  } else if (OUTLINES[marker]) {
    OUTLINES[marker].forEach(([dx, dy], index) => context[index ? 'lineTo' : 'moveTo'](x + dx * radius, y + dy * radius));
    context.closePath();
  } else {
    const arms = marker === 'cross' ? [[-0.9, -0.9], [0.9, -0.9]] : [[-1.1, 0], [0, -1.1]];
    for (const [dx, dy] of arms) {
      context.moveTo(x + dx * radius, y + dy * radius);
      context.lineTo(x - dx * radius, y - dy * radius);
    }
  }
  if (['ring', 'frame', 'cross', 'plus'].includes(marker)) {
    context.lineWidth = 1.4;
    context.stroke();
  } else {
    context.fill();
  }
}

// A marker drawn once and copied ten thousand times.
export function sprite(marker, colour, radius) {
  const dots = window.devicePixelRatio || 1;
  const size = Math.ceil(radius * 2 + 4);
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = Math.ceil(size * dots);
  const context = canvas.getContext('2d');
  context.scale(dots, dots);
  context.fillStyle = context.strokeStyle = colour;
  drawMarker(context, marker, size / 2, size / 2, radius);
  return { canvas, size };
}

export function timeText(value, { unit, factor }) {
  return unit === '× fastest' ? `${significant(value, 4)}× the fastest` : `${significant(value * factor)} ${unit}`;
}
