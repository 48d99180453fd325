// The messages between a page and its worker.

import { EdgeproveError } from './errors.js';
import type { Engine } from './engine.js';

/** The name of a request. */
export type Operation = keyof Engine;

/** A request of the page. */
export interface WorkerRequest {
  id: number;
  operation: Operation;
  args: unknown[];
}

/** The worker is loaded. */
export interface WorkerReady {
  ready: true;
}

/** The outcome of a request. */
export type WorkerAnswer = { id: number; value: unknown } | { id: number; error: PlainError };

/** An error that can be sent: an `Error` loses its members on the way. */
export interface PlainError {
  code: string;
  detail: string;
  retryable: boolean;
  field: string | undefined;
  cause: string | undefined;
}

/** An error in the form in which it is sent. */
export function plainError(error: unknown): PlainError {
  if (error instanceof EdgeproveError) {
    const { code, detail, retryable, field, cause } = error;
    return { code, detail, retryable, field, cause: cause === undefined ? undefined : String(cause) };
  }
  return { code: 'local_failed', detail: 'the worker failed', retryable: false, field: undefined, cause: String(error) };
}

/** The error that was sent. */
export function receivedError({ code, detail, retryable, field, cause }: PlainError): EdgeproveError {
  return new EdgeproveError(code, detail, { retryable, field, cause });
}
