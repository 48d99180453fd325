// What a worker is asked for, and what happens when it does not load, fails or is not needed any more. Chromium's tests
// use a real one.

import assert from 'node:assert/strict';
import test from 'node:test';

import { WorkerEngine } from '../../dist/worker-engine.js';
import { program } from '../support/server.mjs';
import { eventually } from '../support/wait.mjs';

/** A worker whose answers the test gives. */
class FakeWorker {
  static all = [];
  requests = [];
  isEnded = false;
  onmessage;
  onerror;

  constructor(begin = 'ready') {
    FakeWorker.all.push(this);
    queueMicrotask(() => {
      if (begin === 'ready') this.onmessage({ data: { ready: true } });
      if (begin === 'error') this.onerror({ message: 'no such script' });
    });
  }

  postMessage(request) {
    this.requests.push(request);
  }

  terminate() {
    this.isEnded = true;
  }

  /** Answers a request. */
  async answer(message) {
    const request = await eventually('a request', () => this.requests.shift());
    this.onmessage({ data: { id: request.id, ...message } });
    return request;
  }
}

const engineWith = (make) => {
  FakeWorker.all = [];
  return new WorkerEngine(make);
};
const INPUTS = { value: 42, min: 10, max: 100 };

test('requests go to one worker, and proofs to workers of their own', async () => {
  const engine = engineWith(() => new FakeWorker());
  const [first, second, proof] = [engine.witness({}, {}), engine.verify({}), engine.prove({})];
  await eventually('the workers start', () => FakeWorker.all.length === 2);
  const [shared, own] = FakeWorker.all;
  assert.equal((await shared.answer({ value: 'w' })).operation, 'witness');
  assert.equal((await shared.answer({ value: true })).operation, 'verify');
  assert.equal((await own.answer({ value: 'p' })).operation, 'prove');
  assert.deepEqual(await Promise.all([first, second, proof]), ['w', true, 'p']);
  assert.deepEqual([shared.isEnded, own.isEnded], [false, true]);
  engine.close();
  assert.ok(shared.isEnded);
});

test('an error of a worker is one of the package again', async () => {
  const engine = engineWith(() => new FakeWorker());
  const call = engine.witness({}, {});
  const error = { code: 'invalid_inputs', detail: 'planted', retryable: false, field: 'value' };
  await eventually('the worker starts', () => FakeWorker.all.length === 1);
  await Promise.all([assert.rejects(call, { name: 'EdgeproveError', ...error }), FakeWorker.all[0].answer({ error })]);
});

test('an abort ends the worker that computes, but not the work of others', async () => {
  const engine = engineWith(() => new FakeWorker());
  const controller = new AbortController();
  const aborted = engine.witness({}, {}, controller.signal);
  const other = engine.verify({});
  const [worker] = await eventually('both are asked for', () => FakeWorker.all[0]?.requests.length === 2 && FakeWorker.all);
  controller.abort();
  await assert.rejects(aborted, { code: 'aborted' });
  assert.equal(worker.isEnded, false);
  worker.requests.shift();
  await worker.answer({ value: true });
  assert.equal(await other, true);

  const again = new AbortController();
  const alone = engine.witness({}, {}, again.signal);
  await eventually('it is asked for', () => worker.requests.length === 1);
  again.abort();
  await assert.rejects(alone, { code: 'aborted' });
  assert.ok(worker.isEnded);
  const next = engine.verify({});
  await eventually('another worker starts', () => FakeWorker.all.length === 2);
  await FakeWorker.all[1].answer({ value: false });
  assert.equal(await next, false);
});

test('a worker that fails fails its requests, and is replaced', async () => {
  const engine = engineWith(() => new FakeWorker());
  const call = engine.verify({});
  await eventually('it is asked for', () => FakeWorker.all[0]?.requests.length === 1);
  FakeWorker.all[0].onerror({ message: 'out of memory' });
  await assert.rejects(call, { code: 'local_failed' });
  const next = engine.verify({});
  await eventually('another worker starts', () => FakeWorker.all.length === 2);
  await FakeWorker.all[1].answer({ value: true });
  assert.equal(await next, true);
});

test('closing ends all requests', async () => {
  const engine = engineWith(() => new FakeWorker());
  const calls = [engine.verify({}), engine.prove({})];
  await eventually('both are asked for', () => FakeWorker.all.length === 2 && FakeWorker.all.every((worker) => worker.requests.length === 1));
  engine.close();
  for (const call of calls) await assert.rejects(call, { code: 'aborted' });
});

test('without a worker that works, this thread computes', async () => {
  const compiled = await program();
  const noPeer = { code: 'peer_missing', detail: 'x', retryable: false };
  for (const make of [
    false,
    () => new FakeWorker('error'),
    () => {
      throw new Error('workers are forbidden');
    },
  ]) {
    const engine = engineWith(make);
    for (let i = 0; i < 2; i++) assert.ok((await engine.witness(compiled, INPUTS)).length > 0);
    assert.ok(FakeWorker.all.length <= 1, 'a worker that does not load was started again');
  }
  // An import map does not apply to workers.
  const engine = engineWith(() => new FakeWorker());
  // Calls at the same time are all computed here, whichever of them finds that out.
  const calls = [engine.witness(compiled, INPUTS), engine.warm({ noir: true, bb: false }), engine.witness(compiled, INPUTS)];
  await eventually('it is asked for', () => FakeWorker.all[0]?.requests.length === 3);
  await FakeWorker.all[0].answer({ error: noPeer });
  const [first, , second] = await Promise.all(calls);
  assert.ok(first.length > 0 && second.length > 0);
  assert.ok(FakeWorker.all[0].isEnded);
});
