// Deploys a verifier in an Ethereum virtual machine, calls it, and prints what each call returned and the gas of the
// transactions.
//
//   node evm.mjs VERIFIER.json CALLS
//
// VERIFIER.json has `contracts` as solc.mjs prints them. CALLS has the calldata of a call in each line, in hexadecimal
// digits. The output is JSON: {"deployGas": 350000, "calls": [{"returned": "00..01", "reverted": false, "gas": 220000}]}.

import { readFile } from 'node:fs/promises';

import { createEVM } from '@ethereumjs/evm';

// A verifier that runs out of gas may return false instead of failing, so that the limit is far above what one needs.
const GAS_LIMIT = 30_000_000n;
// What a transaction costs beside the execution: itself, a contract of its own, words of creation code, and its data.
const [TRANSACTION, CREATION, CREATION_WORD] = [21_000, 32_000, 2];
const [ZERO_BYTE, OTHER_BYTE, FLOOR_ZERO_BYTE, FLOOR_OTHER_BYTE] = [4, 16, 10, 40];

const [verifierFile, callsFile] = process.argv.slice(2);
if (callsFile === undefined) {
  console.error('usage: node evm.mjs VERIFIER.json CALLS');
  process.exit(64);
}
const bytes = (hex) => Uint8Array.from(Buffer.from(hex, 'hex'));

// The gas of a transaction with this data. Data alone has a price below which no transaction is (EIP-7623).
function transactionGas(data, executionGas, isCreation) {
  const zeros = data.filter((byte) => byte === 0).length;
  const others = data.length - zeros;
  const creation = isCreation ? CREATION + CREATION_WORD * Math.ceil(data.length / 32) : 0;
  const gas = TRANSACTION + creation + zeros * ZERO_BYTE + others * OTHER_BYTE + executionGas;
  return Math.max(gas, TRANSACTION + zeros * FLOOR_ZERO_BYTE + others * FLOOR_OTHER_BYTE);
}

// Whether a contract may be as large as it is decides the caller, who knows its size.
const evm = await createEVM({ allowUnlimitedContractSize: true, allowUnlimitedInitCodeSize: true });
// Its price of modular inverses is three times the one before.
evm.common.setHardfork('osaka');
const addresses = new Map();
let deployGas = 0;
let verifier;
for (const { name, creationCode, links } of JSON.parse(await readFile(verifierFile, 'utf8')).contracts) {
  let linked = creationCode;
  for (const { library, start } of links) {
    linked = linked.slice(0, start * 2) + addresses.get(library) + linked.slice(start * 2 + 40);
  }
  const data = bytes(linked);
  const { execResult, createdAddress } = await evm.runCall({ data, gasLimit: GAS_LIMIT });
  if (execResult.exceptionError !== undefined || createdAddress === undefined) {
    console.error(`${name} cannot be deployed: ${execResult.exceptionError?.error}`);
    process.exit(1);
  }
  deployGas += transactionGas(data, Number(execResult.executionGasUsed), true);
  addresses.set(name, createdAddress.toString().slice(2));
  verifier = createdAddress;
}
const calls = [];
for (const call of (await readFile(callsFile, 'utf8')).trim().split('\n')) {
  const data = bytes(call);
  const { execResult } = await evm.runCall({ to: verifier, data, gasLimit: GAS_LIMIT });
  calls.push({
    returned: Buffer.from(execResult.returnValue).toString('hex'),
    reverted: execResult.exceptionError !== undefined,
    gas: transactionGas(data, Number(execResult.executionGasUsed), false),
  });
}
process.stdout.write(`${JSON.stringify({ deployGas, calls })}\n`);
