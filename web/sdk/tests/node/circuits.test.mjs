// Circuits that the real server builds from templates, in both languages, and the documents of the whole API.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import test, { after, before } from 'node:test';
import { promisify } from 'node:util';

import { contractArguments, createProver, forSnarkjs, toHex } from '../../dist/index.js';
import { keysFile } from '../support/keys.mjs';
import * as paths from '../support/paths.mjs';
import { problem, Proxy } from '../support/proxy.mjs';
import { program, Server } from '../support/server.mjs';

const run = promisify(execFile);
const CIRCOM = { templateName: 'rangeCheck', language: 'circom', params: { min: 100, max: 500 } };
/** Never built here: that takes too long. */
const NOIR = { templateName: 'rangeCheck', language: 'noir', params: { min: 100, max: 500 } };

let server;
let prover;
/** Each document by the name of its type. */
const documents = [];
const seen = (type, document) => {
  documents.push([type, structuredClone(document)]);
  return document;
};

before(async () => {
  server = await Server.start({
    keys: await keysFile({ olga: 'operator' }), flags: ['--toolchain', paths.toolchain, '--builder-isolation', 'process-group'],
  });
  prover = createProver({ url: server.url, apiKey: 'olga-key', mode: 'remote', timeout: 300_000 });
});
after(async () => await server?.stop());

test('templates are listed with what they need', async () => {
  const list = await prover.circuits.templates();
  assert.ok(list.some((template) => template.name === 'rangeCheck'));
  for (const entry of list) {
    seen('TemplateEntry', entry);
    seen('Template', await prover.circuits.template(entry.name));
  }
  await assert.rejects(prover.circuits.template('nothing'), { code: 'template_not_found' });
});

test('a circuit of circom is requested, built, proved and verified', async () => {
  assert.equal(seen('CircuitEntry', await prover.circuits.request(CIRCOM)).status, 'pending');
  const circuit = seen('Circuit', await prover.circuits.build(CIRCOM));
  assert.equal(circuit.status, 'ready');
  assert.equal(circuit.target, 'groth16');
  const result = await prover.prove(circuit.id, { value: 123, context: 7n });
  assert.equal(result.target, 'groth16');
  assert.equal(result.publicInputs.at(-1), toHex(Uint8Array.from({ length: 32 }, (_, i) => (i === 31 ? 7 : 0))));
  assert.ok(await prover.verify(result, { on: 'server' }));
  assert.ok(await prover.verify(result, { on: 'evm' }));
  assert.equal(await prover.verify({ ...result, publicInputs: [toHex(new Uint8Array(32))] , groth16: undefined }, { on: 'server' }).catch(() => false), false);
  await assert.rejects(prover.verify(result), { code: 'local_unsupported' });
  const { proof, publicSignals } = forSnarkjs(result);
  assert.equal(proof.protocol, 'groth16');
  assert.deepEqual(publicSignals, ['7']);
  const calldata = seen('Calldata', await prover.jobs.calldata(result.jobId));
  const words = contractArguments(result).flat(3).map((word) => word.toString(16).padStart(64, '0'));
  assert.equal(calldata.calldata.slice(10), words.join(''));
  assert.equal(result.calldata, calldata.calldata);
  await assert.rejects(prover.prove(circuit.id, { value: 99, context: 7 }), { code: 'witness_unsatisfied' });
  const key = await prover.circuits.vk(circuit.id);
  assert.equal(JSON.parse(new TextDecoder().decode(key.bytes)).protocol, 'groth16');
  assert.equal(key.hash, result.vkHash);
});

test('the program of a stored circuit of Noir comes from the server, by its hash', async () => {
  const form = new FormData();
  form.append('name', 'age');
  form.append('program', new Blob([JSON.stringify(await program())]), 'age.json');
  form.append('input', new Blob(['{"privateInputs":{"value":20},"publicInputs":{"min":18,"max":120}}']), 'input.json');
  const upload = await fetch(`${server.url}/v1/circuits`, { method: 'POST', body: form, headers: { 'x-api-key': 'olga-key' } });
  const circuit = await upload.json();
  assert.equal(upload.status, 201, JSON.stringify(circuit));
  seen('CircuitEntry', circuit);
  const front = await Proxy.start(server.url);
  try {
    const page = createProver({ url: front.url, apiKey: 'olga-key', mode: 'remote' });
    const result = await page.prove(circuit.id, { value: 30, min: 18, max: 120 });
    assert.ok(result.timings.witnessMs > 0, 'the witness was not made here');
    assert.equal(front.with('/artifacts/circuit.json').length, 1);
    await page.prove(circuit.id, { value: 31, min: 18, max: 120 }, { delivery: 'direct' });
    assert.equal(front.with('/artifacts/circuit.json').length, 1, 'the program was loaded twice');
    assert.ok(await page.verify(result));
    seen('Circuit', await page.circuits.get(circuit.id));

    // A program that was changed on the way is not executed.
    const fresh = createProver({ url: front.url, apiKey: 'olga-key', mode: 'remote' });
    front.intercept = (request, response) => {
      if (!request.url.includes('/artifacts/')) return false;
      response.writeHead(200).end(JSON.stringify({ bytecode: '', abi: {} }));
      return true;
    };
    await assert.rejects(fresh.prove(circuit.id, { value: 30, min: 18, max: 120 }), { code: 'program_changed' });
  } finally {
    await front.stop();
  }
});

test('a request that no template has is refused, and a failed build has its reason', async () => {
  await assert.rejects(prover.circuits.build({ ...NOIR, params: { min: 500, max: 100 } }), { code: 'invalid_request' });
  await assert.rejects(prover.circuits.build({ ...NOIR, templateName: 'nothing' }), { code: 'template_not_found' });
  const front = await Proxy.start(server.url);
  const error = { code: 'circuit_compilation_failed', detail: 'planted', status: 503, retryable: false };
  front.intercept = (request, response) => {
    response.writeHead(202, { 'content-type': 'application/json' }).end(JSON.stringify({ id: 'x', status: 'failed', error }));
    return true;
  };
  await assert.rejects(createProver({ url: front.url, mode: 'remote' }).circuits.build(NOIR), { code: 'circuit_compilation_failed', message: 'planted' });
  front.intercept = (request, response) => {
    if (request.method === 'POST') response.writeHead(202, { 'content-type': 'application/json' }).end('{"id":"x","status":"pending"}');
    else problem(response, 503, 'not_ready', { 'retry-after': '0' });
    return true;
  };
  const impatient = createProver({ url: front.url, mode: 'remote', timeout: 400, retry: { attempts: 1 } });
  await assert.rejects(impatient.circuits.build(NOIR), { code: /^(timeout|not_ready)$/ });
  await front.stop();
});

test('the documents of the server have the members of the types, and no others', async () => {
  const circuit = { id: 'range_check', program: await program() };
  seen('Health', await prover.health());
  seen('ServiceDocument', await prover.service());
  seen('CircuitPage', await prover.circuits.list());
  seen('CircuitPage', await prover.circuits.list({ limit: 1 }));
  seen('Circuit', await prover.circuits.get('range_check'));
  const job = seen('JobDocument', await prover.jobs.submit(circuit, { value: 42, min: 10, max: 100 }));
  for await (const event of prover.jobs.events(job.id)) seen('JobDocument', event.job);
  seen('JobPage', await prover.jobs.list({ limit: 1 }));
  const failing = await Proxy.start(server.url);
  const get = async (url, init) => await (await fetch(`${server.url}${url}`, {
    ...init, headers: { authorization: 'Bearer olga-key', accept: 'application/json', ...init?.headers },
  })).json();
  seen('ProblemDocument', await get('/v1/proofs/00000000-0000-4000-8000-000000000000'));
  seen('ProblemDocument', await get('/api/prove/range_check', {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"privateInputs":{"value":-1},"publicInputs":{"min":1,"max":2}}',
  }));
  seen('ProofAnswer', await get(`/v1/proofs/${job.id}/proof`));
  const answer = documents.at(-1)[1];
  seen('Verdict', await get('/v1/verify/range_check', {
    method: 'POST', headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ proof: answer.proof, publicInputs: answer.public_inputs }),
  }));
  const groth16 = await prover.circuits.build(CIRCOM);
  seen('ProofAnswer', await get(`/api/prove/${groth16.id}`, {
    method: 'POST', headers: { 'content-type': 'application/json' },
    body: '{"privateInputs":{"value":123},"publicInputs":{"context":7}}',
  }));
  await failing.stop();

  // A literal may not have a member that its type lacks, so the compiler finds missing and additional members.
  const folder = await mkdtemp(path.join(os.tmpdir(), 'edgeprove-types-'));
  try {
    const types = [...new Set(documents.map(([type]) => type))];
    const lines = documents.map(([type, document], i) => `export const d${i}: ${type} = ${JSON.stringify(document)};`);
    const index = path.join(paths.sdk, 'dist/index.js');
    await writeFile(path.join(folder, 'documents.ts'), `import type { ${types.join(', ')} } from ${JSON.stringify(index)};\n${lines.join('\n')}\n`);
    await writeFile(path.join(folder, 'package.json'), '{"type":"module"}');
    const compile = async () => await run(
      path.join(paths.sdk, 'node_modules/.bin/tsc'),
      ['--noEmit', '--strict', '--exactOptionalPropertyTypes', '--module', 'nodenext', '--target', 'esnext', '--skipLibCheck', 'documents.ts'],
      { cwd: folder },
    ).then(() => '', (error) => error.stdout);
    assert.equal(await compile(), '');
    assert.ok(types.length >= 11, types);
    // The comparison itself finds a member that no type has.
    await writeFile(path.join(folder, 'documents.ts'), `import type { Verdict } from ${JSON.stringify(index)};\nexport const d: Verdict = {"valid":true,"verifiedBy":"bb","other":1};\n`);
    assert.match(await compile(), /other/);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
