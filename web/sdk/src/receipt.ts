// Verifies receipts, the signed statements of a server about its proofs: docs/RECEIPTS.md. Nothing else imports this module.

import { concat, fromBase64, fromHex, sha256, toBase64 } from './bytes.js';
import { EdgeproveError } from './errors.js';
import type { Hex, Receipt, ReceiptKey } from './wire.js';

export type { Receipt, ReceiptKey } from './wire.js';

/** Most characters of a receipt. Ours have some 1,200. */
const RECEIPT_MAX = 8192;
const ALGORITHM = 'EdDSA';
const TYPE = 'edgeprove-receipt+jwt';

/** With what a receipt is compared. A `ProofResult` with `keys` beside its members will do. */
export interface ReceiptOptions {
  /** The keys of the server: `receipts.keys` of `prover.service()`, or such that were stored before. */
  keys: readonly ReceiptKey[];
  /** The bytes of the proof. */
  proof?: Uint8Array;
  /** Its public inputs. */
  publicInputs?: readonly Hex[];
  /** The hash of its verification key, as results have it. */
  vkHash?: Hex;
  /** The bytes of its verification key, as `prover.circuits.vk` has them. */
  vk?: Uint8Array;
}

/**
 * What a receipt states. Throws `receipt_invalid` where none of the keys signed it, or where it is of another proof, and
 * `receipt_unverifiable` where the runtime has no Ed25519.
 */
export async function verifyReceipt(receipt: string | undefined, options: ReceiptOptions): Promise<Receipt> {
  if (typeof receipt !== 'string') throw option('there is no receipt: the server signs none');
  const { keys } = options;
  if (!Array.isArray(keys) || keys.length === 0) throw option('`keys` must be those of a server, and it has at least one');
  const text = receipt.trim();
  if (text.length > RECEIPT_MAX) throw invalid(`it has more than ${RECEIPT_MAX} characters`);
  const parts = text.split('.');
  const [head, payload, signature] = parts;
  if (parts.length !== 3 || head === undefined || payload === undefined || signature === undefined) {
    throw invalid('it is no compact JWS: three parts in base64url, with dots between them');
  }
  const { alg, kid, typ, ...others } = json(head);
  if (alg !== ALGORITHM) throw invalid(`receipts are signed with ${ALGORITHM} only`);
  if (typ !== TYPE) throw invalid(`the type of a receipt is ${TYPE}`);
  // Further members would change how it must be verified.
  if (Object.keys(others).length > 0) throw invalid('its header has members that no receipt has');
  const key = await find(keys, kid);
  const signed = new TextEncoder().encode(`${head}.${payload}`);
  if (!(await isSigned(key, fromBase64Url(signature), signed))) {
    throw invalid('the signature is wrong: it was changed, or another key signed it');
  }
  const stated = json(payload) as unknown as Receipt;
  const at = stated.iat * 1000;
  // A comparison that is false for NaN refuses.
  if (!(Date.parse(key.not_before) <= at && at < Date.parse(key.expires_at))) {
    throw invalid('it was signed at a time at which its key does not sign');
  }
  await compare(stated, options);
  return stated;
}

async function compare(stated: Receipt, { proof, publicInputs, vkHash, vk }: ReceiptOptions): Promise<void> {
  const fields = publicInputs && concat(publicInputs.map((field) => {
    if (!/^0x[0-9a-f]{64}$/i.test(field)) throw option('`publicInputs` must be 32-byte fields as hexadecimal digits after 0x');
    return fromHex(field);
  }));
  const pairs = [['proof', proof, stated.proof_hash], ['public inputs', fields, stated.public_inputs_hash], ['verification key', vk, stated.vk_sha256]] as const;
  for (const [what, bytes, expected] of pairs) {
    if (bytes && `0x${await digest(bytes)}` !== expected) throw invalid(`it is of another proof: the digest of the ${what} differs`);
  }
  if (vkHash !== undefined && vkHash !== stated.vk_hash) throw invalid('it is of another proof: the hash of the verification key differs');
}

/** The key with this id. An id is the thumbprint of its key (RFC 7638), whatever its document names it. */
async function find(keys: readonly ReceiptKey[], id: unknown): Promise<ReceiptKey> {
  for (const key of keys) {
    if (key.kty !== 'OKP' || key.crv !== 'Ed25519') continue;
    const thumbprint = await digest(new TextEncoder().encode(`{"crv":"Ed25519","kty":"OKP","x":"${key.x}"}`));
    if (toBase64(fromHex(thumbprint)).replaceAll('+', '-').replaceAll('/', '_').replace('=', '') === id) return key;
  }
  throw invalid('it is signed with none of the given keys');
}

async function isSigned({ kty, crv, x }: ReceiptKey, signature: BufferSource, signed: BufferSource): Promise<boolean> {
  let key: CryptoKey;
  try {
    key = await crypto.subtle.importKey('jwk', { kty, crv, x }, { name: 'Ed25519' }, false, ['verify']);
  } catch (cause) {
    if (cause instanceof Error && cause.name === 'DataError') throw option('a key is damaged', cause);
    throw unverifiable(cause);
  }
  return await crypto.subtle.verify('Ed25519', key, signature, signed);
}

async function digest(bytes: Uint8Array): Promise<string> {
  const found = await sha256(new Uint8Array(bytes));
  if (found === undefined) throw unverifiable();
  return found;
}

function json(part: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(fromBase64Url(part)));
  } catch (cause) {
    if (cause instanceof EdgeproveError) throw cause;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid('a part of it is no JSON object');
  return value as Record<string, unknown>;
}

function fromBase64Url(text: string): Uint8Array<ArrayBuffer> {
  if (!/^[\w-]*$/.test(text) || text.length % 4 === 1) throw invalid('a part of it is no base64url');
  return fromBase64(text.replaceAll('-', '+').replaceAll('_', '/'));
}

function invalid(reason: string): EdgeproveError {
  return new EdgeproveError('receipt_invalid', `the receipt is not valid: ${reason}`);
}

function option(detail: string, cause?: unknown): EdgeproveError {
  return new EdgeproveError('invalid_option', detail, { cause });
}

function unverifiable(cause?: unknown): EdgeproveError {
  const detail =
    'this runtime cannot verify a receipt: it needs Ed25519 of the Web Cryptography API, which browsers have since 2025, on pages with TLS only';
  return new EdgeproveError('receipt_unverifiable', detail, { cause });
}
