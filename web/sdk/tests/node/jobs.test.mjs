// Jobs of the real server: submitted, followed, listed and cancelled; and streams and servers that fail meanwhile.

import assert from 'node:assert/strict';
import test, { after, before, beforeEach } from 'node:test';

import { createProver } from '../../dist/index.js';
import { keysFile } from '../support/keys.mjs';
import { assertAttempts, problem, Proxy } from '../support/proxy.mjs';
import { program, Server } from '../support/server.mjs';
import { eventually } from '../support/wait.mjs';

const INPUTS = { value: 42, min: 10, max: 100 };
let server;
let proxy;
let circuit;
let direct;
before(async () => {
  server = await Server.start({ keys: await keysFile({ alice: 'priority', bob: 'user' }), flags: ['--job-workers', '1', '--proof-cache', '0'] });
  proxy = await Proxy.start(server.url);
  circuit = { id: 'range_check', program: await program() };
  direct = createProver({ url: server.url, apiKey: 'alice-key', mode: 'remote' });
});
after(async () => {
  await proxy.stop();
  await server.stop();
});
beforeEach(() => {
  proxy.requests = [];
  proxy.intercept = () => false;
  proxy.onPiece = () => true;
});

const alice = (options = {}) =>
  createProver({ url: proxy.url, apiKey: 'alice-key', mode: 'remote', retry: { maxDelayMs: 100 }, ...options });

test('a job is submitted, followed, read and its proof fetched', async () => {
  const prover = alice();
  const job = await prover.jobs.submit(circuit, INPUTS, { priority: 'HIGH', target: 'evm', deadline: 100_000 });
  assert.equal(job.priority, 'HIGH');
  const steps = [];
  const done = await prover.jobs.follow(job.id, { onProgress: (step) => steps.push(step) });
  assert.equal(done.status, 'completed');
  assert.equal(steps.at(-1).percent, 100);
  assert.ok(steps.every((step) => step.jobId === job.id && step.provedBy === 'server'));
  const { receipt, ...read } = await prover.jobs.get(job.id);
  // Events and lists have no receipt.
  assert.deepEqual([typeof receipt, done.receipt], ['string', undefined]);
  assert.deepEqual({ ...read, links: 0 }, { ...done, links: 0 });
  const result = await prover.jobs.proof(job.id);
  assert.equal(result.jobId, job.id);
  assert.ok(await prover.verify(result));
  const calldata = await prover.jobs.calldata(job.id);
  assert.equal(calldata.function, 'verify(bytes,bytes32[])');
  assert.ok(calldata.calldata.includes(Buffer.from(result.proof).toString('hex')));
  assert.equal(result.calldata, calldata.calldata);
});

test('jobs are listed page by page, by their own key only', async () => {
  const prover = alice();
  for (let i = 0; i < 3; i++) await prover.jobs.follow((await prover.jobs.submit(circuit, INPUTS)).id);
  const first = await prover.jobs.list({ limit: 2, status: 'completed', circuit: 'range_check' });
  assert.equal(first.jobs.length, 2);
  const second = await prover.jobs.list({ next: first.next });
  assert.ok(second.jobs.length > 0 && second.jobs.every((job) => !first.jobs.some((other) => other.id === job.id)));
  const bob = alice({ apiKey: 'bob-key' });
  assert.deepEqual((await bob.jobs.list()).jobs, []);
  await assert.rejects(bob.jobs.get(first.jobs[0].id), { code: 'job_not_found', status: 404 });
  await assert.rejects(alice({ apiKey: 'wrong' }).jobs.list(), { code: 'api_key_required', status: 401 });
  await assert.rejects(createProver({ url: proxy.url, mode: 'auto' }).prove(circuit, INPUTS), { code: 'api_key_required' });
});

test('a page without a key follows a job by its link', async () => {
  const job = await alice().jobs.submit(circuit, INPUTS);
  assert.match(job.links.events, /\?token=/);
  const page = createProver({ url: proxy.url, mode: 'remote' });
  assert.equal((await page.jobs.follow(job.links.events)).status, 'completed');
  await assert.rejects(page.jobs.follow(job.id), { code: 'api_key_required' });
});

test('a job is cancelled, and one that has finished is not', async () => {
  const prover = alice();
  await server.pauseProvers();
  const job = await prover.jobs.submit(circuit, INPUTS);
  const cancelled = await prover.jobs.cancel(job.id);
  assert.ok(['running', 'cancelled'].includes(cancelled.status), cancelled.status);
  assert.equal((await prover.jobs.follow(job.id)).status, 'cancelled');
  await assert.rejects(prover.jobs.proof(job.id), { code: 'job_cancelled', status: 410 });
  server.resumeProvers();
  const finished = await prover.jobs.follow((await prover.jobs.submit(circuit, INPUTS)).id);
  await assert.rejects(prover.jobs.cancel(finished.id), { code: 'job_already_finished', status: 409 });
});

test('events continue where a lost stream ended', async () => {
  let cuts = 0;
  proxy.onPiece = (request) => {
    // Each of the first streams is cut after one event.
    if (!request.url.includes('/events') || cuts >= 3) return true;
    request.pieces = (request.pieces ?? 0) + 1;
    if (request.pieces === 1) return true;
    cuts += 1;
    return false;
  };
  const prover = alice({ retry: { attempts: 5, maxDelayMs: 20 } });
  const job = await prover.jobs.submit(circuit, INPUTS);
  const events = [];
  for await (const event of prover.jobs.events(job.id)) events.push(event);
  assert.ok(events.at(-1).isLast);
  assert.equal(new Set(events.map((event) => event.id)).size, events.length, 'an event came twice');
  const streams = proxy.with('/events');
  assert.ok(streams.length > 1, 'no stream was cut');
  // A connection may break before the event on it is read.
  const continued = streams.findIndex((line) => line.includes('last_event_id='));
  assert.ok(continued > 0 && streams.slice(continued).every((line) => line.includes('last_event_id=')), streams.join('\n'));
  // Whoever has seen the last event gets the job, and no stream.
  const again = [];
  for await (const event of prover.jobs.events(job.id, { lastEventId: events.at(-1).id })) again.push(event);
  assert.equal(again.length, 1);
  assert.ok(again[0].isLast && again[0].job.status === 'completed');
});

test('a stream that is refused for a while is asked for again', async () => {
  let refusals = 2;
  proxy.intercept = (request, response) => {
    if (!request.url.includes('/events') || refusals === 0) return false;
    refusals -= 1;
    return problem(response, 503, 'too_many_watchers', { 'retry-after': '0' });
  };
  const result = await alice().prove(circuit, INPUTS);
  assert.equal(result.provedBy, 'server');
  assert.equal(refusals, 0);
});

test('a stream that is always lost ends the call, and the job', async () => {
  proxy.intercept = (request, response) => request.url.includes('/events') && Boolean(response.destroy());
  const seen = [];
  await assert.rejects(
    alice({ retry: { attempts: 3, maxDelayMs: 10 } }).prove(circuit, INPUTS, { onProgress: (step) => seen.push(step) }),
    { code: 'unreachable' },
  );
  assertAttempts(3, proxy.with('/events'));
  await eventually('the job is cancelled', () => proxy.with('DELETE').length === 1);
});

test('what is no stream of events is a bad answer', async () => {
  proxy.intercept = (request, response) => {
    if (!request.url.includes('/events')) return false;
    response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html>');
    return true;
  };
  await assert.rejects(alice().prove(circuit, INPUTS), { code: 'bad_answer' });
  proxy.intercept = (request, response) => {
    if (!request.url.includes('/events')) return false;
    response.writeHead(200, { 'content-type': 'text/event-stream' }).end('event: done\ndata: no job\n\n');
    return true;
  };
  await assert.rejects(alice().prove(circuit, INPUTS), { code: 'bad_answer' });
});

/** The job of an idempotency key, when it has finished: the same request with the same key is the same job. */
async function finishedJob(idempotencyKey) {
  const { id } = await direct.jobs.submit(circuit, INPUTS, { idempotencyKey });
  return await direct.jobs.follow(id);
}

for (const stage of ['queued', 'proving']) {
  test(`an abort cancels the job at the server, when it is ${stage}`, async () => {
    await server.pauseProvers();
    const controller = new AbortController();
    const idempotencyKey = crypto.randomUUID();
    const proving = alice().prove(circuit, INPUTS, {
      signal: controller.signal, idempotencyKey,
      onProgress: (step) => step.jobId && (stage === 'queued' || step.stage === stage) && controller.abort(),
    });
    await assert.rejects(proving, { code: 'aborted' });
    assert.equal((await finishedJob(idempotencyKey)).status, 'cancelled');
    server.resumeProvers();
  });
}

test('an abort during the submission cancels the job that it made', async () => {
  await server.pauseProvers();
  const controller = new AbortController();
  const idempotencyKey = crypto.randomUUID();
  proxy.intercept = (request) => {
    if (request.method === 'POST') controller.abort();
    return false;
  };
  await assert.rejects(alice().prove(circuit, INPUTS, { signal: controller.signal, idempotencyKey }), { code: 'aborted' });
  assert.equal((await finishedJob(idempotencyKey)).status, 'cancelled');
  server.resumeProvers();
});

test('an error in onProgress ends the call and cancels the job', async () => {
  await server.pauseProvers();
  const idempotencyKey = crypto.randomUUID();
  const proving = alice().prove(circuit, INPUTS, {
    idempotencyKey,
    onProgress: (step) => {
      if (step.jobId) throw new RangeError('the bar broke');
    },
  });
  await assert.rejects(proving, RangeError);
  assert.equal((await finishedJob(idempotencyKey)).status, 'cancelled');
  server.resumeProvers();
});

test('a proof that takes longer than the caller allows is cancelled', async () => {
  // The caller never sees an event.
  proxy.intercept = (request) => request.url.includes('/events');
  await assert.rejects(alice({ timeout: 5000 }).prove(circuit, INPUTS), { code: 'timeout', retryable: true });
  await eventually('the job is cancelled', () => proxy.with('DELETE').length === 1);
});

test('the same key with another request is refused', async () => {
  const key = crypto.randomUUID();
  await alice().jobs.submit(circuit, INPUTS, { idempotencyKey: key });
  const same = await alice().jobs.submit(circuit, INPUTS, { idempotencyKey: key });
  assert.equal(same.id, (await alice().jobs.submit(circuit, INPUTS, { idempotencyKey: key })).id);
  await assert.rejects(alice().jobs.submit(circuit, { ...INPUTS, value: 50 }, { idempotencyKey: key }), { code: 'idempotency_key_reused' });
  proxy.requests = [];
  for (const idempotencyKey of ['', 'a, b', 'a\nb', 'ä', 'k'.repeat(256)]) {
    await assert.rejects(alice().jobs.submit(circuit, INPUTS, { idempotencyKey }), { code: 'invalid_option' }, idempotencyKey);
  }
  assert.deepEqual(proxy.requests, []);
});

test('a lost answer to the submission makes no second job', async () => {
  let losses = 0;
  proxy.onPiece = (request) => !(request.method === 'POST' && losses++ < 1);
  const before = (await direct.jobs.list({ limit: 100 })).jobs.length;
  const result = await alice().prove(circuit, INPUTS);
  assert.equal(proxy.with('POST').length, 2);
  assert.equal((await direct.jobs.list({ limit: 100 })).jobs.length, before + 1);
  assert.ok(await alice().verify(result));
});

test('a call after a reload follows the job that runs, without a witness', async () => {
  const storage = new Map();
  const ids = {
    getItem: (name) => storage.get(name) ?? null, setItem: (name, value) => void storage.set(name, value), removeItem: (name) => void storage.delete(name),
  };
  // The first page goes away while it follows the job: its connection hangs, and nothing of it runs any more.
  proxy.intercept = (request) => request.url.includes('/events');
  const gone = alice({ storage: ids, timeout: 600_000 });
  const first = gone.prove(circuit, INPUTS, { idempotencyKey: 'order-7' });
  first.catch(() => {});
  await eventually('the job is stored', () => storage.size === 1);
  const stored = JSON.stringify([...storage]);
  assert.ok(!/42|witness|alice-key/.test(stored.replace(/[0-9a-f]{8}-[0-9a-f-]{27}/g, '').replace(/:\d+/g, '')), stored);

  proxy.intercept = () => false;
  proxy.requests = [];
  const result = await alice({ storage: ids }).prove(circuit, INPUTS, { idempotencyKey: 'order-7' });
  assert.ok(await alice().verify(result));
  assert.equal(proxy.with('POST').length, 0, 'the witness was sent again');
  assert.equal(storage.size, 0, 'the id is still stored');

  // An id of a job that is gone costs nothing, and one of another circuit is a mistake of the caller.
  storage.set(`edgeprove:${proxy.url}/:order-8`, '7c2d3f7e-0b7a-4c55-9d2f-5c1f3a0e9b11');
  assert.ok(await alice().verify(await alice({ storage: ids }).prove(circuit, INPUTS, { idempotencyKey: 'order-8' })));
  storage.set(`edgeprove:${proxy.url}/:order-9`, result.jobId);
  await assert.rejects(
    alice({ storage: ids }).prove({ ...circuit, id: 'other' }, INPUTS, { idempotencyKey: 'order-9' }), { code: 'idempotency_key_reused' });
});

test('a storage that fails costs the resumption only', async () => {
  const fail = () => {
    throw new Error('the storage is full');
  };
  const storage = { getItem: fail, setItem: fail, removeItem: fail };
  assert.equal((await alice({ storage }).prove(circuit, INPUTS, { idempotencyKey: crypto.randomUUID() })).provedBy, 'server');
});

test('a call goes on over a crash of the server', async () => {
  await server.pauseProvers();
  let crash;
  const prover = alice({ retry: { attempts: 100, maxDelayMs: 300 } });
  const result = await prover.prove(circuit, INPUTS, {
    onProgress: (step) => {
      if (step.jobId) crash ??= server.kill().then(() => server.restart());
    },
  });
  await crash;
  assert.ok(await prover.verify(result));
});

test('a server without jobs proves while its caller waits', async () => {
  const plain = await Server.start({ flags: ['--data', 'off'] });
  const front = await Proxy.start(plain.url);
  try {
    const prover = createProver({ url: front.url, mode: 'remote' });
    for (let i = 0; i < 2; i++) {
      const result = await prover.prove(circuit, INPUTS);
      assert.equal(result.jobId, undefined);
      assert.ok(await prover.verify(result));
    }
    assert.deepEqual(front.requests.slice(0, 3).concat(front.with('POST').slice(2)), [
      'GET /.well-known/edgeprove', 'POST /v1/proofs?circuit=range_check', 'POST /api/prove/range_check', 'POST /api/prove/range_check',
    ]);
    await assert.rejects(prover.jobs.submit(circuit, INPUTS), { code: 'jobs_disabled' });
  } finally {
    await front.stop();
    await plain.stop();
  }
});
