// The form for the inputs of a circuit: a control for each value, with its type, its faults and its path.

import type { InputValue } from '@edgeprove/client';

import { el, uniqueId } from '../dom.js';
import { checkValue, emptyValue, Fault, nameOf, parseInteger, parseText, rangeOf, toJson } from './types.js';
import type { AbiType } from './types.js';

/** Lists and structures with more values than this are edited as one JSON text. */
const CONTROLS_MAX = 48;
/** Lists of numbers longer than this have one text instead of a control for each. */
const LIST_CONTROLS_MAX = 4;

/** A part of the form. */
export interface Field {
  element: HTMLElement;
  /** The value; `undefined` where it has a fault, which it shows. */
  read(): InputValue | undefined;
  /** Shows a value, whatever it is. */
  write(value: unknown): void;
}

/** Controls by the path of their value, such as `voters[3].age`. */
export class Controls {
  readonly #byPath = new Map<string, Control>();

  /** Adds a control. */
  add(path: string, control: Control): void {
    this.#byPath.set(path, control);
  }

  /** The control of a path, or of the nearest value around it. */
  at(path: string): Control | undefined {
    for (let part = path; ;) {
      const found = this.#byPath.get(part);
      const around = part.replace(/(?:\.[^.[]+|\[\d+\]|[^.[]+)$/, '');
      if (found || around === part) return found;
      part = around;
    }
  }

  /** The first control with a fault. */
  firstFault(): Control | undefined {
    return [...this.#byPath.values()].find((control) => control.hasFault);
  }

  /** How many controls have a fault. */
  get faults(): number {
    return [...this.#byPath.values()].filter((control) => control.hasFault).length;
  }
}

/** One control with its label, hint and fault. */
export class Control {
  readonly element: HTMLElement;
  readonly input: HTMLInputElement | HTMLTextAreaElement;
  readonly #fault: HTMLElement;

  constructor(input: HTMLInputElement | HTMLTextAreaElement, label: string, type: string, hint: string, isPublic: boolean | undefined) {
    this.input = input;
    const id = uniqueId('input');
    input.id = id;
    const hintId = `${id}-hint`;
    const faultId = `${id}-fault`;
    input.setAttribute('aria-describedby', `${hintId} ${faultId}`);
    this.#fault = el('p', { class: 'fault', id: faultId });
    const head = el('label', { for: id },
      el('span', { class: 'name' }, label),
      el('code', { class: 'type' }, type),
      isPublic === undefined ? null : el('span', { class: isPublic ? 'tag good' : 'tag' }, isPublic ? 'public' : 'private'));
    const isCheck = input.type === 'checkbox';
    this.element = el('div', { class: isCheck ? 'control check' : 'control' },
      ...(isCheck ? [input, head] : [head, input]),
      el('p', { class: 'visually-hidden', id: hintId }, hint), this.#fault);
    input.addEventListener('input', () => this.show(''));
  }

  /** Whether it shows a fault. */
  get hasFault(): boolean {
    return this.#fault.textContent !== '';
  }

  /** Shows a fault; none for an empty text. */
  show(fault: string): void {
    this.#fault.textContent = fault;
    if (fault === '') this.input.removeAttribute('aria-invalid');
    else this.input.setAttribute('aria-invalid', 'true');
  }

  /** Reads the value, and shows what is wrong with it. */
  parse<T>(read: () => T): T | undefined {
    try {
      const value = read();
      this.show('');
      return value;
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      this.show(error.message);
      return undefined;
    }
  }
}

/** What a field needs to know. */
interface FieldOptions {
  label: string;
  path: string;
  /** `undefined` inside of another value. */
  isPublic: boolean | undefined;
  controls: Controls;
}

/** The field of a type. */
export function fieldOf(type: AbiType, options: FieldOptions): Field {
  switch (type.kind) {
    case 'field':
    case 'integer':
      return numberField(type, options);
    case 'boolean':
      return checkField(options);
    case 'string':
      return textField(type, options);
    case 'array':
      if (isNumber(type.type) && type.length > LIST_CONTROLS_MAX) return listField(type, options);
      return controlsOf(type) > CONTROLS_MAX ? jsonField(type, options) : groupField(type, options);
    case 'tuple':
    case 'struct':
      return controlsOf(type) > CONTROLS_MAX ? jsonField(type, options) : groupField(type, options);
    case 'signal':
    case 'unknown':
      return jsonField(type, options);
  }
}

const isNumber = (type: AbiType): boolean => type.kind === 'integer' || type.kind === 'field';

/** How many controls a type has, at least as many as matter. */
function controlsOf(type: AbiType): number {
  switch (type.kind) {
    case 'array':
      return isNumber(type.type) && type.length > LIST_CONTROLS_MAX ? 1 : type.length * controlsOf(type.type);
    case 'tuple':
      return type.fields.reduce((sum, field) => sum + controlsOf(field), 0);
    case 'struct':
      return type.fields.reduce((sum, field) => sum + controlsOf(field.type), 0);
    default:
      return 1;
  }
}

/** No browser remembers what was entered, or corrects it. */
const PRIVATE = { autocomplete: 'off', autocapitalize: 'off', autocorrect: 'off', spellcheck: 'false' };

function numberField(type: AbiType, { label, path, isPublic, controls }: FieldOptions): Field {
  const input = el('input', { type: 'text', inputmode: 'text', class: 'mono', ...PRIVATE });
  const control = new Control(input, label, nameOf(type), rangeOf(type), isPublic);
  controls.add(path, control);
  return {
    element: control.element,
    read: () => control.parse(() => parseInteger(input.value, type)),
    write: (value) => {
      control.show('');
      input.value = String(value ?? '');
    },
  };
}

function checkField({ label, path, isPublic, controls }: FieldOptions): Field {
  const input = el('input', { type: 'checkbox' });
  const control = new Control(input, label, 'bool', 'true where it is checked', isPublic);
  controls.add(path, control);
  return {
    element: control.element,
    read: () => input.checked,
    write: (value) => {
      control.show('');
      input.checked = value === true || value === 1 || value === '1' || value === '0x1' || value === 'true';
    },
  };
}

function textField(type: AbiType & { kind: 'string' }, { label, path, isPublic, controls }: FieldOptions): Field {
  const input = el('input', { type: 'text', class: 'mono', ...PRIVATE });
  const control = new Control(input, label, nameOf(type), `a text of exactly ${type.length} bytes`, isPublic);
  controls.add(path, control);
  return {
    element: control.element,
    read: () => control.parse(() => parseText(input.value, type.length)),
    write: (value) => {
      control.show('');
      input.value = String(value ?? '');
    },
  };
}

/** Numbers in one text, separated by commas, blanks or lines. */
function listField(type: AbiType & { kind: 'array' }, { label, path, isPublic, controls }: FieldOptions): Field {
  const area = el('textarea', { rows: 4, ...PRIVATE });
  const hint = `${type.length} values, separated by commas or lines; each ${rangeOf(type.type)}`;
  const control = new Control(area, label, nameOf(type), hint, isPublic);
  controls.add(path, control);
  return {
    element: control.element,
    read: () => control.parse(() => {
      const items = area.value.split(/[\s,;]+/).filter((item) => item !== '');
      if (items.length !== type.length) throw new Fault(`Enter ${type.length} values; there are ${items.length}.`);
      return items.map((item, index) => {
        try {
          return parseInteger(item, type.type);
        } catch (error) {
          throw new Fault(`Value ${index + 1}: ${error instanceof Fault ? error.message : 'this is no number'}`);
        }
      });
    }),
    write: (value) => {
      control.show('');
      area.value = Array.isArray(value) ? value.map(String).join(',\n') : String(value ?? '');
    },
  };
}

/** A value as JSON. */
function jsonField(type: AbiType, { label, path, isPublic, controls }: FieldOptions): Field {
  const isShort = type.kind === 'signal';
  const area = isShort ? el('input', { type: 'text', class: 'mono', ...PRIVATE }) : el('textarea', { rows: 6, ...PRIVATE });
  const hint = isShort ? 'a whole number, or a list of whole numbers as JSON' : 'a value as JSON, with integers as text';
  const control = new Control(area, label, isShort ? 'signal' : `${nameOf(type)} as JSON`, hint, isPublic);
  controls.add(path, control);
  return {
    element: control.element,
    read: () => control.parse(() => {
      const text = area.value.trim();
      if (isShort && !text.startsWith('[')) return parseInteger(text, type);
      return checkValue(parseJson(text), type, '');
    }),
    write: (value) => {
      control.show('');
      area.value = isShort && typeof value !== 'object' ? String(value ?? '') : toJson(value ?? emptyValue(type), isShort ? undefined : 1);
    },
  };
}

/** Reads JSON. The fault names no part of the text. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw new Fault('This is no JSON: check brackets, commas and quotation marks.');
  }
}

/** Fields in a group. */
function groupField(type: AbiType & { kind: 'array' | 'tuple' | 'struct' }, { label, path, isPublic, controls }: FieldOptions): Field {
  const parts = partsOf(type).map(({ name, at, inner }) => {
    return { name, field: fieldOf(inner, { label: name, path: `${path}${at}`, isPublic: undefined, controls }) };
  });
  const element = el('fieldset', { class: 'group' },
    el('legend', {}, el('span', { class: 'name' }, label), el('code', { class: 'type' }, nameOf(type)),
      isPublic === undefined ? null : el('span', { class: isPublic ? 'tag good' : 'tag' }, isPublic ? 'public' : 'private')),
    el('div', { class: 'members' }, parts.map(({ field }) => field.element)));
  return {
    element,
    read: () => {
      // Every part is read, so that every fault shows.
      const values = parts.map(({ field }) => field.read());
      if (values.includes(undefined)) return undefined;
      if (type.kind !== 'struct') return values as InputValue[];
      return Object.fromEntries(parts.map(({ name }, index) => [name, values[index] as InputValue]));
    },
    write: (value) => {
      const members = (value ?? {}) as Record<string, unknown>;
      parts.forEach(({ name, field }, index) => field.write(Array.isArray(value) ? value[index] : members[name]));
    },
  };
}

function partsOf(type: AbiType & { kind: 'array' | 'tuple' | 'struct' }): { name: string; at: string; inner: AbiType }[] {
  switch (type.kind) {
    case 'array':
      return Array.from({ length: type.length }, (_, index) => ({ name: `[${index}]`, at: `[${index}]`, inner: type.type }));
    case 'tuple':
      return type.fields.map((inner, index) => ({ name: `.${index}`, at: `[${index}]`, inner }));
    case 'struct':
      return type.fields.map(({ name, type: inner }) => ({ name, at: `.${name}`, inner }));
  }
}
