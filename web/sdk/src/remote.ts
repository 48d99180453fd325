// Proves at a server: as a job, or while the caller waits.

import { ANSWER_MAX, errorOf, readJson } from './body.js';
import { EdgeproveError, throwIfAborted } from './errors.js';
import { segment } from './http.js';
import type { Http } from './http.js';
import { proofHeaders, sealable } from './jobs.js';
import type { Jobs, SubmitOptions, Upload } from './jobs.js';
import { jobProgress, localProgress, resultOf } from './result.js';
import type { ProofProgress, ProofResult } from './result.js';
import type { JobIds } from './resume.js';
import type { Sealer } from './sealer.js';
import { raceAbort } from './time.js';
import type { JobDocument, ProofAnswer } from './wire.js';

/** How long a submission may go on after its caller aborted, to learn the id of the job, in milliseconds. */
const GRACE_MS = 5000;
/** Longest time to cancel a job that nobody waits for, in milliseconds. */
const CANCEL_MS = 10_000;

/** A request for a proof at a server. */
export interface RemoteRequest extends SubmitOptions {
  /** The circuit at the server. */
  circuit: string;
  /** What is sent. It is made only where it is needed: a job that goes on needs no witness. */
  upload: () => Promise<Upload>;
  /** `direct`: one request, which the server proves while the caller waits. */
  delivery: 'job' | 'direct';
  onProgress: (progress: ProofProgress) => void;
  started: number;
}

/** Proves at one server. */
export class RemoteProver {
  readonly #http: Http;
  readonly #sealer: Sealer;
  readonly #jobs: Jobs;
  readonly #ids: JobIds;
  /** Whether the server refused a job because it has none: then later calls do not ask again. */
  #hasNoJobs = false;

  constructor(http: Http, sealer: Sealer, jobs: Jobs, ids: JobIds) {
    this.#http = http;
    this.#sealer = sealer;
    this.#jobs = jobs;
    this.#ids = ids;
  }

  /** Proves, and cancels the job where it does not wait for it any more. */
  async prove(request: RemoteRequest): Promise<ProofResult> {
    const deadlineAt = this.#http.longDeadline();
    if (request.delivery === 'direct' || this.#hasNoJobs) return await this.#direct(request, deadlineAt);
    const key = request.idempotencyKey;
    const job = (key === undefined ? undefined : await this.#earlier(request, key)) ??
      (await this.#submit(request, deadlineAt));
    if (!job) return await this.#direct(request, deadlineAt);
    if (key !== undefined) this.#ids.store(key, job.id);
    let isGone = false;
    try {
      const done = await this.#follow(job, request, deadlineAt);
      isGone = true;
      return await this.#collect(done, request);
    } catch (error) {
      if (!isGone) this.#abandon(job.id);
      throw error;
    } finally {
      // A page that is closed meanwhile does not come here, and finds its job again.
      if (key !== undefined) this.#ids.remove(key);
    }
  }

  /** The job that an earlier load of the page submitted under this key. */
  async #earlier(request: RemoteRequest, key: string): Promise<JobDocument | undefined> {
    const id = this.#ids.find(key);
    if (id === undefined) return undefined;
    let job: JobDocument;
    try {
      job = await this.#jobs.get(id, { signal: request.signal });
    } catch (error) {
      // It expired, or belongs to another key: submit again.
      if (!(error instanceof EdgeproveError) || (error.status !== 404 && error.status !== 410)) throw error;
      this.#ids.remove(key);
      return undefined;
    }
    if (job.circuit !== request.circuit || (request.target !== undefined && job.target !== request.target)) {
      const detail = `the idempotency key belongs to a job of ${job.circuit} for ${job.target}: use a new key for a new request`;
      throw new EdgeproveError('idempotency_key_reused', detail);
    }
    return job;
  }

  /** Submits; `undefined` where the server has no jobs. */
  async #submit(request: RemoteRequest, deadlineAt: number): Promise<JobDocument | undefined> {
    const upload = await request.upload();
    request.onProgress(localProgress('upload', 'server', 0));
    throwIfAborted(request.signal);
    // Not the caller's signal: an answer that comes after the abort has the id of the job that must be cancelled.
    const grace = new AbortController();
    const submission = this.#jobs.submitUpload(upload, {
      ...request, idempotencyKey: request.idempotencyKey ?? crypto.randomUUID(), signal: grace.signal, deadlineAt,
    });
    try {
      return await raceAbort(submission, request.signal);
    } catch (error) {
      if (request.signal?.aborted) {
        const timer = setTimeout(() => grace.abort(), GRACE_MS);
        submission.then((job) => this.#abandon(job.id), () => {}).finally(() => clearTimeout(timer));
      }
      if (!(error instanceof EdgeproveError) || error.code !== 'jobs_disabled') throw error;
      this.#hasNoJobs = true;
      return undefined;
    }
  }

  async #follow(job: JobDocument, request: RemoteRequest, deadlineAt: number): Promise<JobDocument> {
    request.onProgress(jobProgress(job));
    if (job.status !== 'queued' && job.status !== 'running') return job;
    for await (const event of this.#jobs.events(job.id, { signal: request.signal }, deadlineAt)) {
      request.onProgress(jobProgress(event.job));
      if (event.isLast) return event.job;
    }
    throw new EdgeproveError('bad_answer', 'the stream of events ended without the last event');
  }

  async #collect(job: JobDocument, request: RemoteRequest): Promise<ProofResult> {
    throwIfNotCompleted(job);
    const result = await this.#jobs.proof(job.id, { signal: request.signal });
    result.timings.totalMs = performance.now() - request.started;
    return result;
  }

  /** One request. The server stops proving when its connection is closed. */
  async #direct(request: RemoteRequest, deadlineAt: number): Promise<ProofResult> {
    const upload = await request.upload();
    request.onProgress(localProgress('upload', 'server', 0));
    const { idempotencyKey: _, ...options } = request;
    const answer = await this.#http.send({
      method: 'POST', path: `/api/prove/${segment(upload.circuit)}`, query: { target: request.target },
      headers: { ...proofHeaders(options), accept: 'application/json' },
      sealed: this.#sealer.bodyOf(sealable(upload, request.target)),
      signal: request.signal, deadline: deadlineAt,
    }, async (response) => await readJson<ProofAnswer>(response, ANSWER_MAX.proof));
    const result = resultOf(answer, request.started);
    request.onProgress(localProgress('done', 'server', 100));
    return result;
  }

  /** Cancels a job that nobody waits for. An error changes nothing: the job may have finished, or the server is gone. */
  #abandon(id: string): void {
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(), CANCEL_MS);
    this.#jobs.cancel(id, { signal: controller.signal }).catch(() => {}).finally(() => clearTimeout(timer));
  }
}

/** Throws the problem of a job that has finished without a proof. */
export function throwIfNotCompleted(job: JobDocument): void {
  if (job.status === 'completed') return;
  if (job.error) throw errorOf(job.error);
  const code = job.status === 'expired' ? 'job_expired' : 'job_cancelled';
  throw new EdgeproveError(code, `the job is ${job.status}`);
}

/** Whether another place may succeed where a server failed in this way: it cannot be reached, is busy, or refuses. */
export function isServersFault(error: EdgeproveError): boolean {
  if (error.code === 'unreachable' || error.code === 'timeout' || error.code === 'answer_too_large') return true;
  if (error.code === 'bad_answer' || error.code === 'job_expired' || error.code === 'sealing_unavailable') return true;
  return error.status !== undefined && (error.status >= 500 || error.status === 429 || error.status === 408);
}

