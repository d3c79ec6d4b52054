// What is computed of the trials.
import { breath } from './pieces.js';

export function quantile(sorted, share) {
  const at = (sorted.length - 1) * share;
  const low = Math.floor(at);
  return low + 1 < sorted.length ? sorted[low] + (at - low) * (sorted[low + 1] - sorted[low]) : sorted[low];
}

export function median(values) {
  return quantile(Float64Array.from(values).sort(), 0.5);
}

export function geometricMean(values) {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

// The best-so-far curves of a selection: one for each (group, template, strategy), runs of the same search put
// end to end. A point is a trial that was the fastest yet: {row, trials, seconds, value}; the curve's last
// point repeats its best at its end. Trials of a final round are left out: they time a known config again.
export function bestSoFar(trials, rows, relative) {
  const curves = new Map();
  for (const row of rows) {
    if (trials.numbers.final_round[row]) continue;
    const key = [trials.groupOf[row], trials.words.template.at[row], trials.words.strategy.at[row]].join();
    let curve = curves.get(key);
    if (!curve) {
      curve = { key, row, trials: 0, seconds: 0, value: Infinity, points: [], session: null, start: 0, offset: 0 };
      curves.set(key, curve);
    }
    advance(trials, curve, row);
    const value = trials.word('outcome', row) !== 'ok' ? Infinity : relative ? trials.ratio(row) : trials.us(row);
    if (value < curve.value) {
      curve.value = value;
      curve.points.push({ row, trials: curve.trials, seconds: curve.seconds, value });
    }
  }
  for (const curve of curves.values()) {
    const last = curve.points.at(-1);
    if (last) curve.points.push({ ...last, trials: curve.trials, seconds: curve.seconds });
  }
  return [...curves.values()].filter((curve) => curve.points.length > 0);
}

function advance(trials, curve, row) {
  const session = trials.words.session.at[row];
  if (session !== curve.session) {
    curve.session = session;
    curve.offset = curve.seconds;
    curve.start = trials.createdAt(row);
  }
  ++curve.trials;
  curve.seconds = Math.max(curve.seconds, curve.offset + trials.createdAt(row) - curve.start);
}

// ---- axis importance

const SHUFFLES = [40, 200];  // fewest and most; fewer where there are many trials, whose chance level varies less
const SHUFFLED = 400000;     // trials times shuffles an axis, between these
const SHUFFLED_AT_ONCE = 50000;
const FEWEST_TRIALS = 20;  // timed trials, below which nothing is said
const FEWEST_OF_VALUE = 3;  // trials with a value, below which they are left out

// Mulberry32: the same page shows the same numbers.
function randomSource(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// One way analysis of variance of `y` by `level` within blocks, pooled over blocks. Returns epsilon squared: the
// share of the variance that the levels explain, less what as many levels explain of noise.
function explained(blocks) {
  let between = 0, within = 0, freeBetween = 0, freeWithin = 0;
  for (const { y, level, levels } of blocks) {
    const sums = new Float64Array(levels), counts = new Float64Array(levels);
    let total = 0, squares = 0;
    for (let i = 0; i < y.length; ++i) {
      sums[level[i]] += y[i];
      ++counts[level[i]];
      total += y[i];
      squares += y[i] * y[i];
    }
    let ofLevels = 0, present = 0;
    for (let i = 0; i < levels; ++i) {
      if (counts[i] === 0) continue;
      ofLevels += (sums[i] * sums[i]) / counts[i];
      ++present;
    }
    const mean = (total * total) / y.length;
    between += ofLevels - mean;
    within += squares - ofLevels;
    freeBetween += present - 1;
    freeWithin += y.length - present;
  }
  const whole = between + within;
  if (whole <= 0 || freeBetween === 0 || freeWithin <= 0) return 0;
  return Math.max(0, (between - freeBetween * (within / freeWithin)) / whole);
}

function shuffled(values, random) {
  const copy = values.slice();
  for (let i = copy.length - 1; i > 0; --i) {
    const j = Math.floor(random() * (i + 1));
    [copy[i], copy[j]] = [copy[j], copy[i]];
  }
  return copy;
}

// The log times of the trials in which the axis has a value, by group and template.
function blocksOf(trials, rows, axis) {
  const blocks = new Map();
  for (const row of rows) {
    const level = axis.dictionary.at[row];
    if (level < 0) continue;
    const key = `${trials.groupOf[row]},${trials.words.template.at[row]}`;
    if (!blocks.has(key)) blocks.set(key, []);
    blocks.get(key).push(row);
  }
  const usable = [];
  for (const members of blocks.values()) {
    const counts = new Map();
    for (const row of members) counts.set(axis.dictionary.at[row], (counts.get(axis.dictionary.at[row]) ?? 0) + 1);
    const kept = members.filter((row) => counts.get(axis.dictionary.at[row]) >= FEWEST_OF_VALUE);
    if (new Set(kept.map((row) => axis.dictionary.at[row])).size < 2) continue;
    usable.push({
      y: Float64Array.from(kept, (row) => Math.log(trials.us(row))),
      level: Int32Array.from(kept, (row) => axis.dictionary.at[row]),
      levels: axis.dictionary.values.length,
    });
  }
  return usable;
}

// In steps, which yield nothing; returns what axisImportance() does.
function* importanceSteps(trials, rows, axis) {
  const blocks = blocksOf(trials, rows, axis);
  const used = blocks.reduce((sum, block) => sum + block.y.length, 0);
  if (blocks.length === 0 || used < FEWEST_TRIALS) return null;
  const random = randomSource(1);
  const shuffles = Math.round(Math.min(SHUFFLES[1], Math.max(SHUFFLES[0], SHUFFLED / used)));
  const chances = new Float64Array(shuffles);
  for (let i = 0, sinceStep = 0; i < shuffles; ++i, sinceStep += used) {
    if (sinceStep >= SHUFFLED_AT_ONCE) {
      yield;
      sinceStep = 0;
    }
    chances[i] = explained(blocks.map((block) => ({ ...block, y: shuffled(block.y, random) })));
  }
  return { axis, share: explained(blocks), chance: quantile(chances.sort(), 0.95), used };
}

export function axisImportance(trials, rows, axis) {
  const steps = importanceSteps(trials, rows, axis);
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

// The timed trials of a search: those of a final round would count their configs twice.
export function timedRows(trials, rows) {
  return rows.filter((row) => Number.isFinite(trials.us(row)) && !trials.numbers.final_round[row]);
}

// The importance of every axis that varies, highest first. Gives the page a chance to react in between;
// `stale` says that nobody waits for the answer any more.
export async function importance(trials, rows, stale) {
  const timed = timedRows(trials, rows);
  const axes = [];
  if (timed.length < FEWEST_TRIALS) return { timed: timed.length, axes, needed: FEWEST_TRIALS };
  for (const axis of trials.axes) {
    const steps = importanceSteps(trials, timed, axis);
    for (let step = { done: false }; !step.done;) {
      await breath();
      if (stale()) return null;
      step = steps.next();
      if (step.done && step.value) axes.push(step.value);
    }
  }
  axes.sort((a, b) => b.share - a.share);
  return { timed: timed.length, axes, needed: FEWEST_TRIALS };
}

// How the trials with each value of an axis fared: {index, timed, best, median} in multiples of the group's
// fastest.
export function valuesOf(trials, rows, axis) {
  const byValue = new Map();
  for (const row of rows) {
    const index = axis.dictionary.at[row];
    if (!byValue.has(index)) byValue.set(index, []);
    byValue.get(index).push(row);
  }
  return [...trials.orderedValues(axis), -1].filter((index) => byValue.has(index)).map((index) => {
    const members = byValue.get(index);
    const ratios = members.map((row) => trials.ratio(row)).filter(Number.isFinite);
    return {
      index,
      trials: members.length,
      timed: ratios.length,
      best: ratios.length ? Math.min(...ratios) : NaN,
      median: ratios.length ? median(ratios) : NaN,
    };
  });
}
