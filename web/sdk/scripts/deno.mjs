// Runs the tests of tests/node in Deno, against the same real server.

import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** Tests that are not about the runtime of the package. */
const EXCEPTED = new Set([
  // It runs programs of Node.js without packages beside them.
  'peers.test.mjs',
  // They compare documents, and bundle for the runtime of Workers.
  'docs.test.mjs', 'workers.test.mjs',
]);

const folder = fileURLToPath(new URL('../tests/node', import.meta.url));
const tests = readdirSync(folder).filter((name) => name.endsWith('.test.mjs') && !EXCEPTED.has(name));
const deno = fileURLToPath(new URL('../node_modules/deno/bin.cjs', import.meta.url));
const { status, error } = spawnSync(process.execPath, [
  deno, 'test', '--no-check', '--no-lock', '--node-modules-dir=manual', '--allow-all', ...tests.map((name) => path.join(folder, name)),
], { stdio: 'inherit', env: { ...process.env, DENO_NO_UPDATE_CHECK: '1', NO_COLOR: '1' } });
if (error) throw error;
process.exit(status ?? 1);
