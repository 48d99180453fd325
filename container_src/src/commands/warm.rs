//! `edgeprove warm`: fills the cache of verification keys, so that the next start finds them.

use std::process::ExitCode;

use clap::Args;
use edgeprove_protocol::VerifierTarget;

use super::outcome::{self, Failure, other};
use crate::{
    app::Engine,
    config::{
        Faults,
        circuits::CircuitArgs,
        log::LogArgs,
        program::{ProgramArgs, Surroundings},
        proving::ProvingArgs,
    },
    telemetry,
};

/// Flags of `edgeprove warm`.
#[derive(Debug, Args)]
pub struct WarmArgs {
    #[command(flatten)]
    circuits: CircuitArgs,
    #[command(flatten)]
    proving: ProvingArgs,
    #[command(flatten)]
    program: ProgramArgs,
    #[command(flatten)]
    log: LogArgs,
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
        let (circuits, proving) = (args.circuits.read(&mut faults), args.proving.read(&mut faults));
        let program = args.program.read(&Surroundings::of_this_process(), &mut faults);
        let log = args.log.read(&mut faults);
        let settings = circuits.zip(proving).zip(program).zip(log);
        let (((circuits, proving), program), log) = faults.finish(settings)?;
        telemetry::start(log.format, log.filter);

        let engine = Engine::start(&program, circuits, &proving).await.map_err(other)?;
        engine.load().await;
        let (mut failed, mut all) = (0, 0);
        for entry in engine.circuits.entries() {
            all += 1;
            let Some(Ok(circuit)) = entry.outcome() else {
                failed += 1;
                continue;
            };
            for target in VerifierTarget::ALL {
                let slot = engine.proving.scheduler().admit().await.map_err(other)?;
                let seat = engine.proving.backend().seat(slot.width(), std::sync::Arc::new(slot));
                if let Err(error) = circuit.key(target, engine.proving.keys(), seat.as_ref()).await {
                    tracing::error!(circuit = %circuit.id, %target, error = telemetry::chain(&error), "no key");
                    failed += 1;
                }
            }
        }
        engine.stop().await;
        if failed > 0 { Err(other(SomeFailed { failed, all })) } else { Ok::<_, Failure>(ExitCode::SUCCESS) }
    })
}
