// The API key of this visit. It stays in memory; in the session storage of this tab only where the reader asked for it.

const KEY = 'edgeprove-key';

/** What a header can carry. */
const VALID = /^[!-~]+$/;

/** The API key, and who wants to know when it changes. */
export class Session {
  #key: string | undefined;
  readonly #listeners = new Set<() => void>();

  constructor() {
    try {
      this.#key = sessionStorage.getItem(KEY) ?? undefined;
    } catch {
      // Storage may be forbidden.
    }
  }

  /** The key; `undefined` without one. */
  get apiKey(): string | undefined {
    return this.#key;
  }

  /** Whether the key outlives a reload of this tab. */
  get isStored(): boolean {
    try {
      return sessionStorage.getItem(KEY) !== null;
    } catch {
      return false;
    }
  }

  /** Whether a text can be a key. */
  static isValid(key: string): boolean {
    return VALID.test(key);
  }

  /** Sets the key; an empty one removes it. */
  setKey(key: string, isStored: boolean): void {
    this.#key = key === '' ? undefined : key;
    try {
      if (isStored && this.#key !== undefined) sessionStorage.setItem(KEY, this.#key);
      else sessionStorage.removeItem(KEY);
    } catch {
      // It holds until the page is left.
    }
    for (const listener of this.#listeners) listener();
  }

  /** Calls back when the key changes. Returns what ends that. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
