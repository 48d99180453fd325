// The jobs of several containers together.

import type { JobsSection, Sections } from './sections.js';

type Counts = Record<string, number>;

/** The jobs of all boards. Containers that share a database all count the same jobs. */
export function mergedJobs(boards: readonly Partial<Sections>[]): JobsSection | null | undefined {
  const known = boards.filter((board) => board.jobs !== undefined);
  const first = known[0];
  if (first === undefined) return undefined;
  const isShared = known.some((board) => board.server?.container === null || board.server?.container === undefined);
  if (known.length === 1 || isShared) return first.jobs ?? null;
  const all = known.map((board) => board.jobs).filter((jobs) => jobs !== null && jobs !== undefined);
  if (all.length === 0) return null;
  const oldest: Record<string, string> = {};
  const kinds: Record<string, Counts> = {};
  for (const jobs of all) {
    for (const [priority, since] of Object.entries(jobs.oldest_queued_since)) {
      const other = oldest[priority];
      if (other === undefined || since < other) oldest[priority] = since;
    }
    for (const [kind, counts] of Object.entries(jobs.kinds)) kinds[kind] = sum([kinds[kind] ?? {}, counts]);
  }
  return {
    kinds,
    statuses: sum(all.map((jobs) => jobs.statuses)),
    queued: sum(all.map((jobs) => jobs.queued)),
    running: sum(all.map((jobs) => jobs.running)),
    oldest_queued_since: oldest,
  };
}

function sum(counts: readonly Counts[]): Counts {
  const all: Counts = {};
  for (const one of counts) {
    for (const [name, jobs] of Object.entries(one)) all[name] = (all[name] ?? 0) + jobs;
  }
  return all;
}
