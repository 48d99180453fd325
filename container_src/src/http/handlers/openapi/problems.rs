//! The problem types that many operations share.

use edgeprove_protocol::ProblemType::{self, *};

/// Every request may get these, before its handler sees it or when the server has a fault.
pub const EVERY: [ProblemType; 9] = [
    InvalidRequest,
    NotFromTheEdge,
    OriginNotAllowed,
    HostNotAllowed,
    NotFound,
    RateLimited,
    TooManyConnections,
    Internal,
    RequestTimeout,
];

/// The caller is not known, or sends too many requests.
pub const CALLER: &[ProblemType] = &[ApiKeyRequired, VoucherInvalid, NotAllowed, VoucherNotAllowed];

/// The server has no jobs, or cannot reach their store.
pub const JOB_STORE: &[ProblemType] = &[JobsDisabled, JobStoreUnavailable, StoredDataDamaged];

/// The server does not accept work now, or may not do any while its audit log cannot be written.
pub const WORK: &[ProblemType] = &[NotReady, AuditUnavailable];

/// There is no such circuit, or it cannot be used now.
pub const CIRCUIT: &[ProblemType] = &[
    CircuitNotFound,
    CircuitUnavailable,
    CircuitCompilationFailed,
    TooManyCircuits,
    ArtifactUnavailable,
    StoredDataDamaged,
    JobStoreUnavailable,
    OutOfMemory,
    ProverBusy,
    ProverUnavailable,
    ProverCrashed,
    ProofFailed,
    ProofTimeout,
];

/// A body does not arrive as it should.
pub const BODY: &[ProblemType] = &[UploadStalled, UnsupportedMediaType, TooManyUploads, SpoolUnavailable];

/// A witness, inputs, or the sealed form of either is not right.
pub const WITNESS: &[ProblemType] = &[
    WitnessEmpty,
    WitnessNotGzip,
    WitnessTruncated,
    WitnessCorrupt,
    WitnessMalformed,
    WitnessTooLarge,
    WitnessTooLargeDecompressed,
    WitnessOfAnotherCircuit,
    WitnessUnsatisfied,
    WitnessNotComputable,
    WitnessPreparationFailed,
    InputsTooLarge,
    InvalidInputs,
    SealedBodyInvalid,
    SealingKeyUnknown,
    SealedAtWrongTime,
    SealedBodyReplayed,
];

/// A proof cannot be made.
pub const PROVING: &[ProblemType] = &[
    ProverBusy,
    ProverUnavailable,
    ProverCrashed,
    ProofFailed,
    ProofInvalid,
    ProofTimeout,
    OutOfMemory,
    QuotaExceeded,
    DeadlineCannotBeMet,
    VoucherUsedUp,
];

/// A request becomes a job, or waits for one.
pub const SUBMISSION: &[ProblemType] = &[
    JobsDisabled,
    JobStoreUnavailable,
    ArtifactUnavailable,
    StoredDataDamaged,
    TooManyJobs,
    TooManyCallbacks,
    CallbackNotAllowed,
    QueueFull,
    TooManyWatchers,
    IdempotencyKeyReused,
    JobCancelled,
    JobExpired,
    WorkerLost,
];
