//! One warm `bb msgpack run` and the task that owns it.
//!
//! Everyone else sends the task messages. The task speaks to the child, watches the clock and the asker, and is the
//! only one that ever signals the child. Whatever ends a conversation early (a deadline, an asker that left, a pipe
//! that broke) ends the child as well, for bb cannot be interrupted in any other way; the next child is started before
//! the asker's hold is let go, so that a free slot always means a ready prover, or one that is recycled at this moment,
//! which takes some 20 ms.

mod bb;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use barretenberg_rs::generated_types::Response;
use bb::{Bb, Broken};
use tokio::sync::{mpsc, oneshot};

use super::wire::{self, Message};
use crate::{
    MemoryPeaks, ProverError, Restart,
    backend::{CapacityPermit, Restarts},
    child::{BbProgram, ChildFailure, Msm},
    memory::MemoryUse,
};
use edgeprove_telemetry::supervisor::Supervisor;

/// How long a fresh child may take to answer its first question.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A child that lived this long without dying by itself is one that works.
const SETTLED: Duration = Duration::from_secs(1);
/// First and longest pause before a child that could not be started is tried again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// When a healthy child is replaced all the same.
#[derive(Debug, Clone, Copy)]
pub struct RecyclePolicy {
    /// After this many proofs.
    pub proofs: u64,
    /// When it has grown by this much since its first proof, in bytes.
    pub growth_bytes: u64,
    /// When it holds more than so many thousandths of what the circuits it has proved take.
    pub drift_permille: u64,
}

impl RecyclePolicy {
    /// For a child that answers one question.
    pub(super) const NEVER: Self =
        Self { proofs: u64::MAX, growth_bytes: u64::MAX, drift_permille: u64::MAX };
}

/// A question for the child.
struct Call {
    message: Message,
    deadline: Instant,
    hold: CapacityPermit,
    reply: oneshot::Sender<Result<Response, ProverError>>,
}

enum Order {
    Call(Call),
    /// Whoever asked asks no more: the child is looked at, and may be recycled.
    Done {
        /// The circuit that was proved.
        circuit: Option<Arc<MemoryPeaks>>,
    },
    Replace {
        why: Restart,
        hold: CapacityPermit,
    },
}

/// The handle to one daemon. The daemon ends when the handle is dropped.
#[derive(Debug)]
pub struct Daemon {
    threads: usize,
    orders: mpsc::Sender<Order>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    up: AtomicBool,
    /// In the order of [`Restart::ALL`].
    restarts: [AtomicU64; Restart::ALL.len()],
    /// The child; 0 where there is none.
    pid: AtomicU32,
    /// What the child held when it last finished something, in bytes.
    resident_bytes: AtomicU64,
}

impl Shared {
    fn count(&self, why: Restart) {
        self.restarts[why as usize].fetch_add(1, Ordering::Relaxed);
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
        let (orders, inbox) = mpsc::channel(4);
        let shared = Arc::new(Shared::default());
        let owner = Owner {
            program,
            threads,
            recycle,
            supervisor: supervisor.clone(),
            shared: Arc::clone(&shared),
            held: None,
            failed: false,
        };
        supervisor.spawn("bb owner", owner.run(inbox));
        Self { threads, orders, shared }
    }

    /// Asks the child and waits for its answer. Dropping the future kills the child. `hold` lives until the child,
    /// or the one that replaces it, is free.
    pub async fn call(
        &self,
        message: Message,
        deadline: Instant,
        hold: CapacityPermit,
    ) -> Result<Response, ProverError> {
        let (reply, answer) = oneshot::channel();
        let call = Call { message, deadline, hold, reply };
        self.orders.send(Order::Call(call)).await.map_err(|_| ProverError::Stopping)?;
        answer.await.map_err(|_| ProverError::Stopping)?
    }

    /// Says that nothing more will be asked for now, and which circuit was proved. Takes no time of whoever says so: the
    /// child is looked at, and recycled if need be, while the answer is on its way. Whoever asks next waits for that.
    pub fn done(&self, circuit: Option<Arc<MemoryPeaks>>) {
        // Until it is looked at, it holds what the proof was expected to take.
        let expected_bytes = circuit.as_ref().map_or(0, |circuit| circuit.expected(self.threads));
        self.shared.resident_bytes.fetch_max(expected_bytes, Ordering::Relaxed);
        // A daemon that is gone, or has as many orders as it takes, is not looked at this time.
        let _ = self.orders.try_send(Order::Done { circuit });
    }

    /// Replaces the child although it seems well.
    pub async fn replace(&self, hold: CapacityPermit) {
        // A daemon that is gone has no child left to distrust.
        let _ = self.orders.send(Order::Replace { why: Restart::Distrusted, hold }).await;
    }

    /// Replaces the child so that it gives back its memory.
    pub fn shed(&self, hold: CapacityPermit) {
        // A daemon that is gone holds none.
        let _ = self.orders.try_send(Order::Replace { why: Restart::Shed, hold });
    }

    /// Whether the child runs and has answered its handshake.
    #[must_use]
    pub fn up(&self) -> bool {
        self.shared.up.load(Ordering::Acquire)
    }

    /// Children started after the first.
    #[must_use]
    pub fn restarts(&self) -> Restarts {
        self.shared.restarts.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// The child, while there is one.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        Some(self.shared.pid.load(Ordering::Relaxed)).filter(|&pid| pid != 0)
    }

    /// What the child held when it last finished something, in bytes.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        self.shared.resident_bytes.load(Ordering::Relaxed)
    }

    /// What the child's memory is at this moment.
    #[must_use]
    pub fn memory(&self) -> Option<MemoryUse> {
        MemoryUse::of(self.pid()?)
    }
}

struct Owner {
    program: BbProgram,
    threads: usize,
    recycle: RecyclePolicy,
    supervisor: Supervisor,
    shared: Arc<Shared>,
    /// The hold of the call that cost the last child its life, until the next child is ready.
    held: Option<CapacityPermit>,
    /// Whether the last child failed at its work, so that the next, which may be given the same work, goes about it in
    /// bb's older way.
    failed: bool,
}

enum Next {
    /// Ask this child again.
    Keep,
    /// Start another child.
    Replace(Restart),
    /// The child died with nothing to do.
    Died(ChildFailure),
    /// No one will ask any more.
    Stop,
}

impl Owner {
    async fn run(mut self, mut inbox: mpsc::Receiver<Order>) {
        let stop = self.supervisor.stop_token().clone();
        let mut backoff = BACKOFF.0;
        loop {
            let started = Instant::now();
            let failure = match self.start().await {
                Ok(mut bb) => {
                    tracing::debug!(
                        bb_pid = bb.child.id(),
                        threads = self.threads,
                        start_ms = edgeprove_telemetry::millis(started.elapsed()),
                        "bb is warm"
                    );
                    self.look(&mut bb, None);
                    self.shared.pid.store(bb.child.id().unwrap_or_default(), Ordering::Relaxed);
                    self.shared.up.store(true, Ordering::Release);
                    self.held = None;
                    let next = self.serve(&mut bb, &mut inbox).await;
                    self.shared.up.store(false, Ordering::Release);
                    self.shared.pid.store(0, Ordering::Relaxed);
                    bb.retire().await;
                    self.shared.resident_bytes.store(0, Ordering::Relaxed);
                    if matches!(next, Next::Stop) || stop.is_cancelled() {
                        return;
                    }
                    match next {
                        // It answers and dies at once: started again and again, it would only burn the cores.
                        Next::Died(failure) if started.elapsed() < SETTLED => failure,
                        next => {
                            backoff = BACKOFF.0;
                            self.shared.count(if let Next::Replace(why) = next {
                                why
                            } else {
                                Restart::Failed
                            });
                            continue;
                        }
                    }
                }
                Err(failure) => failure,
            };
            tracing::error!(
                error = %edgeprove_telemetry::chain(&failure),
                retry_ms = edgeprove_telemetry::millis(backoff),
                "bb does not start, or does not stay"
            );
            self.held = None;
            if !Self::refuse(&mut inbox, failure, backoff, &stop).await {
                return;
            }
            backoff = (backoff * 2).min(BACKOFF.1);
            self.shared.count(Restart::Failed);
        }
    }

    async fn start(&mut self) -> Result<Bb, ChildFailure> {
        let mut program = self.program.clone();
        if std::mem::take(&mut self.failed) {
            program.msm = Msm::Legacy;
        }
        let (mut child, stderr) = program.start(["msgpack", "run"], self.threads, &self.supervisor)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let Some((stdin, stdout)) = pipes else {
            return Err(ChildFailure::Handshake { what: "it has no pipes".to_owned() });
        };
        let mut bb = Bb::new(child, stdin, stdout, stderr);
        let ping = wire::ping().map_err(|error| ChildFailure::Handshake { what: error.to_string() })?;
        match tokio::time::timeout(HANDSHAKE, bb.converse(&ping)).await {
            Ok(Ok(Response::Blake2sResponse(answer))) if answer.hash == wire::PONG => Ok(bb),
            Ok(Ok(_)) => {
                Err(ChildFailure::Handshake { what: "a wrong answer to a known question".to_owned() })
            }
            Ok(Err(Broken::Answer(error))) => {
                let what = edgeprove_telemetry::chain(&error);
                Err(ChildFailure::Handshake { what })
            }
            Ok(Err(Broken::Pipe(error))) => Err(bb.post_mortem(error).await),
            Ok(Err(Broken::Witness(_))) | Err(_) => {
                Err(ChildFailure::Handshake { what: format!("no answer within {} s", HANDSHAKE.as_secs()) })
            }
        }
    }

    async fn serve(&mut self, bb: &mut Bb, inbox: &mut mpsc::Receiver<Order>) -> Next {
        let stop = self.supervisor.stop_token().clone();
        loop {
            let order = tokio::select! {
                order = inbox.recv() => order,
                () = stop.cancelled() => return Next::Stop,
                status = bb.child.wait() => {
                    let last_words = bb.stderr.last_words();
                    let failure = match status {
                        Ok(status) => ChildFailure::Ended { status, last_words },
                        Err(source) => ChildFailure::Mute { source, last_words },
                    };
                    tracing::warn!(error = %edgeprove_telemetry::chain(&failure), "an idle bb died");
                    return Next::Died(failure);
                }
            };
            let next = match order {
                None => Next::Stop,
                Some(Order::Replace { why, hold }) => {
                    self.failed |= why == Restart::Distrusted;
                    self.held = Some(hold);
                    Next::Replace(why)
                }
                Some(Order::Call(call)) => self.exchange(bb, call).await,
                Some(Order::Done { circuit }) => {
                    self.look(bb, circuit.as_ref());
                    bb.is_worn(self.recycle).map_or(Next::Keep, Next::Replace)
                }
            };
            if !matches!(next, Next::Keep) {
                return next;
            }
        }
    }

    /// Looks at what the child holds, for whoever wants to know.
    fn look(&self, bb: &mut Bb, circuit: Option<&Arc<MemoryPeaks>>) {
        let resident_bytes = bb.look(self.threads, circuit);
        self.shared.resident_bytes.store(resident_bytes, Ordering::Relaxed);
    }

    async fn exchange(&mut self, bb: &mut Bb, mut call: Call) -> Next {
        let stop = self.supervisor.stop_token().clone();
        let proving = matches!(call.message, Message::Prove { .. });
        let ended = tokio::select! {
            biased;
            () = call.reply.closed() => Err(Interrupted::AskerLeft),
            () = stop.cancelled() => Err(Interrupted::Stopping),
            () = tokio::time::sleep_until(call.deadline.into()) => Err(Interrupted::Deadline),
            result = bb.converse(&call.message) => Ok(result),
        };
        let (answer, replace) = match ended {
            Ok(Ok(response)) => (Ok(response), None),
            Ok(Err(Broken::Answer(refused @ ProverError::Refused { .. }))) => (Err(refused), None),
            Ok(Err(Broken::Answer(garbled))) => (Err(garbled), Some(Restart::Failed)),
            Ok(Err(Broken::Witness(error))) => (Err(ProverError::Spool(error)), Some(Restart::Stopped)),
            Ok(Err(Broken::Pipe(error))) => {
                let failure = bb.post_mortem(error).await;
                tracing::error!(error = %edgeprove_telemetry::chain(&failure), "bb died at work");
                self.failed = true;
                (Err(ProverError::Crashed(failure)), Some(Restart::Failed))
            }
            Err(interrupted) => {
                // Killed here and not later, so that the asker is told only when its proof has really ended.
                bb.kill().await;
                tracing::info!(why = interrupted.as_str(), "a proof was stopped");
                let error = match interrupted {
                    Interrupted::Deadline => ProverError::Timeout,
                    Interrupted::AskerLeft | Interrupted::Stopping => ProverError::Stopping,
                };
                (Err(error), Some(Restart::Stopped))
            }
        };
        if proving && answer.is_ok() {
            bb.count_proof();
        }
        // An asker that left in this very moment does not miss the answer.
        let _ = call.reply.send(answer);
        match replace {
            Some(why) => {
                self.held = Some(call.hold);
                Next::Replace(why)
            }
            None => Next::Keep,
        }
    }

    /// Answers every call with the failure until it is time to try again; `false` when nobody will call any more.
    async fn refuse(
        inbox: &mut mpsc::Receiver<Order>,
        failure: ChildFailure,
        pause: Duration,
        stop: &tokio_util::sync::CancellationToken,
    ) -> bool {
        let failure = Arc::new(failure);
        let until = tokio::time::Instant::now() + pause;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return true,
                () = stop.cancelled() => return false,
                order = inbox.recv() => match order {
                    None => return false,
                    Some(Order::Replace { .. } | Order::Done { .. }) => {}
                    Some(Order::Call(call)) => {
                        let _ = call.reply.send(Err(ProverError::Unavailable(Arc::clone(&failure))));
                    }
                },
            }
        }
    }
}

enum Interrupted {
    AskerLeft,
    Stopping,
    Deadline,
}

impl Interrupted {
    fn as_str(&self) -> &'static str {
        match self {
            Self::AskerLeft => "the asker left",
            Self::Stopping => "the server stops",
            Self::Deadline => "its deadline passed",
        }
    }
}

/// Asks a child that lives for this one question, so that nothing of it stays in the memory of another. Also tells the
/// most memory it took, where that can be read.
pub(super) async fn ask_once(
    program: &BbProgram,
    threads: usize,
    supervisor: &Supervisor,
    message: Message,
    deadline: Instant,
    hold: CapacityPermit,
) -> Result<(Response, Option<u64>), ProverError> {
    let daemon = Daemon::start(program.clone(), threads, RecyclePolicy::NEVER, supervisor);
    let response = daemon.call(message, deadline, hold).await?;
    Ok((response, daemon.memory().map(|memory| memory.peak_bytes)))
}
