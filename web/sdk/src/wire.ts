// The documents of the HTTP API, as docs/API.md and docs/API-CIRCUITS.md describe them. Tests compare them with the
// answers of a real server. A newer server may add members.

/** Hexadecimal digits after `0x`. */
export type Hex = `0x${string}`;

/** What a proof is for: bb, bb.js and Noir; a Solidity verifier of bb; snarkjs and its Solidity verifier. */
export type Target = 'noir-recursive' | 'evm' | 'groth16';

/** How urgent a proof is. Which ones a caller may use depends on its key. */
export type Priority = 'LOW' | 'NORMAL' | 'HIGH' | 'CRITICAL';

/** The state of a job. The last four are final. */
export type JobStatus = 'queued' | 'running' | 'completed' | 'failed' | 'cancelled' | 'expired';

/** The stage of a job. */
export type JobStage = 'queued' | 'loading' | 'proving' | 'verifying' | 'done';

/** A failure, as the server describes it (RFC 9457). */
export interface ProblemDocument {
  type: string;
  title: string;
  status: number;
  detail: string;
  /** The same as `title`. */
  error: string;
  /** The same as `detail`. */
  message: string;
  /** The stable code: docs/ERRORS.md lists them. */
  code: string;
  retryable: boolean;
  severity?: 'notice' | 'warning' | 'error' | 'critical';
  fallback_circuit?: string;
  field?: string;
  request_id?: string;
}

/** A part of the time of a job, for a waterfall. */
export interface StageTime {
  stage: 'upload' | 'witness' | 'queue' | 'load' | 'prove' | 'verify';
  started_at: string;
  /** `null` while it lasts. */
  duration_ms: number | null;
}

/** A job. Times are RFC 3339 in UTC. */
export interface JobDocument {
  id: string;
  /** Lists for operators and observers also have `build` and `deploy`. */
  kind: string;
  /** In lists for operators and observers: whose job it is. */
  owner?: string;
  status: JobStatus;
  stage: JobStage;
  /** How much is done, in percent. It falls when another attempt starts. */
  progress: number;
  /** 1 for the next job; `null` once it has started. */
  queue_position: number | null;
  /** Expected time until it finishes, in milliseconds; `null` where nothing is known. */
  estimated_remaining_ms: number | null;
  /** Confidence of the estimate, from 0 to 1. */
  confidence: number | null;
  /** The circuit that was requested. */
  circuit: string;
  /** Missing for other kinds than `prove`. */
  target?: Target;
  /** The smaller circuit of the family that was proved instead. */
  fallback_circuit?: string;
  priority: Priority;
  attempts: number;
  max_attempts: number;
  /** The longest time for the proof, in milliseconds, where the request had one. */
  timeout_ms?: number;
  /** Why it failed, or why its last attempt did. */
  error: ProblemDocument | null;
  created_at: string;
  started_at: string | null;
  finished_at: string | null;
  /** When its result is deleted. */
  expires_at: string | null;
  /** In lists for operators and observers: until when an operator may queue the failed job again. */
  retry_until?: string;
  /** The receipt of its proof. Lists and events do not have it. */
  receipt?: string;
  /** What its proof has taken, once it has completed. */
  cost?: Cost;
  /** What took how long, in the order of time. */
  stages: StageTime[];
  /** Paths at the server. The one to the events may have a token, with which a page without a key reads this job. */
  links: { self: string; proof: string; events: string };
}

/** A voucher for a page. */
export interface NewVoucher {
  /** The token. */
  voucher: string;
  /** Its id in the audit log of the server. */
  id: string;
  circuits: string[];
  uses: number;
  expires: string;
  priority: Priority;
  origin?: string;
  subject?: string;
}

/** A page of jobs, the latest first. */
export interface JobPage {
  jobs: JobDocument[];
  /** The path of the next page; `null` on the last one. */
  next: string | null;
  /** The number of jobs on all pages, where the request asks for it. */
  total?: number;
}

/** Durations at the server, in milliseconds. */
export interface ServerTimings {
  upload_ms: number;
  queue_ms: number;
  prove_ms: number;
  verify_ms: number;
  total_ms: number;
}

/** A proof of Groth16, as snarkjs writes it. */
export interface Groth16Proof {
  pi_a: string[];
  pi_b: string[][];
  pi_c: string[];
  protocol: string;
  curve: string;
}

/** What a proof has taken at the machine that proved it. */
export interface Cost {
  /** Cores, times seconds. */
  vcpu_seconds: number;
  /** GiB of memory, times seconds. */
  gib_seconds: number;
}

/** The answer with a proof. */
export interface ProofAnswer {
  success: true;
  /** Base64; for Groth16 the object of snarkjs. */
  proof: string | Groth16Proof;
  /** For Groth16: the public inputs in decimal digits. */
  publicSignals?: string[];
  proof_hash: Hex;
  public_inputs: Hex[];
  circuit: string;
  target: Target;
  vk_hash: Hex;
  verified: boolean;
  cached: boolean;
  fallback_from?: string;
  /** What the server states of the proof, signed by it. */
  receipt?: string;
  /** For the targets `evm` and `groth16`: the call of the verifier contract. */
  calldata?: Hex;
  cost: Cost;
  timings: ServerTimings;
  request_id: string;
}

/** The call that verifies a proof in its verifier contract. */
export interface Calldata {
  function: string;
  calldata: Hex;
  circuit: string;
  target: Target;
}

/** A file of a stored circuit. */
export interface CircuitFile {
  name: string;
  bytes: number;
  /** 64 hexadecimal digits. */
  sha256: string;
  path: string;
}

/** The verifier contract of a circuit that was built. */
export interface CircuitVerifier {
  flavor: string;
  audited: boolean;
  gas: { deploy: number; verify: number } | null;
  error?: string;
}

/** An input of a circuit, with its type as in the ABI of Noir. */
export interface CircuitInput {
  name: string;
  type: { kind: string; [member: string]: unknown };
  visibility: 'private' | 'public' | 'databus';
}

/** A deployment of a verifier contract. */
export interface Deployment {
  circuit: string;
  chain_id: number;
  deployer: string;
  status: 'pending' | 'deployed' | 'failed';
  address?: string;
  contracts: { name: string; address: string; transaction: string; block: number; gas_used: number }[];
  deployed_at?: string;
  job_id?: string;
  error?: ProblemDocument;
}

/** One circuit of the list. Sizes and keys are `null` until the circuit is loaded. */
export interface CircuitEntry {
  id: string;
  status: 'pending' | 'loading' | 'ready' | 'failed';
  /** The target where a request names none. */
  target: Target;
  targets: Target[];
  gates: number | null;
  circuit_size: number | null;
  vk_hash: Hex | null;
  /** The path of its verification key. */
  vk: string | null;
  origin: 'configured' | 'built' | 'uploaded';
  verifier?: CircuitVerifier;
  /** What it was built from. */
  built?: {
    template_name: string;
    language: 'noir' | 'circom';
    params: Record<string, unknown>;
    hash?: string;
    trust?: string;
    /** How the keys of a circom circuit were made; `powers` is `null` where the server made them without any. */
    setup?: { powers: PowersOfTau | null };
    published_at?: string;
    artifacts?: CircuitFile[];
  };
  uploaded?: {
    name: string;
    language: 'noir' | 'circom';
    hash: string;
    trust?: string;
    sample_proved: boolean;
    published_at: string;
    artifacts: CircuitFile[];
  };
  /** Why its last build failed. */
  error?: ProblemDocument;
  /** How far its build is. */
  build?: BuildProgress;
}

/** How far the build of a circuit is. */
export interface BuildProgress {
  status: JobStatus;
  /** `queued`, `compiling`, `making_keys`, `checking`, `publishing` or `done`. */
  stage: string;
  /** In percent. */
  progress: number;
  /** 1 for the next job; `null` once it has started. */
  queue_position: number | null;
  estimated_remaining_ms: number | null;
  attempts: number;
  max_attempts: number;
  /** RFC 3339, UTC. */
  created_at: string;
  started_at: string | null;
  /** The path of its events. */
  events: string;
}

/** Powers of tau, from which keys of circom circuits are made. */
export interface PowersOfTau {
  origin: 'ceremony' | 'local';
  /** BLAKE2b-512 of the file, as `b2sum` prints it. */
  digest: string;
  power: number;
}

/** A circuit with its inputs. */
export interface Circuit extends CircuitEntry {
  /** `null` where its files do not name them, as for circom. */
  inputs: CircuitInput[] | null;
  /** Inputs that satisfy the circuit, where the server has some for everybody. */
  sample?: Record<string, unknown>;
  /** The path of its program, where everybody may have it. */
  program?: string;
  deployments?: Deployment[];
}

/** A page of circuits. */
export interface CircuitPage {
  circuits: CircuitEntry[];
  /** The path of the next page. */
  next?: string;
}

/** A template of the list. */
export interface TemplateEntry {
  name: string;
  languages: ('noir' | 'circom')[];
  proves: string;
  template: string;
}

/** A template: docs/TEMPLATES.md describes its members. */
export interface Template {
  name: string;
  languages: ('noir' | 'circom')[];
  proves: string;
  parameters: Record<string, unknown>;
  checks: Record<string, unknown>[];
  public_in: Record<string, string>;
  family?: string;
  public_inputs: { name: string; description: string }[];
  private_inputs: { name: string; description: string }[];
  sample: {
    parameters: Record<string, unknown>;
    accepted: { name: string; inputs: Record<string, unknown> }[];
    refused: { name: string; inputs: Record<string, unknown> }[];
  };
  sizes: Record<string, Record<string, number>>;
}

/** The answer of a verification at the server. */
export interface Verdict {
  valid: boolean;
  verifiedBy: 'bb' | 'groth16' | 'evm' | (string & {});
}

/** What a client needs to know of a service before its first request. */
export interface ServiceDocument {
  versions: { edgeprove: string; bb: string; noir: string };
  limits: {
    upload_max_bytes: number;
    decompressed_max_bytes: number;
    inputs_max_bytes: number;
    prove_timeout_ms: number;
    request_timeout_ms: number;
    job_attempts_max: number;
  };
  /** The keys for which a client may seal what it sends, the best one first. */
  sealing: { keys: SealingKey[] };
  /** The keys with which receipts are verified, the one that signs now first: a JWK Set (RFC 7517). */
  receipts: {
    keys: ReceiptKey[];
    /** Whether they outlive the server. */
    lasting: boolean;
  };
  /** The time at the server, RFC 3339 in UTC. */
  timestamp: string;
}

/** A public key of receipts: a JWK of Ed25519 (RFC 8037). Times are RFC 3339 in UTC. */
export interface ReceiptKey {
  kty: 'OKP' | (string & {});
  crv: 'Ed25519' | (string & {});
  /** The bytes of the key in base64url. */
  x: string;
  /** Its thumbprint (RFC 7638). */
  kid: string;
  alg: string;
  use: string;
  not_before: string;
  /** It signs no more from then on. What it signed before remains valid. */
  expires_at: string;
}

/** What a server states of one proof: docs/RECEIPTS.md. Times are RFC 3339 in UTC. */
export interface Receipt {
  /** When it was signed, in seconds since 1970. */
  iat: number;
  request_id: string;
  circuit: string;
  fallback_from?: string;
  proof_system: 'ultra-honk' | 'groth16' | (string & {});
  target: Target;
  vk_hash: Hex;
  /** SHA-256 of the bytes of the verification key. */
  vk_sha256: Hex;
  /** The program that made the proof. */
  backend: { name: 'bb' | 'groth16' | (string & {}); version: string };
  proof_hash: Hex;
  /** SHA-256 of the public inputs, as 32-byte fields one after the other. */
  public_inputs_hash: Hex;
  verified: boolean;
  cached: boolean;
  accepted_at: string;
  started_at: string;
  finished_at: string;
  /** Whether the witness or the inputs came sealed. */
  sealed: boolean;
  /** Whether the server observed that it wiped the witness in its spool. */
  spool_wiped: boolean;
  /** The last entry of the audit log: its number, a colon and its hash. */
  audit_head?: string;
  /** `id` is new with each start: the end of the server's name in its audit log. */
  server: { id: string; version: string };
}

/** A public key for which a client may seal. Times are RFC 3339 in UTC. */
export interface SealingKey {
  /** 16 hexadecimal digits. */
  id: string;
  /** The suite of HPKE (RFC 9180), by the numbers of IANA. */
  suite: { kem: number; kdf: number; aead: number };
  /** Base64. */
  public_key: string;
  not_before: string;
  /** The server refuses the key from then on. */
  expires_at: string;
  /** Evidence of the program that has the private key. */
  attestation: { kind: 'none' | (string & {}) };
}

/** The state of a server. */
export interface Health {
  status: 'ok' | 'degraded' | 'unhealthy';
  problems: string[];
  architecture: string;
  version: string;
  bb: { available: boolean; version: string; binary_arch: string };
  bb_version: string;
  bb_crs_files: string;
  crs: { points: number };
  roles: string[];
  built_circuits: number;
  powers?: PowersOfTau;
  noir_version: string;
  verify: boolean;
  prover: {
    mode: string;
    cores: number;
    running: number;
    waiting: number;
    waiting_max: number;
    memory_max_bytes: number | null;
    memory_reserved_bytes: number;
    proofs: number;
    restarts: number;
  };
  circuits: {
    id: string;
    status: CircuitEntry['status'];
    target: Target;
    gates: number | null;
    circuit_size: number | null;
    memory_peak_bytes: number | null;
    vk_hash: Hex | null;
    error?: string;
  }[];
  jobs: { enabled: boolean; error?: string; queued: number; running: number };
  uptime_s: number;
  timestamp: string;
}
