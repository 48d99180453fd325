// Compiles one Noir package to a program, for the server's builder.
//
//   node compile_program.mjs DIRECTORY CIRCUIT.json
//
// Warnings count as errors: they are faults for all inputs, and nobody would read them. The program does not depend on
// where DIRECTORY is: the paths in it are relative. A failure prints the compiler's message and exits with 1.

import { writeFile } from 'node:fs/promises';
import path from 'node:path';

import { compile } from './noir.mjs';

const [folder, circuitFile] = process.argv.slice(2);
if (circuitFile === undefined) {
  console.error('usage: node compile_program.mjs DIRECTORY CIRCUIT.json');
  process.exit(64);
}

const directory = path.resolve(folder);
try {
  const { program, warnings } = await compile(directory);
  if (warnings.length > 0) {
    throw new Error(`the circuit compiles with warnings: ${JSON.stringify(warnings)}`);
  }
  for (const file of Object.values(program.file_map)) {
    file.path = path.relative(directory, file.path);
  }
  await writeFile(circuitFile, JSON.stringify(program));
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
