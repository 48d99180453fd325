//! Machine efficiency: how much of the machine's cores does useful proving work while eight clients wait.
//!
//! The unit of useful work is the CPU time of one bare `bb prove -k` on one thread, with the multiplication that the
//! server uses. At 1, each core does nothing else. Less is lost to threads that wait for each other, to verification
//! and to everything around the proofs. More is possible, because a warm bb neither starts nor loads the CRS.

use super::{
    bb_cli::{self, Bb, Key},
    fixture::Fixture,
    report::{Figure, Goal, Row, Unit},
    sampling, throughput,
};

/// The share of the cores that useful work takes at least.
const SHARE_MIN: f64 = 0.85;

/// One row for each circuit.
pub(super) fn rows(fixture: &Fixture) -> anyhow::Result<Vec<Row>> {
    let server = fixture.serve::<&str>(&[])?;
    let bare = Bb { newer_msm: true, threads: Some(1), ..fixture.bb.clone() };
    let out = bb_cli::scratch()?;
    let mut rows = Vec::new();
    for workload in &fixture.workloads {
        let mut rate = || Ok(throughput::sample(server.url(), workload)?.per_second);
        let mut cpu_ms =
            || bare.proof_cpu_ms(&workload.circuit, &workload.witness, Key::Ready(&workload.key), out.path());
        let [rates, cpu_ms] = sampling::in_turn(fixture.few_rounds(), &mut [&mut rate, &mut cpu_ms])?;
        let shares = rates.iter().zip(&cpu_ms).map(|(rate, cpu_ms)| share(*rate, *cpu_ms, fixture.cores));
        let share = Figure::new("share of the cores", Unit::Ratio, shares.collect());
        let from = vec![
            Figure::new("proofs a second", Unit::ProofsPerSecond, rates),
            Figure::new("CPU time of bb prove -k on one thread", Unit::Milliseconds, cpu_ms),
        ];
        let what = format!("machine efficiency with {} clients", throughput::CLIENTS);
        rows.push(Row::with_goal(what, share, Goal::AtLeast(SHARE_MIN), from).of(workload));
    }
    Ok(rows)
}

/// Proofs a second × CPU seconds of one proof ÷ cores.
#[allow(clippy::cast_precision_loss, reason = "a number of cores")]
fn share(per_second: f64, cpu_ms: f64, cores: usize) -> f64 {
    per_second * cpu_ms / 1000.0 / cores as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_proofs_of_a_tenth_second_keep_one_core_of_two_busy() {
        assert!((share(10.0, 100.0, 2) - 0.5).abs() < 1e-12);
    }
}
