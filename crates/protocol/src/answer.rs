//! Bodies of successful answers: a proof as JSON, and the health document.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{CircuitId, JobId, JobStatus, Priority, Problem, Target};

/// Media type of an answer that is the proof's bytes.
pub const PROOF_MEDIA_TYPE: &str = "application/octet-stream";

/// Media type of an answer with the files `proof`, `public_inputs` and `vk`, as bb writes them; for Groth16 `proof.json`,
/// `public.json` and `verification_key.json`, as snarkjs writes them.
pub const TAR_MEDIA_TYPE: &str = "application/x-tar";

/// A proof as JSON, for callers that accept `application/json`. `P` is the form of the proof itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "ProofAnswer"))]
pub struct ProofAnswer<P = String> {
    /// Always `true`; a failure is a [`crate::Problem`] instead.
    pub success: bool,
    /// The proof: its bytes in base64 with padding, a whole number of 32-byte fields. For Groth16, the object that snarkjs
    /// writes to `proof.json`.
    pub proof: P,
    /// For Groth16, the public inputs as snarkjs has them: decimal digits.
    #[serde(rename = "publicSignals", skip_serializing_if = "Option::is_none", default)]
    pub public_signals: Option<Vec<String>>,
    /// SHA-256 of the proof's bytes: `0x` and 64 hexadecimal digits, as in `X-Proof-Hash`. Empty from a server that did
    /// not report it yet.
    #[serde(default)]
    pub proof_hash: String,
    /// The public inputs as `0x`-prefixed 32-byte big-endian fields, in the circuit's order.
    pub public_inputs: Vec<String>,
    /// The circuit that was proved.
    pub circuit: CircuitId,
    /// The verifier that the proof is for.
    pub target: Target,
    /// Hash of the verification key, as bb computes it; for Groth16, the SHA-256 of `verification_key.json`. `0x` and 64
    /// hexadecimal digits, as in `X-Vk-Hash`.
    pub vk_hash: String,
    /// Whether the server verified the proof before it answered.
    pub verified: bool,
    /// Whether the proof came from the proof cache.
    #[serde(default)]
    pub cached: bool,
    /// The circuit that the request named, where a smaller circuit of its family was proved instead because the machine
    /// had too little memory or time.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fallback_from: Option<CircuitId>,
    /// What the server states of the proof, signed by it: a compact JWS of a [`crate::receipt::Receipt`]. `None` where the
    /// server signs no receipts.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub receipt: Option<String>,
    /// For the targets `evm` and `groth16`: the calldata of the call that verifies the proof in its verifier contract, as
    /// `/v1/proofs/{id}/calldata` has it. `0x` and hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub calldata: Option<String>,
    /// What it has taken: zero for a proof from the proof cache.
    #[serde(default)]
    pub cost: Cost,
    /// Duration of each stage.
    pub timings: Timings,
    /// The request's id, as in the server's log.
    pub request_id: String,
}

/// What a proof has taken at the machine that proved it: for proving and verifying, not for waiting. Platforms that bill by time
/// bill for the same quantities.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Cost {
    /// Cores that the proof had, times seconds.
    pub vcpu_seconds: f64,
    /// GiB of memory that were reserved for the proof, times seconds.
    pub gib_seconds: f64,
}

impl Cost {
    /// The cost of work with so many cores and bytes, in millionths.
    #[must_use]
    pub fn of(seconds: f64, cores: f64, memory_bytes: f64) -> Self {
        let millionths = |value: f64| (value * 1e6).round() / 1e6;
        let gib = memory_bytes / f64::from(1 << 30);
        Self { vcpu_seconds: millionths(seconds * cores), gib_seconds: millionths(seconds * gib) }
    }
}

/// Duration of each stage of a request, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Timings {
    /// From the request's head to the end of the witness checks.
    pub upload_ms: f64,
    /// The wait for a prover.
    pub queue_ms: f64,
    /// Proving.
    pub prove_ms: f64,
    /// Verifying the proof.
    pub verify_ms: f64,
    /// The whole request.
    pub total_ms: f64,
}

impl Timings {
    /// Each stage with its name in `Server-Timing` and in metrics, in milliseconds.
    #[must_use]
    pub fn stages(&self) -> [(&'static str, f64); 5] {
        [
            ("upload", self.upload_ms),
            ("queue", self.queue_ms),
            ("prove", self.prove_ms),
            ("verify", self.verify_ms),
            ("total", self.total_ms),
        ]
    }
}

/// `GET /v1/circuits`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CircuitList {
    /// The circuits, by name: the configured ones, then those that were built or uploaded.
    pub circuits: Vec<CircuitEntry>,
    /// The path of the next page; `None` on the last one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}

/// A new voucher: the body of `POST /v1/vouchers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NewVoucher {
    /// The token, for the page.
    pub voucher: String,
    /// Its id, as in the audit log.
    pub id: String,
    /// The circuits that may be proved with it.
    pub circuits: Vec<CircuitId>,
    /// How many jobs or proofs are accepted.
    pub uses: u32,
    /// When it expires.
    pub expires: String,
    /// The highest priority of its proofs.
    pub priority: Priority,
    /// The origin of the pages that may use it; `None`: any.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub origin: Option<String>,
    /// The user of the page, as the back end names it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub subject: Option<String>,
}

/// One circuit of `GET /v1/circuits`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CircuitEntry {
    /// Its name.
    pub id: CircuitId,
    /// Whether proofs of it can be made now.
    pub status: CircuitStatus,
    /// The target of its proofs where a request names none.
    pub target: Target,
    /// The targets that its proofs can have. Empty until loaded.
    pub targets: Vec<Target>,
    /// Its gates; `None` until loaded.
    pub gates: Option<u64>,
    /// Its circuit size: the dyadic size, a power of two. `None` until loaded.
    pub circuit_size: Option<u64>,
    /// Hash of its verification key, `0x` and 64 hexadecimal digits; `None` until loaded.
    pub vk_hash: Option<String>,
    /// The path of its verification key; `None` until loaded.
    pub vk: Option<String>,
    /// Where it comes from.
    #[serde(default)]
    pub origin: CircuitOrigin,
    /// Its verifier contract; `None` for circuits that were not built, and for those that are not built yet.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub verifier: Option<CircuitVerifier>,
    /// What it was built from; `None` for other circuits.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub built: Option<BuiltFrom>,
    /// What was uploaded; `None` for other circuits.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub uploaded: Option<UploadedCircuit>,
    /// Why its last build failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<Problem>,
    /// How far its build is; `None` for a circuit that is not being built.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub build: Option<BuildProgress>,
}

/// How far the build of a circuit is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BuildProgress {
    /// The state of its job.
    pub status: JobStatus,
    /// The stage: `queued`, `compiling`, `making_keys`, `checking`, `publishing` or `done`.
    pub stage: String,
    /// How much is done, in percent. It falls when another attempt starts.
    pub progress: u8,
    /// Its position in the queue, 1 for the next job; `None` once it has started.
    pub queue_position: Option<u64>,
    /// Expected time until it finishes, in milliseconds; `None` where there is no experience with such builds, or it has
    /// finished.
    pub estimated_remaining_ms: Option<u64>,
    /// Attempts so far, a running one included.
    pub attempts: u32,
    /// Maximum number of attempts.
    pub max_attempts: u32,
    /// When it was accepted: RFC 3339, UTC, milliseconds.
    pub created_at: String,
    /// When the last attempt started.
    pub started_at: Option<String>,
    /// The path of its events, as server-sent events or over a WebSocket.
    pub events: String,
}

/// A deployment of the contracts of a circuit: the answer of `POST /v1/circuits/{circuit}/deploy`, and a member of
/// `deployments` in that of `GET /v1/circuits/{circuit}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeploymentEntry {
    /// The circuit.
    pub circuit: CircuitId,
    /// The chain.
    pub chain_id: u64,
    /// The address of the account that deploys.
    pub deployer: String,
    /// How far it is.
    pub status: DeploymentStatus,
    /// The address of the verifier; `None` until deployed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<String>,
    /// The contracts, the libraries first, as far as they are on the chain.
    pub contracts: Vec<DeployedContract>,
    /// When the last contract was there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deployed_at: Option<String>,
    /// The latest job; `None` once it is forgotten.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub job_id: Option<JobId>,
    /// Why the latest job failed. For operators only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<Problem>,
}

/// The status of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum DeploymentStatus {
    /// It runs, or waits for that.
    Pending,
    /// All contracts are on the chain.
    Deployed,
    /// It did not end. The same request continues it.
    Failed,
}

/// A contract on a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeployedContract {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// The transaction that created it.
    pub transaction: String,
    /// The number of the block.
    pub block: u64,
    /// The gas that was used.
    pub gas_used: u64,
}

/// Where a circuit comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum CircuitOrigin {
    /// The settings of the server name it.
    #[default]
    Configured,
    /// The server built it from a template.
    Built,
    /// An operator uploaded it.
    Uploaded,
}

/// An uploaded circuit, and its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UploadedCircuit {
    /// The name that its operator gave it. The id has a part of the hash too.
    pub name: String,
    /// Its language: `noir` or `circom`.
    pub language: String,
    /// SHA-256 over the name and the digests of the uploaded files, 64 hexadecimal digits.
    pub hash: String,
    /// Who must be trusted that nobody can prove false statements with its keys, as its operator declared: `ceremony`,
    /// `local` or `unknown`. The server cannot check it. `None` where keys need no setup of their own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trust: Option<String>,
    /// Whether a sample was proved and its proof verified before the circuit was published.
    pub sample_proved: bool,
    /// When it was published.
    pub published_at: String,
    /// Its files.
    pub artifacts: Vec<CircuitFile>,
}

/// The verifier contract of a circuit that was built. Its files are `verifier.sol` and `verifier.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CircuitVerifier {
    /// Its kind: `groth16` or `honk-zk`.
    pub flavor: String,
    /// Whether a report on an audit of the contract is published.
    pub audited: bool,
    /// The gas that it takes; `None` where it cannot be deployed.
    pub gas: Option<ContractGas>,
    /// Why it cannot be deployed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

/// The gas of transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ContractGas {
    /// Of those that deploy the verifier and its libraries.
    pub deploy: u64,
    /// Of one that verifies the proof of a sample and does nothing else.
    pub verify: u64,
}

/// The answer of `POST /v1/verify/{circuit}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Whether the proof is valid for these public inputs.
    pub valid: bool,
    /// What verified it: `bb`, `groth16`, or `evm` for the verifier contract.
    pub verified_by: String,
}

/// The answer of `GET /v1/proofs/{id}/calldata`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Calldata {
    /// The function of the verifier contract, with the types of its parameters.
    pub function: String,
    /// The calldata: `0x` and hexadecimal digits.
    pub calldata: String,
    /// The circuit that was proved.
    pub circuit: CircuitId,
    /// The verifier that the proof is for.
    pub target: Target,
}

/// What a circuit was built from, and its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BuiltFrom {
    /// The name of its template.
    pub template_name: String,
    /// The language of the template: `noir` or `circom`.
    pub language: String,
    /// The values of all parameters.
    pub params: Map<String, Value>,
    /// The hash of its identity, 64 hexadecimal digits; `None` while it is built.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hash: Option<String>,
    /// Who must be trusted that nobody can prove false statements with its keys: `local` is this server. `None` where keys
    /// need no setup of their own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trust: Option<String>,
    /// How its keys were made. `None` where keys need no setup of their own, and where an earlier version built the circuit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub setup: Option<CircuitSetup>,
    /// When it was published.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub published_at: Option<String>,
    /// Its files.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub artifacts: Vec<CircuitFile>,
}

/// How the keys of a circuit were made. The second phase, for each circuit alone, is always that of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CircuitSetup {
    /// The first phase, which circuits share. `None`: the server made it for this circuit.
    pub powers: Option<PowersOfTau>,
}

/// Powers of tau, from which keys are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PowersOfTau {
    /// `ceremony` where the Hermez ceremony published the file, otherwise `local`.
    pub origin: String,
    /// BLAKE2b-512 of the file, as `b2sum` prints it: 128 hexadecimal digits.
    pub digest: String,
    /// The power of two of the constraints and public signals that a circuit may have.
    pub power: u32,
}

/// One file of a circuit that was built or uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CircuitFile {
    /// Its name.
    pub name: String,
    /// Its size, in bytes.
    pub bytes: u64,
    /// SHA-256, 64 hexadecimal digits.
    pub sha256: String,
    /// Its path.
    pub path: String,
}

/// `GET /api/health`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Health {
    /// Whether the service can prove.
    pub status: HealthStatus,
    /// Why the service cannot prove, or cannot prove all its circuits. Empty when `status` is `ok`.
    pub problems: Vec<String>,
    /// The machine's architecture, as Rust names it, such as `x86_64`.
    pub architecture: String,
    /// Edgeprove's own version.
    pub version: String,
    /// The prover program.
    pub bb: BbHealth,
    /// The same as `bb.version`.
    pub bb_version: String,
    /// The names of the files in the CRS folder, one per line.
    pub bb_crs_files: String,
    /// The common reference string.
    pub crs: CrsHealth,
    /// What the server does with jobs: `prover`, `builder` or both. Empty from a server that did not report it yet.
    #[serde(default)]
    pub roles: Vec<String>,
    /// The number of circuits that were built from templates or uploaded.
    #[serde(default)]
    pub built_circuits: u64,
    /// The powers of tau from which keys of circom circuits are made. `None`: this server makes keys without any.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub powers: Option<PowersOfTau>,
    /// The Noir release whose compiled circuits this server accepts.
    pub noir_version: String,
    /// Whether each proof is verified before it is returned.
    pub verify: bool,
    /// The provers now.
    pub prover: ProverHealth,
    /// Every circuit that the server was started with.
    pub circuits: Vec<CircuitHealth>,
    /// The job queue.
    pub jobs: JobsHealth,
    /// Seconds since the process started.
    pub uptime_s: u64,
    /// When this document was written: RFC 3339, UTC, milliseconds.
    pub timestamp: String,
}

/// Whether the service can prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Everything works.
    Ok,
    /// Something needs an operator, such as a circuit that failed to load. Other circuits can be proved.
    Degraded,
    /// Nothing can be proved.
    Unhealthy,
}

/// The prover program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BbHealth {
    /// Whether a proof could start now.
    pub available: bool,
    /// What `bb --version` prints.
    pub version: String,
    /// The architecture of the executable, read from its header.
    pub binary_arch: String,
}

/// The common reference string.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CrsHealth {
    /// Number of G1 points. A circuit of size 2^k needs 2^k, and at least 512.
    pub points: u64,
}

/// The provers now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProverHealth {
    /// `warm` or `process`.
    pub mode: String,
    /// Cores that proofs may use.
    pub cores: usize,
    /// Proofs that are running.
    pub running: usize,
    /// Requests that wait for a prover.
    pub waiting: usize,
    /// Maximum number of waiting requests.
    pub waiting_max: usize,
    /// Memory that all provers together may use, in bytes; `None` where there is no limit.
    #[serde(default)]
    pub memory_max_bytes: Option<u64>,
    /// Memory reserved for the running proofs, in bytes: the expected peak of each.
    #[serde(default)]
    pub memory_reserved_bytes: u64,
    /// Proofs since the start.
    pub proofs: u64,
    /// Prover processes that replaced others since the start; `/metrics` has the reasons.
    pub restarts: u64,
}

/// The job queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JobsHealth {
    /// Whether the server accepts jobs.
    pub enabled: bool,
    /// Why it accepts none, and how to change that.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// Queued jobs, of all servers that share the queue.
    pub queued: u64,
    /// Running jobs, of all servers that share the queue.
    pub running: u64,
}

/// One circuit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CircuitHealth {
    /// Its name.
    pub id: CircuitId,
    /// Whether proofs of it can be made now.
    pub status: CircuitStatus,
    /// The target of its proofs where a request names none.
    pub target: Target,
    /// Its gates; `None` until loaded.
    pub gates: Option<u64>,
    /// Its circuit size: bb's dyadic size, a power of two, with the rows that bb adds to the gates. `None` until loaded.
    pub circuit_size: Option<u64>,
    /// Highest memory peak of a prover process during a proof of it, in bytes. Stored across restarts; `None` before the
    /// first proof.
    #[serde(default)]
    pub memory_peak_bytes: Option<u64>,
    /// Hash of its verification key, `0x` and 64 hexadecimal digits; `None` until loaded.
    pub vk_hash: Option<String>,
    /// Why it could not be loaded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

/// Whether a circuit can be proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum CircuitStatus {
    /// It is being built, or waits for that.
    Pending,
    /// It is being loaded.
    Loading,
    /// Proofs of it can be made.
    Ready,
    /// It could not be loaded or built.
    Failed,
}
