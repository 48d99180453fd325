// Reads answers: never more bytes than an answer of their kind can have.

import { concat } from './bytes.js';
import { EdgeproveError } from './errors.js';
import type { ProblemDocument } from './wire.js';

/** Most bytes of an answer, by its kind. */
export const ANSWER_MAX = {
  /** A problem document, a job. */
  document: 1 << 20,
  /** A list, a circuit with its inputs. */
  list: 16 << 20,
  /** A proof with its public inputs. */
  proof: 16 << 20,
  /** A verification key. */
  key: 1 << 20,
  /** A compiled program, or the points of the CRS. */
  file: 256 << 20,
} as const;

/** Statuses at which the same request may succeed later, where the answer is no problem document: a proxy's. */
const TEMPORARY = new Set([408, 429, 502, 503, 504]);

/** The body, of at most `max` bytes. Rejects with `answer_too_large`, and stops the transfer, at the byte beyond. */
export async function readBytes(response: Response, max: number): Promise<Uint8Array<ArrayBuffer>> {
  const tooLarge = (): EdgeproveError =>
    new EdgeproveError('answer_too_large', `an answer of the server has more than ${max} bytes`, about(response));
  if (Number(response.headers.get('content-length')) > max) {
    await response.body?.cancel();
    throw tooLarge();
  }
  if (!response.body) return new Uint8Array();
  const parts: Uint8Array[] = [];
  let size = 0;
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return concat(parts);
    size += value.length;
    if (size > max) {
      await reader.cancel();
      throw tooLarge();
    }
    parts.push(value);
  }
}

/** The body as JSON. Rejects with `bad_answer` where it is none. */
export async function readJson<T>(response: Response, max: number): Promise<T> {
  const bytes = await readBytes(response, max);
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    if (typeof value === 'object' && value !== null) return value as T;
  } catch {
    // Below.
  }
  throw new EdgeproveError('bad_answer', 'the answer is no JSON document: is the URL that of an Edgeprove server?', about(response));
}

/** Status and request id of an answer, for an error. */
export function about(response: Response): { status: number; requestId: string | undefined } {
  return { status: response.status, requestId: response.headers.get('x-request-id') ?? undefined };
}

/** The error that an answer with a failure describes. */
export async function problemOf(response: Response): Promise<EdgeproveError> {
  const seconds = Number(response.headers.get('retry-after') ?? Number.NaN);
  const retryAfterMs = seconds >= 0 ? seconds * 1000 : undefined;
  if (response.headers.get('content-type')?.includes('application/problem+json')) {
    const problem = await readJson<ProblemDocument>(response, ANSWER_MAX.document);
    if (typeof problem.code === 'string') return errorOf(problem, { ...about(response), retryAfterMs });
  } else {
    await response.body?.cancel();
  }
  const detail = `the server, or a proxy in front of it, answered with status ${response.status} and without a problem document`;
  return new EdgeproveError('bad_answer', detail, {
    ...about(response), retryAfterMs, retryable: TEMPORARY.has(response.status),
  });
}

/** The error that a problem document describes. `seen` is what its answer had beside it. */
export function errorOf(
  problem: ProblemDocument,
  seen: { status?: number; requestId?: string | undefined; retryAfterMs?: number | undefined } = {},
): EdgeproveError {
  return new EdgeproveError(problem.code, String(problem.detail ?? problem.title ?? problem.code), {
    retryable: problem.retryable === true,
    status: seen.status ?? problem.status,
    requestId: problem.request_id ?? seen.requestId,
    retryAfterMs: seen.retryAfterMs,
    field: problem.field,
    fallbackCircuit: problem.fallback_circuit,
  });
}
