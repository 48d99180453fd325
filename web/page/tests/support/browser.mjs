// A browser with the pages of a real server. It may reach this machine only, and what its console reports is collected.

import { createRequire } from 'node:module';
import { readFile } from 'node:fs/promises';

import { chromium } from 'playwright-core';

import { program } from '../../../sdk/tests/support/browser.mjs';

const require = createRequire(import.meta.url);

export { program };

/** A browser. */
export class Browser {
  /** Requests to other machines, which are refused. */
  external = [];
  #browser;

  static async start() {
    const browser = new Browser();
    browser.#browser = await chromium.launch({
      executablePath: program(),
      args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-dev-shm-usage', '--disable-component-update'],
    });
    return browser;
  }

  /** Opens an address. `page.problems` has errors of the page, of its console, and violations of its policy. */
  async open(url, options = {}) {
    const context = await this.#browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
    await context.route(({ hostname }) => hostname !== '127.0.0.1' && hostname !== 'localhost', async (route) => {
      this.external.push(route.request().url());
      await route.abort();
    });
    context.setDefaultTimeout(Number(process.env.EDGEPROVE_PAGE_TIMEOUT_MS ?? 120_000));
    const page = await context.newPage();
    page.problems = [];
    page.on('pageerror', (error) => page.problems.push(String(error)));
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) page.problems.push(message.text());
    });
    await page.goto(url);
    return page;
  }

  async stop() {
    await this.#browser?.close();
  }
}

/** What axe finds, as lines; nothing below `serious`. */
export async function axe(page) {
  // A script of the protocol, which the page's policy does not concern.
  await page.evaluate(await readFile(require.resolve('axe-core/axe.min.js'), 'utf8'));
  const found = await page.evaluate(async () => await globalThis.axe.run(document, { resultTypes: ['violations'] }));
  const grave = found.violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
  return grave.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => `${id}: ${target.join(' ')}: ${failureSummary}`));
}
