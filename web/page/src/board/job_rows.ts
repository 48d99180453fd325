// The rows of the list of jobs. A row that is shown again keeps its element, so that focus and open details stay.

import type { JobDocument } from '@edgeprove/client';

import { el, fill, uniqueId } from '../dom.js';
import { duration } from '../format.js';
import { stateTag } from './panels.js';
import { age, clock, span } from './time.js';
import { strip, waterfall } from './waterfall.js';

/** The columns: name, and a class by which narrow screens leave it out. */
export const COLUMNS: readonly [string, string][] = [
  ['Job', ''], ['State', ''], ['Circuit', ''], ['Owner', 'wide'], ['Priority', 'wide'], ['Accepted', ''], ['Waited', 'wide'],
  ['Stages', 'middle'], ['Actions', 'end'],
];

/** What a row can do. */
export interface Actions {
  /** Whether the caller may cancel it. */
  mayCancel(job: JobDocument): boolean;
  /** Whether the caller may queue failed jobs again. */
  mayRetry(): boolean;
  /** Whether owners are shown. */
  showsOwner(): boolean;
  cancel(job: JobDocument): void;
  retry(job: JobDocument): void;
}

/** The beginning of an id: the number of its container, where it has one, and eight digits. */
function shortId(id: string): string {
  return /^(?:c\d+-)?.{8}/.exec(id)?.[0] ?? id;
}

/** How long the job waited, or has waited. */
function waited(job: JobDocument): string {
  const isWaiting = job.status === 'queued';
  const end = isWaiting ? Date.now() : Date.parse(job.started_at ?? job.finished_at ?? job.created_at);
  const ms = Math.max(0, end - Date.parse(job.created_at));
  return ms < 10_000 && !isWaiting ? duration(ms) : span(ms);
}

/** The rows of one job: the job, and its details when they are open. */
export class JobRow {
  readonly element = el('tr', { class: 'job' });
  readonly details = el('tr', { class: 'details', hidden: true });
  readonly #cell = el('td', { colspan: COLUMNS.length });
  readonly #toggle: HTMLButtonElement;
  readonly #cells: HTMLElement[];
  readonly #cancel: HTMLButtonElement;
  readonly #retry: HTMLButtonElement;
  readonly #actions: Actions;
  #shown = '';
  job: JobDocument;

  constructor(job: JobDocument, actions: Actions) {
    this.job = job;
    this.#actions = actions;
    const id = uniqueId('job');
    this.details.id = id;
    this.details.append(this.#cell);
    this.#toggle = el('button', { type: 'button', class: 'link mono', 'aria-expanded': 'false', 'aria-controls': id, title: job.id,
      onclick: () => this.open(!this.isOpen) }, shortId(job.id));
    this.#cancel = el('button', { type: 'button', class: 'small danger', 'aria-label': `Cancel job ${job.id}`,
      onclick: () => actions.cancel(this.job) }, 'Cancel');
    this.#retry = el('button', { type: 'button', class: 'small', 'aria-label': `Retry job ${job.id}`,
      onclick: () => actions.retry(this.job) }, 'Retry');
    this.#cells = COLUMNS.map(([, name]) => el('td', { class: name }));
    this.element.append(...this.#cells);
    this.#cells[0]?.append(this.#toggle);
    this.#cells.at(-1)?.append(this.#cancel, this.#retry);
    this.show(job);
  }

  /** Whether the details are open. */
  get isOpen(): boolean {
    return this.details.hidden === false;
  }

  open(isOpen: boolean): void {
    this.details.hidden = !isOpen;
    this.#toggle.setAttribute('aria-expanded', String(isOpen));
    if (isOpen) this.#fillDetails();
  }

  /** Shows the job as it is now. */
  show(job: JobDocument): void {
    this.job = job;
    const text = JSON.stringify(job);
    this.tick();
    if (text === this.#shown) return;
    this.#shown = text;
    const [, state, circuit, owner, priority, , , stages] = this.#cells;
    if (state) fill(state, stateTag(job.status), job.status === 'running' && el('span', { class: 'note' }, ` ${job.progress} %`),
      job.error !== null && job.status === 'failed' && el('span', { class: 'note code' }, job.error.code));
    if (circuit) fill(circuit, job.kind === 'prove' ? job.circuit : `${job.kind}: ${job.circuit}`);
    if (owner) fill(owner, (job.owner ?? '–').replace('key:', ''));
    if (priority) fill(priority, job.priority);
    if (stages) fill(stages, strip(job));
    this.#cancel.hidden = !(['queued', 'running'].includes(job.status) && this.#actions.mayCancel(job));
    this.#retry.hidden = !(job.status === 'failed' && job.retry_until !== undefined && this.#actions.mayRetry());
    if (this.isOpen) this.#fillDetails();
  }

  /** Renews what depends on the time. */
  tick(): void {
    const [, , , , , accepted, wait] = this.#cells;
    const ago = `${age(this.job.created_at)} ago`;
    if (accepted && accepted.textContent !== ago) {
      fill(accepted, el('time', { datetime: this.job.created_at, title: this.job.created_at }, ago));
    }
    const waiting = waited(this.job);
    if (wait && wait.textContent !== waiting) wait.textContent = waiting;
  }

  #fillDetails(): void {
    const { job } = this;
    const facts: [string, string | null | undefined][] = [
      ['Id', job.id],
      ['Owner', job.owner],
      ['Priority', job.priority],
      ['Target', job.target],
      ['Attempts', `${job.attempts} of ${job.max_attempts}`],
      ['Accepted', clock(job.created_at)],
      ['Last start', job.started_at === null ? null : clock(job.started_at)],
      ['Finished', job.finished_at === null ? null : clock(job.finished_at)],
      ['Proved instead', job.fallback_circuit],
      ['Queue position', job.queue_position === null ? null : String(job.queue_position)],
      ['Remaining', job.estimated_remaining_ms === null ? null : duration(job.estimated_remaining_ms)],
      ['Can be retried until', job.retry_until === undefined ? null : clock(job.retry_until)],
    ];
    fill(this.#cell,
      job.error !== null && el('div', { class: 'problem' }, el('div', {}, el('b', {}, job.error.code), ` ${job.error.detail}`)),
      el('div', { class: 'detail-columns' },
        waterfall(job),
        el('dl', { class: 'facts' }, facts.filter(([, value]) => value !== null && value !== undefined)
          .map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, value ?? ''))))));
  }
}
