// Decides whether a request is sealed, and for which key.

import { ANSWER_MAX } from './body.js';
import { EdgeproveError } from './errors.js';
import type { Http } from './http.js';
import type { SealingKey, ServiceDocument } from './wire.js';

/**
 * Whether witnesses and inputs are sealed for the server, so that nothing on the way can read them.
 *
 * - `true`: where the server has a key. Then nothing is ever sent in the clear.
 * - `required`: always. A server without a key is refused.
 * - `false`: never.
 */
export type SealOption = boolean | 'required';

/** What a request sends. */
export interface Sealable {
  body: Blob;
  /** The media type of the body. */
  content: string;
  /** The circuit that the request names. */
  circuit: string;
  target: string | undefined;
}

/** The body of one attempt, and its media type. */
export interface SentBody {
  body: Blob;
  contentType: string;
}

/** How long an answer about keys is used, in milliseconds. A key may last longer, and a server may get a new one. */
const REMEMBERED_MS = 600_000;
/** How long before its end a key is not used any more, in milliseconds. */
const MARGIN_MS = 60_000;

/** The keys of the server, and its clock. */
interface Known {
  keys: SealingKey[];
  /** The time at the server, in milliseconds since 1970, when `performance.now()` was `at`. */
  serverMs: number;
  at: number;
}

/** Codes with which a server refuses what was sealed for an old key, at a wrong time, or has arrived before. */
const SEAL_AGAIN = new Set(['sealing_key_unknown', 'sealed_at_wrong_time', 'sealed_body_replayed']);

/** Seals what requests send. */
export class Sealer {
  readonly #http: Http;
  readonly #option: SealOption;
  #known: Known | undefined;

  constructor(http: Http, option: SealOption) {
    this.#http = http;
    this.#option = option;
  }

  /**
   * The body of a request. `make` makes that of an attempt with this key or voucher, to which it is bound, and
   * `refused` decides whether another attempt may succeed at once.
   */
  bodyOf(sealable: Sealable, signal: AbortSignal | undefined): { make: (token: string | undefined) => Promise<SentBody>; refused: (error: EdgeproveError) => boolean } {
    return {
      make: async (token) => await this.#make(sealable, token, signal),
      refused: (error) => {
        if (!SEAL_AGAIN.has(error.code)) return false;
        this.#known = undefined;
        return true;
      },
    };
  }

  async #make(
    { body, content, circuit, target }: Sealable,
    token: string | undefined,
    signal: AbortSignal | undefined,
  ): Promise<SentBody> {
    if (this.#option === false) return { body, contentType: content };
    const known = await this.#keys(signal);
    if (known.keys.length === 0) {
      if (this.#option !== 'required') return { body, contentType: content };
      throw unavailable('the server has no key for which something could be sealed');
    }
    let module;
    try {
      module = await import('./seal.js');
    } catch (error) {
      throw unavailable('the module that seals cannot be loaded', error);
    }
    const key = known.keys.find(module.isUsable);
    if (!key) throw unavailable('the server has no key of a suite that this package knows: update it');
    const binding = { content, circuit, target: target ?? '', token };
    try {
      const sealed = await module.seal(key, binding, known.serverMs + performance.now() - known.at, body);
      return { body: sealed, contentType: `application/vnd.edgeprove.sealed; content="${content}"` };
    } catch (error) {
      // A browser has X25519 on pages with TLS only.
      throw unavailable('this runtime cannot seal for the key of the server: it needs X25519 of the Web Cryptography API', error);
    }
  }

  /** The keys of the server. A server that has none today may have some later. */
  async #keys(signal: AbortSignal | undefined): Promise<Known> {
    const known = this.#known;
    if (known) {
      const passed = performance.now() - known.at;
      const isValid = ({ expires_at }: SealingKey): boolean => known.serverMs + passed + MARGIN_MS < Date.parse(expires_at);
      if (passed < REMEMBERED_MS && known.keys.every(isValid)) return known;
    }
    const found = await this.#fetch(signal);
    this.#known = found;
    return found;
  }

  async #fetch(signal: AbortSignal | undefined): Promise<Known> {
    try {
      const path = '/.well-known/edgeprove';
      const { sealing, timestamp } = await this.#http.json<ServiceDocument>({ path, signal }, ANSWER_MAX.document);
      const serverMs = Date.parse(timestamp);
      if (!Array.isArray(sealing?.keys) || Number.isNaN(serverMs)) {
        throw new EdgeproveError('bad_answer', `the server's answer at ${path} has no keys or no time`);
      }
      return { keys: sealing.keys, serverMs, at: performance.now() };
    } catch (error) {
      // A server of an earlier version, which opens nothing that is sealed.
      if (!(error instanceof EdgeproveError) || error.status !== 404) throw error;
      return { keys: [], serverMs: 0, at: performance.now() };
    }
  }
}

function unavailable(detail: string, cause?: unknown): EdgeproveError {
  return new EdgeproveError('sealing_unavailable', `${detail}; nothing was sent`, { cause });
}
