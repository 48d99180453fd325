// Verifies a server's proofs as a browser page does, in Node.js: it computes a witness with noir_js, sends it to a
// running server, and verifies the proofs with bb.js in WebAssembly. Exits with 0 if every proof verifies and a changed
// one does not.
//
//   node verify_server_proofs.mjs URL CIRCUIT.json INPUTS
//   node verify_server_proofs.mjs http://127.0.0.1:8080/api/prove/range_check range_check.json '{"value":…}'
//
// The CRS is in CRS_PATH, else in ~/.bb-crs.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { BackendType, Barretenberg, UltraHonkBackend } from "@aztec/bb.js";
import { Noir } from "@noir-lang/noir_js";

const [url, circuitFile, inputs] = process.argv.slice(2);
const circuit = JSON.parse(await readFile(circuitFile, "utf8"));
const { witness } = await new Noir(circuit).execute(JSON.parse(inputs));

async function prove(target, accept) {
  const response = await fetch(`${url}?target=${target}`, {
    method: "POST",
    headers: { "Content-Type": "application/gzip", Accept: accept },
    body: witness,
  });
  assert.equal(response.status, 200, await response.clone().text());
  return response;
}

async function proveAsBytes(target) {
  const response = await prove(target, "application/octet-stream");
  const listed = response.headers.get("x-public-inputs");
  const publicInputs = listed ? listed.split(",") : [];
  return { proof: new Uint8Array(await response.arrayBuffer()), publicInputs };
}

async function proveAsJson(target) {
  const answer = await (await prove(target, "application/json")).json();
  return { proof: Uint8Array.from(Buffer.from(answer.proof, "base64")), publicInputs: answer.public_inputs };
}

// By default bb.js downloads a CRS. The local one is enough and needs no network.
const crs = process.env.CRS_PATH ?? join(homedir(), ".bb-crs");
const api = await Barretenberg.new({ backend: BackendType.Wasm, threads: 1, skipSrsInit: true });
try {
  const pointsBuf = await readFile(join(crs, "bn254_g1.dat"));
  const g2Point = await readFile(join(crs, "bn254_g2.dat"));
  await api.srsInitSrs({ pointsBuf, numPoints: pointsBuf.length / 64, g2Point });
  const backend = new UltraHonkBackend(circuit.bytecode, api);
  for (const verifierTarget of ["noir-recursive", "evm"]) {
    const bytes = await proveAsBytes(verifierTarget);
    const json = await proveAsJson(verifierTarget);
    // Zero-knowledge proofs of one statement differ, but their public inputs are the same.
    assert.deepEqual(bytes.publicInputs, json.publicInputs);
    assert.equal(bytes.proof.length, json.proof.length);
    for (const proof of [bytes, json]) {
      assert.ok(await backend.verifyProof(proof, { verifierTarget }), `${verifierTarget}: a proof does not verify`);
    }
    const other = (input) => input.replace(/.$/, (digit) => (digit === "0" ? "1" : "0"));
    const changed = { ...bytes, publicInputs: bytes.publicInputs.map(other) };
    const accepted = await backend.verifyProof(changed, { verifierTarget }).catch(() => false);
    assert.ok(!accepted, `${verifierTarget}: a proof verifies for other public inputs`);
    console.log(`${verifierTarget}: ${bytes.proof.length} bytes, verified by bb.js as bytes and as JSON`);
  }
} finally {
  await api.destroy();
}
