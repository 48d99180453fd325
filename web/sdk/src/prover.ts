// The prover: one object for everything that a page or a back end does with proofs.

import { toBase64 } from './bytes.js';
import { Circuits } from './circuits.js';
import type { CallOptions } from './circuits.js';
import { ANSWER_MAX, problemOf, readJson } from './body.js';
import { EdgeproveError, throwIfAborted } from './errors.js';
import { Http } from './http.js';
import { inputsBody, isWitness, plainInputs } from './inputs.js';
import type { ProofInputs } from './inputs.js';
import { Jobs } from './jobs.js';
import type { SubmitOptions, Upload } from './jobs.js';
import { settingsOf } from './options.js';
import type { ProverOptions, Settings } from './options.js';
import { Programs, versionHint } from './program.js';
import type { CircuitReference, CompiledProgram } from './program.js';
import { isServersFault, RemoteProver } from './remote.js';
import { localProgress } from './result.js';
import type { ProofProgress, ProofResult } from './result.js';
import { JobIds } from './resume.js';
import { Sealer } from './sealer.js';
import type { ProofParts } from './shapes.js';
import { Credentials, Vouchers } from './vouchers.js';
import type { Health, ServiceDocument } from './wire.js';
import { WorkerEngine } from './worker-engine.js';

/** Options of {@link Prover.prove}. */
export interface ProveOptions extends SubmitOptions {
  /**
   * Is called at each step. An error that it throws ends the call.
   *
   * With an `idempotencyKey` the id of the job is stored until the call ends. The same call after a reload of the page
   * then follows the job that runs, without a new witness.
   */
  onProgress?: ((progress: ProofProgress) => void) | undefined;
  /**
   * `job`: a job at the server, with progress; it outlives the connection and the page. `direct`: one request, which is
   * the fastest way for a small circuit; a lost connection ends the proof. Default: `job`, and `direct` where the server
   * has no jobs.
   */
  delivery?: 'job' | 'direct' | undefined;
}

/** Options of {@link Prover.verify}. */
export interface VerifyOptions extends CallOptions {
  /**
   * `local`: in this process, with bb.js, and without a download of the CRS. `server`: by the server. `evm`: by the
   * server, with the verifier contract of a built circuit in an Ethereum virtual machine. Default: `local`.
   */
  on?: 'local' | 'server' | 'evm' | undefined;
  /** The verification key that is trusted. Default: the server's key of the circuit, which is loaded once. */
  vk?: Uint8Array | undefined;
}

/** A proof of a circuit, for {@link Prover.verify}. */
export type VerifiableProof = ProofParts & {
  /** The circuit whose proof it should be. */
  circuit: string;
};

/** What {@link Prover.warm} found. */
export interface WarmReport {
  /** Whether the server answered. */
  isServerReady: boolean;
  /** Whether witnesses can be made here, and with `mode: 'auto'` or `'local'` proofs too. */
  isLocalReady: boolean;
  /** The first failure. */
  error?: EdgeproveError;
}

/** Makes and checks proofs. {@link createProver} makes one. */
export class Prover {
  /** Jobs of the server. */
  readonly jobs: Jobs;
  /** Circuits of the server. */
  readonly circuits: Circuits;
  /** Mints vouchers for pages. */
  readonly vouchers: Vouchers;

  readonly #settings: Settings;
  readonly #http: Http;
  readonly #remote: RemoteProver;
  readonly #programs: Programs;
  readonly #engine: WorkerEngine;

  /** Use {@link createProver}. */
  constructor(options: ProverOptions) {
    this.#settings = settingsOf(options);
    const { mode, base, timeout } = this.#settings;
    const { apiKey, voucher, retry, fetch } = options;
    const credentials = new Credentials(apiKey, voucher);
    this.#http = new Http({ base, credentials, timeout, retry, fetch });
    this.vouchers = new Vouchers(this.#http);
    this.circuits = new Circuits(this.#http);
    this.#programs = new Programs(this.circuits, mode !== 'local', fetch);
    this.#engine = new WorkerEngine(options.worker);
    const sealer = new Sealer(this.#http, this.#settings.seal);
    this.jobs = new Jobs(this.#http, sealer, async (circuit, inputs, { signal }) => {
      return await this.#upload(referenceOf(circuit), inputs, signal, () => {});
    });
    this.#remote = new RemoteProver(this.#http, sealer, this.jobs, new JobIds(options.storage, this.#http.base ?? ''));
  }

  /**
   * Proves a circuit for inputs, or for a witness that was computed before.
   *
   * `circuit` is a name at the server, or a name and a compiled program. With the program, the witness is computed here;
   * without it, by the server from the inputs. Rejects with an {@link EdgeproveError} of any code.
   */
  async prove(
    circuit: string | CircuitReference,
    inputs: ProofInputs,
    options: ProveOptions = {},
  ): Promise<ProofResult> {
    const started = performance.now();
    const reference = referenceOf(circuit);
    const { signal, onProgress = () => {} } = options;
    throwIfAborted(signal);
    if (this.#settings.mode === 'local') return await this.#proveLocally(reference, inputs, options, started);

    let witness: Witness | undefined;
    try {
      const result = await this.#remote.prove({
        ...options,
        circuit: reference.id,
        delivery: options.delivery ?? 'job',
        onProgress,
        started,
        upload: async () => await this.#upload(reference, inputs, signal, onProgress, (made) => (witness = made)),
      });
      if (witness?.ms !== undefined) result.timings.witnessMs = witness.ms;
      return result;
    } catch (error) {
      if (!(error instanceof EdgeproveError)) throw error;
      const failure = await this.#withHint(error, witness?.program);
      if (this.#settings.mode !== 'auto' || !isServersFault(failure)) throw failure;
      const program = witness?.program ?? (await this.#programs.find(reference, signal).catch(() => undefined));
      // Without a program nothing can be proved here, so the server's failure is the answer.
      if (!program || options.target === 'groth16') throw failure;
      try {
        const result = await this.#proveLocally({ ...reference, program }, inputs, options, started, witness);
        return { ...result, fallbackReason: failure };
      } catch (error) {
        if (!(error instanceof EdgeproveError) || error.code === 'aborted') throw error;
        const detail = `${error.detail}; before, the server failed: ${failure.detail}`;
        throw new EdgeproveError(error.code, detail, { ...error, cause: failure });
      }
    }
  }

  /**
   * Whether a proof is valid for its public inputs and this circuit.
   *
   * `false` for every proof that is not; rejects only where it cannot be checked, with `unreachable`, `peer_missing`,
   * `circuit_not_found`, `local_unsupported` for Groth16, or `local_mode` without a key.
   */
  async verify(proof: VerifiableProof, options: VerifyOptions = {}): Promise<boolean> {
    const { on = 'local', signal } = options;
    const { circuit, target, publicInputs } = proof;
    if (on !== 'local') {
      const body = { proof: proof.groth16?.proof ?? toBase64(proof.proof), publicInputs };
      const verdict = await this.circuits.verify(circuit, body, { target, on: on === 'evm' ? 'evm' : undefined, signal });
      return verdict.valid;
    }
    if (target === 'groth16') {
      const detail = "proofs of Groth16 are verified with on: 'server', or with snarkjs";
      throw new EdgeproveError('local_unsupported', detail);
    }
    const vk = options.vk ?? (await this.circuits.vk(circuit, { target, signal })).bytes;
    return await this.#engine.verify({ proof: proof.proof, publicInputs, vk, target }, signal);
  }

  /** Versions and limits of the server, and its keys for what is sealed. */
  async service(options: CallOptions = {}): Promise<ServiceDocument> {
    return await this.#http.json<ServiceDocument>(
      { path: '/.well-known/edgeprove', signal: options.signal }, ANSWER_MAX.document);
  }

  /** The state of the server. An unhealthy server is an answer too, not an error. */
  async health(options: CallOptions = {}): Promise<Health> {
    const call = { path: '/api/health', signal: options.signal, accepts: 500 };
    return await this.#http.send(call, async (response) => {
      if (response.headers.get('content-type')?.includes('problem')) throw await problemOf(response);
      return await readJson<Health>(response, ANSWER_MAX.list);
    });
  }

  /**
   * Prepares a first proof: wakes the server, loads noir_js, and with `mode: 'auto'` or `'local'` bb.js, the program and
   * the verification key of the circuit. It sends no input, and never rejects but for `aborted`.
   */
  async warm(circuit?: string | CircuitReference, options: CallOptions = {}): Promise<WarmReport> {
    const { signal } = options;
    const { mode } = this.#settings;
    const reference = circuit === undefined ? undefined : referenceOf(circuit);
    const local = async (): Promise<void> => {
      const program = reference && (await this.#programs.find(reference, signal));
      const hint = versionHint(program);
      if (hint !== undefined) throw new EdgeproveError('version_mismatch', hint);
      await this.#engine.warm({ noir: !reference || program !== undefined, bb: mode !== 'remote' }, signal);
    };
    const server = async (): Promise<void> => {
      if (mode === 'local') throw new EdgeproveError('local_mode', "with mode: 'local' there is no server");
      const [health] = await Promise.all([this.health({ signal }), reference && this.circuits.vk(reference.id, { signal })]);
      const hint = versionHint(undefined, health.noir_version);
      if (hint !== undefined) throw new EdgeproveError('version_mismatch', hint);
    };
    const [here, there] = await Promise.allSettled([local(), server()]);
    throwIfAborted(signal);
    const report: WarmReport = { isServerReady: there.status === 'fulfilled', isLocalReady: here.status === 'fulfilled' };
    const failed = mode !== 'local' && there.status === 'rejected' ? there : here;
    if (failed.status === 'rejected' && failed.reason instanceof EdgeproveError) report.error = failed.reason;
    return report;
  }

  /** Ends the worker. Calls that compute fail with `aborted`; the prover can still be used. */
  close(): void {
    this.#engine.close();
  }

  /** The witness, or the inputs for a server that computes it. */
  async #upload(
    reference: CircuitReference,
    inputs: ProofInputs,
    signal: AbortSignal | undefined,
    onProgress: (progress: ProofProgress) => void,
    onWitness: (witness: Witness) => void = () => {},
  ): Promise<Upload> {
    const circuit = reference.id;
    if (isWitness(inputs)) return { circuit, body: gzipBlob(inputs) };
    const program = await this.#programs.find(reference, signal);
    if (!program) return { circuit, body: inputsBody(inputs, await this.circuits.known(circuit, signal)) };
    onProgress(localProgress('witness', 'server', 0));
    const witness = await this.#witness(program, inputs, signal);
    onWitness(witness);
    return { circuit, body: gzipBlob(witness.bytes) };
  }

  async #witness(
    program: CompiledProgram,
    inputs: Exclude<ProofInputs, Uint8Array | Blob>,
    signal: AbortSignal | undefined,
  ): Promise<Witness> {
    const started = performance.now();
    // A worker gets copies: what noir_js does not read stays here.
    const { bytecode, abi, ...rest } = program as CompiledProgram & { debug_symbols?: unknown; file_map?: unknown };
    const parts = { bytecode, abi, debug_symbols: rest.debug_symbols, file_map: rest.file_map } as CompiledProgram;
    try {
      const bytes = await this.#engine.witness(parts, plainInputs(inputs), signal);
      return { program, bytes, ms: performance.now() - started };
    } catch (error) {
      throw error instanceof EdgeproveError ? await this.#withHint(error, program) : error;
    }
  }

  async #proveLocally(
    reference: CircuitReference,
    inputs: ProofInputs,
    options: ProveOptions,
    started: number,
    earlier?: Witness,
  ): Promise<ProofResult> {
    const { signal, onProgress = () => {} } = options;
    const program = earlier?.program ?? (await this.#programs.find(reference, signal));
    if (!program) {
      const detail = `a local proof of ${reference.id} needs its compiled program: pass { id, program } as the circuit`;
      throw new EdgeproveError('program_required', detail);
    }
    if (!earlier) onProgress(localProgress('witness', 'local', 0));
    const witness = earlier ?? (isWitness(inputs)
      ? { program, bytes: await bytesOf(inputs), ms: undefined }
      : await this.#witness(program, inputs, signal));
    const target = options.target ?? this.circuits.remembered(reference.id)?.target ?? 'noir-recursive';
    onProgress(localProgress('proving', 'local', 10));
    const { crs, threads } = this.#settings;
    const made = await this.#engine.prove(
      { program: { bytecode: program.bytecode, abi: null }, witness: witness.bytes, target, crs, threads }, signal);
    this.circuits.rememberKey(reference.id, target, { bytes: made.vk, hash: made.vkHash });
    onProgress(localProgress('done', 'local', 100));
    const result: ProofResult = {
      proof: made.proof,
      publicInputs: made.publicInputs,
      target,
      vkHash: made.vkHash,
      circuit: reference.id,
      provedBy: 'local',
      verified: false,
      cached: false,
      timings: { totalMs: performance.now() - started, proveMs: made.proveMs },
    };
    if (witness.ms !== undefined) result.timings.witnessMs = witness.ms;
    return result;
  }

  /** Adds to the refusal of a witness that versions differ, where they do. */
  async #withHint(error: EdgeproveError, program: CompiledProgram | undefined): Promise<EdgeproveError> {
    if (!/^(witness_(malformed|of_another_circuit)|invalid_inputs|circuit_compilation_failed)$/.test(error.code)) return error;
    const hint = versionHint(program);
    if (hint === undefined) return error;
    return new EdgeproveError('version_mismatch', `${error.detail}; ${hint}`, { ...error, cause: error });
  }
}

/** A witness that was made for a server, and is used again where the server fails. */
interface Witness {
  program: CompiledProgram;
  bytes: Uint8Array<ArrayBuffer>;
  ms: number | undefined;
}

/** Makes a prover. Throws `invalid_option`. It opens no connection, and starts nothing. */
export function createProver(options: ProverOptions = {}): Prover {
  return new Prover(options);
}

function referenceOf(circuit: string | CircuitReference): CircuitReference {
  const reference = typeof circuit === 'string' ? { id: circuit } : circuit;
  if (typeof reference.id !== 'string' || reference.id === '') {
    throw new EdgeproveError('invalid_option', 'a circuit is a name, or { id, program }');
  }
  return reference;
}

function gzipBlob(witness: Uint8Array<ArrayBuffer> | Blob): Blob {
  return new Blob([witness], { type: 'application/gzip' });
}

async function bytesOf(witness: Uint8Array<ArrayBuffer> | Blob): Promise<Uint8Array<ArrayBuffer>> {
  return witness instanceof Blob ? new Uint8Array(await witness.arrayBuffer()) : witness;
}
