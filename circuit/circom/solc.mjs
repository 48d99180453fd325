// Compiles the Solidity source of a verifier with the pinned compiler, and prints what `evm.mjs` deploys, as JSON.
//
//   node solc.mjs SOURCE.sol CONTRACT
//
// {"compiler": "solc 0.8.37", "license": "MIT", "contract": CONTRACT, "contracts": [
//     {"name": "Library", "creationCode": "60..", "runtimeBytes": 1439, "links": []},
//     {"name": CONTRACT, "creationCode": "60..", "runtimeBytes": 18050, "links": [{"library": "Library", "start": 1234}]}]}
//
// The contracts are in the order in which they are deployed: libraries, and then the contract that calls them. A link is
// the place of a library's address, in bytes of the code. There the code has 40 other characters.

import { readFile } from 'node:fs/promises';

import solc from 'solc';

const [file, contract] = process.argv.slice(2);
if (contract === undefined) {
  console.error('usage: node solc.mjs SOURCE.sol CONTRACT');
  process.exit(64);
}
const SOURCE = 'verifier.sol';
const content = await readFile(file, 'utf8');
const input = {
  language: 'Solidity',
  sources: { [SOURCE]: { content } },
  settings: {
    optimizer: { enabled: true, runs: 200 },
    // The verifiers of bb do not compile through Yul: the stack is too deep.
    viaIR: false,
    outputSelection: {
      '*': { '*': ['evm.bytecode.object', 'evm.bytecode.linkReferences', 'evm.deployedBytecode.object'] },
    },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input)));
// Warnings count as errors: the source is generated, and nobody would read them.
if (output.errors?.length > 0) {
  console.error(output.errors.map((error) => error.formattedMessage).join('\n'));
  process.exit(1);
}
const compiled = output.contracts[SOURCE];
const ordered = [];
function add(name, path) {
  if (ordered.some((other) => other.name === name)) {
    return;
  }
  if (compiled[name] === undefined || path.includes(name)) {
    console.error(`${name} cannot be deployed: it is missing, or calls itself`);
    process.exit(1);
  }
  const { bytecode, deployedBytecode } = compiled[name].evm;
  const references = bytecode.linkReferences[SOURCE] ?? {};
  const links = Object.entries(references).flatMap(([library, positions]) => positions.map(({ start }) => ({ library, start })));
  for (const { library } of links) {
    add(library, [...path, name]);
  }
  const runtimeBytes = deployedBytecode.object.length / 2;
  ordered.push({ name, creationCode: bytecode.object, runtimeBytes, links });
}
add(contract, []);
const compiler = `solc ${solc.version().split('+')[0]}`;
const license = content.match(/^\/\/ SPDX-License-Identifier: (.+)$/m)?.[1].trim();
// A pipe takes its content bit by bit, and an exit before that cuts it off.
process.stdout.write(`${JSON.stringify({ compiler, license, contract, contracts: ordered })}\n`, () => process.exit(0));
