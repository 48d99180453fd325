// Where the tests find the server, its data and this package.

import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** The root of the repository. */
export const repository = fileURLToPath(new URL('../../../..', import.meta.url));
/** The folder of this package. */
export const sdk = fileURLToPath(new URL('../..', import.meta.url));

const environment = (name, otherwise) => process.env[name] || otherwise;

const target = environment('CARGO_TARGET_DIR', path.join(repository, 'target'));
/** The server: `cargo xtask test` builds it. */
export const server = environment('EDGEPROVE_TEST_SERVER', path.join(target, 'debug', 'edgeprove'));
/** The compiled circuits. */
export const circuits = environment('EDGEPROVE_TEST_CIRCUITS', path.join(target, 'circuits'));
/** The points of the CRS. */
export const crs = environment('CRS_PATH', path.join(os.homedir(), '.bb-crs'));
const { version } = JSON.parse(readFileSync(path.join(sdk, 'node_modules/@aztec/bb.js/package.json'), 'utf8'));
/** bb. npm puts a script of this name into the search path, and a server with that one would not be the parent of its provers. */
export const bb = environment('BB_PATH', path.join(environment('EDGEPROVE_HOME', path.join(os.homedir(), '.edgeprove')), 'bb', version, 'bb'));
/** The compilers of templates. */
export const toolchain = path.join(repository, 'circuit');

for (const [what, file] of [['server', server], ['circuits', circuits], ['CRS', crs], ['bb', bb]]) {
  if (!existsSync(file)) throw new Error(`the ${what} for the tests is missing (${file}): run \`cargo xtask test\``);
}

/** Reports a test that this machine cannot run, for the list at the end of `cargo xtask test`. */
export function skipped(test, why) {
  const log = process.env.EDGEPROVE_SKIP_LOG;
  if (log) appendFileSync(log, `SKIPPED web/sdk ${test}: ${why}\n`);
  return why;
}
