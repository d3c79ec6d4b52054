// By keyboard, by screen reader, in both themes, in a narrow window.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { Attune, column, openPage, ready } from './page_case.mjs';

const attune = new Attune();
let url;

before(() => {
  attune.tune('--max-trials', '24');
  url = attune.report();
});

test('the keyboard goes from trial to trial and pins', async () => {
  const page = await openPage(url);
  await page.locator('#scatter').focus();
  await page.keyboard.press('ArrowRight');
  const [fastest, ...slower] = await column(page, 'trials', 'Time');
  assert.ok((await page.locator('#announcer').innerText()).includes(`: ${fastest}, 1.000x`));
  assert.ok(await page.locator('#tooltip').isVisible());
  for (let press = 0; press < 5; ++press) await page.keyboard.press('ArrowUp');
  await page.keyboard.press('Enter');
  assert.equal(await page.locator('#pinned tr', { hasText: 'Time (median)' }).locator('td').innerText(), slower[4]);
  await page.keyboard.press('Escape');
  assert.ok(await page.locator('#tooltip').isHidden());
});

test('every control has a name, every table a caption, every plot a description', async () => {
  const page = await openPage(url);
  await page.locator('#records').getByRole('button', { name: 'Pin' }).click();
  const nameless = await page.evaluate(() => [...document.querySelectorAll('button, select, a, canvas[tabindex]')]
    .filter((node) => !(node.getAttribute('aria-label') || node.innerText?.trim() || node.labels?.[0]?.innerText.trim()))
    .map((node) => node.outerHTML));
  assert.deepEqual(nameless, []);
  assert.equal(await page.locator('table:not(:has(caption))').count(), 0);
  for (const id of ['curve', 'scatter']) assert.ok((await page.locator(`#${id}`).getAttribute('aria-label')).length > 10);
  assert.equal(await page.locator('html').getAttribute('lang'), 'en');
});

// WCAG 2.1: 4.5 for text (1.4.3), 3 for what must be told apart in a graphic (1.4.11).
for (const colorScheme of ['light', 'dark']) {
  test(`contrast in the ${colorScheme} theme`, async () => {
    const page = await openPage(url, { colorScheme });
    const ratios = await page.evaluate(() => {
      const probe = document.body.appendChild(document.createElement('span'));
      const rgb = (name) => {
        probe.style.color = `var(--${name})`;
        return getComputedStyle(probe).color.match(/\d+/g).map(Number);
      };
      const luminance = (name) => {
        const [r, g, b] = rgb(name).map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const ratio = (a, b) => (Math.max(luminance(a), luminance(b)) + 0.05) / (Math.min(luminance(a), luminance(b)) + 0.05);
      const graphics = ['ok', 'slow', 'spilled', 'does_not_fit', 'compile_error', 'launch_fault', 'timeout', 'wrong_answer'].map((name) => `outcome-${name}`)
        .concat([1, 2, 3, 4, 5, 6, 7, 8].map((n) => `series-${n}`), 'edge', 'accent');
      return [
        ...['page', 'surface', 'raised', 'accent-soft'].map((ground) => ['text', ground, 4.5, ratio('text', ground)]),
        ...['page', 'surface', 'raised'].map((ground) => ['muted', ground, 4.5, ratio('muted', ground)]),
        ['accent', 'surface', 4.5, ratio('accent', 'surface')], ['notice-text', 'notice', 4.5, ratio('notice-text', 'notice')],
        ...graphics.map((name) => [name, 'surface', 3, ratio(name, 'surface')]),
      ];
    });
    assert.deepEqual(ratios.filter(([, , least, ratio]) => !(ratio >= least)), []);
  });
}

test('the theme follows the system until it is chosen, and is remembered', async () => {
  const page = await openPage(url, { colorScheme: 'dark' });
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  assert.equal(await ground(), 'rgb(14, 17, 22)');
  const before = await page.evaluate(() => document.querySelector('#curve-plot .base').toDataURL());
  await page.getByRole('button', { name: 'Light theme' }).click();
  assert.equal(await ground(), 'rgb(244, 246, 248)');
  assert.notEqual(await page.evaluate(() => document.querySelector('#curve-plot .base').toDataURL()), before);
  await page.reload();
  await ready(page);
  assert.equal(await ground(), 'rgb(244, 246, 248)');
  assert.ok(await page.getByRole('button', { name: 'Dark theme' }).isVisible());
});

test('a narrow window scrolls down, not sideways', async () => {
  const page = await openPage(url, { width: 390, height: 800 });
  await page.locator('#records').getByRole('button', { name: 'Pin' }).click();
  const [width, room] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  assert.ok(width <= room, `${width} wide in ${room}`);
});

test('an empty selection says so', async () => {
  const page = await openPage(`${url}#strategy=nobody`);
  assert.match(await page.locator('#notice').innerText(), /No trial matches/);
  await page.getByRole('button', { name: 'Show all' }).click();
  assert.match(await page.locator('#summary').innerText(), /24/);
  assert.deepEqual(page.troubles, []);
});
