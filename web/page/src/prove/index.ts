// The page on which a circuit is proved by hand. Read this file first; then input_form.ts, lane.ts and proof_card.ts.

import { createProver, EdgeproveError } from '@edgeprove/client';
import type { Circuit, CircuitEntry, Prover, ProofResult, Target, Template } from '@edgeprove/client';

import { copyButton } from '../copy.js';
import { el, fill, icon, uniqueId } from '../dom.js';
import { count, duration, shortened } from '../format.js';
import type { Session } from '../session.js';
import type { View, ViewContext } from '../view.js';
import { clientProgram, curlCommand, VARIABLES } from './commands.js';
import type { ShownCall } from './commands.js';
import { InputForm, loadingForm } from './input_form.js';
import { Lane, sentence } from './lane.js';
import { LocalProver } from './local.js';
import { proofCard } from './proof_card.js';
import { tabs } from './tabs.js';

const TARGETS: Record<Target, string> = {
  'noir-recursive': 'noir-recursive · for bb, bb.js and other circuits',
  evm: 'evm · for a Solidity verifier',
  groth16: 'groth16 · for snarkjs and Solidity',
};

/** Most circuits in the list. */
const CIRCUITS_MAX = 5000;

/** What helps against a refused key or voucher. */
const ACCESS_REMEDIES: Partial<Record<string, string>> = {
  api_key_required: 'Enter a key or a voucher with the button at the top.',
  api_key_unknown: 'Enter another key with the button at the top.',
  voucher_invalid: 'Enter a new voucher with the button at the top.',
  voucher_used_up: 'Enter a new voucher with the button at the top.',
};

const ORIGINS = { configured: 'Mounted', built: 'Built from templates', uploaded: 'Uploaded' } as const;

/** Shows the page. */
export const prove: View = (root, context) => {
  const page = new ProvePage(root, context);
  void page.load();
  return () => page.end();
};

class ProvePage {
  readonly #context: ViewContext;
  readonly #root: HTMLElement;
  readonly #picker = el('select', { id: 'circuit' });
  readonly #target = el('select', { id: 'target' });
  readonly #facts = el('dl', { class: 'facts' });
  readonly #inputs = el('div', { class: 'card' }, loadingForm());
  readonly #atServer = el('input', { type: 'checkbox', id: uniqueId('at'), checked: true });
  readonly #here = el('input', { type: 'checkbox', id: uniqueId('at') });
  readonly #keepInputs = el('input', { type: 'checkbox', id: uniqueId('at') });
  readonly #hereNote = el('p', { class: 'note' });
  readonly #keepLine = el('label', { class: 'option', for: this.#keepInputs.id }, this.#keepInputs,
    el('span', {}, 'Compute the witness in this browser', el('small', {}, 'The server gets the witness instead, which contains the inputs.')));
  readonly #fault = el('div', { class: 'problem', role: 'alert' });
  readonly #submit = el('button', { type: 'submit', class: 'primary big' }, 'Prove');
  readonly #cancel = el('button', { type: 'button', class: 'quiet big', hidden: true, onclick: () => this.#abort?.abort() }, 'Cancel');
  readonly #serverLane = new Lane('Server', 'One native proof, verified before it is sent');
  readonly #hereLane = new Lane('This browser', 'bb.js in WebAssembly, in a worker');
  readonly #comparison = el('p', { class: 'comparison', role: 'status' });
  readonly #proofs = el('div', { class: 'proofs' });
  readonly #call = el('div', {});
  readonly #ended = new AbortController();

  #prover: Prover;
  #local: LocalProver | undefined;
  #circuit: Circuit | undefined;
  #form: InputForm | undefined;
  #abort: AbortController | undefined;
  /** Counts choices, so that an answer to an earlier one is dropped. */
  #choice = 0;
  readonly #stopSession: () => void;

  constructor(root: HTMLElement, context: ViewContext) {
    this.#root = root;
    this.#context = context;
    this.#prover = this.#makeProver();
    this.#stopSession = context.session.onChange(() => {
      this.#prover.close();
      this.#prover = this.#makeProver();
      this.#showProblem();
      // What was entered stays.
      if (!this.#circuit) void this.load();
    });
    context.onRoute = (route) => {
      const name = route.segments[0];
      if (name !== undefined && name !== this.#circuit?.id) void this.#choose(name);
    };
    this.#draw();
  }

  end(): void {
    this.#stopSession();
    this.#ended.abort();
    this.#abort?.abort();
    this.#prover.close();
    this.#local?.prover.close();
  }

  /** Loads what the server has. */
  async load(): Promise<void> {
    this.#showProblem();
    const { signal } = this.#ended;
    const finding = this.#local ? Promise.resolve(this.#local) : LocalProver.find(this.#context.base).catch(() => undefined);
    try {
      const circuits = await this.#list(signal);
      this.#local = await finding;
      if (signal.aborted) return;
      if (this.#local) {
        // The worker that proves also makes the witnesses for the server.
        this.#prover.close();
        this.#prover = this.#makeProver();
      }
      this.#showLocal();
      this.#showCircuits(circuits);
    } catch (error) {
      this.#fail(error, 'The circuits of the server cannot be loaded.', () => void this.load());
    }
  }

  async #list(signal: AbortSignal): Promise<CircuitEntry[]> {
    const circuits: CircuitEntry[] = [];
    let next: string | undefined;
    do {
      const page = await this.#prover.circuits.list({ signal, ...(next === undefined ? { limit: 1000 } : { next }) });
      circuits.push(...page.circuits);
      next = page.next ?? undefined;
    } while (next !== undefined && circuits.length < CIRCUITS_MAX);
    return circuits;
  }

  #makeProver(): Prover {
    const { base, session } = this.#context;
    const { token } = session;
    return createProver({
      url: base, mode: 'remote', storage: null, worker: this.#local?.startWorker ?? false,
      ...(token === undefined ? {} : session.isVoucher ? { voucher: token } : { apiKey: token }),
    });
  }

  #draw(): void {
    this.#picker.addEventListener('change', () => void this.#choose(this.#picker.value));
    this.#target.addEventListener('change', () => this.#showTarget());
    for (const box of [this.#atServer, this.#here]) box.addEventListener('change', () => this.#showLanes());
    const setup = el('form', { class: 'setup', novalidate: true, autocomplete: 'off', onsubmit: (event: Event) => {
      event.preventDefault();
      void this.#run();
    } },
    el('div', { class: 'card' },
      el('div', { class: 'pair' },
        el('div', {}, el('label', { for: 'circuit' }, 'Circuit'), this.#picker),
        el('div', {}, el('label', { for: 'target' }, 'Target'), this.#target)),
      this.#facts),
    this.#inputs,
    el('div', { class: 'card run' },
      el('fieldset', { class: 'options' },
        el('legend', {}, 'Prove at'),
        el('label', { class: 'option', for: this.#atServer.id }, this.#atServer, el('span', {}, 'The server')),
        el('label', { class: 'option', for: this.#here.id }, this.#here, el('span', {}, 'This browser', this.#hereNote)),
        this.#keepLine),
      this.#fault,
      el('div', { class: 'buttons' }, this.#submit, this.#cancel)));
    const results = el('section', { class: 'results', 'aria-label': 'Results' },
      el('div', { class: 'card lanes' }, this.#serverLane.element, this.#hereLane.element, this.#comparison),
      this.#proofs, this.#call);
    fill(this.#root,
      el('div', { class: 'title' }, el('h1', {}, 'Prove a circuit'),
        el('p', { class: 'note' }, 'The inputs of a proof are wiped when it is made. This page stores none of them.')),
      el('div', { class: 'columns' }, setup, results));
    this.#submit.disabled = true;
    this.#serverLane.reset('Choose a circuit, look at its inputs, and prove it.');
    this.#showLocal();
  }

  #showCircuits(circuits: readonly CircuitEntry[]): void {
    const groups = Object.entries(ORIGINS).map(([origin, label]) => {
      const options = circuits.filter((circuit) => circuit.origin === origin).map((circuit) => {
        const state = circuit.status === 'ready' ? '' : ` (${circuit.status})`;
        return el('option', { value: circuit.id }, `${labelOf(circuit)}${state}`);
      });
      return options.length === 0 ? null : el('optgroup', { label }, options);
    });
    fill(this.#picker, groups);
    if (circuits.length === 0) {
      fill(this.#inputs, el('div', { class: 'input-form' }, el('h2', {}, 'There is no circuit yet'),
        el('p', { class: 'note' }, 'Start the server with ', el('code', {}, '--circuit FILE'), ' or ', el('code', {}, '--circuits DIR'),
          ', or build one with ', el('code', {}, 'POST /v1/circuits'), '.')));
      return;
    }
    const wanted = this.#context.route.segments[0] ?? this.#circuit?.id;
    // Without a wish the smallest one, which is proved at once.
    const ready = circuits.filter((circuit) => circuit.status === 'ready');
    const smallest = ready.sort((a, b) => (a.gates ?? Infinity) - (b.gates ?? Infinity))[0];
    const first = circuits.find((circuit) => circuit.id === wanted) ?? smallest ?? circuits[0];
    if (first) void this.#choose(first.id);
  }

  async #choose(name: string): Promise<void> {
    const choice = ++this.#choice;
    this.#showProblem();
    this.#submit.disabled = true;
    fill(this.#inputs, loadingForm());
    this.#picker.value = name;
    this.#context.navigate({ view: 'prove', segments: [name], query: new URLSearchParams() }, true);
    try {
      const circuit = await this.#prover.circuits.get(name, { signal: this.#ended.signal });
      const template = await this.#templateOf(circuit);
      if (choice !== this.#choice) return;
      this.#showCircuit(circuit, template);
    } catch (error) {
      if (choice === this.#choice) this.#fail(error, `The circuit ${name} cannot be loaded.`, () => void this.#choose(name));
    }
  }

  async #templateOf(circuit: Circuit): Promise<Template | undefined> {
    if (!circuit.built) return undefined;
    // Without it the form has no descriptions and no sample.
    return await this.#prover.circuits.template(circuit.built.template_name, { signal: this.#ended.signal }).catch(() => undefined);
  }

  #showCircuit(circuit: Circuit, template: Template | undefined): void {
    const isOther = circuit.id !== this.#circuit?.id;
    this.#circuit = circuit;
    fill(this.#target, circuit.targets.map((target) => el('option', { value: target }, TARGETS[target] ?? target)));
    this.#target.value = circuit.target;
    this.#target.disabled = circuit.targets.length < 2;
    const facts: [string, string | HTMLElement][] = [];
    if (circuit.gates !== null) facts.push([circuit.target === 'groth16' ? 'Constraints' : 'Gates', count(circuit.gates)]);
    if (circuit.vk_hash !== null) facts.push(['VK hash', el('code', { title: circuit.vk_hash }, shortened(circuit.vk_hash))]);
    facts.push(['Origin', circuit.built ? `template ${circuit.built.template_name}` : circuit.origin]);
    const params = Object.entries(circuit.built?.params ?? {});
    if (params.length > 0) facts.push(['Parameters', params.map(([name, value]) => `${name} ${String(value)}`).join(', ')]);
    fill(this.#facts, facts.map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, value))));
    if (circuit.status !== 'ready') {
      const why = circuit.error ? sentence(circuit.error.detail) : 'It cannot be proved before it is ready.';
      fill(this.#inputs, el('div', { class: 'input-form' }, el('h2', {}, `This circuit is ${circuit.status}`), el('p', { class: 'note' }, why)));
      this.#form = undefined;
      this.#submit.disabled = true;
      return;
    }
    this.#form = new InputForm(circuit, template);
    fill(this.#inputs, this.#form.element);
    this.#submit.disabled = false;
    if (isOther) {
      this.#serverLane.reset('Nothing is proved yet.');
      this.#hereLane.reset('');
      fill(this.#proofs);
      fill(this.#call);
      this.#comparison.textContent = '';
    }
    this.#showLocal();
  }

  /** What this browser can do with the circuit. */
  #showLocal(): void {
    const circuit = this.#circuit;
    const refusal = !this.#local
      ? 'Proving in the browser is not set up here: the server needs --page-local.'
      : circuit && LocalProver.refusal(circuit);
    this.#here.disabled = refusal !== undefined;
    if (this.#here.disabled) this.#here.checked = false;
    this.#hereNote.textContent = refusal ?? 'Slower. A proof here sends no input anywhere.';
    this.#keepLine.hidden = refusal !== undefined;
    this.#keepInputs.disabled = refusal !== undefined;
    if (this.#keepInputs.disabled) this.#keepInputs.checked = false;
    this.#showLanes();
  }

  #showLanes(): void {
    this.#hereLane.element.hidden = !this.#here.checked && this.#hereLane.totalMs === undefined;
    this.#serverLane.element.hidden = !this.#atServer.checked && this.#serverLane.totalMs === undefined && this.#here.checked;
    this.#keepLine.classList.toggle('off', !this.#atServer.checked);
  }

  #showTarget(): void {
    this.#context.announce(`Target ${this.#target.value}`);
  }

  async #run(): Promise<void> {
    const [circuit, form] = [this.#circuit, this.#form];
    if (!circuit || !form || this.#abort) return;
    this.#showProblem();
    if (!this.#atServer.checked && !this.#here.checked) {
      fill(this.#fault, el('p', {}, 'Choose where to prove: at the server, in this browser, or both.'));
      this.#atServer.focus();
      return;
    }
    const inputs = form.read();
    if (!inputs) return;
    const target = this.#target.value as Target;
    const abort = new AbortController();
    this.#abort = abort;
    this.#setBusy(true);
    fill(this.#proofs);
    this.#comparison.textContent = '';
    this.#serverLane.reset('');
    this.#hereLane.reset('');
    this.#showLanes();
    this.#context.announce('Proving');
    const run = async (lane: Lane, work: () => Promise<ProofResult>): Promise<ProofResult | undefined> => {
      lane.start();
      try {
        const result = await work();
        lane.done(result);
        this.#proofs.append(this.#cardOf(result, circuit));
        this.#context.announce(`Proved by ${result.provedBy === 'server' ? 'the server' : 'this browser'} in ${duration(result.timings.totalMs)}`);
        return result;
      } catch (error) {
        lane.failed(error);
        this.#showProofFault(error);
        return undefined;
      }
    };
    const local = this.#local;
    const { signal } = abort;
    const atServer = this.#atServer.checked && run(this.#serverLane, async () => {
      const reference = this.#keepInputs.checked ? LocalProver.reference(this.#context.base, circuit) : { id: circuit.id, program: false as const };
      return await this.#prover.prove(reference, inputs, { target, signal, onProgress: (step) => this.#serverLane.progress(step) });
    });
    const here = this.#here.checked && local && run(this.#hereLane, async () => {
      const reference = LocalProver.reference(this.#context.base, circuit);
      return await local.prover.prove(reference, inputs, { target, signal, onProgress: (step) => this.#hereLane.progress(step) });
    });
    try {
      await Promise.all([atServer, here]);
    } finally {
      this.#abort = undefined;
      this.#setBusy(false);
    }
    this.#compare();
    this.#showCall({
      base: this.#context.base, circuit: circuit.id, target: target === circuit.target ? undefined : target, inputs,
      publicNames: form.publicNames, access: accessOf(this.#context.session),
    });
    this.#showLanes();
  }

  #cardOf(result: ProofResult, circuit: Circuit): HTMLElement {
    return proofCard(result, { prover: this.#prover, local: this.#local?.prover, circuit, announce: this.#context.announce });
  }

  #compare(): void {
    const [server, here] = [this.#serverLane.totalMs, this.#hereLane.totalMs];
    if (server === undefined || here === undefined) return;
    for (const lane of [this.#serverLane, this.#hereLane]) lane.scale(Math.max(server, here));
    const ratio = Math.max(server, here) / Math.max(1, Math.min(server, here));
    const text = `${ratio.toFixed(ratio < 10 ? 1 : 0)} times as fast`;
    fill(this.#comparison, server <= here ? 'The server was ' : 'This browser was ', el('b', {}, text), '.');
  }

  #showCall(call: ShownCall): void {
    const code = (what: string, text: string) => (): HTMLElement => el('div', { class: 'part' },
      el('pre', { tabindex: 0, role: 'region', 'aria-label': what }, text),
      el('div', { class: 'buttons' }, copyButton(`Copy ${what}`, () => text)));
    const note = call.access
      ? el('p', { class: 'note' }, `The ${call.access} comes from the variable `, el('code', {}, VARIABLES[call.access]), '.')
      : null;
    fill(this.#call, el('section', { class: 'card', 'aria-label': 'The same call' },
      el('div', { class: 'row' }, el('h2', {}, 'The same call'), el('span', { class: 'note' }, 'with these inputs')),
      tabs('The same call', [
        { title: 'curl', content: code('the command', curlCommand(call)) },
        { title: 'JavaScript', content: code('the program', clientProgram(call)) },
      ]), note));
  }

  #setBusy(isBusy: boolean): void {
    this.#form?.setBusy(isBusy);
    for (const control of [this.#picker, this.#submit]) control.disabled = isBusy;
    this.#target.disabled = isBusy || (this.#circuit?.targets.length ?? 0) < 2;
    this.#submit.textContent = isBusy ? 'Proving …' : 'Prove';
    this.#cancel.hidden = !isBusy;
    if (isBusy) this.#cancel.focus();
    else if (document.activeElement === document.body || document.activeElement === this.#cancel) this.#submit.focus();
  }

  /** Shows a fault of a proof at its input, or beside the button. */
  #showProofFault(error: unknown): void {
    if (!(error instanceof EdgeproveError) || error.code === 'aborted') return;
    this.#form?.setBusy(false);
    if (error.field !== undefined && this.#form?.showFault(error.field, sentence(error.detail))) return;
    this.#fail(error, headline(error));
  }

  #fail(error: unknown, what: string, again?: () => void): void {
    if (this.#ended.signal.aborted || (error instanceof EdgeproveError && error.code === 'aborted')) return;
    if (!(error instanceof EdgeproveError)) throw error;
    const remedy = ACCESS_REMEDIES[error.code];
    fill(this.#fault,
      icon('M12 8v5', 'M12 16.5v.01', 'M12 3.5l9.5 17h-19z'),
      el('div', {}, el('p', {}, el('b', {}, what)), el('p', {}, sentence(error.detail)),
        remedy === undefined ? null : el('p', {}, remedy),
        again ? el('button', { type: 'button', onclick: again }, 'Try again') : null));
  }

  #showProblem(): void {
    fill(this.#fault);
  }
}

function accessOf(session: Session): ShownCall['access'] {
  if (session.token === undefined) return undefined;
  return session.isVoucher ? 'voucher' : 'key';
}

/** A name for people: the id of a stored circuit is a hash. */
function labelOf({ id, built, uploaded }: CircuitEntry): string {
  if (uploaded) return `${uploaded.name} · ${uploaded.language}`;
  if (!built) return id;
  const params = Object.entries(built.params).map(([name, value]) => `${name} ${String(value)}`);
  return [built.template_name, built.language, ...params].join(' · ');
}

function headline(error: EdgeproveError): string {
  switch (error.code) {
    case 'unreachable':
      return 'The server cannot be reached.';
    case 'witness_unsatisfied':
      return 'These inputs do not satisfy the circuit.';
    case 'invalid_inputs':
      return 'The inputs do not fit the circuit.';
    default:
      return error.retryable ? 'It did not work this time.' : 'It cannot be proved.';
  }
}
