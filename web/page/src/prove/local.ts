// What proves in this browser, where the server has a folder with it.

import { createProver } from '@edgeprove/client';
import type { Circuit, CircuitReference, Prover } from '@edgeprove/client';

/** The answer of `GET /local-prover`. */
interface LocalFiles {
  available: boolean;
  worker: string | null;
  crs: string | null;
}

/** Longest time for that answer, in milliseconds. */
const LIMIT_MS = 15_000;

/** A prover in this browser. It sends nothing to a server. */
export class LocalProver {
  readonly prover: Prover;
  /** Starts the worker; also for witnesses that are sent to the server. */
  readonly startWorker: () => Worker;

  private constructor(worker: URL, crs: URL) {
    this.startWorker = () => new Worker(worker, { type: 'module' });
    this.prover = createProver({ mode: 'local', worker: this.startWorker, local: { crs }, storage: null });
  }

  /** `undefined` where the server has no such folder. */
  static async find(base: URL): Promise<LocalProver | undefined> {
    const response = await fetch(new URL('local-prover', base), { signal: AbortSignal.timeout(LIMIT_MS) });
    if (!response.ok) return undefined;
    const { available, worker, crs } = await response.json() as LocalFiles;
    if (!available || worker === null || crs === null) return undefined;
    return new LocalProver(below(base, worker), below(base, crs));
  }

  /** Why a circuit cannot be proved here; `undefined` where it can be. */
  static refusal(circuit: Circuit): string | undefined {
    if (circuit.target === 'groth16') return 'Circuits of circom are proved by the server only.';
    return circuit.program === undefined ? 'The server gives no program of this circuit to browsers.' : undefined;
  }

  /** The circuit with the address of its program. */
  static reference(base: URL, circuit: Circuit): CircuitReference {
    return circuit.program === undefined ? { id: circuit.id } : { id: circuit.id, program: below(base, circuit.program) };
  }
}

/** The address of a path of the server, which may be below a path itself. */
export function below(base: URL, path: string): URL {
  return new URL(path.replace(/^\/+/, ''), base);
}
