// Fails where the package is larger than its budgets: minified and compressed as a page loads it, without its peers. What
// seals is loaded with the first request that needs it, so it has a budget of its own. So has the module that verifies receipts,
// which nothing else imports.

import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const BUDGET_BYTES = 15_000;
const SEALING_BUDGET_BYTES = 7_000;
const RECEIPT_BUDGET_BYTES = 3_000;

const bundled = async (entry) =>
  await build({
    entryPoints: [entry],
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
const sizeOf = ({ contents }) => gzipSync(contents, { level: 9 }).length;

const { outputFiles, metafile } = await bundled('dist/index.js');
// What several parts share is loaded at once.
const isLazy = (path) => Object.keys(metafile.outputs[path].inputs).some((input) => input.endsWith('/seal.js'));
const sizes = { lazy: 0, first: 0 };
for (const path of Object.keys(metafile.outputs)) {
  sizes[isLazy(path) ? 'lazy' : 'first'] += sizeOf(outputFiles.find((file) => file.path.endsWith(path)));
}
const receipt = (await bundled('dist/receipt.js')).outputFiles.reduce((sum, file) => sum + sizeOf(file), 0);
console.log(`@edgeprove/client: ${sizes.first} of ${BUDGET_BYTES} bytes, ${sizes.lazy} of ${SEALING_BUDGET_BYTES} to seal, ${receipt} of ${RECEIPT_BUDGET_BYTES} for receipts (minified, gzip)`);
if (sizes.first > BUDGET_BYTES || sizes.lazy > SEALING_BUDGET_BYTES || receipt > RECEIPT_BUDGET_BYTES) {
  console.error('the package is too large');
  process.exit(1);
}
