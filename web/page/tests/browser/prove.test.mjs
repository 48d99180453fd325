// The page Prove of a real server, in Chromium.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import test, { after, afterEach, before } from 'node:test';
import { fileURLToPath } from 'node:url';

import { keysFile } from '../../../sdk/tests/support/keys.mjs';
import * as paths from '../../../sdk/tests/support/paths.mjs';
import { problem, Proxy } from '../../../sdk/tests/support/proxy.mjs';
import { Server } from '../../../sdk/tests/support/server.mjs';
import { axe, Browser, program } from '../support/browser.mjs';

const skip = program() === undefined && paths.skipped('pages', 'Chromium is not installed');
const options = { skip };
const script = fileURLToPath(new URL('../../scripts/local_prover.mjs', import.meta.url));

let folder;
let server;
let browser;

before(async () => {
  if (skip) return;
  folder = await mkdtemp(path.join(os.tmpdir(), 'edgeprove-pages-'));
  const local = path.join(folder, 'local');
  const [status] = await once(spawn(process.execPath, [script, local, paths.crs, '4096'], { stdio: 'inherit' }), 'exit');
  assert.equal(status, 0);
  // A mounted circuit with its sample inputs beside it.
  const circuits = path.join(folder, 'circuits');
  await mkdir(circuits);
  for (const name of ['range_check', 'input_types']) {
    await cp(path.join(paths.circuits, `${name}.json`), path.join(circuits, `${name}.json`));
    await cp(path.join(paths.repository, `circuit/noir/${name}/Prover.toml`), path.join(circuits, `${name}.toml`));
  }
  server = await Server.start({
    circuits: [], flags: ['--circuit', ['range_check', 'input_types'].map((name) => path.join(circuits, `${name}.json`)).join(','), '--page-local', local, '--proof-cache', '0'],
  });
  browser = await Browser.start();
});
after(async () => {
  await browser?.stop();
  await server?.stop();
  if (folder) await rm(folder, { recursive: true, force: true });
});
afterEach(() => {
  assert.deepEqual(browser?.external ?? [], [], 'a page asked another machine');
});

/** Opens the page and waits for the form. */
async function open(url, contextOptions) {
  const page = await browser.open(url, contextOptions);
  await page.waitForSelector('.fields');
  return page;
}

/** Closes a page, which had no problem with its policy or its scripts. */
async function close(page, expected = []) {
  assert.deepEqual(page.problems.filter((text) => !expected.some((pattern) => pattern.test(text))), []);
  await page.context().close();
}

const proofs = (page) => page.locator('.proof');
const control = (page, name) => page.locator('.control', { has: page.locator('.name', { hasText: new RegExp(`^${name}$`) }) }).locator('input, textarea');
const proveButton = (page) => page.locator('button[type=submit]', { hasText: 'Prov' });

test('a proof is made from the sample values, and verified', options, async (t) => {
  const page = await open(server.url);
  const ready = await page.evaluate(() => {
    const [navigation] = performance.getEntriesByType('navigation');
    return { interactiveMs: navigation.domInteractive, loadedMs: navigation.loadEventEnd };
  });
  t.diagnostic(`interactive after ${ready.interactiveMs.toFixed(0)} ms, loaded after ${ready.loadedMs.toFixed(0)} ms`);
  assert.equal(await page.inputValue('#circuit'), 'range_check');
  assert.equal(await control(page, 'value').inputValue(), '42');
  await proveButton(page).click();
  await proofs(page).first().waitFor();
  assert.match(await page.locator('.lane').first().locator('.time').textContent(), /ms|s$/);
  assert.match(await page.locator('.lane').first().locator('.legend').textContent(), /Prove.*Verify/);
  await page.locator('.proof button', { hasText: 'Verify at the server' }).click();
  await page.waitForSelector('.verdict[data-verdict=valid]');
  await page.locator('.proof button', { hasText: 'Verify here' }).click();
  await page.waitForFunction(() => /Verify here: Valid/.test(document.querySelector('.verdict').textContent));
  const parts = page.locator('.proof').first();
  await parts.getByRole('tab', { name: 'Public inputs' }).click();
  assert.deepEqual(JSON.parse(await parts.locator('[role=tabpanel]:not([hidden]) pre').textContent()), [18, 120].map((value) => `0x${value.toString(16).padStart(64, '0')}`));
  const download = page.waitForEvent('download');
  await parts.locator('[role=tabpanel]:not([hidden]) button', { hasText: 'public_inputs' }).click();
  assert.equal((await readFile(await (await download).path())).length, 64);
  await close(page);
});

test('server and browser prove side by side, and the witness is computed here where that is wished', options, async () => {
  const proxy = await Proxy.start(server.url);
  const page = await open(proxy.url);
  await page.getByRole('checkbox', { name: /^This browser/ }).check();
  await page.getByRole('checkbox', { name: /^Compute the witness/ }).check();
  await page.locator('#target').selectOption('evm');
  await proveButton(page).click();
  await proofs(page).nth(1).waitFor();
  await page.waitForFunction(() => document.querySelector('.comparison').textContent !== '');
  const uploads = proxy.requests.map((line, index) => [line, proxy.headers[index]]).filter(([line]) => line.startsWith('POST /v1/proofs'));
  assert.deepEqual(uploads.map(([, headers]) => headers['content-type']), ['application/vnd.edgeprove.sealed; content="application/gzip"']);
  for (const card of await proofs(page).all()) {
    await card.locator('button', { hasText: 'Verify at the server' }).click();
    await card.locator('.verdict[data-verdict=valid]').waitFor();
  }
  const ofServer = page.locator('.proof', { hasText: 'Proof by the server' });
  await ofServer.getByRole('tab', { name: 'Calldata' }).click();
  await ofServer.locator('[role=tabpanel]:not([hidden]) pre').waitFor();
  assert.match(await ofServer.locator('[role=tabpanel]:not([hidden]) pre').textContent(), /^0x[0-9a-f]{8}/);
  await close(page);
  await proxy.stop();
});

test('wrong inputs show their fault at the input', options, async () => {
  const page = await open(server.url);
  await control(page, 'value').fill('4294967296');
  await control(page, 'min').fill('');
  await proveButton(page).click();
  const value = control(page, 'value');
  assert.equal(await value.getAttribute('aria-invalid'), 'true');
  assert.match(await page.locator('.summary').textContent(), /^2 inputs need a change/);
  const described = (await value.getAttribute('aria-describedby')).split(' ').at(-1);
  assert.match(await page.locator(`#${described}`).textContent(), /from 0 to 2\^32/);
  assert.ok(await value.evaluate((input) => document.activeElement === input), 'the first fault has the focus');
  assert.equal(await proofs(page).count(), 0);

  // Right types, and values that the circuit refuses.
  await value.fill('200');
  await control(page, 'min').fill('10');
  assert.equal(await value.getAttribute('aria-invalid'), null);
  await proveButton(page).click();
  await page.waitForSelector('.problem:not(:empty)');
  assert.match(await page.locator('.problem').textContent(), /do not satisfy the circuit/);
  await page.locator('button', { hasText: 'Edit as JSON' }).click();
  const json = page.locator('.input-form > .control textarea');
  assert.deepEqual(JSON.parse(await json.inputValue()), { value: '200', min: '10', max: '120' });
  await json.fill('{"value": "50", "min": "10"}');
  await proveButton(page).click();
  assert.match(await page.locator('.input-form > .control .fault').textContent(), /The input max is missing/);
  await json.fill('{"value": "50", "min": "10", "max": 100}');
  await proveButton(page).click();
  await proofs(page).first().waitFor();
  await close(page, [/422/]);
});

test('structures, lists and texts have controls of their own', options, async () => {
  const page = await open(`${server.url}/#/prove/input_types`);
  assert.equal(await control(page, 'balance').first().inputValue(), '9223372036854775807');
  assert.equal(await control(page, 'consents').first().isChecked(), true);
  await control(page, 'age').nth(1).fill('256');
  await proveButton(page).click();
  assert.equal(await control(page, 'age').nth(1).getAttribute('aria-invalid'), 'true');
  await page.locator('button', { hasText: 'Sample values' }).click();
  await proveButton(page).click();
  await proofs(page).first().waitFor();
  await close(page);
});

test('a server that cannot be reached is reported, and asked again', options, async () => {
  const proxy = await Proxy.start(server.url);
  let isGone = true;
  proxy.intercept = (request, response) => {
    if (!isGone || !request.url.startsWith('/v1/circuits')) return false;
    return problem(response, 503, 'not_ready', { 'retry-after': '3600' });
  };
  const page = await browser.open(proxy.url);
  await page.waitForSelector('.problem:not(:empty)');
  assert.match(await page.locator('.problem').textContent(), /cannot be loaded/);
  isGone = false;
  await page.locator('.problem button').click();
  await page.waitForSelector('.fields');
  await proxy.stop();
  await proveButton(page).click();
  await page.waitForFunction(() => /cannot be reached/.test(document.querySelector('.problem').textContent));
  await page.context().close();
});

test('a key is sent and never shown, and a circuit without it is refused with what to do', options, async () => {
  const withKeys = await Server.start({ keys: await keysFile({ page: 'user' }) });
  const page = await open(withKeys.url);
  await control(page, 'value').fill('42');
  await control(page, 'min').fill('10');
  await control(page, 'max').fill('100');
  await proveButton(page).click();
  await page.waitForSelector('.problem:not(:empty)');
  assert.match(await page.locator('.problem').textContent(), /Enter a key or a voucher/);
  await page.getByRole('button', { name: 'No key' }).click();
  await page.locator('#access-key').fill('page-key with blank');
  await page.keyboard.press('Enter');
  assert.match(await page.locator('dialog .fault').textContent(), /without blanks/);
  await page.locator('#access-key').fill('page-key');
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'Key set' }).waitFor();
  assert.equal(await control(page, 'value').inputValue(), '42', 'what was entered stays');
  await proveButton(page).click();
  await proofs(page).first().waitFor();
  assert.doesNotMatch(await page.content(), /page-key/);
  assert.match(await page.locator('section[aria-label="The same call"] pre').first().textContent(), /\$EDGEPROVE_KEY/);
  const stored = await page.evaluate(() => JSON.stringify([{ ...sessionStorage }, { ...localStorage }]));
  assert.equal(stored, '[{},{}]');
  await page.getByText('Proving in the browser is not set up here', { exact: false }).waitFor();
  await page.context().close();
  await withKeys.stop();
});

test('a voucher proves as often as it allows, from this page, and is never shown', options, async () => {
  const withKeys = await Server.start({ keys: await keysFile({ shop: 'user' }) });
  const minted = await fetch(`${withKeys.url}/v1/vouchers`, {
    method: 'POST', headers: { authorization: 'Bearer shop-key', 'content-type': 'application/json' },
    body: JSON.stringify({ circuit: 'range_check', uses: 1, origin: withKeys.url }),
  });
  const { voucher } = await minted.json();
  const page = await open(withKeys.url);
  for (const [name, value] of [['value', '42'], ['min', '10'], ['max', '100']]) await control(page, name).fill(value);
  await page.getByRole('button', { name: 'No key' }).click();
  const dialog = page.locator('dialog.access');
  const enter = async (key, text) => {
    await page.locator('#access-key').fill(key);
    await page.locator('#access-voucher').fill(text);
    await page.keyboard.press('Enter');
  };
  for (const [key, text, expected, invalid] of [
    ['shop-key', voucher, /not both/, '#access-voucher'],
    [voucher, '', /field for vouchers/, '#access-key'],
    ['', 'shop-key', /begins with epv1/, '#access-voucher'],
    ['', `${voucher} x`, /no blanks/, '#access-voucher'],
  ]) {
    await enter(key, text);
    assert.match(await dialog.locator('.fault').textContent(), expected);
    assert.equal(await page.locator(invalid).getAttribute('aria-invalid'), 'true');
    assert.equal(await dialog.locator('[aria-invalid]').count(), 1);
  }
  await page.locator('#access-stored').check();
  await enter('', voucher);
  await page.getByRole('button', { name: 'Voucher', exact: true }).waitFor();
  await proveButton(page).click();
  await proofs(page).first().waitFor();
  await page.locator('.proof button', { hasText: 'Verify at the server' }).click();
  await page.waitForSelector('.verdict[data-verdict=valid]');
  const call = page.locator('section[aria-label="The same call"]');
  assert.match(await call.locator('pre').first().textContent(), /Bearer \$EDGEPROVE_VOUCHER"/);
  await call.getByRole('tab', { name: 'JavaScript' }).click();
  assert.match(await call.locator('[role=tabpanel]:not([hidden]) pre').textContent(), /voucher: process\.env\.EDGEPROVE_VOUCHER/);
  assert.ok(!(await page.content()).includes(voucher));

  // Its only use is gone.
  await page.reload();
  await page.waitForSelector('.fields');
  await page.getByRole('button', { name: 'Voucher', exact: true }).waitFor();
  for (const [name, value] of [['value', '42'], ['min', '10'], ['max', '100']]) await control(page, name).fill(value);
  await proveButton(page).click();
  await page.waitForSelector('.problem:not(:empty)');
  assert.match(await page.locator('.problem').textContent(), /Enter a new voucher/);
  await page.getByRole('button', { name: 'Voucher', exact: true }).click();
  assert.equal(await page.locator('#access-voucher').inputValue(), voucher);
  await dialog.getByRole('button', { name: 'Remove' }).click();
  await page.getByRole('button', { name: 'No key' }).waitFor();
  assert.equal(await page.evaluate(() => JSON.stringify({ ...sessionStorage })), '{}');
  await page.context().close();
  await withKeys.stop();
});

test('everything can be done with the keyboard alone', options, async () => {
  const page = await open(server.url);
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to the content');
  await page.keyboard.press('Enter');
  const focused = () => page.evaluate(() => (document.activeElement.matches('select') ? document.activeElement.id : document.activeElement.textContent));
  const tabTo = async (wanted) => {
    for (let step = 0; step < 60; step++) {
      await page.keyboard.press('Tab');
      if ((await focused()) === wanted) return;
    }
    assert.fail(`no way to ${wanted}`);
  };
  await tabTo('circuit');
  await tabTo('Prove');
  await page.keyboard.press('Enter');
  await proofs(page).first().waitFor();
  await tabTo('Proof');
  await page.keyboard.press('ArrowRight');
  assert.equal(await focused(), 'Public inputs');
  await page.keyboard.press('End');
  assert.equal(await focused(), 'Verification key');
  await close(page);
});

test('axe finds nothing serious, light and dark, wide and narrow', options, async () => {
  for (const [colorScheme, width] of [['light', 1280], ['dark', 390]]) {
    const page = await open(`${server.url}/#/prove/input_types`, { colorScheme, viewport: { width, height: 850 }, reducedMotion: 'reduce' });
    await proveButton(page).click();
    await proofs(page).first().waitFor();
    assert.deepEqual(await axe(page), [], `${colorScheme}, ${width}`);
    await page.locator('button.chip').click();
    assert.deepEqual(await axe(page), [], `the dialog, ${colorScheme}`);
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, 'nothing is wider than the window');
    await close(page);
  }
});

test('the theme is chosen, stored and applied before the first paint', options, async () => {
  const page = await open(server.url, { colorScheme: 'light' });
  const paper = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const light = await paper();
  await page.getByRole('button', { name: 'Dark' }).click();
  const dark = await paper();
  assert.notEqual(dark, light);
  await page.reload();
  assert.equal(await paper(), dark);
  await page.getByRole('button', { name: 'As the system' }).click();
  assert.equal(await paper(), light);
  await close(page);
});
