// What the page computes, against values worked out by hand or by another road. Needs no browser.
import assert from 'node:assert/strict';
import { test } from 'node:test';

const web = `${process.env.ATTUNE_SOURCE_DIR}/dashboard/web`;
const { canonical, Trials } = await import(`${web}/columns.js`);
const { axisImportance, bestSoFar, importance, quantile, valuesOf } = await import(`${web}/statistics.js`);
const { hashOfState, stateFromHash } = await import(`${web}/view_state.js`);
const { shellQuoted, significant, time } = await import(`${web}/format.js`);
const { scale, ticks } = await import(`${web}/plot.js`);

function dictionary(all) {
  const values = [...new Set(all.filter((value) => value !== undefined).map((value) => JSON.stringify(value)))];
  return { values: values.map((text) => JSON.parse(text)), at: all.map((value) => values.indexOf(JSON.stringify(value))) };
}

// trials: {us, config, ...}; a trial's place in the list, from 1, is its id.
function data(trials) {
  const all = (read) => dictionary(trials.map(read));
  const names = [...new Set(trials.flatMap((trial) => Object.keys(trial.config ?? {})))];
  return {
    trials: {
      count: trials.length,
      words: {
        shape: all((t) => ({ name: t.shape ?? 's', flops: 1e9, flags: '--shape 1,2,128,64' })),
        device: all(() => ({ name: 'GPU', arch: 'sm_90a', sm_count: 132 })),
        template: all((t) => t.template ?? 'portable'), policy: all(() => 'cold-l2/eager'),
        outcome: all((t) => t.outcome ?? (t.us ? 'ok' : 'spilled')), message: all(() => ''),
        strategy: all((t) => t.strategy ?? 'random'), session: all((t) => t.session ?? 'one'),
        created_at: all((t) => t.at ?? '2026-01-01T00:00:00Z'),
      },
      numbers: {
        id: trials.map((t, index) => t.id ?? index + 1), replayed: trials.map(() => 0),
        final_round: trials.map((t) => (t.final ? 1 : 0)), median_us: trials.map((t) => t.us ?? null),
        spread_us: trials.map((t) => (t.us ? 1 : null)),
      },
      axes: names.map((name) => ({ name, pointer: `/${name}`, domain: [], values: all((t) => t.config?.[name]) })),
    },
    records: [],
  };
}

function loaded(trials) {
  const all = new Trials();
  all.append(data(trials));
  return all;
}

const rowsOf = (trials) => [...Array(trials.count).keys()];

test('an axis that is all of the time explains all of it, one that is none nothing', () => {
  const trials = loaded(Array.from({ length: 240 }, (_, i) => ({ us: i % 2 ? 100 : 200, config: { all: i % 2, none: i % 3, constant: 7 } })));
  const of = (name) => axisImportance(trials, rowsOf(trials), trials.axes.find((axis) => axis.name === name));
  assert.ok(of('all').share > 0.999);
  assert.ok(of('none').share <= of('none').chance);
  assert.equal(of('constant'), null);
});

test('the share is that of the analysis of variance', () => {
  // Three groups of log times 1 2 3, 2 3 4, 6 7 8 of each four: between 42*4... worked out: SSb = 168, SSw = 24.
  const logs = [[1, 2, 3, 2], [2, 3, 4, 3], [6, 7, 8, 7]];
  const trials = loaded([0, 1].flatMap(() => logs.flatMap((group, value) => group.map((log) => ({ us: Math.exp(log), config: { axis: value } })))));
  const { share } = axisImportance(trials, rowsOf(trials), trials.axes[0]);
  const all = logs.flat(), mean = (values) => values.reduce((a, b) => a + b) / values.length;
  const within = 2 * logs.reduce((sum, group) => sum + group.reduce((s, v) => s + (v - mean(group)) ** 2, 0), 0);
  const whole = 2 * all.reduce((sum, v) => sum + (v - mean(all)) ** 2, 0);
  const expected = (whole - within - 2 * (within / (24 - 3))) / whole;
  assert.ok(Math.abs(share - expected) < 1e-12, `${share} is not ${expected}`);
});

test('shapes of other speed do not pass for an axis', () => {
  // The axis goes with the shape: without blocks it would seem to explain everything.
  const trials = loaded(Array.from({ length: 200 }, (_, i) => {
    const big = i % 2;
    return { shape: big ? 'big' : 'small', us: (big ? 1000 : 10) * (1 + (i * 7919 % 97) / 1000), config: { axis: (i % 10 < 8 ? big : 1 - big) } };
  }));
  const { share, chance } = axisImportance(trials, rowsOf(trials), trials.axes[0]);
  assert.ok(share <= chance, `${share} above chance ${chance}`);
});

test('few trials say nothing', async () => {
  const trials = loaded(Array.from({ length: 19 }, (_, i) => ({ us: 10 + i, config: { axis: i % 2 } })));
  const result = await importance(trials, rowsOf(trials), () => false);
  assert.deepEqual(result.axes, []);
  assert.equal(result.timed, 19);
  assert.equal(await importance(loaded(Array.from({ length: 40 }, (_, i) => ({ us: 9 + i, config: { axis: i % 2 } }))), [...Array(40).keys()], () => true), null);
});

test('noise alone is above chance in about one case of twenty', () => {
  let above = 0;
  let seed = 12345;
  const random = () => ((seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff) / 0x7fffffff);
  for (let round = 0; round < 200; ++round) {
    const trials = loaded(Array.from({ length: 40 }, () => ({ us: Math.exp(random()), config: { axis: Math.floor(random() * 4) } })));
    const { share, chance } = axisImportance(trials, rowsOf(trials), trials.axes[0]);
    above += share > chance;
  }
  assert.ok(above >= 2 && above <= 22, `${above} of 200`);
});

test('best so far goes down, joins the runs of a search, and leaves the final round out', () => {
  const trials = loaded([
    { us: 30, at: '2026-01-01T00:00:00Z' }, { us: 40, at: '2026-01-01T00:00:05Z' }, { us: null, at: '2026-01-01T00:00:06Z' },
    { us: 5, outcome: 'slow', at: '2026-01-01T00:00:07Z' }, { us: 20, at: '2026-01-01T00:00:10Z' },
    { us: 25, session: 'two', at: '2026-01-01T05:00:00Z' }, { us: 10, session: 'two', at: '2026-01-01T05:00:02Z' },
    { us: 1, session: 'two', final: true, at: '2026-01-01T05:00:09Z' },
  ]);
  const [curve, ...others] = bestSoFar(trials, rowsOf(trials), false);
  assert.deepEqual(others, []);
  assert.deepEqual(curve.points.map(({ trials: n, seconds, value }) => [n, seconds, value]), [[1, 0, 30], [5, 10, 20], [7, 12, 10], [7, 12, 10]]);
});

test('parts that overlap are one', () => {
  const trials = loaded([{ us: 3, config: { a: 1 } }, { us: 4, config: { a: 2 } }]);
  const more = data([{ id: 2, us: 4, config: { a: 2 } }, { id: 3, us: 2, config: { b: 'x', a: 1 }, strategy: 'other' }]);
  assert.equal(trials.append(more), 1);
  assert.equal(trials.count, 3);
  assert.equal(trials.configText(0), '{"a":1}');
  assert.equal(trials.configText(2), '{"a":1,"b":"x"}');
  assert.equal(trials.word('strategy', 2), 'other');
  assert.equal(trials.ratio(1), 2);
});

test('a config is put together again, whatever its keys', () => {
  const trials = new Trials();
  const part = data([{ us: 1 }]);
  const leaf = (pointer, value) => ({ name: pointer, pointer, values: { values: [value], at: [0] } });
  part.trials.axes = [leaf('/b/1', 2), leaf('/b/0', 1), leaf('/a~1b/c~0d', ''), leaf('/__proto__/x', true), leaf('/e', []), leaf('/f/0', [1, 0])];
  trials.append(part);
  assert.equal(trials.configText(0), '{"__proto__":{"x":true},"a/b":{"c~d":""},"b":[1,2],"e":[],"f":[[1,0]]}');
  assert.equal({}.x, undefined);
  assert.equal(canonical([undefined, 1]), '[null,1]');
});

test('values of an axis keep the order of their template', () => {
  const trials = loaded([{ us: 1, config: { a: 'last' } }, { us: 2, config: { a: '' } }, { us: 4, config: { a: 'first' } }, { us: 3 }]);
  trials.axes[0].domain = ['', 'first', 'last'];
  const found = valuesOf(trials, rowsOf(trials), trials.axes[0]);
  assert.deepEqual(found.map(({ index, best }) => [trials.axes[0].dictionary.values[index], best]), [['', 2], ['first', 4], ['last', 1], [undefined, 3]]);
});

test('the address keeps the view, and nonsense in it does no harm', () => {
  const state = { ...stateFromHash(''), shape: 'b1 h2/2 & more', hide: ['slow'], pin: [3, 4], scale: 'linear', by: 'seconds', x: '#order' };
  assert.deepEqual(stateFromHash(hashOfState(state)), state);
  assert.equal(hashOfState(stateFromHash('')), '');
  assert.deepEqual(stateFromHash('#pin=x,-1,7,8,9&scale=cubic&%%%').pin, [7, 8]);
});

test('numbers, words and ticks', () => {
  assert.equal(time(2733.4), '2.733 ms');
  assert.equal(time(46.784), '46.78 µs');
  assert.equal(time(NaN), '–');
  assert.equal(significant(401.234, 3), '401');
  assert.equal(shellQuoted("it's"), "'it'\\''s'");
  assert.equal(shellQuoted(''), "''");
  assert.equal(quantile([1, 2, 3, 4], 0.5), 2.5);
  assert.deepEqual(ticks(0, 10, false), [0, 2, 4, 6, 8, 10]);
  assert.deepEqual(ticks(1, 100, true), [1, 2, 5, 10, 20, 50, 100]);
  assert.equal(scale(1, 100, 0, 200, true)(10), 100);
});
