// The examples of the documents are run, and the documents name every code.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import test, { after, before } from 'node:test';
import { promisify } from 'node:util';

import * as paths from '../support/paths.mjs';
import { program, Server } from '../support/server.mjs';

const run = promisify(execFile);
const read = async (name) => await readFile(path.join(paths.repository, name), 'utf8');

/** The blocks of a document that use the package. */
const examples = (text) =>
  [...text.matchAll(/```js\n([^]*?)```/g)].map(([, block]) => block).filter((block) => block.includes('"@edgeprove/client"'));

let server;
let folder;
before(async () => {
  server = await Server.start();
  // Below the package, so that its name is found.
  folder = await mkdtemp(path.join(paths.sdk, 'dist/example-'));
});
after(async () => {
  await rm(folder, { recursive: true, force: true });
  await server.stop();
});

async function outputOf(example) {
  assert.ok(example.includes('"https://prover.example"'), example);
  const file = path.join(folder, 'example.mjs');
  const circuit = `const circuit = ${JSON.stringify(await program())};\n`;
  await writeFile(file, circuit + example.replace('https://prover.example', server.url));
  return (await run(process.execPath, [file])).stdout;
}

test('the example of the README has ten lines and proves', async () => {
  const [example, ...others] = examples(await read('README.md'));
  assert.deepEqual(others, []);
  assert.ok(example.trimEnd().split('\n').length <= 10, example);
  assert.match(await outputOf(example), /server.*true/s);
});

test('the examples of docs/SDK.md do what they show', async () => {
  const all = examples(await read('docs/SDK.md'));
  assert.equal(all.length, 4);
  assert.match(await outputOf(all[0]), /Uint8Array.*server true/s);
  assert.match(await outputOf(all[1]), /true\ntrue\n$/);
  assert.match(await outputOf(all[2]), /done 100 true\nserver completed ok\n$/);
  assert.equal(await outputOf(all[3]), 'range_check bb true\n');
});

test('docs/SDK.md has every code, option and member', async () => {
  const text = await read('docs/SDK.md');
  const source = async (name) => await readFile(path.join(paths.sdk, 'src', name), 'utf8');
  const between = (code, from, to) => code.slice(code.indexOf(from), code.indexOf(to, code.indexOf(from)));
  const members = (code, name) =>
    [...between(code, `export interface ${name} `, '\n}').matchAll(/^ {2}(\w+)\??:/gm)].map(([, member]) => member);
  const codes = [...between(await source('errors.ts'), 'export type ClientErrorCode', ';\n').matchAll(/\| '(\w+)'/g)].map(([, code]) => code);
  assert.ok(codes.length >= 13, codes.join());
  const [options, result, jobs, prover] = await Promise.all(['options.ts', 'result.ts', 'jobs.ts', 'prover.ts'].map(source));
  const named = [
    ...codes, ...members(options, 'ProverOptions').filter((name) => name !== 'retry' && name !== 'local'),
    ...members(options, 'LocalOptions').map((name) => `local.${name}`), ...members(result, 'ProofResult'),
    ...members(result, 'ProofProgress'), ...members(jobs, 'SubmitOptions'), ...members(prover, 'ProveOptions'),
  ];
  assert.ok(named.length > 40, named.join());
  for (const name of named) assert.ok(text.includes(`\`${name}\``), `docs/SDK.md does not have ${name}`);
});
