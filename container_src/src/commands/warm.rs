//! `edgeprove warm`: fills the cache of verification keys, so that the next start finds them.

use std::process::ExitCode;

use clap::Args;

use super::outcome::{self, Failure, other};
use crate::{
    config::{Faults, circuits::CircuitArgs, engine::EngineArgs, program::Environment},
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

/// Some circuits have no keys now.
#[derive(Debug, thiserror::Error)]
#[error("{failed} of {all} circuits failed; the log says why")]
struct SomeFailed {
    failed: usize,
    all: usize,
}

/// Makes every circuit's keys for every verifier. Fails if any circuit does.
#[must_use]
pub fn run(args: WarmArgs) -> ExitCode {
    outcome::run(async {
        let mut faults = Faults::default();
        let circuits = args.circuits.read(&mut faults);
        let engine = args.engine.read(&Environment::of_this_process(), &mut faults);
        let (circuits, engine) = faults.finish(circuits.zip(engine))?;
        edgeprove_telemetry::start(engine.log.format, &engine.log.filter);

        let engine = Engine::start(&engine, circuits).await.map_err(other)?;
        engine.load().await;
        let (mut failed, mut all) = (0, 0);
        for entry in engine.circuits.entries() {
            all += 1;
            let whole = match entry.state() {
                LoadState::Ready(circuit) => make_keys(circuit, &engine).await?,
                LoadState::Failed(_) | LoadState::Loading => false,
            };
            failed += usize::from(!whole);
        }
        engine.stop().await;
        if failed > 0 { Err(other(SomeFailed { failed, all })) } else { Ok::<_, Failure>(ExitCode::SUCCESS) }
    })
}

/// Whether every key could be made.
async fn make_keys(circuit: &Circuit, engine: &Engine) -> Result<bool, Failure> {
    let seat = engine.proving.permit().await.map_err(other)?;
    let mut whole = true;
    for &target in circuit.targets() {
        if let Err(error) = circuit.key(target, engine.proving.keys(), seat.as_ref()).await {
            tracing::error!(circuit = %circuit.id, verifier = %target, error = edgeprove_telemetry::chain(&error), "no key");
            whole = false;
        }
    }
    Ok(whole)
}
