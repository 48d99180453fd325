// Requests to the server: bounded in time, in bytes and in number.

import { problemOf, readBytes, readJson } from './body.js';
import { EdgeproveError, throwIfAborted } from './errors.js';
import type { SealedBody } from './sealer.js';
import { deadlineIn, limit, pause, timeLeft, timeoutError } from './time.js';
import type { Credentials } from './vouchers.js';

/** How often and how long a request is repeated that may succeed later. */
export interface RetryOptions {
  /** The largest number of attempts at a request, the first included. 1 never repeats one. Default: 4. */
  attempts?: number;
  /** The longest wait before another attempt, in milliseconds. A server that asks for more is given up. Default: 30,000. */
  maxDelayMs?: number;
}

/** Longest time for a request that neither uploads nor waits for a proof, in milliseconds. */
const SHORT_REQUEST_MS = 30_000;
/** How often a request is sealed again because the server refused the key, the time or a repetition. */
const RESEALS_MAX = 2;
/** The first wait after a request without an answer, in milliseconds; it doubles with each attempt. */
const FIRST_DELAY_MS = 1000;

/** A request. */
export interface Call {
  method?: 'GET' | 'POST' | 'DELETE';
  /** The path at the service, with a slash at its begin. */
  path: string;
  query?: Record<string, string | number | undefined>;
  headers?: Record<string, string | undefined>;
  /** It is sent again with each attempt. */
  body?: Blob | string;
  /** Makes the body of each attempt, in place of `body`. */
  sealed?: SealedBody;
  signal?: AbortSignal | undefined;
  /** When the call ends, attempts and waits included: {@link deadlineIn}. Default: the limit of short requests. */
  deadline?: number;
  /** A status beside 2xx whose body is read as that of a success. */
  accepts?: number;
}

/** Reads the answer to a request that had this API key or voucher. */
export type Read<T> = (response: Response, token: string | undefined) => Promise<T>;

/** The settings of {@link Http}. */
export interface HttpOptions {
  /** The base of all paths; `undefined` refuses every request. */
  base: URL | undefined;
  credentials: Credentials;
  /** The longest time for a call, in milliseconds. */
  timeout: number;
  retry: RetryOptions | undefined;
  fetch: typeof globalThis.fetch | undefined;
}

/** Sends requests to one server. */
export class Http {
  readonly attempts: number;
  readonly #options: HttpOptions;
  readonly #maxDelayMs: number;

  constructor(options: HttpOptions) {
    this.#options = options;
    this.attempts = options.retry?.attempts ?? 4;
    this.#maxDelayMs = options.retry?.maxDelayMs ?? 30_000;
  }

  /** The deadline of a call that waits for a proof. */
  longDeadline(): number {
    return deadlineIn(this.#options.timeout);
  }

  /** What requests identify themselves with. */
  get credentials(): Credentials {
    return this.#options.credentials;
  }

  /** The URL of the service, without key; `undefined` where there is none. */
  get base(): string | undefined {
    return this.#options.base?.href;
  }

  /** Sends a request until it succeeds, and reads the body of the answer as JSON. */
  async json<T>(call: Call, max: number): Promise<T> {
    return await this.send(call, async (response) => await readJson<T>(response, max));
  }

  /** The same for bytes. */
  async bytes(call: Call, max: number): Promise<Uint8Array<ArrayBuffer>> {
    return await this.send(call, async (response) => await readBytes(response, max));
  }

  /** Sends a request until an answer is a success and `read` has read it, or the failure is final. */
  async send<T>(call: Call, read: Read<T>): Promise<T> {
    const short = deadlineIn(Math.min(SHORT_REQUEST_MS, this.#options.timeout));
    const deadline = call.deadline ?? short;
    let reseals = 0;
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.once(call, deadline, read);
      } catch (error) {
        if (!(error instanceof EdgeproveError)) throw error;
        if (call.sealed?.refused(error) && reseals < RESEALS_MAX) {
          reseals += 1;
          continue;
        }
        if (!error.retryable || attempt >= this.attempts) throw error;
        const delay = this.delayAfter(error, attempt);
        if (delay === undefined || delay >= timeLeft(deadline)) throw error;
        await pause(delay, call.signal);
      }
    }
  }

  /** How long to wait before another attempt, in milliseconds; `undefined` where the server asks for too much. */
  delayAfter(error: EdgeproveError, attempt: number): number | undefined {
    const asked = error.retryAfterMs ?? 0;
    if (asked > this.#maxDelayMs) return undefined;
    const backoff = Math.min(FIRST_DELAY_MS * 2 ** (attempt - 1), this.#maxDelayMs);
    // Callers that failed together come back apart, and none before the time that the server asked for.
    return asked > 0 ? asked + Math.random() * Math.min(backoff, asked) : backoff * (0.5 + Math.random() / 2);
  }

  /** One attempt. */
  async once<T>(call: Call, deadline: number, read: Read<T>): Promise<T> {
    throwIfAborted(call.signal);
    const what = `${call.method ?? 'GET'} ${call.path}`;
    if (timeLeft(deadline) === 0) throw timeoutError(what);
    const bounds = limit(what, call.signal, deadline);
    try {
      return await this.#exchange(call, bounds.signal, read);
    } catch (error) {
      throw bounds.reason() ?? error;
    } finally {
      bounds.release();
    }
  }

  /**
   * One attempt at a request whose answer is a stream: its head has the limit of short requests, and the stream lasts
   * until `signal` fires.
   */
  async stream<T>(call: Call, signal: AbortSignal, read: (response: Response) => Promise<T>): Promise<T> {
    const controller = new AbortController();
    signal.addEventListener('abort', () => controller.abort(signal.reason), { once: true });
    if (signal.aborted) controller.abort(signal.reason);
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      controller.abort();
    }, Math.min(SHORT_REQUEST_MS, this.#options.timeout));
    try {
      return await this.#exchange(call, controller.signal, read);
    } catch (error) {
      throw isLate ? timeoutError(`GET ${call.path}`) : error;
    } finally {
      clearTimeout(timer);
    }
  }

  async #exchange<T>(call: Call, signal: AbortSignal, read: Read<T>): Promise<T> {
    // Before a voucher is asked for: with `mode: 'local'` nothing is.
    const url = this.#url(call);
    const { credentials } = this.#options;
    return await credentials.use(call.path, signal, async (token) => await this.#fetch(url, call, { signal, token }, read));
  }

  async #fetch<T>(
    url: URL,
    call: Call,
    { signal, token }: { signal: AbortSignal; token: string | undefined },
    read: Read<T>,
  ): Promise<T> {
    // A local name: in a browser, `fetch` must not be called as a method of another object.
    const send = this.#options.fetch ?? globalThis.fetch;
    const headers = headersOf(call, token);
    let { body } = call;
    if (call.sealed) {
      const sent = await call.sealed.make(token, signal);
      throwIfAborted(signal);
      headers.set('content-type', sent.contentType);
      body = sent.body;
    }
    try {
      const response = await send(url, {
        method: call.method ?? 'GET',
        headers,
        signal,
        // The service redirects nothing, and a key must not follow to another host.
        redirect: 'manual',
        ...(body === undefined ? {} : { body }),
      });
      if (!response.ok && response.status !== call.accepts) throw await problemOf(response);
      return await read(response, token);
    } catch (error) {
      if (error instanceof EdgeproveError) throw error;
      const what = `${call.method ?? 'GET'} ${call.path}`;
      throw new EdgeproveError('unreachable', `${what}: no answer, or the connection was lost`, {
        retryable: true,
        cause: error,
      });
    }
  }

  #url(call: Call): URL {
    const { base } = this.#options;
    if (!base) {
      throw new EdgeproveError('local_mode', `with mode: 'local' nothing is sent to a server (${call.path})`);
    }
    // A path of an answer must not lead to another host, which would get the key.
    if (!/^\/(?![/\\])/.test(call.path)) {
      throw new EdgeproveError('bad_answer', 'a path of the server must begin with one slash');
    }
    const url = new URL(call.path.slice(1), base);
    if (url.origin !== base.origin) throw new EdgeproveError('bad_answer', 'a path of the server leads to another host');
    for (const [name, value] of Object.entries(call.query ?? {})) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    return url;
  }
}

function headersOf(call: Call, token: string | undefined): Headers {
  const headers = new Headers();
  if (token !== undefined) headers.set('authorization', `Bearer ${token}`);
  for (const [name, value] of Object.entries(call.headers ?? {})) {
    if (value !== undefined) headers.set(name, value);
  }
  return headers;
}

/** The path segment of an id or a name. */
export function segment(text: string): string {
  // A segment of dots alone would be a relative path.
  if (text === '' || /^\.+$/.test(text)) throw new EdgeproveError('invalid_option', 'an id or a name is empty or only dots');
  return encodeURIComponent(text);
}
