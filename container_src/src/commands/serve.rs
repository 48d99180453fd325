//! `edgeprove serve`: the server.

use std::process::ExitCode;

use clap::{Args, Parser};

use super::{
    outcome::{self, Failure, other},
    signals,
};
use crate::{
    app::App,
    config::{
        ConfigError, Faults,
        circuits::{CircuitArgs, CircuitSettings},
        engine::{EngineArgs, EngineSettings},
        jobs::JobArgs,
        program::Environment,
        server::{ServerArgs, ServerSettings},
        trust::TrustArgs,
    },
    jobs::{JobsDisabled, system::JobSettings},
    trust::TrustSettings,
};
use edgeprove_prover::barretenberg::redaction::without_values;

/// Flags of `edgeprove serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    circuits: CircuitArgs,
    #[command(flatten)]
    jobs: JobArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Settings of `edgeprove serve`.
#[derive(Debug)]
pub struct ServeSettings {
    /// The HTTP side.
    pub server: ServerSettings,
    /// Access and the audit log.
    pub trust: TrustSettings,
    /// The circuits.
    pub circuits: CircuitSettings,
    /// Provers, bb and logs.
    pub engine: EngineSettings,
    /// Jobs, or why there are none.
    pub jobs: Result<JobSettings, JobsDisabled>,
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
    pub fn read(self, around: &Environment) -> Result<ServeSettings, ConfigError> {
        let mut faults = Faults::default();
        let server = self.server.read(&mut faults);
        let trust = self.trust.read(&mut faults);
        let circuits = self.circuits.read(&mut faults);
        let engine = self.engine.read(around, &mut faults);
        let jobs = self.jobs.read(around, &mut faults);
        let settings = || {
            Some(ServeSettings {
                server: server?,
                trust: trust?,
                circuits: circuits?,
                engine: engine?,
                jobs: jobs?,
            })
        };
        faults.finish(settings())
    }
}

/// Serves until SIGTERM or SIGINT.
#[must_use]
pub fn run(args: ServeArgs) -> ExitCode {
    outcome::run(async {
        let settings = args.read(&Environment::of_this_process())?;
        edgeprove_telemetry::start(settings.engine.log.format, &settings.engine.log.filter);
        edgeprove_telemetry::log_panics(without_values);
        // Before anything else, so that a signal that comes during the start is not lost.
        let signal = signals::stop().map_err(other)?;
        let stop = async { tracing::info!(signal = signal.await, "asked to stop") };
        let app = App::start(settings).await.map_err(other)?;
        app.serve(stop).await.map_err(other)?;
        Ok::<_, Failure>(ExitCode::SUCCESS)
    })
}
