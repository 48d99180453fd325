// Vouchers: short-lived tokens with which a page proves on behalf of the API key of its back end.

import { ANSWER_MAX } from './body.js';
import type { CallOptions } from './circuits.js';
import { abortedError, EdgeproveError } from './errors.js';
import type { Http } from './http.js';
import type { NewVoucher, Priority } from './wire.js';

/** A voucher, or a function that asks the page's back end for a new one. It is called again when a voucher ends. */
export type VoucherSource = string | (() => string | Promise<string>);

/** What a new voucher allows. */
export interface VoucherRequest {
  /** The circuit that may be proved, or up to 16. */
  circuit: string | string[];
  /** How many proofs. Default: 1. The server has a maximum. */
  uses?: number;
  /** Seconds until it expires. Default: 300. The server has a maximum. */
  expires?: number;
  /** The origin of the page, such as `https://app.example`. Pages of other origins cannot use it then. */
  origin?: string;
  /** The highest priority of its proofs. Default: `NORMAL`. */
  priority?: Priority;
  /** The user, as the back end names it. Vouchers of one subject see each other's jobs, for example after a reload. */
  subject?: string;
}

/** The most jobs whose vouchers are remembered. */
const JOBS_MAX = 256;
/** How often one request gets another voucher: as many requests of a page may ask for one at the same time. */
const RENEWALS_MAX = 8;

/** Mints vouchers, for back ends. */
export class Vouchers {
  readonly #http: Http;

  /** Use `prover.vouchers`. */
  constructor(http: Http) {
    this.#http = http;
  }

  /** Mints a voucher for a page. It needs an API key. `voucher` of the answer is the token. */
  async create(request: VoucherRequest, options: CallOptions = {}): Promise<NewVoucher> {
    return await this.#http.json<NewVoucher>({
      method: 'POST', path: '/v1/vouchers', headers: { 'content-type': 'application/json' },
      body: JSON.stringify(request), signal: options.signal,
    }, ANSWER_MAX.document);
  }
}

/** What requests identify themselves with. */
export class Credentials {
  readonly #source: (() => string | Promise<string>) | undefined;
  /** The token of the next request: an API key, or the current voucher. */
  #current: Promise<string> | undefined;
  /** The vouchers of jobs: only they may read them. */
  readonly #ofJobs = new Map<string, string>();

  constructor(apiKey: string | undefined, voucher: VoucherSource | undefined) {
    this.#source = typeof voucher === 'function' ? voucher : undefined;
    const given = apiKey ?? (typeof voucher === 'string' ? voucher : undefined);
    if (given !== undefined) this.#current = Promise.resolve(given);
  }

  /** Sends a request with the token for its path, and once more with another voucher where the server refuses this one. */
  async use<T>(path: string, signal: AbortSignal, send: (token: string | undefined) => Promise<T>): Promise<T> {
    let token = await this.#tokenFor(path, signal);
    for (let renewals = 0; ; renewals++) {
      try {
        return await send(token);
      } catch (error) {
        if (!isEnded(error) || token === undefined || !this.#source || renewals >= RENEWALS_MAX) throw error;
        // One that is used up still reads its jobs.
        if (error.code === 'voucher_invalid') this.#forget(token);
        const next = await this.#renewed(token, signal);
        // A back end that gives the same one again has no other.
        if (next === token) throw error;
        token = next;
      }
    }
  }

  /** Remembers the token that submitted a job. */
  remember(job: string, token: string | undefined): void {
    if (!this.#source || token === undefined) return;
    const oldest = this.#ofJobs.keys().next();
    if (this.#ofJobs.size >= JOBS_MAX && !oldest.done) this.#ofJobs.delete(oldest.value);
    this.#ofJobs.set(job, token);
  }

  async #tokenFor(path: string, signal: AbortSignal): Promise<string | undefined> {
    const job = /^\/v1\/proofs\/([^/?]+)/.exec(path)?.[1];
    const own = job === undefined ? undefined : this.#ofJobs.get(job);
    if (own !== undefined) return own;
    if (!this.#current && this.#source) this.#current = this.#fetched(this.#source);
    return this.#current && (await unlessAborted(this.#current, signal));
  }

  #forget(ended: string): void {
    for (const [job, token] of this.#ofJobs) if (token === ended) this.#ofJobs.delete(job);
  }

  /** The voucher after this one. Requests that need it at the same time share one call of the back end. */
  async #renewed(ended: string, signal: AbortSignal): Promise<string> {
    const current = this.#current;
    const now = current && (await unlessAborted(current, signal));
    if (now !== undefined && now !== ended) return now;
    if (this.#current === current && this.#source) this.#current = this.#fetched(this.#source);
    return await unlessAborted(this.#current ?? Promise.resolve(ended), signal);
  }

  #fetched(source: () => string | Promise<string>): Promise<string> {
    const fetched = (async () => {
      let token: unknown;
      try {
        token = await source();
      } catch (cause) {
        throw new EdgeproveError('voucher_unavailable', 'the function `voucher` failed', { cause });
      }
      if (isToken(token)) return token;
      throw new EdgeproveError('voucher_unavailable', 'the function `voucher` returned something else than a voucher');
    })();
    // The next request asks again. Whoever waits for this one gets the error.
    fetched.catch(() => {
      if (this.#current === fetched) this.#current = undefined;
    });
    return fetched;
  }
}

/** Whether a text can be the value of a header: another one would fail with an error that has it. */
export function isToken(token: unknown): token is string {
  return typeof token === 'string' && /^[!-~]+$/.test(token);
}

function isEnded(error: unknown): error is EdgeproveError {
  return error instanceof EdgeproveError && (error.code === 'voucher_invalid' || error.code === 'voucher_used_up');
}

async function unlessAborted<T>(value: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) throw abortedError(signal);
  let stop = (): void => {};
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(abortedError(signal));
    signal.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([value, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
