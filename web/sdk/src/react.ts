// A hook for React: the state of one proof, for a component that shows it.

import { useCallback, useEffect, useRef, useState } from 'react';

import { EdgeproveError } from './errors.js';
import type { ProofInputs } from './inputs.js';
import type { CircuitReference } from './program.js';
import type { ProveOptions, Prover } from './prover.js';
import type { ProofProgress, ProofResult } from './result.js';

/** How far a proof is. */
export type ProofState =
  | { status: 'idle'; progress?: undefined; result?: undefined; error?: undefined }
  | { status: 'proving'; progress: ProofProgress | undefined; result?: undefined; error?: undefined }
  | { status: 'done'; progress?: undefined; result: ProofResult; error?: undefined }
  | { status: 'failed'; progress?: undefined; result?: undefined; error: EdgeproveError };

/** The state of a proof, and what changes it. */
export type UseProof = ProofState & {
  /**
   * Proves as `prover.prove` does; a proof in progress is aborted. Returns the proof, or `undefined` where it failed or was
   * aborted: then `error` has the reason. It never rejects.
   */
  prove(circuit: string | CircuitReference, inputs: ProofInputs, options?: ProveOptions): Promise<ProofResult | undefined>;
  /** Aborts the proof, also at the server. The state is `idle` then. */
  abort(): void;
};

const IDLE: ProofState = { status: 'idle' };

/**
 * The state of one proof. The component is rendered again when it changes. A component that is removed aborts its proof.
 *
 * `prover` is made once, outside of the component.
 */
export function useProof(prover: Prover): UseProof {
  const [state, setState] = useState<ProofState>(IDLE);
  const current = useRef<AbortController>(undefined);

  const abort = useCallback(() => {
    current.current?.abort();
    current.current = undefined;
    setState(IDLE);
  }, []);

  useEffect(() => () => current.current?.abort(), []);

  const prove = useCallback(
    async (circuit: string | CircuitReference, inputs: ProofInputs, options: ProveOptions = {}) => {
      current.current?.abort();
      const controller = new AbortController();
      current.current = controller;
      const isCurrent = (): boolean => current.current === controller;
      const onAbort = (): void => controller.abort(options.signal?.reason);
      if (options.signal?.aborted) onAbort();
      options.signal?.addEventListener('abort', onAbort, { once: true });
      setState({ status: 'proving', progress: undefined });
      try {
        const result = await prover.prove(circuit, inputs, {
          ...options,
          signal: controller.signal,
          onProgress: (progress) => {
            if (isCurrent()) setState({ status: 'proving', progress });
            options.onProgress?.(progress);
          },
        });
        if (isCurrent()) setState({ status: 'done', result });
        return result;
      } catch (error) {
        const failure = error instanceof EdgeproveError
          ? error
          : new EdgeproveError('local_failed', 'the call failed', { cause: error });
        if (isCurrent()) setState({ status: 'failed', error: failure });
        return undefined;
      } finally {
        options.signal?.removeEventListener('abort', onAbort);
      }
    },
    [prover],
  );

  return { ...state, prove, abort };
}
