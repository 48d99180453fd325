// Decides whether a request is sealed, and for which key.

import { ANSWER_MAX, readJson } from './body.js';
import { EdgeproveError } from './errors.js';
import type { Http } from './http.js';
import { deadlineIn } from './time.js';
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

/** Makes the bodies of a request. */
export interface SealedBody {
  /** The body of an attempt. Rejects when the signal fires. */
  make: (token: string | undefined, signal: AbortSignal) => Promise<SentBody>;
  /** Whether another attempt with a new body may succeed at once. */
  refused: (error: EdgeproveError) => boolean;
}

/** Longest time to fetch the keys, in milliseconds. */
const FETCH_MS = 30_000;
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

  /** The body of a request. */
  bodyOf(sealable: Sealable): SealedBody {
    return {
      make: async (token, signal) => await this.#make(sealable, token, signal),
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
    signal: AbortSignal,
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

  /** The keys of the server. A server that had none may have some now, and then nothing may be sent in the clear. */
  async #keys(signal: AbortSignal): Promise<Known> {
    const known = this.#known;
    if (known && known.keys.length > 0) {
      const passed = performance.now() - known.at;
      const isValid = ({ expires_at }: SealingKey): boolean => known.serverMs + passed + MARGIN_MS < Date.parse(expires_at);
      if (passed < REMEMBERED_MS && known.keys.every(isValid)) return known;
    }
    const found = await this.#fetch(signal);
    this.#known = found;
    return found;
  }

  /** One attempt: the attempt of the request that needs the keys is repeated as a whole. */
  async #fetch(signal: AbortSignal): Promise<Known> {
    try {
      const path = '/.well-known/edgeprove';
      const read = async (response: Response): Promise<ServiceDocument> => await readJson(response, ANSWER_MAX.document);
      const { sealing, timestamp } = await this.#http.once({ path, signal }, deadlineIn(FETCH_MS), read);
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
