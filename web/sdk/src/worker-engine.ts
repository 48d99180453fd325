// The engine in a worker, and in the caller's own thread where no worker can be had.

import { LocalEngine } from './engine.js';
import type { Engine, LocalProof, LocalProofRequest, LocalVerification } from './engine.js';
import { abortedError, EdgeproveError, throwIfAborted } from './errors.js';
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
  readonly worker: Worker;
  readonly started: Promise<boolean>;
  readonly waiting = new Map<number, { resolve(value: unknown): void; reject(error: EdgeproveError): void }>();
  #last = 0;

  constructor(worker: Worker) {
    this.worker = worker;
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
        event.preventDefault();
        settle(false);
        this.end(new EdgeproveError('local_failed', 'the worker failed', { cause: event.message }));
      };
    });
  }

  request(operation: Operation, args: unknown[]): Promise<unknown> {
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, operation, args });
    });
  }

  end(error: EdgeproveError): void {
    this.worker.terminate();
    for (const { reject } of this.waiting.values()) reject(error);
    this.waiting.clear();
  }

  #receive(answer: WorkerAnswer): void {
    const request = this.waiting.get(answer.id);
    this.waiting.delete(answer.id);
    if ('error' in answer) request?.reject(receivedError(answer.error));
    else request?.resolve(answer.value);
  }
}

/** Computes in a worker where there is one. A call that is aborted ends its worker, and with it the computation. */
export class WorkerEngine {
  readonly #option: WorkerOption | undefined;
  /** For everything where there is no worker, and for what a worker cannot load. */
  readonly #here = new LocalEngine();
  #thread: WorkerThread | undefined;
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

  /** Ends the worker. Requests in progress fail. */
  close(): void {
    this.#thread?.end(new EdgeproveError('aborted', 'the prover was closed'));
    this.#thread = undefined;
  }

  async #run<O extends Operation>(
    operation: O,
    args: Parameters<Engine[O]>,
    signal: AbortSignal | undefined,
  ): Promise<Awaited<ReturnType<Engine[O]>>> {
    throwIfAborted(signal);
    type Value = Awaited<ReturnType<Engine[O]>>;
    const here = async (): Promise<Value> => {
      const call = this.#here[operation] as (...args: unknown[]) => Promise<Value>;
      return await raceAbort(call.apply(this.#here, args), signal);
    };
    const thread = await this.#usableThread();
    if (!thread) return await here();
    const onAbort = (): void => {
      if (!signal) return;
      if (this.#thread === thread) this.#thread = undefined;
      thread.end(abortedError(signal));
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      throwIfAborted(signal);
      return await thread.request(operation, args) as Value;
    } catch (error) {
      // A page without a bundler has an import map, which does not apply to its workers.
      if (!(error instanceof EdgeproveError) || error.code !== 'peer_missing') throw error;
      this.#isUnusable = true;
      this.close();
      return await here();
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
  }

  async #usableThread(): Promise<WorkerThread | undefined> {
    if (this.#option === false || this.#isUnusable) return undefined;
    if (!this.#thread) {
      const worker = this.#start();
      if (!worker) return undefined;
      this.#thread = new WorkerThread(worker);
    }
    const thread = this.#thread;
    if (await thread.started) return thread;
    this.#isUnusable = true;
    thread.worker.terminate();
    if (this.#thread === thread) this.#thread = undefined;
    return undefined;
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
