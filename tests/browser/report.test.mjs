// attune report, from the command line to the pixels.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { before, test } from 'node:test';
import { ATTUNE, Attune, column, openPage } from './page_case.mjs';

const attune = new Attune();
let url, records, trials;

before(() => {
  attune.tune('--max-trials', '24');
  url = attune.report();
  records = attune.json('cache', 'ls');
  trials = attune.exported();
});

function timeOf(us) {
  return us < 1000 ? `${us.toPrecision(4)} µs` : `${(us / 1000).toPrecision(4)} ms`;
}

test('the numbers are those of the store', async () => {
  const page = await openPage(url);
  assert.deepEqual(await column(page, 'records', 'Time'), records.map((record) => timeOf(record.timing.median_us)));
  assert.equal((await column(page, 'trials', 'Trial')).length, 24);
  assert.deepEqual(await column(page, 'trials', 'Time').then((times) => times.filter((time) => time !== '–')),
    trials.filter((trial) => trial.timing).map((trial) => trial.timing.median_us).sort((a, b) => a - b).map(timeOf));
  const counts = {};
  for (const trial of trials) counts[trial.outcome] = (counts[trial.outcome] ?? 0) + 1;
  for (const [outcome, n] of Object.entries(counts)) {
    assert.equal(await page.locator(`[data-outcome="${outcome}"] b`).innerText(), String(n));
  }
  const configs = await page.locator('#trials td[data-column="Config"]').allInnerTexts();
  const known = new Set(trials.map((trial) => JSON.stringify(sorted(trial.config))));
  for (const config of configs) assert.ok(known.has(config.replace(/^Pin\s*/, '')), config);
  assert.match(await page.locator('#notice').innerText(), /REPLAYED/);
  assert.deepEqual(page.troubles, []);
});

function sorted(value) {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
}

test('the speedup over the default config is that of the times', async () => {
  const page = await openPage(url);
  const standard = attune.json('compile', '--shape', '1,2,128,64', '--config', 'default', '--arch', 'sm_90a', '--template', 'portable', '-o', '/dev/null');
  const timed = trials.find((trial) => trial.config_hash === standard.config_hash && trial.timing);
  const expected = timed ? `${(timed.timing.median_us / records[0].timing.median_us).toFixed(2)}x` : '–';
  assert.deepEqual((await column(page, 'records', 'Speedup')).map((text) => text.trim()), [expected]);
});

test('a pinned trial gives the command that compiles it', async () => {
  const page = await openPage(url, { permissions: ['clipboard-read', 'clipboard-write'] });
  await page.locator('#records').getByRole('button', { name: 'Pin' }).click();
  const command = await page.locator('pre.command').innerText();
  const words = execFileSync('sh', ['-c', `for word in ${command}; do printf '%s\\0' "$word"; done`], { encoding: 'utf8' }).split('\0').slice(0, -1);
  assert.equal(words[0], 'attune');
  const compiled = attune.json(...words.slice(1));
  assert.equal(compiled.config_hash, records[0].config_hash);
  await page.getByRole('button', { name: 'Copy config' }).click();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), JSON.stringify(sorted(records[0].config)));
  assert.deepEqual(page.troubles, []);
});

test('outcomes are switched off and on, and the address keeps it', async () => {
  const page = await openPage(url);
  const passed = trials.filter((trial) => trial.outcome !== 'wrong_answer').length;
  await page.locator('[data-outcome="wrong_answer"]').click();
  assert.equal((await column(page, 'trials', 'Outcome')).length, passed);
  assert.equal(await page.locator('[data-outcome="wrong_answer"]').getAttribute('aria-pressed'), 'false');
  await page.locator('#scale').selectOption('linear');
  await page.locator('#scatter-x').selectOption('#registers');
  const again = await openPage(page.url());
  assert.equal((await column(again, 'trials', 'Outcome')).length, passed);
  assert.equal(await again.locator('#scale').inputValue(), 'linear');
  assert.equal(await again.locator('#scatter-x').inputValue(), '#registers');
  await again.locator('[data-outcome="wrong_answer"]').click();
  assert.equal((await column(again, 'trials', 'Outcome')).length, 24);
});

test('two trials are compared', async () => {
  const page = await openPage(url);
  const pins = page.locator('#trials').getByRole('button', { name: 'Pin' });
  await pins.nth(0).click();
  await pins.nth(3).click();
  assert.match(await page.locator('#pinned').innerText(), /A is [\d.]+x as fast as B/);
  assert.ok(await page.locator('#pinned tr.differs').count() > 0);
  const again = await openPage(page.url());
  assert.equal(await again.locator('#pinned pre.command').count(), 2);
  await again.getByRole('button', { name: 'Unpin all' }).click();
  assert.equal(await again.locator('#pinned pre.command').count(), 0);
});

test('filters of the report narrow it', () => {
  const other = attune.run('report', '--html', 'none.html', '--template', 'portable', '--shape', '1,2,128,64');
  assert.match(other, /24 trials and 1 record/);
  for (const [words, says] of [[['--shape', '1,2,64,64'], /no trials that match/], [['--causal'], /--shape/], [['--db', 'none.db'], /there is no database/]]) {
    assert.throws(() => attune.run('report', '--html', 'none.html', ...words), (error) => says.test(error.stderr));
  }
  assert.throws(() => attune.run('report', '--html', '/nonexistent/report.html'), (error) => error.status === 1 && /cannot write/.test(error.stderr));
  assert.throws(() => attune.run('report'), (error) => error.status === 2 && /--html/.test(error.stderr));
});
