//! Settings of provers, queue and verification.

use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;

use super::{
    faults::{Faults, RawSetting, raw_setting, words},
    memory,
};
use edgeprove_engine::{
    proving::ProvingOptions,
    scheduler::{SchedulerLimits, WidthPolicy},
};
use edgeprove_prover::RecyclePolicy;

/// Less than this, and not even one bb would fit.
const MEMORY_MIN: ByteSize = ByteSize::mib(16);
/// The least multiple of a circuit's memory that a process may be allowed.
const DRIFT_MIN: f64 = 0.1;

/// How bb is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProverMode {
    /// Daemons that are always ready.
    Warm,
    /// One process a proof.
    Process,
}

/// Whether proofs are verified before they are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verify {
    On,
    Off,
}

words!(ProverMode, "warm" => ProverMode::Warm, "process" => ProverMode::Process);
words!(Verify, "on" => Verify::On, "off" => Verify::Off);
words!(WidthPolicy, "auto" => WidthPolicy::Auto, "wide" => WidthPolicy::Wide, "narrow" => WidthPolicy::Narrow);

/// Flags of provers, queue and verification.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Proving")]
pub struct ProvingArgs {
    /// `warm` keeps bb processes ready; `process` starts one bb for each proof, which takes longer and leaves nothing
    /// of one proof in the memory of the next.
    #[arg(long, env = "EDGEPROVE_PROVER", value_name = "MODE", default_value = "warm", value_parser = raw_setting::<ProverMode>)]
    prover: RawSetting<ProverMode>,

    /// Cores that proofs may use. Else all there are.
    #[arg(long, env = "EDGEPROVE_CORES", value_name = "N", value_parser = raw_setting::<usize>)]
    cores: Option<RawSetting<usize>>,

    /// Memory that the provers may take together: a proof that does not fit beside those at work waits for them, and a
    /// circuit that does not fit alone is not taken. Else what the machine, or the container, has, but for an eighth
    /// (64 to 512 MiB) that is left to the server.
    #[arg(long, env = "EDGEPROVE_MEMORY_MAX", value_name = "SIZE", value_parser = raw_setting::<ByteSize>)]
    memory_max: Option<RawSetting<ByteSize>>,

    /// `auto` gives a lone proof all cores and shares them out when others wait; `wide` proves one after the other on
    /// all cores; `narrow` proves each on one core.
    #[arg(long, env = "EDGEPROVE_WIDTH", value_name = "POLICY", default_value = "auto", value_parser = raw_setting::<WidthPolicy>)]
    width: RawSetting<WidthPolicy>,

    /// Longest time for one proof; then it is stopped and answered by 504.
    #[arg(long, env = "EDGEPROVE_PROVE_TIMEOUT", value_name = "TIME", default_value = "90s", value_parser = raw_setting::<Duration>)]
    prove_timeout: RawSetting<Duration>,

    /// Most requests that wait for a prover; one more is answered by 503 with Retry-After.
    #[arg(long, env = "EDGEPROVE_PROVER_QUEUE_MAX", value_name = "N", default_value = "100", value_parser = raw_setting::<usize>)]
    prover_queue_max: RawSetting<usize>,

    /// Longest wait for a prover; then 503 with Retry-After.
    #[arg(long, env = "EDGEPROVE_PROVER_QUEUE_WAIT", value_name = "TIME", default_value = "60s", value_parser = raw_setting::<Duration>)]
    prover_queue_wait: RawSetting<Duration>,

    /// `on` verifies every proof before it is answered. `off` saves some milliseconds, and answers an unsatisfied
    /// witness with a proof that nobody accepts; health and every answer say so.
    #[arg(long, env = "EDGEPROVE_VERIFY", value_name = "ON|OFF", default_value = "on", value_parser = raw_setting::<Verify>)]
    verify: RawSetting<Verify>,

    /// A bb process is replaced after this many proofs.
    #[arg(long, env = "EDGEPROVE_RECYCLE_PROOFS", value_name = "N", default_value = "1000", value_parser = raw_setting::<u64>)]
    recycle_proofs: RawSetting<u64>,

    /// A bb process is replaced when its memory has grown by this much since its first proof.
    #[arg(long, env = "EDGEPROVE_RECYCLE_GROWTH", value_name = "SIZE", default_value = "512MiB", value_parser = raw_setting::<ByteSize>)]
    recycle_growth: RawSetting<ByteSize>,

    /// A bb process is replaced when after a proof it holds more than so many times the memory that the circuits it has
    /// proved take.
    #[arg(long, env = "EDGEPROVE_RECYCLE_DRIFT", value_name = "RATIO", default_value = "2", value_parser = raw_setting::<f64>)]
    recycle_drift: RawSetting<f64>,
}

/// Settings of provers, queue and verification.
#[derive(Debug, Clone)]
pub struct ProvingSettings {
    /// How bb is run.
    pub mode: ProverMode,
    /// What the scheduler shares out.
    pub scheduler: SchedulerLimits,
    /// How proofs are made.
    pub options: ProvingOptions,
    /// When a healthy bb is replaced.
    pub recycle: RecyclePolicy,
}

impl ProvingArgs {
    /// Reads the flags.
    pub fn read(self, faults: &mut Faults) -> Option<ProvingSettings> {
        let mode = faults.take("prover", self.prover);
        let cores = match self.cores {
            Some(cores) => faults.take_at_least("cores", cores, &1),
            None => Some(std::thread::available_parallelism().map_or(1, std::num::NonZero::get)),
        };
        let memory_max_bytes = match self.memory_max {
            Some(max) => faults.take_at_least("memory-max", max, &MEMORY_MIN).map(|max| max.as_u64()),
            None => Some(memory::for_provers()),
        };
        let policy = faults.take("width", self.width);
        let timeout = faults.take("prove-timeout", self.prove_timeout);
        let waiting_max = faults.take_at_least("prover-queue-max", self.prover_queue_max, &1);
        let wait_max = faults.take("prover-queue-wait", self.prover_queue_wait);
        let verify = faults.take("verify", self.verify);
        let proofs = faults.take_at_least("recycle-proofs", self.recycle_proofs, &1);
        let growth = faults.take("recycle-growth", self.recycle_growth);
        let drift = faults.take_at_least("recycle-drift", self.recycle_drift, &DRIFT_MIN);
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
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "such a cast ends at the bounds")]
fn permille(ratio: f64) -> u64 {
    (ratio * 1000.0) as u64
}
