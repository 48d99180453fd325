// Remembers which job belongs to a call, so that the same call finds it after the page was loaded again.
//
// Stored is the id of the job under the caller's idempotency key: no input, no witness, no proof and no API key.

/** The part of `Storage` that is used. */
export interface IdStorage {
  getItem(name: string): string | null;
  setItem(name: string, value: string): void;
  removeItem(name: string): void;
}

/** The ids of jobs in progress. */
export class JobIds {
  readonly #storage: IdStorage | undefined;
  readonly #prefix: string;

  /** `storage`: by default `sessionStorage` where there is one; `null` remembers nothing. */
  constructor(storage: IdStorage | null | undefined, service: string) {
    this.#storage = storage === undefined ? sessionStorageOf() : (storage ?? undefined);
    this.#prefix = `edgeprove:${service}:`;
  }

  /** The id of the job of this key. */
  find(key: string): string | undefined {
    return attempt(() => this.#storage?.getItem(this.#prefix + key)) ?? undefined;
  }

  /** Remembers the job of this key. */
  store(key: string, id: string): void {
    attempt(() => this.#storage?.setItem(this.#prefix + key, id));
  }

  /** Forgets the job of this key. */
  remove(key: string): void {
    attempt(() => this.#storage?.removeItem(this.#prefix + key));
  }
}

function sessionStorageOf(): IdStorage | undefined {
  // Reading the property throws where the user forbids storage. Node.js has none, or warns about it.
  return attempt(() => (typeof document === 'undefined' ? undefined : globalThis.sessionStorage));
}

/** A full or forbidden storage costs the resumption, not the proof. */
function attempt<T>(use: () => T): T | undefined {
  try {
    return use();
  } catch {
    return undefined;
  }
}
