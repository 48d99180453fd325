// Loads a module of the sources into Node.js.

import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const folder = fileURLToPath(new URL('../..', import.meta.url));

/** The exports of a module. */
export async function load(entry) {
  const { outputFiles } = await build({
    absWorkingDir: folder, entryPoints: [entry], bundle: true, format: 'esm', target: 'esnext', write: false, logLevel: 'error',
    external: ['@aztec/bb.js', '@noir-lang/noir_js'], alias: { '@edgeprove/client': `${folder}../sdk/src/index.ts` },
  });
  return await import(`data:text/javascript;base64,${Buffer.from(outputFiles[0].contents).toString('base64')}`);
}
