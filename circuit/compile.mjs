// Compiles one circuit and executes it with its sample inputs.
//
//   node compile.mjs DIRECTORY CIRCUIT.json WITNESS.gz < INPUTS.json
//
// DIRECTORY is a Noir package. The inputs are its Prover.toml as JSON. `cargo xtask setup` converts it, so that
// nargo and this script use the same file.

import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { json } from 'node:stream/consumers';

import { compile, execute } from './noir.mjs';

const [directory, circuitFile, witnessFile] = process.argv.slice(2);
if (witnessFile === undefined) {
  console.error('usage: node compile.mjs DIRECTORY CIRCUIT.json WITNESS.gz < INPUTS.json');
  process.exit(64);
}

const inputs = await json(process.stdin);
const { program, warnings } = await compile(path.resolve(directory));
if (warnings.length > 0) {
  throw new Error(`the circuit compiles with warnings: ${JSON.stringify(warnings)}`);
}
const witness = await execute(program, inputs);
await writeFile(circuitFile, JSON.stringify(program));
await writeFile(witnessFile, witness);
