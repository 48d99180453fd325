// The result of a call that proves.

import { concat, fromBase64, fromHex } from './bytes.js';
import { EdgeproveError } from './errors.js';
import type { ProofParts } from './shapes.js';
import type { Hex, JobDocument, JobStage, ProofAnswer } from './wire.js';

/** A proof, and how it was made. */
export interface ProofResult extends ProofParts {
  /** SHA-256 of the proof; only of a proof from a server. */
  proofHash?: Hex;
  /** The hash of the verification key. A verifier compares it with the one that it trusts. */
  vkHash: Hex;
  /** The circuit that was proved. */
  circuit: string;
  /** Where it was proved: by a server, or in this process. */
  provedBy: 'server' | 'local';
  /** With `mode: 'auto'`: why no server proved it. */
  fallbackReason?: EdgeproveError;
  /** Whether the server verified it before it answered. A local proof was not verified. */
  verified: boolean;
  /** Whether it came from the server's cache of proofs. */
  cached: boolean;
  /** The requested circuit, where the server proved a smaller one of its family. */
  fallbackFrom?: string;
  /** The job, where there was one. */
  jobId?: string;
  /** The call that verifies it in its verifier contract: of a proof from a server, for the targets `evm` and `groth16`. */
  calldata?: Hex;
  /** The id of the request in the log of the server. */
  requestId?: string;
  /** What the server states of the proof, signed by it: `@edgeprove/client/receipt` verifies it. */
  receipt?: string;
  /** What it has taken at the server: zero for a cached proof. */
  cost?: { vcpuSeconds: number; gibSeconds: number };
  /** Durations. */
  timings: ProofTimings;
}

/** Durations in milliseconds. */
export interface ProofTimings {
  /** The whole call. */
  totalMs: number;
  /** Computing the witness here. */
  witnessMs?: number;
  /** Proving here, with the start of bb.js and the download of the CRS. */
  proveMs?: number;
  /** At the server. */
  server?: { uploadMs: number; queueMs: number; proveMs: number; verifyMs: number; totalMs: number };
}

/** How far a call is. */
export interface ProofProgress {
  /** `witness` and `upload` happen in this process; the others where `provedBy` is. */
  stage: 'witness' | 'upload' | JobStage;
  /** How much of the proof is done, in percent. It falls when another attempt starts. */
  percent: number;
  /** Expected time until the proof, in milliseconds; `null` where nothing is known. */
  remainingMs: number | null;
  /** The position in the queue of the server, 1 for the next job; `null` outside of the queue. */
  queuePosition: number | null;
  /** Where it is proved. */
  provedBy: 'server' | 'local';
  /** The job at the server, once there is one. */
  jobId?: string;
}

/** Percent while nothing is known yet. */
export function localProgress(
  stage: ProofProgress['stage'],
  provedBy: ProofProgress['provedBy'],
  percent: number,
): ProofProgress {
  return { stage, percent, remainingMs: null, queuePosition: null, provedBy };
}

/** The progress that the document of a job shows. */
export function jobProgress(job: JobDocument): ProofProgress {
  return {
    stage: job.stage,
    percent: job.progress,
    remainingMs: job.estimated_remaining_ms,
    queuePosition: job.queue_position,
    provedBy: 'server',
    jobId: job.id,
  };
}

/** The result that an answer of the server describes. Throws `bad_answer` where it is none. */
export function resultOf(answer: ProofAnswer, started: number): ProofResult {
  const { timings } = answer;
  const inputs = answer.public_inputs;
  let proof: Uint8Array;
  try {
    proof = typeof answer.proof === 'string' ? fromBase64(answer.proof) : groth16Bytes(answer.proof);
    if (proof.length === 0 || !inputs.every((field) => /^0x[0-9a-f]{64}$/i.test(field))) throw new TypeError('no fields');
  } catch (error) {
    throw new EdgeproveError('bad_answer', 'the answer of the server has no proof', { cause: error });
  }
  const result: ProofResult = {
    proof,
    publicInputs: inputs,
    target: answer.target,
    proofHash: answer.proof_hash,
    vkHash: answer.vk_hash,
    circuit: answer.circuit,
    provedBy: 'server',
    verified: answer.verified === true,
    cached: answer.cached === true,
    requestId: answer.request_id,
    timings: {
      totalMs: performance.now() - started,
      server: {
        uploadMs: timings.upload_ms,
        queueMs: timings.queue_ms,
        proveMs: timings.prove_ms,
        verifyMs: timings.verify_ms,
        totalMs: timings.total_ms,
      },
    },
  };
  if (answer.fallback_from !== undefined) result.fallbackFrom = answer.fallback_from;
  if (answer.receipt !== undefined) result.receipt = answer.receipt;
  if (answer.calldata !== undefined) result.calldata = answer.calldata;
  // A server of an earlier version reports none.
  if (answer.cost) result.cost = { vcpuSeconds: answer.cost.vcpu_seconds, gibSeconds: answer.cost.gib_seconds };
  if (typeof answer.proof !== 'string') {
    result.groth16 = { proof: answer.proof, publicSignals: answer.publicSignals ?? [] };
  }
  return result;
}

/** The eight words of a verifier contract. A contract has the two parts of each coordinate of `pi_b` in the other order. */
function groth16Bytes({ pi_a, pi_b, pi_c }: Exclude<ProofAnswer['proof'], string>): Uint8Array {
  const words = [pi_a[0], pi_a[1], pi_b[0]?.[1], pi_b[0]?.[0], pi_b[1]?.[1], pi_b[1]?.[0], pi_c[0], pi_c[1]];
  return concat(words.map((word) => fromHex(BigInt(word ?? 'missing').toString(16).padStart(64, '0'))));
}
