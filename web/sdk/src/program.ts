// Compiled programs: from the caller, from a URL or from the server, stored by their hash.

import { ANSWER_MAX, readBytes } from './body.js';
import { sha256 } from './bytes.js';
import type { Circuits } from './circuits.js';
import { EdgeproveError } from './errors.js';
import { deadlineIn, limit, raceAbort } from './time.js';
import { NOIR_VERSION } from './versions.js';
import type { Circuit } from './wire.js';

/** A program that Noir compiled: the JSON of `nargo compile`. */
export interface CompiledProgram {
  /** Base64 of the gzipped bytecode. */
  bytecode: string;
  /** The types of the inputs. */
  abi: unknown;
  /** The release of Noir that compiled it. */
  noir_version?: string;
}

/** A circuit, by the name that the server gives it, and where its program is. */
export interface CircuitReference {
  /** The name or id of the circuit at the server. */
  id: string;
  /**
   * Its compiled program, or the URL of it. Without it, the program of a built or uploaded circuit comes from the
   * server; of a configured circuit the server computes the witness from the inputs. `false`: it does so for every circuit.
   */
  program?: CompiledProgram | string | URL | false;
  /** The SHA-256 that the file at the URL must have, 64 hexadecimal digits. */
  sha256?: string;
}

/** Longest time for a download of a program, in milliseconds. */
const DOWNLOAD_MS = 120_000;
/** The cache of programs, which outlives a page. */
const CACHE = 'edgeprove-programs';
/** Most programs in memory. */
const MEMORY_MAX = 16;

/** Finds programs, and stores those that were downloaded. */
export class Programs {
  readonly #circuits: Circuits;
  readonly #mayAskServer: boolean;
  readonly #fetch: typeof globalThis.fetch | undefined;
  /** By URL or hash. A download serves all calls that wait for it, so no abort ends it. One that failed is not stored. */
  readonly #downloads = new Map<string, Promise<CompiledProgram>>();

  constructor(circuits: Circuits, mayAskServer: boolean, fetch: typeof globalThis.fetch | undefined) {
    this.#circuits = circuits;
    this.#mayAskServer = mayAskServer;
    this.#fetch = fetch;
  }

  /** The program; `undefined` where only the server has it, or for a circuit of circom. */
  async find(reference: CircuitReference, signal?: AbortSignal): Promise<CompiledProgram | undefined> {
    const { program, sha256: expected } = reference;
    if (program === false) return undefined;
    if (program !== undefined && typeof program !== 'string' && !(program instanceof URL)) return checked(program);
    if (program !== undefined) {
      const url = new URL(program, globalThis.location?.href);
      const download = this.#once(expected ?? url.href, async () => {
        return await this.#load(expected, async () => await this.#download(url));
      });
      return await raceAbort(download, signal);
    }
    if (!this.#mayAskServer) return undefined;
    const circuit = await this.#circuits.known(reference.id, signal);
    const file = files(circuit).find((file) => file.name === 'circuit.json');
    if (!file) return undefined;
    const download = this.#once(file.sha256, async () => {
      return await this.#load(file.sha256, async () => await this.#circuits.artifact(circuit.id, file.name));
    });
    return await raceAbort(download, signal);
  }

  async #once(key: string, load: () => Promise<CompiledProgram>): Promise<CompiledProgram> {
    const running = this.#downloads.get(key);
    if (running) return await running;
    const download = load();
    const oldest = this.#downloads.keys().next();
    if (this.#downloads.size >= MEMORY_MAX && !oldest.done) this.#downloads.delete(oldest.value);
    this.#downloads.set(key, download);
    try {
      return await download;
    } catch (error) {
      this.#downloads.delete(key);
      throw error;
    }
  }

  async #download(url: URL): Promise<Uint8Array<ArrayBuffer>> {
    const bounds = limit(`GET ${url.href}`, undefined, deadlineIn(DOWNLOAD_MS));
    const send = this.#fetch ?? globalThis.fetch;
    try {
      const response = await send(url, { signal: bounds.signal });
      if (!response.ok) {
        throw new EdgeproveError('program_required', `${url.href} answered with status ${response.status}`);
      }
      return await readBytes(response, ANSWER_MAX.file);
    } catch (error) {
      const reason = bounds.reason();
      if (reason) throw reason;
      if (error instanceof EdgeproveError) throw error;
      throw new EdgeproveError('program_required', `${url.href} cannot be loaded`, { retryable: true, cause: error });
    } finally {
      bounds.release();
    }
  }

  /** The program with this hash from the cache of the browser, else from `download`. */
  async #load(
    expected: string | undefined,
    download: () => Promise<Uint8Array<ArrayBuffer>>,
  ): Promise<CompiledProgram> {
    // A cache can be full or forbidden: then there is none.
    const cache = expected === undefined ? undefined : await globalThis.caches?.open(CACHE).catch(() => undefined);
    const key = `/edgeprove-programs/${expected}`;
    const stored = await cache?.match(key).catch(() => undefined);
    if (stored && expected !== undefined) {
      const bytes = new Uint8Array(await stored.arrayBuffer());
      if (await sha256(bytes) === expected) return parse(bytes);
    }
    const bytes = await download();
    if (expected !== undefined) {
      const found = await sha256(bytes);
      if (found === undefined) {
        throw new EdgeproveError('program_changed', 'the hash of a program can be checked on pages with TLS or of localhost only');
      }
      if (found !== expected.toLowerCase()) {
        throw new EdgeproveError('program_changed', `the program has the SHA-256 ${found}, and should have ${expected}`);
      }
    }
    const program = parse(bytes);
    await cache?.put(key, new Response(bytes)).catch(() => {});
    return program;
  }
}

/** The files of a circuit that was built or uploaded. */
function files(circuit: Circuit): readonly { name: string; sha256: string }[] {
  return circuit.built?.artifacts ?? circuit.uploaded?.artifacts ?? [];
}

function parse(bytes: Uint8Array): CompiledProgram {
  try {
    return checked(JSON.parse(new TextDecoder().decode(bytes)) as CompiledProgram);
  } catch (error) {
    if (error instanceof EdgeproveError) throw error;
    throw new EdgeproveError('program_required', 'the program is no JSON: use the file that `nargo compile` wrote');
  }
}

function checked(program: CompiledProgram): CompiledProgram {
  if (typeof program?.bytecode !== 'string' || typeof program.abi !== 'object') {
    throw new EdgeproveError('program_required', 'the program has no bytecode or no abi: use the JSON that `nargo compile` wrote');
  }
  return program;
}

/** A sentence about the versions where the program, or the server, has another one than this package. */
export function versionHint(program: CompiledProgram | undefined, server?: string): string | undefined {
  const base = program?.noir_version?.split('+')[0];
  if (base !== undefined && base !== NOIR_VERSION) {
    return `the program was compiled by Noir ${base}, and this package executes programs of ${NOIR_VERSION}: ` +
      `compile it again with that release, or install the version of @edgeprove/client for ${base}`;
  }
  if (server !== undefined && server !== NOIR_VERSION) {
    return `the server proves programs of Noir ${server}, and this package is for ${NOIR_VERSION}: ` +
      'install the version of @edgeprove/client that belongs to the server';
  }
  return undefined;
}
