// Changes of many jobs: a question, then batches with progress, until nothing is left or the reader stops.

import { el, fill } from '../dom.js';
import { count } from '../format.js';
import { type Api, Refused, reason } from './api.js';

/** The answer to a batch. */
interface BatchResult {
  total?: number;
  changed: number;
  refused: Record<string, number>;
  next: string | null;
}

/** What is done. */
export interface Change {
  name: 'cancel' | 'retry';
  /** The jobs, in words. */
  which: string;
  /** Their number, where it is known. */
  total: number | undefined;
  /** The query of the API. */
  query: URLSearchParams;
}

const WORDS = {
  cancel: { title: 'Cancel jobs', ask: 'Cancel', done: 'cancelled', note: 'Queued jobs end at once, running ones when their worker stops. This cannot be undone.' },
  retry: { title: 'Retry failed jobs', ask: 'Queue again', done: 'queued again', note: 'Each job gets all its attempts again. Jobs whose witness was deleted are left out.' },
} as const;

/** Longest wait before a batch that was refused for now is sent again. */
const WAIT_MAX_MS = 10_000;
const TRIES = 5;

/** Asks, and changes the jobs. Resolves when the dialog is closed. */
export function changeJobs(root: HTMLElement, api: Api, change: Change, announce: (text: string) => void): Promise<void> {
  const words = WORDS[change.name];
  const number = change.total === undefined ? 'the' : count(change.total);
  const progress = el('progress', { max: 1, value: 0, 'aria-label': words.title, hidden: true });
  const state = el('p', { class: 'note', role: 'status' });
  const stopping = new AbortController();
  const begin = el('button', { type: 'button', class: change.name === 'cancel' ? 'primary danger' : 'primary' }, words.ask);
  const close = el('button', { type: 'button', class: 'quiet' }, 'Leave them');
  const dialog = el('dialog', { class: 'batch', 'aria-labelledby': 'batch-title', 'aria-describedby': 'batch-which' },
    el('h2', { id: 'batch-title' }, words.title),
    el('p', { id: 'batch-which' }, `${words.ask} ${number} jobs ${change.which}?`),
    el('p', { class: 'note' }, words.note), progress, state,
    el('div', { class: 'actions' }, close, begin));
  close.addEventListener('click', () => dialog.close());
  begin.addEventListener('click', () => {
    begin.hidden = true;
    progress.hidden = false;
    fill(close, 'Stop');
    run(api, change, stopping.signal, (done, total, refused) => {
      progress.max = Math.max(1, total);
      progress.value = done;
      const left = Object.entries(refused).map(([code, jobs]) => `${count(jobs)} ${code}`).join(', ');
      state.textContent = `${count(done)} of ${count(total)}${left === '' ? '' : `; not changed: ${left}`}`;
    }).then((changed) => {
      state.textContent = `${state.textContent}. ${count(changed)} ${words.done}.`;
      announce(`${count(changed)} jobs ${words.done}.`);
    }, (error: unknown) => {
      if (!stopping.signal.aborted) state.textContent = `${state.textContent}. ${reason(error)}`;
    }).finally(() => fill(close, 'Close'));
  });
  root.append(dialog);
  dialog.showModal();
  close.focus();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => {
      stopping.abort();
      dialog.remove();
      resolve();
    });
  });
}

async function run(
  api: Api,
  change: Change,
  signal: AbortSignal,
  report: (done: number, total: number, refused: Record<string, number>) => void,
): Promise<number> {
  let path: string | null = `/v1/board/${change.name}?${change.query}`;
  const container = change.query.get('container');
  let [done, changed, total] = [0, 0, change.total ?? 0];
  const refused: Record<string, number> = {};
  while (path !== null) {
    // A server behind an edge does not know its number, so the path of the next batch lacks it.
    const asked: string = container !== null && !path.includes('container=') ? `${path}&container=${container}` : path;
    const batch: BatchResult = await again(() => api.json<BatchResult>(asked, signal, 'POST'), signal);
    total = batch.total ?? total;
    changed += batch.changed;
    done += batch.changed;
    for (const [code, jobs] of Object.entries(batch.refused)) {
      refused[code] = (refused[code] ?? 0) + jobs;
      done += jobs;
    }
    report(done, Math.max(total, done), refused);
    path = batch.next;
  }
  report(done, done, refused);
  return changed;
}

/** Sends a request again that was refused for now. */
async function again<T>(send: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await send();
    } catch (error) {
      const wait = error instanceof Refused ? error.retryAfterMs : undefined;
      if (wait === undefined || attempt === TRIES || signal.aborted) throw error;
      await new Promise((resolve) => setTimeout(resolve, Math.min(wait, WAIT_MAX_MS)));
      if (signal.aborted) throw error;
    }
  }
}
