// Vouchers: minted by a back end at a real server, and used by pages.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import test, { after, before } from 'node:test';

import { createProver } from '../../dist/index.js';
import { keysFile } from '../support/keys.mjs';
import * as paths from '../support/paths.mjs';
import { problem, Proxy } from '../support/proxy.mjs';
import { sampleWitness, Server } from '../support/server.mjs';
import { later } from '../support/wait.mjs';

let server;
let backEnd;
let witness;
before(async () => {
  server = await Server.start({ keys: await keysFile({ shop: 'user' }), flags: ['--proof-cache', '0'] });
  backEnd = createProver({ url: server.url, apiKey: 'shop-key', mode: 'remote' });
  witness = await sampleWitness();
});
after(async () => await server?.stop());

const mint = async (more = {}) => (await backEnd.vouchers.create({ circuit: 'range_check', ...more })).voucher;

/** A prover of a page, and the vouchers that its back end gave it. */
function page(options = {}) {
  const given = [];
  const voucher = async () => {
    given.push(await mint(options));
    return given.at(-1);
  };
  return { prover: createProver({ url: server.url, voucher, mode: 'remote' }), given };
}

test('a back end mints what a page may do', async () => {
  const made = await backEnd.vouchers.create({
    circuit: ['range_check'], uses: 2, expires: 60, origin: 'https://app.example', priority: 'LOW', subject: 'user-1',
  });
  const { voucher, id, expires, ...rest } = made;
  assert.deepEqual(rest, {
    circuits: ['range_check'], uses: 2, origin: 'https://app.example', priority: 'LOW', subject: 'user-1',
  });
  assert.match(voucher, /^epv1\./);
  assert.match(id, /^[0-9a-f-]{36}$/);
  const seconds = (Date.parse(expires) - Date.now()) / 1000;
  assert.ok(seconds > 0 && seconds <= 61, `${seconds}`);
  await assert.rejects(backEnd.vouchers.create({ circuit: 'range_check', uses: 0 }), { code: 'invalid_request', field: 'uses' });
  const open = createProver({ url: server.url, mode: 'remote' });
  await assert.rejects(open.vouchers.create({ circuit: 'range_check' }), { code: 'api_key_required' });
});

test('a page proves with a voucher, as a job and directly, and verifies', async () => {
  const { prover, given } = page({ uses: 2 });
  const job = await prover.prove('range_check', witness);
  assert.equal(job.provedBy, 'server');
  assert.equal(await prover.verify(job, { on: 'server' }), true);
  await prover.prove('range_check', witness, { delivery: 'direct' });
  assert.equal(given.length, 1);
  await assert.rejects(prover.vouchers.create({ circuit: 'range_check' }), { code: 'voucher_not_allowed' });
});

test('a voucher that is used up is replaced, and each job is read with its own', async () => {
  const { prover, given } = page();
  const results = await Promise.all([1, 2, 3].map(async () => await prover.prove('range_check', witness)));
  assert.equal(new Set(results.map((result) => result.jobId)).size, 3);
  assert.equal(given.length, 3);
  for (const { jobId } of results) assert.equal((await prover.jobs.get(jobId)).status, 'completed');
});

test('a voucher that was given as a text is not replaced', async () => {
  const prover = createProver({ url: server.url, voucher: await mint(), mode: 'remote' });
  await prover.prove('range_check', witness);
  await assert.rejects(prover.prove('range_check', witness), { code: 'voucher_used_up', retryable: false });
  const other = createProver({ url: server.url, voucher: 'epv1.a.b', mode: 'auto' });
  await assert.rejects(other.prove('range_check', witness), { code: 'voucher_invalid' });
});

test('after a reload a voucher of the same subject finds the job', async () => {
  const stored = new Map();
  const storage = { getItem: (key) => stored.get(key) ?? null, setItem: (key, value) => stored.set(key, value), removeItem: (key) => stored.delete(key) };
  const open = () => createProver({ url: server.url, voucher: async () => await mint({ subject: 'user-7' }), mode: 'remote', storage });
  await server.pauseProvers();
  const controller = new AbortController();
  const submitted = later();
  const first = open().prove('range_check', witness, {
    idempotencyKey: 'order-1', onProgress: ({ jobId }) => jobId && submitted.settle(jobId), signal: controller.signal,
  });
  const id = await submitted.value;
  // The first page is gone without a trace: only what it stored is left.
  const before = new Map(stored);
  first.catch(() => {});
  const second = open().prove('range_check', witness, { idempotencyKey: 'order-1' });
  server.resumeProvers();
  assert.equal((await second).jobId, id);
  assert.equal([...before.values()][0], id);
  await first;
});

test('a back end that fails, or gives no voucher, ends the call', async () => {
  const fake = await Proxy.start(undefined);
  try {
    const failing = createProver({ url: fake.url, mode: 'auto', voucher: async () => { throw new Error('no session'); } });
    await assert.rejects(failing.prove('range_check', witness), (error) => {
      assert.equal(error.code, 'voucher_unavailable');
      assert.equal(error.cause.message, 'no session');
      return true;
    });
    for (const wrong of ['', 'a b', undefined, 7, 'a\nb']) {
      const prover = createProver({ url: fake.url, mode: 'remote', voucher: () => wrong });
      await assert.rejects(prover.circuits.list(), { code: 'voucher_unavailable' });
    }
    assert.deepEqual(fake.requests, [], 'a request was sent without a voucher');
    // One that never answers ends with the call.
    const signal = AbortSignal.timeout(50);
    const silent = createProver({ url: fake.url, mode: 'remote', voucher: () => new Promise(() => {}) });
    await assert.rejects(silent.circuits.list({ signal }), { code: 'aborted' });
    // With the same voucher again, no second request is sent.
    fake.intercept = (request, response) => problem(response, 401, 'voucher_invalid');
    const same = createProver({ url: fake.url, mode: 'remote', voucher: () => 'epv1.a.b' });
    await assert.rejects(same.circuits.list(), { code: 'voucher_invalid' });
    assert.equal(fake.requests.length, 1);
    // New ones without end are bounded.
    fake.requests = [];
    let count = 0;
    const endless = createProver({ url: fake.url, mode: 'remote', voucher: () => `epv1.a.${(count += 1)}` });
    await assert.rejects(endless.circuits.list(), { code: 'voucher_invalid' });
    assert.ok(fake.requests.length < 12, `${fake.requests.length}`);
  } finally {
    await fake.stop();
  }
});

test('wrong options are refused without a request, and show no token', async () => {
  const wrong = [{ voucher: 'a b' }, { voucher: '' }, { voucher: 'epv1.secret\n' }, { voucher: 7 }, { voucher: 'a', apiKey: 'b' }];
  for (const options of wrong) {
    assert.throws(() => createProver({ url: server.url, ...options }), (error) => {
      assert.equal(error.code, 'invalid_option');
      assert.ok(!error.message.includes('secret'));
      return true;
    });
  }
});

test('the back end of the example mints for its page', async () => {
  const environment = { ...process.env, EDGEPROVE_URL: server.url, EDGEPROVE_CLIENT_KEY: 'shop-key', PAGE_ORIGIN: 'https://app.example', PORT: '0' };
  const child = spawn(process.execPath, [path.join(paths.sdk, 'examples/voucher/back-end.mjs')], { env: environment, stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    const [line] = await once(child.stdout, 'data');
    const address = `http://127.0.0.1:${/port (\d+)/.exec(String(line))[1]}`;
    const answer = await fetch(`${address}/voucher`, { method: 'POST' });
    const voucher = await answer.text();
    assert.equal(answer.status, 200, voucher);
    const sent = (path, origin) => fetch(`${server.url}${path}`, {
      method: 'POST', body: witness, headers: { authorization: `Bearer ${voucher}`, 'content-type': 'application/gzip', ...origin },
    });
    assert.equal((await (await sent('/api/prove')).json()).code, 'voucher_not_allowed');
    assert.equal((await fetch(`${address}/voucher`)).status, 404);
  } finally {
    child.kill();
  }
});
