// Fails where the package is larger than its budget: minified and compressed as a page loads it, without its peers.

import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const BUDGET_BYTES = 15_000;

const { outputFiles } = await build({
  entryPoints: ['dist/index.js'],
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'esnext',
  write: false,
  external: ['@aztec/bb.js', '@noir-lang/noir_js', 'react'],
});
const bytes = gzipSync(outputFiles[0].contents, { level: 9 }).length;
console.log(`@edgeprove/client: ${bytes} of ${BUDGET_BYTES} bytes (minified, gzip)`);
if (bytes > BUDGET_BYTES) {
  console.error('the package is too large');
  process.exit(1);
}
