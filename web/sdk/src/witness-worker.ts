// The worker: computes witnesses, proves and verifies, so that the page stays responsive.
//
// A bundler finds it by the URL in worker-engine.ts. One that does not, such as esbuild, builds
// `@edgeprove/client/witness-worker` as an entry of its own, and `createProver` gets `worker: () => new Worker(…)`.

import { LocalEngine } from './engine.js';
import { plainError } from './worker-protocol.js';
import type { WorkerAnswer, WorkerReady, WorkerRequest } from './worker-protocol.js';

/** The part of a worker's scope that is used here. */
interface Scope {
  onmessage: ((event: MessageEvent<WorkerRequest>) => void) | null;
  postMessage(message: WorkerAnswer | WorkerReady): void;
}

const scope = globalThis as unknown as Scope;
const engine = new LocalEngine();

scope.onmessage = ({ data: { id, operation, args } }) => {
  const call = engine[operation] as (...args: unknown[]) => Promise<unknown>;
  call.apply(engine, args).then(
    (value) => scope.postMessage({ id, value }),
    (error: unknown) => scope.postMessage({ id, error: plainError(error) }),
  );
};
scope.postMessage({ ready: true });
