//! One bb process: the conversation with it, and its memory.

use std::{
    io::{self, Read as _},
    sync::Arc,
    time::Duration,
};

use barretenberg_rs::generated_types::Response;
use edgeprove_spool::SpoolError;
use edgeprove_telemetry::process::{self, ProcessStatus};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    process::{ChildStdin, ChildStdout},
};
use zeroize::Zeroizing;

use crate::{
    HandshakeError, MemoryPeaks, ProcessFailure, RecyclePolicy, RestartReason, UnexpectedResponse,
    WitnessSource,
    barretenberg::{
        memory_estimate::FRESH_BYTES,
        wire::{self, Message, ResponseError},
    },
    child_process::{ChildProcess, Ended},
    memory_peaks::Observation,
    recycling::ProcessAge,
};

/// The time that an idle child has to end after its standard input is closed.
const GRACE: Duration = Duration::from_millis(500);

/// In its first proofs a process grows to the memory that its circuit needs. Later growth has other causes.
const SETTLING_PROOFS: u64 = 8;

/// Bytes of a decompressed witness that are sent at once.
const PIECE_BYTES: usize = 64 << 10;

/// A running bb.
pub(super) struct Connection {
    pub(super) child: ChildProcess,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    proofs: u64,
    /// Whether it has made a proof since its memory was last measured.
    has_proved_since: bool,
    /// Resident memory at the last measurement, in bytes.
    resident_bytes: u64,
    /// Resident memory after the first proof, in bytes.
    settled_bytes: Option<u64>,
    /// Whether the kernel's peak belongs to the last proof alone.
    is_peak_fresh: bool,
    proved: ProvedCircuits,
    /// The largest memory that a proof of any circuit it has proved is expected to take.
    largest_bytes: u64,
}

/// Which circuits a process has proved.
enum ProvedCircuits {
    None,
    One(Arc<MemoryPeaks>),
    Several,
}

/// Why a conversation failed.
pub(super) enum ConversationError {
    /// A pipe to or from the child failed.
    Pipe(io::Error),
    /// The witness could not be read from the spool.
    Witness(SpoolError),
    /// bb responded, but not with a result.
    Response(ResponseError),
}

impl From<ResponseError> for ConversationError {
    fn from(error: ResponseError) -> Self {
        Self::Response(error)
    }
}

impl Connection {
    pub(super) fn new(mut child: ChildProcess) -> Result<Self, HandshakeError> {
        let (stdin, stdout) = child.take_pipes().ok_or(HandshakeError::NoPipes)?;
        Ok(Self {
            child,
            stdin,
            stdout: BufReader::new(stdout),
            proofs: 0,
            has_proved_since: false,
            resident_bytes: 0,
            settled_bytes: None,
            is_peak_fresh: true,
            proved: ProvedCircuits::None,
            largest_bytes: 0,
        })
    }

    /// Sends a message and waits for the response.
    pub(super) async fn converse(&mut self, message: &Message) -> Result<Response, ConversationError> {
        self.child.begin_work();
        match message {
            Message::Whole(bytes) => {
                self.stdin.write_all(bytes).await.map_err(ConversationError::Pipe)?;
            }
            Message::Prove { head, witness } => {
                for part in head {
                    self.stdin.write_all(part).await.map_err(ConversationError::Pipe)?;
                }
                self.stream_witness(witness).await?;
            }
        }
        self.stdin.flush().await.map_err(ConversationError::Pipe)?;
        let length = self.stdout.read_u32_le().await.map_err(ConversationError::Pipe)?;
        if length > wire::RESPONSE_MAX_BYTES {
            let (bytes, max_bytes) = (length.into(), wire::RESPONSE_MAX_BYTES.into());
            return Err(ResponseError::from(UnexpectedResponse::TooLong { bytes, max_bytes }).into());
        }
        let mut response = vec![0; length as usize];
        self.stdout.read_exact(&mut response).await.map_err(ConversationError::Pipe)?;
        Ok(wire::response(&response)?)
    }

    async fn stream_witness(&mut self, witness: &WitnessSource) -> Result<(), ConversationError> {
        let unreadable =
            |error| ConversationError::Witness(SpoolError::of("read", witness.file.path(), error));
        let changed = || unreadable(io::Error::new(io::ErrorKind::InvalidData, "its size has changed"));
        let mut decompressed = witness.file.decompressed().map_err(ConversationError::Witness)?;
        let mut piece = Zeroizing::new(vec![0; PIECE_BYTES]);
        let mut left = witness.decompressed_bytes;
        loop {
            // A thread is taken for each piece, because a bb that does not read would hold it otherwise.
            let reading = tokio::task::spawn_blocking(move || {
                let read = decompressed.read(&mut piece);
                (decompressed, piece, read)
            });
            let read;
            (decompressed, piece, read) = reading.await.map_err(|error| unreadable(error.into()))?;
            let read = read.map_err(unreadable)?;
            if read == 0 {
                break;
            }
            left = left.checked_sub(read as u64).ok_or_else(changed)?;
            self.stdin.write_all(&piece[..read]).await.map_err(ConversationError::Pipe)?;
        }
        if left == 0 { Ok(()) } else { Err(changed()) }
    }

    pub(super) fn count_proof(&mut self) {
        self.proofs += 1;
        self.has_proved_since = true;
    }

    /// Measures the resident memory, in bytes. The peak since the last measurement counts for `circuit`, if it was
    /// proved.
    pub(super) fn measure_memory(&mut self, threads: usize, circuit: Option<&Arc<MemoryPeaks>>) -> u64 {
        // Without /proc the memory is unknown, and only the number of proofs counts.
        let Some(pid) = self.child.pid() else { return 0 };
        let Some(ProcessStatus { resident_bytes, peak_bytes }) = ProcessStatus::read(pid) else { return 0 };
        // A child that was started after the proof has not made it.
        let circuit = circuit.filter(|_| std::mem::take(&mut self.has_proved_since));
        if let Some(circuit) = circuit {
            let is_alone = self.note_circuit(circuit) && self.proofs <= SETTLING_PROOFS;
            if is_alone || self.is_peak_fresh {
                let before_bytes = self.resident_bytes;
                circuit.observe(threads, Observation { before_bytes, peak_bytes, is_alone });
            }
            self.largest_bytes = self.largest_bytes.max(circuit.expected(threads));
            self.settled_bytes.get_or_insert(resident_bytes);
        }
        self.is_peak_fresh = process::reset_peak_memory(pid);
        self.resident_bytes = resident_bytes;
        resident_bytes
    }

    /// Notes that the process has proved a circuit. Returns whether it is the only one.
    fn note_circuit(&mut self, circuit: &Arc<MemoryPeaks>) -> bool {
        self.proved = match std::mem::replace(&mut self.proved, ProvedCircuits::Several) {
            ProvedCircuits::None => ProvedCircuits::One(Arc::clone(circuit)),
            ProvedCircuits::One(other) if Arc::ptr_eq(&other, circuit) => ProvedCircuits::One(other),
            ProvedCircuits::One(_) | ProvedCircuits::Several => ProvedCircuits::Several,
        };
        matches!(self.proved, ProvedCircuits::One(_))
    }

    /// Returns why the healthy process is to be replaced, by its last measurement.
    pub(super) fn recycle_reason(&self, policy: RecyclePolicy) -> Option<RestartReason> {
        let resident_bytes = self.resident_bytes;
        let growth_bytes = self.settled_bytes.map_or(0, |settled| resident_bytes.saturating_sub(settled));
        // A fresh process takes some memory before it proves anything.
        let expected_bytes = self.largest_bytes.max(FRESH_BYTES);
        let age = ProcessAge { proofs: self.proofs, resident_bytes, growth_bytes, expected_bytes };
        let reason = policy.reason(age)?;
        tracing::info!(
            prover_pid = self.child.pid(),
            proofs = self.proofs,
            resident_bytes,
            growth_bytes,
            expected_bytes,
            reason = reason.as_str(),
            "prover recycled"
        );
        Some(reason)
    }

    pub(super) async fn kill(&mut self) {
        if let Err(error) = self.child.kill().await {
            tracing::error!(%error, prover_pid = self.child.pid(), "bb could not be killed");
        }
    }

    /// Finds out why a pipe failed: the child died, or it was alive and had to be killed.
    pub(super) async fn post_mortem(&mut self, source: io::Error) -> ProcessFailure {
        // The pipe fails a moment before the exit status is there.
        const STATUS_WAIT: Duration = Duration::from_millis(200);
        match self.child.end(STATUS_WAIT).await {
            Ok(Ended::InGrace(status)) => self.child.death(status).into(),
            Ok(Ended::Killed(_)) => self.no_response(source),
            Err(error) => self.no_response(error),
        }
    }

    /// The failure of a child that was alive, or whose state is unknown.
    pub(super) fn no_response(&self, source: io::Error) -> ProcessFailure {
        ProcessFailure::NoResponse { source, last_words: self.child.last_words() }
    }

    /// Ends a child that is no longer needed.
    pub(super) async fn retire(mut self) {
        // bb ends when its standard input ends.
        drop(self.stdin);
        match self.child.end(GRACE).await {
            Ok(Ended::InGrace(_)) => {}
            Ok(Ended::Killed(_)) => tracing::warn!("an idle bb did not end by itself and was killed"),
            Err(error) => tracing::error!(%error, "bb could not be ended"),
        }
    }
}
