// One place where a proof is made, with its stages and their times while it runs.

import type { ProofProgress, ProofResult } from '@edgeprove/client';
import { EdgeproveError } from '@edgeprove/client';

import { el, fill } from '../dom.js';
import { duration } from '../format.js';

/** Stages in words. */
const STAGES: Record<string, string> = {
  start: 'Start',
  witness: 'Witness',
  upload: 'Upload',
  queued: 'Queue',
  loading: 'Load',
  proving: 'Prove',
  verifying: 'Verify',
  job: 'Job and transfer',
  rest: 'Rest',
};

/** How often running times are drawn where nothing moves, in milliseconds. */
const TICK_MS = 100;

interface Stage {
  name: string;
  ms: number;
}

/** A lane. */
export class Lane {
  readonly element: HTMLElement;
  readonly #time = el('output', { class: 'time' }, '—');
  readonly #bar = el('div', { class: 'stages', 'aria-hidden': 'true' });
  readonly #list = el('ul', { class: 'legend' });
  readonly #note = el('p', { class: 'note' });
  #stages: { name: string; began: number }[] = [];
  #started = 0;
  #timer: ReturnType<typeof setInterval> | undefined;
  /** Duration of the last proof, in milliseconds. */
  totalMs: number | undefined;

  constructor(title: string, subtitle: string) {
    this.element = el('section', { class: 'lane', 'aria-label': title },
      el('header', {}, el('div', {}, el('h3', {}, title), el('p', { class: 'note' }, subtitle)), this.#time),
      this.#bar, this.#list, this.#note);
    this.reset('');
  }

  /** Shows that nothing was proved here, and why. */
  reset(note: string): void {
    this.#stop('idle');
    this.#time.textContent = '—';
    this.totalMs = undefined;
    fill(this.#bar);
    this.#bar.style.width = '';
    fill(this.#list);
    this.#note.textContent = note;
  }

  /** A proof begins. */
  start(): void {
    this.reset('');
    this.#started = performance.now();
    this.#stages = [{ name: 'start', began: this.#started }];
    this.element.dataset['state'] = 'running';
    this.#timer = setInterval(() => this.#drawRunning(), TICK_MS);
    this.#drawRunning();
  }

  /** A step of the proof. */
  progress(step: ProofProgress): void {
    const name = step.stage;
    if (name === 'done') return;
    if (this.#stages.at(-1)?.name !== name) this.#stages.push({ name, began: performance.now() });
    const position = step.queuePosition === null ? '' : `Position ${step.queuePosition} in the queue. `;
    const left = step.remainingMs === null ? '' : `About ${duration(step.remainingMs)} left.`;
    this.#note.textContent = `${position}${left}`;
    this.#drawRunning();
  }

  /** The proof was made. */
  done(result: ProofResult): void {
    const { totalMs, witnessMs, proveMs, server } = result.timings;
    const stages: Stage[] = [{ name: 'witness', ms: witnessMs ?? 0 }];
    if (server) {
      stages.push({ name: 'upload', ms: server.uploadMs }, { name: 'queued', ms: server.queueMs },
        { name: 'proving', ms: server.proveMs }, { name: 'verifying', ms: server.verifyMs });
    } else {
      stages.push({ name: 'proving', ms: proveMs ?? 0 });
    }
    const known = stages.reduce((sum, stage) => sum + stage.ms, 0);
    stages.push({ name: server ? 'job' : 'rest', ms: Math.max(0, totalMs - known) });
    this.#stop('done');
    this.totalMs = totalMs;
    this.#time.textContent = duration(totalMs);
    this.#draw(stages.filter((stage) => stage.ms >= 0.05), totalMs);
    this.#note.textContent = [
      result.cached ? 'From the cache of proofs.' : '',
      result.fallbackFrom === undefined ? '' : `The server proved the smaller circuit ${result.circuit} instead.`,
    ].filter(Boolean).join(' ');
  }

  /** Draws the stages on the scale of a duration, so that two lanes can be compared. */
  scale(longestMs: number): void {
    this.#bar.style.width = `${Math.max(2, (100 * (this.totalMs ?? longestMs)) / longestMs)}%`;
  }

  /** It failed. */
  failed(error: unknown): void {
    this.#stop(error instanceof EdgeproveError && error.code === 'aborted' ? 'idle' : 'failed');
    this.#time.textContent = '—';
    this.totalMs = undefined;
    fill(this.#list);
    fill(this.#bar);
    if (!(error instanceof EdgeproveError)) {
      this.#note.textContent = 'The page failed. Load it again.';
      throw error;
    }
    if (error.code === 'aborted') {
      this.#note.textContent = 'Cancelled.';
      return;
    }
    const request = error.requestId === undefined ? '' : ` Request ${error.requestId}.`;
    fill(this.#note, el('code', {}, error.code), ` ${sentence(error.detail)}${request}`);
  }

  #stop(state: 'idle' | 'done' | 'failed'): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.element.dataset['state'] = state;
  }

  #drawRunning(): void {
    if (this.#timer === undefined) return;
    const now = performance.now();
    const stages = this.#stages.map(({ name, began }, index) => ({ name, ms: (this.#stages[index + 1]?.began ?? now) - began }));
    this.#time.textContent = duration(now - this.#started);
    // The page's own start is no stage of a proof, unless nothing else is known.
    this.#draw(stages.length > 1 ? stages.filter((stage) => stage.name !== 'start' || stage.ms > 50) : stages, now - this.#started);
  }

  #draw(stages: readonly Stage[], totalMs: number): void {
    fill(this.#bar, stages.map(({ name, ms }) => {
      const part = el('i', { 'data-stage': name });
      part.style.flexGrow = String(Math.max(ms / Math.max(totalMs, 1), 0.004));
      return part;
    }));
    fill(this.#list, stages.map(({ name, ms }) =>
      el('li', { 'data-stage': name }, el('span', {}, STAGES[name] ?? name), el('b', {}, duration(ms)))));
  }
}

/** A text of the server as a sentence. */
export function sentence(text: string): string {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}
