// The list of jobs: a page at a time, so that ten thousand jobs cost as much as fifty. It is read again when the live
// counts change, at most every few seconds.

import type { JobDocument, JobPage } from '@edgeprove/client';

import { el, fill } from '../dom.js';
import { count } from '../format.js';
import { type Api, Refused, reason } from './api.js';
import { type Actions, COLUMNS, JobRow } from './job_rows.js';

const PAGE = 50;
/** The shortest time between two reads. */
const REFRESH_MS = 3000;

/** The list. */
export class JobList {
  readonly element: HTMLElement;
  /** The number of jobs of the filter; `undefined` until it is known. */
  total: number | undefined;
  readonly #api: Api;
  readonly #actions: Actions;
  readonly #onTotal: () => void;
  readonly #body = el('tbody', {});
  readonly #caption = el('caption', { class: 'visually-hidden' }, 'Jobs');
  readonly #note = el('p', { class: 'note empty', role: 'status' });
  readonly #table: HTMLTableElement;
  readonly #position = el('span', { class: 'note' });
  readonly #newer: HTMLButtonElement;
  readonly #older: HTMLButtonElement;
  #rows = new Map<string, JobRow>();
  /** The paths of the pages up to the shown one. */
  #paths: string[] = [];
  #next: string | null = null;
  #first = '';
  #reading: AbortController | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #readAt = 0;

  constructor(api: Api, actions: Actions, onTotal: () => void) {
    this.#api = api;
    this.#actions = actions;
    this.#onTotal = onTotal;
    this.#table = el('table', { class: 'jobs' }, this.#caption,
      el('thead', {}, el('tr', {}, COLUMNS.map(([name, kind]) => el('th', { scope: 'col', class: kind },
        name === 'Actions' ? el('span', { class: 'visually-hidden' }, name) : name)))),
      this.#body);
    this.#newer = el('button', { type: 'button', class: 'small', onclick: () => this.#turn(-1) }, 'Previous page');
    this.#older = el('button', { type: 'button', class: 'small', onclick: () => this.#turn(1) }, 'Next page');
    this.element = el('div', { class: 'list' },
      el('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'List of jobs' }, this.#table), this.#note,
      el('nav', { class: 'row pages', 'aria-label': 'Pages of jobs' }, this.#position,
        el('div', { class: 'buttons' }, this.#newer, this.#older)));
    this.#showPosition();
  }

  /** The jobs that are shown. */
  get jobs(): JobDocument[] {
    return [...this.#rows.values()].map(({ job }) => job);
  }

  /** Shows the first page of another filter. */
  show(query: URLSearchParams): void {
    const own = new URLSearchParams(query);
    own.set('limit', String(PAGE));
    own.set('total', 'true');
    this.#first = `/v1/proofs?${own}`;
    this.#paths = [this.#first];
    this.total = undefined;
    this.#read();
  }

  /** Reads the page again soon. */
  refresh(isUrgent = false): void {
    if (this.#first === '' || (this.#timer !== undefined && !isUrgent)) return;
    clearTimeout(this.#timer);
    const wait = isUrgent ? 0 : Math.max(0, this.#readAt + REFRESH_MS - Date.now());
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#read();
    }, wait);
  }

  /** Renews ages. */
  tick(): void {
    for (const row of this.#rows.values()) row.tick();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#reading?.abort();
  }

  #turn(by: 1 | -1): void {
    if (by === 1 && this.#next !== null) this.#paths.push(this.#next);
    else if (by === -1 && this.#paths.length > 1) this.#paths.pop();
    else return;
    this.#read();
    this.#table.scrollIntoView({ block: 'nearest' });
  }

  #read(): void {
    const path = this.#paths.at(-1);
    if (path === undefined) return;
    this.#reading?.abort();
    const reading = new AbortController();
    this.#reading = reading;
    this.#readAt = Date.now();
    this.element.setAttribute('aria-busy', 'true');
    this.#api.json<JobPage>(path, reading.signal).then((page) => {
      this.#next = page.next;
      if (page.total !== undefined) this.total = page.total;
      this.#fill(page.jobs);
      this.#note.textContent = page.jobs.length === 0 ? 'No job fits this filter.' : '';
    }, (error: unknown) => {
      if (reading.signal.aborted) return;
      this.#next = null;
      if (error instanceof Refused) this.#fill([]);
      this.#note.textContent = reason(error);
    }).finally(() => {
      if (this.#reading !== reading) return;
      this.element.removeAttribute('aria-busy');
      this.#showPosition();
      this.#onTotal();
    });
  }

  #fill(jobs: readonly JobDocument[]): void {
    const rows = new Map<string, JobRow>();
    for (const job of jobs) {
      const row = this.#rows.get(job.id);
      row?.show(job);
      rows.set(job.id, row ?? new JobRow(job, this.#actions));
    }
    const isSame = rows.size === this.#rows.size && [...rows.keys()].every((id, index) => [...this.#rows.keys()][index] === id);
    this.#rows = rows;
    // Elements that move lose the focus, so they move only where the order changed.
    if (!isSame) {
      const focused = document.activeElement;
      fill(this.#body, [...rows.values()].flatMap((row) => [row.element, row.details]));
      if (focused instanceof HTMLElement && this.#body.contains(focused)) focused.focus({ preventScroll: true });
    }
    this.#table.classList.toggle('owners', this.#actions.showsOwner());
  }

  #showPosition(): void {
    const page = this.#paths.length;
    const begin = (page - 1) * PAGE;
    const shown = this.#rows.size;
    const of = this.total === undefined ? '' : ` of ${count(this.total)}`;
    this.#position.textContent = shown === 0 ? '' : `${count(begin + 1)} to ${count(begin + shown)}${of}`;
    this.#newer.disabled = page <= 1;
    this.#older.disabled = this.#next === null;
  }
}
