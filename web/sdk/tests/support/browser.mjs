// Pages in a real Chromium, which may reach this machine only.

import { existsSync } from 'node:fs';
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';

import { build } from 'esbuild';
import { chromium } from 'playwright-core';

import { Files } from './files.mjs';
import * as paths from './paths.mjs';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome'];

/** The program in CHROMIUM, otherwise the first one on the PATH; `undefined` where there is none. */
export function program() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  const folders = (process.env.PATH ?? '').split(path.delimiter);
  return folders.flatMap((folder) => NAMES.map((name) => path.join(folder, name))).find((file) => existsSync(file));
}

/** Makes the folder of a bundled page: the script of the tests, the worker, and the programs of noir_js. */
export async function bundle() {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'edgeprove-page-'));
  await build({
    absWorkingDir: paths.sdk,
    entryPoints: { app: 'tests/browser/pages/app.js', 'witness-worker': 'dist/witness-worker.js' },
    bundle: true, splitting: true, format: 'esm', target: 'esnext', outdir: folder, logLevel: 'error',
    define: { 'process.env.NODE_ENV': '"production"' },
  });
  for (const name of ['acvm_js/web/acvm_js_bg.wasm', 'noirc_abi/web/noirc_abi_wasm_bg.wasm']) {
    await copyFile(path.join(paths.sdk, 'node_modules/@noir-lang', name), path.join(folder, path.basename(name)));
  }
  return folder;
}

const PAGE = '<!doctype html><meta charset="utf-8"><title>test</title><div id="root"></div><script type="module" src="/app.js"></script>';

/** What a page needs that makes, proves and verifies here, and calls one server: docs/SDK.md has it too. */
export const policy = (server) =>
  `default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self' data: ${server}`;

/** A browser, and a site of pages. */
export class Site {
  files;
  #folder;
  #browser;
  /** Requests to other machines, which are refused. */
  external = [];

  static async start() {
    const site = new Site();
    site.#folder = await bundle();
    site.files = await Files.start(
      {
        '/circuits/': paths.circuits, '/crs/': paths.crs, '/node_modules/@edgeprove/client/': paths.sdk,
        '/node_modules/': path.join(paths.sdk, 'node_modules'), '/': site.#folder,
      },
      { '/page': PAGE },
    );
    site.#browser = await chromium.launch({
      executablePath: program(),
      args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-dev-shm-usage', '--disable-component-update'],
    });
    return site;
  }

  /** Opens a page with storage of its own. */
  async open(url = `${this.files.url}/page`) {
    const context = await this.#browser.newContext();
    await context.route(({ hostname }) => hostname !== '127.0.0.1' && hostname !== 'localhost', async (route) => {
      this.external.push(route.request().url());
      await route.abort();
    });
    context.setDefaultTimeout(120_000);
    const page = await context.newPage();
    page.problems = [];
    page.on('pageerror', (error) => page.problems.push(String(error)));
    await page.goto(url);
    return page;
  }

  async stop() {
    await this.#browser?.close();
    await this.files?.stop();
    await rm(this.#folder, { recursive: true, force: true });
  }
}
