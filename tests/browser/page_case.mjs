// What the browser tests share: databases made by the built binary on a synthetic recorded device, and the page
// in Debian's Chromium. Chromium gets a profile of its own and reaches nothing but this machine.
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { chromium } from 'playwright-core';

export const ATTUNE = process.env.ATTUNE_BINARY;
const CHROMIUM = process.env.ATTUNE_CHROMIUM ?? '/usr/bin/chromium';
const ARGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'];

export const SHAPE = ['--shape', '1,2,128,64'];  // of the synthetic recording

// A folder that goes with the test, after what uses it was ended.
function folder(end = () => {}) {
  const path = mkdtempSync(join(tmpdir(), 'attune-browser-'));
  after(async () => {
    await end();
    rmSync(path, { recursive: true, force: true, maxRetries: 10 });
  });
  return path;
}

export class Attune {
  constructor() {
    this.folder = folder();
    const recordings = join(this.folder, 'recordings');
    mkdirSync(recordings);
    execFileSync(process.env.ATTUNE_MAKE_RECORDINGS, [recordings], { stdio: 'ignore' });
    this.env = {
      ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('ATTUNE_'))),
      ATTUNE_DB: join(this.folder, 'attune.db'),
      ATTUNE_CACHE_DIR: process.env.ATTUNE_TEST_CACHE,  // shared: NVRTC takes a third of a second a kernel
      ATTUNE_RECORDINGS: recordings,
      ATTUNE_PACKS: '',
      ATTUNE_CUDA_DRIVER: '/nonexistent/libcuda.so.1',
      ...(process.env.ATTUNE_NVRTC ? { ATTUNE_NVRTC: process.env.ATTUNE_NVRTC } : {}),
    };
  }

  run(...words) {
    return execFileSync(ATTUNE, words, { cwd: this.folder, env: this.env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 1 << 28 });
  }

  json(...words) {
    return JSON.parse(this.run(...words, '--json'));
  }

  tune(...words) {
    return this.json('tune', ...SHAPE, '--strategy', 'random', ...words);
  }

  report(...words) {
    const file = join(this.folder, 'report.html');
    this.run('report', '--html', file, ...words);
    return `file://${file}`;
  }

  // The trials of an export, as `change` leaves them, in another database.
  imported(database, trials) {
    const file = join(this.folder, 'changed.jsonl');
    const lines = trials.map((trial) => JSON.stringify(trial));
    writeFileSync(file, ['{"format":"attune-trials","version":1}', ...lines, `{"end":true,"trials":${trials.length}}`, ''].join('\n'));
    this.run('cache', 'import', '--file', file, '--db', database);
  }

  exported() {
    const file = join(this.folder, 'trials.jsonl');
    this.run('cache', 'export', '--file', file);
    return readFileSync(file, 'utf8').trim().split('\n').slice(1, -1).map((line) => JSON.parse(line));
  }
}

// `attune serve` on a port of its own (or of `port`), gone with the test at the latest.
export async function serve(attune, { port = 0, words = [] } = {}) {
  const child = spawn(ATTUNE, ['serve', '--listen', `127.0.0.1:${port}`, '--device', 'recorded:synthetic-small', ...words],
    { cwd: attune.folder, env: attune.env, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise((resolve) => child.on('exit', resolve));
  const stop = (signal = 'SIGTERM') => {
    child.kill(signal);
    return ended;
  };
  after(() => stop('SIGKILL'));
  let said = '';
  const url = await new Promise((resolve, reject) => {
    child.stderr.on('data', (text) => (said += text));
    child.stdout.on('data', (text) => {
      said += text;
      const found = /serves (http:\/\/\S+)/.exec(said);
      if (found) resolve(found[1]);
    });
    ended.then(() => reject(new Error(`the server did not start: ${said}`)));
  });
  return { url: `${url}/`, port: Number(new URL(url).port), stop };
}

// A page of Chromium. Whatever goes wrong in it fails the test that closes it: an exception, an error of the
// console (a broken Content-Security-Policy is one), a request to anywhere but `url`'s own origin.
export async function openPage(url, { width = 1400, height = 1000, colorScheme = 'light', permissions = [], script, wait = true } = {}) {
  let browser;
  const profile = folder(() => browser?.close());
  browser = await chromium.launchPersistentContext(profile, {
    executablePath: CHROMIUM, headless: true, args: ARGS, viewport: { width, height }, colorScheme, permissions,
  });
  const page = await browser.newPage();
  page.setDefaultTimeout(150000);
  page.troubles = [];
  page.on('pageerror', (error) => page.troubles.push(`exception: ${error.message}`));
  page.on('console', (message) => message.type() === 'error' && page.troubles.push(`console: ${message.text()}`));
  page.on('request', (request) => {
    const own = new URL(url);
    const asked = new URL(request.url());
    const inside = asked.protocol === 'data:' || (own.protocol === 'file:' ? asked.pathname === own.pathname : asked.origin === own.origin);
    if (!inside) page.troubles.push(`request: ${request.url()}`);
  });
  if (script) await page.addInitScript(script);
  await page.goto(url);
  if (wait) await ready(page);
  return page;
}

export async function ready(page) {
  await page.waitForFunction(() => performance.getEntriesByName('attune:ready').length > 0);
}

// The cells of a table's column, as they are read.
export async function column(page, table, name) {
  return page.locator(`#${table} td[data-column="${name}"]`).allInnerTexts();
}
