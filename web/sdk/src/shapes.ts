// A proof in the forms that other libraries take.

import { EdgeproveError } from './errors.js';
import { toFields, toHex } from './bytes.js';
import type { Groth16Proof, Hex, Target } from './wire.js';

/** The parts of a proof that the functions below read. */
export interface ProofParts {
  proof: Uint8Array;
  /** 32-byte fields, most significant byte first. */
  publicInputs: Hex[];
  target: Target;
  /** For Groth16 only. */
  groth16?: { proof: Groth16Proof; publicSignals: string[] };
}

/** The form of bb.js and noir_js: `UltraHonkBackend.verifyProof(forBbJs(result))`. */
export function forBbJs(result: Pick<ProofParts, 'proof' | 'publicInputs'>): {
  proof: Uint8Array;
  publicInputs: string[];
} {
  return { proof: result.proof, publicInputs: [...result.publicInputs] };
}

/** The proof as field elements, as a Noir program takes it that verifies proofs. */
export function proofAsFields(result: Pick<ProofParts, 'proof'>): Hex[] {
  return toFields(result.proof).map(toHex);
}

/** The proof as one text of hexadecimal digits, as viem and ethers take `bytes`. */
export function proofHex(result: Pick<ProofParts, 'proof'>): Hex {
  return toHex(result.proof);
}

/** The arguments of `verify(bytes proof, bytes32[] publicInputs)`, the verifier contract of bb. */
export type HonkArguments = readonly [proof: Hex, publicInputs: readonly Hex[]];

/** The arguments of `verifyProof(uint256[2], uint256[2][2], uint256[2], uint256[N])`, the contract of Groth16. */
export type Groth16Arguments = readonly [
  a: readonly [bigint, bigint],
  b: readonly [readonly [bigint, bigint], readonly [bigint, bigint]],
  c: readonly [bigint, bigint],
  publicSignals: readonly bigint[],
];

/**
 * The arguments of the verifier contract, for `args` of viem and for a contract of ethers.
 *
 * Throws `invalid_option` for a proof of the target `noir-recursive`, which no contract verifies.
 */
export function contractArguments(result: ProofParts): HonkArguments | Groth16Arguments {
  switch (result.target) {
    case 'evm':
      return [proofHex(result), result.publicInputs];
    case 'groth16': {
      const words = proofAsFields(result).map(BigInt);
      const [a0, a1, b00, b01, b10, b11, c0, c1] = words;
      if (words.length !== 8 || a0 === undefined || a1 === undefined || b00 === undefined || b01 === undefined ||
          b10 === undefined || b11 === undefined || c0 === undefined || c1 === undefined) {
        throw new EdgeproveError('invalid_option', 'a proof of Groth16 has 256 bytes');
      }
      return [[a0, a1], [[b00, b01], [b10, b11]], [c0, c1], result.publicInputs.map(BigInt)];
    }
    default:
      throw new EdgeproveError(
        'invalid_option',
        `no contract verifies a proof of the target ${result.target}: prove with target: 'evm'`,
      );
  }
}

/** The files `proof.json` and `public.json` of snarkjs. Throws `invalid_option` for a proof that is not of Groth16. */
export function forSnarkjs(result: ProofParts): { proof: Groth16Proof; publicSignals: string[] } {
  if (!result.groth16) {
    throw new EdgeproveError('invalid_option', `snarkjs reads proofs of Groth16, and this one is for ${result.target}`);
  }
  return result.groth16;
}
