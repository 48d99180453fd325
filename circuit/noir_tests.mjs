// Runs the `#[test]` functions of a Noir package without nargo, which package registries do not have.
//
// noir_wasm compiles only the `main` of a package. So a test becomes the `main` of a copy of its package, in which the
// original `main` is an ordinary function.

import assert from 'node:assert/strict';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { compile, execute } from './noir.mjs';

// `#[test]`, `#[test(should_fail)]` or `#[test(should_fail_with = "text")]`, and the function under it.
const testFunction = /#\[test(?:\((should_fail)(?:_with = "([^"]*)")?\))?\]\s*fn (\w+)\(\)/g;

/** The tests of a package, each a program of its own: its name, and a function that rejects if the test fails. */
export async function testsOf(packageDirectory) {
  const source = await readFile(path.join(packageDirectory, 'src/main.nr'), 'utf8');
  return describe(source).map((test) => ({
    name: test.name,
    run: async () =>
      assertOutcome(
        test,
        await failureOf(async () => execute(await compiled(packageDirectory, withEntryPoint(source, test.name)), {})),
      ),
  }));
}

/** Runs all tests of a package as one program. It compiles once, but an assertion must not fail while it compiles. */
export async function runTogether(packageDirectory) {
  const source = await readFile(path.join(packageDirectory, 'src/main.nr'), 'utf8');
  const tests = describe(source);
  assert.notEqual(tests.length, 0, 'a package without tests');
  const branches = tests.map(({ name }, index) => `    if chosen == ${index} {\n        ${name}();\n    }\n`);
  const main = `\nfn main(chosen: u8) {\n${branches.join('')}}\n`;
  const program = await compiled(packageDirectory, withEntryPoint(source) + main);
  for (const [index, test] of tests.entries()) {
    assertOutcome(test, await failureOf(() => execute(program, { chosen: index })));
  }
}

function describe(source) {
  return [...source.matchAll(testFunction)].map(([, shouldFail, message, name]) => ({ shouldFail, message, name }));
}

function assertOutcome({ shouldFail, message, name }, error) {
  if (!shouldFail) {
    assert.ifError(error);
  } else {
    assert.ok(error, `${name} passed, but should fail`);
    assert.match(String(error), message ? new RegExp(message) : /Circuit execution failed/);
  }
}

/** The source with the function `name` as its only entry point, or without one. */
function withEntryPoint(source, name) {
  return source
    .replace(/\bfn main\(([^]*?)\) \{/, (_, parameters) => `fn circuit(${parameters.replaceAll('pub ', '')}) {`)
    .replace(/\bmain\(/g, 'circuit(')
    .replace(testFunction, (_, _fails, _message, other) => `fn ${other === name ? 'main' : other}()`);
}

/** The package with another `main.nr`, compiled. */
async function compiled(packageDirectory, source) {
  const copy = await mkdtemp(path.join(tmpdir(), 'edgeprove-noir-'));
  try {
    await cp(packageDirectory, copy, { recursive: true });
    await writeFile(path.join(copy, 'src/main.nr'), source);
    return (await compile(copy)).program;
  } finally {
    await rm(copy, { recursive: true });
  }
}

/** The error of a failed run; `undefined` if it did not fail. */
async function failureOf(run) {
  try {
    await run();
  } catch (error) {
    return error;
  }
}
