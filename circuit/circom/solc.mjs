// Compiles one Solidity file with the pinned compiler, and prints the runtime code in hexadecimal digits.
//
//   node solc.mjs SOURCE.sol CONTRACT

import { readFile } from 'node:fs/promises';

import solc from 'solc';

const [file, contract] = process.argv.slice(2);
if (contract === undefined) {
  console.error('usage: node solc.mjs SOURCE.sol CONTRACT');
  process.exit(64);
}
const input = {
  language: 'Solidity',
  sources: { 'source.sol': { content: await readFile(file, 'utf8') } },
  settings: {
    optimizer: { enabled: true, runs: 200 },
    outputSelection: { '*': { '*': ['evm.deployedBytecode.object'] } },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input)));
// Warnings count as errors: the source is generated, and nobody would read them.
if (output.errors?.length > 0) {
  console.error(output.errors.map((error) => error.formattedMessage).join('\n'));
  process.exit(1);
}
process.stdout.write(`${output.contracts['source.sol'][contract].evm.deployedBytecode.object}\n`);
process.exit(0);
