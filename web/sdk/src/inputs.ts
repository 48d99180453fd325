// Inputs of a circuit: their form for noir_js, and for a server that computes the witness.

import { EdgeproveError } from './errors.js';
import type { Circuit } from './wire.js';

/** A value of an input, as in noir_js, and `bigint`. Numbers beyond 2^53 - 1 must be a `bigint` or a string. */
export type InputValue = string | number | bigint | boolean | readonly InputValue[] | { readonly [field: string]: InputValue };

/** The inputs of a circuit by name. */
export type Inputs = { readonly [name: string]: InputValue };

/** Inputs, or a witness that was computed before: gzipped, as noir_js and `nargo execute` write it. */
export type ProofInputs = Inputs | Uint8Array<ArrayBuffer> | Blob;

/** Types of a circuit are nested less deep than this. */
const DEPTH_MAX = 64;

/** Whether these are a witness. */
export function isWitness(inputs: ProofInputs): inputs is Uint8Array<ArrayBuffer> | Blob {
  return inputs instanceof Uint8Array || inputs instanceof Blob;
}

/** The inputs with integers as decimal digits, which neither JSON nor noir_js rounds. */
export function plainInputs(inputs: Inputs): Inputs {
  const copy: Record<string, InputValue> = {};
  for (const [name, value] of Object.entries(inputs)) copy[name] = plain(value, name, 0);
  return copy;
}

function plain(value: InputValue, path: string, depth: number): InputValue {
  if (depth > DEPTH_MAX) throw invalid(path, 'is nested too deep');
  switch (typeof value) {
    case 'bigint':
      return value.toString();
    case 'string':
    case 'boolean':
      return value;
    case 'number':
      if (!Number.isSafeInteger(value)) {
        throw invalid(path, 'is a number with a fraction, or one that JavaScript rounds: use a bigint or a string');
      }
      return value;
    case 'object':
      if (Array.isArray(value)) return value.map((item, i) => plain(item, `${path}[${i}]`, depth + 1));
      if (value !== null) {
        const fields = Object.entries(value as { [field: string]: InputValue });
        return Object.fromEntries(fields.map(([name, item]) => [name, plain(item, `${path}.${name}`, depth + 1)]));
      }
  }
  throw invalid(path, 'has a value that is no input');
}

function invalid(path: string, what: string): EdgeproveError {
  return new EdgeproveError('invalid_inputs', `the input ${path} ${what}`, { field: path });
}

/** The body of a request in which the server computes the witness. */
export function inputsBody(inputs: Inputs, circuit: Pick<Circuit, 'inputs'>): Blob {
  const isPublic = new Set(
    circuit.inputs?.filter((input) => input.visibility !== 'private').map((input) => input.name),
  );
  const privateInputs: Record<string, InputValue> = {};
  const publicInputs: Record<string, InputValue> = {};
  for (const [name, value] of Object.entries(plainInputs(inputs))) {
    (isPublic.has(name) ? publicInputs : privateInputs)[name] = value;
  }
  // A circuit of circom decides itself which signals are public.
  const body = isPublic.size > 0 ? { privateInputs, publicInputs } : { privateInputs };
  return new Blob([JSON.stringify(body)], { type: 'application/json' });
}
