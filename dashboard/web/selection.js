// Which trials are looked at.
import { OUTCOMES } from './columns.js';
import { FILTERS } from './view_state.js';

// GPUs by name; a recording's replayed times are told apart from measured ones.
export function gpuName(trials, row) {
  return trials.word('device', row).name + (trials.numbers.replayed[row] ? ' (replayed)' : '');
}

const READ = {
  shape: (trials, row) => trials.word('shape', row).name,
  template: (trials, row) => trials.word('template', row),
  gpu: gpuName,
  policy: (trials, row) => trials.word('policy', row),
  strategy: (trials, row) => trials.word('strategy', row),
  session: (trials, row) => trials.word('session', row),
};

export function filterValue(trials, name, row) {
  return READ[name](trials, row);
}

// The distinct values of a filter with how many trials have each, in the order in which they came.
export function filterValues(trials, name) {
  const counts = new Map();
  for (let row = 0; row < trials.count; ++row) {
    const value = READ[name](trials, row);
    counts.set(value, (counts.get(value) ?? 0) + 1);
  }
  return counts;
}

// rows: what the filters let pass. shown: of these, what the outcomes switched on let pass.
export function select(trials, state) {
  const active = FILTERS.filter((name) => state[name] !== '');
  const hidden = new Set(state.hide);
  const rows = [], shown = [];
  const counts = Object.fromEntries(OUTCOMES.map((outcome) => [outcome, 0]));
  const groups = new Set();
  for (let row = 0; row < trials.count; ++row) {
    if (!active.every((name) => READ[name](trials, row) === state[name])) continue;
    rows.push(row);
    const outcome = trials.word('outcome', row);
    ++counts[outcome];
    groups.add(trials.groupOf[row]);
    if (!hidden.has(outcome)) shown.push(row);
  }
  // Times of several groups do not compare: each is then shown as a multiple of its group's fastest.
  return { rows, shown, counts, groups: [...groups], relative: groups.size > 1 };
}

// The records among the selected: of a template's alone where one is chosen, else the best of all.
export function selectRecords(trials, state) {
  const active = FILTERS.filter((name) => state[name] !== '' && !['strategy', 'session'].includes(name));
  const byTemplate = state.template !== '';
  const all = trials.records.filter(({ row }) => active.every((name) => READ[name](trials, row) === state[name]));
  return byTemplate ? all : all.filter((record) => record.overall);
}
