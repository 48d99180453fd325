// Seals what a request sends, by HPKE (RFC 9180). docs/SEALING.md describes the format. It is loaded when it is needed.

import { AEAD_AES_256_GCM, CipherSuite, KDF_HKDF_SHA256, KEM_DHKEM_X25519_HKDF_SHA256 } from 'hpke';

import { concat, fromBase64, fromHex } from './bytes.js';
import type { SealingKey } from './wire.js';

/** What a sealed body is bound to. */
export interface Binding {
  /** The media type of what is sealed. */
  content: string;
  /** The circuit that the request names; empty if it names none. */
  circuit: string;
  /** The target in the query; empty if it has none. */
  target: string;
  /** The key or the voucher that the request has. */
  token: string | undefined;
}

/** The plaintext of every chunk but the last, in bytes. */
const CHUNK_BYTES = 64 * 1024;
const LABEL = 'edgeprove sealed body v1';
const MAGIC = 'EPSB';
const VERSION = 1;
/** KEM, KDF and AEAD. */
const SUITE = [0x0020, 0x0001, 0x0002] as const;
/** In the length of the last chunk. */
const LAST = 2 ** 31;

/** Whether this module can seal for a key. */
export function isUsable({ id, suite }: SealingKey): boolean {
  return [suite.kem, suite.kdf, suite.aead].join() === SUITE.join() && /^[0-9a-f]{16}$/.test(id);
}

/** Seals a body for a key, at a time in milliseconds since 1970. Every call gives other bytes. */
export async function seal(key: SealingKey, binding: Binding, timeMs: number, body: Blob): Promise<Blob> {
  const head = concat([text(MAGIC), Uint8Array.of(VERSION), ...SUITE.map(u16), fromHex(key.id), u64(Math.round(timeMs))]);
  const suite = new CipherSuite(KEM_DHKEM_X25519_HKDF_SHA256, KDF_HKDF_SHA256, AEAD_AES_256_GCM);
  const publicKey = await suite.DeserializePublicKey(fromBase64(key.public_key));
  const credential = binding.token === undefined
    ? new Uint8Array()
    : new Uint8Array(await crypto.subtle.digest('SHA-256', text(binding.token)));
  const parts = [text(binding.content), text(binding.circuit), text(binding.target), credential];
  const info = concat([text(LABEL), head, ...parts.flatMap((part) => [u16(part.length), part])]);
  const { encapsulatedSecret, ctx } = await suite.SetupSender(publicKey, { info });
  const sealed: BlobPart[] = [head, new Uint8Array(encapsulatedSecret)];
  const count = Math.max(1, Math.ceil(body.size / CHUNK_BYTES));
  for (let index = 0; index < count; index++) {
    const isLast = index + 1 === count;
    const piece = body.slice(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES);
    const data = concat([u64(index), Uint8Array.of(isLast ? 1 : 0)]);
    const ciphertext = new Uint8Array(await ctx.Seal(new Uint8Array(await piece.arrayBuffer()), data));
    sealed.push(u32(ciphertext.length + (isLast ? LAST : 0)), ciphertext);
  }
  return new Blob(sealed);
}

function text(value: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new TextEncoder().encode(value));
}

function number(bytes: number, write: (view: DataView) => void): Uint8Array<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(bytes));
  write(view);
  return new Uint8Array(view.buffer);
}

function u16(value: number): Uint8Array<ArrayBuffer> {
  return number(2, (view) => view.setUint16(0, value));
}

function u32(value: number): Uint8Array<ArrayBuffer> {
  return number(4, (view) => view.setUint32(0, value));
}

function u64(value: number): Uint8Array<ArrayBuffer> {
  return number(8, (view) => view.setBigUint64(0, BigInt(value)));
}
