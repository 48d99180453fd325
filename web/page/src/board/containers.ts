// The containers behind an edge. A server by itself has none. Containers that sleep are shown, and never woken.

import type { Api } from './api.js';

const EVERY_MS = 15_000;
/** Longest time to find out whether there is an edge. */
const FIND_MS = 20_000;

/** A container, as the edge reports it. */
export interface Container {
  instance: number;
  state: string | null;
}

/** Whether a container has a board now. */
export function isAwake(container: Container): boolean {
  return container.state === 'ready' || container.state === 'unknown';
}

/** Reports the containers at the start and from time to time; `undefined` at a server by itself. Returns what ends that. */
export function followContainers(api: Api, base: URL, report: (containers: Container[] | undefined) => void): () => void {
  const stop = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const look = async (): Promise<void> => {
    if (!document.hidden) {
      const health = await api.json<{ containers?: Container[] }>('/edge/health', stop.signal).catch(() => undefined);
      if (stop.signal.aborted) return;
      // Where a server replaces the containers, the edge has none.
      if (health !== undefined) report(health.containers?.length ? health.containers : undefined);
    }
    timer = setTimeout(() => void look(), EVERY_MS);
  };
  isEdge(base, stop.signal).then((found) => {
    if (stop.signal.aborted) return;
    if (found) void look();
    else report(undefined);
  }, () => {
    if (!stop.signal.aborted) report(undefined);
  });
  return () => {
    stop.abort();
    clearTimeout(timer);
  };
}

/** Only an edge lists this endpoint. */
async function isEdge(base: URL, signal: AbortSignal): Promise<boolean> {
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(FIND_MS)]);
  const response = await fetch(base, { headers: { accept: 'application/json' }, signal: bounded });
  const { endpoints } = await response.json() as { endpoints?: { path: string }[] };
  return endpoints?.some(({ path }) => path === '/edge/health') ?? false;
}
