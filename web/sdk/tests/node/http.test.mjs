// Requests that a server answers badly, late or not at all. The server here is a fake: no real one fails so on demand.

import assert from 'node:assert/strict';
import test, { after, before, beforeEach } from 'node:test';

import { createProver } from '../../dist/index.js';
import { problem, Proxy } from '../support/proxy.mjs';
import { later } from '../support/wait.mjs';

let fake;
before(async () => {
  fake = await Proxy.start(undefined);
});
after(async () => await fake.stop());
beforeEach(() => {
  fake.requests = [];
  fake.headers = [];
});

const prover = (options = {}) => createProver({ url: fake.url, mode: 'remote', ...options });
const json = (response, value) => {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
  return true;
};

test('a retryable problem is repeated after the time that the server asks for', async () => {
  const times = [];
  fake.intercept = (request, response) => {
    times.push(performance.now());
    if (times.length < 3) return problem(response, 503, 'prover_busy', { 'retry-after': '1' });
    return json(response, { circuits: [] });
  };
  assert.deepEqual(await prover().circuits.list(), { circuits: [] });
  assert.equal(times.length, 3);
  // The clock of a timer may be a little early.
  for (const [i, time] of times.entries()) assert.ok(i === 0 || time - times[i - 1] > 950, `${time - times[i - 1]} ms`);
});

test('a problem that no retry cures is final at once', async () => {
  fake.intercept = (request, response) => problem(response, 503, 'jobs_disabled');
  await assert.rejects(prover().circuits.list(), { code: 'jobs_disabled', retryable: false, status: 503, requestId: 'planted-1' });
  assert.equal(fake.requests.length, 1);
});

test('attempts are bounded, and so is the wait that a server may ask for', async () => {
  fake.intercept = (request, response) => problem(response, 429, 'rate_limited', { 'retry-after': '0' });
  await assert.rejects(prover({ retry: { attempts: 2, maxDelayMs: 50 } }).circuits.list(), { code: 'rate_limited' });
  assert.equal(fake.requests.length, 2);
  fake.requests = [];
  fake.intercept = (request, response) => problem(response, 429, 'quota_exceeded', { 'retry-after': '40000' });
  await assert.rejects(prover().circuits.list(), { code: 'quota_exceeded', retryable: true, retryAfterMs: 40_000_000 });
  assert.equal(fake.requests.length, 1);
});

test('a code and members of a newer server are passed on', async () => {
  fake.intercept = (request, response) =>
    problem(response, 507, 'prover_on_fire', {}, { field: 'privateInputs.a', fallback_circuit: 'small', request_id: 'theirs' });
  await assert.rejects(prover().circuits.list(), {
    code: 'prover_on_fire', status: 507, field: 'privateInputs.a', fallbackCircuit: 'small', requestId: 'theirs',
    message: 'planted prover_on_fire', retryable: false,
  });
});

test('what no Edgeprove server sends is a bad answer', async () => {
  const answers = [
    [200, 'text/html', '<!doctype html>'], [200, 'application/json', '7'], [200, 'application/json', '{"a":'], [404, 'text/html', 'x'],
    [500, 'application/problem+json', 'null'], [302, 'text/plain', '', { location: 'http://127.0.0.1:9/' }], [200, 'application/json', ''],
    [500, 'application/problem+json', '{"title":"no code"}'],
  ];
  for (const [status, type, body, headers] of answers) {
    fake.intercept = (request, response) => {
      response.writeHead(status, { 'content-type': type, ...headers }).end(body);
      return true;
    };
    await assert.rejects(prover().circuits.list(), { code: 'bad_answer', status }, `${status} ${body}`);
  }
  assert.equal(fake.requests.length, answers.length, 'a bad answer was repeated');
});

test('a proxy that is overloaded is retried', async () => {
  fake.intercept = (request, response) => {
    if (fake.requests.length > 1) return json(response, { circuits: [] });
    response.writeHead(502, { 'content-type': 'text/html', 'retry-after': '0' }).end('bad gateway');
    return true;
  };
  await prover({ retry: { maxDelayMs: 20 } }).circuits.list();
  assert.equal(fake.requests.length, 2);
});

test('an answer has a bound, with and without its length', async () => {
  for (const withLength of [true, false]) {
    const closed = later();
    fake.intercept = (request, response) => {
      response.on('close', closed.settle);
      response.writeHead(200, { 'content-type': 'application/json', ...(withLength ? { 'content-length': String(64 << 20) } : {}) });
      const piece = Buffer.alloc(1 << 20, ' ');
      const more = () => {
        while (!response.destroyed && response.write(piece));
      };
      response.on('drain', more);
      more();
      return true;
    };
    await assert.rejects(prover().jobs.get('7c2d3f7e-0b7a-4c55-9d2f-5c1f3a0e9b11'), { code: 'answer_too_large' });
    await closed.value;
  }
});

test('a server that hangs is given up in time, before and within its answer', async () => {
  for (const begins of [false, true]) {
    const closed = later();
    fake.intercept = (request, response) => {
      response.on('close', closed.settle);
      if (begins) response.writeHead(200, { 'content-type': 'application/json' }).write('{"circuits":');
      return true;
    };
    await assert.rejects(prover({ timeout: 200 }).circuits.list(), { code: 'timeout', retryable: true });
    await closed.value;
  }
});

test('an abort ends a request and a wait', async () => {
  const controller = new AbortController();
  const closed = later();
  fake.intercept = (request, response) => {
    response.on('close', closed.settle);
    controller.abort(new Error('the user left'));
    return true;
  };
  await assert.rejects(prover().circuits.list({ signal: controller.signal }), (error) => {
    assert.equal(error.code, 'aborted');
    assert.equal(error.cause.message, 'the user left');
    return true;
  });
  await closed.value;

  const waiting = new AbortController();
  fake.intercept = (request, response) => {
    setTimeout(() => waiting.abort(), 0);
    return problem(response, 503, 'prover_busy', { 'retry-after': '20' });
  };
  await assert.rejects(prover().circuits.list({ signal: waiting.signal }), { code: 'aborted' });
  fake.requests = [];
  await assert.rejects(prover().circuits.list({ signal: AbortSignal.abort() }), { code: 'aborted' });
  assert.equal(fake.requests.length, 0);
});

test('no server at all is unreachable, after some attempts', async () => {
  const nowhere = createProver({ url: 'http://127.0.0.1:9', mode: 'remote', retry: { attempts: 3, maxDelayMs: 10 } });
  await assert.rejects(nowhere.circuits.list(), { code: 'unreachable', retryable: true });
});

test('the key goes to the server only, also where a path of an answer leads away', async () => {
  fake.intercept = (request, response) => json(response, { circuits: [] });
  const withKey = prover({ apiKey: 'secret-key' });
  await withKey.circuits.list();
  assert.equal(fake.headers[0].authorization, 'Bearer secret-key');
  for (const next of ['//evil.example/v1', 'http://evil.example/', '/\\evil.example', 'v1/circuits']) {
    await assert.rejects(withKey.circuits.list({ next }), { code: 'bad_answer' }, next);
  }
  assert.equal(fake.requests.length, 1);
});

test('requests can be sent in another way', async () => {
  const sent = [];
  const binding = async (url, init) => {
    sent.push(`${init.method} ${url}`);
    return Response.json({ circuits: [] });
  };
  await createProver({ url: 'https://prover.example', mode: 'remote', fetch: binding }).circuits.list({ limit: 5 });
  assert.deepEqual(sent, ['GET https://prover.example/v1/circuits?limit=5']);
});
