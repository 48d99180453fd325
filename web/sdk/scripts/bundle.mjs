// Puts the package that seals into dist/seal.js, with its licence, so that pages without a bundler need nothing else.

import { readFile } from 'node:fs/promises';
import { build } from 'esbuild';

const FILE = 'dist/seal.js';
const { version } = JSON.parse(await readFile('node_modules/hpke/package.json', 'utf8'));
const licence = await readFile('node_modules/hpke/LICENSE.md', 'utf8');

await build({
  entryPoints: [FILE],
  outfile: FILE,
  allowOverwrite: true,
  bundle: true,
  format: 'esm',
  target: 'esnext',
  // The module of this package that the others load too.
  external: ['./bytes.js'],
  banner: { js: `/*!\nThis file contains hpke ${version}.\n\n${licence.replaceAll('*/', '')}\n*/` },
  logLevel: 'warning',
});
