// Noir without nargo: what compile.mjs and test.mjs share.

import { compile_program, createFileManager } from '@noir-lang/noir_wasm';
import { Noir } from '@noir-lang/noir_js';

// noir_wasm reports its progress with console.log whatever logger it is given; stdout is kept for results.
console.log = console.error;

const silent = () => {};

/**
 * Compiles the package in an absolute directory; rejects with the compiler's diagnostics. The warnings are what
 * the compiler knows to go wrong whatever the inputs, such as an assertion that cannot hold.
 */
export async function compile(directory) {
  return compile_program(createFileManager(directory), directory, silent, silent);
}

/** Solves a program for its inputs; gives the gzipped witness, or rejects with the failed assertion's message. */
export async function execute(program, inputs) {
  return (await new Noir(program).execute(inputs)).witness;
}
