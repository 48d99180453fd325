// The board of a real server with ten thousand jobs, in Chromium.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import test, { after, afterEach, before } from 'node:test';
import { promisify } from 'node:util';

import { keysFile } from '../../../sdk/tests/support/keys.mjs';
import * as paths from '../../../sdk/tests/support/paths.mjs';
import { sampleWitness, Server } from '../../../sdk/tests/support/server.mjs';
import { eventually } from '../../../sdk/tests/support/wait.mjs';
import { axe, Browser, program } from '../support/browser.mjs';

const JOBS = 10_000;
/** How long the CPU time of the server is measured. The goal is written for 60 seconds. */
const MEASURED_S = Number(process.env.EDGEPROVE_BOARD_SECONDS ?? 15);
const KEYS = { ops: 'operator', eyes: 'observer', bob: 'user' };

const skip = program() === undefined && paths.skipped('board', 'Chromium is not installed');
const options = { skip };

let folder;
let server;
let browser;

before(async () => {
  if (skip) return;
  folder = await mkdtemp(path.join(os.tmpdir(), 'edgeprove-board-'));
  const data = path.join(folder, 'data');
  server = await Server.start({
    keys: await keysFile(KEYS),
    flags: ['--data', data, '--audit', path.join(folder, 'audit.jsonl'), '--job-workers', '1', '--job-queue-max', '20000',
      '--jobs-per-caller', '20000', '--proof-cache', '0'],
  });
  const first = await submit('bob');
  await eventually('it is completed', async () => (await job('bob', first.id)).status === 'completed');
  await server.pauseProvers();
  await submit('bob');
  const queued = await submit('bob');
  await eventually('the first one runs', async () => (await list('owner=all&status=running')).total === 1);
  assert.equal((await job('ops', queued.id)).status, 'queued');
  await server.kill();
  const example = path.join(path.dirname(paths.server), 'examples', 'many_jobs');
  await promisify(execFile)(example, [data, String(JOBS)]);
  await server.restart();
  browser = await Browser.start();
});
after(async () => {
  await browser?.stop();
  await server?.kill();
  if (folder) await rm(folder, { recursive: true, force: true });
});
afterEach(() => {
  assert.deepEqual(browser?.external ?? [], [], 'a page asked another machine');
});

async function call(who, target, init = {}) {
  const response = await fetch(server.url + target, { ...init, headers: { 'x-api-key': `${who}-key`, ...init.headers } });
  assert.ok(response.ok, `${target}: ${response.status} ${await response.clone().text()}`);
  return response;
}

async function submit(who) {
  const headers = { prefer: 'respond-async', 'content-type': 'application/gzip' };
  return await (await call(who, '/api/prove/range_check', { method: 'POST', headers, body: await sampleWitness() })).json();
}

const job = async (who, id) => await (await call(who, `/v1/proofs/${id}`)).json();
const list = async (query) => await (await call('ops', `/v1/proofs?total=true&${query}`)).json();

/** Opens the board with the key of this caller. */
async function open(who, hash = '#/board', contextOptions = {}) {
  const page = await browser.open(`${server.url}/#/prove`, contextOptions);
  await page.evaluate((key) => sessionStorage.setItem('edgeprove-key', key), `${who}-key`);
  // The session has the key after a reload.
  await page.reload();
  await page.goto(`${server.url}/${hash}`);
  await page.waitForSelector('.live[data-state="live"]').catch(async (error) => {
    const seen = await page.evaluate(() => `${location.hash}: ${document.querySelector('.live')?.outerHTML ?? 'no board'}`);
    throw new Error(`${error.message}\n${seen}\n${page.problems.join('\n')}`);
  });
  return page;
}

/** Closes a page, which had no problem with its policy or its scripts. */
async function close(page) {
  assert.deepEqual(page.problems, []);
  await page.context().close();
}

const rows = (page) => page.locator('tr.job');
const tile = (page, status) => page.locator(`.tile[data-state="${status}"] b`);
const field = (page, name) => page.locator(`[data-field="${name}"] :is(input, select)`);
const numberIn = async (locator) => Number((await locator.textContent()).replaceAll(',', ''));

test('ten thousand jobs are shown at once, and filtered by the URL', options, async (t) => {
  const page = await open('ops');
  await rows(page).first().waitFor();
  assert.ok(await numberIn(tile(page, 'queued')) >= JOBS * 0.6);
  assert.equal(await numberIn(tile(page, 'failed')), JOBS / 10);
  await page.reload();
  const shown = await page.evaluate(async () => {
    while (document.querySelector('tr.job') === null) await new Promise((resolve) => requestAnimationFrame(resolve));
    const paint = performance.getEntriesByName('first-contentful-paint')[0];
    return { paintMs: paint?.startTime, rowsMs: performance.now() };
  });
  t.diagnostic(`first paint after ${shown.paintMs?.toFixed(0)} ms, first rows after ${shown.rowsMs.toFixed(0)} ms with ${JOBS} jobs`);
  assert.equal(await rows(page).count(), 50, 'a page of the list');

  await page.locator('.tile[data-state="failed"]').click();
  await page.waitForFunction(() => location.hash.includes('status=failed'));
  await page.getByText(/1 to 50 of 1,000/).waitFor();
  assert.equal(await page.locator('tr.job .tag', { hasText: 'failed' }).count(), 50);
  await page.getByRole('button', { name: 'Next page' }).click();
  await page.getByText(/51 to 100 of 1,000/).waitFor();

  const [{ id }] = (await list('owner=all&status=completed&limit=1')).jobs;
  const prefixed = await open('ops', `#/board?id=${id.slice(0, 13)}&status=completed&owner=key:bob`);
  await prefixed.getByText(/1 to 1 of 1$/).waitFor();
  assert.equal(await field(prefixed, 'owner').inputValue(), 'bob');
  await prefixed.getByRole('button', { name: id.slice(0, 8) }).click();
  const stages = prefixed.getByRole('list', { name: 'Stages' });
  await stages.waitFor();
  assert.match(await stages.textContent(), /Queue.*Load.*Prove.*Verify/);
  await prefixed.getByRole('button', { name: 'Clear filters' }).click();
  await prefixed.getByText(/1 to 50 of 1\d,\d{3}/).waitFor();
  assert.doesNotMatch(prefixed.url(), /status|owner/);
  await close(prefixed);
  await close(page);
});

test('live numbers follow the jobs, and rest while the page is hidden', options, async () => {
  const page = await open('ops');
  const before = await numberIn(tile(page, 'cancelled'));
  const [{ id }] = (await list('owner=all&status=queued&limit=1')).jobs;
  await call('ops', `/v1/proofs/${id}`, { method: 'DELETE' });
  await eventually('the board shows it', async () => await numberIn(tile(page, 'cancelled')) === before + 1);

  const hide = (isHidden) => page.evaluate((hidden) => {
    Object.defineProperty(document, 'hidden', { get: () => hidden, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  }, isHidden);
  await hide(true);
  await page.waitForSelector('.live[data-state="paused"]');
  const other = (await list('owner=all&status=queued&limit=1')).jobs[0].id;
  await call('ops', `/v1/proofs/${other}`, { method: 'DELETE' });
  await hide(false);
  await eventually('it catches up', async () => await numberIn(tile(page, 'cancelled')) === before + 2);
  await page.getByRole('button', { name: 'Pause' }).click();
  await page.waitForSelector('.live[data-state="paused"]');
  await close(page);
});

test('whoever goes to the board stays there, also while the first page still loads', options, async () => {
  const page = await browser.open(`${server.url}/#/prove`);
  await page.evaluate(() => sessionStorage.setItem('edgeprove-key', 'ops-key'));
  await page.reload();
  await page.waitForSelector('.fields');
  // The URL has changed, and its event has not arrived yet, when the page of proofs names the circuit that it shows.
  await page.evaluate(() => {
    location.hash = '#/board?status=failed';
    document.querySelector('#circuit').dispatchEvent(new Event('change'));
  });
  await page.waitForSelector('.live[data-state="live"]');
  assert.match(page.url(), /#\/board\?status=failed$/);
  // The link to the content keeps the view, and filters still stand in the URL.
  await page.evaluate(() => (location.hash = '#main'));
  await page.locator('.tile[data-state="completed"]').click();
  await page.waitForFunction(() => location.hash.includes('status=completed'));
  await close(page);
});

test('an operator cancels a filtered set with progress', options, async () => {
  const prefix = 'a';
  const { total } = await list(`owner=all&status=queued&id=${prefix}&limit=1`);
  assert.ok(total > 100, `${total} jobs`);
  const page = await open('ops', `#/board?status=queued&id=${prefix}`);
  await rows(page).first().waitFor();
  await page.getByRole('button', { name: 'Cancel these jobs…' }).click();
  const dialog = page.getByRole('dialog', { name: 'Cancel jobs' });
  assert.match(await dialog.textContent(), new RegExp(`Cancel ${total.toLocaleString('en')} jobs queued, with an id that begins with a, of all callers`));
  await dialog.getByRole('button', { name: 'Cancel', exact: true }).click();
  await dialog.getByText(`${total.toLocaleString('en')} cancelled.`).waitFor();
  assert.equal(await dialog.getByRole('progressbar').evaluate((bar) => bar.value), total);
  await dialog.getByRole('button', { name: 'Close' }).click();
  await page.getByText('No job fits this filter.').waitFor();
  assert.equal((await list(`owner=all&status=queued&id=${prefix}`)).total, 0);
  assert.ok((await list('owner=all&status=queued')).total > JOBS / 2, 'other jobs stay');
  await page.locator('.audit td', { hasText: 'job.cancelled' }).first().waitFor();
  await close(page);
});

test('an observer changes nothing, and a caller sees its own jobs', options, async () => {
  const watching = await open('eyes');
  await rows(watching).first().waitFor();
  assert.equal(await watching.getByRole('button', { name: /Cancel|Retry/ }).count(), 0);
  assert.equal(await watching.locator('.audit').isVisible(), false);
  await close(watching);

  const own = await submit('eyes').catch((error) => error);
  assert.match(String(own), /not_allowed/);
  const mine = await submit('ops');
  const page = await open('bob', '#/board?status=queued');
  await rows(page).first().waitFor();
  assert.equal(await field(page, 'owner').isVisible(), false);
  assert.equal(await page.getByRole('button', { name: new RegExp(`^Cancel job`) }).count(), 50);
  assert.doesNotMatch(await page.locator('.list').textContent(), new RegExp(mine.id.slice(0, 8)));
  // A caller without a key gets the reason.
  await page.evaluate(() => sessionStorage.clear());
  await page.reload();
  await page.getByRole('alert').filter({ hasText: 'key' }).waitFor();
  page.problems = page.problems.filter((text) => !/401/.test(text));
  await close(page);
});

test('behind an edge, awake containers are shown and sleeping ones are left alone', options, async () => {
  const page = await browser.open(`${server.url}/#/prove`);
  const asked = [];
  // An edge in front of one awake container: this server, which does not know its number.
  await page.route(/[?&]container=|\/edge\/health$|\/$/, async (route) => {
    const url = new URL(route.request().url());
    if (url.pathname === '/edge/health') {
      const containers = [{ instance: 0, state: 'ready' }, { instance: 1, state: 'sleeping' }];
      return await route.fulfill({ json: { status: 'ok', containers } });
    }
    if (url.pathname === '/') {
      if (!/json/.test(route.request().headers().accept)) return await route.continue();
      return await route.fulfill({ json: { endpoints: [{ method: 'GET', path: '/edge/health' }] } });
    }
    asked.push(url.searchParams.get('container'));
    url.searchParams.delete('container');
    await route.continue({ url: url.href });
  });
  await page.evaluate(() => sessionStorage.setItem('edgeprove-key', 'ops-key'));
  await page.reload();
  await page.goto(`${server.url}/#/board?container=1`);
  await rows(page).first().waitFor();
  const select = page.getByLabel('Container');
  assert.equal(await select.inputValue(), '0', 'a container that sleeps cannot be shown');
  assert.deepEqual(await select.locator('option').allTextContents(), ['0 (ready)', '1 (sleeping)']);
  assert.equal(await select.locator('option[value="1"]').isDisabled(), true);
  await page.locator('.audit td').first().waitFor();
  assert.deepEqual([...new Set(asked)], ['0']);
  await close(page);
});

test('light and dark, desktop and phone have no serious finding', options, async () => {
  const phone = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2 };
  for (const [name, contextOptions] of Object.entries({
    'desktop-light': { colorScheme: 'light' }, 'desktop-dark': { colorScheme: 'dark' },
    'phone-light': { ...phone, colorScheme: 'light' }, 'phone-dark': { ...phone, colorScheme: 'dark' },
  })) {
    const page = await open('ops', '#/board?status=failed', contextOptions);
    await rows(page).first().waitFor();
    await rows(page).first().getByRole('button').first().click();
    await page.getByRole('list', { name: 'Stages' }).waitFor();
    assert.deepEqual(await axe(page), [], name);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
    assert.equal(wide, false, `${name} scrolls to the side`);
    if (process.env.EDGEPROVE_SCREENSHOTS) {
      await page.waitForTimeout(1500);
      await page.screenshot({ path: path.join(process.env.EDGEPROVE_SCREENSHOTS, `board-${name}.png`), fullPage: true });
    }
    await close(page);
  }
});

test('the server spends little on a viewer', options, async (t) => {
  const seconds = async () => {
    const text = await (await fetch(`${server.url}/metrics`)).text();
    return Number(/^edgeprove_process_cpu_seconds_total (\S+)$/m.exec(text)?.[1]);
  };
  const measure = async () => {
    const begin = await seconds();
    await new Promise((resolve) => setTimeout(resolve, MEASURED_S * 1000));
    return (await seconds() - begin) / MEASURED_S;
  };
  const alone = await measure();
  const page = await open('eyes');
  await rows(page).first().waitFor();
  const watched = await measure();
  t.diagnostic(`CPU of the server over ${MEASURED_S} s with ${JOBS} jobs: ${(alone * 100).toFixed(2)} % of a core alone, ` +
    `${(watched * 100).toFixed(2)} % with a viewer`);
  await close(page);
});
