// Time limits and pauses that a caller's signal ends.

import { abortedError, EdgeproveError } from './errors.js';

/** The point in time `ms` from now, of a clock that never goes back. `Infinity` is no limit. */
export function deadlineIn(ms: number): number {
  return performance.now() + ms;
}

/** Milliseconds until a point in time, at least 0. */
export function timeLeft(deadline: number): number {
  return Math.max(0, deadline - performance.now());
}

/** The error of a call that took too long. */
export function timeoutError(what: string): EdgeproveError {
  return new EdgeproveError('timeout', `${what} took longer than allowed`, { retryable: true });
}

/** A signal that fires with the caller's, or at the deadline. `release` frees its timer and its listener. */
export interface Limit {
  signal: AbortSignal;
  /** The reason as an error; `undefined` until the signal fires. */
  reason: () => EdgeproveError | undefined;
  release: () => void;
}

/** Limits work to the caller's signal and to a deadline. `what` is for the message. */
export function limit(what: string, signal: AbortSignal | undefined, deadline: number): Limit {
  const controller = new AbortController();
  let reason: EdgeproveError | undefined;
  const end = (error: EdgeproveError): void => {
    reason ??= error;
    controller.abort(reason);
  };
  const onAbort = (): void => {
    if (signal) end(abortedError(signal));
  };
  if (signal?.aborted) onAbort();
  signal?.addEventListener('abort', onAbort, { once: true });
  const left = timeLeft(deadline);
  // A timer has at most 2^31 - 1 ms; a longer limit is none.
  const timer = left < 2 ** 31 ? setTimeout(() => end(timeoutError(what)), left) : undefined;
  const release = (): void => {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  };
  return { signal: controller.signal, reason: () => reason, release };
}

/** Waits. Rejects at once when the signal fires. */
export async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    if (signal?.aborted) {
      reject(abortedError(signal));
      return;
    }
    const onAbort = (): void => {
      clearTimeout(timer);
      if (signal) reject(abortedError(signal));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

/** Settles as the work does, but rejects at once when the signal fires. The work itself is not stopped. */
export async function raceAbort<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return await work;
  let onAbort: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(abortedError(signal));
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    if (onAbort) signal.removeEventListener('abort', onAbort);
  }
}

/** Throws after the deadline. */
export function throwIfLate(deadline: number, what: string): void {
  if (timeLeft(deadline) === 0) throw timeoutError(what);
}
