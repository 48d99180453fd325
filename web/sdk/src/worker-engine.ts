// The engine in a worker, and in the caller's own thread where no worker can be had.

import { LocalEngine } from './engine.js';
import type { Engine, LocalProof, LocalProofRequest, LocalVerification } from './engine.js';
import { EdgeproveError, throwIfAborted } from './errors.js';
import type { Inputs } from './inputs.js';
import type { CompiledProgram } from './program.js';
import { raceAbort } from './time.js';
import { receivedError } from './worker-protocol.js';
import type { Operation, WorkerAnswer, WorkerReady } from './worker-protocol.js';

/** Starts the worker of `@edgeprove/client/witness-worker`; `false` uses none. */
export type WorkerOption = (() => Worker) | false;

/** A worker that has not loaded by then is not used. */
const START_MS = 20_000;

/** A worker and the requests that it has not answered. */
class WorkerThread {
  /** Whether it loaded. */
  readonly started: Promise<boolean>;
  /** Whether it can be asked for nothing more. */
  hasEnded = false;
  readonly #worker: Worker;
  readonly #waiting = new Map<number, { resolve(value: unknown): void; reject(error: EdgeproveError): void }>();
  #last = 0;

  constructor(worker: Worker) {
    this.#worker = worker;
    this.started = new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), START_MS);
      const settle = (value: boolean): void => {
        clearTimeout(timer);
        resolve(value);
      };
      worker.onmessage = ({ data }: MessageEvent<WorkerReady | WorkerAnswer>) => {
        if ('ready' in data) settle(true);
        else this.#receive(data);
      };
      // A script that does not load, or that throws.
      worker.onerror = (event) => {
        event.preventDefault?.();
        settle(false);
        this.end(new EdgeproveError('local_failed', 'the worker failed', { cause: event.message }));
      };
    });
  }

  /** Asks for something. A signal that fires ends the worker, unless it also works for others. */
  async request(operation: Operation, args: unknown[], signal: AbortSignal | undefined): Promise<unknown> {
    const id = ++this.#last;
    const answer = new Promise<unknown>((resolve, reject) => {
      this.#worker.postMessage({ id, operation, args });
      this.#waiting.set(id, { resolve, reject });
    });
    try {
      return await raceAbort(answer, signal);
    } finally {
      // Not answered: the caller aborted.
      if (this.#waiting.delete(id) && this.#waiting.size === 0) this.end();
    }
  }

  /** Ends the worker. Requests without an answer fail with this error. */
  end(error = new EdgeproveError('aborted', 'the prover was closed')): void {
    this.hasEnded = true;
    this.#worker.terminate();
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }

  #receive(answer: WorkerAnswer): void {
    const request = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if ('error' in answer) request?.reject(receivedError(answer.error));
    else request?.resolve(answer.value);
  }
}

/**
 * Computes in workers where there are some: one for witnesses and verifications, and one for each proof. A call that is
 * aborted ends its worker, and with it the computation.
 */
export class WorkerEngine {
  readonly #option: WorkerOption | undefined;
  /** For everything where there is no worker, and for what a worker cannot load. */
  readonly #local = new LocalEngine();
  readonly #threads = new Set<WorkerThread>();
  #shared: WorkerThread | undefined;
  /** Whether a worker failed to load: then none is started again. */
  #isUnusable = false;

  constructor(option: WorkerOption | undefined) {
    this.#option = option;
  }

  /** Computes a witness. */
  async witness(program: CompiledProgram, inputs: Inputs, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
    return await this.#run('witness', [program, inputs], signal);
  }

  /** Proves. */
  async prove(request: LocalProofRequest, signal?: AbortSignal): Promise<LocalProof> {
    return await this.#run('prove', [request], signal);
  }

  /** Verifies. */
  async verify(request: LocalVerification, signal?: AbortSignal): Promise<boolean> {
    return await this.#run('verify', [request], signal);
  }

  /** Loads the packages. */
  async warm(parts: { noir: boolean; bb: boolean }, signal?: AbortSignal): Promise<void> {
    await this.#run('warm', [parts], signal);
  }

  /** Ends the workers. Requests in progress fail with `aborted`. */
  close(): void {
    for (const thread of this.#threads) thread.end();
    this.#threads.clear();
    this.#shared = undefined;
  }

  async #run<O extends Operation>(
    operation: O,
    args: Parameters<Engine[O]>,
    signal: AbortSignal | undefined,
  ): Promise<Awaited<ReturnType<Engine[O]>>> {
    throwIfAborted(signal);
    type Value = Awaited<ReturnType<Engine[O]>>;
    const thread = await this.#usableThread(operation === 'prove');
    if (thread) {
      try {
        throwIfAborted(signal);
        return await thread.request(operation, args, signal) as Value;
      } catch (error) {
        // A page without a bundler has an import map, which does not apply to its workers.
        if (!(error instanceof EdgeproveError) || error.code !== 'peer_missing') throw error;
        this.#isUnusable = true;
        // What waits for it fails alike, and is computed here too.
        thread.end(error);
      } finally {
        if (thread !== this.#shared || this.#isUnusable) this.#drop(thread);
      }
    }
    const call = this.#local[operation] as (...args: unknown[]) => Promise<Value>;
    return await raceAbort(call.apply(this.#local, args), signal);
  }

  /** A worker that has loaded: one for this request alone, or the shared one. */
  async #usableThread(isOwn: boolean): Promise<WorkerThread | undefined> {
    if (this.#option === false || this.#isUnusable) return undefined;
    let thread = isOwn || this.#shared?.hasEnded ? undefined : this.#shared;
    if (!thread) {
      const worker = this.#start();
      if (!worker) return undefined;
      thread = new WorkerThread(worker);
      this.#threads.add(thread);
      if (!isOwn) this.#shared = thread;
    }
    if (await thread.started) return thread;
    this.#isUnusable = true;
    this.#drop(thread);
    return undefined;
  }

  #drop(thread: WorkerThread): void {
    thread.end();
    this.#threads.delete(thread);
    if (this.#shared === thread) this.#shared = undefined;
  }

  #start(): Worker | undefined {
    // Only pages: back ends have threads of their own, and a worker would not outlive its request at an edge.
    if (!this.#option && (typeof Worker === 'undefined' || typeof document === 'undefined')) return undefined;
    try {
      if (this.#option) return this.#option();
      // In this form bundlers find the worker.
      return new Worker(new URL('./witness-worker.js', import.meta.url), { type: 'module' });
    } catch {
      return undefined;
    }
  }
}
