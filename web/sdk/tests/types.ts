// Compiled by `npm run types`, never run: what callers may write, and what the compiler must refuse.

import { contractArguments, createProver, EdgeproveError } from '../src/index.js';
import type { Hex, ProofResult, Prover } from '../src/index.js';

declare const controller: AbortController;

export async function accepted(): Promise<Hex[]> {
  const prover: Prover = createProver({ url: 'https://prover.example', apiKey: 'key', mode: 'auto', retry: { attempts: 2 }, timeout: 1 });
  const result: ProofResult = await prover.prove('range_check', { value: 42n, list: [1, { a: true }] }, {
    signal: controller.signal, onProgress: ({ stage, percent }) => console.log(stage, percent), priority: 'HIGH', target: 'evm', deadline: 1,
  });
  await prover.prove({ id: 'range_check', program: new URL('https://page.example/a.json') }, new Uint8Array());
  await prover.verify(result, { on: 'server', signal: undefined });
  for await (const { job } of prover.jobs.events('id')) console.log(job.queue_position?.toFixed());
  createProver({ voucher: async () => (await prover.vouchers.create({ circuit: ['a'], uses: 2, priority: 'LOW' })).voucher });
  contractArguments(result);
  return result.publicInputs;
}

export function narrowed(error: unknown): number | undefined {
  if (error instanceof EdgeproveError && error.code === 'timeout' && error.retryable) return error.retryAfterMs;
  return undefined;
}

// @ts-expect-error: a mode that does not exist
createProver({ mode: 'sometimes' });
// @ts-expect-error: an option that does not exist
createProver({ vouchers: 'x' });
// @ts-expect-error: no input is null
void createProver().prove('range_check', { value: null });
// @ts-expect-error: a target that does not exist
void createProver().prove('range_check', {}, { target: 'starknet' });
// @ts-expect-error: a job is found by its id
void createProver().jobs.get(7);
