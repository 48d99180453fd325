// The common reference string: the points of the ceremony with which bb proves and verifies.

import { fromHex, sha256 } from './bytes.js';
import { EdgeproveError } from './errors.js';

/** The bytes of a point. bb.js also reads compressed ones of 32 bytes, but in pieces of 131,072 only. */
const POINT_BYTES = 64;

/** Points in the form of bb.js. */
export interface Points {
  pointsBuf: Uint8Array;
  numPoints: number;
  g2Point: Uint8Array;
}

/** The smallest number of points that bb accepts for a proof. */
export const POINTS_MIN = 512;

/** The generator of the first group of BN254: the first point, enough to verify. */
const G1_GENERATOR = `${'0'.repeat(63)}1${'0'.repeat(63)}2`;
/** The point of the second group of the ceremony: a constant, also in bb. */
const G2 =
  '0118c4d5b837bcc2bc89b5b398b5974e9f5944073b32078b7e231fec938883b0' +
  '260e01b251f6f1c7e7ff4e580791dee8ea51d87a358e038b4efe30fac09383c1' +
  '22febda3c0c0632a56475b4214e5615e11e6dd3f96e6cea2854a87d4dacc5e55' +
  '04fc6369f7110fe3d25156c1bb9a72859cf2a04641f99ba4ee413c80da6a5fe4';

/** SHA-256 of the first 512, 1024, … 32768 points of the ceremony: versions.toml has them too. */
const DIGESTS = [
  '7b44c17e968c59efa1c660610aec6df7cf99f780d908f44b7815f65a032887cf',
  '2bf3b828bcbba7b806b1339dfa7c03b58334e36419205524689b2cdb05c59a33',
  '793ad07c223d9f3b2175c1eb745841c11286b9a82c784db43d2ae5e4a2dcd247',
  '73b97f238c8fdc53dead1e1cc674c73cacab5aea5c2bb06b7ab6c9fa2b9517c7',
  'd5701a8cefb13111ea71576314c1d5687c6f63efac8ef0f8055316f20d6fbaa0',
  '424e8de36519d1be0d9c894a203c5fad13038bd05710ffe8a270e2469db438a2',
  '50d2f4e9567be2b8e382cedfd078b96a3428a94597b7e88c4116e105d578ce77',
] as const;

/** What a verifier needs: no download. */
export const VERIFIER_POINTS = (): Points => ({ pointsBuf: fromHex(G1_GENERATOR), numPoints: 1, g2Point: fromHex(G2) });

/**
 * Loads the first points of a file, `count` of them: a power of two.
 *
 * The first 32,768 at most are compared with the ceremony: with other points a proof could be invalid, or reveal
 * something of the witness. Rejects with `local_failed`.
 */
export async function loadPoints(url: string, count: number): Promise<Points> {
  const size = count * POINT_BYTES;
  const unavailable = (why: string, cause?: unknown): EdgeproveError =>
    new EdgeproveError('local_failed', `the points of the CRS ${why} (${url})`, { retryable: true, cause });
  let found: Uint8Array<ArrayBuffer>;
  try {
    const response = await fetch(url, { headers: { range: `bytes=0-${size - 1}` } });
    if (!response.ok || !response.body) throw unavailable(`answered with status ${response.status}`);
    found = await readPrefix(response.body, size);
  } catch (error) {
    throw error instanceof EdgeproveError ? error : unavailable('cannot be loaded', error);
  }
  if (found.length < size) throw unavailable(`are too few: the circuit needs ${count}`);
  const checked = Math.min(Math.log2(count / POINTS_MIN), DIGESTS.length - 1);
  const digest = await sha256(found.subarray(0, (POINTS_MIN << checked) * POINT_BYTES));
  if (digest !== undefined && digest !== DIGESTS[checked]) throw unavailable('are not those of the ceremony');
  return { pointsBuf: found, numPoints: count, g2Point: fromHex(G2) };
}

/** The first bytes of a stream: a server that knows no ranges sends the whole file. */
async function readPrefix(body: ReadableStream<Uint8Array>, size: number): Promise<Uint8Array<ArrayBuffer>> {
  const found = new Uint8Array(size);
  let at = 0;
  const reader = body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return found.subarray(0, at);
    const part = value.subarray(0, size - at);
    found.set(part, at);
    at += part.length;
    if (at === size) {
      await reader.cancel();
      return found;
    }
  }
}
