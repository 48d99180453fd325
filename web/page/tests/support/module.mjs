// Loads a module of the sources into Node.js.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const folder = fileURLToPath(new URL('../..', import.meta.url));

/** The exports of a module. */
export async function load(entry) {
  const { outputFiles } = await build({
    absWorkingDir: folder, entryPoints: [entry], bundle: true, format: 'esm', target: 'esnext', write: false, logLevel: 'error',
    external: ['@aztec/bb.js', '@noir-lang/noir_js'], alias: { '@edgeprove/client': `${folder}../sdk/src/index.ts` },
  });
  const temporary = await mkdtemp(path.join(os.tmpdir(), 'edgeprove-module-'));
  try {
    const file = path.join(temporary, 'module.mjs');
    await writeFile(file, outputFiles[0].contents);
    return await import(pathToFileURL(file));
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}
