// Writes the folder of `edgeprove serve --page-local DIR`: the worker that computes witnesses, proves and verifies in the browser,
// with noir_js, bb.js and points of the CRS.
//
//   node scripts/local_prover.mjs DIR CRS_DIR [POINTS]

import { copyFile, mkdir, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const POINT_BYTES = 64;

const [folder, crs, points = '32768'] = process.argv.slice(2);
if (folder === undefined || crs === undefined || !(Number(points) >= 512)) {
  console.error('usage: node scripts/local_prover.mjs DIR CRS_DIR [POINTS]');
  process.exit(2);
}
const sdk = fileURLToPath(new URL('../../sdk/', import.meta.url));
await rm(folder, { recursive: true, force: true });
await mkdir(folder, { recursive: true });
await build({
  absWorkingDir: sdk,
  // noir_js and bb.js are installed with the client package, at the versions that it is tested with.
  entryPoints: { worker: 'src/witness-worker.ts' },
  outdir: path.resolve(folder),
  bundle: true,
  splitting: true,
  minify: true,
  format: 'esm',
  target: 'esnext',
  legalComments: 'none',
  logLevel: 'warning',
  define: { 'process.env.NODE_ENV': '"production"' },
});
for (const name of ['acvm_js/web/acvm_js_bg.wasm', 'noirc_abi/web/noirc_abi_wasm_bg.wasm']) {
  await copyFile(path.join(sdk, 'node_modules/@noir-lang', name), path.join(folder, path.basename(name)));
}
let total = 0;
for (const name of await readdir(folder)) {
  const bytes = await readFile(path.join(folder, name));
  const compressed = gzipSync(bytes, { level: 9 });
  total += compressed.length;
  await writeFile(path.join(folder, `${name}.gz`), compressed);
}
const file = await open(path.join(crs, 'bn254_g1.dat'));
const { bytesRead, buffer } = await file.read(Buffer.alloc(Number(points) * POINT_BYTES), 0, Number(points) * POINT_BYTES, 0);
await file.close();
await writeFile(path.join(folder, 'g1.dat'), buffer.subarray(0, bytesRead - (bytesRead % POINT_BYTES)));
console.log(`${folder}: ${total} bytes compressed, and ${Math.floor(bytesRead / POINT_BYTES)} points of the CRS`);
