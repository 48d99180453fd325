// The same call as a command and as a program. No text has the value of the API key or the voucher.

import type { Inputs, InputValue, Target } from '@edgeprove/client';

import { toJson } from './types.js';

/** A call, as the page makes it. */
export interface ShownCall {
  base: URL;
  circuit: string;
  /** `undefined`: the circuit's own. */
  target: Target | undefined;
  inputs: Inputs;
  /** Names of public inputs; empty where the circuit decides. */
  publicNames: ReadonlySet<string>;
  /** What the call was allowed with; `undefined`: nothing. */
  access: 'key' | 'voucher' | undefined;
}

/** The variables from which the command and the program take the key or the voucher. */
export const VARIABLES = { key: 'EDGEPROVE_KEY', voucher: 'EDGEPROVE_VOUCHER' } as const;

/** The command with curl. The key or the voucher comes from a variable of the shell. */
export function curlCommand(call: ShownCall): string {
  const url = new URL(`api/prove/${encodeURIComponent(call.circuit)}`, call.base);
  if (call.target !== undefined) url.searchParams.set('target', call.target);
  const privateInputs: Record<string, InputValue> = {};
  const publicInputs: Record<string, InputValue> = {};
  for (const [name, value] of Object.entries(call.inputs)) {
    (call.publicNames.has(name) ? publicInputs : privateInputs)[name] = value;
  }
  const body = call.publicNames.size > 0 ? { privateInputs, publicInputs } : { privateInputs };
  return [
    `curl ${quoted(url.href)}`,
    ...(call.access ? [`-H "Authorization: Bearer $${VARIABLES[call.access]}"`] : []),
    "-H 'Content-Type: application/json'",
    "-H 'Accept: application/json'",
    `--data ${quoted(toJson(body))}`,
  ].join(' \\\n  ');
}

/** The program with the client package. The key or the voucher comes from the environment. */
export function clientProgram(call: ShownCall): string {
  const options = [`url: ${literal(call.base.href)}`];
  if (call.access) options.push(`${call.access === 'key' ? 'apiKey' : 'voucher'}: process.env.${VARIABLES[call.access]}`);
  const target = call.target === undefined ? '' : `, { target: ${literal(call.target)} }`;
  return [
    "import { createProver } from '@edgeprove/client';",
    '',
    `const prover = createProver({ ${options.join(', ')} });`,
    `const result = await prover.prove(${literal(call.circuit)}, ${script(call.inputs, 0)}${target});`,
    'console.log(result.publicInputs, await prover.verify(result));',
  ].join('\n');
}

/** A text as one word of a POSIX shell. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function literal(text: string): string {
  return `'${JSON.stringify(text).slice(1, -1).replaceAll('\\"', '"').replaceAll("'", "\\'")}'`;
}

const NAME = /^[A-Za-z_$][\w$]*$/;
/** Lists longer than this have one item a line. */
const LINE_MAX = 60;

function script(value: InputValue, depth: number): string {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? value.toString() : `${value}n`;
  if (typeof value === 'string') return literal(value);
  if (typeof value !== 'object') return String(value);
  const [open, close, items] = Array.isArray(value)
    ? ['[', ']', value.map((item) => script(item as InputValue, depth + 1))]
    : ['{', '}', Object.entries(value as Record<string, InputValue>).map(([name, item]) =>
      `${NAME.test(name) ? name : literal(name)}: ${script(item, depth + 1)}`)];
  const line = `${open} ${items.join(', ')} ${close}`;
  if (items.length === 0) return `${open}${close}`;
  if (line.length <= LINE_MAX && !line.includes('\n')) return open === '[' ? `[${items.join(', ')}]` : line;
  const indent = '  '.repeat(depth + 1);
  return `${open}\n${items.map((item) => `${indent}${item},\n`).join('')}${'  '.repeat(depth)}${close}`;
}
