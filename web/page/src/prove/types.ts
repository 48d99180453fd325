// Types of inputs as in the ABI of Noir, what a text means for each, and what is wrong with it.

import type { InputValue } from '@edgeprove/client';

/** A type of an input. */
export type AbiType =
  | { kind: 'field' }
  | { kind: 'boolean' }
  | { kind: 'integer'; sign: 'signed' | 'unsigned'; width: number }
  | { kind: 'string'; length: number }
  | { kind: 'array'; length: number; type: AbiType }
  | { kind: 'tuple'; fields: AbiType[] }
  | { kind: 'struct'; path: string; fields: { name: string; type: AbiType }[] }
  /** A signal of circom: an integer, or nested arrays of integers. */
  | { kind: 'signal' }
  | { kind: 'unknown' };

/** The modulus of the field of BN254. */
const MODULUS = 21888242871839275222246405745257275088548364400416034343698204186575808495617n;
const INTEGER = /^-?(?:0x[0-9a-f]+|\d+)$/i;

/** What is wrong with an input. The message never quotes the value. */
export class Fault extends Error {}

/** Reads the type that a server sent. One that this page does not know is `unknown`. */
export function typeOf(sent: unknown): AbiType {
  const type = (sent ?? {}) as Record<string, unknown>;
  const length = (value: unknown): number | undefined =>
    typeof value === 'number' && Number.isInteger(value) && value >= 0 ? value : undefined;
  switch (type['kind']) {
    case 'field':
    case 'boolean':
      return { kind: type['kind'] };
    case 'integer': {
      const width = length(type['width']);
      if (width === undefined) break;
      return { kind: 'integer', sign: type['sign'] === 'signed' ? 'signed' : 'unsigned', width };
    }
    case 'string': {
      const bytes = length(type['length']);
      if (bytes === undefined) break;
      return { kind: 'string', length: bytes };
    }
    case 'array': {
      const items = length(type['length']);
      if (items === undefined) break;
      return { kind: 'array', length: items, type: typeOf(type['type']) };
    }
    case 'tuple':
      if (!Array.isArray(type['fields'])) break;
      return { kind: 'tuple', fields: type['fields'].map(typeOf) };
    case 'struct':
      if (!Array.isArray(type['fields'])) break;
      return {
        kind: 'struct',
        path: typeof type['path'] === 'string' ? type['path'] : '',
        fields: (type['fields'] as { name?: unknown; type?: unknown }[]).map((field) => ({ name: String(field.name), type: typeOf(field.type) })),
      };
  }
  return { kind: 'unknown' };
}

/** A type in words, as Noir writes it. */
export function nameOf(type: AbiType): string {
  switch (type.kind) {
    case 'field':
      return 'Field';
    case 'boolean':
      return 'bool';
    case 'integer':
      return `${type.sign === 'signed' ? 'i' : 'u'}${type.width}`;
    case 'string':
      return `str<${type.length}>`;
    case 'array':
      return `[${nameOf(type.type)}; ${type.length}]`;
    case 'tuple':
      return `(${type.fields.map(nameOf).join(', ')})`;
    case 'struct':
      return type.path.split('::').at(-1) || 'struct';
    case 'signal':
      return 'signal';
    case 'unknown':
      return 'value';
  }
}

/** The smallest and the largest value of a number; `undefined` where the type is none. */
export function boundsOf(type: AbiType): [bigint, bigint] | undefined {
  if (type.kind === 'field' || type.kind === 'signal') return [1n - MODULUS, MODULUS - 1n];
  if (type.kind !== 'integer') return undefined;
  if (type.sign === 'unsigned') return [0n, (1n << BigInt(type.width)) - 1n];
  const half = 1n << BigInt(type.width - 1);
  return [-half, half - 1n];
}

/** What a number may be, for a hint and for a fault. */
export function rangeOf(type: AbiType): string {
  if (type.kind === 'field' || type.kind === 'signal') return 'a whole number below the modulus of BN254';
  if (type.kind !== 'integer') return 'a value';
  const bounds = boundsOf(type);
  if (!bounds) return 'a whole number';
  if (type.sign === 'unsigned') return type.width <= 16 ? `a whole number from 0 to ${bounds[1]}` : `a whole number from 0 to 2^${type.width} − 1`;
  return type.width <= 16 ? `a whole number from ${bounds[0]} to ${bounds[1]}` : `a whole number from −2^${type.width - 1} to 2^${type.width - 1} − 1`;
}

/** An integer of decimal digits, or of hexadecimal ones after 0x. */
export function parseInteger(text: string, type: AbiType): bigint {
  const digits = text.trim().replaceAll('_', '');
  if (digits === '') throw new Fault(`Enter ${rangeOf(type)}.`);
  if (!INTEGER.test(digits)) throw new Fault('Write a whole number in decimal digits, or in hexadecimal ones after 0x.');
  const isNegative = digits.startsWith('-');
  const value = isNegative ? -BigInt(digits.slice(1)) : BigInt(digits);
  const [min, max] = boundsOf(type) ?? [value, value];
  if (value < min || value > max) throw new Fault(`This must be ${rangeOf(type)}.`);
  return value;
}

/** A text of exactly so many bytes. */
export function parseText(text: string, length: number): string {
  const bytes = new TextEncoder().encode(text).length;
  if (bytes !== length) throw new Fault(`This must have exactly ${length} bytes; it has ${bytes}.`);
  return text;
}

/** Checks a value, for example one of a JSON text, and makes integers of it. `at` is its path. */
export function checkValue(value: unknown, type: AbiType, at: string): InputValue {
  const wrong = (what: string): never => {
    throw new Fault(at === '' ? what : `${at}: ${what}`);
  };
  const scoped = (check: () => InputValue): InputValue => {
    try {
      return check();
    } catch (error) {
      return wrong(error instanceof Fault ? error.message : 'this is no value');
    }
  };
  switch (type.kind) {
    case 'field':
    case 'integer':
      if (typeof value === 'number' && !Number.isSafeInteger(value)) return wrong('Write numbers of this size as text, such as "123".');
      if (!['number', 'string', 'bigint'].includes(typeof value)) return wrong(`This must be ${rangeOf(type)}.`);
      return scoped(() => parseInteger(String(value), type));
    case 'boolean':
      return typeof value === 'boolean' ? value : wrong('This must be true or false.');
    case 'string':
      return typeof value === 'string' ? scoped(() => parseText(value, type.length)) : wrong('This must be a text.');
    case 'array':
      if (!Array.isArray(value) || value.length !== type.length) {
        return wrong(`This must be a list of ${type.length} values${Array.isArray(value) ? `; it has ${value.length}` : ''}.`);
      }
      return value.map((item, index) => checkValue(item, type.type, `${at}[${index}]`));
    case 'tuple':
      if (!Array.isArray(value) || value.length !== type.fields.length) return wrong(`This must be a list of ${type.fields.length} values.`);
      return type.fields.map((field, index) => checkValue(value[index], field, `${at}[${index}]`));
    case 'struct': {
      if (typeof value !== 'object' || value === null || Array.isArray(value)) return wrong('This must be an object.');
      const members = value as Record<string, unknown>;
      const other = Object.keys(members).find((name) => !type.fields.some((field) => field.name === name));
      if (other !== undefined) return wrong(`There is no member ${other}.`);
      return Object.fromEntries(type.fields.map(({ name, type: inner }) => {
        if (!Object.hasOwn(members, name)) wrong(`The member ${name} is missing.`);
        return [name, checkValue(members[name], inner, at === '' ? name : `${at}.${name}`)];
      }));
    }
    case 'signal':
      if (Array.isArray(value)) return value.map((item, index) => checkValue(item, type, `${at}[${index}]`));
      return checkValue(value, { kind: 'field' }, at);
    case 'unknown':
      if (value === undefined || value === null) return wrong('Enter a value.');
      return value as InputValue;
  }
}

/** A value to begin with: zeros, `false`, blanks. */
export function emptyValue(type: AbiType): InputValue {
  switch (type.kind) {
    case 'boolean':
      return false;
    case 'string':
      return ' '.repeat(type.length);
    case 'array':
      return Array.from({ length: type.length }, () => emptyValue(type.type));
    case 'tuple':
      return type.fields.map(emptyValue);
    case 'struct':
      return Object.fromEntries(type.fields.map(({ name, type: inner }) => [name, emptyValue(inner)]));
    default:
      return '0';
  }
}

/** A value as JSON with integers as text, as a request has it. */
export function toJson(value: unknown, indent?: number): string {
  return JSON.stringify(value, (_, inner: unknown) => (typeof inner === 'bigint' ? inner.toString() : inner), indent);
}
