// One or two trials in full, side by side, with what it takes to compile them.
import { copyButton, element, fill } from './dom.js';
import { axisValue, bytes, shellQuoted, significant, teraflops, time, times } from './format.js';
import { gpuName } from './selection.js';

export function compileCommand(trials, row) {
  return `attune compile ${trials.word('shape', row).flags} --template ${shellQuoted(trials.word('template', row))}` +
    ` --config ${shellQuoted(trials.configText(row))} --arch ${shellQuoted(trials.word('device', row).arch)} -o attention.cubin`;
}

const MEASURED = [
  ['Outcome', (t, row) => t.word('outcome', row) + (t.word('message', row) ? `: ${t.word('message', row)}` : '')],
  ['Time (median)', (t, row) => time(t.us(row))],
  ['Interquartile range', (t, row) => (Number.isFinite(t.us(row)) ? `${time(t.numbers.spread_us[row])}, ${t.numbers.samples[row]} samples` : '–')],
  ['TFLOP/s', (t, row) => (Number.isFinite(t.us(row)) ? significant(teraflops(t.flops(row), t.us(row)), 3) : '–')],
  ['Of its group\'s fastest', (t, row) => times(t.ratio(row), 3)],
  ['Relative error', (t, row) => significant(t.numbers.relative_error[row], 3)],
  ['Registers a thread', (t, row) => String(t.numbers.registers[row])],
  ['Spilled', (t, row) => bytes(t.numbers.spill_bytes[row])],
  ['Shared memory a CTA', (t, row) => bytes(t.numbers.smem_bytes[row])],
  ['Compile time', (t, row) => time(t.numbers.compile_ms[row] * 1000)],
  ['SM clock', (t, row) => (Number.isFinite(t.numbers.sm_clock_mhz[row]) ? `${t.numbers.sm_clock_mhz[row]} MHz ${t.word('throttle', row)}`.trim() : '–')],
  ['Taken', (t, row) => (t.numbers.final_round[row] ? 'in a final round' : 'in the search')],
  ['Strategy', (t, row) => t.word('strategy', row)],
  ['Shape', (t, row) => t.word('shape', row).name],
  ['GPU', gpuName],
  ['Template', (t, row) => t.word('template', row)],
  ['Run', (t, row) => t.word('session', row)],
  ['When', (t, row) => t.word('created_at', row)],
];

export function showPinned(holder, trials, rows, unpin) {
  if (rows.length === 0) {
    return fill(holder, element('p', { class: 'note' },
      'Click a trial in a plot or a table to pin it here: its config, its resources, and the command that compiles it. Pin a second one to compare.'));
  }
  const columns = rows.map((row, slot) => element('th', { scope: 'col' }, `${'AB'[slot]} · trial ${trials.numbers.id[row]} `,
    element('button', { type: 'button', class: 'quiet', 'aria-label': `Unpin ${'AB'[slot]}`, onclick: () => unpin(row) }, '✕')));
  const axes = trials.axes.filter((axis) => rows.some((row) => axis.dictionary.at[row] >= 0));
  const lines = [
    ...MEASURED.map(([name, read]) => line(name, rows.map((row) => read(trials, row)), '')),
    separator('Config', rows.length),
    ...axes.map((axis) => line(axis.name, rows.map((row) => axisValue(axis.dictionary.of(row))), axis.help)),
  ];
  fill(holder,
    rows.length === 2 && element('p', { class: 'note' }, comparison(trials, rows)),
    element('div', { class: 'scroll whole' }, element('table', { class: 'data compare' },
      element('caption', { class: 'hidden' }, 'Pinned configs'),
      element('thead', {}, element('tr', {}, element('td', {}), ...columns)),
      element('tbody', {}, ...lines))),
    ...rows.map((row, slot) => commands(trials, row, slot)));
}

function line(name, texts, help) {
  const differs = texts.length === 2 && texts[0] !== texts[1];
  return element('tr', { class: differs ? 'differs' : '' },
    element('th', { scope: 'row', title: help }, differs ? `≠ ${name}` : name),
    ...texts.map((text) => element('td', {}, text)));
}

function separator(name, columns) {
  return element('tr', {}, element('th', { scope: 'colgroup', class: 'part', colspan: columns + 1 }, name));
}

function comparison(trials, [a, b]) {
  if (trials.groupOf[a] !== trials.groupOf[b]) return 'A and B are of different shapes, GPUs or policies: their times do not compare.';
  const [first, second] = [trials.us(a), trials.us(b)];
  if (!Number.isFinite(first) || !Number.isFinite(second)) return 'One of them has no time.';
  const noise = Math.max(trials.numbers.spread_us[a], trials.numbers.spread_us[b]);
  const apart = Math.abs(first - second) <= noise ? ', which is within their spread' : '';
  const tiers = trials.numbers.final_round[a] === trials.numbers.final_round[b] ? '' : ' One was timed in a final round, the other in the search.';
  const [fast, slow] = first <= second ? ['A', 'B'] : ['B', 'A'];
  return `${fast} is ${times(Math.max(first, second) / Math.min(first, second), 3)} as fast as ${slow}${apart}.${tiers}`;
}

function commands(trials, row, slot) {
  const config = trials.configText(row), command = compileCommand(trials, row);
  return element('div', { class: 'commands' },
    element('h3', {}, `Use ${'AB'[slot]}`),
    element('pre', { class: 'config', tabindex: 0, 'aria-label': `Config of ${'AB'[slot]}` }, config),
    element('pre', { class: 'command', tabindex: 0, 'aria-label': `Command that compiles ${'AB'[slot]}` }, command),
    copyButton('Copy config', () => config), copyButton('Copy command', () => command));
}
