// A proof: verification, files, and the call of its verifier contract.

import { EdgeproveError, forSnarkjs, fromHex, proofHex } from '@edgeprove/client';
import type { Circuit, Prover, ProofResult } from '@edgeprove/client';

import { copyButton } from '../copy.js';
import { el, fill, icon } from '../dom.js';
import { duration, shortened, size } from '../format.js';
import { sentence } from './lane.js';
import { tabs } from './tabs.js';
import { toJson } from './types.js';

/** Longest text that is shown as a whole, in characters. */
const SHOWN_MAX = 4000;

/** What the card needs. */
export interface ProofContext {
  /** Calls the server. */
  prover: Prover;
  /** Verifies here, where that is set up. */
  local: Prover | undefined;
  circuit: Circuit;
  announce(text: string): void;
}

/** The card of a proof. */
export function proofCard(result: ProofResult, context: ProofContext): HTMLElement {
  const { circuit } = context;
  const by = result.provedBy === 'server' ? 'the server' : 'this browser';
  const state = result.verified ? el('span', { class: 'tag good' }, 'verified by the server') : el('span', { class: 'tag' }, 'not verified yet');
  const onVerdict = (isValid: boolean): void => {
    state.className = isValid ? 'tag good' : 'tag bad';
    state.textContent = isValid ? 'verified' : 'not valid';
  };
  const facts: [string, HTMLElement | string][] = [
    ['Circuit', el('code', { title: result.circuit }, shortened(result.circuit, 20, 6))],
    ['Target', el('code', {}, result.target)],
    ['Made by', by],
    ['Size', size(result.proof.length)],
    ['VK hash', el('code', { title: result.vkHash }, shortened(result.vkHash))],
  ];
  if (result.requestId !== undefined) facts.push(['Request', el('code', { title: result.requestId }, shortened(result.requestId, 8, 4))]);
  return el('section', { class: 'card proof', 'aria-label': `Proof by ${by}` },
    el('div', { class: 'row' },
      el('h2', {}, `Proof by ${by}`),
      state),
    el('dl', { class: 'facts' }, facts.map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, value)))),
    verification(result, context, onVerdict),
    tabs(`Parts of the proof by ${by}`, [
      { title: 'Proof', content: () => proofPart(result) },
      { title: 'Public inputs', content: () => publicInputs(result) },
      { title: 'Calldata', content: () => calldata(result) },
      { title: 'Verification key', content: () => keyPart(result, circuit, context) },
    ]));
}

/** Buttons that verify, and what they found. */
function verification(
  result: ProofResult,
  { prover, local, circuit, announce }: ProofContext,
  onVerdict: (isValid: boolean) => void,
): HTMLElement {
  const verdict = el('p', { class: 'verdict', role: 'status' });
  const ways: { label: string; run: () => Promise<boolean> }[] = [];
  if (local && result.target !== 'groth16') {
    ways.push({ label: 'Verify here', run: async () => {
      const { bytes } = await prover.circuits.vk(circuit.id, { target: result.target });
      return await local.verify(result, { on: 'local', vk: bytes });
    } });
  }
  ways.push({ label: 'Verify at the server', run: async () => await prover.verify(result, { on: 'server' }) });
  if (circuit.verifier?.gas && result.target !== 'noir-recursive') {
    ways.push({ label: 'Verify in the contract', run: async () => await prover.verify(result, { on: 'evm' }) });
  }
  const buttons = ways.map(({ label, run }) => el('button', { type: 'button', class: 'small', onclick: async () => {
    for (const button of buttons) button.disabled = true;
    verdict.dataset['verdict'] = 'running';
    verdict.textContent = `${label} …`;
    const started = performance.now();
    try {
      const isValid = await run();
      onVerdict(isValid);
      verdict.dataset['verdict'] = isValid ? 'valid' : 'invalid';
      const text = `${isValid ? 'Valid' : 'Not valid'}, in ${duration(performance.now() - started)}`;
      fill(verdict, icon(...(isValid ? ['M5 13l4 4L19 7'] : ['M6 6l12 12M18 6L6 18'])), `${label}: ${text}`);
    } catch (error) {
      verdict.dataset['verdict'] = 'failed';
      verdict.textContent = error instanceof EdgeproveError ? `${label}: ${sentence(error.detail)}` : `${label} failed.`;
    }
    announce(verdict.textContent ?? '');
    for (const button of buttons) button.disabled = false;
  } }, label));
  return el('div', { class: 'verify' }, el('div', { class: 'buttons' }, buttons), verdict);
}

function proofPart(result: ProofResult): HTMLElement {
  if (result.groth16) {
    const text = toJson(forSnarkjs(result).proof, 2);
    return part(text, 'the proof', [download('proof.json', () => new Blob([text], { type: 'application/json' }))]);
  }
  const hex = proofHex(result);
  return part(hex, 'the proof', [download('proof', () => new Blob([result.proof as Uint8Array<ArrayBuffer>]))]);
}

function publicInputs(result: ProofResult): HTMLElement {
  if (result.groth16) {
    const text = toJson(forSnarkjs(result).publicSignals, 2);
    return part(text, 'the public inputs', [download('public.json', () => new Blob([text], { type: 'application/json' }))]);
  }
  if (result.publicInputs.length === 0) return el('p', { class: 'note' }, 'The circuit has no public inputs.');
  return part(toJson(result.publicInputs, 2), 'the public inputs', [
    download('public_inputs', () => new Blob(result.publicInputs.map((field) => fromHex(field)))),
  ]);
}

function calldata(result: ProofResult): HTMLElement {
  if (result.target === 'noir-recursive') {
    return el('p', { class: 'note' }, 'No contract verifies proofs of this target. Prove for the target evm.');
  }
  const data = result.calldata;
  if (data === undefined) return el('p', { class: 'note' }, 'The server makes the call of the contract for proofs that it made.');
  return part(data, 'the calldata', [download('calldata.txt', () => new Blob([data], { type: 'text/plain' }))]);
}

function keyPart(result: ProofResult, circuit: Circuit, { prover }: ProofContext): HTMLElement {
  const name = result.target === 'groth16' ? 'verification_key.json' : 'vk';
  return el('div', { class: 'part' },
    el('p', { class: 'note' }, 'A verifier compares the hash of the key with the one that it trusts.'),
    el('pre', { tabindex: 0, role: 'region', 'aria-label': 'the hash of the key' }, result.vkHash),
    el('div', { class: 'buttons' }, copyButton('Copy the hash of the key', () => result.vkHash),
      download(name, async () => new Blob([(await prover.circuits.vk(circuit.id, { target: result.target })).bytes]))));
}

/** A text with what can be done with it. */
function part(text: string, what: string, buttons: HTMLElement[]): HTMLElement {
  const shown = text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}…` : text;
  return el('div', { class: 'part' },
    el('pre', { tabindex: 0, role: 'region', 'aria-label': what }, shown),
    el('div', { class: 'buttons' }, copyButton(`Copy ${what}`, () => text), buttons));
}

/** A button that stores a file. */
function download(name: string, content: () => Blob | Promise<Blob>): HTMLElement {
  return el('button', { type: 'button', class: 'quiet small', onclick: async (event: Event) => {
    const button = event.currentTarget as HTMLButtonElement;
    button.disabled = true;
    try {
      const url = URL.createObjectURL(await content());
      el('a', { href: url, download: name }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10_000);
    } catch {
      button.title = 'It cannot be loaded now.';
    } finally {
      button.disabled = false;
    }
  } }, icon('M12 4v11', 'M7 11l5 5 5-5', 'M5 20h14'), name);
}
