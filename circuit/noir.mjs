// Noir without nargo: functions that compile.mjs and test.mjs share.

import { compile_program, createFileManager } from '@noir-lang/noir_wasm';
import { Noir } from '@noir-lang/noir_js';

// noir_wasm always writes its progress with console.log, but stdout is only for results.
console.log = console.error;

const silent = () => {};

/**
 * Compiles the package in an absolute directory; rejects with the compiler's diagnostics. The warnings are faults for
 * all inputs, such as an assertion that always fails.
 */
export async function compile(directory) {
  return compile_program(createFileManager(directory), directory, silent, silent);
}

/** Executes a program with its inputs. Returns the gzipped witness, or rejects with the failed assertion's message. */
export async function execute(program, inputs) {
  return (await new Noir(program).execute(inputs)).witness;
}
