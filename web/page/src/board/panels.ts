// The panels of the board: states of jobs, provers, cache, problems and circuits. Each is filled again when its section changed.

import { el, fill } from '../dom.js';
import { count, duration, size } from '../format.js';
import type { CacheSection, CircuitsSection, JobsSection, Problem, ProofsSection, ProversSection } from './sections.js';
import { PRIORITIES, STATUSES } from './sections.js';
import { age, span } from './time.js';

/** What a click in a panel selects. */
export type Select = (name: 'status' | 'problem' | 'circuit' | 'priority', value: string) => void;

/** The tag of a state. */
export function stateTag(state: string): HTMLElement {
  const tone: Record<string, string> = {
    running: 'good', ready: 'good', completed: 'good', failed: 'bad', queued: 'warn', pending: 'warn', loading: 'warn',
  };
  return el('span', { class: `tag ${tone[state] ?? ''}` }, state);
}

/** Counts of jobs by state, as buttons that filter the list. */
export class StateTiles {
  readonly element = el('div', { class: 'tiles', role: 'group', 'aria-label': 'Jobs by state' });
  readonly #values = new Map<string, HTMLElement>();
  readonly #buttons = new Map<string, HTMLButtonElement>();

  constructor(select: Select) {
    for (const status of STATUSES) {
      const value = el('b', {}, '–');
      const button = el('button', { type: 'button', class: 'tile', 'data-state': status, 'aria-pressed': 'false',
        onclick: () => select('status', status) }, value, el('span', {}, status));
      this.#values.set(status, value);
      this.#buttons.set(status, button);
      this.element.append(button);
    }
  }

  show(jobs: JobsSection | null): void {
    for (const [status, value] of this.#values) {
      const text = jobs === null ? '–' : count(jobs.statuses[status] ?? 0);
      if (value.textContent !== text) value.textContent = text;
    }
  }

  /** Marks the states of the filter. */
  mark(statuses: string | undefined): void {
    const chosen = new Set(statuses?.split(','));
    for (const [status, button] of this.#buttons) button.setAttribute('aria-pressed', String(chosen.has(status)));
  }
}

/** A bar that shows a part of a whole. */
export function meter(label: string, value: number, max: number | null, text: string): HTMLElement {
  const share = max === null || max === 0 ? 0 : Math.min(1, value / max);
  const fillElement = el('i', {});
  fillElement.style.setProperty('--share', String(share));
  return el('div', { class: 'meter', 'data-level': share > 0.9 ? 'high' : 'normal' },
    el('div', { class: 'row' }, el('span', {}, label), el('b', {}, text)),
    el('div', { class: 'track', 'aria-hidden': 'true' }, fillElement));
}

/** Waiting and running jobs by priority, with the age of the oldest waiting one. */
export function fillQueue(element: Element, jobs: JobsSection | null): void {
  if (jobs === null) {
    fill(element, el('h2', {}, 'Queue'), el('p', { class: 'note' }, 'This server stores no jobs.'));
    return;
  }
  const rows = PRIORITIES.map((priority) => {
    const since = jobs.oldest_queued_since[priority];
    return el('tr', {},
      el('th', { scope: 'row' }, priority),
      el('td', {}, count(jobs.queued[priority] ?? 0)),
      el('td', {}, count(jobs.running[priority] ?? 0)),
      el('td', {}, since === undefined ? '–' : el('time', { datetime: since, title: since }, age(since))));
  });
  const others = Object.entries(jobs.kinds).filter(([kind]) => kind !== 'prove');
  const counted = (kind: Record<string, number>): string =>
    Object.entries(kind).map(([status, jobs]) => `${count(jobs)} ${status}`).join(', ');
  fill(element, el('h2', {}, 'Queue'),
    el('table', { class: 'numbers' },
      el('thead', {}, el('tr', {}, ['Priority', 'Waiting', 'Running', 'Oldest waits'].map((name) => el('th', { scope: 'col' }, name)))),
      el('tbody', {}, rows)),
    others.map(([kind, counts]) => el('p', { class: 'note' }, `${kind}: ${counted(counts)}`)));
}

/** Cores, memory and restarts of the provers of one server. */
export function fillProvers(element: Element, provers: ProversSection | undefined, proofs: ProofsSection | undefined, cache: CacheSection | undefined): void {
  if (provers === undefined) return;
  const used = provers.processes.reduce((sum, bytes) => sum + bytes, 0);
  const limit = provers.memory_max_bytes;
  const waiting = Object.values(provers.waiting).reduce((sum, jobs) => sum + jobs, 0);
  const restarts = Object.entries(provers.restarts).map(([reason, times]) => `${reason.replaceAll('_', ' ')} ${count(times)}`);
  const busy = provers.cores - provers.cores_free;
  const all = proofs?.all;
  const lookups = (cache?.hits ?? 0) + (cache?.misses ?? 0);
  const facts: [string, string][] = [
    ['Proofs since the start', count(provers.proofs)],
    ['Prover processes', `${provers.processes.length} (${provers.mode})`],
    ['Restarts', restarts.length === 0 ? 'none' : restarts.join(', ')],
    ['Server', size(provers.server_bytes)],
  ];
  if (all !== undefined) {
    facts.push(['Success, last hour', all.success_rate === null ? '–' : `${(all.success_rate * 100).toFixed(1)} %`]);
    if (all.duration_ms !== null) facts.push(['Median, last hour', duration(all.duration_ms.p50)]);
  }
  fill(element, el('h2', {}, 'Provers'),
    meter('Cores', busy, provers.cores, `${busy} of ${provers.cores}`),
    meter('Memory', used, limit, limit === null ? size(used) : `${size(used)} of ${size(limit)}`),
    meter('Memory reserved', provers.memory_reserved_bytes, limit, size(provers.memory_reserved_bytes)),
    meter('Waiting for a prover', waiting, provers.waiting_max, `${count(waiting)} of ${count(provers.waiting_max)}`),
    cache !== undefined && meter('Proof cache', cache.proofs, cache.proofs_max, cache.proofs_max === 0 ? 'off'
      : `${count(cache.proofs)} of ${count(cache.proofs_max)}${lookups === 0 ? '' : `, ${Math.round((cache.hits / lookups) * 100)} % hits`}`),
    el('dl', { class: 'facts' }, facts.map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, value)))));
}

/** The problems of the last hour, the most frequent first. */
export function fillProblems(element: Element, problems: readonly Problem[], select: Select): void {
  const now = Date.now();
  fill(element, el('h2', {}, 'Problems, last hour'),
    problems.length === 0
      ? el('p', { class: 'note' }, 'No proof failed.')
      : el('ul', { class: 'lines' }, problems.slice(0, 30).map((problem) => el('li', { 'data-severity': problem.severity },
        el('b', { class: 'number' }, count(problem.proofs)),
        el('div', {},
          el('button', { type: 'button', class: 'link', title: 'Show jobs that failed with it', onclick: () => select('problem', problem.code) },
            problem.code),
          el('p', { class: 'note' }, problem.title)),
        el('span', { class: 'note' }, `${span(now - Date.parse(problem.last_at))} ago`)))));
}

/** The circuits with the state of their builds. */
export function fillCircuits(element: Element, section: CircuitsSection | undefined, proofs: ProofsSection | undefined, select: Select): void {
  if (section === undefined) return;
  const rows = section.circuits.slice(0, 60).map((circuit) => {
    const recent = proofs?.circuits[circuit.id];
    const build = circuit.build ?? undefined;
    return el('li', {},
      el('div', {},
        el('button', { type: 'button', class: 'link', title: 'Show its jobs', onclick: () => select('circuit', circuit.id) }, circuit.id),
        el('p', { class: 'note' },
          [circuit.origin, circuit.target, circuit.gates === null ? '' : `${count(circuit.gates)} gates`,
            circuit.memory_peak_bytes === null ? '' : size(circuit.memory_peak_bytes),
            recent?.duration_ms ? `median ${duration(recent.duration_ms.p50)}` : '',
            circuit.error ?? ''].filter((part) => part !== '').join(' · ')),
        build !== undefined && meter(`${build.stage.replaceAll('_', ' ')}, attempt ${build.attempts} of ${build.max_attempts}`,
          build.progress, 100, `${build.progress} %`)),
      stateTag(circuit.status));
  });
  const hidden = section.circuits.length - rows.length;
  fill(element, el('h2', {}, 'Circuits'),
    rows.length === 0 ? el('p', { class: 'note' }, 'There is no circuit.') : el('ul', { class: 'lines' }, rows),
    (hidden > 0 || section.has_more) && el('p', { class: 'note' }, 'There are more: GET /v1/circuits lists them.'));
}
