// The API key or the voucher of this visit. It stays in memory; in the session storage of this tab only where the reader asked
// for it.

const STORED = 'edgeprove-key';

/** What a header can carry. */
const VALID = /^[!-~]+$/;
/** What every voucher begins with. */
const VOUCHER = 'epv1.';

/** The API key or the voucher, and who wants to know when it changes. */
export class Session {
  #token: string | undefined;
  readonly #listeners = new Set<() => void>();

  constructor() {
    try {
      this.#token = sessionStorage.getItem(STORED) ?? undefined;
    } catch {
      // Storage may be forbidden.
    }
  }

  /** The key or the voucher, which requests send alike; `undefined` without either. */
  get token(): string | undefined {
    return this.#token;
  }

  /** Whether it is a voucher. */
  get isVoucher(): boolean {
    return this.#token !== undefined && Session.isVoucher(this.#token);
  }

  /** Whether it outlives a reload of this tab. */
  get isStored(): boolean {
    try {
      return sessionStorage.getItem(STORED) !== null;
    } catch {
      return false;
    }
  }

  /** Whether a text can be a key or a voucher. */
  static isValid(token: string): boolean {
    return VALID.test(token);
  }

  /** Whether a text is a voucher, by its beginning. */
  static isVoucher(token: string): boolean {
    return token.startsWith(VOUCHER);
  }

  /** Sets the key or the voucher; an empty one removes it. */
  setToken(token: string, isStored: boolean): void {
    this.#token = token === '' ? undefined : token;
    try {
      if (isStored && this.#token !== undefined) sessionStorage.setItem(STORED, this.#token);
      else sessionStorage.removeItem(STORED);
    } catch {
      // It holds until the page is left.
    }
    for (const listener of this.#listeners) listener();
  }

  /** Calls back when it changes. Returns what ends that. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
