// @edgeprove/client: zero-knowledge proofs for pages and back ends, made by an Edgeprove server or in the page.
//
// Read prover.ts first; then remote.ts (a proof by a server), engine.ts (a proof here), jobs.ts and http.ts.

export { createProver, Prover } from './prover.js';
export type { ProveOptions, VerifiableProof, VerifyOptions, WarmReport } from './prover.js';
export type { LocalOptions, Mode, ProverOptions } from './options.js';
export type { RetryOptions } from './http.js';
export { EdgeproveError } from './errors.js';
export type { ClientErrorCode, EdgeproveErrorInit } from './errors.js';
export type { Inputs, InputValue, ProofInputs } from './inputs.js';
export type { CircuitReference, CompiledProgram } from './program.js';
export type { ProofProgress, ProofResult, ProofTimings } from './result.js';
export type { FollowOptions, JobEvent, Jobs, SubmitOptions } from './jobs.js';
export type { CallOptions, CircuitRequest, Circuits, VerificationKey } from './circuits.js';
export type { VoucherRequest, Vouchers, VoucherSource } from './vouchers.js';
export type { IdStorage } from './resume.js';
export type { SealOption } from './sealer.js';
export type { WorkerOption } from './worker-engine.js';
export { contractArguments, forBbJs, forSnarkjs, proofAsFields, proofHex } from './shapes.js';
export type { Groth16Arguments, HonkArguments, ProofParts } from './shapes.js';
export { fromHex, toHex } from './bytes.js';
export { BB_VERSION, NOIR_VERSION } from './versions.js';
export type * from './wire.js';
