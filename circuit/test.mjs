// Runs the circuits' own `#[test]` functions without nargo, which package registries do not have.
//
// noir_wasm compiles only the `main` of a package. So each test becomes the `main` of a copy of its package, in which
// the original `main` is an ordinary function.

import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'node:test';
import assert from 'node:assert/strict';

import { compile, execute } from './noir.mjs';

const circuits = fileURLToPath(new URL('./noir', import.meta.url));

// `#[test]`, `#[test(should_fail)]` or `#[test(should_fail_with = "text")]`, and the function under it.
const testFunction = /#\[test(?:\((should_fail)(?:_with = "([^"]*)")?\))?\]\s*fn (\w+)\(\)/g;

/** The source with the function `name` as its only entry point. */
function withEntryPoint(source, name) {
  return source
    .replace(/\bfn main\(([^]*?)\) \{/, (_, parameters) => `fn circuit(${parameters.replaceAll('pub ', '')}) {`)
    .replace(/\bmain\(/g, 'circuit(')
    .replace(testFunction, (_, _fails, _message, other) => `fn ${other === name ? 'main' : other}()`);
}

/** Compiles and executes one test. Returns the error that it failed with, or `undefined`. */
async function run(packageDirectory, source, name) {
  const copy = await mkdtemp(path.join(tmpdir(), 'edgeprove-noir-'));
  try {
    await cp(packageDirectory, copy, { recursive: true });
    await writeFile(path.join(copy, 'src/main.nr'), withEntryPoint(source, name));
    const { program } = await compile(copy);
    await execute(program, {});
  } catch (error) {
    return error;
  } finally {
    await rm(copy, { recursive: true });
  }
}

for (const circuit of await readdir(circuits)) {
  const packageDirectory = path.join(circuits, circuit);
  const source = await readFile(path.join(packageDirectory, 'src/main.nr'), 'utf8');
  const tests = [...source.matchAll(testFunction)];

  test(circuit, async (group) => {
    assert.notEqual(tests.length, 0, 'a circuit without tests');
    for (const [, shouldFail, message, name] of tests) {
      await group.test(name, async () => {
        const error = await run(packageDirectory, source, name);
        if (!shouldFail) {
          assert.ifError(error);
        } else {
          assert.ok(error, 'passed, but should fail');
          assert.match(String(error), message ? new RegExp(message) : /Circuit execution failed/);
        }
      });
    }
  });
}
