// Pages of another origin in a real Chromium: they prove at the server and in the page, are loaded again, and leave.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import test, { after, afterEach, before, beforeEach } from 'node:test';

import { createProver } from '../../dist/index.js';
import { policy, program, Site } from '../support/browser.mjs';
import { keysFile } from '../support/keys.mjs';
import * as paths from '../support/paths.mjs';
import { Proxy } from '../support/proxy.mjs';
import { Server } from '../support/server.mjs';
import { eventually } from '../support/wait.mjs';

const skip = program() === undefined && paths.skipped('browser', 'Chromium is not installed');

let site;
let server;
let proxy;
/** Arguments of the functions that run in a page. */
let given;
const options = { skip };

before(async () => {
  if (skip) return;
  site = await Site.start();
  server = await Server.start({
    keys: await keysFile({ page: 'user' }), flags: ['--cors-origin', site.files.url, '--proof-cache', '0', '--job-workers', '1'],
  });
  proxy = await Proxy.start(server.url);
  given = { url: proxy.url, apiKey: 'page-key', crs: `${site.files.url}/crs/bn254_g1.dat`, program: `${site.files.url}/circuits/range_check.json` };
});
after(async () => {
  await site?.stop();
  await proxy?.stop();
  await server?.stop();
});
beforeEach(() => {
  if (skip) return;
  proxy.requests = [];
  proxy.intercept = () => false;
  site.files.requests = [];
  site.files.headers = {};
});
afterEach(() => {
  assert.deepEqual(site?.external ?? [], [], 'a page asked another machine');
});

/** Whether the proof of a page is valid. */
const isValid = async (result) =>
  await createProver({ url: server.url }).verify({ ...result, proof: Uint8Array.from(result.proof) }, { on: 'local' });

/** Opens a page and runs a function in it, which gets `given` and `more`. */
async function inPage(run, more = {}) {
  const page = await site.open();
  try {
    return { value: await page.evaluate(run, { ...given, ...more }), workers: page.workers().length, page };
  } finally {
    await page.context().close();
  }
}

test('the example of the package proves without a bundler', options, async () => {
  const example = await readFile(path.join(paths.sdk, 'examples/page/index.html'), 'utf8');
  const script = /<script type="module">\n([^]*?)<\/script>/.exec(example)[1];
  assert.ok(script.trimEnd().split('\n').length <= 10, 'the example has more than ten lines');
  assert.ok(example.includes('"https://prover.example"'));
  const open = await Server.start({ flags: ['--cors-origin', site.files.url] });
  try {
    site.files.texts['/example'] = example.replace('https://prover.example', open.url).replace('/range_check.json', '/circuits/range_check.json');
    const page = await site.open(`${site.files.url}/example`);
    await page.waitForFunction(() => document.querySelector('#status').textContent.includes('proved'));
    assert.equal(await page.textContent('#status'), 'proved by server, valid');
    await page.context().close();
  } finally {
    await open.stop();
  }
});

test('a page of another origin proves with a voucher in ten lines', options, async (t) => {
  const example = await readFile(path.join(paths.sdk, 'examples/voucher/index.html'), 'utf8');
  const script = /<script type="module">\n([^]*?)<\/script>/.exec(example)[1];
  assert.ok(script.trimEnd().split('\n').length <= 10, 'the example has more than ten lines');
  const backEnd = createProver({ url: server.url, apiKey: 'page-key', mode: 'remote' });
  const minted = [];
  site.files.answers['/voucher'] = async (request) => {
    assert.equal(request.method, 'POST');
    const made = await backEnd.vouchers.create({ circuit: 'range_check', uses: 1, expires: 60, origin: site.files.url });
    minted.push(made.voucher);
    return made.voucher;
  };
  site.files.texts['/example'] = example.replace('https://prover.example', proxy.url).replace('/range_check.json', '/circuits/range_check.json');
  proxy.headers = [];
  const page = await site.open(`${site.files.url}/example`);
  await page.waitForFunction(() => document.querySelector('#status').textContent.includes('proved'));
  const status = await page.textContent('#status');
  assert.match(status, /^proved by server, valid after \d+ ms$/);
  t.diagnostic(status);
  assert.equal(minted.length, 1);
  const sent = new Set(proxy.headers.map((headers) => headers.authorization).filter(Boolean));
  assert.deepEqual([...sent], [`Bearer ${minted[0]}`], 'another credential was sent');
  assert.ok(!(await page.content()).includes('page-key'));

  // A second proof gets a second voucher. A page of another origin cannot use either.
  await page.reload();
  await page.waitForFunction(() => document.querySelector('#status').textContent.includes('proved'));
  assert.equal(minted.length, 2);
  await page.context().close();
  const stolen = (await backEnd.vouchers.create({ circuit: 'range_check', origin: 'https://app.example' })).voucher;
  const { value } = await inPage(async ({ url, stolen, program }) => {
    const prover = window.edgeprove.createProver({ url, voucher: stolen, mode: 'remote' });
    return await prover.prove({ id: 'range_check', program }, { value: 42, min: 10, max: 100 }).catch((error) => error.code);
  }, { stolen });
  assert.equal(value, 'voucher_not_allowed');
});

test('a bundled page proves with a key, in a worker, under a strict policy', options, async () => {
  site.files.headers = { 'content-security-policy': policy(given.url) };
  const { value, workers } = await inPage(async ({ url, apiKey, program }) => {
    const prover = window.edgeprove.createProver({ url, apiKey, mode: 'remote' });
    const stages = [];
    const result = await prover.prove({ id: 'range_check', program }, { value: 42n, min: 10, max: 100 }, {
      onProgress: (step) => stages.push(step.stage), priority: 'LOW', deadline: 100_000,
    });
    const { proof, ...rest } = result;
    const isValid = await prover.verify(result);
    const isChangedValid = await prover.verify({ ...result, publicInputs: [result.publicInputs[1], result.publicInputs[1]] });
    return { ...rest, proof: [...proof], stages, isValid, isChangedValid };
  });
  assert.equal(workers, 1, 'nothing was computed in a worker');
  assert.equal(value.provedBy, 'server');
  assert.deepEqual([value.isValid, value.isChangedValid], [true, false]);
  assert.deepEqual([value.stages[0], value.stages.at(-1)], ['witness', 'done']);
  assert.ok(await isValid(value));
});

test('with mode local a page sends nothing to a server, and stays responsive', options, async () => {
  site.files.headers = { 'content-security-policy': policy(given.url) };
  const { value } = await inPage(async ({ url, crs, program }) => {
    const prover = window.edgeprove.createProver({ url, mode: 'local', local: { crs } });
    let ticks = 0;
    const timer = setInterval(() => (ticks += 1), 10);
    const result = await prover.prove({ id: 'range_check', program }, { value: 42, min: 10, max: 100 });
    clearInterval(timer);
    return { ...result, proof: [...result.proof], ticks, isOwnValid: await prover.verify(result) };
  });
  assert.equal(value.provedBy, 'local');
  assert.ok(value.isOwnValid);
  assert.ok(value.ticks > 3, `${value.ticks} ticks`);
  assert.deepEqual(proxy.requests, []);
  assert.ok(await isValid(value));
});

test('to a page of an origin that the server refuses, the server cannot be reached', options, async () => {
  const page = await site.open(`${site.files.url.replace('127.0.0.1', 'localhost')}/page`);
  const outcome = await page.evaluate(async ({ url, apiKey, program }) => {
    const retry = { attempts: 1 };
    const circuit = { id: 'range_check', program };
    const inputs = { value: 42, min: 10, max: 100 };
    const remote = await window.edgeprove.createProver({ url, apiKey, mode: 'remote', retry }).prove(circuit, inputs).catch((error) => error);
    // Without points: the error shows that the page tried it.
    const auto = window.edgeprove.createProver({ url, apiKey, mode: 'auto', retry, local: { crs: '/none' } });
    const { code, cause } = await auto.prove(circuit, inputs).catch((error) => error);
    return [remote.code, code, cause.code];
  }, given);
  assert.deepEqual(outcome, ['unreachable', 'local_failed', 'unreachable']);
  await page.context().close();
});

test('a server that is stopped midway is replaced by the page', options, async () => {
  const crashing = await Server.start({ flags: ['--cors-origin', site.files.url] });
  const page = await site.open();
  try {
    await crashing.pauseProvers();
    await page.exposeFunction('crash', async () => await crashing.kill());
    const value = await page.evaluate(async ({ crs, program, url }) => {
      let crash;
      const prover = window.edgeprove.createProver({ url, mode: 'auto', local: { crs }, retry: { attempts: 2, maxDelayMs: 50 } });
      const result = await prover.prove({ id: 'range_check', program }, { value: 42, min: 10, max: 100 }, {
        onProgress: (step) => step.jobId && (crash ??= window.crash()),
      });
      return { ...result, proof: [...result.proof], fallbackReason: result.fallbackReason.code, isOwnValid: await prover.verify(result) };
    }, { ...given, url: crashing.url });
    assert.equal(value.provedBy, 'local');
    assert.equal(value.fallbackReason, 'unreachable');
    assert.ok(value.isOwnValid && (await isValid(value)));
  } finally {
    await page.context().close();
    await crashing.stop();
  }
});

test('a page that is loaded again goes on with its job', options, async () => {
  await server.pauseProvers();
  const page = await site.open();
  const prove = async ({ url, apiKey, program }) => {
    const prover = window.edgeprove.createProver({ url, apiKey, mode: 'remote' });
    const result = await prover.prove({ id: 'range_check', program }, { value: 42, min: 10, max: 100 }, { idempotencyKey: 'order-7' });
    return { ...result, proof: [...result.proof], stored: JSON.stringify({ ...sessionStorage }) };
  };
  void page.evaluate(prove, given).catch(() => {});
  await page.waitForFunction(() => sessionStorage.length > 0);
  const stored = await page.evaluate(() => ({ ...sessionStorage }));
  const [[name, id]] = Object.entries(stored);
  assert.equal(name, `edgeprove:${given.url}/:order-7`);
  assert.match(id, /^[0-9a-f-]{36}$/);
  await page.reload();
  await page.waitForFunction(() => window.edgeprove);
  const second = page.evaluate(prove, given);
  await eventually('the page asks for its job', () => proxy.with(`GET /v1/proofs/${id}`).length > 1);
  server.resumeProvers();
  const value = await second;
  assert.equal(value.jobId, id);
  assert.equal(value.stored, '{}');
  assert.equal(proxy.with('POST').length, 1, 'the witness was sent again');
  assert.ok(await isValid(value));
  await page.context().close();
});

test('an abort ends the job, and the worker that proves', options, async () => {
  await server.pauseProvers();
  const page = await site.open();
  const remote = await page.evaluate(async ({ url, apiKey, program }) => {
    const controller = new AbortController();
    const prover = window.edgeprove.createProver({ url, apiKey, mode: 'remote' });
    return await prover.prove({ id: 'range_check', program }, { value: 42, min: 10, max: 100 }, {
      signal: controller.signal, onProgress: (step) => step.stage === 'proving' && controller.abort(),
    }).catch((error) => error.code);
  }, given);
  assert.equal(remote, 'aborted');
  const [cancel] = await eventually('the job is cancelled', () => proxy.with('DELETE').length === 1 && proxy.with('DELETE'));
  server.resumeProvers();
  const direct = createProver({ url: server.url, apiKey: 'page-key', mode: 'remote' });
  assert.equal((await direct.jobs.follow(cancel.split('/').at(-1))).status, 'cancelled');

  const workers = { started: 0, ended: 0 };
  page.on('worker', (worker) => {
    workers.started += 1;
    worker.on('close', () => (workers.ended += 1));
  });
  await page.exposeFunction('bothStarted', async () => await eventually('both workers start', () => workers.started === 2));
  const local = await page.evaluate(async ({ crs, program }) => {
    const controller = new AbortController();
    const prover = window.edgeprove.createProver({ mode: 'local', local: { crs } });
    return await prover.prove({ id: 'range_check', program }, { value: 42, min: 10, max: 100 }, {
      signal: controller.signal, onProgress: (step) => step.stage === 'proving' && window.bothStarted().then(() => controller.abort()),
    }).catch((error) => error.code);
  }, given);
  assert.equal(local, 'aborted');
  // The one that proved; the one that made the witness waits for more.
  await eventually('the worker has ended', () => workers.ended === 1);
  await page.context().close();
});

test('a program is stored by its hash over a reload', options, async () => {
  const bytes = await readFile(path.join(paths.circuits, 'range_check.json'));
  const sha256 = Buffer.from(await crypto.subtle.digest('SHA-256', bytes)).toString('hex');
  const page = await site.open();
  const prove = async ({ url, apiKey, program, sha256 }) => {
    const prover = window.edgeprove.createProver({ url, apiKey, mode: 'remote' });
    const inputs = { value: 42, min: 10, max: 100 };
    return (await prover.prove({ id: 'range_check', program, sha256 }, inputs, { delivery: 'direct' })).provedBy;
  };
  assert.equal(await page.evaluate(prove, { ...given, sha256 }), 'server');
  await page.reload();
  await page.waitForFunction(() => window.edgeprove);
  assert.equal(await page.evaluate(prove, { ...given, sha256 }), 'server');
  assert.equal(site.files.requests.filter((name) => name.endsWith('range_check.json')).length, 1);
  await page.context().close();
});

test('the hook of React shows each step, and a component that is removed aborts its proof', options, async () => {
  const page = await site.open();
  await page.evaluate(async ({ url, apiKey, program }) => {
    window.states = [];
    const circuit = { id: 'range_check', program: await (await fetch(program)).json() };
    window.showComponent({ url, apiKey, mode: 'remote' }, circuit);
    new MutationObserver(() => window.states.push(document.querySelector('#state')?.textContent))
      .observe(document.querySelector('#root'), { subtree: true, childList: true, characterData: true });
  }, given);
  const state = async (text) => await page.waitForFunction((text) => document.querySelector('#state')?.textContent === text, text);
  await state('idle');
  await page.click('#prove');
  await state('done server');
  const states = await page.evaluate(() => window.states);
  assert.ok(states.includes('proving witness') || states.includes('proving upload'), states.join(', '));
  await page.click('#fail');
  await state('failed witness_unsatisfied');

  await server.pauseProvers();
  await page.click('#prove');
  await state('proving proving');
  await page.click('#abort');
  await state('idle');
  await eventually('the job is cancelled', () => proxy.with('DELETE').length === 1);
  server.resumeProvers();
  // The component never sees an event, so it still waits when it is removed.
  proxy.intercept = (request) => request.method === 'GET' && request.url.includes('/events');
  await page.click('#prove');
  const streams = () => proxy.with('/events').filter((line) => line.startsWith('GET')).length;
  await eventually('the component follows its job', () => streams() === 3);
  await page.evaluate(() => window.removeComponent());
  await eventually('the job is cancelled', () => proxy.with('DELETE').length === 2);
  assert.deepEqual(page.problems, []);
  await page.context().close();
});
