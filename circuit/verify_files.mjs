// Verifies the files of a proof with bb.js: those of `edgeprove prove`, or of an unpacked answer, in DIR.
//
//   node verify_files.mjs DIR [TARGET]
import { readFile } from "node:fs/promises";

import { verifyProof } from "./verify_proof.mjs";

const [dir, verifierTarget = "noir-recursive"] = process.argv.slice(2);
const [proof, inputs, verificationKey] = await Promise.all(
  ["proof", "public_inputs", "vk"].map(async (name) => new Uint8Array(await readFile(`${dir}/${name}`))),
);
const publicInputs = [];
for (let at = 0; at < inputs.length; at += 32) {
  publicInputs.push(`0x${Buffer.from(inputs.slice(at, at + 32)).toString("hex")}`);
}
const isValid = await verifyProof({ proof, publicInputs, verificationKey, verifierTarget }).catch(() => false);
console.log(isValid ? "valid" : "invalid");
process.exit(isValid ? 0 : 1);
