// Requests of the board. Each has the key or the voucher of the session; what fails becomes an error with the server's own words.

import type { ProblemDocument } from '@edgeprove/client';

import type { Session } from '../session.js';

/** Longest time for an answer, the streams excepted. */
const TIMEOUT_MS = 20_000;

/** An answer that is no success. */
export class Refused extends Error {
  readonly status: number;
  readonly code: string;
  /** When a retry makes sense, in milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(status: number, problem: Partial<ProblemDocument>, retryAfter: string | null) {
    super(problem.detail ?? problem.title ?? `the server answered ${status}`);
    this.status = status;
    this.code = problem.code ?? '';
    const seconds = Number(retryAfter ?? Number.NaN);
    this.retryAfterMs = Number.isFinite(seconds) ? seconds * 1000 : undefined;
  }
}

/** Where requests go, and with which key. */
export class Api {
  readonly #base: URL;
  readonly #session: Session;

  constructor(base: URL, session: Session) {
    this.#base = base;
    this.#session = session;
  }

  /** An answer with a body of JSON. */
  async json<T>(path: string, signal?: AbortSignal, method = 'GET'): Promise<T> {
    const response = await this.#fetch(path, method, bounded(signal));
    return await response.json() as T;
  }

  /** An answer as text. */
  async text(path: string, signal?: AbortSignal): Promise<string> {
    return await (await this.#fetch(path, 'GET', bounded(signal))).text();
  }

  /** The body of an event stream, which ends with the signal. */
  async stream(path: string, signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
    const response = await this.#fetch(path, 'GET', signal);
    if (response.body === null) throw new Error('the server sent no stream');
    return response.body;
  }

  async #fetch(path: string, method: string, signal: AbortSignal): Promise<Response> {
    const headers: Record<string, string> = {};
    const { token } = this.#session;
    if (token !== undefined) headers['x-api-key'] = token;
    const url = new URL(path.replace(/^\//, ''), this.#base);
    const response = await fetch(url, { method, headers, signal, cache: 'no-store' });
    if (response.ok) return response;
    const problem = await response.json().catch(() => ({})) as Partial<ProblemDocument>;
    throw new Refused(response.status, problem, response.headers.get('retry-after'));
  }
}

function bounded(signal: AbortSignal | undefined): AbortSignal {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  return signal === undefined ? timeout : AbortSignal.any([signal, timeout]);
}

/** What went wrong, for a reader. */
export function reason(error: unknown): string {
  if (error instanceof Refused) return error.message;
  if (error instanceof DOMException && error.name === 'TimeoutError') return 'The server did not answer in time.';
  return 'The server cannot be reached.';
}
