//! `edgeprove serve`: the server.

use std::process::ExitCode;

use clap::{Args, Parser};

use super::{
    outcome::{self, Failure, other},
    signals,
};
use crate::{
    app::{App, Engine},
    artifacts::{ArtifactSettings, ArtifactStore},
    config::{
        ConfigError, Faults,
        artifacts::ArtifactArgs,
        circuits::{CircuitArgs, CircuitSettings},
        data::DataArgs,
        engine::{EngineArgs, EngineSettings},
        program::Surroundings,
        server::{ServerArgs, ServerSettings},
    },
    prover::child::without_values,
    telemetry,
};

/// Flags of `edgeprove serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    circuits: CircuitArgs,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    artifacts: ArtifactArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Settings of `edgeprove serve`.
#[derive(Debug)]
pub struct ServeSettings {
    /// The HTTP side.
    pub server: ServerSettings,
    /// The circuits.
    pub circuits: CircuitSettings,
    /// Where jobs' witnesses and proofs are kept; `None` where they cannot be.
    pub artifacts: Option<ArtifactSettings>,
    /// Provers, bb and logs.
    pub engine: EngineSettings,
}

#[derive(Parser)]
struct Alone {
    #[command(flatten)]
    args: ServeArgs,
}

impl ServeArgs {
    /// What the environment says, for when no command is given.
    #[must_use]
    pub fn from_environment() -> Self {
        super::parse::<Alone>(["edgeprove".into()]).args
    }

    /// Reads the flags; the error tells all that is wrong.
    pub fn read(self, around: &Surroundings) -> Result<ServeSettings, ConfigError> {
        let mut faults = Faults::default();
        let server = self.server.read(&mut faults);
        let circuits = self.circuits.read(&mut faults);
        let engine = self.engine.read(around, &mut faults);
        let artifacts = self.artifacts.read(self.data.data.as_deref(), around, &mut faults);
        let settings = server.zip(circuits).zip(engine).zip(artifacts);
        let settings = settings.map(|(((server, circuits), engine), artifacts)| ServeSettings {
            server,
            circuits,
            artifacts,
            engine,
        });
        faults.finish(settings)
    }
}

/// Serves until SIGTERM or SIGINT.
#[must_use]
pub fn run(args: ServeArgs) -> ExitCode {
    outcome::run(async {
        let ServeSettings { server, circuits, artifacts, engine } =
            args.read(&Surroundings::of_this_process())?;
        telemetry::start(engine.log.format, &engine.log.filter);
        telemetry::log_panics(without_values);
        // Before anything else, so that a signal that comes during the start is not lost.
        let signal = signals::stop().map_err(other)?;
        let stop = async { tracing::info!(signal = signal.await, "asked to stop") };
        let artifacts = artifacts.as_ref().map(ArtifactStore::open).transpose().map_err(other)?;
        let engine = Engine::start(&engine, circuits).await.map_err(other)?;
        let app = App::build(engine, server, artifacts).await.map_err(other)?;
        app.run(stop).await.map_err(other)?;
        Ok::<_, Failure>(ExitCode::SUCCESS)
    })
}
