// Receipts: the real server signs them, and nobody else can.

import assert from 'node:assert/strict';
import { createPrivateKey, sign } from 'node:crypto';
import test, { after, before } from 'node:test';

import { createProver } from '../../dist/index.js';
import { verifyReceipt } from '../../dist/receipt.js';
import { program, Server } from '../support/server.mjs';

const INPUTS = { value: 42, min: 10, max: 100 };
/** The key of RFC 8037, appendix A. */
const JWK = { kty: 'OKP', crv: 'Ed25519', x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo' };
const D = 'nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A';
const THUMBPRINT = 'kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k';
const KEY = {
  ...JWK, kid: THUMBPRINT, alg: 'EdDSA', use: 'sig', not_before: '1970-01-02T00:00:00.000Z', expires_at: '1970-01-03T00:00:00.000Z',
};
const HEADER = { alg: 'EdDSA', kid: THUMBPRINT, typ: 'edgeprove-receipt+jwt' };
const STATED = { iat: 100_000, circuit: 'range_check', proof_hash: '0x03' };

const encoded = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
function signed(header = HEADER, stated = STATED) {
  const text = `${encoded(header)}.${encoded(stated)}`;
  const key = createPrivateKey({ key: { ...JWK, d: D }, format: 'jwk' });
  return `${text}.${sign(null, Buffer.from(text), key).toString('base64url')}`;
}
const refusedWith = (code) => (error) => error.code === code && error.retryable === false;

let server;
let prover;
let circuit;
before(async () => {
  server = await Server.start({ flags: ['--proof-cache', '0'] });
  circuit = { id: 'range_check', program: await program() };
  prover = createProver({ url: server.url, mode: 'remote', seal: 'required' });
});
after(async () => await server.stop());

test('a proof has a receipt, and another proof has another one', async () => {
  const { keys, lasting } = (await prover.service()).receipts;
  assert.equal(lasting, false);
  const result = await prover.prove(circuit, INPUTS);
  const stated = await verifyReceipt(result.receipt, { keys, ...result });
  assert.deepEqual([stated.circuit, stated.target, stated.backend.name], ['range_check', result.target, 'bb']);
  assert.deepEqual([stated.verified, stated.spool_wiped, stated.sealed, stated.cached], [true, true, true, false]);
  assert.equal(stated.request_id, result.requestId);
  const { bytes: vk } = await prover.circuits.vk('range_check');
  await verifyReceipt(result.receipt, { keys, vk });
  assert.equal((await prover.jobs.get(result.jobId)).receipt, result.receipt);
  const other = await prover.prove(circuit, INPUTS);
  assert.notEqual(other.receipt, result.receipt);
  for (const wrong of [
    { proof: other.proof }, { publicInputs: [`0x${'0'.repeat(64)}`] }, { vkHash: '0x00' }, { vk: result.proof }, other,
  ]) {
    await assert.rejects(verifyReceipt(result.receipt, { ...wrong, keys }), refusedWith('receipt_invalid'));
  }
  await assert.rejects(verifyReceipt(result.receipt, { keys: [KEY] }), refusedWith('receipt_invalid'));
});

test('what the key did not sign is refused', async () => {
  const keys = [{ ...KEY, kid: 'another name' }];
  assert.deepEqual(await verifyReceipt(` ${signed()}\n`, { keys }), STATED);
  const [head, payload, signature] = signed().split('.');
  for (const text of [
    '', 'a.b', `${signed()}.`, `${head}.${payload}.`, `${head}.${encoded({ ...STATED, proof_hash: '0x05' })}.${signature}`,
    `${head}.${payload}.${Buffer.alloc(64).toString('base64url')}`, `${head}.${payload}.${signature.slice(0, -4)}`,
    `${head}.ä.${signature}`, `${encoded('{"alg":"none"}')}.${payload}.`, `${'A'.repeat(9000)}.A.A`, `${encoded('[')}.${payload}.${signature}`,
    signed({ ...HEADER, alg: 'none' }), signed({ ...HEADER, alg: 'HS256' }), signed({ ...HEADER, typ: 'JWT' }),
    signed({ ...HEADER, kid: 'another name' }), signed({ ...HEADER, crit: ['b64'] }), signed({ ...HEADER, jwk: JWK }),
    signed({ alg: 'EdDSA', typ: HEADER.typ }), signed(HEADER, { ...STATED, iat: 86_399 }), signed(HEADER, { ...STATED, iat: 172_800 }),
    signed(HEADER, { ...STATED, iat: undefined }), signed(HEADER, [1]),
  ]) {
    await assert.rejects(verifyReceipt(text, { keys }), refusedWith('receipt_invalid'), text);
  }
  for (const wrong of [{ keys: [] }, { keys: 7 }, { keys, publicInputs: ['0x1'] }]) {
    await assert.rejects(verifyReceipt(signed(), wrong), refusedWith('invalid_option'));
  }
  await assert.rejects(verifyReceipt(undefined, { keys }), refusedWith('invalid_option'));
});

test('a runtime without Ed25519 is reported', async () => {
  const { importKey } = crypto.subtle;
  crypto.subtle.importKey = async () => {
    throw new DOMException('Unrecognized name.', 'NotSupportedError');
  };
  try {
    await assert.rejects(verifyReceipt(signed(), { keys: [KEY] }), refusedWith('receipt_unverifiable'));
  } finally {
    crypto.subtle.importKey = importKey;
  }
});
