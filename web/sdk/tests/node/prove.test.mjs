// Proofs by the real server, and their verification here, by the server and by bb.js itself.

import assert from 'node:assert/strict';
import test, { after, before } from 'node:test';

import { createProver, EdgeproveError, forBbJs } from '../../dist/index.js';
import { verifyProof } from '../support/judge.mjs';
import { Proxy } from '../support/proxy.mjs';
import { program, sampleWitness, Server } from '../support/server.mjs';

const INPUTS = { value: 42, min: 10, max: 100 };
const FIELDS = ['a', '64'].map((digits) => `0x${digits.padStart(64, '0')}`);

let server;
let proxy;
let circuit;
before(async () => {
  server = await Server.start();
  proxy = await Proxy.start(server.url);
  circuit = { id: 'range_check', program: await program() };
});
after(async () => {
  await proxy.stop();
  await server.stop();
});

const remote = (options = {}) => createProver({ url: proxy.url, mode: 'remote', ...options });

test('the witness is made here, and a job proves it', async () => {
  const prover = remote();
  const steps = [];
  proxy.requests = [];
  const result = await prover.prove(circuit, INPUTS, { onProgress: (step) => steps.push(step) });
  assert.deepEqual(result.publicInputs, FIELDS);
  assert.equal(result.proof.length, 14_656);
  assert.deepEqual(
    { ...result, proof: 0, publicInputs: 0, timings: 0, cost: 0, vkHash: 0, proofHash: 0, receipt: 0, jobId: 0, requestId: 0 },
    {
      proof: 0, publicInputs: 0, timings: 0, cost: 0, vkHash: 0, proofHash: 0, receipt: 0, jobId: 0, requestId: 0, target: 'noir-recursive',
      circuit: 'range_check', provedBy: 'server', verified: true, cached: false,
    },
  );
  assert.equal(typeof result.receipt, 'string');
  assert.ok(result.timings.witnessMs > 0 && result.timings.server.proveMs > 0);
  assert.ok(result.cost.vcpuSeconds >= result.timings.server.proveMs / 1000 && result.cost.gibSeconds > 0);
  assert.ok(result.timings.totalMs >= result.timings.server.proveMs);
  const stages = steps.map((step) => step.stage);
  assert.deepEqual(stages.slice(0, 2), ['witness', 'upload']);
  assert.equal(stages.at(-1), 'done');
  assert.equal(steps.at(-1).percent, 100);
  assert.ok(steps.every((step) => step.provedBy === 'server'));
  // No name of a circuit is asked for, and nothing is sent twice.
  assert.deepEqual(proxy.requests.map((line) => line.replace(result.jobId, 'ID')), [
    'GET /.well-known/edgeprove', 'POST /v1/proofs?circuit=range_check', 'GET /v1/proofs/ID/events', 'GET /v1/proofs/ID/proof',
  ]);
  assert.ok(await prover.verify(result));
  assert.ok(await prover.verify(result, { on: 'server' }));
  const { bytes } = await prover.circuits.vk('range_check');
  assert.ok(await verifyProof({ ...forBbJs(result), verificationKey: bytes, verifierTarget: 'noir-recursive' }));
});

test('one request proves directly', async () => {
  proxy.requests = [];
  const result = await remote().prove(circuit, INPUTS, { delivery: 'direct', target: 'evm' });
  assert.deepEqual(proxy.requests, ['GET /.well-known/edgeprove', 'POST /api/prove/range_check?target=evm']);
  assert.equal(result.target, 'evm');
  assert.equal(result.jobId, undefined);
  assert.ok(await remote().verify(result));
});

test('without a program the server computes the witness', async () => {
  proxy.requests = [];
  const result = await remote().prove('range_check', { value: 42n, min: '0xa', max: 100 });
  assert.deepEqual(result.publicInputs, FIELDS);
  assert.equal(proxy.requests[0], 'GET /v1/circuits/range_check');
  assert.equal(result.timings.witnessMs, undefined);
});

test('a witness that was computed before is sent as it is', async () => {
  const witness = await sampleWitness();
  for (const form of [witness, new Blob([witness])]) {
    const result = await remote().prove('range_check', form, { delivery: 'direct' });
    assert.ok(await remote().verify(result));
  }
});

test('changed proofs, inputs and keys are not valid, here and at the server', async () => {
  const prover = remote();
  const result = await prover.prove(circuit, INPUTS);
  const { bytes: vk } = await prover.circuits.vk('range_check', { target: 'evm' });
  const flipped = result.proof.slice();
  flipped[7000] ^= 1;
  for (const [what, changed, options = {}] of [
    ['a bit', { proof: flipped }],
    ['a length', { proof: result.proof.slice(32) }],
    ['no proof', { proof: new Uint8Array() }],
    ['a part of a field', { proof: result.proof.slice(1) }],
    ['an input', { publicInputs: [FIELDS[0], FIELDS[0]] }],
    ['one input less', { publicInputs: FIELDS.slice(1) }],
    ['text instead of a field', { publicInputs: ['10', FIELDS[1]] }],
    ['another target', { target: 'evm' }],
    ['another key', {}, { vk }],
    ['a damaged key', {}, { vk: vk.slice(5) }],
  ]) {
    assert.equal(await prover.verify({ ...result, ...changed }, options), false, what);
  }
  assert.equal(await prover.verify({ ...result, proof: flipped }, { on: 'server' }), false);
  assert.ok(await prover.verify(result), 'the verifier still works');
});

test('wrong inputs are refused here, by name and without a value', async () => {
  for (const [inputs, code, text] of [
    [{ value: 777_333, min: 10, max: 100 }, 'witness_unsatisfied', 'value is above max'],
    [{ value: 42, min: 10 }, 'invalid_inputs', 'max'],
    [{ ...INPUTS, value: 'secret-text' }, 'invalid_inputs', 'value'],
    [{ ...INPUTS, value: 7_777_777_777 }, 'invalid_inputs', 'value'],
  ]) {
    proxy.requests = [];
    const error = await remote().prove(circuit, inputs).catch((error) => error);
    assert.ok(error instanceof EdgeproveError);
    assert.equal(error.code, code);
    assert.ok(error.message.includes(text), error.message);
    assert.ok(!/777|secret/.test(`${error.message} ${error.cause} ${JSON.stringify(error)}`), 'a value is in the error');
    assert.deepEqual(proxy.requests, [], 'the server was asked');
  }
});

test('the problems of the server are typed errors', async () => {
  const error = await remote().prove('range_check', { value: 1, min: 10, max: 100 }).catch((error) => error);
  assert.ok(error instanceof EdgeproveError && error instanceof Error);
  assert.equal(error.code, 'witness_unsatisfied');
  assert.equal(error.status, 422);
  assert.equal(error.retryable, false);
  assert.match(error.requestId, /^[0-9a-f-]{36}$/);
  const field = await remote().prove('range_check', { value: -1, min: 10, max: 100 }).catch((error) => error);
  assert.equal(field.code, 'invalid_inputs');
  assert.equal(field.field, 'privateInputs.value');
  await assert.rejects(remote().prove('nothing', INPUTS), { code: 'circuit_not_found', status: 404 });
  await assert.rejects(remote().prove(circuit, INPUTS, { priority: 'CRITICAL' }), { code: 'not_allowed', status: 403 });
  await assert.rejects(remote().prove({ ...circuit, id: '../health' }, INPUTS), { code: /^(invalid_request|circuit_not_found)$/ });
  await assert.rejects(remote().prove(circuit, INPUTS, { deadline: -1, delivery: 'direct' }), { code: 'invalid_request', status: 400 });
});

test('options that cannot be used are refused before anything is sent', async () => {
  for (const options of [
    { url: 'prover.example' }, { url: 'ftp://prover.example' }, { url: 'http://u:p@prover.example' }, {}, { url: 'http://x', mode: 'fast' },
    { url: 'http://x', timeout: 0 }, { url: 'http://x', timeout: Number.NaN }, { url: 'http://x', retry: { attempts: 0 } },
    { url: 'http://x', apiKey: '' }, { url: 'http://x', apiKey: 'a key' }, { url: 'http://x', apiKey: 'key\n' },
    { url: 'http://x', retry: { maxDelayMs: -1 } }, { url: 'http://x', local: { threads: 0 } }, { url: 'http://x', local: { crs: '::' } },
  ]) {
    assert.throws(() => createProver(options), { code: 'invalid_option' }, JSON.stringify(options));
  }
  for (const bad of ['', undefined, {}, { id: '' }]) {
    await assert.rejects(remote().prove(bad, INPUTS), (error) => error instanceof EdgeproveError || error instanceof TypeError);
  }
  await assert.rejects(remote().jobs.get('..'), { code: 'invalid_option' });
});

test('a server below a path is called there', async () => {
  const below = await Proxy.start(undefined);
  try {
    below.intercept = (request, response) => {
      response.writeHead(200, { 'content-type': 'application/json' }).end('{"circuits":[]}');
      return true;
    };
    await createProver({ url: `${below.url}/prover?x=1#y`, mode: 'remote' }).circuits.list();
    assert.deepEqual(below.requests, ['GET /prover/v1/circuits']);
  } finally {
    await below.stop();
  }
});

test('the health of the server and a warm prover', async () => {
  const prover = remote();
  const health = await prover.health();
  assert.equal(health.status, 'ok');
  assert.deepEqual(await prover.warm(circuit), { isServerReady: true, isLocalReady: true });
  const cold = await createProver({ url: 'http://127.0.0.1:9', mode: 'remote', retry: { attempts: 1 } }).warm(circuit);
  assert.equal(cold.isServerReady, false);
  assert.equal(cold.isLocalReady, true);
  assert.equal(cold.error.code, 'unreachable');
});
