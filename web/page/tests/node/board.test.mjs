// The parts of the board that need no browser.

import assert from 'node:assert/strict';
import test from 'node:test';

import { load } from '../support/module.mjs';

const { apiQuery, describe, readFilter, writeFilter } = await load('src/board/filters.ts');
const { Live } = await load('src/board/live.ts');
const { mergedJobs } = await load('src/board/merge.ts');

test('a filter survives the URL, and what means nothing is left out', () => {
  const text = 'status=queued%2Crunning&circuit=range_check&id=7c2d&owner=key%3Abob&kind=build&age=last-1h&problem=proof_timeout&priority=HIGH&order=oldest';
  const filter = readFilter(new URLSearchParams(text));
  assert.equal(writeFilter(filter).toString(), text);
  const hostile = 'status=lost&circuit=%3Cb%3E&id=%25&owner=all%26x&kind=none&age=ever&problem=A+B&priority=URGENT&order=latest&other=1';
  assert.deepEqual(readFilter(new URLSearchParams(hostile)), {});
});

test('the query of the API follows from what the caller may see', () => {
  const query = (filter, seesAll, container) => apiQuery(filter, seesAll, container).toString();
  assert.equal(query({}, true), 'owner=all');
  assert.equal(query({ owner: 'mine' }, true), '');
  assert.equal(query({ owner: 'key:bob', kind: 'all', age: 'over-10m' }, true, 3), 'min_age=600&owner=key%3Abob&kind=all&container=3');
  assert.equal(query({ owner: 'key:bob', kind: 'all', status: 'failed' }, false), 'status=failed', 'a caller sees its own');
  assert.equal(describe({ status: 'queued,running', owner: 'key:bob' }, true), 'queued or running, of bob');
});

const board = (container, queued, since) => ({
  server: { container },
  jobs: {
    kinds: { prove: { queued } }, statuses: { queued, running: 1 }, queued: { NORMAL: queued }, running: { NORMAL: 1 },
    oldest_queued_since: { NORMAL: since },
  },
});

test('jobs of containers are added, those of a shared database are not', () => {
  const [early, late] = ['2026-11-30T10:00:00.000Z', '2026-11-30T11:00:00.000Z'];
  const apart = mergedJobs([board(0, 3, late), board(1, 4, early)]);
  assert.deepEqual([apart.statuses, apart.kinds], [{ queued: 7, running: 2 }, { prove: { queued: 7 } }]);
  assert.equal(apart.oldest_queued_since.NORMAL, early);
  assert.equal(mergedJobs([board(null, 3, late), board(null, 3, late)]).statuses.queued, 3);
  assert.equal(mergedJobs([{}]), undefined);
  assert.equal(mergedJobs([{ server: { container: null }, jobs: null }]), null);
});

test('a stream that is silent is opened again, and one that was stopped is not', async (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] });
  const settled = () => new Promise((resolve) => { setImmediate(resolve); });
  const states = [];
  let opened = 0;
  const api = {
    stream: (path, signal) => {
      opened += 1;
      return new Promise((_, reject) => { signal.addEventListener('abort', () => reject(signal.reason)); });
    },
  };
  const live = new Live(api, undefined, () => {}, ({ name }) => states.push(name));
  live.start();
  context.mock.timers.tick(60_000);
  await settled();
  assert.deepEqual(states, ['connecting', 'lost']);
  context.mock.timers.tick(60_000);
  assert.equal(opened, 2);
  live.stop();
  await settled();
  context.mock.timers.tick(600_000);
  await settled();
  assert.equal(opened, 2);
  assert.deepEqual(states, ['connecting', 'lost', 'connecting', 'paused']);
});
