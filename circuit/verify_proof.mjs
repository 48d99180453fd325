// Verifies a proof with bb.js, in a page or in Node.js, without a download of the CRS.
//
// Proving needs megabytes of the CRS and the circuit. Verifying needs the verification key, and one point of each group
// of the ceremony: 64 and 128 bytes, which are below.
//
//   import { verifyProof } from "./verify_proof.mjs";
//   const isValid = await verifyProof({ proof, publicInputs, verificationKey, verifierTarget: "noir-recursive" });
import { BackendType, Barretenberg, UltraHonkVerifierBackend } from "@aztec/bb.js";

/** The generator of BN254's first group: the first of the ceremony's points. */
const G1 = bytes(`${"0".repeat(63)}1${"0".repeat(63)}2`);
/** The ceremony's point of the second group, as in versions.toml. */
const G2 = bytes(
  "0118c4d5b837bcc2bc89b5b398b5974e9f5944073b32078b7e231fec938883b0" +
    "260e01b251f6f1c7e7ff4e580791dee8ea51d87a358e038b4efe30fac09383c1" +
    "22febda3c0c0632a56475b4214e5615e11e6dd3f96e6cea2854a87d4dacc5e55" +
    "04fc6369f7110fe3d25156c1bb9a72859cf2a04641f99ba4ee413c80da6a5fe4",
);

/**
 * Whether a proof verifies. `proof` and `verificationKey` are bytes, `publicInputs` are fields as `0x…` texts, and
 * `verifierTarget` is `noir-recursive` or `evm`.
 */
export async function verifyProof({ proof, publicInputs, verificationKey, verifierTarget }) {
  const api = await Barretenberg.new({ backend: BackendType.Wasm, threads: 1, skipSrsInit: true });
  try {
    await api.srsInitSrs({ pointsBuf: G1, numPoints: 1, g2Point: G2 });
    const verifier = new UltraHonkVerifierBackend(api);
    return await verifier.verifyProof({ proof, publicInputs, verificationKey }, { verifierTarget });
  } finally {
    await api.destroy();
  }
}

function bytes(hex) {
  return Uint8Array.from(hex.match(/../g), (byte) => Number.parseInt(byte, 16));
}
