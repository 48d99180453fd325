// Checks circuits that were rendered from templates in Noir.
//
//   node check_template.mjs DIRECTORY...
//
// Each DIRECTORY is a package. Its `expected.json` has the names of the inputs as the template states them, and its
// samples: `public_inputs`, `private_inputs`, `accepted` and `refused`. With `unit_tests`, the package's own tests run as
// well. The script compiles the package with the pinned compiler, compares the inputs with the circuit's, and executes
// all samples. It writes `circuit.json`, and `N.gz` with the witness of the accepted sample N, into DIRECTORY. The exit
// status is 1 if anything differs.
//
// One process checks many circuits, because the compiler is slow until it has compiled something.

import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';

import { compile, execute } from './noir.mjs';
import { runTogether } from './noir_tests.mjs';

const directories = process.argv.slice(2);
if (directories.length === 0) {
  console.error('usage: node check_template.mjs DIRECTORY...');
  process.exit(64);
}
for (const directory of directories) {
  await check(path.resolve(directory)).catch((cause) => {
    throw new Error(`the circuit in ${directory} differs from its template`, { cause });
  });
}

async function check(directory) {
  const expected = JSON.parse(await readFile(path.join(directory, 'expected.json'), 'utf8'));
  const { program, warnings } = await compile(directory);
  assert.deepEqual(warnings, [], 'the circuit compiles with warnings');
  const named = (visibility) =>
    program.abi.parameters.filter((parameter) => parameter.visibility === visibility).map(({ name }) => name);
  assert.deepEqual(named('public'), expected.public_inputs, 'the public inputs, in order');
  assert.deepEqual(named('private').sort(), expected.private_inputs.toSorted(), 'the private inputs');
  assert.equal(program.abi.return_type, null, 'a return value would be a public input without a name');
  await writeFile(path.join(directory, 'circuit.json'), JSON.stringify(program));

  for (const [index, { name, inputs }] of expected.accepted.entries()) {
    const witness = await execute(program, inputs).catch((cause) => {
      throw new Error(`the sample "${name}" is refused`, { cause });
    });
    await writeFile(path.join(directory, `${index}.gz`), witness);
  }
  for (const { name, inputs } of expected.refused) {
    await assert.rejects(execute(program, inputs), undefined, `the sample "${name}" is accepted`);
  }
  if (expected.unit_tests) {
    await runTogether(directory);
  }
}
