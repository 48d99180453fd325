// What is computed in this process: witnesses with noir_js, proofs and verifications with bb.js. It runs in a page, in
// a worker or in a back end, and loads the two packages when they are needed.

import { concat, fromBase64, fromHex, gunzip, toFields, toHex } from './bytes.js';
import { loadPoints, POINTS_MIN, VERIFIER_POINTS } from './crs.js';
import { EdgeproveError } from './errors.js';
import type { CompiledProgram } from './program.js';
import type { Inputs } from './inputs.js';
import { BB_VERSION, NOIR_VERSION } from './versions.js';
import type { Hex, Target } from './wire.js';

/** What the engine can be asked for. A worker gets the same requests. */
export interface Engine {
  /** The gzipped witness. */
  witness(program: CompiledProgram, inputs: Inputs): Promise<Uint8Array<ArrayBuffer>>;
  /** Proves in WebAssembly. */
  prove(request: LocalProofRequest): Promise<LocalProof>;
  /** Whether a proof verifies. */
  verify(request: LocalVerification): Promise<boolean>;
  /** Loads the packages. */
  warm(parts: { noir: boolean; bb: boolean }): Promise<void>;
}

/** A request for a local proof. */
export interface LocalProofRequest {
  program: CompiledProgram;
  witness: Uint8Array<ArrayBuffer>;
  target: Target;
  /** The URL of the points of the CRS, see `LocalOptions`. */
  crs: string;
  /** More than 1 needs a page that is cross-origin isolated. */
  threads: number;
}

/** A proof that was made here. */
export interface LocalProof {
  proof: Uint8Array<ArrayBuffer>;
  publicInputs: Hex[];
  vk: Uint8Array<ArrayBuffer>;
  vkHash: Hex;
  /** Duration of proving, the start of bb.js and the download of the CRS included, in milliseconds. */
  proveMs: number;
}

/** A request to verify. */
export interface LocalVerification {
  proof: Uint8Array;
  publicInputs: readonly string[];
  vk: Uint8Array;
  target: Target;
}

type Bb = typeof import('@aztec/bb.js');
type Api = Awaited<ReturnType<Bb['Barretenberg']['new']>>;

function missing(name: string, version: string, cause: unknown): EdgeproveError {
  const detail = `${name} cannot be loaded: install it with \`npm install ${name}@${version}\``;
  return new EdgeproveError('peer_missing', detail, { cause });
}

async function loadNoir(): Promise<typeof import('@noir-lang/noir_js')> {
  try {
    return await import('@noir-lang/noir_js');
  } catch (error) {
    throw missing('@noir-lang/noir_js', NOIR_VERSION, error);
  }
}

async function loadBb(): Promise<Bb> {
  try {
    return await import('@aztec/bb.js');
  } catch (error) {
    throw missing('@aztec/bb.js', BB_VERSION, error);
  }
}

/** How bb proves and verifies for a target; the same as bb's own `-t`. */
function settings(target: Target): Parameters<Api['circuitVerify']>[0]['settings'] {
  if (target === 'groth16') {
    const detail = 'circuits of circom are proved by a server only, and verified by a server or with snarkjs';
    throw new EdgeproveError('local_unsupported', detail);
  }
  const oracleHashType = target === 'evm' ? 'keccak' : 'poseidon2';
  return { ipaAccumulation: false, oracleHashType, disableZk: false, optimizedSolidityVerifier: false };
}

/** Runs everything in the thread of its caller. */
export class LocalEngine implements Engine {
  /** bb.js with the one point that verifying needs. It starts once. */
  #verifier: Promise<Api> | undefined;

  async witness(program: CompiledProgram, inputs: Inputs): Promise<Uint8Array<ArrayBuffer>> {
    const { Noir } = await loadNoir();
    try {
      const { witness } = await new Noir(program as never).execute(inputs as never);
      return witness as Uint8Array<ArrayBuffer>;
    } catch (error) {
      throw witnessError(error, program);
    }
  }

  async prove(request: LocalProofRequest): Promise<LocalProof> {
    const started = performance.now();
    const proofSettings = settings(request.target);
    const bb = await loadBb();
    try {
      const api = await start(bb, request.threads);
      try {
        const bytecode = await gunzip(fromBase64(request.program.bytecode));
        const circuit = { name: 'circuit', bytecode, verificationKey: new Uint8Array() };
        const { numGatesDyadic } = await api.circuitStats({
          circuit, includeGatesPerOpcode: false, settings: proofSettings,
        });
        const points = await loadPoints(request.crs, Math.max(numGatesDyadic, POINTS_MIN));
        await api.srsInitSrs(points);
        const witness = await gunzip(request.witness);
        const made = await api.circuitProve({ circuit, witness, settings: proofSettings });
        return {
          proof: concat(made.proof),
          publicInputs: made.publicInputs.map(toHex),
          vk: made.vk.bytes as Uint8Array<ArrayBuffer>,
          vkHash: toHex(made.vk.hash),
          proveMs: performance.now() - started,
        };
      } finally {
        await api.destroy();
      }
    } catch (error) {
      if (error instanceof EdgeproveError) throw error;
      throw new EdgeproveError('local_failed', 'bb.js could not prove here', { cause: error });
    }
  }

  async verify(request: LocalVerification): Promise<boolean> {
    const proofSettings = settings(request.target);
    // Text that is no field, or bytes that are no fields, are no valid proof; bb.js would throw.
    if (request.proof.length === 0 || request.proof.length % 32 !== 0) return false;
    if (!request.publicInputs.every((field) => /^0x[0-9a-f]{64}$/i.test(field))) return false;
    const bb = await loadBb();
    this.#verifier ??= startVerifier(bb);
    let api: Api;
    try {
      api = await this.#verifier;
    } catch (error) {
      this.#verifier = undefined;
      throw new EdgeproveError('local_failed', 'bb.js cannot be started', { cause: error });
    }
    try {
      const { verified } = await api.circuitVerify({
        proof: toFields(request.proof),
        publicInputs: request.publicInputs.map(fromHex),
        verificationKey: request.vk,
        settings: proofSettings,
      });
      return verified;
    } catch {
      // bb throws for a proof of another length, and for a point that is not on the curve.
      return false;
    }
  }

  async warm(parts: { noir: boolean; bb: boolean }): Promise<void> {
    const loads: Promise<unknown>[] = [];
    if (parts.noir) loads.push(loadNoir().then(async ({ Noir }) => await new Noir({} as never).init()));
    if (parts.bb) loads.push(loadBb().then(async (bb) => await (this.#verifier ??= startVerifier(bb))));
    await Promise.all(loads);
  }
}

async function start({ Barretenberg, BackendType }: Bb, threads: number): Promise<Api> {
  return await Barretenberg.new({ backend: BackendType.Wasm, threads, skipSrsInit: true });
}

async function startVerifier(bb: Bb): Promise<Api> {
  const api = await start(bb, 1);
  await api.srsInitSrs(VERIFIER_POINTS());
  return api;
}

/**
 * The error of noir_js by its kind, without its message and without a cause: both can contain values. The text of an
 * assertion stays where the program has it as a fixed text.
 */
function witnessError(error: unknown, program: CompiledProgram): EdgeproveError {
  const text = error instanceof Error ? error.message : String(error);
  const failed = (error instanceof Object ? error : {}) as ExecutionError;
  if (!text.startsWith('Circuit execution failed') && !('rawAssertionPayload' in failed)) {
    const field = /(?:argument|parameter) `([A-Za-z0-9_]+)`/.exec(text)?.[1];
    const which = field === undefined ? 'the inputs do not fit the circuit' : `the input ${field} is missing or does not fit its type`;
    return new EdgeproveError('invalid_inputs', `${which}: compare names and types with the abi of the circuit`, { field });
  }
  const selector = failed.rawAssertionPayload?.selector;
  const types = (program.abi as { error_types?: Record<string, { error_kind?: string; string?: string }> } | null)?.error_types;
  const kind = selector === undefined ? undefined : types?.[selector];
  const message = kind?.error_kind === 'string' ? `: ${kind.string}` : '';
  const place = failed.noirCallStack?.at(-1)?.match(/([^/\\(]+:\d+:\d+)\)$/)?.[1];
  return new EdgeproveError(
    'witness_unsatisfied',
    `the inputs do not satisfy the circuit, an assertion fails${message}${place === undefined ? '' : ` (${place})`}`,
  );
}

/** What noir_js adds to the error of an execution. */
interface ExecutionError {
  rawAssertionPayload?: { selector?: string };
  noirCallStack?: string[];
}
