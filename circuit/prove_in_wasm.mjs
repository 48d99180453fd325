// Proves one witness with bb.js in WebAssembly, once for each line on stdin, and writes the time of each proof in
// milliseconds to stdout.
//
//   node prove_in_wasm.mjs CIRCUIT.json WITNESS.gz CRS_DIRECTORY POINTS THREADS
//
// It is a baseline of `cargo xtask bench`. For the line `backend`, UltraHonkBackend proves, as in a page: it computes
// the verification key for each proof. For the line `keyed`, the interface below it proves with a ready key.

import { readFileSync } from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';
import { gunzipSync } from 'node:zlib';

import { BackendType, Barretenberg, UltraHonkBackend } from '@aztec/bb.js';

// bb.js writes a line for each proof with console.log, but stdout is only for results.
const writeResult = console.log;
console.log = console.error;

const [circuitFile, witnessFile, crsDirectory, points, threads] = process.argv.slice(2);
if (threads === undefined) {
  console.error('usage: node prove_in_wasm.mjs CIRCUIT.json WITNESS.gz CRS_DIRECTORY POINTS THREADS');
  process.exit(64);
}
const { bytecode } = JSON.parse(readFileSync(circuitFile, 'utf8'));
const witness = readFileSync(witnessFile);

// Without a named backend bb.js starts the native program. The points come from the folder: by default bb.js also
// downloads those of another curve, which no proof here needs.
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

const provers = {
  backend: () => backend.generateProof(witness),
  keyed: () =>
    api.circuitProve({ witness: gunzipSync(witness), circuit: { ...circuit, verificationKey }, settings }),
};

for await (const mode of readline.createInterface({ input: process.stdin })) {
  const started = performance.now();
  const { proof } = await provers[mode]();
  const ms = performance.now() - started;
  if (proof.length === 0) {
    throw new Error('bb.js returned an empty proof');
  }
  writeResult(String(ms));
}
await api.destroy();
