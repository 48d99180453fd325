// The end of the audit log, for operators.

import { el, fill } from '../dom.js';
import { shortened } from '../format.js';
import { type Api, Refused, reason } from './api.js';
import { clock } from './time.js';

const LAST = 30;
const EVERY_MS = 10_000;

interface Entry {
  time: string;
  action: string;
  actor: string;
  circuit?: string;
  job_id?: string;
  outcome?: string;
}

/** The panel. */
export class AuditTail {
  readonly element = el('section', { class: 'card panel audit', hidden: true });
  readonly #api: Api;
  #container: number | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #reading: AbortController | undefined;

  constructor(api: Api) {
    this.#api = api;
  }

  /** Reads the log from time to time. */
  start(container: number | undefined): void {
    this.#container = container;
    this.stop();
    this.#read();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#reading?.abort();
  }

  #read(): void {
    const reading = new AbortController();
    this.#reading = reading;
    const of = this.#container === undefined ? '' : `&container=${this.#container}`;
    this.#api.text(`/v1/audit?last=${LAST}${of}`, reading.signal).then((text) => {
      this.#show(text.split('\n').filter((line) => line !== '').map((line) => (JSON.parse(line) as { entry: Entry }).entry).reverse());
      return true;
    }, (error: unknown) => {
      if (reading.signal.aborted) return false;
      // A server without a log has none later either.
      this.element.hidden = error instanceof Refused;
      if (!(error instanceof Refused)) fill(this.element, el('h2', {}, 'Audit log'), el('p', { class: 'note' }, reason(error)));
      return !(error instanceof Refused);
    }).then((goesOn) => {
      if (goesOn && !reading.signal.aborted) this.#timer = setTimeout(() => this.#read(), EVERY_MS);
    });
  }

  #show(entries: readonly Entry[]): void {
    this.element.hidden = false;
    const row = (entry: Entry): HTMLElement => el('tr', {},
      el('td', {}, el('time', { datetime: entry.time, title: entry.time }, clock(entry.time))),
      el('td', {}, entry.action),
      el('td', {}, entry.actor.replace('key:', '')),
      el('td', { class: 'mono' }, entry.job_id === undefined ? entry.circuit ?? '' : shortened(entry.job_id, 8, 4)),
      el('td', {}, entry.outcome ?? ''));
    fill(this.element, el('h2', {}, 'Audit log'),
      el('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Audit log' },
        el('table', { class: 'log' },
          el('thead', {}, el('tr', {}, ['Time', 'Action', 'Actor', 'Job or circuit', 'Outcome'].map((name) => el('th', { scope: 'col' }, name)))),
          el('tbody', {}, entries.map(row)))));
  }
}
