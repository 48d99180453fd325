// Witnesses and inputs that are sealed for the real server, through a proxy that sees everything.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import test, { after, before, beforeEach } from 'node:test';

import { AEAD_AES_256_GCM, CipherSuite, KDF_HKDF_SHA256, KEM_DHKEM_X25519_HKDF_SHA256 } from 'hpke';

import { createProver } from '../../dist/index.js';
import { isUsable, seal } from '../../dist/seal.js';
import { keysFile } from '../support/keys.mjs';
import * as paths from '../support/paths.mjs';
import { assertAttempts, problem, Proxy } from '../support/proxy.mjs';
import { program, sampleWitness, Server } from '../support/server.mjs';

const INPUTS = { value: 42, min: 10, max: 100 };
const SEALED = /^application\/vnd\.edgeprove\.sealed; content="application\/(gzip|json)"$/;
const bytes = (hex) => Uint8Array.from(Buffer.from(hex, 'hex'));

let server;
let proxy;
let circuit;
let witness;
/** What was sent to the paths that prove: headers and body. */
let uploads;
before(async () => {
  server = await Server.start({ keys: await keysFile({ alice: 'user', bob: 'user' }), flags: ['--proof-cache', '0'] });
  proxy = await Proxy.start(server.url);
  circuit = { id: 'range_check', program: await program() };
  witness = await sampleWitness();
});
after(async () => {
  await proxy.stop();
  await server.stop();
});
beforeEach(() => {
  proxy.requests = [];
  proxy.onPiece = () => true;
  uploads = [];
  proxy.intercept = record;
});

/** Records an upload. The proxy passes it on. */
function record(request) {
  if (request.method === 'POST') {
    const upload = { headers: request.headers, body: Buffer.alloc(0) };
    uploads.push(upload);
    request.on('data', (piece) => (upload.body = Buffer.concat([upload.body, piece])));
  }
  return false;
}

const alice = (options = {}) =>
  createProver({ url: proxy.url, apiKey: 'alice-key', mode: 'remote', retry: { maxDelayMs: 100 }, ...options });

/** No sequence of 12 bytes of the witness is in an upload, beside the head that all gzip streams have. */
function assertUnreadable() {
  assert.ok(uploads.length > 0);
  for (const { headers, body } of uploads) {
    assert.match(headers['content-type'], SEALED);
    assert.equal(body.subarray(0, 4).toString(), 'EPSB');
    for (let at = 12; at + 12 <= witness.length; at++) assert.ok(!body.includes(witness.subarray(at, at + 12)), `${at}`);
    assert.ok(!body.includes('privateInputs'));
  }
}

test('the vector of RFC 9180 opens with the package that seals', async () => {
  const suite = new CipherSuite(KEM_DHKEM_X25519_HKDF_SHA256, KDF_HKDF_SHA256, AEAD_AES_256_GCM);
  const [privateKey, publicKey] = await Promise.all([
    suite.DeserializePrivateKey(bytes('497b4502664cfea5d5af0b39934dac72242a74f8480451e1aee7d6a53320333d'), true),
    suite.DeserializePublicKey(bytes('430f4b9859665145a6b1ba274024487bd66f03a2dd577d7753c68d7d7d00c00c')),
  ]);
  const ctx = await suite.SetupRecipient(
    { privateKey, publicKey }, bytes('6c93e09869df3402d7bf231bf540fadd35cd56be14f97178f0954db94b7fc256'),
    { info: bytes('4f6465206f6e2061204772656369616e2055726e') });
  const ciphertext = bytes('e5d84cd531cfb583096e7cfa9641bd3079cf3a91cda813c52deb5f512be9931980a41de125a925cdad859d5b7a');
  const plaintext = await ctx.Open(ciphertext, bytes('436f756e742d30'));
  assert.equal(Buffer.from(plaintext).toString(), 'Beauty is truth, truth beauty');
});

test('a body is sealed as those of the vectors', async () => {
  const vectors = JSON.parse(await readFile(path.join(paths.repository, 'crates/sealing/vectors/sealed-bodies.json'), 'utf8'));
  const suite = new CipherSuite(KEM_DHKEM_X25519_HKDF_SHA256, KDF_HKDF_SHA256, AEAD_AES_256_GCM);
  const privateKey = await suite.DeserializePrivateKey(bytes(vectors.key.private_key), true);
  const publicKey = await suite.DeserializePublicKey(Uint8Array.from(Buffer.from(vectors.key.public_key, 'base64')));
  /** Opens a body as docs/SEALING.md describes it, apart from the package. */
  const open = async ({ content, circuit, target, token }, body) => {
    const credential = token === null ? new Uint8Array() : new Uint8Array(await crypto.subtle.digest('SHA-256', Buffer.from(token)));
    const parts = [content, circuit, target, credential].map((part) => Buffer.from(part));
    const info = Buffer.concat([Buffer.from('edgeprove sealed body v1'), body.subarray(0, 27),
      ...parts.flatMap((part) => [Buffer.from([part.length >> 8, part.length & 255]), part])]);
    const ctx = await suite.SetupRecipient({ privateKey, publicKey }, new Uint8Array(body.subarray(27, 59)), { info: new Uint8Array(info) });
    const opened = [];
    let [at, isLast] = [59, false];
    for (let index = 0; !isLast; index++) {
      const length = body.readUInt32BE(at) & 0x7fff_ffff;
      isLast = body.readUInt32BE(at) > 0x7fff_ffff;
      const data = Buffer.alloc(9, isLast ? 1 : 0);
      data.writeBigUInt64BE(BigInt(index));
      opened.push(await ctx.Open(new Uint8Array(body.subarray(at + 4, at + 4 + length)), new Uint8Array(data)));
      at += 4 + length;
    }
    assert.equal(at, body.length);
    return Buffer.concat(opened.map((piece) => Buffer.from(piece)));
  };
  const key = { ...vectors.key, suite: { kem: 32, kdf: 1, aead: 2 } };
  for (const vector of vectors.bodies) {
    const plain = Buffer.from(Array.from({ length: vector.plaintext_bytes }, (_, at) => (7 * at + Math.floor(at / 256)) % 256));
    if (vector.sealed !== undefined) assert.ok((await open(vector, Buffer.from(vector.sealed, 'hex'))).equals(plain));
    const binding = { ...vector, token: vector.token ?? undefined };
    const sealed = Buffer.from(await (await seal(key, binding, vectors.time_ms, new Blob([plain]))).arrayBuffer());
    assert.equal(sealed.length, vector.sealed_bytes);
    assert.ok((await open(vector, sealed)).equals(plain), `${vector.plaintext_bytes} bytes`);
  }
});

test('what is proved is sealed, whether as a job, directly or from inputs', async () => {
  const prover = alice();
  for (const options of [{}, { delivery: 'direct' }, { target: 'evm' }, { target: 'evm', delivery: 'direct' }]) {
    const result = await prover.prove(circuit, witness, options);
    assert.ok(await prover.verify(result), JSON.stringify(options));
  }
  // Without the program, the server makes the witness.
  assert.ok(await prover.verify(await prover.prove('range_check', INPUTS)));
  const job = await prover.jobs.submit(circuit, witness);
  assert.equal((await prover.jobs.follow(job.id)).status, 'completed');
  assert.equal(uploads.length, 6);
  assertUnreadable();
  assert.equal(proxy.with('/.well-known/edgeprove').length, 1, 'the key is fetched once');
});

test('a body of any length is sealed as the server opens it', async () => {
  const { sealing: { keys: [key] } } = await alice().service();
  assert.ok(isUsable(key));
  for (const [size, code] of [[0, 'witness_empty'], [1, 'witness_not_gzip'], [65_536, 'witness_not_gzip'], [200_001, 'witness_not_gzip']]) {
    const binding = { content: 'application/gzip', circuit: '', target: '', token: 'alice-key' };
    const body = await seal(key, binding, Date.now(), new Blob([new Uint8Array(size)]));
    assert.equal(body.size, 59 + size + 20 * Math.max(1, Math.ceil(size / 65_536)));
    const send = async (apiKey) => await (await fetch(`${server.url}/api/prove`, {
      method: 'POST', body, headers: {
        authorization: `Bearer ${apiKey}`, 'content-type': 'application/vnd.edgeprove.sealed; content="application/gzip"',
      },
    })).json();
    // The length of nothing is refused before anything is opened.
    assert.equal((await send('bob-key')).code, size === 0 ? code : 'sealed_body_invalid');
    assert.equal((await send('alice-key')).code, code);
    assert.equal((await send('alice-key')).code, size === 0 ? code : 'sealed_body_replayed');
  }
});

test('a new key of the server is fetched, and the witness sealed again', async () => {
  const prover = alice();
  await prover.prove(circuit, witness, { delivery: 'direct' });
  await server.kill();
  await server.restart();
  assert.ok(await prover.verify(await prover.prove(circuit, witness)));
  assert.equal(proxy.with('/.well-known/edgeprove').length, 2);
  assert.equal(uploads.length, 3);
  assertUnreadable();
});

test('a refused time and a repeated body lead to one more attempt each, and not to endless ones', async () => {
  const codes = ['sealed_at_wrong_time', 'sealed_body_replayed'];
  proxy.intercept = (request, response) => {
    record(request);
    return request.method === 'POST' && codes.length > 0 && problem(response, 400, codes.shift());
  };
  assert.ok(await alice().prove(circuit, witness));
  assert.equal(new Set(uploads.map(({ body }) => body.toString('hex'))).size, 3);
  uploads = [];
  proxy.intercept = (request, response) => record(request) || (request.method === 'POST' && problem(response, 400, 'sealing_key_unknown'));
  await assert.rejects(alice().prove(circuit, witness), { code: 'sealing_key_unknown' });
  assert.equal(uploads.length, 3);
});

test('a lost answer leads to the same job, with a body that is sealed again', async () => {
  let lost = 0;
  proxy.onPiece = (request) => request.method !== 'POST' || lost++ > 0;
  const prover = alice();
  const job = await prover.jobs.submit(circuit, witness);
  assert.equal((await prover.jobs.follow(job.id)).status, 'completed');
  assert.equal(uploads.length, 2);
  assert.equal(uploads[0].headers['idempotency-key'], uploads[1].headers['idempotency-key']);
  assert.ok(!uploads[0].body.equals(uploads[1].body));
  const { jobs } = await prover.jobs.list();
  assert.equal(jobs.filter(({ created_at }) => created_at >= job.created_at).length, 1);
});

test('nothing is sent in the clear where the server has a key', async () => {
  const { sealing: { keys: [key] }, ...rest } = await alice().service();
  for (const changed of [
    { ...key, public_key: Buffer.alloc(32).toString('base64') },
    { ...key, public_key: 'AA==' },
    { ...key, suite: { ...key.suite, kem: 0x647a } },
    { ...key, id: '../..' },
  ]) {
    proxy.intercept = (request, response) => {
      if (record(request) || !request.url.startsWith('/.well-known')) return false;
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ ...rest, sealing: { keys: [changed] } }));
      return true;
    };
    await assert.rejects(alice().prove(circuit, witness), { code: 'sealing_unavailable' }, JSON.stringify(changed));
    await assert.rejects(alice().jobs.submit('range_check', INPUTS), { code: 'sealing_unavailable' });
  }
  // Neither is where the keys cannot be fetched.
  proxy.intercept = (request, response) =>
    record(request) || (request.url.startsWith('/.well-known') && problem(response, 503, 'not_ready'));
  await assert.rejects(alice().prove(circuit, witness), { code: 'not_ready' });
  assert.deepEqual(uploads, []);
});

test('without a key of the server, the option decides', async () => {
  const open = await Server.start({ flags: ['--sealing', 'off'] });
  const front = await Proxy.start(open.url);
  front.intercept = record;
  try {
    const prover = (options) => createProver({ url: front.url, mode: 'remote', ...options });
    await assert.rejects(prover({ seal: 'required' }).prove(circuit, witness), { code: 'sealing_unavailable' });
    assert.deepEqual(uploads, []);
    assert.ok(await prover({}).prove(circuit, witness));
    assert.equal(uploads.at(-1).headers['content-type'], 'application/gzip');
    // A server of an earlier version does not know the path.
    front.intercept = (request, response) =>
      record(request) || (request.url.startsWith('/.well-known') && problem(response, 404, 'not_found'));
    assert.ok(await prover({}).prove(circuit, witness));
    await assert.rejects(prover({ seal: 'required' }).prove(circuit, witness), { code: 'sealing_unavailable' });
    // A server that had no key, and has one now, gets nothing in the clear any more.
    const same = prover({});
    await same.prove(circuit, witness);
    const { sealing } = await (await fetch(`${server.url}/.well-known/edgeprove`)).json();
    const ours = await (await fetch(`${open.url}/.well-known/edgeprove`)).json();
    front.intercept = (request, response) => {
      if (record(request) || !request.url.startsWith('/.well-known')) return false;
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ ...ours, sealing }));
      return true;
    };
    await assert.rejects(same.prove(circuit, witness), { code: 'sealing_key_unknown' });
    assert.match(uploads.at(-1).headers['content-type'], SEALED);
    // While a server is away, one request is repeated and not two.
    front.requests = [];
    front.intercept = (request, response) => {
      response.destroy();
      return true;
    };
    await assert.rejects(prover({ retry: { attempts: 3, maxDelayMs: 1 } }).prove(circuit, witness), { code: 'unreachable' });
    assertAttempts(3, front.requests);
  } finally {
    await front.stop();
    await open.stop();
  }
  uploads = [];
  assert.ok(await alice({ seal: false }).prove(circuit, witness));
  assert.equal(uploads[0].headers['content-type'], 'application/gzip');
  assert.deepEqual(proxy.with('/.well-known'), []);
  assert.throws(() => createProver({ url: proxy.url, seal: 'yes' }), { code: 'invalid_option' });
});
