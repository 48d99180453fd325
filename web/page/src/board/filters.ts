// The filter of the jobs. It stands in the URL of the page, under the same names as in the query of the API.

import { PRIORITIES, STATUSES } from './sections.js';

/** The parameters of a filter, in the order in which they are shown. */
export const NAMES = ['status', 'circuit', 'id', 'owner', 'kind', 'age', 'problem', 'priority', 'order'] as const;

/** One of them. */
export type FilterName = (typeof NAMES)[number];

/** The values that are set. */
export type Filter = Partial<Record<FilterName, string>>;

/** Ages, by their value in the URL: the parameters of the API. */
export const AGES: readonly { value: string; label: string; query: Record<string, string> }[] = [
  { value: 'last-5m', label: 'the last 5 minutes', query: { max_age: '300' } },
  { value: 'last-1h', label: 'the last hour', query: { max_age: '3600' } },
  { value: 'last-24h', label: 'the last day', query: { max_age: '86400' } },
  { value: 'over-1m', label: 'over 1 minute ago', query: { min_age: '60' } },
  { value: 'over-10m', label: 'over 10 minutes ago', query: { min_age: '600' } },
  { value: 'over-1h', label: 'over 1 hour ago', query: { min_age: '3600' } },
];

const VALID: Record<FilterName, (value: string) => boolean> = {
  status: (value) => value.split(',').every((status) => (STATUSES as readonly string[]).includes(status)),
  circuit: (value) => /^[\w.-]{1,128}$/.test(value),
  id: (value) => /^[0-9a-z-]{1,64}$/.test(value),
  owner: (value) => value === 'anonymous' || value === 'mine' || /^key:[\w.-]{1,64}$/.test(value),
  kind: (value) => ['prove', 'build', 'deploy', 'all'].includes(value),
  age: (value) => AGES.some((age) => age.value === value),
  problem: (value) => /^[a-z_0-9]{1,64}$/.test(value),
  priority: (value) => (PRIORITIES as readonly string[]).includes(value),
  order: (value) => value === 'oldest',
};

/** The filter of a URL. Values that mean nothing are left out. */
export function readFilter(query: URLSearchParams): Filter {
  const filter: Filter = {};
  for (const name of NAMES) {
    const value = query.get(name);
    if (value !== null && VALID[name](value)) filter[name] = value;
  }
  return filter;
}

/** The query of a URL of the page. */
export function writeFilter(filter: Filter): URLSearchParams {
  const query = new URLSearchParams();
  for (const name of NAMES) {
    const value = filter[name];
    if (value !== undefined && value !== '') query.set(name, value);
  }
  return query;
}

/** The query of the API. Operators and observers see the jobs of all callers unless the filter names one. */
export function apiQuery(filter: Filter, seesAll: boolean, container: number | undefined): URLSearchParams {
  const query = new URLSearchParams();
  for (const name of ['status', 'circuit', 'id', 'problem', 'priority', 'order'] as const) {
    const value = filter[name];
    if (value !== undefined) query.set(name, value);
  }
  for (const [name, value] of Object.entries(AGES.find((age) => age.value === filter.age)?.query ?? {})) {
    query.set(name, value);
  }
  if (seesAll) {
    if (filter.owner !== 'mine') query.set('owner', filter.owner ?? 'all');
    if (filter.kind !== undefined) query.set('kind', filter.kind);
  }
  if (container !== undefined) query.set('container', String(container));
  return query;
}

/** The filter in words. */
export function describe(filter: Filter, seesAll: boolean): string {
  const parts: string[] = [];
  if (filter.status !== undefined) parts.push(filter.status.replaceAll(',', ' or '));
  if (filter.circuit !== undefined) parts.push(`of circuit ${filter.circuit}`);
  if (filter.id !== undefined) parts.push(`with an id that begins with ${filter.id}`);
  if (seesAll) {
    const { owner } = filter;
    parts.push(owner === undefined ? 'of all callers' : owner === 'mine' ? 'of this key' : `of ${owner.replace('key:', '')}`);
  }
  if (filter.priority !== undefined) parts.push(`of priority ${filter.priority}`);
  if (filter.problem !== undefined) parts.push(`that failed with ${filter.problem}`);
  const age = AGES.find(({ value }) => value === filter.age);
  if (age !== undefined) parts.push(`accepted ${age.value.startsWith('last') ? `within ${age.label}` : age.label}`);
  return parts.join(', ');
}
