// Proofs in the forms of other libraries, and the bytes behind them.

import assert from 'node:assert/strict';
import test from 'node:test';

import { contractArguments, forBbJs, forSnarkjs, fromHex, proofAsFields, proofHex, toHex } from '../../dist/index.js';
import { fromBase64, toBase64 } from '../../dist/bytes.js';
import { resultOf } from '../../dist/result.js';

const field = (n) => `0x${n.toString(16).padStart(64, '0')}`;
const honk = { proof: fromHex(field(1) + field(2).slice(2)), publicInputs: [field(10), field(100)], target: 'evm' };

test('bytes survive the round trip through hexadecimal digits and base64', () => {
  const bytes = Uint8Array.from({ length: 100_000 }, (_, i) => i % 251);
  assert.deepEqual(fromHex(toHex(bytes)), bytes);
  assert.deepEqual(fromBase64(toBase64(bytes)), bytes);
  assert.equal(toBase64(bytes), Buffer.from(bytes).toString('base64'));
  assert.deepEqual(fromHex('0xfF'), Uint8Array.of(255));
  for (const bad of ['0x0', '0xzz', '0x 1', '-1']) assert.throws(() => fromHex(bad), TypeError, bad);
});

test('bb.js, noir_js and recursive circuits get their forms', () => {
  assert.deepEqual(forBbJs(honk), { proof: honk.proof, publicInputs: honk.publicInputs });
  assert.deepEqual(proofAsFields(honk), [field(1), field(2)]);
  assert.equal(proofHex(honk), field(1) + field(2).slice(2));
});

test('viem and ethers get bytes and bytes32[]', () => {
  const [proof, publicInputs] = contractArguments(honk);
  assert.equal(proof, proofHex(honk));
  assert.deepEqual(publicInputs, honk.publicInputs);
});

test('a proof that no contract verifies has no arguments', () => {
  assert.throws(() => contractArguments({ ...honk, target: 'noir-recursive' }), { code: 'invalid_option' });
  assert.throws(() => contractArguments({ ...honk, target: 'groth16' }), { code: 'invalid_option' });
  assert.throws(() => forSnarkjs(honk), { code: 'invalid_option' });
});

test('a proof of Groth16 has the words of its contract', () => {
  const answer = {
    success: true, target: 'groth16', circuit: 'range', proof_hash: '0x', vk_hash: '0x', verified: true, cached: false,
    proof: { pi_a: ['1', '2', '1'], pi_b: [['4', '3'], ['6', '5'], ['1', '0']], pi_c: ['7', '8', '1'], protocol: 'groth16', curve: 'bn128' },
    publicSignals: ['9'], public_inputs: [field(9)], request_id: 'r',
    timings: { upload_ms: 0, queue_ms: 0, prove_ms: 0, verify_ms: 0, total_ms: 0 },
  };
  const result = resultOf(answer, 0);
  assert.equal(result.proof.length, 256);
  assert.deepEqual(contractArguments(result), [[1n, 2n], [[3n, 4n], [5n, 6n]], [7n, 8n], [9n]]);
  assert.deepEqual(forSnarkjs(result), { proof: answer.proof, publicSignals: ['9'] });
});

test('an answer without a proof is a bad answer', () => {
  const answer = { proof: '', public_inputs: [], timings: {} };
  for (const change of [{}, { proof: '%%%' }, { proof: 'AAAA', public_inputs: ['7'] }, { proof: { pi_a: [], pi_b: [], pi_c: [] } }]) {
    assert.throws(() => resultOf({ ...answer, ...change }, 0), { code: 'bad_answer' }, JSON.stringify(change));
  }
});
