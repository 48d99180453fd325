//! Settings of provers, their queue and verification.

use std::{ops::RangeInclusive, time::Duration};

use bytesize::ByteSize;
use clap::Args;

use super::{
    memory,
    setting::{Faults, RawSetting, Setting, TIMEOUTS, WAITS, raw_setting, words},
};
use crate::engine::settings::{ProverMode, ProvingSettings};
use edgeprove_engine::{
    proving::ProvingOptions,
    scheduler::{SchedulerLimits, WidthPolicy},
};
use edgeprove_prover::RecyclePolicy;

/// Bounds of `--memory-max`. A single bb process needs at least the lower one.
const MEMORY_BOUNDS: RangeInclusive<ByteSize> = ByteSize::mib(16)..=ByteSize::tib(64);
/// Highest value of `--cores`, as a multiple of the machine's, and the lowest such limit. A warm bb process is started
/// for each core and each width, so a larger number would only take memory.
const CORES_FACTOR: usize = 4;
const CORES_MIN_MAX: usize = 16;
/// Highest value of `--prover-queue-max`.
const WAITING_MAX: usize = 100_000;
/// Highest value of `--recycle-proofs`.
const RECYCLE_PROOFS_MAX: u64 = 1_000_000_000;
/// Bounds of `--recycle-drift`.
const DRIFT_BOUNDS: RangeInclusive<f64> = 0.1..=1_000.0;

/// Whether proofs are verified before they are returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verify {
    On,
    Off,
}

words!(ProverMode, "warm" => ProverMode::Warm, "process" => ProverMode::Process);

impl Setting for Verify {
    fn read(text: &str) -> Result<Self, String> {
        bool::read(text).map(|is_on| if is_on { Self::On } else { Self::Off })
    }
}

words!(WidthPolicy, "auto" => WidthPolicy::Auto, "wide" => WidthPolicy::Wide, "narrow" => WidthPolicy::Narrow);

/// Flags of provers, queue and verification.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Proving")]
pub struct ProvingArgs {
    /// `warm` uses bb processes that are always ready. `process` starts a bb process for each proof, which is slower,
    /// but no process ever holds data of two proofs.
    #[arg(long, env = "EDGEPROVE_PROVER", value_name = "MODE", default_value = "warm", value_parser = raw_setting::<ProverMode>)]
    prover: RawSetting<ProverMode>,

    /// Cores that proofs may use. Default: all cores.
    #[arg(long, env = "EDGEPROVE_CORES", value_name = "N", value_parser = raw_setting::<usize>)]
    cores: Option<RawSetting<usize>>,

    /// Memory that all provers together may use. A proof that does not fit beside the running ones waits, and a circuit
    /// that does not fit alone is not loaded. Default: the memory of the machine or the container minus one eighth (64
    /// to 512 MiB) for the server.
    #[arg(long, env = "EDGEPROVE_MEMORY_MAX", value_name = "SIZE", value_parser = raw_setting::<ByteSize>)]
    memory_max: Option<RawSetting<ByteSize>>,

    /// Cores of each proof: with `auto`, all cores for a single proof, and fewer when others wait; with `wide`, always
    /// all cores, one proof after the other; with `narrow`, always one core.
    #[arg(long, env = "EDGEPROVE_WIDTH", value_name = "POLICY", default_value = "auto", value_parser = raw_setting::<WidthPolicy>)]
    width: RawSetting<WidthPolicy>,

    /// Longest time for one proof. A proof that takes longer is stopped and fails with `proof_timeout`.
    #[arg(long, env = "EDGEPROVE_PROVE_TIMEOUT", value_name = "TIME", default_value = "90s", value_parser = raw_setting::<Duration>)]
    prove_timeout: RawSetting<Duration>,

    /// Most proofs that wait for a prover. Further ones fail with `prover_busy`.
    #[arg(long, env = "EDGEPROVE_PROVER_QUEUE_MAX", value_name = "N", default_value = "100", value_parser = raw_setting::<usize>)]
    prover_queue_max: RawSetting<usize>,

    /// Longest wait for a prover. A proof that waits longer fails with `prover_busy`.
    #[arg(long, env = "EDGEPROVE_PROVER_QUEUE_WAIT", value_name = "TIME", default_value = "60s", value_parser = raw_setting::<Duration>)]
    prover_queue_wait: RawSetting<Duration>,

    /// `on` verifies every proof before it is returned. `off` saves some milliseconds, but returns an invalid proof for
    /// an unsatisfied witness; health and every proof report that it is not verified.
    #[arg(long, env = "EDGEPROVE_VERIFY", value_name = "ON|OFF", default_value = "on", value_parser = raw_setting::<Verify>)]
    verify: RawSetting<Verify>,

    /// Number of proofs after which a bb process is replaced.
    #[arg(long, env = "EDGEPROVE_RECYCLE_PROOFS", value_name = "N", default_value = "1000", value_parser = raw_setting::<u64>)]
    recycle_proofs: RawSetting<u64>,

    /// Growth of a bb process's memory since its first proof, at which it is replaced.
    #[arg(long, env = "EDGEPROVE_RECYCLE_GROWTH", value_name = "SIZE", default_value = "512MiB", value_parser = raw_setting::<ByteSize>)]
    recycle_growth: RawSetting<ByteSize>,

    /// Largest ratio of a bb process's memory after a proof to the memory that its circuits need. A process above it is
    /// replaced.
    #[arg(long, env = "EDGEPROVE_RECYCLE_DRIFT", value_name = "RATIO", default_value = "2", value_parser = raw_setting::<f64>)]
    recycle_drift: RawSetting<f64>,
}

impl ProvingArgs {
    /// Reads the flags.
    pub fn read(self, faults: &mut Faults) -> Option<ProvingSettings> {
        let mode = faults.take("prover", self.prover);
        let machine = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let cores = match self.cores {
            Some(cores) => faults.take_within("cores", cores, 1..=CORES_MIN_MAX.max(machine * CORES_FACTOR)),
            None => Some(machine),
        };
        let memory_max_bytes = match self.memory_max {
            Some(max) => faults.take_within("memory-max", max, MEMORY_BOUNDS).map(|max| max.as_u64()),
            None => Some(memory::for_provers()),
        };
        let policy = faults.take("width", self.width);
        let timeout = faults.take_within("prove-timeout", self.prove_timeout, TIMEOUTS);
        let waiting_max = faults.take_within("prover-queue-max", self.prover_queue_max, 1..=WAITING_MAX);
        let wait_max = faults.take_within("prover-queue-wait", self.prover_queue_wait, WAITS);
        let verify = faults.take("verify", self.verify);
        let proofs = faults.take_within("recycle-proofs", self.recycle_proofs, 1..=RECYCLE_PROOFS_MAX);
        let growth =
            faults.take_within("recycle-growth", self.recycle_growth, ByteSize::b(0)..=*MEMORY_BOUNDS.end());
        let drift = faults.take_within("recycle-drift", self.recycle_drift, DRIFT_BOUNDS);
        Some(ProvingSettings {
            mode: mode?,
            scheduler: SchedulerLimits {
                cores: cores?,
                memory_max_bytes: memory_max_bytes?,
                waiting_max: waiting_max?,
                wait_max: wait_max?,
                policy: policy?,
            },
            options: ProvingOptions { timeout: timeout?, verify: verify? == Verify::On },
            recycle: RecyclePolicy {
                proofs: proofs?,
                growth_bytes: growth?.as_u64(),
                drift_permille: permille(drift?),
            },
        })
    }
}

/// A ratio in thousandths.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
fn permille(ratio: f64) -> u64 {
    (ratio * 1000.0) as u64
}
