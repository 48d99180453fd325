// Proves one witness with bb.js in WebAssembly, once for each line on standard input, and answers each with the
// milliseconds it took.
//
//   node prove_in_wasm.mjs CIRCUIT.json WITNESS.gz CRS_DIRECTORY POINTS THREADS
//
// The baseline of `cargo xtask bench`.
// A line that says `backend` is proved by UltraHonkBackend, as pages do it: it computes the verification key anew
// each time. One that says `keyed` goes one step below and hands the key in.

import { readFileSync } from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';
import { gunzipSync } from 'node:zlib';

import { BackendType, Barretenberg, UltraHonkBackend } from '@aztec/bb.js';

// bb.js tells of each proof with console.log; stdout is kept for answers.
const answer = console.log;
console.log = console.error;

const [circuitFile, witnessFile, crsDirectory, points, threads] = process.argv.slice(2);
if (threads === undefined) {
  console.error('usage: node prove_in_wasm.mjs CIRCUIT.json WITNESS.gz CRS_DIRECTORY POINTS THREADS');
  process.exit(64);
}
const { bytecode } = JSON.parse(readFileSync(circuitFile, 'utf8'));
const witness = readFileSync(witnessFile);

// Without a named backend bb.js would run the native program. The points come from the folder: left to itself, bb.js
// would ask the network for those of another curve as well, which no proof here needs.
const api = await Barretenberg.new({
  backend: BackendType.Wasm,
  threads: Number(threads),
  skipSrsInit: true,
});
await api.srsInitSrs({
  pointsBuf: readFileSync(path.join(crsDirectory, 'bn254_g1.dat')).subarray(0, Number(points) * 64),
  numPoints: Number(points),
  g2Point: readFileSync(path.join(crsDirectory, 'bn254_g2.dat')),
});
const backend = new UltraHonkBackend(bytecode, api);

const settings = {
  ipaAccumulation: false,
  oracleHashType: 'poseidon2',
  disableZk: false,
  optimizedSolidityVerifier: false,
};
const circuit = { name: 'circuit', bytecode: gunzipSync(Buffer.from(bytecode, 'base64')) };
const { bytes: verificationKey } = await api.circuitComputeVk({ circuit, settings });

const ways = {
  backend: () => backend.generateProof(witness),
  keyed: () =>
    api.circuitProve({ witness: gunzipSync(witness), circuit: { ...circuit, verificationKey }, settings }),
};

for await (const way of readline.createInterface({ input: process.stdin })) {
  const started = performance.now();
  const { proof } = await ways[way]();
  const ms = performance.now() - started;
  if (proof.length === 0) {
    throw new Error('bb.js gave an empty proof');
  }
  answer(String(ms));
}
await api.destroy();
