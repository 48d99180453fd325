// Builds the pages into dist/, which is committed: the server embeds it, and a build of the server needs no Node.js.
//
//   npm run build            writes dist/
//   node scripts/build.mjs --check   compares dist/ with the sources, byte for byte

import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const folder = fileURLToPath(new URL('..', import.meta.url));
const dist = path.join(folder, 'dist');
/** Most bytes that a browser loads, uncompressed, before the first page can be used. */
const FIRST_LOAD_MAX_BYTES = 150_000;

const common = {
  absWorkingDir: folder,
  outdir: 'dist',
  entryNames: '[name]-[hash]',
  chunkNames: '[name]-[hash]',
  bundle: true,
  minify: true,
  charset: 'utf8',
  legalComments: 'none',
  target: ['chrome111', 'firefox113', 'safari16.4'],
  metafile: true,
  write: false,
  logLevel: 'warning',
};

/** The files of dist/, by name. */
async function built() {
  const files = new Map();
  const entries = {};
  const loaded = new Set();
  const take = ({ outputFiles, metafile }) => {
    for (const { path: file, contents } of outputFiles) files.set(path.basename(file), Buffer.from(contents));
    for (const [file, { entryPoint, imports }] of Object.entries(metafile.outputs)) {
      const name = path.basename(file);
      if (entryPoint === undefined || !['src/main.ts', 'src/theme-boot.ts', 'src/styles/page.css'].includes(entryPoint)) continue;
      entries[entryPoint] = name;
      loaded.add(name);
      for (const { path: other, kind } of imports) {
        if (kind === 'import-statement') loaded.add(path.basename(other));
      }
    }
  };
  take(await build({
    ...common,
    entryPoints: ['src/main.ts'],
    format: 'esm',
    splitting: true,
    // The worker of a folder for proofs in the browser has them: scripts/local_prover.mjs.
    external: ['@aztec/bb.js', '@noir-lang/noir_js'],
    alias: { '@edgeprove/client': path.join(folder, '../sdk/src/index.ts') },
  }));
  take(await build({ ...common, entryPoints: ['src/theme-boot.ts'], format: 'iife' }));
  take(await build({ ...common, entryPoints: ['src/styles/page.css'] }));

  const asset = (entry) => `assets/${entries[entry]}`;
  const html = (await readFile(path.join(folder, 'src/index.html'), 'utf8'))
    .replaceAll('{{theme}}', asset('src/theme-boot.ts'))
    .replaceAll('{{style}}', asset('src/styles/page.css'))
    .replaceAll('{{script}}', asset('src/main.ts'));
  files.set('index.html', Buffer.from(html));
  loaded.add('index.html');
  const size = [...loaded].reduce((sum, name) => sum + files.get(name).length, 0);
  return { files, size };
}

async function committed() {
  const names = await readdir(dist).catch(() => []);
  return new Map(await Promise.all(names.map(async (name) => [name, await readFile(path.join(dist, name))])));
}

const { files, size } = await built();
console.log(`pages: ${size} of ${FIRST_LOAD_MAX_BYTES} bytes for the first load, ${files.size} files`);
if (size > FIRST_LOAD_MAX_BYTES) {
  console.error('the first load is too large');
  process.exit(1);
}
if (process.argv.includes('--check')) {
  const found = await committed();
  const differing = [...new Set([...files.keys(), ...found.keys()])].filter((name) => {
    const [expected, present] = [files.get(name), found.get(name)];
    return !expected || !present || !expected.equals(present);
  });
  if (differing.length > 0) {
    console.error(`web/page/dist does not belong to web/page/src and web/sdk/src: ${differing.sort().join(', ')}`);
    console.error('Refresh it with `npm --prefix web/page run build`, and commit it.');
    process.exit(1);
  }
} else {
  await rm(dist, { recursive: true, force: true });
  await mkdir(dist);
  for (const [name, bytes] of files) await writeFile(path.join(dist, name), bytes);
}
