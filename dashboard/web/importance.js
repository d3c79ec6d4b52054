// How much each axis matters to the time, and how its values fared.
import { element, fill } from './dom.js';
import { axisValue, count, percent, times } from './format.js';
import { timedRows, valuesOf } from './statistics.js';

const HOW = `The share of the variance of the logarithm of time that the values of one axis explain by themselves
 (epsilon squared of a one-way analysis of variance, within each shape, GPU and template). Trials without a time are
 left out, and so are values with fewer than three of them. "Chance" is what the axis would reach in one of twenty cases
 if times had nothing to do with it, found by shuffling them 40 to 200 times: below it, nothing is known. A search tries good
 regions more often than bad ones and axes depend on each other, so shares do not add up to 100% and say what mattered
 among the trials made, not in the whole space.`;

export function showImportance(holder, { trials, rows, result, chosen, choose }) {
  if (!result) return fill(holder, element('p', { class: 'note' }, 'Computing …'));
  if (result.axes.length === 0) {
    return fill(holder, element('p', { class: 'note' }, result.timed < result.needed
      ? `${count(result.timed)} timed trials are too few to tell axes apart; it takes ${result.needed}.`
      : 'No axis varies among the timed trials of the selection.'));
  }
  const widest = Math.max(0.05, ...result.axes.map(({ share, chance }) => Math.max(share, chance)));
  const bars = element('table', { class: 'bars' },
    element('caption', { class: 'hidden' }, 'Axis importance'),
    element('thead', { class: 'hidden' }, element('tr', {}, ...['Axis', 'Share of the variance', 'Share', 'Chance'].map((name) => element('th', { scope: 'col' }, name)))),
    element('tbody', {}, ...result.axes.map((entry) => bar(entry, widest, chosen, choose))));
  const axis = result.axes.find((entry) => entry.axis === chosen)?.axis;
  fill(holder,
    element('p', { class: 'note' }, `Of ${count(result.timed)} timed trials. Choose an axis to see its values.`),
    bars,
    axis && values(trials, timedRows(trials, rows), axis),
    element('details', {}, element('summary', {}, 'How this is computed'), element('p', { class: 'note' }, HOW)));
}

function bar({ axis, share, chance }, widest, chosen, choose) {
  const known = share > chance;
  return element('tr', { class: known ? '' : 'unknown' },
    element('th', { scope: 'row' }, element('button', { type: 'button', class: 'link', 'data-key': `axis-${axis.name}`, title: axis.help, 'aria-pressed': String(axis === chosen), onclick: () => choose(axis) }, axis.name)),
    element('td', { class: 'bar' },
      element('span', { class: 'filled', style: { width: `${(100 * share) / widest}%` } }),
      element('span', { class: 'chance', style: { left: `${(100 * chance) / widest}%` } })),
    element('td', { class: 'number' }, known ? percent(share) : 'not above'),
    element('td', { class: 'number muted' }, `chance ${percent(chance)}`));
}

function values(trials, rows, axis) {
  const head = ['Value', 'Timed trials', 'Best', 'Median'];
  return element('table', { class: 'data small' },
    element('caption', {}, `${axis.name}: ${axis.help || 'times by value'} (multiples of the fastest)`),
    element('thead', {}, element('tr', {}, ...head.map((name, index) => element('th', { scope: 'col', class: index ? 'number' : '' }, name)))),
    element('tbody', {}, ...valuesOf(trials, rows, axis).map((entry) => element('tr', {},
      element('th', { scope: 'row' }, axisValue(axis.dictionary.values[entry.index])),
      element('td', { class: 'number' }, count(entry.timed)),
      element('td', { class: 'number' }, times(entry.best, 3)),
      element('td', { class: 'number' }, times(entry.median, 3))))));
}
