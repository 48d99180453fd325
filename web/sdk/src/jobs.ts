// Jobs: proofs that outlive the request that asked for them.

import { ANSWER_MAX, readJson } from './body.js';
import type { CallOptions } from './circuits.js';
import { EdgeproveError } from './errors.js';
import { segment } from './http.js';
import type { Http } from './http.js';
import type { ProofInputs } from './inputs.js';
import type { CircuitReference } from './program.js';
import { jobProgress, resultOf } from './result.js';
import type { ProofProgress, ProofResult } from './result.js';
import type { Sealable, Sealer } from './sealer.js';
import { serverEvents } from './sse.js';
import { limit, pause, timeLeft, timeoutError } from './time.js';
import type { Calldata, JobDocument, JobPage, JobStatus, Priority, ProofAnswer, Target } from './wire.js';

/** How a job is proved. */
export interface SubmitOptions extends CallOptions {
  /** Default: `NORMAL`. */
  priority?: Priority | undefined;
  /** What the proof is for. Default: the circuit's own target. */
  target?: Target | undefined;
  /**
   * Milliseconds from now after which the proof is of no use. Where it would surely be later, the server refuses with
   * `deadline_cannot_be_met`.
   */
  deadline?: number | undefined;
  /**
   * 1 to 255 printable ASCII characters without a comma. The same key with the same request is the same job, however
   * often it is sent; another request with that key is `idempotency_key_reused`. Default: a random one for each call.
   */
  idempotencyKey?: string | undefined;
}

/** An event of a job. */
export interface JobEvent {
  /** Where a stream that is opened later continues. */
  id: string;
  job: JobDocument;
  /** Whether the job has finished: then it is the last event. */
  isLast: boolean;
}

/** Options of following a job. */
export interface FollowOptions extends CallOptions {
  /** The id of the last event that was seen. */
  lastEventId?: string | undefined;
}

/** What a request for a proof sends. */
export interface Upload {
  /** The gzipped witness, or inputs as `application/json`. */
  body: Blob;
  /** The circuit at the server. */
  circuit: string;
}

/** A stream that sends nothing for this long is lost, in milliseconds. The server sends a comment every 15 s. */
const SILENCE_MS = 45_000;
/** Longest pause before a stream is opened again, in milliseconds. */
const RECONNECT_MAX_MS = 5000;

/** The headers of a request for a proof. */
export function proofHeaders(options: SubmitOptions): Record<string, string | undefined> {
  const { idempotencyKey } = options;
  if (idempotencyKey !== undefined && !/^[ -+\--~]{1,255}$/.test(idempotencyKey)) {
    throw new EdgeproveError('invalid_option', 'idempotencyKey must be 1 to 255 printable ASCII characters without a comma');
  }
  return {
    'x-priority': options.priority,
    'x-deadline': options.deadline === undefined ? undefined : String(options.deadline / 1000),
    'idempotency-key': idempotencyKey,
  };
}

/** What is sealed of an upload, where something is. */
export function sealable({ body, circuit }: Upload, target: Target | undefined): Sealable {
  return { body, content: body.type === 'application/json' ? 'application/json' : 'application/gzip', circuit, target };
}

/** Makes what a request sends. */
export type MakeUpload = (circuit: string | CircuitReference, inputs: ProofInputs, options: CallOptions) => Promise<Upload>;

/** Jobs of a server. */
export class Jobs {
  readonly #http: Http;
  readonly #sealer: Sealer;
  readonly #makeUpload: MakeUpload;

  /** Use `prover.jobs`. */
  constructor(http: Http, sealer: Sealer, makeUpload: MakeUpload) {
    this.#http = http;
    this.#sealer = sealer;
    this.#makeUpload = makeUpload;
  }

  /**
   * Submits a job, and returns it once it is stored. The job goes on without its caller, also after an abort.
   *
   * Circuit and inputs are as for `prover.prove`. Rejects with `jobs_disabled` where the server has no jobs.
   */
  async submit(
    circuit: string | CircuitReference,
    inputs: ProofInputs,
    options: SubmitOptions = {},
  ): Promise<JobDocument> {
    const deadlineAt = this.#http.longDeadline();
    const upload = await this.#makeUpload(circuit, inputs, options);
    return await this.submitUpload(upload, {
      ...options, idempotencyKey: options.idempotencyKey ?? crypto.randomUUID(), deadlineAt,
    });
  }

  /** @internal Submits what `prover.prove` made. */
  async submitUpload(upload: Upload, options: SubmitOptions & { deadlineAt: number }): Promise<JobDocument> {
    return await this.#http.send({
      method: 'POST', path: '/v1/proofs', query: { circuit: upload.circuit, target: options.target },
      headers: proofHeaders(options), sealed: this.#sealer.bodyOf(sealable(upload, options.target)),
      signal: options.signal, deadline: options.deadlineAt,
    }, async (response, token) => {
      const job = checkedJob(await readJson<JobDocument>(response, ANSWER_MAX.document));
      this.#http.credentials.remember(job.id, token);
      return job;
    });
  }

  /** The job now. Rejects with `job_not_found`, also for the job of another key. */
  async get(id: string, options: CallOptions = {}): Promise<JobDocument> {
    const call = { path: `/v1/proofs/${segment(id)}`, signal: options.signal };
    return checkedJob(await this.#http.json<JobDocument>(call, ANSWER_MAX.document));
  }

  /** Cancels the job. It may run for a moment after that. Rejects with `job_already_finished`. */
  async cancel(id: string, options: CallOptions = {}): Promise<JobDocument> {
    const call = { method: 'DELETE', path: `/v1/proofs/${segment(id)}`, signal: options.signal } as const;
    return await this.#http.json<JobDocument>(call, ANSWER_MAX.document);
  }

  /** A page of the jobs of the API key, the latest first. Without a key: `api_key_required`. */
  async list(
    options: CallOptions & { status?: JobStatus; circuit?: string; limit?: number; owner?: string; next?: string } = {},
  ): Promise<JobPage> {
    const { signal, next, ...query } = options;
    const call = next === undefined ? { path: '/v1/proofs', query } : { path: next };
    return await this.#http.json<JobPage>({ ...call, signal }, ANSWER_MAX.list);
  }

  /** The proof. Rejects with `proof_not_ready`, or with the problem of a job that failed. */
  async proof(id: string, options: CallOptions = {}): Promise<ProofResult> {
    const started = performance.now();
    const answer = await this.#http.json<ProofAnswer>({
      path: `/v1/proofs/${segment(id)}/proof`, headers: { accept: 'application/json' }, signal: options.signal,
    }, ANSWER_MAX.proof);
    return { ...resultOf(answer, started), jobId: id };
  }

  /** The call that verifies the proof in its contract, for the targets `evm` and `groth16`. */
  async calldata(id: string, options: CallOptions = {}): Promise<Calldata> {
    return await this.#http.json<Calldata>(
      { path: `/v1/proofs/${segment(id)}/calldata`, signal: options.signal }, ANSWER_MAX.proof);
  }

  /**
   * Follows a job until it has finished, for at most `timeout` of the prover, and returns its last document. An abort
   * does not cancel it. `job` is as for {@link events}.
   */
  async follow(
    job: string,
    options: FollowOptions & { onProgress?: ((progress: ProofProgress) => void) | undefined } = {},
  ): Promise<JobDocument> {
    let last: JobDocument | undefined;
    for await (const event of this.events(job, options, this.#http.longDeadline())) {
      last = event.job;
      options.onProgress?.(jobProgress(last));
    }
    if (!last) throw new EdgeproveError('bad_answer', 'the stream of events had no event');
    return last;
  }

  /**
   * The events of a job until it has finished, also over lost connections: each stream continues where the last one
   * ended.
   *
   * `job` is an id, or the path in `links.events` of its document; with the token of that path no key is needed.
   * Rejects with `unreachable` after as many failed connections in a row as there are attempts, with `timeout`, and with
   * the server's problem.
   */
  async *events(job: string, options: FollowOptions = {}, deadlineAt = Infinity): AsyncGenerator<JobEvent, void> {
    const { path, token } = eventsPath(job);
    let last = options.lastEventId;
    for (let failures = 0; ; ) {
      const bounds = limit('following the job', options.signal, deadlineAt);
      let failure: EdgeproveError;
      try {
        const response = await this.#openStream(path, { token, last_event_id: last }, bounds.signal);
        if (!response) {
          // The last event was seen before.
          const now = await this.#readLinked(path, token, options.signal);
          yield { id: last ?? '', job: now, isLast: true };
          return;
        }
        for await (const event of serverEvents(response, SILENCE_MS)) {
          failures = 0;
          last = event.id;
          const isLast = event.name === 'done';
          yield { id: event.id, job: parseJob(event.data), isLast };
          if (isLast) return;
        }
        failure = new EdgeproveError('unreachable', 'the stream of events ended before the job', { retryable: true });
      } catch (error) {
        const reason = bounds.reason();
        if (reason) throw reason;
        failure = error instanceof EdgeproveError
          ? error
          : new EdgeproveError('unreachable', 'the stream of events was lost', { retryable: true, cause: error });
        if (!failure.retryable) throw failure;
      } finally {
        bounds.release();
      }
      failures += 1;
      if (failures >= this.#http.attempts) throw failure;
      const delay = this.#http.delayAfter(failure, failures);
      if (delay === undefined) throw failure;
      if (delay >= timeLeft(deadlineAt)) throw timeoutError('following the job');
      await pause(failure.retryAfterMs === undefined ? Math.min(delay, RECONNECT_MAX_MS) : delay, options.signal);
    }
  }

  /** Opens a stream; `undefined` where the server has nothing new and the job has finished. */
  async #openStream(
    path: string,
    query: { token: string | undefined; last_event_id: string | undefined },
    signal: AbortSignal,
  ): Promise<ReadableStream<Uint8Array> | undefined> {
    const read = async (response: Response): Promise<ReadableStream<Uint8Array> | undefined> => {
      if (response.status === 204) return undefined;
      if (!response.body || !response.headers.get('content-type')?.includes('text/event-stream')) {
        await response.body?.cancel();
        throw new EdgeproveError('bad_answer', 'the server answered with something else than a stream of events');
      }
      return response.body;
    };
    const headers = { accept: 'text/event-stream' };
    return await this.#http.stream({ path, query, headers }, signal, read);
  }

  async #readLinked(path: string, token: string | undefined, signal: AbortSignal | undefined): Promise<JobDocument> {
    const call = { path: path.replace(/\/events$/, ''), query: { token }, signal };
    return checkedJob(await this.#http.json<JobDocument>(call, ANSWER_MAX.document));
  }
}

/** The path of a job's events, and the token of its link. */
function eventsPath(job: string): { path: string; token: string | undefined } {
  if (!job.startsWith('/')) return { path: `/v1/proofs/${segment(job)}/events`, token: undefined };
  const url = new URL(job, 'http://edgeprove.invalid');
  return { path: url.pathname, token: url.searchParams.get('token') ?? undefined };
}

function parseJob(text: string): JobDocument {
  try {
    return checkedJob(JSON.parse(text) as JobDocument);
  } catch (error) {
    if (error instanceof EdgeproveError) throw error;
    throw new EdgeproveError('bad_answer', 'an event of the job is no JSON');
  }
}

function checkedJob(job: JobDocument): JobDocument {
  if (typeof job?.id !== 'string' || typeof job.status !== 'string') {
    throw new EdgeproveError('bad_answer', 'the answer is no job: is the URL that of an Edgeprove server?');
  }
  return job;
}
