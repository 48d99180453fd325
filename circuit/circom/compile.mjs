// Compiles one circom circuit to constraints and program.
//
//   node compile.mjs SOURCE.circom FOLDER
//
// FOLDER exists, and receives NAME.r1cs and NAME_js/NAME.wasm. The source may include files of its own folder and of
// circomlib. Warnings count as errors: nobody would read them.
//
// The compiler is itself a WebAssembly program. It sees only paths below its working folder, so that source and results
// pass through a folder there.

import { execFile } from 'node:child_process';
import { copyFile, cp, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { promisify, stripVTControlCharacters } from 'node:util';

const LIMIT_MS = 300_000;

const [source, folder] = process.argv.slice(2);
if (folder === undefined) {
  console.error('usage: node compile.mjs SOURCE.circom FOLDER');
  process.exit(64);
}

const here = import.meta.dirname;
const scratch = await mkdtemp(path.join(here, 'node_modules', '.compile-'));
try {
  const [sources, results] = ['sources', 'results'].map((name) => path.join(scratch, name));
  await mkdir(sources);
  await mkdir(results);
  for (const file of await readdir(path.dirname(source))) {
    if (file.endsWith('.circom')) {
      await copyFile(path.join(path.dirname(source), file), path.join(sources, file));
    }
  }
  const compiler = path.join(here, 'node_modules', 'circom2', 'cli.js');
  const inside = (file) => path.relative(here, file);
  const main = inside(path.join(sources, path.basename(source)));
  const options = ['--r1cs', '--wasm', '--O2', '-l', 'node_modules', '-o', inside(results)];
  const limits = { cwd: here, timeout: LIMIT_MS };
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [compiler, main, ...options], limits);
  if (/warning/i.test(stdout + stderr)) {
    throw Object.assign(new Error('the compiler warns'), { stdout, stderr });
  }
  await cp(results, folder, { recursive: true });
} catch (error) {
  // circom reports errors on both streams, in colour.
  console.error(stripVTControlCharacters([error.stdout, error.stderr, error.message].filter(Boolean).join('\n')));
  process.exitCode = 1;
} finally {
  await rm(scratch, { recursive: true });
}
