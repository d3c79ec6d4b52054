// The trials, in columns. Data comes in parts (docs/dashboard.md): a file has one, a server sends what is new.

export const OUTCOMES = ['ok', 'slow', 'spilled', 'does_not_fit', 'compile_error', 'launch_fault', 'timeout', 'wrong_answer'];

// Distinct values and, for each trial, an index into them; -1 where there is none.
class Dictionary {
  constructor() {
    this.values = [];
    this.at = [];
    this.known = new Map();
  }

  indexOf(value) {
    const key = JSON.stringify(value);
    let index = this.known.get(key);
    if (index === undefined) {
      index = this.values.push(value) - 1;
      this.known.set(key, index);
    }
    return index;
  }

  append(part, rows) {
    const global = part.values.map((value) => this.indexOf(value));
    for (const row of rows) this.at.push(part.at[row] < 0 ? -1 : global[part.at[row]]);
  }

  pad(length) {
    while (this.at.length < length) this.at.push(-1);
  }

  of(row) {
    return this.values[this.at[row]];
  }
}

export class Trials {
  constructor() {
    this.count = 0;
    this.words = {};
    this.numbers = {};
    this.axes = [];
    this.rowOfId = new Map();
    this.lastId = 0;
    this.records = [];
    this.groups = [];
    this.groupOf = [];
  }

  // Trials that are known already are passed over, so that parts may overlap.
  append(data) {
    const part = data.trials;
    const rows = [];
    part.numbers.id?.forEach((id, row) => {
      if (this.rowOfId.has(id)) return;
      this.rowOfId.set(id, this.count + rows.length);
      this.lastId = Math.max(this.lastId, id);
      rows.push(row);
    });
    for (const [name, column] of Object.entries(part.words)) (this.words[name] ??= new Dictionary()).append(column, rows);
    for (const [name, column] of Object.entries(part.numbers)) {
      const own = (this.numbers[name] ??= []);
      for (const row of rows) own.push(column[row] === null ? NaN : column[row] === 'inf' ? Infinity : column[row]);
    }
    for (const axis of part.axes) this.#axis(axis).dictionary.append(axis.values, rows);
    const before = this.count;
    this.count += rows.length;
    for (const axis of this.axes) axis.dictionary.pad(this.count);
    this.#group(before);
    this.records = data.records.filter((record) => this.rowOfId.has(record.id)).map((record) => ({ ...record, row: this.rowOfId.get(record.id) }));
    return rows.length;
  }

  #axis(about) {
    let axis = this.axes.find((known) => known.pointer === about.pointer && known.name === about.name);
    if (!axis) {
      axis = { name: about.name, pointer: about.pointer, help: about.help ?? '', domain: [], dictionary: new Dictionary() };
      axis.dictionary.pad(this.count);
      this.axes.push(axis);
    }
    if ((about.domain ?? []).length > axis.domain.length) axis.domain = about.domain;
    return axis;
  }

  // Times compare within a group: the same shape, device, policy, and measured or replayed. Its fastest is that
  // of the search: the times of a final round are taken under another load.
  #group(from) {
    const keys = new Map(this.groups.map((group, index) => [group.key, index]));
    for (let row = from; row < this.count; ++row) {
      const key = [this.words.shape.at[row], this.words.device.at[row], this.words.policy.at[row], this.numbers.replayed[row]].join();
      let index = keys.get(key);
      if (index === undefined) {
        index = this.groups.push({ key, row, ofSearch: Infinity, ofAll: Infinity }) - 1;
        keys.set(key, index);
      }
      this.groupOf.push(index);
      const us = this.numbers.median_us[row], group = this.groups[index];
      if (us < group.ofAll) group.ofAll = us;
      if (us < group.ofSearch && !this.numbers.final_round[row] && this.word('outcome', row) === 'ok') group.ofSearch = us;
    }
  }

  word(name, row) {
    return this.words[name].of(row);
  }

  us(row) {
    return this.numbers.median_us[row];
  }

  // How many times the fastest of its group a trial takes.
  ratio(row) {
    const { ofSearch, ofAll } = this.groups[this.groupOf[row]];
    return this.numbers.median_us[row] / (ofSearch < Infinity ? ofSearch : ofAll);
  }

  flops(row) {
    return this.word('shape', row).flops;
  }

  // Seconds since 1970.
  createdAt(row) {
    this.instants ??= [];
    const index = this.words.created_at.at[row];
    return (this.instants[index] ??= Date.parse(this.words.created_at.values[index]) / 1000);
  }

  // Sorts an axis's values as its template does, else numbers by size and words by their letters.
  orderedValues(axis) {
    const rank = new Map(axis.domain.map((value, index) => [JSON.stringify(value), index]));
    const indices = axis.dictionary.values.map((_, index) => index);
    const place = (index) => rank.get(JSON.stringify(axis.dictionary.values[index])) ?? Infinity;
    return indices.sort((a, b) => {
      const [x, y] = [axis.dictionary.values[a], axis.dictionary.values[b]];
      if (typeof x === 'number' && typeof y === 'number') return x - y;
      if (place(a) !== place(b)) return place(a) - place(b);
      return String(x) < String(y) ? -1 : 1;
    });
  }

  // The config as its canonical JSON has it: keys sorted, nothing between.
  configText(row) {
    const config = {};
    for (const axis of this.axes) {
      if (axis.dictionary.at[row] >= 0) place(config, axis.pointer, axis.dictionary.of(row));
    }
    return canonical('' in config ? config[''] : config);
  }
}

// RFC 6901; a token of digits is an index into a list.
function place(config, pointer, value) {
  if (pointer === '') {
    config[''] = value;
    return;
  }
  const tokens = pointer.split('/').slice(1).map((token) => token.replaceAll('~1', '/').replaceAll('~0', '~'));
  const keys = tokens.map((token) => (/^\d+$/.test(token) ? Number(token) : token));
  let node = config;
  keys.forEach((key, index) => {
    if (index === keys.length - 1) {
      define(node, key, value);
    } else {
      if (!Object.hasOwn(node, key)) define(node, key, typeof keys[index + 1] === 'number' ? [] : {});
      node = node[key];
    }
  });
}

// As an assignment does, but for the key "__proto__".
function define(node, key, value) {
  Object.defineProperty(node, key, { value, writable: true, enumerable: true, configurable: true });
}

export function canonical(value) {
  if (Array.isArray(value)) return `[${Array.from(value, (item) => canonical(item ?? null)).join(',')}]`;
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  return `{${Object.keys(value).sort().map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`).join(',')}}`;
}
