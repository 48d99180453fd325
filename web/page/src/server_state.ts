// Whether the server can be reached and can prove, in the bar.

import { el } from './dom.js';

/** How often the server is asked, in milliseconds. */
const EVERY_MS = 15_000;
/** Longest time for an answer, in milliseconds. */
const LIMIT_MS = 10_000;

const TEXTS = {
  unknown: 'Connecting',
  ok: 'Ready',
  degraded: 'Degraded',
  unhealthy: 'Not ready',
  offline: 'Unreachable',
} as const;

/**
 * The path of the health. At an edge it is the edge's own: a request for a server's would wake a container, and keep it awake while
 * the page is open.
 */
async function healthPath(base: URL): Promise<string> {
  const response = await fetch(base, { headers: { accept: 'application/json' }, signal: AbortSignal.timeout(LIMIT_MS) });
  const { endpoints } = await response.json() as { endpoints?: { path: string }[] };
  return endpoints?.some(({ path }) => path === '/edge/health') ? 'edge/health' : 'health';
}

/** The state. It is not asked for while the page is hidden. */
export function serverState(base: URL): HTMLElement {
  const text = el('span', {});
  const state = el('p', { class: 'state', role: 'status' }, el('i', { 'aria-hidden': 'true' }), text);
  const show = (name: keyof typeof TEXTS, why = ''): void => {
    if (state.dataset['state'] === name) return;
    state.dataset['state'] = name;
    state.title = why;
    text.textContent = TEXTS[name];
  };
  show('unknown');
  let timer: ReturnType<typeof setTimeout> | undefined;
  let path: string | undefined;
  const ask = async (): Promise<void> => {
    clearTimeout(timer);
    if (document.hidden) return;
    try {
      path ??= await healthPath(base);
      const response = await fetch(new URL(path, base), { signal: AbortSignal.timeout(LIMIT_MS), cache: 'no-store' });
      const health = await response.json() as { status?: string; problems?: string[]; version?: string };
      const problems = (health.problems ?? []).join('\n');
      const name = health.status === 'ok' || health.status === 'degraded' ? health.status : 'unhealthy';
      show(name, problems || `edgeprove ${health.version ?? ''}`);
    } catch {
      show('offline');
    }
    timer = setTimeout(() => void ask(), EVERY_MS);
  };
  document.addEventListener('visibilitychange', () => void ask());
  void ask();
  return state;
}
