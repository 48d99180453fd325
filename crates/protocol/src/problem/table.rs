//! The table of problem types: one entry for each code that Edgeprove sends.
//!
//! To add a problem type, add an entry here and bless `docs/ERRORS.md`. Everything else about the type is derived from
//! its entry.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Severity;

/// Whether the same request may succeed if it is sent again. `Later(5)` also states in how many seconds, where the error itself
/// does not. A test checks that every `Later` has this number.
#[derive(Clone, Copy)]
enum Retry {
    Never,
    Later,
}

/// Which circuit a caller may try after the problem.
#[derive(Clone, Copy)]
enum Fallback {
    SameCircuit,
    /// The machine had too little time or memory for the circuit. A prover that crashes twice on one request was nearly
    /// always killed because of its memory.
    SmallerCircuit,
}

/// Columns of an entry: its meaning as a doc comment, the variant, the code, the HTTP status, the severity, whether to
/// retry, the fallback, the title, and the advice.
macro_rules! optional {
    () => {
        None
    };
    ($value:literal) => {
        Some($value)
    };
}

macro_rules! problem_types {
    ($(#[doc = $meaning:literal] $variant:ident =
        $code:literal, $status:literal, $severity:ident, $retry:ident $(($retry_after_s:literal))?,
        $fallback:ident, $title:literal, $advice:literal $(, hides $hidden:literal)?;)+) => {
        /// The type of a problem. A code never changes once it is released; a title may.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        pub enum ProblemType {
            $(#[doc = $meaning] #[serde(rename = $code)] $variant,)+
        }

        impl ProblemType {
            /// Every problem type, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Returns the stable code, for programs.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// Returns the type with this code; `None` if this version has no such type.
            #[must_use]
            pub fn from_code(code: &str) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)+ _ => None }
            }

            /// Returns the HTTP status of a response with this problem.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)+ }
            }

            /// Returns how serious the problem is.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)+ }
            }

            /// Whether the same request may succeed later.
            #[must_use]
            pub const fn retryable(self) -> bool {
                matches!(match self { $(Self::$variant => Retry::$retry,)+ }, Retry::Later)
            }

            /// Returns when a retry makes sense, where the error does not state it.
            #[must_use]
            pub const fn retry_after(self) -> Option<Duration> {
                let seconds: Option<u64> =
                    match self { $(Self::$variant => optional!($($retry_after_s)?),)+ };
                match seconds {
                    Some(seconds) => Some(Duration::from_secs(seconds)),
                    None => None,
                }
            }

            /// Returns the detail for callers, where an error's own text could name files, folders, addresses or databases
            /// of the server.
            #[must_use]
            pub const fn hidden_detail(self) -> Option<&'static str> {
                match self { $(Self::$variant => optional!($($hidden)?),)+ }
            }

            /// Whether a smaller circuit may succeed instead, because the machine had too little time or memory.
            #[must_use]
            pub const fn fallback(self) -> bool {
                let fallback = match self { $(Self::$variant => Fallback::$fallback,)+ };
                matches!(fallback, Fallback::SmallerCircuit)
            }

            /// Returns the short sentence that is the same for every problem of the type.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ }
            }

            /// Returns what the type means.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning.trim_ascii(),)+ }
            }

            /// Returns what to do about the problem.
            #[must_use]
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice,)+ }
            }
        }
    };
}

problem_types! {
    /// A path, a query parameter or a header is invalid.
    InvalidRequest = "invalid_request", 400, Notice, Never, SameCircuit,
        "The request is invalid",
        "Fix the part that the detail names.";
    /// The body is empty.
    WitnessEmpty = "witness_empty", 400, Notice, Never, SameCircuit,
        "The witness is empty",
        "Send the gzipped witness as the request body.";
    /// The body does not start with a gzip header.
    WitnessNotGzip = "witness_not_gzip", 400, Notice, Never, SameCircuit,
        "The witness is not gzip",
        "Send the gzipped witness as `nargo execute` and noir_js produce it, or a gzipped .wtns file.";
    /// The gzip stream ends too early.
    WitnessTruncated = "witness_truncated", 400, Notice, Never, SameCircuit,
        "The witness is truncated",
        "Send the complete witness again.";
    /// The gzip stream is damaged: a bad block, checksum or length, or bytes after its end.
    WitnessCorrupt = "witness_corrupt", 400, Notice, Never, SameCircuit,
        "The witness is damaged",
        "Generate the witness again, and check that nothing changes its bytes on the way.";
    /// The decompressed bytes are not a Noir witness stack, or for a circom circuit no .wtns file.
    WitnessMalformed = "witness_malformed", 400, Notice, Never, SameCircuit,
        "The upload is not a witness",
        "Send the output of `nargo execute`, noir_js or snarkjs and nothing else.";
    /// A sealed body cannot be opened: it was changed or cut off, or it is sealed for another request.
    SealedBodyInvalid = "sealed_body_invalid", 400, Notice, Never, SameCircuit,
        "The sealed body cannot be opened",
        "Seal it again, for exactly this circuit, target, content type and API key.";
    /// A body is sealed for a key that the server does not have, or has no longer.
    SealingKeyUnknown = "sealing_key_unknown", 400, Notice, Never, SameCircuit,
        "The body is sealed for an unknown key",
        "Fetch the key from `/.well-known/edgeprove`, and seal it again. Operator: servers behind one address need one `--sealing-secret`.";
    /// A body was sealed too long ago or in the future, or before the server started.
    SealedAtWrongTime = "sealed_at_wrong_time", 400, Notice, Never, SameCircuit,
        "The body was sealed at another time",
        "Take the time of `/.well-known/edgeprove`, and seal it again.";
    /// A prover that pulls is of another version than the server: of the protocol, or of a proving program.
    ProverVersionMismatch = "prover_version_mismatch", 400, Error, Never, SameCircuit,
        "The versions of prover and server differ",
        "Install the version of `edgeprove` that the server runs where `edgeprove work` runs.";
    /// An API key is required, and the request has none or an unknown one.
    ApiKeyRequired = "api_key_required", 401, Notice, Never, SameCircuit,
        "An API key is required",
        "Send a key as `Authorization: Bearer KEY` or `X-Api-Key: KEY`.";
    /// The voucher of the request is incomplete, changed, expired, of another service, or its API key was withdrawn.
    VoucherInvalid = "voucher_invalid", 401, Notice, Never, SameCircuit,
        "The voucher is not valid",
        "Get a new voucher from the back end of the page, and send it as it is.";
    /// The request did not come through the edge, or edge and server have different secrets.
    NotFromTheEdge = "not_from_the_edge", 403, Error, Never, SameCircuit,
        "Requests must come through the edge",
        "Call the edge instead. Operator: configure the same secret at edge and server.";
    /// The caller's role does not permit this request.
    NotAllowed = "not_allowed", 403, Notice, Never, SameCircuit,
        "The caller's role does not permit this",
        "Ask the operator for a role that permits it.";
    /// The voucher does not allow this circuit, priority or endpoint, or is for pages of another origin.
    VoucherNotAllowed = "voucher_not_allowed", 403, Notice, Never, SameCircuit,
        "The voucher does not allow this request",
        "Ask for what the detail names with `POST /v1/vouchers`, or send the request with an API key.";
    /// As many jobs and proofs were accepted with the voucher as it allows.
    VoucherUsedUp = "voucher_used_up", 403, Notice, Never, SameCircuit,
        "The voucher is used up",
        "Get a new voucher from the back end of the page.";
    /// Pages of this origin are not allowed to call the service.
    OriginNotAllowed = "origin_not_allowed", 403, Notice, Never, SameCircuit,
        "This origin is not allowed",
        "Ask the operator to add the page's origin: to `ALLOWED_ORIGINS` of the edge, or to `--cors-origin` of the server.";
    /// The request names a host that is not a name of this server, as a page does that had its own name point here.
    HostNotAllowed = "host_not_allowed", 403, Notice, Never, SameCircuit,
        "This server does not have that name",
        "Call the server as `localhost` or `127.0.0.1`. Operator: name the host in `--allowed-host`.";
    /// The operator does not allow the Ethereum node of a deployment.
    NodeNotAllowed = "node_not_allowed", 403, Notice, Never, SameCircuit,
        "This Ethereum node is not allowed",
        "Use a node that the operator allows. Operator: list its host in `--deploy-rpc`.";
    /// The server sends no webhooks, or none to this host.
    CallbackNotAllowed = "callback_not_allowed", 403, Notice, Never, SameCircuit,
        "This callback URL is not allowed",
        "Use a host that the operator allows, or read the job. Operator: list the host in `--webhook-hosts`.";
    /// No endpoint has this path.
    NotFound = "not_found", 404, Notice, Never, SameCircuit,
        "No endpoint has this path",
        "`GET /` lists the endpoints.";
    /// The server has no circuit with this name.
    CircuitNotFound = "circuit_not_found", 404, Notice, Never, SameCircuit,
        "No such circuit",
        "Use a circuit that `/api/health` lists.";
    /// The server has no circuit template with this name, or not in this language.
    TemplateNotFound = "template_not_found", 404, Notice, Never, SameCircuit,
        "No such template",
        "Use a template that `GET /v1/templates` lists.";
    /// The caller has no job with this id.
    JobNotFound = "job_not_found", 404, Notice, Never, SameCircuit,
        "No such job",
        "Check the id, and use the API key that submitted the job.";
    /// The path exists, but not for this method.
    MethodNotAllowed = "method_not_allowed", 405, Notice, Never, SameCircuit,
        "The method is not allowed",
        "Use a method that the `Allow` header lists.";
    /// No byte of the upload arrived for too long, or too few per second.
    UploadStalled = "upload_stalled", 408, Notice, Later(1), SameCircuit,
        "The upload stalled",
        "Send it again without pauses, with at least 1 KiB per second.";
    /// The circuit is not ready, or has no compiled contracts that could be deployed.
    CircuitNotDeployable = "circuit_not_deployable", 409, Notice, Never, SameCircuit,
        "The circuit cannot be deployed",
        "Deploy a circuit that was built from a template and is ready. One that an earlier version built must be removed and built again.";
    /// The job has finished, so it cannot be cancelled.
    JobAlreadyFinished = "job_already_finished", 409, Notice, Never, SameCircuit,
        "The job has already finished",
        "Fetch the proof, or ignore the job.";
    /// The same sealed body has arrived before.
    SealedBodyReplayed = "sealed_body_replayed", 409, Notice, Never, SameCircuit,
        "The sealed body has arrived before",
        "Seal what you send again for each request, also for a retry with the same `Idempotency-Key`.";
    /// Another prover has the job, or it has finished: the lease of a prover that pulls has ended.
    LeaseLost = "lease_lost", 409, Warning, Never, SameCircuit,
        "The lease of the job is lost",
        "Discard the work, and claim another job.";
    /// The job has not failed, or its witness was deleted, so it cannot be queued again.
    JobNotRetryable = "job_not_retryable", 409, Notice, Never, SameCircuit,
        "The job cannot be queued again",
        "Submit the proof again. Operator: `--failed-witness-ttl` keeps the witnesses of failed jobs for a while.";
    /// The job has not finished, so it has no proof yet.
    ProofNotReady = "proof_not_ready", 409, Notice, Later(1), SameCircuit,
        "The proof is not ready",
        "Try again after `Retry-After`, or follow the job's events.";
    /// The job was cancelled.
    JobCancelled = "job_cancelled", 410, Notice, Never, SameCircuit,
        "The job was cancelled",
        "Submit the job again if you still need the proof.";
    /// The job finished so long ago that its data was deleted.
    JobExpired = "job_expired", 410, Notice, Never, SameCircuit,
        "The job has expired",
        "Submit the job again, and fetch the proof sooner.";
    /// The length of the body is not known before it arrives.
    LengthRequired = "length_required", 411, Notice, Never, SameCircuit,
        "The length of the body is missing",
        "Send the body with Content-Length, and not in chunks of unknown number: in a browser as a Blob or bytes, with curl by --data-binary @FILE.";
    /// The upload or its gzip header is larger than the server allows, or the upload than any witness of the circuit.
    WitnessTooLarge = "witness_too_large", 413, Notice, Never, SameCircuit,
        "The witness is too large",
        "Send the witness of this circuit as Noir compresses it. The operator sets the server's limit.";
    /// The decompressed witness is larger than the circuit or the server allows.
    WitnessTooLargeDecompressed = "witness_too_large_decompressed", 413, Notice, Never, SameCircuit,
        "The decompressed witness is too large",
        "Check that the witness belongs to this circuit. The operator sets the server's limit.";
    /// The JSON with the inputs is larger than the server allows.
    InputsTooLarge = "inputs_too_large", 413, Notice, Never, SameCircuit,
        "The inputs are too large",
        "Send the inputs without superfluous white space, or compute the witness yourself and send that.";
    /// The request for a circuit, or the files of an uploaded one, are larger than the server allows.
    CircuitTooLarge = "circuit_too_large", 413, Notice, Never, SameCircuit,
        "The request for a circuit is too large",
        "Compile the circuit with optimisation, and leave out files that are not needed, such as `.sym`.";
    /// The content type fits neither a gzipped witness nor inputs.
    UnsupportedMediaType = "unsupported_media_type", 415, Notice, Never, SameCircuit,
        "The content type is not supported",
        "Send a witness as `Content-Type: application/gzip`, or inputs as `application/json`.";
    /// An input is missing, unknown, there twice, or of another type, range or length than the circuit's.
    InvalidInputs = "invalid_inputs", 422, Notice, Never, SameCircuit,
        "The inputs do not fit the circuit",
        "Fix the input that `field` names. `GET /v1/circuits/{circuit}` lists the inputs of a circuit.";
    /// A file of an uploaded circuit is damaged or of another compiler version, or the files are not of one circuit.
    CircuitInvalid = "circuit_invalid", 422, Notice, Never, SameCircuit,
        "The uploaded circuit cannot be used",
        "Fix the file that the detail names, and upload all files of one compilation again.";
    /// The server cannot compute witnesses of this circuit: it has no ABI, calls an oracle, or needs too much memory.
    WitnessNotComputable = "witness_not_computable", 422, Notice, Never, SameCircuit,
        "The server cannot compute the witness",
        "Compute the witness yourself, with noir_js, nargo or snarkjs, and send that.";
    /// The witness is well-formed, but its shape belongs to another circuit.
    WitnessOfAnotherCircuit = "witness_of_another_circuit", 422, Notice, Never, SameCircuit,
        "The witness belongs to another circuit",
        "Use the witness's own circuit, or compile page and server from the same version.";
    /// The witness is well-formed, but it violates the circuit's constraints.
    WitnessUnsatisfied = "witness_unsatisfied", 422, Notice, Never, SameCircuit,
        "The witness does not satisfy the circuit",
        "Check the inputs: they violate a constraint of the circuit.";
    /// The proof of a prover that pulls does not verify, or is of other public inputs than its job. The attempt has failed.
    ProofRejected = "proof_rejected", 422, Error, Never, SameCircuit,
        "The proof is not one of the job",
        "Discard it. Operator: find out what the prover of the log line does, and withdraw its key if it lies.";
    /// The caller has used this idempotency key for a different request.
    IdempotencyKeyReused = "idempotency_key_reused", 422, Notice, Never, SameCircuit,
        "The idempotency key belongs to another request",
        "Use a new `Idempotency-Key` for a new request.";
    /// The caller has reached its limit of unfinished jobs.
    TooManyJobs = "too_many_jobs", 429, Notice, Later(2), SameCircuit,
        "Too many unfinished jobs",
        "Wait until some jobs finish, or cancel some.";
    /// As many webhooks are owed, to all callers or to this one, as the server remembers.
    TooManyCallbacks = "too_many_callbacks", 429, Warning, Later(5), SameCircuit,
        "Too many webhooks are owed",
        "Try again after `Retry-After`, or send the request without `X-Callback-Url`. Check that your server answers webhooks with 2xx.";
    /// The caller has reached its limit of requests per minute or of concurrent requests.
    RateLimited = "rate_limited", 429, Notice, Later(1), SameCircuit,
        "Too many requests",
        "Send fewer requests, and try again after `Retry-After`.";
    /// The caller has reached its limit of proofs per day.
    QuotaExceeded = "quota_exceeded", 429, Notice, Later(60), SameCircuit,
        "The daily quota of proofs is used up",
        "Try again after `Retry-After`, or ask the operator to raise the quota.";
    /// The prover rejected the witness or failed, although the witness satisfies the circuit.
    ProofFailed = "proof_failed", 500, Error, Never, SameCircuit,
        "The proof failed",
        "Report the request id to the operator. Operator: the log has the prover's message.";
    /// The prover crashed twice while it worked on this request.
    ProverCrashed = "prover_crashed", 500, Error, Later(1), SmallerCircuit,
        "The prover crashed",
        "Try again. If it happens again, the machine has too little memory for the circuit.";
    /// The prover needed more memory than it may use, or than the machine has, and was killed.
    OutOfMemory = "out_of_memory", 500, Error, Later(5), SmallerCircuit,
        "The prover ran out of memory",
        "Try again when the server is less busy, or use a smaller circuit. Operator: give the server more memory, or raise `--memory-max`.";
    /// The prover made a proof from a valid witness, and the proof does not verify. It was not sent.
    ProofInvalid = "proof_invalid", 500, Critical, Later(5), SameCircuit,
        "The proof did not verify",
        "Try again. Operator: compare the prover, the circuit and the CRS with the pinned versions.";
    /// Every worker that ran the job died.
    WorkerLost = "worker_lost", 500, Error, Never, SmallerCircuit,
        "The job's workers died",
        "Operator: find out why the workers die. The usual reason is memory.";
    /// A stored job, witness or proof is missing or damaged, or encrypted with a key that the server does not have.
    StoredDataDamaged = "stored_data_damaged", 500, Critical, Never, SameCircuit,
        "Stored data cannot be used",
        "Submit the job again. Operator: the log has the reason; restore database, artifacts and key together.",
        hides "the stored data of this job cannot be used";
    /// Another part of the server failed.
    Internal = "internal", 500, Error, Later(1), SameCircuit,
        "The server failed",
        "Try again. If it happens again, report the request id to the operator.",
        hides "the server failed; its log has the cause";
    /// A setting or binding of the edge is missing or invalid, or edge and server have different secrets.
    EdgeMisconfigured = "edge_misconfigured", 500, Critical, Never, SameCircuit,
        "The edge is misconfigured",
        "Operator: set what the detail or the edge's log names.";
    /// The container stopped or became unreachable while it worked on this request.
    ContainerLost = "container_lost", 502, Error, Later(1), SameCircuit,
        "The container was lost",
        "Try again: another container starts.";
    /// The Ethereum node of a deployment cannot be reached, took too long, or answered with something else than an answer.
    NodeUnavailable = "node_unavailable", 502, Warning, Later(5), SameCircuit,
        "The Ethereum node is not available",
        "Try again, or use another node in `rpcUrl`. What was sent to a chain is not sent twice.";
    /// The node or the chain refused the deployment, or the deployment did not end.
    DeploymentFailed = "deployment_failed", 502, Warning, Later(30), SameCircuit,
        "The contracts were not deployed",
        "Do what the detail names, then send the request again: it continues, and sends nothing twice.";
    /// The container sent a response that no Edgeprove server sends.
    ContainerBadResponse = "container_bad_response", 502, Error, Later(5), SameCircuit,
        "The container's response is invalid",
        "Try again. Operator: check that edge and image have the same version.";
    /// No container could be started, or none became ready in time.
    ContainerUnavailable = "container_unavailable", 503, Error, Later(5), SameCircuit,
        "No container is available",
        "Try again after `Retry-After`. Operator: check the container's log.";
    /// The prover queue is full, or the wait for a prover took too long.
    ProverBusy = "prover_busy", 503, Warning, Later(1), SameCircuit,
        "All provers are busy",
        "Try again after `Retry-After`, or submit a job: jobs wait for a prover.";
    /// Every connection of the server has a request in progress.
    TooManyConnections = "too_many_connections", 503, Warning, Later(1), SameCircuit,
        "Too many connections are open",
        "Try again after `Retry-After`. Operator: raise `--connections`, or find who holds them.";
    /// No prover is running.
    ProverUnavailable = "prover_unavailable", 503, Error, Later(5), SameCircuit,
        "No prover is available",
        "Try again after `Retry-After`. Operator: check the server's log.";
    /// The circuit is configured, but the server cannot load or prove it; or the server has no circuit that it can prove.
    CircuitUnavailable = "circuit_unavailable", 503, Critical, Never, SmallerCircuit,
        "The circuit is not available",
        "Operator: `/api/health` shows the reason to a key with the role `operator`, and the log has it.";
    /// The circuit's file is not one that this server can prove, or the prover cannot compute its verification key.
    CircuitCompilationFailed = "circuit_compilation_failed", 503, Critical, Never, SmallerCircuit,
        "The compiled circuit cannot be used",
        "Operator: compile it with the Noir version of this server. `/api/health` shows operators the reason.";
    /// The job queue is full.
    QueueFull = "queue_full", 503, Warning, Later(2), SameCircuit,
        "The job queue is full",
        "Try again after `Retry-After`.";
    /// As many circuits that were built are stored as may be.
    TooManyCircuits = "too_many_circuits", 503, Warning, Never, SameCircuit,
        "As many circuits are stored as may be",
        "Use a circuit that is there. Operator: remove circuits, or raise `--built-circuits` or `--built-circuits-size`.";
    /// No server of this queue builds circuits, or this server has no virtual machine for contracts.
    BuilderUnavailable = "builder_unavailable", 503, Notice, Never, SameCircuit,
        "The server builds no circuits",
        "Use a circuit that `GET /v1/circuits` lists, and verify without `?on=evm`. Operator: start a server with `--toolchain`.";
    /// The server deploys no contracts.
    DeployingDisabled = "deploying_disabled", 503, Notice, Never, SameCircuit,
        "The server deploys no contracts",
        "Deploy `verifier.sol` of the circuit yourself. Operator: start the server with `--deploy-rpc`.";
    /// The service mints and accepts no vouchers.
    VouchersDisabled = "vouchers_disabled", 503, Notice, Never, SameCircuit,
        "The service has no vouchers",
        "Let the back end prove for its pages. Operator: set `EDGEPROVE_VOUCHER_SECRET`, the same at edge and servers.";
    /// The server has as many private keys of deployments in memory as it may.
    TooManyDeployments = "too_many_deployments", 503, Warning, Later(5), SameCircuit,
        "Too many deployments at once",
        "Try again after `Retry-After`.";
    /// The server follows as many jobs for its callers as it can.
    TooManyWatchers = "too_many_watchers", 503, Warning, Later(2), SameCircuit,
        "Too many event streams are open",
        "Try again after `Retry-After`, or read the job itself from time to time.";
    /// The server estimates that the proof would be ready after the caller's deadline.
    DeadlineCannotBeMet = "deadline_cannot_be_met", 503, Warning, Later(1), SameCircuit,
        "The proof would come too late",
        "Try again after `Retry-After`, or allow more time.";
    /// Asynchronous jobs are disabled: this server has no place to store them.
    JobsDisabled = "jobs_disabled", 503, Notice, Never, SameCircuit,
        "Asynchronous jobs are disabled",
        "Send the request with `Prefer: wait=60` or without `Prefer`, and without `Idempotency-Key`. Operator: set `--data`, `DATABASE_URL` or `--ephemeral-jobs`.";
    /// The job database is unreachable.
    JobStoreUnavailable = "job_store_unavailable", 503, Critical, Later(2), SameCircuit,
        "The job database is not available",
        "Try again after `Retry-After`. Operator: check the database.",
        hides "the server cannot reach its job store at the moment; no accepted job is lost";
    /// The store of witnesses and proofs cannot be reached, read or written.
    ArtifactUnavailable = "artifact_unavailable", 503, Critical, Later(5), SameCircuit,
        "The artifact store is not available",
        "Try again after `Retry-After`. Operator: check the artifact store.",
        hides "the server cannot reach its stored witnesses and proofs at the moment";
    /// The server is starting or shutting down.
    NotReady = "not_ready", 503, Warning, Later(1), SameCircuit,
        "The server is not ready",
        "Try again after `Retry-After`.";
    /// The audit log cannot be written or was replaced, and the server refuses requests that it cannot record.
    AuditUnavailable = "audit_unavailable", 503, Critical, Later(5), SameCircuit,
        "The audit log is not available",
        "Try again after `Retry-After`. Operator: the log names what is wrong with the audit log or its disk.",
        hides "the server cannot write its audit log at the moment, and refuses work that would not be in it";
    /// The upload could not be stored: the spool is full or not writable.
    SpoolUnavailable = "spool_unavailable", 503, Critical, Later(5), SameCircuit,
        "The upload could not be stored",
        "Try again after `Retry-After`. Operator: check the disk of the spool.",
        hides "the server cannot store uploads at the moment";
    /// The server received the witness, but could not read it back for the prover.
    WitnessPreparationFailed = "witness_preparation_failed", 503, Error, Later(5), SameCircuit,
        "The witness could not be prepared",
        "Try again after `Retry-After`. Operator: check the disk of the spool.",
        hides "the server received the witness, but could not read it back";
    /// The unfinished uploads and witnesses, of all callers or of this one, take as many bytes as the server stores.
    TooManyUploads = "too_many_uploads", 503, Warning, Later(2), SameCircuit,
        "Too many uploads at once",
        "Try again after `Retry-After`. Operator: `--spool-max` is the limit.";
    /// The proof took longer than the server allows, so the server stopped it.
    ProofTimeout = "proof_timeout", 504, Error, Later(1), SmallerCircuit,
        "The proof took too long",
        "Try again when the server is less busy, or submit a job.";
    /// The request took longer than the server allows.
    RequestTimeout = "request_timeout", 504, Warning, Later(1), SameCircuit,
        "The request took too long",
        "Try again, or submit a job: a job outlives its request.";
}
