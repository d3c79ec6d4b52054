// The page: state in, drawing out. Whatever changes what is looked at ends in refresh().
import { OUTCOMES, Trials } from './columns.js';
import { announce, byId, element, fill, keepingFocus, outcomeMark } from './dom.js';
import { count } from './format.js';
import { CurvePlot } from './curve_plot.js';
import { SYMBOLS } from './plot.js';
import { breath, PIECE } from './pieces.js';
import { MEASURES, ScatterPlot } from './scatter_plot.js';
import { Live } from './live.js';
import { showImportance } from './importance.js';
import { showPinned } from './pinned.js';
import { filterValue, filterValues, gpuName, select, selectRecords } from './selection.js';
import { bestSoFar, importance } from './statistics.js';
import { showSummary } from './summary.js';
import { recordColumns, SortedTable, trialColumns } from './tables.js';
import { showTooltip } from './tooltip.js';
import { FILTERS, hashOfState, stateFromHash } from './view_state.js';

const FILTER_NAMES = { shape: 'Shape', template: 'Template', gpu: 'GPU', policy: 'Policy', strategy: 'Strategy', session: 'Run' };
const ALWAYS_SHOWN = ['shape', 'template', 'gpu'];

const LONG_DATA = 100000;  // characters of JSON, to read which is a task of its own

const page = {
  trials: new Trials(),
  state: stateFromHash(location.hash),
  selection: null,
  importance: null,  // of the selection; null while it is computed
  axis: null,        // what the scatter stands against when nobody chose: the axis that mattered most
  generation: 0,     // counts selections, so that an answer to an older one is dropped
  drawings: 0,       // counts refreshes, so that one that another overtook ends
  asked: false,      // for the importance of a selection that is not all drawn yet
  trialsOfGroup: new Map(),
};

function setState(change) {
  Object.assign(page.state, change);
  history.replaceState(null, '', hashOfState(page.state) || location.pathname + location.search);
  if (Object.keys(change).join() === 'pin') keepingFocus(showPins);
  else refresh();
}

function chooseShape(row) {
  setState({ shape: filterValue(page.trials, 'shape', row) });
  announce(`Shape ${page.state.shape}`);
}

function pin(row) {
  const id = page.trials.numbers.id[row];
  const others = page.state.pin.filter((pinned) => pinned !== id);
  setState({ pin: others.length === page.state.pin.length ? [...others, id].slice(-2) : others });
  announce(page.state.pin.includes(id) ? `Trial ${id} pinned` : `Trial ${id} unpinned`);
}

const view = { trials: () => page.trials, chooseShape, pin, trialsOf: (row) => page.trialsOfGroup.get(page.trials.groupOf[row]) ?? 0 };
const curvePlot = new CurvePlot(byId('curve-plot'), byId('curve-legend'), pin);
const scatterPlot = new ScatterPlot(byId('scatter-plot'), { hover: showHovered, pick: pin });
const recordTable = new SortedTable(byId('records'), 'Records: the best config of each shape', recordColumns(view));
const trialTable = new SortedTable(byId('trials'), 'All trials of the selection', trialColumns(view), { pages: byId('trials-pages'), sorted: 'Time' });

// ---- filters

function showFilters() {
  const { trials, state } = page;
  const labels = FILTERS.map((name) => {
    const values = filterValues(trials, name);
    if (values.size < 2 && !ALWAYS_SHOWN.includes(name) && state[name] === '') return null;
    if (state[name] !== '' && !values.has(state[name])) values.set(state[name], 0);
    const options = [...values].map(([value, n]) => element('option', { value, selected: value === state[name] }, `${value} (${count(n)})`));
    const all = values.size === 1 ? [] : [element('option', { value: '' }, values.size ? `all ${values.size}` : 'none yet')];
    return element('label', {}, `${FILTER_NAMES[name]} `,
      element('select', { name, 'data-key': `filter-${name}`, onchange: (event) => setState({ [name]: event.target.value }) }, ...all, ...options));
  });
  const narrowed = FILTERS.some((name) => state[name] !== '');
  fill(byId('filters'), ...labels,
    element('button', { type: 'button', class: 'quiet', disabled: !narrowed, onclick: () => setState(Object.fromEntries(FILTERS.map((name) => [name, '']))) }, 'Show all'));
}

function showOutcomes() {
  const { counts } = page.selection;
  const { hide } = page.state;
  const toggle = (outcome) => () => setState({ hide: hide.includes(outcome) ? hide.filter((hidden) => hidden !== outcome) : [...hide, outcome] });
  fill(byId('outcomes'), ...OUTCOMES.filter((outcome) => counts[outcome] > 0 || hide.includes(outcome)).map((outcome) =>
    element('button', { type: 'button', class: 'outcome', 'data-outcome': outcome, 'data-key': `outcome-${outcome}`, 'aria-pressed': String(!hide.includes(outcome)), onclick: toggle(outcome) },
      outcomeMark(outcome, SYMBOLS[outcome]), `${outcome.replaceAll('_', ' ')} `, element('b', {}, count(counts[outcome])))));
}

// ---- plots

function axisChoice() {
  const { state } = page;
  const varying = varyingAxes();
  const chosen = varying.find((axis) => axis.name === state.x);
  if (chosen) return { axis: chosen, measure: null };
  if (MEASURES[state.x]) return { axis: null, measure: state.x };
  return page.axis ? { axis: page.axis, measure: null } : { axis: null, measure: '#order' };
}

// The axes of which the selected trials have more than one value, "not used" included.
function varyingAxes() {
  const { trials, selection: { rows } } = page;
  return trials.axes.filter(({ dictionary: { at } }) => rows.some((row) => at[row] !== at[rows[0]]));
}

function showAxisMenu(choice) {
  const option = (value, name) => element('option', { value, selected: value === (choice.axis?.name ?? choice.measure) }, name);
  fill(byId('scatter-x'),
    element('optgroup', { label: 'Axes of the config' }, ...varyingAxes().map((axis) => option(axis.name, axis.name))),
    element('optgroup', { label: 'Measured' }, ...Object.entries(MEASURES).map(([key, { name }]) => option(key, name))));
}

function showScatter() {
  const { trials, selection, state } = page;
  const choice = axisChoice();
  if (document.activeElement !== byId('scatter-x')) showAxisMenu(choice);
  const drawn = scatterPlot.update({ trials, rows: selection.shown, ...choice, logarithmic: state.scale === 'log', relative: selection.relative });
  byId('scatter').setAttribute('aria-label', `${count(selection.shown.length)} trials: time against ${choice.axis?.name ?? MEASURES[choice.measure].name}`);
  showAxes();
  return drawn;
}

function showAxes() {
  const { trials, selection } = page;
  showImportance(byId('importance'), { trials, rows: selection.rows, result: page.importance, chosen: axisChoice().axis, choose: (axis) => setState({ x: axis.name }) });
}

function curveName(curve, curves) {
  const { trials } = page;
  const parts = [trials.word('strategy', curve.row)];
  const differs = (read) => new Set(curves.map((other) => read(other.row))).size > 1;
  if (differs((row) => trials.words.template.at[row])) parts.push(trials.word('template', curve.row));
  if (differs((row) => trials.words.shape.at[row])) parts.push(trials.word('shape', curve.row).name);
  if (differs((row) => trials.words.device.at[row] * 2 + trials.numbers.replayed[row])) parts.push(gpuName(trials, curve.row));
  return parts.join(', ');
}

function showCurves(records, curves) {
  const { trials, selection: { rows, relative }, state } = page;
  for (const curve of curves) curve.name = curveName(curve, curves);
  const lines = [];
  if (!relative && records.length === 1) {
    const [{ default_us: standard, row }] = records;
    if (standard && standard !== trials.us(row)) lines.push({ value: standard, name: 'default config' });
    if (trials.numbers.final_round[row]) lines.push({ value: trials.us(row), name: 'record, in the final round' });
  }
  curvePlot.update({ curves, by: state.by, logarithmic: state.scale === 'log', relative, lines, dots: curves.length === 1 && !relative ? dotsOf(rows) : null });
}

function dotsOf(rows) {
  const { trials } = page;
  const all = [];
  let start = NaN, session = -1, offset = 0, seconds = 0;
  for (const row of rows) {
    if (trials.numbers.final_round[row]) continue;
    if (trials.words.session.at[row] !== session) {
      session = trials.words.session.at[row];
      start = trials.createdAt(row);
      offset = seconds;
    }
    seconds = Math.max(seconds, offset + trials.createdAt(row) - start);
    all.push({ trials: all.length + 1, seconds, value: trials.us(row) });
  }
  return all.filter(({ value }) => Number.isFinite(value));
}

// ---- one trial

function pinnedRows() {
  return page.state.pin.map((id) => page.trials.rowOfId.get(id)).filter((row) => row !== undefined);
}

function showHovered(row, x, y) {
  showTooltip(byId('tooltip'), byId('scatter'), { trials: page.trials, row, x, y, relative: page.selection.relative });
}

function showPins() {
  scatterPlot.mark(pinnedRows());
  showPinned(byId('pinned'), page.trials, pinnedRows(), pin);
  byId('unpin').hidden = page.state.pin.length === 0;
}

// ---- all of it

function showNotice(text) {
  byId('notice').hidden = !text;
  byId('notice').textContent = text;
}

function noticeOf(rows) {
  const replayed = rows.filter((row) => page.trials.numbers.replayed[row]).length;
  if (page.trials.count === 0) return 'Nothing is stored yet.';
  if (replayed === 0) return rows.length === 0 ? 'No trial matches these filters.' : '';
  return replayed === rows.length
    ? 'REPLAYED: nothing was measured here. These times come from a recording of the GPU.'
    : `${count(replayed)} of these ${count(rows.length)} trials are replayed from a recording of the GPU, not measured.`;
}

async function computeImportance() {
  const { generation, selection, trials } = page;
  const result = await importance(trials, selection.rows, () => page.generation !== generation);
  if (!result || page.generation !== generation) return;
  const [most] = result.axes;
  const found = page.axis === null && most && most.share > most.chance;
  page.importance = result;
  if (found) page.axis = most.axis;
  keepingFocus(found && page.state.x === '' ? showScatter : showAxes);
}

let filtered = null;   // the filters of the selection, and of how many trials it was made
let counted = -1;

// fromServer: trials came, and nobody asked: a menu that is open stays open. Many trials are drawn in steps; resolves
// when all are done, or another refresh does them.
async function refresh({ fromServer = false } = {}) {
  const began = performance.now();
  const { trials, state } = page;
  const filters = JSON.stringify(FILTERS.map((name) => state[name]));
  const otherFilters = filters !== filtered, other = otherFilters || trials.count !== counted;
  filtered = filters;
  counted = trials.count;
  page.selection = select(trials, state);
  const { rows, relative } = page.selection;
  if (other) {
    ++page.generation;
    if (otherFilters) page.importance = page.axis = null;
    page.asked = true;
    page.trialsOfGroup = new Map();
    for (let row = 0; row < trials.count; ++row) page.trialsOfGroup.set(trials.groupOf[row], (page.trialsOfGroup.get(trials.groupOf[row]) ?? 0) + 1);
  }
  const records = selectRecords(trials, state);
  const curves = bestSoFar(trials, rows, relative);
  let points;
  const steps = [
    () => {
      if (!fromServer || !byId('filters').contains(document.activeElement)) showFilters();
      showNotice(noticeOf(rows));
      showSummary(byId('summary'), { trials, selection: page.selection, records, curves });
      showOutcomes();
      byId('scale').value = state.scale;
      byId('curve-x').value = state.by;
    },
    () => showCurves(records, curves),
    () => {
      points = showScatter();
      showPins();
    },
    () => {
      recordTable.update(records);
      byId('records-note').textContent = `${count(records.length)} · the fastest verified config of each shape on each GPU`;
    },
    () => trialTable.update(page.selection.shown, fromServer),
  ];
  const drawing = ++page.drawings;
  for (const step of steps) {
    if (trials.count > PIECE) await breath();
    if (page.drawings !== drawing) return;
    keepingFocus(step);
  }
  await points;
  if (page.drawings !== drawing) return;
  performance.measure('attune:refresh', { start: began });
  if (page.asked) computeImportance();
  page.asked = false;
}

function showTheme() {
  const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  byId('theme').textContent = dark ? 'Light theme' : 'Dark theme';
  return dark;
}

function redraw() {
  showTheme();
  curvePlot.draw();
  scatterPlot.draw();
}

function rememberedTheme() {
  try {
    return localStorage.getItem('attune-theme') ?? '';
  } catch {
    return '';  // the browser keeps nothing for this page
  }
}

async function start() {
  const theme = rememberedTheme();
  if (theme) document.documentElement.dataset.theme = theme;
  showTheme();
  byId('theme').addEventListener('click', () => {
    document.documentElement.dataset.theme = showTheme() ? 'light' : 'dark';
    try {
      localStorage.setItem('attune-theme', document.documentElement.dataset.theme);
    } catch {
      // The choice lasts as long as the page.
    }
    redraw();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
  byId('scale').addEventListener('change', (event) => setState({ scale: event.target.value }));
  byId('curve-x').addEventListener('change', (event) => setState({ by: event.target.value }));
  byId('scatter-x').addEventListener('change', (event) => setState({ x: event.target.value }));
  byId('unpin').addEventListener('click', () => setState({ pin: [] }));
  byId('filters').addEventListener('submit', (event) => event.preventDefault());
  window.addEventListener('hashchange', () => {
    page.state = stateFromHash(location.hash);
    refresh();
  });
  const text = byId('data').textContent;
  if (text.length > LONG_DATA) await breath();
  const data = JSON.parse(text);
  if (data === null) return startLive();
  byId('source').textContent = `${data.source}, written ${data.generated_at.replace('T', ' ').replace('Z', ' UTC')} by attune ${data.attune}`;
  show(data);
}

// Resolves when it is drawn.
async function show(data) {
  const first = page.selection === null;
  const before = JSON.stringify(page.trials.records);
  if (data.trials.count > PIECE) await breath();
  const added = page.trials.append(data);
  if (first || added > 0 || JSON.stringify(page.trials.records) !== before) await refresh({ fromServer: !first });
  if (first) performance.mark('attune:ready');
}

function startLive() {
  const shapeName = (shape) => page.trials.words.shape?.values.find((known) => Object.entries(shape).every(([key, value]) => known.shape[key] === value))?.name;
  new Live({
    onData: show,
    onShape: (shape) => shapeName(shape) && setState({ shape: shapeName(shape) }),
    lastId: () => page.trials.lastId,
  }).start();
}

start();
