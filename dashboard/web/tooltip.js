// What a trial of the scatter is, beside the pointer.
import { announce, element, fill } from './dom.js';
import { axisValue, bytes, time, times } from './format.js';

// `row` is at (x, y) of the canvas; -1 hides it. relative: of several shapes, so that the trial's own is told.
export function showTooltip(tooltip, canvas, { trials, row, x, y, relative }) {
  tooltip.hidden = row < 0;
  if (row < 0) return;
  const timed = Number.isFinite(trials.us(row));
  const title = timed ? `${time(trials.us(row))}, ${times(trials.ratio(row), 3)} the fastest` : trials.word('outcome', row);
  const facts = [
    ['', trials.word('message', row)],
    ['shape', relative ? trials.word('shape', row).name : ''],
    ['registers', String(trials.numbers.registers[row])],
    ['shared memory', bytes(trials.numbers.smem_bytes[row])],
    ...trials.axes.filter((axis) => axis.dictionary.at[row] >= 0).map((axis) => [axis.name, axisValue(axis.dictionary.of(row))]),
  ].filter(([, value]) => value !== '');
  fill(tooltip, element('p', { class: 'tooltip-title' }, `${title} · ${trials.word('outcome', row)}${trials.numbers.final_round[row] ? ', final round' : ''} · trial ${trials.numbers.id[row]}`),
    element('dl', {}, ...facts.flatMap(([name, value]) => [element('dt', {}, name), element('dd', {}, value)])));
  const at = canvas.getBoundingClientRect();
  const room = document.documentElement.clientWidth;
  const left = at.left + x + 16 + tooltip.offsetWidth < room ? at.left + x + 16 : Math.max(8, at.left + x - 16 - tooltip.offsetWidth);
  const top = Math.max(8, Math.min(at.top + y - 20, window.innerHeight - tooltip.offsetHeight - 8));
  tooltip.style.setProperty('left', `${left + scrollX}px`);
  tooltip.style.setProperty('top', `${top + scrollY}px`);
  if (document.activeElement === canvas) announce(`Trial ${trials.numbers.id[row]}: ${title}. ${facts.map(([name, value]) => `${name} ${value}`).join(', ')}`);
}
