// The options of a prover, checked once.

import { EdgeproveError } from './errors.js';
import type { RetryOptions } from './http.js';
import type { IdStorage } from './resume.js';
import type { SealOption } from './sealer.js';
import { isToken } from './vouchers.js';
import type { VoucherSource } from './vouchers.js';
import type { WorkerOption } from './worker-engine.js';

/**
 * Where proofs are made.
 *
 * - `auto`: by the server; in this process where the server cannot be reached or refuses. The witness may reach the server.
 * - `remote`: by the server only.
 * - `local`: in this process only. Nothing is ever sent to a server, however slow the device is.
 */
export type Mode = 'auto' | 'remote' | 'local';

/** Options of {@link createProver}. */
export interface ProverOptions {
  /** The URL of the server or the edge, with a path where it is below one. Default in a page: the page's own origin. */
  url?: string | URL;
  /** An API key, where the server has keys. A page shows its key to everybody who opens it. */
  apiKey?: string;
  /**
   * In place of a key: a voucher that the page's back end minted with `prover.vouchers.create`, or a function that asks the back
   * end for one. The function is called before the first request, and again when a voucher has expired or is used up.
   */
  voucher?: VoucherSource;
  /** Default: `auto`. */
  mode?: Mode;
  /** Whether witnesses and inputs are sealed, so that nothing on the way to the server can read them. Default: `true`. */
  seal?: SealOption;
  /** How often requests are repeated that may succeed later. */
  retry?: RetryOptions;
  /**
   * The longest time that a server may take for one call, with uploads, waits and repetitions, in milliseconds. After it
   * the job is cancelled, and the call fails with `timeout` or, with `mode: 'auto'`, proves locally. Default: 120,000.
   */
  timeout?: number;
  /** How to prove in this process. */
  local?: LocalOptions;
  /** Starts the worker of `@edgeprove/client/witness-worker`, where the bundler does not find it; `false`: no worker. */
  worker?: WorkerOption;
  /** Where ids of jobs are stored; `null`: nowhere. Default: `sessionStorage` in a page, else nowhere. */
  storage?: IdStorage | null;
  /** Sends the requests, for example by a service binding. Default: `fetch` of the runtime. */
  fetch?: typeof globalThis.fetch;
}

/** How to prove in this process. */
export interface LocalOptions {
  /**
   * The URL of the points of the CRS: `bn254_g1.dat` as bb stores it, with 64 bytes a point. Only the beginning that the
   * circuit needs is loaded, with a range request where the server of the file knows them. Default: the file at the host
   * that bb itself uses.
   */
  crs?: string | URL;
  /** The number of threads of bb.js. More than 1 needs a page that is cross-origin isolated. Default: 1. */
  threads?: number;
}

/** Where bb.js finds the points. */
const CRS_URL = 'https://crs.aztec-cdn.foundation/g1.dat';
/** Longest time for one call, in milliseconds, by default. */
const TIMEOUT_MS = 120_000;

/** Options with defaults. */
export interface Settings {
  mode: Mode;
  /** Ends with a slash; `undefined` with `mode: 'local'`. */
  base: URL | undefined;
  seal: SealOption;
  timeout: number;
  crs: string;
  threads: number;
}

/** Checks the options. Throws `invalid_option`. */
export function settingsOf(options: ProverOptions): Settings {
  const mode = options.mode ?? 'auto';
  if (mode !== 'auto' && mode !== 'remote' && mode !== 'local') throw invalid("mode must be 'auto', 'remote' or 'local'");
  const seal = options.seal ?? true;
  if (seal !== true && seal !== false && seal !== 'required') throw invalid("seal must be true, false or 'required'");
  const timeout = options.timeout ?? TIMEOUT_MS;
  if (!(timeout > 0)) throw invalid('timeout must be a number of milliseconds above 0');
  const { attempts = 4, maxDelayMs = 0 } = options.retry ?? {};
  if (!Number.isInteger(attempts) || attempts < 1) throw invalid('retry.attempts must be a whole number from 1');
  if (!(maxDelayMs >= 0)) throw invalid('retry.maxDelayMs must be a number of milliseconds');
  // A header with another one would fail with an error that has the key.
  for (const name of ['apiKey', 'voucher'] as const) {
    const given = options[name];
    if (given !== undefined && typeof given !== 'function' && !isToken(given)) {
      throw invalid(`${name} must be printable ASCII characters without blanks`);
    }
  }
  if (options.apiKey !== undefined && options.voucher !== undefined) throw invalid('give apiKey or voucher, not both');
  const threads = options.local?.threads ?? 1;
  if (!Number.isInteger(threads) || threads < 1) throw invalid('local.threads must be a whole number from 1');
  const crs = absolute(options.local?.crs ?? CRS_URL, 'local.crs').href;
  return { mode, base: mode === 'local' ? undefined : base(options.url), seal, timeout, crs, threads };
}

function base(url: string | URL | undefined): URL {
  const found = absolute(url ?? globalThis.location?.origin ?? '', 'url');
  if (!/^https?:$/.test(found.protocol)) throw invalid('url must begin with http: or https:');
  if (found.username || found.password) throw invalid('url must have no user name: send a key as apiKey');
  found.search = '';
  found.hash = '';
  if (!found.pathname.endsWith('/')) found.pathname += '/';
  return found;
}

function absolute(url: string | URL, option: string): URL {
  try {
    return new URL(url, globalThis.location?.href);
  } catch {
    throw invalid(`${option} must be a URL, such as https://prover.example`);
  }
}

function invalid(detail: string): EdgeproveError {
  return new EdgeproveError('invalid_option', detail);
}
