// The board: jobs, provers and circuits of the server, live.
//
// live.ts reads the stream, panels.ts and charts.ts show its sections, job_list.ts and filter_bar.ts the jobs; batch.ts changes many
// of them. Nothing here has an input of a proof: the server sends none.

import type { JobDocument } from '@edgeprove/client';

import { el, fill } from '../dom.js';
import type { View } from '../view.js';
import { Api, reason } from './api.js';
import { AuditTail } from './audit.js';
import { changeJobs } from './batch.js';
import { durationChart, throughputChart } from './charts.js';
import { type Container, followContainers, isAwake } from './containers.js';
import { FilterBar } from './filter_bar.js';
import { type Filter, apiQuery, describe, readFilter, writeFilter } from './filters.js';
import { JobList } from './job_list.js';
import { Live, type LiveState } from './live.js';
import { mergedJobs } from './merge.js';
import { type Select, StateTiles, fillCircuits, fillProblems, fillProvers, fillQueue } from './panels.js';
import type { Caller, Sections } from './sections.js';

/** How often ages are renewed. */
const TICK_MS = 5000;

/** The key of the only board of a server without an edge. */
const ALONE = undefined;

const STATES: Record<LiveState['name'], string> = { connecting: 'Connecting', live: 'Live', paused: 'Paused', lost: 'Lost' };

/** Shows the board. */
export const board: View = (root, context) => {
  const api = new Api(context.base, context.session);
  const boards = new Map<number | undefined, Live>();
  let filter: Filter = readFilter(context.route.query);
  let chosen = containerOf(context.route.query);
  let caller: Caller | undefined;
  let isPaused = false;
  let listed = '';

  // The frame.
  const state = el('p', { class: 'live', role: 'status' });
  const pause = el('button', { type: 'button', class: 'small', 'aria-pressed': 'false', onclick: () => {
    isPaused = !isPaused;
    pause.setAttribute('aria-pressed', String(isPaused));
    pause.textContent = isPaused ? 'Continue' : 'Pause';
    run();
  } }, 'Pause');
  const containerSelect = el('select', { id: 'board-container', onchange: () => {
    chosen = containerSelect.value === '' ? undefined : Number(containerSelect.value);
    go(filter);
  } });
  const containerField = el('div', { class: 'field container', hidden: true },
    el('label', { for: 'board-container' }, 'Container'), containerSelect);
  const warning = el('p', { class: 'problem', role: 'alert' });
  const queue = el('section', { class: 'card panel queue' });
  const provers = el('section', { class: 'card panel' });
  const problems = el('section', { class: 'card panel' });
  const circuits = el('section', { class: 'card panel' });
  const [throughput, durations] = [throughputChart(), durationChart()];
  const audit = new AuditTail(api);
  const select: Select = (name, value) => go(name === 'status' && filter.status === value ? without(name) : { ...filter, [name]: value });
  const tiles = new StateTiles(select);
  const bar = new FilterBar((next) => go(next));
  const cancelAll = el('button', { type: 'button', class: 'small danger', hidden: true, onclick: () => changeAll('cancel') }, 'Cancel these jobs…');
  const retryAll = el('button', { type: 'button', class: 'small', hidden: true, onclick: () => changeAll('retry') }, 'Retry failed ones…');
  const list = new JobList(api, {
    mayCancel: (job) => caller?.may_operate === true || (caller?.role !== 'observer' && job.owner === undefined),
    mayRetry: () => caller?.may_operate === true,
    showsOwner: () => caller?.sees_all_jobs === true,
    cancel: (job) => void changeOne(job, 'cancel'),
    retry: (job) => void changeOne(job, 'retry'),
  }, showButtons);
  fill(root,
    el('div', { class: 'board' },
      el('div', { class: 'row head' }, el('h1', {}, 'Board'),
        el('div', { class: 'row-end' }, containerField, state, pause)),
      warning,
      tiles.element,
      el('div', { class: 'charts' }, throughput.element, durations.element),
      el('section', { class: 'card jobs-card', 'aria-label': 'Jobs' },
        el('div', { class: 'row' }, el('h2', {}, 'Jobs'), el('div', { class: 'buttons' }, retryAll, cancelAll)),
        bar.element, list.element),
      el('div', { class: 'panels' }, el('div', {}, queue, problems), el('div', {}, provers, circuits)),
      audit.element));

  function without(name: keyof Filter): Filter {
    const { [name]: _, ...rest } = filter;
    return rest;
  }

  /** Shows another filter, which the URL has from now on. */
  function go(next: Filter): void {
    filter = next;
    const query = writeFilter(filter);
    if (chosen !== undefined) query.set('container', String(chosen));
    context.navigate({ view: 'board', segments: [], query }, true);
    showFilter();
    showSections();
  }

  function query(): URLSearchParams {
    return apiQuery(filter, caller?.sees_all_jobs === true, shownContainer());
  }

  /** The container whose list and provers are shown. */
  function shownContainer(): number | undefined {
    if (chosen !== undefined && boards.has(chosen)) return chosen;
    return [...boards.keys()].find((container) => container !== ALONE);
  }

  function shown(): Partial<Sections> {
    return boards.get(shownContainer())?.sections ?? {};
  }

  function showFilter(): void {
    bar.show(filter, caller?.sees_all_jobs === true);
    tiles.mark(filter.status);
    // The list needs to know what the caller may see.
    if (caller === undefined) return;
    const text = query().toString();
    if (text === listed) return;
    listed = text;
    list.show(query());
  }

  function showButtons(): void {
    const canChange = caller?.may_operate === true && filter.kind === undefined && (list.total ?? 0) > 0;
    const counts = mergedJobs([...boards.values()].map((live) => live.sections))?.statuses ?? {};
    const isUnfinished = (status: string): boolean => status === 'queued' || status === 'running';
    // Without a state in the filter, the page that is shown may have none of them.
    const hasUnfinished = filter.status === undefined
      ? Object.entries(counts).some(([status, jobs]) => jobs > 0 && isUnfinished(status))
      : filter.status.split(',').some(isUnfinished);
    cancelAll.hidden = !canChange || !hasUnfinished;
    retryAll.hidden = !canChange || !list.jobs.some((job) => job.retry_until !== undefined);
  }

  async function changeOne(job: JobDocument, change: 'cancel' | 'retry'): Promise<void> {
    const question = change === 'cancel' ? 'Cancel this job?' : 'Queue this job again?';
    if (!await confirmed(root, question, job.id)) return;
    const path = job.links.self;
    try {
      if (change === 'cancel') await api.json(path, undefined, 'DELETE');
      else await api.json(`${path}/retry`, undefined, 'POST');
      context.announce(change === 'cancel' ? 'The job is cancelled.' : 'The job is queued again.');
      warning.textContent = '';
    } catch (error) {
      warning.textContent = reason(error);
    }
    list.refresh(true);
  }

  async function changeAll(name: 'cancel' | 'retry'): Promise<void> {
    const possible = name === 'cancel' ? ['queued', 'running'] : ['failed'];
    const wanted = filter.status?.split(',').filter((status) => possible.includes(status)) ?? possible;
    const selected = query();
    selected.set('status', (wanted.length === 0 ? possible : wanted).join(','));
    const counted = new URLSearchParams(selected);
    counted.set('limit', '1');
    counted.set('total', 'true');
    try {
      const { total } = await api.json<{ total?: number }>(`/v1/proofs?${counted}`);
      const which = describe({ ...filter, status: selected.get('status') ?? '' }, true);
      await changeJobs(root, api, { name, which, total, query: selected }, (text) => context.announce(text));
      warning.textContent = '';
    } catch (error) {
      warning.textContent = reason(error);
    }
    list.refresh(true);
  }

  /** Shows every section of the shown board, or those that changed. */
  function showSections(changed?: readonly string[]): void {
    const has = (name: keyof Sections): boolean => changed?.includes(name) ?? true;
    const sections = shown();
    if (has('jobs') || has('server')) {
      const jobs = mergedJobs([...boards.values()].map((live) => live.sections));
      if (jobs !== undefined) {
        tiles.show(jobs);
        fillQueue(queue, jobs);
      }
    }
    if (has('history') && sections.history) {
      throughput.show(sections.history);
      durations.show(sections.history);
    }
    if (has('provers') || has('cache') || has('proofs')) fillProvers(provers, sections.provers, sections.proofs, sections.cache);
    if (has('problems') && sections.problems && !holdsFocus(problems)) fillProblems(problems, sections.problems, select);
    if ((has('circuits') || has('proofs')) && !holdsFocus(circuits)) fillCircuits(circuits, sections.circuits, sections.proofs, select);
    if (has('circuits') && sections.circuits) bar.offer('circuit', sections.circuits.circuits.map(({ id }) => id));
    if (has('problems') && sections.problems) bar.offer('problem', sections.problems.map(({ code }) => code));
    if (has('server') && sections.server) {
      const why = sections.server.not_ready;
      if (why !== null) warning.textContent = `The server cannot prove now: ${why}.`;
      else if (warning.textContent?.startsWith('The server cannot prove')) warning.textContent = '';
    }
  }

  function changed(container: number | undefined, names: string[]): void {
    const live = boards.get(container);
    if (names.includes('caller') && live?.sections.caller !== undefined) {
      caller = live.sections.caller;
      showFilter();
      showButtons();
      startAudit();
    }
    showSections(container === shownContainer() ? names : names.filter((name) => name === 'jobs'));
    if (names.includes('jobs') && container === shownContainer()) list.refresh();
  }

  function startAudit(): void {
    if (caller?.may_operate === true && isRunning()) audit.start(shownContainer());
    else audit.stop();
    if (caller?.may_operate !== true) audit.element.hidden = true;
  }

  function showState(live: LiveState): void {
    state.dataset['state'] = live.name;
    const text = STATES[live.name];
    if (state.textContent !== text) state.textContent = text;
    state.title = live.name === 'lost' ? live.why : '';
    if (live.name === 'lost') warning.textContent = live.why;
    else if (live.name === 'live' && warning.textContent !== '' && shown().server?.not_ready === null) warning.textContent = '';
  }

  function isRunning(): boolean {
    return !isPaused && !document.hidden;
  }

  /** Opens or closes the streams. */
  function run(): void {
    for (const live of boards.values()) {
      if (isRunning()) live.start();
      else live.stop();
    }
    if (isRunning()) {
      list.refresh();
      startAudit();
    } else {
      list.stop();
      audit.stop();
    }
  }

  function showContainers(containers: Container[] | undefined): void {
    const awake: (number | undefined)[] = containers?.filter(isAwake).map(({ instance }) => instance) ?? [ALONE];
    for (const [container, live] of boards) {
      if (awake.includes(container)) continue;
      live.stop();
      boards.delete(container);
    }
    for (const container of awake) {
      if (boards.has(container)) continue;
      boards.set(container, new Live(api, container, (names) => changed(container, names), (live) => {
        if (container === shownContainer()) showState(live);
      }));
    }
    containerField.hidden = containers === undefined || containers.length < 2;
    if (containers !== undefined) {
      fill(containerSelect, containers.map((container) => el('option', {
        value: container.instance, disabled: !isAwake(container),
      }, `${container.instance} (${container.state ?? 'unknown'})`)));
      containerSelect.value = String(shownContainer() ?? '');
      if (awake.length === 0) {
        state.textContent = 'Asleep';
        warning.textContent = 'No container is awake. A request for a proof wakes one.';
      }
    }
    run();
    showFilter();
  }

  const endContainers = followContainers(api, context.base, showContainers);
  const onVisible = (): void => run();
  document.addEventListener('visibilitychange', onVisible);
  const endKey = context.session.onChange(() => {
    caller = undefined;
    listed = '';
    warning.textContent = '';
    for (const live of boards.values()) live.stop();
    run();
  });
  const tick = setInterval(() => {
    if (!isRunning()) return;
    list.tick();
    const jobs = mergedJobs([...boards.values()].map((live) => live.sections));
    if (jobs !== undefined) fillQueue(queue, jobs);
  }, TICK_MS);
  context.onRoute = ({ query: next }) => {
    filter = readFilter(next);
    chosen = containerOf(next);
    showFilter();
    showSections();
  };
  showFilter();

  return () => {
    endContainers();
    endKey();
    clearInterval(tick);
    document.removeEventListener('visibilitychange', onVisible);
    for (const live of boards.values()) live.stop();
    list.stop();
    audit.stop();
  };
};

function containerOf(query: URLSearchParams): number | undefined {
  const text = query.get('container');
  return text !== null && /^\d{1,3}$/.test(text) ? Number(text) : undefined;
}

/** A panel with the focus is not replaced under the reader's hands. */
function holdsFocus(element: Element): boolean {
  return element.contains(document.activeElement);
}

/** Asks a question about one job. */
function confirmed(root: HTMLElement, question: string, id: string): Promise<boolean> {
  const leave = el('button', { type: 'button', class: 'quiet', onclick: () => dialog.close('') }, 'Leave it');
  const yes = el('button', { type: 'button', class: 'primary', onclick: () => dialog.close('yes') }, 'Yes');
  const dialog = el('dialog', { class: 'batch', 'aria-labelledby': 'confirm-title' },
    el('h2', { id: 'confirm-title' }, question), el('p', { class: 'mono' }, id), el('div', { class: 'actions' }, leave, yes));
  root.append(dialog);
  dialog.showModal();
  leave.focus();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(dialog.returnValue === 'yes');
    });
  });
}
