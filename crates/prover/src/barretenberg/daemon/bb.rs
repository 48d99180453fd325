//! One bb process: talking to it, and knowing what it has done and holds.

use std::{sync::Arc, time::Duration};

use async_compression::tokio::bufread::GzipDecoder;
use barretenberg_rs::generated_types::Response;
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout},
};

use super::RecyclePolicy;
use crate::{
    MemoryPeaks, ProverError, Restart,
    barretenberg::wire::{self, Message},
    child::{ChildFailure, StderrTail},
    memory::{self, FRESH_BYTES, MemoryUse, Observation},
    terminate::{self, Ended},
};

/// How long an idle child may take to end once its standard input is closed.
const GRACE: Duration = Duration::from_millis(500);

/// In its first few proofs a process grows to what it takes; what it grows by afterwards is not the circuit's doing.
const SETTLING_PROOFS: u64 = 8;

/// A running bb.
pub(super) struct Bb {
    pub(super) child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    pub(super) stderr: StderrTail,
    proofs: u64,
    /// Whether it has made a proof since it was last looked at.
    proved_since: bool,
    /// What it held when it was last looked at.
    resident_bytes: u64,
    /// Resident memory after the first proof, in bytes.
    settled_bytes: Option<u64>,
    /// Whether the kernel's peak is that of the last proof, and not of all.
    peak_is_fresh: bool,
    proved: ProofResult,
    /// The most that any circuit it has proved is expected to take.
    largest_bytes: u64,
}

/// Which circuits a process has proved.
enum ProofResult {
    None,
    Only(Arc<MemoryPeaks>),
    Several,
}

/// Why a conversation came to no good end.
pub(super) enum Broken {
    Pipe(std::io::Error),
    Witness(std::io::Error),
    Answer(ProverError),
}

impl Bb {
    pub(super) fn new(child: Child, stdin: ChildStdin, stdout: ChildStdout, stderr: StderrTail) -> Self {
        Self {
            child,
            stdin,
            stdout: BufReader::new(stdout),
            stderr,
            proofs: 0,
            proved_since: false,
            resident_bytes: 0,
            settled_bytes: None,
            peak_is_fresh: true,
            proved: ProofResult::None,
            largest_bytes: 0,
        }
    }

    pub(super) async fn converse(&mut self, message: &Message) -> Result<Response, Broken> {
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
            return Err(Broken::Answer(ProverError::UnexpectedResponse { what }));
        }
        let mut answer = vec![0; length as usize];
        self.stdout.read_exact(&mut answer).await.map_err(Broken::Pipe)?;
        wire::answer(&answer).map_err(Broken::Answer)
    }

    async fn stream_witness(&mut self, witness: &crate::WitnessSource) -> Result<(), Broken> {
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

    pub(super) fn count_proof(&mut self) {
        self.proofs += 1;
        self.proved_since = true;
    }

    /// Looks at what it holds now, in bytes. What it took at most meanwhile is put down to `circuit`, if it proved one.
    pub(super) fn look(&mut self, threads: usize, circuit: Option<&Arc<MemoryPeaks>>) -> u64 {
        // Without /proc nothing is known of memory, and only the number of proofs counts.
        let Some(pid) = self.child.id() else { return 0 };
        let Some(MemoryUse { resident_bytes, peak_bytes }) = MemoryUse::of(pid) else { return 0 };
        // A child that was started meanwhile has not made the proof.
        let circuit = circuit.filter(|_| std::mem::take(&mut self.proved_since));
        if let Some(circuit) = circuit {
            let alone = self.proves(circuit) && self.proofs <= SETTLING_PROOFS;
            if alone || self.peak_is_fresh {
                let before_bytes = self.resident_bytes;
                circuit.observe(threads, Observation { before_bytes, peak_bytes, alone });
            }
            self.largest_bytes = self.largest_bytes.max(circuit.expected(threads));
            self.settled_bytes.get_or_insert(resident_bytes);
        }
        self.peak_is_fresh = memory::forget_peak(pid);
        self.resident_bytes = resident_bytes;
        resident_bytes
    }

    /// Notes that it has proved a circuit; whether it is the only one.
    fn proves(&mut self, circuit: &Arc<MemoryPeaks>) -> bool {
        self.proved = match std::mem::replace(&mut self.proved, ProofResult::Several) {
            ProofResult::None => ProofResult::Only(Arc::clone(circuit)),
            ProofResult::Only(other) if Arc::ptr_eq(&other, circuit) => ProofResult::Only(other),
            ProofResult::Only(_) | ProofResult::Several => ProofResult::Several,
        };
        matches!(self.proved, ProofResult::Only(_))
    }

    /// Why it should be replaced although it is well. Judges by what was seen at the last look.
    pub(super) fn is_worn(&self, policy: RecyclePolicy) -> Option<Restart> {
        let resident_bytes = self.resident_bytes;
        let grown = self.settled_bytes.map_or(0, |settled| resident_bytes.saturating_sub(settled));
        let drifted = self.proofs > 0 && policy.has_drifted(resident_bytes, self.largest_bytes);
        let why = if self.proofs >= policy.proofs {
            Restart::Worn
        } else if grown > policy.growth_bytes || drifted {
            Restart::Grown
        } else {
            return None;
        };
        tracing::info!(
            bb_pid = self.child.id(),
            proofs = self.proofs,
            resident_bytes,
            grown_bytes = grown,
            expected_bytes = self.largest_bytes,
            why = why.as_str(),
            "bb is recycled"
        );
        Some(why)
    }

    pub(super) async fn kill(&mut self) {
        if let Err(error) = terminate::kill(&mut self.child).await {
            tracing::error!(%error, bb_pid = self.child.id(), "bb could not be killed");
        }
    }

    /// Why the pipe broke: how the child ended, or that it had to be killed.
    pub(super) async fn post_mortem(&mut self, source: std::io::Error) -> ChildFailure {
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
    pub(super) async fn retire(mut self) {
        // bb leaves when its standard input ends.
        drop(self.stdin);
        match terminate::end(&mut self.child, GRACE).await {
            Ok(Ended::InGrace(_)) => {}
            Ok(Ended::Killed(_)) => tracing::warn!("an idle bb had to be killed"),
            Err(error) => tracing::error!(%error, "bb could not be ended"),
        }
    }
}

impl RecyclePolicy {
    /// Whether a process holds far more than the circuits it has proved take.
    fn has_drifted(&self, resident_bytes: u64, expected_bytes: u64) -> bool {
        let expected = expected_bytes.max(FRESH_BYTES);
        let permille = u128::from(self.drift_permille);
        u128::from(resident_bytes) * 1000 > u128::from(expected) * permille
    }
}

fn changed_size() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, "the spooled witness changed its size")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_holds_a_multiple_of_what_its_circuits_take_has_drifted() {
        let policy = RecyclePolicy { proofs: 1000, growth_bytes: u64::MAX, drift_permille: 2000 };
        assert!(!policy.has_drifted(40 << 20, 20 << 20));
        assert!(policy.has_drifted((40 << 20) + 1, 20 << 20));
        assert!(!policy.has_drifted(2 * FRESH_BYTES, 0), "a fresh one holds something as well");
        assert!(policy.has_drifted(u64::MAX, u64::MAX / 4));
    }
}
