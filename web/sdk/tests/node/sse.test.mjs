// Server-sent events as the HTML standard defines them, in any pieces.

import assert from 'node:assert/strict';
import test from 'node:test';

import { serverEvents } from '../../dist/sse.js';

const streamOf = (pieces) => new ReadableStream({
  start(controller) {
    for (const piece of pieces) controller.enqueue(piece);
    controller.close();
  },
});

async function events(text, pieceBytes) {
  const bytes = new TextEncoder().encode(text);
  const pieces = [];
  for (let at = 0; at < bytes.length; at += pieceBytes) pieces.push(bytes.subarray(at, at + pieceBytes));
  const found = [];
  for await (const event of serverEvents(streamOf(pieces), 10_000)) found.push(event);
  return found;
}

test('events are the same in pieces of every size', async () => {
  const text = ': keep-alive\n\nid: 1.0\nevent: progress\ndata: {"a":\ndata: "ä"}\n\nid: 1.1\r\nevent: done\r\ndata:x\r\n\r\ndata: without name\r\r: end';
  const expected = [
    { id: '1.0', name: 'progress', data: '{"a":\n"ä"}' },
    { id: '1.1', name: 'done', data: 'x' },
    { id: '1.1', name: 'message', data: 'without name' },
  ];
  for (const size of [1, 2, 3, 7, 1000]) assert.deepEqual(await events(text, size), expected, `pieces of ${size}`);
});

test('an event that is cut off is no event', async () => {
  assert.deepEqual(await events('id: 1\ndata: whole\n\nid: 2\ndata: cut', 5), [{ id: '1', name: 'message', data: 'whole' }]);
});

test('an event has a bound, keep-alives have none', async () => {
  await assert.rejects(events(`data: ${'x'.repeat(2 << 20)}\n\n`, 1 << 16), { code: 'answer_too_large' });
  await assert.rejects(events('data: x\n'.repeat(1 << 18), 1 << 16), { code: 'answer_too_large' });
  const quiet = `${': keep-alive\n\n'.repeat(200_000)}data: x\n\n`;
  assert.equal((await events(quiet, 1 << 16)).length, 1);
});

test('a silent stream is lost, and its transfer ends', async () => {
  let isCancelled = false;
  const stream = new ReadableStream({ cancel: () => void (isCancelled = true) });
  await assert.rejects(serverEvents(stream, 20).next(), { code: 'unreachable', retryable: true });
  assert.ok(isCancelled);
});

test('a reader that stops early ends the transfer', async () => {
  let isCancelled = false;
  const stream = new ReadableStream({
    start: (controller) => controller.enqueue(new TextEncoder().encode('data: 1\n\n')),
    cancel: () => void (isCancelled = true),
  });
  for await (const event of serverEvents(stream, 10_000)) {
    assert.equal(event.data, '1');
    break;
  }
  assert.ok(isCancelled);
});
