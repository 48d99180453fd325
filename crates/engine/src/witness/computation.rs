//! Computes a witness from inputs, and puts it into the spool as if it had been uploaded.
//!
//! Only a few witnesses are computed at once, because nothing else accounts for their memory and cores. Others wait for a
//! while, and are refused when that takes too long. Callers take turns, and none can hold all permits ([`turns`]). The
//! computation ends when its caller leaves.

pub mod turns;

use std::{
    sync::{Arc, LazyLock, atomic::AtomicBool},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use edgeprove_protocol::{HasProblemType, ProblemType};
use edgeprove_spool::{Bound, Spool, SpoolError};
use turns::{Running, Turns};

use super::intake::SpooledWitness;
use crate::{
    circuits::Circuit,
    private_thread::{self, CancelOnDrop, NoResult},
    proof_systems::{ComputationError, ComputationLimits, ComputedWitness, inputs::InputDocument},
};

/// The most memory of one unconstrained function or program, in bytes.
const FUNCTION_MEMORY_MAX_BYTES: u64 = 128 << 20;
/// Bounds of the number of witnesses that are computed at once.
const RUNNING: std::ops::RangeInclusive<usize> = 2..=8;
/// Most witnesses that are computed or wait for it.
const ADMITTED_MAX: usize = 64;
/// Longest wait.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Bytes that are written to the spool at once.
const PIECE_BYTES: usize = 1 << 20;

/// As many computations run as there are cores, within bounds.
static TURNS: LazyLock<Arc<Turns>> = LazyLock::new(|| {
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Turns::new(cores.clamp(*RUNNING.start(), *RUNNING.end()), ADMITTED_MAX)
});

/// Why no witness was computed.
#[derive(Debug, thiserror::Error)]
pub enum ComputeError {
    /// There is no witness for these inputs.
    #[error(transparent)]
    Computation(#[from] ComputationError),
    /// Too many witnesses are being computed, for all callers or for this one.
    #[error("the server computes as many witnesses {}", match .0 {
        Bound::All => "as it can",
        Bound::Owner => "of this caller as of one caller at once",
    })]
    Busy(Bound),
    /// The spool could not store the witness.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// No thread could be started.
    #[error("no thread could be started for the computation")]
    NoThread(#[source] std::io::Error),
    /// The server stopped.
    #[error("the computation was stopped")]
    Stopped,
}

impl HasProblemType for ComputeError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Computation(error) => error.kind(),
            Self::Busy(_) => ProblemType::ProverBusy,
            Self::Spool(error) => error.kind(),
            Self::NoThread(_) => ProblemType::WitnessPreparationFailed,
            Self::Stopped => ProblemType::NotReady,
        }
    }

    fn field(&self) -> Option<&str> {
        match self {
            Self::Computation(error) => error.field(),
            Self::Busy(_) | Self::Spool(_) | Self::NoThread(_) | Self::Stopped => None,
        }
    }
}

/// Computes the witness of inputs, within a time limit, and writes it to the spool. [`super::check`] comes next. `account`
/// is the caller's, who takes turns with others.
///
/// 1. Too many computations: [`ComputeError::Busy`], at once or after a wait.
/// 2. The inputs are checked and the circuit is solved on a thread of its own, whose panics are errors.
/// 3. The witness is written to the spool.
pub async fn compute(
    inputs: InputDocument,
    circuit: &Arc<Circuit>,
    account: &str,
    spool: &Spool,
    time_limit: Duration,
) -> Result<SpooledWitness, ComputeError> {
    let waited = tokio::time::timeout(WAIT_MAX, TURNS.take(account)).await;
    let running = waited.map_err(|_| ComputeError::Busy(Bound::All))?.map_err(ComputeError::Busy)?;
    let computed = on_a_thread(inputs, Arc::clone(circuit), time_limit, running).await?;
    write(computed, spool).await
}

async fn on_a_thread(
    inputs: InputDocument,
    circuit: Arc<Circuit>,
    time_limit: Duration,
    running: Running,
) -> Result<ComputedWitness, ComputeError> {
    let is_cancelled = Arc::new(AtomicBool::new(false));
    let _cancel = CancelOnDrop(Arc::clone(&is_cancelled));
    let work = move || {
        // Released when the work ends, which may be after its caller has left.
        let _running = running;
        let limits = ComputationLimits {
            deadline: Instant::now() + time_limit,
            memory_max_bytes: FUNCTION_MEMORY_MAX_BYTES,
            is_cancelled,
        };
        circuit.compute_witness(&inputs, &limits)
    };
    match private_thread::run(work).await {
        Ok(computed) => Ok(computed?),
        // Solvers assert properties of circuits that a compiler wrote, and a circuit may come from elsewhere.
        Err(NoResult::Panicked) => {
            let reason = "the solver failed on it".to_owned();
            Err(ComputationError::Unsupported { reason }.into())
        }
        Err(NoResult::Stopped) => Err(ComputeError::Stopped),
        Err(NoResult::NotStarted(source)) => Err(ComputeError::NoThread(source)),
    }
}

async fn write(computed: ComputedWitness, spool: &Spool) -> Result<SpooledWitness, ComputeError> {
    let ComputedWitness { gzip, decompressed_bytes } = computed;
    let mut file = spool.create()?;
    let mut rest = Bytes::from_owner(gzip);
    while !rest.is_empty() {
        file.append(rest.split_to(rest.len().min(PIECE_BYTES))).await?;
    }
    Ok(SpooledWitness { compressed_bytes: file.len(), file, decompressed_bytes })
}
