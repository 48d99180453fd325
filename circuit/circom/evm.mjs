// Calls a contract in an Ethereum virtual machine, and prints for each call what it returned and the gas that it used.
//
//   node evm.mjs CODE CALLS
//
// CODE is a file with the contract's runtime code, CALLS one with the calldata of a call in each line, both in
// hexadecimal digits. The output is JSON: [{"returned": "00..01", "reverted": false, "gas": 210000}, ...].

import { readFile } from 'node:fs/promises';

import { createEVM } from '@ethereumjs/evm';

const [codeFile, callsFile] = process.argv.slice(2);
if (callsFile === undefined) {
  console.error('usage: node evm.mjs CODE CALLS');
  process.exit(64);
}
const bytes = (hex) => Uint8Array.from(Buffer.from(hex, 'hex'));
const code = bytes((await readFile(codeFile, 'utf8')).trim());
const results = [];
for (const call of (await readFile(callsFile, 'utf8')).trim().split('\n')) {
  const evm = await createEVM();
  const result = await evm.runCode({ code, data: bytes(call), gasLimit: 10_000_000n });
  results.push({
    returned: Buffer.from(result.returnValue).toString('hex'),
    reverted: result.exceptionError !== undefined,
    gas: Number(result.executionGasUsed),
  });
}
process.stdout.write(`${JSON.stringify(results)}\n`);
