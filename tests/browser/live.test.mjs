// The page of a running server: a job from its submission to its record.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Attune, column, openPage, ready, serve } from './page_case.mjs';

const SHAPE = { batch: 1, q_heads: 2, kv_heads: 2, q_len: 128, kv_len: 128, head_dim: 64, dtype: 'bf16', mask: 'none', layout: 'bhsd', lse: false };

async function submit(server, request, headers = {}) {
  const answer = await fetch(`${server.url}v1/jobs`, {
    method: 'POST', headers: { 'Content-Type': 'application/json', ...headers },
    body: JSON.stringify({ kind: 'tune', shape: SHAPE, strategy: 'random', ...request }),
  });
  const job = await answer.json();
  assert.equal(answer.status, 201, JSON.stringify(job));
  return job.id;
}

// Every kernel is compiled anew, one after the other, so that a job can be watched: a replay takes no time.
function slowly(attune) {
  attune.env.ATTUNE_CACHE_DIR = join(attune.folder, 'cache');
  return serve(attune, { words: ['--threads', '1'] });
}

const state = (page, job, name) => page.locator(`tr[data-job="${job}"] .state[data-state="${name}"]`);

test('a job is watched from submission to record', async () => {
  const attune = new Attune();
  const server = await slowly(attune);
  const page = await openPage(server.url);
  assert.match(await page.locator('#source').innerText(), /Synthetic H100, replayed/);
  assert.match(await page.locator('#jobs').innerText(), /No jobs yet/);
  assert.match(await page.locator('#notice').innerText(), /Nothing is stored yet/);
  // What the page showed on the way, so that the end alone cannot pass for live.
  await page.evaluate(() => {
    window.seen = { trials: new Set(), states: new Set() };
    new MutationObserver(() => {
      for (const cell of document.querySelectorAll('.state')) window.seen.states.add(cell.dataset.state);
      window.seen.trials.add(document.querySelectorAll('#trials tbody tr').length);
    }).observe(document.body, { childList: true, subtree: true });
  });
  const job = await submit(server, { max_trials: 12 });
  await state(page, job, 'done').waitFor();
  await page.waitForFunction(() => document.querySelectorAll('#trials tbody tr').length === 12);
  const seen = await page.evaluate(() => ({ trials: [...window.seen.trials], states: [...window.seen.states] }));
  assert.ok(seen.trials.length > 2, `trials came ${seen.trials}`);
  assert.ok(seen.states.includes('running') || seen.states.includes('queued'), seen.states.join());
  const [record] = attune.json('cache', 'ls');
  const expected = `${(record.timing.median_us / 1000).toPrecision(4)} ms`;
  assert.deepEqual(await column(page, 'records', 'Time'), [expected]);
  const cells = await page.locator(`tr[data-job="${job}"] td`).allInnerTexts();
  assert.equal(cells[2], '12 trials');
  assert.equal(cells[3], expected);
  await page.locator(`tr[data-job="${job}"]`).getByRole('button', { name: 'b1 h2/2 s128x128' }).click();
  assert.match(page.url(), /shape=b1/);
  assert.deepEqual(page.troubles, []);
});

test('a job is cancelled from the page', async () => {
  const server = await slowly(new Attune());
  const page = await openPage(server.url);
  const first = await submit(server, { max_trials: 1000 });
  const second = await submit(server, { max_trials: 5, seed: 2 });
  await page.getByRole('button', { name: `Cancel job ${second}` }).click();
  await state(page, second, 'cancelled').waitFor();
  await page.getByRole('button', { name: `Cancel job ${first}` }).click();
  await state(page, first, 'cancelled').waitFor();
  assert.equal(await page.getByRole('button', { name: 'Cancel job' }).count(), 0);
});

test('a server that goes away and comes back', async () => {
  const attune = new Attune();
  attune.tune('--max-trials', '8');
  const server = await serve(attune);
  const page = await openPage(server.url);
  await server.stop('SIGKILL');
  await page.locator('#connection[data-state="lost"]').waitFor();
  assert.equal((await column(page, 'trials', 'Trial')).length, 8);
  const again = await serve(attune, { port: server.port });
  await page.locator('#connection[data-state="live"]').waitFor();
  const job = await submit(again, { max_trials: 12, seed: 5 });
  await state(page, job, 'done').waitFor();
});

test('a menu that is open stays as it is while trials come', async () => {
  const attune = new Attune();
  const server = await serve(attune);
  const page = await openPage(server.url);
  await page.locator('#filters select[name="template"]').focus();
  await page.evaluate(() => (window.menu = document.activeElement));
  const job = await submit(server, { max_trials: 16 });
  await state(page, job, 'done').waitFor();
  await page.waitForFunction(() => document.querySelectorAll('#trials tbody tr').length === 16);
  assert.ok(await page.evaluate(() => window.menu.isConnected && document.activeElement === window.menu));
});

test('a token is asked for and kept out of the address', async () => {
  const attune = new Attune();
  const token = 'a-token-of-some-length-0123456789';
  writeFileSync(join(attune.folder, 'tokens'), `tester ${token}\n`, { mode: 0o600 });
  attune.tune('--max-trials', '4');
  const server = await serve(attune, { words: ['--token-file', 'tokens'] });
  const page = await openPage(server.url, { wait: false });
  await page.getByLabel('Token').fill('wrong-token-of-some-length-012345');
  await page.getByRole('button', { name: 'Use' }).click();
  await page.getByText('this token is not accepted').waitFor();
  await page.getByLabel('Token').fill(token);
  await page.getByRole('button', { name: 'Use' }).click();
  await ready(page);
  assert.equal((await column(page, 'trials', 'Trial')).length, 4);
  assert.ok(!page.url().includes(token));
});

test('the page may stand in no frame and its policy is in the header', async () => {
  const server = await serve(new Attune());
  const answer = await fetch(server.url);
  const policy = answer.headers.get('content-security-policy');
  for (const part of ["default-src 'none'", "frame-ancestors 'none'", "connect-src 'self'"]) assert.ok(policy.includes(part), policy);
  assert.equal(answer.headers.get('x-content-type-options'), 'nosniff');
  assert.equal((await fetch(`${server.url}v1/dashboard?after=x`)).status, 400);
});
