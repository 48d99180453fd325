// Runs snarkjs in this process. The tests compare our witnesses, keys and proofs with what it writes and accepts.
//
//   node snarkjs.mjs witness PROGRAM.wasm INPUTS.json OUT.wtns
//   node snarkjs.mjs ptau POWER OUT.ptau
//   node snarkjs.mjs check-ptau POWERS.ptau                prints true or false
//   node snarkjs.mjs setup CIRCUIT.r1cs POWERS.ptau OUT.zkey
//   node snarkjs.mjs contribute IN.zkey OUT.zkey
//   node snarkjs.mjs check-key CIRCUIT.r1cs POWERS.ptau KEY.zkey    prints true or false
//   node snarkjs.mjs key KEY.zkey                          prints verification_key.json
//   node snarkjs.mjs prove KEY.zkey WITNESS.wtns           prints {"proof": ..., "publicSignals": ...}
//   node snarkjs.mjs verify KEY.json PROOF.json PUBLIC.json    prints true or false
//   node snarkjs.mjs bench KEY.zkey WITNESS.wtns PROGRAM.wasm INPUTS.json
//       reads lines with `prove` or `witness`, and prints the milliseconds that each took
//
// A failure prints its message and exits with 1. A powers-of-tau file from here is good for tests only.

import { randomBytes } from 'node:crypto';
import { readFile, rm } from 'node:fs/promises';
import { createInterface } from 'node:readline';

import * as snarkjs from 'snarkjs';

const json = async (file) => JSON.parse(await readFile(file, 'utf8'));
const entropy = () => randomBytes(64).toString('hex');
const memory = async (file) => ({ type: 'mem', data: new Uint8Array(await readFile(file)) });

const commands = {
  async witness(program, inputs, out) {
    await snarkjs.wtns.calculate(await json(inputs), program, out);
  },
  async ptau(power, out) {
    const curve = await snarkjs.curves.getCurveFromName('bn128');
    await snarkjs.powersOfTau.newAccumulator(curve, Number(power), `${out}.0`);
    await snarkjs.powersOfTau.contribute(`${out}.0`, `${out}.1`, 'test', entropy());
    await snarkjs.powersOfTau.preparePhase2(`${out}.1`, out);
    await Promise.all([rm(`${out}.0`), rm(`${out}.1`)]);
  },
  'check-ptau': async (powers) => snarkjs.powersOfTau.verify(powers),
  async setup(circuit, powers, out) {
    await snarkjs.zKey.newZKey(circuit, powers, `${out}.0`);
    await snarkjs.zKey.contribute(`${out}.0`, out, 'test', entropy());
    await rm(`${out}.0`);
  },
  async contribute(key, out) {
    await snarkjs.zKey.contribute(key, out, 'test', entropy());
  },
  'check-key': async (circuit, powers, key) => snarkjs.zKey.verifyFromR1cs(circuit, powers, key),
  async key(key) {
    return await snarkjs.zKey.exportVerificationKey(key);
  },
  async prove(key, witness) {
    return await snarkjs.groth16.prove(key, witness);
  },
  async verify(key, proof, signals) {
    return await snarkjs.groth16.verify(await json(key), await json(signals), await json(proof));
  },
  async bench(key, witness, program, inputs) {
    const [keyBytes, witnessBytes, programBytes] = await Promise.all([key, witness, program].map(memory));
    const inputValues = await json(inputs);
    const work = {
      prove: () => snarkjs.groth16.prove(keyBytes, witnessBytes),
      witness: () => snarkjs.wtns.calculate(inputValues, programBytes, { type: 'mem' }),
    };
    for await (const line of createInterface({ input: process.stdin })) {
      const start = performance.now();
      await work[line]();
      process.stdout.write(`${performance.now() - start}\n`);
    }
  },
};

const [name, ...operands] = process.argv.slice(2);
if (!Object.hasOwn(commands, name ?? '') || operands.length !== commands[name].length) {
  console.error('usage: see the head of snarkjs.mjs');
  process.exit(64);
}
try {
  const result = await commands[name](...operands);
  if (result !== undefined) {
    // A pipe takes its content bit by bit, and the exit below would cut it off.
    await new Promise((resolve) => process.stdout.write(`${JSON.stringify(result, null, 1)}\n`, resolve));
  }
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
// The threads of snarkjs's curves keep the process alive otherwise.
process.exit(0);
