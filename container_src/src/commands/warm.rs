//! `edgeprove warm`: fills the cache of verification keys, so that the next start is fast.

use std::process::ExitCode;

use clap::Args;

use super::exit_status::{self, Failure, other};
use crate::{
    config::{Faults, Purpose, circuits::CircuitArgs, engine::EngineArgs, environment::Environment},
    engine::Engine,
};
use edgeprove_engine::circuits::{Circuit, registry::LoadState};

/// Flags of `edgeprove warm`.
#[derive(Debug, Args)]
pub struct WarmArgs {
    #[command(flatten)]
    circuits: CircuitArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Keys of some circuits could not be computed.
#[derive(Debug, thiserror::Error)]
#[error("{failed} of {all} circuits failed; the log has the reasons")]
struct SomeFailed {
    failed: usize,
    all: usize,
}

/// Computes the keys of every circuit for every target. Fails if one fails.
#[must_use]
pub fn run(args: WarmArgs, environment: &Environment) -> ExitCode {
    exit_status::run(async {
        let mut faults = Faults::default();
        let circuits = args.circuits.read(&mut faults);
        let engine = args.engine.read(environment, Purpose::Use, &mut faults).await;
        let (circuits, (engine, log)) = faults.finish(circuits.zip(engine))?;
        edgeprove_telemetry::start(log.format, &log.filter);
        edgeprove_telemetry::process::disable_core_dumps();

        let engine = Engine::start(&engine, circuits).map_err(other)?;
        engine.load().await;
        let (mut failed, mut all) = (0, 0);
        for entry in engine.circuits.entries() {
            all += 1;
            let is_complete = match entry.state() {
                LoadState::Ready(circuit) => compute_keys(circuit, &engine).await?,
                LoadState::Failed(_) | LoadState::Loading => false,
            };
            failed += usize::from(!is_complete);
        }
        engine.stop().await;
        if failed > 0 { Err(other(SomeFailed { failed, all })) } else { Ok::<_, Failure>(ExitCode::SUCCESS) }
    })
}

/// Computes the keys of a circuit. Returns whether all succeeded.
async fn compute_keys(circuit: &Circuit, engine: &Engine) -> Result<bool, Failure> {
    let permit = engine.proving.permit().await.map_err(other)?;
    let mut is_complete = true;
    for &target in circuit.targets() {
        if let Err(error) = circuit.key(target, engine.proving.keys(), permit.as_ref()).await {
            tracing::error!(circuit = %circuit.id, target = %target, error = edgeprove_telemetry::chain(&error), "the key could not be computed");
            is_complete = false;
        }
    }
    Ok(is_complete)
}
