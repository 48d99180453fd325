//! One warm `bb msgpack run` and the task that owns it.
//!
//! Everyone else sends the task messages. The task speaks to the child, watches the clock and the asker, and is the
//! only one that ever signals the child. Whatever ends a conversation early (a deadline, an asker that left, a pipe
//! that broke) ends the child as well, for bb cannot be interrupted in any other way; the next child is started before
//! the asker's hold is let go, so that a free slot always means a ready prover.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_compression::tokio::bufread::GzipDecoder;
use barretenberg_rs::generated_types::Response;
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout},
    sync::{mpsc, oneshot},
};

use super::wire::{self, Message};
use crate::{
    prover::{
        ProverError,
        backend::Hold,
        child::{BbProgram, ChildFailure, Msm, StderrTail},
        terminate::{self, Ended},
    },
    supervisor::Supervisor,
};

/// How long an idle child may take to end once its standard input is closed.
const GRACE: Duration = Duration::from_millis(500);
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
}

/// A question for the child.
struct Call {
    message: Message,
    deadline: Instant,
    /// The last question of a proof: afterwards the child may be recycled.
    closing: bool,
    hold: Hold,
    reply: oneshot::Sender<Result<Response, ProverError>>,
}

enum Order {
    Call(Call),
    Replace { hold: Hold },
}

/// The handle to one daemon. The daemon ends when the handle is dropped.
#[derive(Debug)]
pub struct Daemon {
    orders: mpsc::Sender<Order>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    up: AtomicBool,
    restarts: AtomicU64,
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
        Self { orders, shared }
    }

    /// Asks the child and waits for its answer. Dropping the future kills the child. `hold` lives until the child,
    /// or the one that replaces it, is free.
    pub async fn call(
        &self,
        message: Message,
        deadline: Instant,
        closing: bool,
        hold: Hold,
    ) -> Result<Response, ProverError> {
        let (reply, answer) = oneshot::channel();
        let call = Call { message, deadline, closing, hold, reply };
        self.orders.send(Order::Call(call)).await.map_err(|_| ProverError::Stopping)?;
        answer.await.map_err(|_| ProverError::Stopping)?
    }

    /// Replaces the child although it seems well.
    pub async fn replace(&self, hold: Hold) {
        // A daemon that is gone has no child left to distrust.
        let _ = self.orders.send(Order::Replace { hold }).await;
    }

    /// Whether the child runs and has answered its handshake.
    #[must_use]
    pub fn up(&self) -> bool {
        self.shared.up.load(Ordering::Acquire)
    }

    /// Children started after the first.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.shared.restarts.load(Ordering::Relaxed)
    }
}

struct Owner {
    program: BbProgram,
    threads: usize,
    recycle: RecyclePolicy,
    supervisor: Supervisor,
    shared: Arc<Shared>,
    /// The hold of the call that cost the last child its life, until the next child is ready.
    held: Option<Hold>,
    /// Whether the last child failed at its work, so that the next, which may be given the same work, goes about it in
    /// bb's older way.
    failed: bool,
}

struct Bb {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    stderr: StderrTail,
    proofs: u64,
    /// Resident memory after the first proof, in bytes.
    settled_bytes: Option<u64>,
}

enum Next {
    /// Ask this child again.
    Keep,
    /// Start another child.
    Replace,
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
                        start_ms = crate::telemetry::millis(started.elapsed()),
                        "bb is warm"
                    );
                    self.shared.up.store(true, Ordering::Release);
                    self.held = None;
                    let next = self.serve(&mut bb, &mut inbox).await;
                    self.shared.up.store(false, Ordering::Release);
                    bb.retire().await;
                    if matches!(next, Next::Stop) || stop.is_cancelled() {
                        return;
                    }
                    match next {
                        // It answers and dies at once: started again and again, it would only burn the cores.
                        Next::Died(failure) if started.elapsed() < SETTLED => failure,
                        _ => {
                            backoff = BACKOFF.0;
                            self.shared.restarts.fetch_add(1, Ordering::Relaxed);
                            continue;
                        }
                    }
                }
                Err(failure) => failure,
            };
            tracing::error!(
                error = %crate::telemetry::chain(&failure),
                retry_ms = crate::telemetry::millis(backoff),
                "bb does not start, or does not stay"
            );
            self.held = None;
            if !Self::refuse(&mut inbox, failure, backoff, &stop).await {
                return;
            }
            backoff = (backoff * 2).min(BACKOFF.1);
            self.shared.restarts.fetch_add(1, Ordering::Relaxed);
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
        let stdout = BufReader::new(stdout);
        let mut bb = Bb { child, stdin, stdout, stderr, proofs: 0, settled_bytes: None };
        let ping = wire::ping().map_err(|error| ChildFailure::Handshake { what: error.to_string() })?;
        match tokio::time::timeout(HANDSHAKE, bb.converse(&ping)).await {
            Ok(Ok(Response::Blake2sResponse(answer))) if answer.hash == wire::PONG => Ok(bb),
            Ok(Ok(_)) => {
                Err(ChildFailure::Handshake { what: "a wrong answer to a known question".to_owned() })
            }
            Ok(Err(Broken::Answer(error))) => {
                let what = crate::telemetry::chain(&error);
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
                    tracing::warn!(error = %crate::telemetry::chain(&failure), "an idle bb died");
                    return Next::Died(failure);
                }
            };
            let next = match order {
                None => Next::Stop,
                Some(Order::Replace { hold }) => {
                    self.failed = true;
                    self.held = Some(hold);
                    Next::Replace
                }
                Some(Order::Call(call)) => self.exchange(bb, call).await,
            };
            if !matches!(next, Next::Keep) {
                return next;
            }
        }
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
        let (answer, keep) = match ended {
            Ok(Ok(response)) => (Ok(response), true),
            Ok(Err(Broken::Answer(refused @ ProverError::Refused { .. }))) => (Err(refused), true),
            Ok(Err(Broken::Answer(garbled))) => (Err(garbled), false),
            Ok(Err(Broken::Witness(error))) => (Err(ProverError::Spool(error)), false),
            Ok(Err(Broken::Pipe(error))) => {
                let failure = bb.post_mortem(error).await;
                tracing::error!(error = %crate::telemetry::chain(&failure), "bb died at work");
                self.failed = true;
                (Err(ProverError::Crashed(failure)), false)
            }
            Err(interrupted) => {
                // Killed here and not later, so that the asker is told only when its proof has really ended.
                bb.kill().await;
                tracing::info!(why = interrupted.as_str(), "a proof was stopped");
                let error = match interrupted {
                    Interrupted::Deadline => ProverError::Timeout,
                    Interrupted::AskerLeft | Interrupted::Stopping => ProverError::Stopping,
                };
                (Err(error), false)
            }
        };
        if proving && answer.is_ok() {
            bb.count_proof();
        }
        // An asker that left in this very moment does not miss the answer.
        let _ = call.reply.send(answer);
        if !keep || (call.closing && bb.is_worn(self.recycle)) {
            self.held = Some(call.hold);
            return Next::Replace;
        }
        Next::Keep
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
                    Some(Order::Replace { .. }) => {}
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

enum Broken {
    Pipe(std::io::Error),
    Witness(std::io::Error),
    Answer(ProverError),
}

impl Bb {
    async fn converse(&mut self, message: &Message) -> Result<Response, Broken> {
        match message {
            Message::Whole(bytes) => self.stdin.write_all(bytes).await.map_err(Broken::Pipe)?,
            Message::Prove { head, witness } => {
                for part in head {
                    self.stdin.write_all(part).await.map_err(Broken::Pipe)?;
                }
                self.stream_witness(witness).await?;
            }
        }
        self.stdin.flush().await.map_err(Broken::Pipe)?;
        let length = self.stdout.read_u32_le().await.map_err(Broken::Pipe)?;
        if length > wire::ANSWER_MAX_BYTES {
            let what = format!("an answer of {length} bytes");
            return Err(Broken::Answer(ProverError::Garbled { what }));
        }
        let mut answer = vec![0; length as usize];
        self.stdout.read_exact(&mut answer).await.map_err(Broken::Pipe)?;
        wire::answer(&answer).map_err(Broken::Answer)
    }

    async fn stream_witness(&mut self, witness: &crate::prover::WitnessSource) -> Result<(), Broken> {
        let file = File::open(&witness.file).await.map_err(Broken::Witness)?;
        let mut inflated = GzipDecoder::new(BufReader::with_capacity(16 << 10, file));
        let mut piece = vec![0; 16 << 10];
        let mut left = witness.inflated_bytes;
        loop {
            let read = inflated.read(&mut piece).await.map_err(Broken::Witness)?;
            if read == 0 {
                break;
            }
            left = left.checked_sub(read as u64).ok_or_else(|| Broken::Witness(changed_size()))?;
            self.stdin.write_all(&piece[..read]).await.map_err(Broken::Pipe)?;
        }
        if left == 0 { Ok(()) } else { Err(Broken::Witness(changed_size())) }
    }

    fn count_proof(&mut self) {
        self.proofs += 1;
        if self.settled_bytes.is_none() {
            self.settled_bytes = self.resident_bytes();
        }
    }

    fn is_worn(&self, policy: RecyclePolicy) -> bool {
        let grown =
            self.settled_bytes.zip(self.resident_bytes()).map_or(0, |(then, now)| now.saturating_sub(then));
        let worn = self.proofs >= policy.proofs || grown > policy.growth_bytes;
        if worn {
            tracing::info!(
                bb_pid = self.child.id(),
                proofs = self.proofs,
                grown_bytes = grown,
                "bb is recycled"
            );
        }
        worn
    }

    /// From /proc; `None` on systems without it, where only the number of proofs counts.
    fn resident_bytes(&self) -> Option<u64> {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id()?)).ok()?;
        let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
        Some(pages * rustix::param::page_size() as u64)
    }

    async fn kill(&mut self) {
        if let Err(error) = terminate::kill(&mut self.child).await {
            tracing::error!(%error, bb_pid = self.child.id(), "bb could not be killed");
        }
    }

    /// Why the pipe broke: how the child ended, or that it had to be killed.
    async fn post_mortem(&mut self, source: std::io::Error) -> ChildFailure {
        // The pipe breaks a moment before the exit status can be had.
        let ended = terminate::end(&mut self.child, Duration::from_millis(200)).await;
        let last_words = self.stderr.last_words();
        match ended {
            Ok(Ended::InGrace(status)) => ChildFailure::Ended { status, last_words },
            Ok(Ended::Killed(_)) => ChildFailure::Mute { source, last_words },
            Err(source) => ChildFailure::Mute { source, last_words },
        }
    }

    /// Ends a child that is not wanted any more.
    async fn retire(mut self) {
        // bb leaves when its standard input ends.
        drop(self.stdin);
        match terminate::end(&mut self.child, GRACE).await {
            Ok(Ended::InGrace(_)) => {}
            Ok(Ended::Killed(_)) => tracing::warn!("an idle bb had to be killed"),
            Err(error) => tracing::error!(%error, "bb could not be ended"),
        }
    }
}

fn changed_size() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, "the spooled witness changed its size")
}
