// The records and the trials as tables: sorted by any column, in pages where there are many.
import { element, fill, outcomeMark } from './dom.js';
import { bytes, count, significant, teraflops, time, times } from './format.js';
import { SYMBOLS } from './plot.js';
import { gpuName } from './selection.js';

const PAGE = 50;

// A column: name, number (right-aligned), sort(row) -> number or text, cell(row) -> node or text.
export class SortedTable {
  constructor(holder, caption, columns, { pages, sorted, descending = false } = {}) {
    Object.assign(this, { holder, caption, columns, pages, sorted, descending, page: 0, rows: [] });
  }

  update(rows, keepPage = false) {
    this.rows = rows;
    this.page = keepPage ? Math.min(this.page, Math.max(0, Math.ceil(rows.length / PAGE) - 1)) : 0;
    this.show();
  }

  #ordered() {
    const column = this.columns.find(({ name }) => name === this.sorted);
    if (!column) return this.rows;
    const sign = this.descending ? -1 : 1;
    const keys = new Map(this.rows.map((row) => [row, column.sort(row)]));
    return this.rows.slice().sort((a, b) => {
      const [x, y] = [keys.get(a), keys.get(b)];
      const [none, other] = [Number.isNaN(x), Number.isNaN(y)];
      if (none || other) return none - other;  // what has no value stands last either way
      return sign * (x < y ? -1 : x > y ? 1 : 0);
    });
  }

  #sortBy(name) {
    this.descending = this.sorted === name && !this.descending;
    this.sorted = name;
    this.page = 0;
    this.show();
    this.holder.querySelector('th[aria-sort] button').focus();
  }

  show() {
    const ordered = this.#ordered();
    const from = this.pages ? this.page * PAGE : 0;
    const visible = this.pages ? ordered.slice(from, from + PAGE) : ordered;
    fill(this.holder, element('table', { class: 'data' },
      element('caption', { class: 'hidden' }, this.caption),
      element('thead', {}, element('tr', {}, ...this.columns.map((column) => this.#head(column)))),
      element('tbody', {}, ...visible.map((row) => element('tr', {}, ...this.columns.map((column) => cell(column, row)))))));
    if (this.pages) this.#pager(ordered.length, from, visible.length);
  }

  #head({ name, number, sort }) {
    const state = this.sorted !== name ? null : this.descending ? 'descending' : 'ascending';
    const arrow = { ascending: ' ▲', descending: ' ▼' }[state] ?? '';
    return element('th', { scope: 'col', class: number ? 'number' : '', 'aria-sort': state },
      sort ? element('button', { type: 'button', class: 'sort', onclick: () => this.#sortBy(name) }, name, element('span', { 'aria-hidden': 'true' }, arrow)) : name);
  }

  #pager(total, from, shown) {
    const go = (page) => () => {
      this.page = page;
      this.show();
    };
    fill(this.pages,
      element('span', { class: 'note' }, total ? `${count(from + 1)}–${count(from + shown)} of ${count(total)}` : 'none'),
      element('button', { type: 'button', class: 'quiet', disabled: from === 0, 'aria-label': 'Previous page', onclick: go(this.page - 1) }, '‹'),
      element('button', { type: 'button', class: 'quiet', disabled: from + shown >= total, 'aria-label': 'Next page', onclick: go(this.page + 1) }, '›'));
  }
}

function cell({ number, cell: read, name }, row) {
  const content = read(row);
  return element('td', { class: number ? 'number' : '', 'data-column': name }, content);
}

export function recordColumns(view) {
  const { trials, chooseShape, pin, trialsOf } = view;
  const us = ({ row }) => trials().us(row);
  const speedup = (record) => (record.default_us ? record.default_us / us(record) : NaN);
  return [
    { name: 'Shape', sort: ({ row }) => trials().word('shape', row).name,
      cell: ({ row }) => element('button', { type: 'button', class: 'link', 'data-key': `record-${row}`, title: 'Look at this shape alone', onclick: () => chooseShape(row) }, trials().word('shape', row).name) },
    { name: 'GPU', sort: ({ row }) => gpuName(trials(), row), cell: ({ row }) => gpuName(trials(), row) },
    { name: 'Template', sort: ({ row }) => trials().word('template', row),
      cell: (record) => element('span', {}, trials().word('template', record.row), !record.current && element('span', { class: 'tag', title: 'The kernel has changed since: lookups do not serve this record' }, 'older kernel')) },
    { name: 'Time', number: true, sort: us, cell: (record) => time(us(record)) },
    { name: '± IQR', number: true, sort: ({ row }) => trials().numbers.spread_us[row] / trials().us(row), cell: ({ row }) => `${significant((100 * trials().numbers.spread_us[row]) / trials().us(row), 2)}%` },
    { name: 'TFLOP/s', number: true, sort: ({ row }) => teraflops(trials().flops(row), trials().us(row)), cell: ({ row }) => significant(teraflops(trials().flops(row), trials().us(row)), 3) },
    { name: 'Default', number: true, sort: (record) => record.default_us ?? NaN, cell: (record) => (record.default_us ? time(record.default_us) : element('span', { class: 'muted', title: 'The template\'s default config was not timed under these conditions' }, 'not timed')) },
    { name: 'Speedup', number: true, sort: speedup, cell: (record) => speedupCell(speedup(record)) },
    { name: 'Policy', sort: ({ row }) => trials().word('policy', row), cell: ({ row }) => trials().word('policy', row) },
    { name: 'Trials', number: true, sort: (record) => trialsOf(record.row), cell: (record) => count(trialsOf(record.row)) },
    { name: 'Measured', sort: ({ row }) => trials().word('created_at', row), cell: ({ row }) => trials().word('created_at', row).replace('T', ' ').replace('Z', '') },
    { name: 'Config', cell: ({ row }) => pinButton(pin, row, 'record') },
  ];
}

function speedupCell(speedup) {
  if (!Number.isFinite(speedup)) return '–';
  const width = Math.min(1, Math.max(0, speedup - 1)) * 100;
  return element('span', { class: 'speedup' }, element('span', { class: 'filled', 'aria-hidden': 'true', style: { width: `${width / 2}px` } }), times(speedup));
}

function outcomeCell(outcome, message) {
  return element('span', { title: message }, outcomeMark(outcome, SYMBOLS[outcome]), outcome.replaceAll('_', ' '));
}

function pinButton(pin, row, of) {
  return element('button', { type: 'button', class: 'quiet', 'data-key': `pin-${of}-${row}`, onclick: () => pin(row) }, 'Pin');
}

export function trialColumns({ trials, pin }) {
  const of = (name) => (row) => trials().numbers[name][row];
  return [
    { name: 'Trial', number: true, sort: of('id'), cell: (row) => String(of('id')(row)) },
    { name: 'Outcome', sort: (row) => trials().word('outcome', row), cell: (row) => outcomeCell(trials().word('outcome', row), trials().word('message', row)) },
    { name: 'Time', number: true, sort: (row) => trials().us(row), cell: (row) => time(trials().us(row)) },
    { name: 'Of fastest', number: true, sort: (row) => trials().ratio(row), cell: (row) => times(trials().ratio(row), 3) },
    { name: 'Regs', number: true, sort: of('registers'), cell: (row) => String(of('registers')(row)) },
    { name: 'Smem', number: true, sort: of('smem_bytes'), cell: (row) => bytes(of('smem_bytes')(row)) },
    { name: 'Compile', number: true, sort: of('compile_ms'), cell: (row) => time(of('compile_ms')(row) * 1000) },
    { name: 'Shape', sort: (row) => trials().word('shape', row).name, cell: (row) => trials().word('shape', row).name },
    { name: 'Strategy', sort: (row) => trials().word('strategy', row), cell: (row) => trials().word('strategy', row) },
    { name: 'Config', cell: (row) => element('span', { class: 'config' }, pinButton(pin, row, 'trial'), ' ', trials().configText(row)) },
  ];
}
