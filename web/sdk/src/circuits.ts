// The circuits of a server: list, keys and files, and circuits that it builds from templates.

import { ANSWER_MAX, errorOf, readBytes, readJson } from './body.js';
import { EdgeproveError } from './errors.js';
import { segment } from './http.js';
import type { Http } from './http.js';
import { pause, throwIfLate } from './time.js';
import type { Circuit, CircuitEntry, CircuitPage, Hex, Target, Template, TemplateEntry, Verdict } from './wire.js';

/** Options of a call that sends one request. */
export interface CallOptions {
  /** Ends the call. */
  signal?: AbortSignal | undefined;
}

/** A verification key. */
export interface VerificationKey {
  /** The file `vk` of bb; of a circom circuit `verification_key.json`. */
  bytes: Uint8Array<ArrayBuffer>;
  /** Its hash, as in `vkHash` of a proof. */
  hash: Hex;
}

/** The circuit of a template and its parameters. */
export interface CircuitRequest {
  /** A name that `templates()` lists. */
  templateName: string;
  /** Default: the first language of the template. */
  language?: 'noir' | 'circom';
  /** The values of its parameters. Integers beyond 2^53 - 1 are strings. */
  params: Record<string, string | number | boolean>;
}

/** First and longest pause between two looks at a circuit that is being built, in milliseconds. */
const LOOK_MS = [250, 3000] as const;
/** Most circuits and keys that are remembered. */
const MEMORY_MAX = 256;

/** The circuits of a server. */
export class Circuits {
  readonly #http: Http;
  readonly #keys = new Map<string, VerificationKey>();
  readonly #known = new Map<string, Circuit>();

  constructor(http: Http) {
    this.#http = http;
  }

  /** A page of the circuits. `next` of the page before leads to the following one; `limit` is at most 1,000. */
  async list(options: CallOptions & { limit?: number; next?: string } = {}): Promise<CircuitPage> {
    const { next, limit, signal } = options;
    const call = next === undefined ? { path: '/v1/circuits', query: { limit } } : { path: next };
    return await this.#http.json<CircuitPage>({ ...call, signal }, ANSWER_MAX.list);
  }

  /** A circuit with its inputs. Rejects with `circuit_not_found`. */
  async get(circuit: string, options: CallOptions = {}): Promise<Circuit> {
    const path = `/v1/circuits/${segment(circuit)}`;
    const found = await this.#http.json<Circuit>({ path, signal: options.signal }, ANSWER_MAX.list);
    if (found.status === 'ready') remember(this.#known, circuit, found);
    return found;
  }

  /** The circuit as it was when it was first seen ready. */
  async known(circuit: string, signal?: AbortSignal): Promise<Circuit> {
    return this.#known.get(circuit) ?? (await this.get(circuit, { signal }));
  }

  /** What is remembered of a circuit, without a request. */
  remembered(circuit: string): Circuit | undefined {
    return this.#known.get(circuit);
  }

  /** The verification key for a target; by default for the circuit's own. It is loaded once. */
  async vk(circuit: string, options: CallOptions & { target?: Target | undefined } = {}): Promise<VerificationKey> {
    const { target, signal } = options;
    const stored = this.#keys.get(keyName(circuit, target));
    if (stored) return stored;
    const call = { path: `/v1/circuits/${segment(circuit)}/vk`, query: { target }, signal };
    const key = await this.#http.send(call, async (response) => {
      const hash = (response.headers.get('x-vk-hash') ?? response.headers.get('etag') ?? '').replaceAll('"', '');
      return { bytes: await readBytes(response, ANSWER_MAX.key), hash: hash as Hex };
    });
    remember(this.#keys, keyName(circuit, target), key);
    return key;
  }

  /** Stores a key that was made here. */
  rememberKey(circuit: string, target: Target, key: VerificationKey): void {
    remember(this.#keys, keyName(circuit, target), key);
  }

  /** A file of a circuit that was built or uploaded: `circuit.json`, `verifier.sol`, … */
  async artifact(circuit: string, name: string, options: CallOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
    const path = `/v1/circuits/${segment(circuit)}/artifacts/${segment(name)}`;
    return await this.#http.bytes({ path, signal: options.signal, deadline: this.#http.longDeadline() }, ANSWER_MAX.file);
  }

  /** The templates of the server. */
  async templates(options: CallOptions = {}): Promise<TemplateEntry[]> {
    const call = { path: '/v1/templates', signal: options.signal };
    return (await this.#http.json<{ templates: TemplateEntry[] }>(call, ANSWER_MAX.list)).templates;
  }

  /** A template with its parameters and samples. Rejects with `template_not_found`. */
  async template(name: string, options: CallOptions = {}): Promise<Template> {
    const call = { path: `/v1/templates/${segment(name)}`, signal: options.signal };
    return await this.#http.json<Template>(call, ANSWER_MAX.list);
  }

  /** Asks for a circuit. It is `pending` until the server has built it; the same request is the same circuit. */
  async request(request: CircuitRequest, options: CallOptions = {}): Promise<CircuitEntry> {
    const deadline = this.#http.longDeadline();
    return await this.#http.send({
      method: 'POST', path: '/v1/circuits', headers: { 'content-type': 'application/json' },
      body: JSON.stringify(request), signal: options.signal, deadline,
    }, async (response) => await readJson<CircuitEntry>(response, ANSWER_MAX.list));
  }

  /**
   * Asks for a circuit and waits until it is ready, for at most `timeout` of the prover.
   *
   * Rejects with the problem of a build that failed, and with `timeout`; the build goes on then.
   */
  async build(request: CircuitRequest, options: CallOptions = {}): Promise<Circuit> {
    const deadline = this.#http.longDeadline();
    const { signal } = options;
    let found: CircuitEntry = await this.request(request, { signal });
    for (let look: number = LOOK_MS[0]; ; look = Math.min(look * 1.5, LOOK_MS[1])) {
      if (found.status === 'ready') return await this.get(found.id, { signal });
      if (found.status === 'failed') {
        throw found.error ? errorOf(found.error) : new EdgeproveError('bad_answer', 'a build failed without a reason');
      }
      throwIfLate(deadline, `the build of ${found.id}`);
      await pause(look, signal);
      found = await this.get(found.id, { signal });
    }
  }

  /** Verifies a proof at the server. */
  async verify(
    circuit: string,
    body: { proof: unknown; publicInputs: readonly string[] },
    options: CallOptions & { target?: Target; on?: 'evm' | undefined },
  ): Promise<Verdict> {
    const { target, on, signal } = options;
    return await this.#http.json<Verdict>({
      method: 'POST', path: `/v1/verify/${segment(circuit)}`, query: { target, on },
      headers: { 'content-type': 'application/json' }, body: JSON.stringify(body),
      signal, deadline: this.#http.longDeadline(),
    }, ANSWER_MAX.document);
  }
}

function keyName(circuit: string, target: Target | undefined): string {
  return `${circuit}?${target ?? ''}`;
}

/** Stores a value, and drops the oldest one where there are too many. */
function remember<T>(map: Map<string, T>, name: string, value: T): void {
  const oldest = map.keys().next();
  if (map.size >= MEMORY_MAX && !oldest.done) map.delete(oldest.value);
  map.set(name, value);
}
