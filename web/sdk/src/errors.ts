// The one error class of this package, and the codes that only the client has.

/** Codes of failures that the client itself finds. Every other code is one of the server: docs/ERRORS.md lists them. */
export type ClientErrorCode =
  /** The caller's `AbortSignal` fired. `cause` is its reason. */
  | 'aborted'
  /** The server sent more bytes than an answer of this kind can have. */
  | 'answer_too_large'
  /** The server sent something that no Edgeprove server sends, such as the page of a proxy. */
  | 'bad_answer'
  /** An option or an argument cannot be used. The detail names it. */
  | 'invalid_option'
  /** The circuit cannot be proved or verified in this process, for example because it is one of circom. */
  | 'local_unsupported'
  /** `mode: 'local'`: the call would need a server. Nothing was sent. */
  | 'local_mode'
  /** bb.js failed in this process. `cause` is its error. */
  | 'local_failed'
  /** An optional package is not installed, or cannot be loaded. The detail has the command that installs it. */
  | 'peer_missing'
  /** The compiled program of the circuit is needed, and neither the caller nor the server has it. */
  | 'program_required'
  /** The program does not have the hash that it should have. */
  | 'program_changed'
  /** A receipt that no given key signed, or that is of another proof. */
  | 'receipt_invalid'
  /** This runtime cannot verify a receipt: it has no Ed25519. */
  | 'receipt_unverifiable'
  /** Nothing can be sealed for the server: this runtime cannot, or `seal: 'required'` and the server has no key. */
  | 'sealing_unavailable'
  /** The server did not finish within `timeout`. */
  | 'timeout'
  /** No connection to the server, or it was lost. Browsers report the same for an origin that the server refuses. */
  | 'unreachable'
  /** The function `voucher` failed, or returned no voucher. `cause` is its error. */
  | 'voucher_unavailable'
  /** Server, program and packages have different versions of Noir. The detail names them and the fix. */
  | 'version_mismatch';

/** The members of an {@link EdgeproveError} beside code and detail. */
export interface EdgeproveErrorInit {
  /** Whether the same call may succeed later. Default: `false`. */
  retryable?: boolean | undefined;
  /** The HTTP status, where a server answered. */
  status?: number | undefined;
  /** The id of the request, as in the log of the server. */
  requestId?: string | undefined;
  /** How long the server asks to wait before a retry, in milliseconds. */
  retryAfterMs?: number | undefined;
  /** The path of the input that is wrong, such as `privateInputs.age`. */
  field?: string | undefined;
  /** The next smaller circuit of the family, where that may succeed. */
  fallbackCircuit?: string | undefined;
  /** The error behind this one. */
  cause?: unknown;
}

/**
 * Every failure of this package. Programs read {@link code} and {@link retryable}; people read `message`.
 *
 * No member contains a value of a witness or of an input.
 */
export class EdgeproveError extends Error {
  override readonly name: string = 'EdgeproveError';
  /** What went wrong: a {@link ClientErrorCode}, or a code of the server. A newer server may send new codes. */
  readonly code: ClientErrorCode | (string & {});
  /** What is wrong this time, and what to do about it. The same as `message`. */
  readonly detail: string;
  /** Whether the same call may succeed later. */
  readonly retryable: boolean;
  /** The HTTP status, where a server answered. */
  readonly status: number | undefined;
  /** The id of the request, as in the log of the server. */
  readonly requestId: string | undefined;
  /** How long the server asks to wait before a retry, in milliseconds. */
  readonly retryAfterMs: number | undefined;
  /** The path of the input that is wrong. */
  readonly field: string | undefined;
  /** The next smaller circuit of the family, where that may succeed. */
  readonly fallbackCircuit: string | undefined;

  constructor(code: ClientErrorCode | (string & {}), detail: string, init: EdgeproveErrorInit = {}) {
    super(detail, init.cause === undefined ? undefined : { cause: init.cause });
    this.code = code;
    this.detail = detail;
    this.retryable = init.retryable ?? false;
    this.status = init.status;
    this.requestId = init.requestId;
    this.retryAfterMs = init.retryAfterMs;
    this.field = init.field;
    this.fallbackCircuit = init.fallbackCircuit;
  }
}

/** The error of a call whose signal fired. */
export function abortedError(signal: AbortSignal): EdgeproveError {
  return new EdgeproveError('aborted', 'the caller aborted the call', { cause: signal.reason });
}

/** Throws if the signal has fired. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw abortedError(signal);
}
