// The numbers above the plots.
import { element, fill } from './dom.js';
import { count, duration, percent, significant, teraflops, time, times } from './format.js';
import { geometricMean } from './statistics.js';

function tile(name, value, detail) {
  return element('div', { class: 'tile' }, element('p', { class: 'tile-name' }, name), element('p', { class: 'tile-value' }, value), element('p', { class: 'tile-detail' }, detail ?? ''));
}

function recordTiles(trials, records) {
  const speedups = records.filter(({ default_us: us }) => us).map((record) => record.default_us / trials.us(record.row));
  if (records.length === 1) {
    const [{ row, default_us: standard }] = records;
    return [
      tile('Record', time(trials.us(row)), `${significant(teraflops(trials.flops(row), trials.us(row)), 3)} TFLOP/s, ${trials.word('template', row)}`),
      tile('Over the default config', speedups.length ? times(speedups[0]) : '–', standard ? `default ${time(standard)}` : 'the default config was not timed'),
    ];
  }
  return [
    tile('Records', count(records.length), `${count(new Set(records.map(({ row }) => trials.words.shape.at[row])).size)} shapes`),
    tile('Over the default config', speedups.length ? times(geometricMean(speedups)) : '–',
      speedups.length ? `geometric mean of ${speedups.length}, lowest ${times(Math.min(...speedups))}, best ${times(Math.max(...speedups))}` : 'no default config was timed'),
  ];
}

export function showSummary(holder, { trials, selection: { rows, counts }, records, curves }) {
  const timed = counts.ok + counts.slow, failed = rows.length - timed;
  const seconds = curves.reduce((sum, curve) => sum + curve.points.at(-1).seconds, 0);
  const compile = rows.reduce((sum, row) => sum + trials.numbers.compile_ms[row], 0) / 1000;
  fill(holder,
    ...(records.length ? recordTiles(trials, records) : [tile('Record', '–', 'nothing has passed yet')]),
    tile('Trials', count(rows.length), `${count(counts.ok)} ok, ${count(counts.slow)} dropped as slow`),
    tile('Failed', rows.length ? percent(failed / rows.length) : '–', `${count(failed)} of ${count(rows.length)} without a time`),
    tile('Search time', seconds ? duration(seconds) : '–', seconds ? `${significant(rows.length / seconds, 3)} trials a second` : ''),
    tile('Compiler time', duration(compile), 'of all trials, in parallel'));
}
