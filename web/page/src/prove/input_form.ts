// The inputs of a circuit: as a form, or as one JSON text.

import type { Circuit, Inputs, InputValue, Template } from '@edgeprove/client';

import { el, fill } from '../dom.js';
import { Control, Controls, fieldOf, parseJson } from './fields.js';
import type { Field } from './fields.js';
import { checkValue, emptyValue, Fault, toJson, typeOf } from './types.js';
import type { AbiType } from './types.js';

/** An input of a circuit. */
interface Input {
  name: string;
  type: AbiType;
  /** `undefined` where the circuit decides. */
  isPublic: boolean | undefined;
  description?: string;
}

/** The inputs of one circuit. */
export class InputForm {
  readonly element: HTMLElement;
  readonly #inputs: Input[];
  readonly #sample: Record<string, unknown> | undefined;
  readonly #fields: { input: Input; field: Field }[];
  readonly #controls = new Controls();
  readonly #json: Control;
  readonly #form: HTMLElement;
  readonly #summary = el('p', { class: 'fault summary', role: 'alert' });
  readonly #jsonSwitch: HTMLButtonElement;
  #isJson = false;

  constructor(circuit: Circuit, template: Template | undefined) {
    this.#inputs = inputsOf(circuit, template);
    this.#sample = circuit.sample ?? template?.sample.accepted[0]?.inputs;
    this.#fields = this.#inputs.map((input) => {
      const options = { label: input.name, path: input.name, isPublic: input.isPublic, controls: this.#controls };
      return { input, field: fieldOf(input.type, options) };
    });
    this.#form = el('div', { class: 'fields' }, this.#fields.map(({ input, field }) =>
      el('div', {}, field.element, input.description === undefined ? null : el('p', { class: 'note' }, input.description))));
    const area = el('textarea', { rows: 10, autocomplete: 'off', spellcheck: 'false' });
    this.#json = new Control(area, 'Inputs', 'JSON', 'an object with each input by its name, integers as text', undefined);
    this.#jsonSwitch = el('button', { type: 'button', class: 'quiet small', 'aria-pressed': 'false', onclick: () => this.#toggle() }, 'Edit as JSON');
    this.element = el('div', { class: 'input-form' },
      el('div', { class: 'row' },
        el('h2', {}, 'Inputs'),
        el('div', { class: 'row-end' },
          this.#sample ? el('button', { type: 'button', class: 'quiet small', onclick: () => this.writeSample() }, 'Sample values') : null,
          this.#jsonSwitch)),
      this.#form, this.#json.element, this.#summary);
    this.#json.element.hidden = true;
    if (this.#inputs.length === 0) this.#showAsJson();
    this.writeSample();
  }

  /** Names of public inputs. */
  get publicNames(): ReadonlySet<string> {
    return new Set(this.#inputs.filter((input) => input.isPublic === true).map((input) => input.name));
  }

  /** Whether there are sample values. */
  get hasSample(): boolean {
    return this.#sample !== undefined;
  }

  /** Shows the sample values, or zeros. */
  writeSample(): void {
    this.#write(this.#sample ?? Object.fromEntries(this.#inputs.map(({ name, type }) => [name, emptyValue(type)])));
  }

  /** The inputs; `undefined` where some have faults, which are shown. */
  read(): Inputs | undefined {
    const inputs = this.#isJson ? this.#json.parse(() => this.#parseJson()) : this.#readFields();
    const faults = this.#isJson ? Number(this.#json.hasFault) : this.#controls.faults;
    this.#summary.textContent = faults === 0 ? '' : `${faults} ${faults === 1 ? 'input needs' : 'inputs need'} a change.`;
    if (!inputs) (this.#isJson ? this.#json : this.#controls.firstFault())?.input.focus();
    return inputs;
  }

  /** Shows what the server, or the solver, found wrong with an input. Returns whether its control was found. */
  showFault(path: string, detail: string): boolean {
    const control = this.#isJson ? this.#json : this.#controls.at(path.replace(/^(?:private|public)Inputs\.?/, ''));
    control?.show(detail);
    control?.input.focus();
    return control !== undefined;
  }

  /** Disables the form while it is proved. */
  setBusy(isBusy: boolean): void {
    this.element.inert = isBusy;
  }

  #readFields(): Inputs | undefined {
    const values = this.#fields.map(({ input, field }) => [input.name, field.read()] as const);
    if (values.some(([, value]) => value === undefined)) return undefined;
    return Object.fromEntries(values as [string, InputValue][]);
  }

  #parseJson(): Inputs {
    const value = parseJson(this.#json.input.value);
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Fault('This must be an object with each input by its name.');
    const given = value as Record<string, unknown>;
    if (this.#inputs.length === 0) {
      return Object.fromEntries(Object.entries(given).map(([name, item]) => [name, checkValue(item, { kind: 'signal' }, name)]));
    }
    const other = Object.keys(given).find((name) => !this.#inputs.some((input) => input.name === name));
    if (other !== undefined) throw new Fault(`The circuit has no input ${other}.`);
    return Object.fromEntries(this.#inputs.map(({ name, type }) => {
      if (!Object.hasOwn(given, name)) throw new Fault(`The input ${name} is missing.`);
      return [name, checkValue(given[name], type, name)];
    }));
  }

  #write(values: Record<string, unknown>): void {
    this.#summary.textContent = '';
    for (const { input, field } of this.#fields) field.write(values[input.name]);
    this.#json.input.value = toJson(values, 2);
    this.#json.show('');
  }

  #toggle(): void {
    if (!this.#isJson) {
      // What is in the form moves into the text, also where it has faults.
      const current = Object.fromEntries(this.#fields.map(({ input, field }) => [input.name, field.read() ?? null]));
      for (const { input } of this.#fields) this.#controls.at(input.name)?.show('');
      this.#json.input.value = toJson(current, 2);
      this.#showAsJson();
      return;
    }
    const inputs = this.#json.parse(() => this.#parseJson());
    if (!inputs) {
      this.#json.input.focus();
      return;
    }
    this.#write(inputs);
    this.#isJson = false;
    this.#form.hidden = false;
    this.#json.element.hidden = true;
    this.#jsonSwitch.setAttribute('aria-pressed', 'false');
  }

  #showAsJson(): void {
    this.#isJson = true;
    this.#form.hidden = true;
    this.#json.element.hidden = false;
    this.#summary.textContent = '';
    this.#jsonSwitch.setAttribute('aria-pressed', 'true');
    // Without names there is no form to go back to.
    this.#jsonSwitch.hidden = this.#inputs.length === 0;
  }
}

/** The inputs that the server describes; of a circuit of circom, those of its template or its sample. */
function inputsOf(circuit: Circuit, template: Template | undefined): Input[] {
  const described = new Map([...(template?.public_inputs ?? []), ...(template?.private_inputs ?? [])].map(({ name, description }) => [name, description]));
  const withDescription = (input: Input): Input => {
    const description = described.get(input.name);
    return description === undefined ? input : { ...input, description };
  };
  if (circuit.inputs) {
    return circuit.inputs.map(({ name, type, visibility }) => withDescription({ name, type: typeOf(type), isPublic: visibility !== 'private' }));
  }
  if (template) {
    const of = (names: { name: string }[]): Input[] => names.map(({ name }) => withDescription({ name, type: { kind: 'signal' }, isPublic: undefined }));
    return [...of(template.public_inputs), ...of(template.private_inputs)];
  }
  return Object.keys(circuit.sample ?? {}).map((name) => ({ name, type: { kind: 'signal' }, isPublic: undefined }));
}

/** A placeholder of the form while the circuit is loaded. */
export function loadingForm(): HTMLElement {
  const line = (): HTMLElement => el('div', { class: 'skeleton' });
  const element = el('div', { class: 'input-form', 'aria-busy': 'true' });
  fill(element, el('h2', {}, 'Inputs'), line(), line());
  return element;
}
