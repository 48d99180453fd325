// Proofs in this process, with noir_js and bb.js: asked for, or because the server cannot prove.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import test, { after, before, beforeEach } from 'node:test';

import { createProver } from '../../dist/index.js';
import { Files } from '../support/files.mjs';
import * as paths from '../support/paths.mjs';
import { problem, Proxy } from '../support/proxy.mjs';
import { program, sampleWitness, Server } from '../support/server.mjs';

const INPUTS = { value: 42, min: 10, max: 100 };

let server;
let proxy;
let files;
let circuit;
let local;
before(async () => {
  server = await Server.start();
  proxy = await Proxy.start(server.url);
  files = await Files.start({ '/circuits/': paths.circuits, '/crs/': paths.crs });
  circuit = { id: 'range_check', program: await program() };
  local = { crs: `${files.url}/crs/bn254_g1.dat` };
});
after(async () => {
  await files.stop();
  await proxy.stop();
  await server.stop();
});
beforeEach(() => {
  proxy.requests = [];
  proxy.intercept = () => false;
});

const auto = (options = {}) =>
  createProver({ url: proxy.url, mode: 'auto', local, retry: { attempts: 2, maxDelayMs: 20 }, ...options });

/** A fetch that fails the test. */
const noFetch = () => assert.fail('a request was sent');

test('with mode local nothing is sent to a server', async () => {
  const prover = createProver({ url: proxy.url, apiKey: 'key', mode: 'local', local, fetch: noFetch });
  const steps = [];
  const result = await prover.prove(circuit, INPUTS, { onProgress: (step) => steps.push(step) });
  assert.equal(result.provedBy, 'local');
  assert.equal(result.verified, false);
  assert.equal(result.fallbackReason, undefined);
  assert.ok(result.timings.proveMs > 0 && result.timings.witnessMs > 0);
  assert.deepEqual(steps.map((step) => step.stage), ['witness', 'proving', 'done']);
  assert.ok(steps.every((step) => step.provedBy === 'local'));
  assert.ok(await prover.verify(result), 'the key of the proof is known');
  for (const call of [
    () => prover.prove('range_check', INPUTS), () => prover.prove({ ...circuit, program: undefined }, INPUTS),
    () => prover.jobs.submit(circuit, INPUTS), () => prover.jobs.get('id'), () => prover.jobs.follow('id'), () => prover.jobs.list(),
    () => prover.jobs.cancel('id'), () => prover.circuits.list(), () => prover.circuits.get('range_check'), () => prover.health(),
    () => prover.circuits.vk('range_check'), () => prover.verify(result, { on: 'server' }), () => prover.circuits.build({}),
    () => prover.verify({ ...result, circuit: 'other' }),
  ]) {
    await assert.rejects(call(), (error) => error.code === 'local_mode' || error.code === 'program_required', String(call));
  }
  assert.deepEqual(await prover.warm(circuit), { isServerReady: false, isLocalReady: true });
  assert.deepEqual(proxy.requests, []);
});

test('local proofs of both targets verify at the server and have its key, also of a witness', async () => {
  const prover = createProver({ mode: 'local', local });
  const remote = createProver({ url: server.url, mode: 'remote' });
  for (const [target, inputs] of [['noir-recursive', INPUTS], ['evm', new Blob([await sampleWitness()])]]) {
    const result = await prover.prove(circuit, inputs, { target });
    assert.ok(await remote.verify(result, { on: 'server' }), target);
    assert.equal(result.vkHash, (await remote.circuits.vk('range_check', { target })).hash, target);
  }
});

test('circuits of circom are not proved here', async () => {
  const prover = createProver({ mode: 'local', local });
  await assert.rejects(prover.prove(circuit, INPUTS, { target: 'groth16' }), { code: 'local_unsupported' });
  const proof = { proof: new Uint8Array(256), publicInputs: [], target: 'groth16', circuit: 'range' };
  await assert.rejects(prover.verify(proof), { code: 'local_unsupported' });
});

test('too few points and a missing file are errors with a reason', async () => {
  const few = await Files.start({}, { '/crs.dat': 'x'.repeat(64 * 600) });
  try {
    for (const [crs, reason] of [[`${few.url}/crs.dat`, /too few: the circuit needs 4096/], [`${few.url}/none.dat`, /status 404/]]) {
      const prover = createProver({ mode: 'local', local: { crs } });
      await assert.rejects(prover.prove(circuit, INPUTS), (error) => error.code === 'local_failed' && reason.test(error.message));
    }
    const gone = createProver({ mode: 'local', local: { crs: 'http://127.0.0.1:9/crs.dat' } });
    await assert.rejects(gone.prove(circuit, INPUTS), { code: 'local_failed', retryable: true });
  } finally {
    await few.stop();
  }
});

test('a program is loaded once, and only with the hash that it should have', async () => {
  const url = `${files.url}/circuits/range_check.json`;
  const bytes = new Uint8Array(await (await fetch(url)).arrayBuffer());
  const sha256 = Buffer.from(await crypto.subtle.digest('SHA-256', bytes)).toString('hex');
  const prover = createProver({ url: proxy.url, mode: 'remote' });
  files.requests = [];
  for (let i = 0; i < 2; i++) await prover.prove({ id: 'range_check', program: url, sha256 }, INPUTS, { delivery: 'direct' });
  assert.deepEqual(files.requests, ['/circuits/range_check.json']);
  const wrong = { id: 'range_check', program: url, sha256: sha256.replace(/./, (digit) => (digit === '0' ? '1' : '0')) };
  await assert.rejects(prover.prove(wrong, INPUTS), { code: 'program_changed' });
  for (const program of [`${files.url}/none.json`, 'http://127.0.0.1:9/x.json', `${files.url}/circuits/range_check.gz`, { bytecode: 1 }, {}]) {
    await assert.rejects(prover.prove({ id: 'range_check', program }, INPUTS), { code: 'program_required' }, String(program));
  }
});

test('a program of another release of Noir is named, with the fix', async () => {
  const old = { ...circuit.program, noir_version: '0.39.0+abc', abi: { ...circuit.program.abi, parameters: 'x' } };
  const prover = createProver({ mode: 'local', local });
  await assert.rejects(prover.prove({ id: 'range_check', program: old }, INPUTS), (error) => {
    assert.equal(error.code, 'version_mismatch');
    assert.match(error.message, /compiled by Noir 0\.39\.0.*1\.0\.0-beta\.26/);
    return true;
  });
  const report = await prover.warm({ id: 'range_check', program: old });
  assert.equal(report.isLocalReady, false);
  assert.equal(report.error.code, 'version_mismatch');
});

const FAILURES = {
  'cannot be reached': [(request, response) => Boolean(response.destroy()), 'unreachable'],
  'is overloaded': [(request, response) => problem(response, 503, 'queue_full', { 'retry-after': '0' }), 'queue_full'],
  'asks to wait for hours': [(request, response) => problem(response, 429, 'quota_exceeded', { 'retry-after': '40000' }), 'quota_exceeded'],
  'fails': [(request, response) => problem(response, 500, 'internal', { 'retry-after': '0' }), 'internal'],
  'is something else': [(request, response) => Boolean(response.writeHead(200, { 'content-type': 'text/html' }).end('x')), 'bad_answer'],
  'hangs': [() => true, 'timeout'],
};
test('with mode auto the proof is made here where the server fails', async () => {
  for (const [what, [intercept, code]] of Object.entries(FAILURES)) {
    proxy.intercept = intercept;
    // Without points, so that no time is spent on proofs: the error shows that both were tried.
    const prover = auto({ timeout: code === 'timeout' ? 300 : 30_000, local: { crs: 'http://127.0.0.1:9/' } });
    await assert.rejects(prover.prove(circuit, INPUTS), (error) => {
      assert.equal(error.code, 'local_failed', what);
      assert.equal(error.cause.code, code, what);
      assert.match(error.message, /before, the server failed/);
      return true;
    });
  }
});

test('the witness of a failed attempt is used again', async () => {
  proxy.intercept = FAILURES['cannot be reached'][0];
  const prover = auto();
  const steps = [];
  const result = await prover.prove(circuit, INPUTS, { onProgress: (step) => steps.push(step) });
  assert.equal(result.provedBy, 'local');
  assert.equal(result.fallbackReason.code, 'unreachable');
  assert.deepEqual(steps.map((step) => `${step.stage} ${step.provedBy}`), [
    'witness server', 'upload server', 'proving local', 'done local',
  ]);
  proxy.intercept = () => false;
  assert.ok(await prover.verify(result));
});

test('with mode remote the same failures are errors', async () => {
  for (const [intercept, code] of Object.values(FAILURES)) {
    proxy.intercept = intercept;
    await assert.rejects(auto({ mode: 'remote', timeout: code === 'timeout' ? 300 : 30_000 }).prove(circuit, INPUTS), { code });
  }
});

test('a server that is stopped midway is replaced by this process', async () => {
  const crashing = await Server.start();
  const prover = createProver({ url: crashing.url, mode: 'auto', local, retry: { attempts: 2, maxDelayMs: 50 } });
  try {
    await prover.circuits.vk('range_check', { target: 'noir-recursive' });
    await crashing.pauseProvers();
    let crash;
    const result = await prover.prove(circuit, INPUTS, {
      onProgress: (step) => {
        if (step.jobId) crash ??= crashing.kill();
      },
    });
    await crash;
    assert.equal(result.provedBy, 'local');
    assert.equal(result.fallbackReason.code, 'unreachable');
    assert.ok(await prover.verify(result));
  } finally {
    await crashing.stop();
  }
});

test('what is wrong with the request is not proved here either', async () => {
  await assert.rejects(auto().prove(circuit, { ...INPUTS, value: 5 }), { code: 'witness_unsatisfied' });
  await assert.rejects(auto().prove({ ...circuit, id: 'unknown' }, INPUTS), { code: 'circuit_not_found' });
  proxy.intercept = (request, response) => problem(response, 401, 'api_key_required');
  await assert.rejects(auto().prove(circuit, INPUTS), { code: 'api_key_required' });
});

test('without a program the failure of the server is the answer', async () => {
  proxy.intercept = (request, response) => problem(response, 503, 'queue_full', { 'retry-after': '0' });
  await assert.rejects(auto().prove('range_check', INPUTS), { code: 'queue_full' });
});

test('an abort ends a local proof', async () => {
  const controller = new AbortController();
  const proving = createProver({ mode: 'local', local }).prove(circuit, INPUTS, {
    signal: controller.signal, onProgress: (step) => step.stage === 'proving' && controller.abort(),
  });
  await assert.rejects(proving, { code: 'aborted' });
});

test('points that are not those of the ceremony are refused', async () => {
  const points = (await readFile(path.join(paths.crs, 'bn254_g1.dat'))).subarray(0, 4096 * 64);
  points[64 * 4000] ^= 1;
  const served = await Files.start({}, { '/g1.dat': points });
  try {
    const prover = createProver({ mode: 'local', local: { crs: `${served.url}/g1.dat` } });
    await assert.rejects(prover.prove(circuit, INPUTS), (error) => error.code === 'local_failed' && /not those of the ceremony/.test(error.message));
  } finally {
    await served.stop();
  }
});
