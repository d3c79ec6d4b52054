// Text that would be markup: names, messages and configs come from files of strangers.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { before, test } from 'node:test';
import { Attune, openPage } from './page_case.mjs';

const ATTACK = '</script><script>window.owned=1</script><img src=x onerror="window.owned=1">';
const NASTY = ['<!--<script>', ']]>', '{{script}}', "'\"`", '\u2028', '&lt;b&gt;', '\u202e', '\\u003cscript>'].join(' ');

const attune = new Attune();
let url;

before(() => {
  attune.tune('--max-trials', '8');
  const trials = attune.exported();
  const planted = trials.map((trial, index) => ({
    ...trial,
    message: `${ATTACK} ${NASTY}`,
    strategy: `${ATTACK}${index % 2}`,
    session: `${ATTACK}`,
    template: `portable`,
    device: { ...trial.device, name: `GPU ${ATTACK}` },
    config: { ...trial.config, [`key${ATTACK}`]: `value${ATTACK} ${NASTY}`, pid_type: ATTACK },
  }));
  // The store checks that a config and its hash belong together: each is hashed anew by nobody but the store.
  attune.imported('planted.db', planted);
  url = attune.report('--db', 'planted.db');
});

test('what is shown is text', async () => {
  const page = await openPage(`${url}#session=${encodeURIComponent(ATTACK)}&x=${encodeURIComponent(ATTACK)}`, { script: 'window.alert = () => { window.owned = 1 }' });
  await page.locator('#records').getByRole('button', { name: 'Pin' }).first().click();
  const box = await page.locator('#scatter').boundingBox();
  await page.locator('#scatter').focus();
  await page.keyboard.press('ArrowRight');
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  assert.equal(await page.evaluate(() => window.owned), undefined);
  assert.equal(await page.locator('img').count(), 0);
  assert.equal(await page.locator('script').count(), 2);
  assert.ok((await page.locator('#pinned').innerText()).includes(ATTACK));
  assert.ok((await page.locator('#records').innerText()).includes(`GPU ${ATTACK}`));
  assert.ok((await page.locator('pre.config').innerText()).includes(JSON.stringify(`value${ATTACK} ${NASTY}`)));
  assert.deepEqual(page.troubles, []);
});

test('the data ends where its script ends', () => {
  const html = readFileSync(fileURLToPath(url), 'utf8');
  const inside = html.slice(html.indexOf('<script type="application/json"'), html.indexOf('<script type="module">'));
  assert.equal(inside.match(/<\/script/g).length, 1);
  assert.ok(!inside.slice(8, -10).includes('<script'));
  assert.ok(!inside.includes('<!--'));
});

test('the policy lets nothing but the page itself run', async () => {
  const page = await openPage(url);
  const ran = await page.evaluate(() => {
    const script = document.createElement('script');
    try {
      script.textContent = 'window.owned = 1';
    } catch {
      return 'refused';
    }
    document.body.append(script);
    const button = document.createElement('button');
    button.setAttribute('onclick', 'window.owned = 1');
    document.body.append(button);
    button.click();
    return window.owned;
  });
  assert.ok(ran === 'refused' || ran === undefined, String(ran));
  assert.equal(await page.evaluate(() => fetch('http://127.0.0.1:9/').then(() => 'fetched', () => 'refused')), 'refused');
  assert.ok(page.troubles.some((trouble) => /Content Security Policy/.test(trouble)));
});
