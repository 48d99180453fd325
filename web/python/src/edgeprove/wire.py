"""The documents of the HTTP API, as docs/API.md and docs/API-CIRCUITS.md describe them.

A test compares them with the answers of a real server. A newer server may add members, which are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ._decode import wire
from ._service import (
    Attestation as Attestation,
    HpkeSuite as HpkeSuite,
    Receipt as Receipt,
    ReceiptKey as ReceiptKey,
    ReceiptProgram as ReceiptProgram,
    Receipts as Receipts,
    ReceiptServer as ReceiptServer,
    Sealing as Sealing,
    SealingKey as SealingKey,
    ServiceDocument as ServiceDocument,
    ServiceLimits as ServiceLimits,
    ServiceVersions as ServiceVersions,
)
from ._terms import (
    CircuitStatus as CircuitStatus,
    JobStatus as JobStatus,
    Language as Language,
    Priority as Priority,
    Target as Target,
)


@dataclass(frozen=True)
class ProblemDocument:
    """A failure, as the server describes it (RFC 9457)."""

    #: The stable code: docs/ERRORS.md lists them.
    code: str
    title: str
    detail: str
    status: int
    retryable: bool
    type: str
    #: The same as ``title``.
    error: str
    #: The same as ``detail``.
    message: str
    severity: str | None = None
    fallback_circuit: str | None = None
    field: str | None = None
    request_id: str | None = None


@dataclass(frozen=True)
class JobLinks:
    """Paths at the server.

    The one to the events may have a token, with which a page without a key reads this job.
    """

    self: str
    proof: str
    events: str = field(repr=False)


@dataclass(frozen=True)
class StageTime:
    """A part of the time of a job."""

    #: ``upload``, ``witness``, ``queue``, ``load``, ``prove`` or ``verify``.
    stage: str
    started_at: str
    #: In milliseconds; ``None`` while it lasts.
    duration_ms: float | None


@dataclass(frozen=True)
class Job:
    """A job. Times are RFC 3339 in UTC."""

    id: str
    status: JobStatus
    #: ``queued``, ``loading``, ``proving``, ``verifying`` or ``done``.
    stage: str
    #: How much is done, in percent. It falls when another attempt starts.
    progress: float
    #: 1 for the next job; ``None`` once it has started.
    queue_position: int | None
    #: Expected time until it finishes, in milliseconds; ``None`` where nothing is known.
    estimated_remaining_ms: float | None
    #: Confidence of the estimate, from 0 to 1.
    confidence: float | None
    #: ``prove``; lists for operators and observers also have ``build`` and ``deploy``.
    kind: str
    #: The circuit that was requested.
    circuit: str
    priority: Priority
    attempts: int
    max_attempts: int
    #: Why it failed, or why its last attempt did.
    error: ProblemDocument | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    #: When its result is deleted.
    expires_at: str | None
    links: JobLinks
    #: What took how long, in the order of time.
    stages: list[StageTime]
    #: ``None`` for other kinds than ``prove``.
    target: Target | None = None
    #: In lists for operators and observers: whose job it is.
    owner: str | None = None
    #: In lists for operators and observers: until when an operator may queue the failed job again.
    retry_until: str | None = None
    #: The smaller circuit of the family that was proved instead.
    fallback_circuit: str | None = None
    #: The longest time for the proof, in milliseconds, where the request had one.
    timeout_ms: float | None = None
    #: The receipt of its proof. Lists and events do not have it.
    receipt: str | None = field(default=None, repr=False)
    #: What its proof has taken, once it has completed.
    cost: Cost | None = None

    @property
    def is_finished(self) -> bool:
        """Whether its status is final."""
        return self.status not in ("queued", "running")


@dataclass(frozen=True)
class JobPage:
    """A page of jobs, the latest first."""

    jobs: list[Job]
    #: The path of the next page; ``None`` on the last one.
    next: str | None
    #: The number of jobs on all pages, where the request asks for it.
    total: int | None = None


@dataclass(frozen=True)
class ServerTimings:
    """Durations at the server, in milliseconds."""

    upload_ms: float
    queue_ms: float
    prove_ms: float
    verify_ms: float
    total_ms: float


@dataclass(frozen=True)
class Cost:
    """What a proof has taken at the machine that proved it: for proving and verifying, not for waiting."""

    #: Cores, times seconds.
    vcpu_seconds: float
    #: GiB of memory, times seconds.
    gib_seconds: float


@dataclass(frozen=True)
class Groth16Proof:
    """A proof of Groth16, as snarkjs writes it."""

    pi_a: list[str]
    pi_b: list[list[str]]
    pi_c: list[str]
    protocol: str
    curve: str


@dataclass(frozen=True)
class ProofAnswer:
    """The answer with a proof."""

    success: bool
    #: Base64; for Groth16 the object of snarkjs.
    proof: Groth16Proof | str = field(repr=False)
    proof_hash: str
    public_inputs: list[str]
    circuit: str
    target: Target
    vk_hash: str
    verified: bool
    cached: bool
    #: What it has taken: zero for a proof from the cache.
    cost: Cost
    timings: ServerTimings
    request_id: str
    #: For Groth16: the public inputs in decimal digits.
    public_signals: list[str] | None = wire("publicSignals", default=None)
    fallback_from: str | None = None
    #: A receipt: what the server states of the proof, signed by it.
    receipt: str | None = field(default=None, repr=False)
    #: For the targets ``evm`` and ``groth16``: the call of the verifier contract, as hexadecimal digits after ``0x``.
    calldata: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Calldata:
    """The call that verifies a proof in its verifier contract."""

    function: str
    #: Hexadecimal digits after ``0x``.
    calldata: str
    circuit: str
    target: Target


@dataclass(frozen=True)
class CircuitFile:
    """A file of a stored circuit."""

    name: str
    bytes: int
    #: 64 hexadecimal digits.
    sha256: str
    path: str


@dataclass(frozen=True)
class Gas:
    """The gas of a verifier contract."""

    deploy: int
    verify: int


@dataclass(frozen=True)
class CircuitVerifier:
    """The verifier contract of a circuit that was built."""

    flavor: str
    audited: bool
    gas: Gas | None
    error: str | None = None


@dataclass(frozen=True)
class PowersOfTau:
    """Powers of tau, from which keys of circom circuits are made."""

    #: ``ceremony`` or ``local``.
    origin: str
    #: BLAKE2b-512 of the file, as ``b2sum`` prints it.
    digest: str
    power: int


@dataclass(frozen=True)
class Setup:
    """How the keys of a circom circuit were made."""

    #: ``None`` where the server made them without any.
    powers: PowersOfTau | None


@dataclass(frozen=True)
class Built:
    """From what a circuit was built."""

    template_name: str
    language: Language
    params: dict[str, Any]
    hash: str | None = None
    trust: str | None = None
    setup: Setup | None = None
    published_at: str | None = None
    artifacts: list[CircuitFile] = field(default_factory=list)


@dataclass(frozen=True)
class Uploaded:
    """How a circuit was uploaded."""

    name: str
    language: Language
    hash: str
    sample_proved: bool
    published_at: str
    artifacts: list[CircuitFile]
    trust: str | None = None


@dataclass(frozen=True)
class BuildProgress:
    """How far the build of a circuit is."""

    status: JobStatus
    #: ``queued``, ``compiling``, ``making_keys``, ``checking``, ``publishing`` or ``done``.
    stage: str
    #: In percent.
    progress: float
    queue_position: int | None
    estimated_remaining_ms: float | None
    attempts: int
    max_attempts: int
    created_at: str
    started_at: str | None
    #: The path of its events.
    events: str


@dataclass(frozen=True)
class DeployedContract:
    """A contract of a deployment that is on the chain."""

    name: str
    address: str
    transaction: str
    block: int
    gas_used: int


@dataclass(frozen=True)
class Deployment:
    """A deployment of a verifier contract."""

    circuit: str
    chain_id: int
    deployer: str
    #: ``pending``, ``deployed`` or ``failed``.
    status: str
    contracts: list[DeployedContract]
    address: str | None = None
    deployed_at: str | None = None
    job_id: str | None = None
    error: ProblemDocument | None = None


@dataclass(frozen=True)
class CircuitInput:
    """An input of a circuit, with its type as in the ABI of Noir."""

    name: str
    type: dict[str, Any]
    #: ``private``, ``public`` or ``databus``.
    visibility: str


@dataclass(frozen=True)
class Circuit:
    """A circuit. Sizes and keys are ``None`` until it is loaded."""

    id: str
    status: CircuitStatus
    #: The target where a request names none.
    target: Target
    targets: list[Target]
    gates: int | None
    circuit_size: int | None
    vk_hash: str | None
    #: The path of its verification key.
    vk: str | None
    #: ``configured``, ``built`` or ``uploaded``.
    origin: str
    verifier: CircuitVerifier | None = None
    built: Built | None = None
    uploaded: Uploaded | None = None
    #: Why its last build failed.
    error: ProblemDocument | None = None
    #: How far its build is.
    build: BuildProgress | None = None
    #: Lists have no inputs. ``None`` also where the files of the circuit do not name them, as for circom.
    inputs: list[CircuitInput] | None = None
    deployments: list[Deployment] = field(default_factory=list)
    #: Inputs that satisfy the circuit, where the server has some for everybody.
    sample: dict[str, Any] | None = None
    #: The path of its program, where everybody may have it.
    program: str | None = None


@dataclass(frozen=True)
class CircuitPage:
    """A page of circuits."""

    circuits: list[Circuit]
    #: The path of the next page.
    next: str | None = None


@dataclass(frozen=True)
class RemovedCircuit:
    """The answer of a removal."""

    id: str
    removed: bool


@dataclass(frozen=True)
class TemplateEntry:
    """A template of the list."""

    name: str
    languages: list[Language]
    proves: str
    template: str


@dataclass(frozen=True)
class TemplateList:
    """The templates of a server."""

    templates: list[TemplateEntry]


@dataclass(frozen=True)
class TemplateInput:
    """An input of a template's circuits."""

    name: str
    description: str


@dataclass(frozen=True)
class SampleInputs:
    """Inputs of a sample."""

    name: str
    inputs: dict[str, Any]


@dataclass(frozen=True)
class TemplateSample:
    """Inputs that the circuit with the sample parameters accepts, and inputs that it refuses."""

    parameters: dict[str, Any]
    accepted: list[SampleInputs]
    refused: list[SampleInputs]


@dataclass(frozen=True)
class Template:
    """A template: docs/TEMPLATES.md describes its members."""

    name: str
    languages: list[Language]
    proves: str
    parameters: dict[str, Any]
    checks: list[dict[str, Any]]
    public_in: dict[str, str]
    public_inputs: list[TemplateInput]
    private_inputs: list[TemplateInput]
    sample: TemplateSample
    sizes: dict[str, dict[str, int]]
    family: str | None = None


@dataclass(frozen=True)
class Verdict:
    """The answer of a verification."""

    valid: bool
    #: ``bb``, ``groth16`` or ``evm``.
    verified_by: str = wire("verifiedBy")


@dataclass(frozen=True)
class BbHealth:
    """The prover bb of a server."""

    available: bool
    version: str
    binary_arch: str


@dataclass(frozen=True)
class CrsHealth:
    """The CRS of a server."""

    points: int


@dataclass(frozen=True)
class ProverHealth:
    """What the provers of a server do."""

    mode: str
    cores: int
    running: int
    waiting: int
    waiting_max: int
    memory_max_bytes: int | None
    memory_reserved_bytes: int
    proofs: int
    restarts: int


@dataclass(frozen=True)
class CircuitHealth:
    """A configured circuit of a server."""

    id: str
    status: CircuitStatus
    target: Target
    gates: int | None
    circuit_size: int | None
    memory_peak_bytes: int | None
    vk_hash: str | None
    error: str | None = None


@dataclass(frozen=True)
class JobsHealth:
    """The job queue of a server."""

    enabled: bool
    queued: int
    running: int
    error: str | None = None


@dataclass(frozen=True)
class Health:
    """The state of a server."""

    #: ``ok``, ``degraded`` or ``unhealthy``.
    status: str
    problems: list[str]
    architecture: str
    version: str
    bb: BbHealth
    bb_version: str
    bb_crs_files: str
    crs: CrsHealth
    roles: list[str]
    built_circuits: int
    noir_version: str
    verify: bool
    prover: ProverHealth
    circuits: list[CircuitHealth]
    jobs: JobsHealth
    uptime_s: float
    timestamp: str
    powers: PowersOfTau | None = None


@dataclass(frozen=True)
class NewVoucher:
    """A voucher for a page."""

    #: The token. Whoever has it can use it.
    voucher: str = field(repr=False)
    #: Its id in the audit log of the server.
    id: str
    circuits: list[str]
    uses: int
    #: RFC 3339 in UTC.
    expires: str
    priority: Priority
    origin: str | None = None
    subject: str | None = None
