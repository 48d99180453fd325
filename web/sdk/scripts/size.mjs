// Fails where the package is larger than its budgets: minified and compressed as a page loads it, without its peers. What
// seals is loaded with the first request that needs it, so it has a budget of its own.

import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const BUDGET_BYTES = 15_000;
const SEALING_BUDGET_BYTES = 7_000;

const { outputFiles, metafile } = await build({
  entryPoints: ['dist/index.js'],
  bundle: true,
  splitting: true,
  minify: true,
  metafile: true,
  format: 'esm',
  target: 'esnext',
  outdir: 'size',
  write: false,
  external: ['@aztec/bb.js', '@noir-lang/noir_js', 'react'],
});
// What several parts share is loaded at once.
const isLazy = (path) => Object.keys(metafile.outputs[path].inputs).some((input) => input.endsWith('/seal.js'));
const sizes = { lazy: 0, first: 0 };
for (const path of Object.keys(metafile.outputs)) {
  const { contents } = outputFiles.find((file) => file.path.endsWith(path));
  sizes[isLazy(path) ? 'lazy' : 'first'] += gzipSync(contents, { level: 9 }).length;
}
console.log(`@edgeprove/client: ${sizes.first} of ${BUDGET_BYTES} bytes, and ${sizes.lazy} of ${SEALING_BUDGET_BYTES} to seal (minified, gzip)`);
if (sizes.first > BUDGET_BYTES || sizes.lazy > SEALING_BUDGET_BYTES) {
  console.error('the package is too large');
  process.exit(1);
}
