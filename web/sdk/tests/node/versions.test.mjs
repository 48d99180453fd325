// Versions and constants are those of the repository, and the core needs no particular runtime.

import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import test from 'node:test';

import { BB_VERSION, NOIR_VERSION } from '../../dist/index.js';
import { repository, sdk } from '../support/paths.mjs';

const read = async (name) => await readFile(path.join(sdk, name), 'utf8');

test('the versions are those of versions.toml and of the peers', async () => {
  const toml = await readFile(path.join(repository, 'versions.toml'), 'utf8');
  const pinned = (section) => new RegExp(`\\[${section}\\][^[]*?\\nversion = "([^"]+)"`).exec(toml.replace(/packages = \[.*\]/, ''))[1];
  const { peerDependencies, devDependencies } = JSON.parse(await read('package.json'));
  for (const [found, section, name] of [[NOIR_VERSION, 'noir', '@noir-lang/noir_js'], [BB_VERSION, 'bb', '@aztec/bb.js']]) {
    assert.equal(found, pinned(section));
    assert.equal(peerDependencies[name], found);
    assert.equal(devDependencies[name], found);
  }
});

test('the points of the CRS are those of versions.toml', async () => {
  const toml = await readFile(path.join(repository, 'versions.toml'), 'utf8');
  const lines = /\[crs\.g2\][^[]*hex = \[([^\]]+)\]/.exec(toml)[1].match(/[0-9a-f]{64}/g);
  const prefixes = (name) => {
    const rows = [...toml.matchAll(new RegExp(`\\[\\[crs\\.${name}\\]\\]\\npoints = (\\d+)\\nsha256 = "(\\w+)"`, 'g'))];
    // The code counts by powers of two.
    return rows.filter(([, points]) => Number.isInteger(Math.log2(Number(points)))).map(([, , digest]) => digest);
  };
  const digests = prefixes('prefix');
  assert.equal(digests.length, 7);
  const code = await read('dist/crs.js');
  assert.deepEqual(code.match(/'[0-9a-f]{64}'/g).map((text) => text.slice(1, -1)), [...lines, ...digests]);
});

test('no module needs Node.js, and only the worker acts when it is loaded', async () => {
  for (const name of await readdir(path.join(sdk, 'dist'))) {
    if (!name.endsWith('.js')) continue;
    const text = await read(`dist/${name}`);
    assert.doesNotMatch(text, /node:|\brequire\(|\bBuffer\b|\bprocess\./, name);
    if (name !== 'react.js') assert.doesNotMatch(text, /from ['"](?!\.)/, `${name} imports a package when it is loaded`);
  }
  const { sideEffects, type } = JSON.parse(await read('package.json'));
  assert.equal(sideEffects, false);
  assert.equal(type, 'module');
});
