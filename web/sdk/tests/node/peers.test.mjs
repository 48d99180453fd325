// The package without the packages that it needs for some calls only.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { promisify } from 'node:util';

import * as paths from '../support/paths.mjs';
import { program, Server } from '../support/server.mjs';

const SCRIPT = `
import { createProver } from '@edgeprove/client';
const [url, program] = [process.argv[2], JSON.parse(process.argv[3])];
const prover = createProver({ url, mode: 'remote' });
const inputs = { value: 42, min: 10, max: 100 };
const result = await prover.prove('range_check', inputs);
const errors = await Promise.all([prover.prove({ id: 'range_check', program }, inputs), prover.verify(result)].map((call) => call.catch((error) => error.detail)));
console.log(JSON.stringify([result.provedBy, await prover.verify(result, { on: 'server' }), ...errors]));
`;

test('proofs from inputs need no other package, and a missing one is named with its command', async () => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'edgeprove-peers-'));
  const server = await Server.start();
  try {
    // As it is installed: the files of the package and its description.
    const installed = path.join(folder, 'node_modules/@edgeprove/client');
    await mkdir(installed, { recursive: true });
    for (const name of ['package.json', 'dist']) await cp(path.join(paths.sdk, name), path.join(installed, name), { recursive: true });
    await writeFile(path.join(folder, 'script.mjs'), SCRIPT);
    const { stdout } = await promisify(execFile)(process.execPath, ['script.mjs', server.url, JSON.stringify(await program())], { cwd: folder });
    const [provedBy, isValid, noNoir, noBb] = JSON.parse(stdout);
    assert.deepEqual([provedBy, isValid], ['server', true]);
    assert.match(noNoir, /npm install @noir-lang\/noir_js@1\.0\.0-beta\.26/);
    assert.match(noBb, /npm install @aztec\/bb\.js@5\.0\.0/);
  } finally {
    await server.stop();
    await rm(folder, { recursive: true, force: true });
  }
});
