//! One warm `bb msgpack run` and the task that owns it.
//!
//! All others send requests to the task. The task alone talks to the child, measures it and signals it. bb cannot be
//! interrupted, so whatever ends a conversation early (a deadline, a caller that leaves, a broken pipe) ends the child
//! as well. The next child starts before the caller's capacity is released. A free slot therefore always means a prover
//! that is ready, or one that is being recycled at this moment, which takes about 20 ms.

mod connection;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use barretenberg_rs::generated_types::Response;
use connection::{Connection, ConversationError};
use edgeprove_telemetry::{process::ProcessStatus, supervisor::Supervisor};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    memory_estimate,
    program::{BbProgram, Msm},
    wire::{self, Message, ResponseError},
};
use crate::{
    CapacityPermit, GeneratedKey, HandshakeError, LoadLimits, MemoryPeaks, ProcessFailure, ProverError,
    RecyclePolicy, RestartCounts, RestartReason,
    child_process::{ChildDeath, ChildProcess, DeathCause},
};

/// The time that a fresh child has to answer its first request.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// A child that lives this long works. One that dies sooner is started again after a pause.
const SETTLED: Duration = Duration::from_secs(1);
/// First and longest pause before another attempt to start a child.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A request that the child answers.
struct Call {
    message: Message,
    deadline: Instant,
    capacity: CapacityPermit,
    reply: oneshot::Sender<Result<Response, ProverError>>,
}

enum Request {
    Call(Call),
    /// The permit was released: the child's memory is measured, and the child may be recycled.
    Finish {
        /// The circuit that was proved.
        circuit: Option<Arc<MemoryPeaks>>,
    },
    /// The child is replaced.
    Replace {
        reason: RestartReason,
        capacity: CapacityPermit,
    },
}

/// The handle to one daemon. The daemon ends when the handle is dropped.
#[derive(Debug)]
pub struct Daemon {
    threads: usize,
    requests: mpsc::Sender<Request>,
    state: Arc<DaemonState>,
}

/// The state of the child, which the owner writes and others read.
#[derive(Debug, Default)]
struct DaemonState {
    is_up: AtomicBool,
    /// In the order of [`RestartReason::ALL`].
    restarts: [AtomicU64; RestartReason::ALL.len()],
    /// The process id; 0 if no child runs.
    pid: AtomicU32,
    /// Resident memory of the child at the last measurement, in bytes.
    resident_bytes: AtomicU64,
}

impl DaemonState {
    fn count(&self, reason: RestartReason) {
        self.restarts[reason as usize].fetch_add(1, Ordering::Relaxed);
    }
}

impl Daemon {
    /// Starts the owner task, which starts the child at once.
    #[must_use]
    pub fn start(
        program: BbProgram,
        threads: usize,
        recycle: RecyclePolicy,
        supervisor: &Supervisor,
    ) -> Self {
        let (requests, inbox) = mpsc::channel(4);
        let state = Arc::new(DaemonState::default());
        let owner = Owner {
            program,
            threads,
            recycle,
            supervisor: supervisor.clone(),
            state: Arc::clone(&state),
            capacity: None,
            has_failed: false,
        };
        supervisor.spawn("bb owner", owner.run(inbox));
        Self { threads, requests, state }
    }

    /// Sends a message to the child and waits for the response. Dropping the future kills the child. `capacity` lives
    /// until the child, or the next one in its place, is free.
    pub async fn call(
        &self,
        message: Message,
        deadline: Instant,
        capacity: CapacityPermit,
    ) -> Result<Response, ProverError> {
        let (reply, response) = oneshot::channel();
        let call = Call { message, deadline, capacity, reply };
        self.requests.send(Request::Call(call)).await.map_err(|_| ProverError::Stopping)?;
        response.await.map_err(|_| ProverError::Stopping)?
    }

    /// Reports that the permit is released, and the circuit that was proved. It returns at once: the child is measured,
    /// and recycled if necessary, while the response is on its way. The next call waits for that.
    pub fn finish(&self, circuit: Option<Arc<MemoryPeaks>>) {
        // Until the measurement, the child is assumed to take what the proof was expected to take.
        let expected_bytes = circuit.as_ref().map_or(0, |circuit| circuit.expected(self.threads));
        self.state.resident_bytes.fetch_max(expected_bytes, Ordering::Relaxed);
        // A daemon that has ended, or whose inbox is full, is not measured this time.
        let _ = self.requests.try_send(Request::Finish { circuit });
    }

    /// Replaces the child after it made a proof that does not verify.
    pub async fn replace_invalid(&self, capacity: CapacityPermit) {
        // A daemon that has ended has no child to replace.
        let _ = self.requests.send(Request::Replace { reason: RestartReason::InvalidProof, capacity }).await;
    }

    /// Replaces the child so that its memory is freed.
    pub fn reclaim_memory(&self, capacity: CapacityPermit) {
        // A daemon that has ended takes no memory.
        let _ = self.requests.try_send(Request::Replace { reason: RestartReason::MemoryReclaim, capacity });
    }

    /// Whether the child runs and has passed its handshake.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state.is_up.load(Ordering::Acquire)
    }

    /// Returns how many children replaced others, by reason.
    #[must_use]
    pub fn restarts(&self) -> RestartCounts {
        self.state.restarts.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// Returns the process id of the child; `None` if no child runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        Some(self.state.pid.load(Ordering::Relaxed)).filter(|&pid| pid != 0)
    }

    /// Returns the resident memory of the child at the last measurement, in bytes.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        self.state.resident_bytes.load(Ordering::Relaxed)
    }
}

/// The task that owns the child.
struct Owner {
    program: BbProgram,
    threads: usize,
    recycle: RecyclePolicy,
    supervisor: Supervisor,
    state: Arc<DaemonState>,
    /// The capacity of the call that ended the last child, until the next child is ready.
    capacity: Option<CapacityPermit>,
    /// Whether the last child failed at its work. The next one, which may get the same work, then multiplies in bb's
    /// default way.
    has_failed: bool,
}

/// What the owner does after a request.
enum Next {
    /// The same child serves the next request.
    Continue,
    /// Another child is started.
    Replace(RestartReason),
    /// The idle child died.
    Died(ProcessFailure),
    /// No more requests will come.
    Stop,
}

impl Owner {
    async fn run(mut self, mut inbox: mpsc::Receiver<Request>) {
        let stop = self.supervisor.stop_token().clone();
        let mut backoff = BACKOFF.0;
        loop {
            let started = Instant::now();
            let failure = match self.start().await {
                Ok(mut bb) => {
                    tracing::debug!(
                        prover_pid = bb.child.pid(),
                        threads = self.threads,
                        start_ms = edgeprove_telemetry::millis(started.elapsed()),
                        "bb started"
                    );
                    let next = self.serve_while_up(&mut bb, &mut inbox).await;
                    bb.retire().await;
                    self.state.resident_bytes.store(0, Ordering::Relaxed);
                    if stop.is_cancelled() {
                        return;
                    }
                    let reason = match next {
                        Next::Stop => return,
                        // A child that answers and dies at once must not keep the cores busy with restarts.
                        Next::Died(failure) if started.elapsed() < SETTLED => Err(failure),
                        Next::Died(_) | Next::Continue => Ok(RestartReason::Failed),
                        Next::Replace(reason) => Ok(reason),
                    };
                    match reason {
                        Ok(reason) => {
                            backoff = BACKOFF.0;
                            self.state.count(reason);
                            continue;
                        }
                        Err(failure) => failure,
                    }
                }
                Err(failure) => failure,
            };
            tracing::error!(
                error = %edgeprove_telemetry::chain(&failure),
                retry_ms = edgeprove_telemetry::millis(backoff),
                "bb does not start, or ends at once"
            );
            self.capacity = None;
            if !Self::refuse(&mut inbox, failure, backoff, &stop).await {
                return;
            }
            backoff = (backoff * 2).min(BACKOFF.1);
            self.state.count(RestartReason::Failed);
        }
    }

    /// Starts a child and checks that it is bb.
    async fn start(&mut self) -> Result<Connection, ProcessFailure> {
        let mut program = self.program.clone();
        if std::mem::take(&mut self.has_failed) {
            program.msm = Msm::Legacy;
        }
        let child = program.start(["msgpack", "run"], self.threads, &self.supervisor)?;
        let mut bb = Connection::new(child).map_err(ProcessFailure::Handshake)?;
        let ping = wire::ping().map_err(|error| {
            ProcessFailure::Handshake(HandshakeError::Refused { reason: error.to_string() })
        })?;
        let limit = HANDSHAKE_LIMIT;
        let failure = match tokio::time::timeout(limit, bb.converse(&ping)).await {
            Ok(Ok(Response::Blake2sResponse(response))) if response.hash == wire::PONG => return Ok(bb),
            Ok(Ok(_)) => HandshakeError::WrongValue,
            Ok(Err(ConversationError::Response(ResponseError::Refused { reason }))) => {
                HandshakeError::Refused { reason }
            }
            Ok(Err(ConversationError::Response(ResponseError::Unexpected(error)))) => {
                HandshakeError::UnexpectedResponse(error)
            }
            Ok(Err(ConversationError::Pipe(error))) => return Err(bb.post_mortem(error).await),
            // A ping has no witness.
            Ok(Err(ConversationError::Witness(_))) | Err(_) => HandshakeError::NoResponse { limit },
        };
        Err(ProcessFailure::Handshake(failure))
    }

    /// Serves requests with a fresh child. The daemon is up meanwhile.
    async fn serve_while_up(&mut self, bb: &mut Connection, inbox: &mut mpsc::Receiver<Request>) -> Next {
        self.measure_memory(bb, None);
        self.state.pid.store(bb.child.pid().unwrap_or_default(), Ordering::Relaxed);
        self.state.is_up.store(true, Ordering::Release);
        self.capacity = None;
        let next = self.serve(bb, inbox).await;
        self.state.is_up.store(false, Ordering::Release);
        self.state.pid.store(0, Ordering::Relaxed);
        next
    }

    async fn serve(&mut self, bb: &mut Connection, inbox: &mut mpsc::Receiver<Request>) -> Next {
        let stop = self.supervisor.stop_token().clone();
        loop {
            let request = tokio::select! {
                request = inbox.recv() => request,
                () = stop.cancelled() => return Next::Stop,
                status = bb.child.wait() => {
                    let failure = match status {
                        Ok(status) => bb.child.death(status).into(),
                        Err(error) => bb.no_response(error),
                    };
                    tracing::warn!(error = %edgeprove_telemetry::chain(&failure), "an idle bb died");
                    return Next::Died(failure);
                }
            };
            let next = match request {
                None => Next::Stop,
                Some(Request::Replace { reason, capacity }) => {
                    self.has_failed |= reason == RestartReason::InvalidProof;
                    self.capacity = Some(capacity);
                    Next::Replace(reason)
                }
                Some(Request::Call(call)) => self.exchange(bb, call).await,
                Some(Request::Finish { circuit }) => {
                    self.measure_memory(bb, circuit.as_ref());
                    bb.recycle_reason(self.recycle).map_or(Next::Continue, Next::Replace)
                }
            };
            if !matches!(next, Next::Continue) {
                return next;
            }
        }
    }

    fn measure_memory(&self, bb: &mut Connection, circuit: Option<&Arc<MemoryPeaks>>) {
        let resident_bytes = bb.measure_memory(self.threads, circuit);
        self.state.resident_bytes.store(resident_bytes, Ordering::Relaxed);
    }

    /// Answers one call.
    async fn exchange(&mut self, bb: &mut Connection, mut call: Call) -> Next {
        let stop = self.supervisor.stop_token().clone();
        let is_proof = matches!(call.message, Message::Prove { .. });
        let over_budget = ChildProcess::beyond_budget(bb.child.pid(), self.program.memory_max_bytes);
        let ended = tokio::select! {
            biased;
            () = call.reply.closed() => Err(Interruption::CallerLeft),
            () = stop.cancelled() => Err(Interruption::Stopping),
            () = tokio::time::sleep_until(call.deadline.into()) => Err(Interruption::Deadline),
            result = bb.converse(&call.message) => Ok(result),
            cause = over_budget => Err(Interruption::OverBudget(cause)),
        };
        let (result, replace) = match ended {
            Ok(Ok(response)) => (Ok(response), None),
            Ok(Err(ConversationError::Response(ResponseError::Refused { reason }))) => {
                (Err(ProverError::Refused { reason }), None)
            }
            Ok(Err(ConversationError::Response(ResponseError::Unexpected(error)))) => {
                (Err(error.into()), Some(RestartReason::Failed))
            }
            Ok(Err(ConversationError::Witness(error))) => (Err(error.into()), Some(RestartReason::Stopped)),
            Ok(Err(ConversationError::Pipe(error))) => {
                let failure = bb.post_mortem(error).await;
                tracing::error!(error = %edgeprove_telemetry::chain(&failure), "bb died at work");
                self.has_failed = true;
                (Err(ProverError::Crashed(failure)), Some(RestartReason::Failed))
            }
            Err(Interruption::OverBudget(cause)) => {
                let pid = bb.child.pid();
                bb.kill().await;
                let death = ChildDeath { cause, last_words: bb.child.last_words() };
                tracing::error!(prover_pid = pid, %death, "bb took too much memory");
                self.has_failed = true;
                (Err(ProverError::Crashed(death.into())), Some(RestartReason::Failed))
            }
            Err(interruption) => {
                // Killed before the reply, so that the caller hears of the end only once the proof has really ended.
                bb.kill().await;
                tracing::info!(reason = interruption.as_str(), "bb stopped at work");
                (Err(interruption.into()), Some(RestartReason::Stopped))
            }
        };
        if is_proof && result.is_ok() {
            bb.count_proof();
        }
        // A caller that left at this very moment does not need the response.
        let _ = call.reply.send(result);
        match replace {
            Some(reason) => {
                self.capacity = Some(call.capacity);
                Next::Replace(reason)
            }
            None => Next::Continue,
        }
    }

    /// Answers every call with the failure until it is time for another attempt. Returns `false` if no more calls will
    /// come.
    async fn refuse(
        inbox: &mut mpsc::Receiver<Request>,
        failure: ProcessFailure,
        pause: Duration,
        stop: &CancellationToken,
    ) -> bool {
        let failure = Arc::new(failure);
        let until = tokio::time::Instant::now() + pause;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return true,
                () = stop.cancelled() => return false,
                request = inbox.recv() => match request {
                    None => return false,
                    Some(Request::Replace { .. } | Request::Finish { .. }) => {}
                    Some(Request::Call(call)) => {
                        let _ = call.reply.send(Err(ProverError::Unavailable(Arc::clone(&failure))));
                    }
                },
            }
        }
    }
}

/// Why a call was ended before bb responded.
#[derive(Debug, Clone, Copy)]
enum Interruption {
    CallerLeft,
    Stopping,
    Deadline,
    OverBudget(DeathCause),
}

impl Interruption {
    const fn as_str(self) -> &'static str {
        match self {
            Self::CallerLeft => "caller_left",
            Self::Stopping => "server_stops",
            Self::Deadline => "deadline",
            Self::OverBudget(_) => "memory",
        }
    }
}

impl From<Interruption> for ProverError {
    fn from(interruption: Interruption) -> Self {
        match interruption {
            Interruption::Deadline => Self::Timeout,
            Interruption::CallerLeft | Interruption::Stopping | Interruption::OverBudget(_) => Self::Stopping,
        }
    }
}

/// The response of a child that answers one call.
pub(super) struct SingleResponse {
    pub(super) response: Response,
    /// The most memory that the child took, in bytes; `None` if that could not be measured.
    peak_bytes: Option<u64>,
}

impl SingleResponse {
    /// Reads a verification key, and estimates the memory of a proof from the memory that making the key took.
    pub(super) fn generated_key(self) -> Result<GeneratedKey, ProverError> {
        let proof_memory = self.peak_bytes.map(memory_estimate::by_key);
        Ok(GeneratedKey { key: wire::verification_key(self.response)?, proof_memory })
    }
}

/// Starts a child for one call, so that nothing of the call stays in the memory of another child. A child that takes
/// more time or memory than it may is killed.
pub(super) async fn call_once(
    program: &BbProgram,
    threads: usize,
    supervisor: &Supervisor,
    message: Message,
    limits: LoadLimits,
    capacity: CapacityPermit,
) -> Result<SingleResponse, ProverError> {
    let memory_max_bytes = limits.memory_max_bytes.min(program.memory_max_bytes);
    let program = BbProgram { memory_max_bytes, ..program.clone() };
    let daemon = Daemon::start(program, threads, RecyclePolicy::NEVER, supervisor);
    let response = daemon.call(message, limits.deadline, capacity).await?;
    let memory = daemon.pid().and_then(ProcessStatus::read);
    Ok(SingleResponse { response, peak_bytes: memory.map(|memory| memory.peak_bytes) })
}
