// Ten thousand trials: what the page shows is right, and what it costs is printed. Timings are not asserted:
// they are of this machine, at this hour.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Attune, openPage } from './page_case.mjs';

const COUNT = 10000;
const attune = new Attune();
let url;

before(() => {
  attune.tune('--max-trials', '24');
  const known = attune.exported();
  const shapes = [128, 256, 512, 1024];
  const trials = Array.from({ length: COUNT }, (_, index) => {
    const trial = structuredClone(known[index % known.length]);
    const length = shapes[index % shapes.length];
    trial.shape = { ...trial.shape, q_len: length, kv_len: length };
    trial.session = `run ${Math.floor(index / 2500)}`;
    trial.registers = 64 + (index * 37) % 192;
    trial.smem_bytes = 1024 * (index % 200);
    if (trial.timing) trial.timing.median_us = trial.timing.min_us + 1 + length * (1 + ((index * 7919) % 1000) / 500);
    trial.created_at = new Date(Date.UTC(2026, 0, 1) + index * 250).toISOString().replace(/\.\d+/, '');
    return trial;
  });
  attune.imported('large.db', trials);
  url = attune.report('--db', 'large.db');
});

// Does what leads to a drawing and waits for its end; how many milliseconds the drawing took.
async function refreshed(page, act) {
  const before = await page.evaluate(() => performance.getEntriesByName('attune:refresh').length);
  await act();
  await page.waitForFunction((count) => performance.getEntriesByName('attune:refresh').length > count, before);
  return page.evaluate(() => Math.round(performance.getEntriesByName('attune:refresh').at(-1).duration));
}

test('ten thousand trials are drawn and filtered', async (t) => {
  const page = await openPage(url, {
    script: "window.longTasks = []; new PerformanceObserver((list) => window.longTasks.push(...list.getEntries().map(({ duration }) => Math.round(duration)))).observe({ entryTypes: ['longtask'] });",
  });
  assert.match(await page.locator('#summary').innerText(), /10,000/);
  const paint = await page.evaluate(() => ({
    contentful: Math.round(performance.getEntriesByName('first-contentful-paint')[0].startTime),
    ready: Math.round(performance.getEntriesByName('attune:ready')[0].startTime),
    refresh: Math.round(performance.getEntriesByName('attune:refresh')[0].duration),
  }));
  const costs = [];
  const shapes = await page.locator('#filters select[name="shape"] option').evaluateAll((options) => options.map((option) => option.value));
  for (const shape of shapes) {
    costs.push(await refreshed(page, () => page.locator('#filters select[name="shape"]').selectOption(shape)));
    assert.match(await page.locator('#summary').innerText(), shape ? /2,500/ : /10,000/);
  }
  await refreshed(page, () => page.locator('#filters select[name="shape"]').selectOption(''));
  await refreshed(page, () => page.locator('#scatter-x').selectOption('#registers'));
  const box = await page.locator('#scatter').boundingBox();
  const hover = [];
  for (let step = 0; step < 20; ++step) {
    const start = performance.now();
    await page.mouse.move(box.x + 60 + (box.width - 80) * (step / 20), box.y + box.height * 0.6);
    hover.push(Math.round(performance.now() - start));
  }
  await page.locator('#importance table.bars').waitFor();
  const tasks = await page.evaluate(() => window.longTasks);
  t.diagnostic(`file: ${(statSync(fileURLToPath(url)).size / 1e6).toFixed(1)} MB for ${COUNT} trials`);
  t.diagnostic(`first contentful paint ${paint.contentful} ms, all drawn ${paint.ready} ms, of which the first drawing ${paint.refresh} ms`);
  t.diagnostic(`a change of filter: ${costs.join(', ')} ms (all, then 2,500 trials of each of four shapes)`);
  t.diagnostic(`pointer to answer over the browser's protocol: median ${hover.sort((a, b) => a - b)[10]} ms, worst ${hover.at(-1)} ms`);
  t.diagnostic(`tasks of more than 50 ms: ${tasks.length ? tasks.join(', ') : 'none'} ms`);
  assert.deepEqual(page.troubles, []);
});

// The script stands in the page before the page's own: it notes, in order, the pieces that are drawn, and what was asked
// for at each of them and is done once the task in hand has ended.
test('many points are drawn in pieces, and others get their turn between them', async () => {
  const page = await openPage(url, {
    script: `window.order = [];
      const measure = performance.measure.bind(performance);
      performance.measure = (name, options) => {
        if (name === 'attune:points') {
          window.order.push(options.detail.points);
          asked.port2.postMessage(null);
        }
        return measure(name, options);
      };
      const asked = new MessageChannel();
      asked.port1.onmessage = () => window.order.push('turn');`,
  });
  const order = await page.evaluate(() => window.order);
  const pieces = order.filter((entry) => entry !== 'turn');
  assert.ok(Math.max(...pieces) <= 1000, `at most a thousand points at once: ${pieces}`);
  assert.equal(pieces.slice(0, 10).reduce((sum, points) => sum + points), COUNT);
  assert.deepEqual(order.slice(0, 19).map((entry) => entry === 'turn'), Array.from({ length: 19 }, (_, place) => place % 2 === 1),
    'between two pieces others have their turn');
  // What overtakes a drawing is what is shown.
  const select = page.locator('#filters select[name="shape"]');
  const shape = await select.locator('option').nth(1).getAttribute('value');
  await page.evaluate((value) => {
    const field = document.querySelector('#filters select[name="shape"]');
    const scale = document.querySelector('#scale');
    scale.value = 'linear';
    scale.dispatchEvent(new Event('change'));
    field.value = value;
    field.dispatchEvent(new Event('change'));
  }, shape);
  await page.waitForFunction(() => /2,500/.test(document.querySelector('#trials-pages').textContent));
  assert.match(await page.locator('#summary').innerText(), /2,500/);
  assert.match(await page.locator('#scatter').getAttribute('aria-label'), /^2,500 trials/);
  assert.deepEqual(page.troubles, []);
});

test('what is drawn is where it should be', async () => {
  const page = await openPage(`${url}#x=%23registers`);
  const drawn = await page.evaluate(() => {
    const canvas = document.querySelector('#scatter-plot .base');
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    const [r, g, b] = [0x1f, 0x6f, 0xc9];  // --outcome-ok in the light theme
    let pixels = 0;
    for (let at = 0; at < data.length; at += 4) pixels += data[at + 3] > 100 && Math.abs(data[at] - r) + Math.abs(data[at + 1] - g) + Math.abs(data[at + 2] - b) < 60;
    return pixels;
  });
  assert.ok(drawn > 5000, `${drawn} pixels in the colour of what passed`);
});
