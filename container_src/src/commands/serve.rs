//! `edgeprove serve`: the server.

use std::process::ExitCode;

use clap::{Args, Parser};

use super::outcome::{self, Failure, other};
use crate::{
    app::{App, Engine},
    config::{
        ConfigError, Faults,
        circuits::{CircuitArgs, CircuitSettings},
        log::{LogArgs, LogSettings},
        program::{ProgramArgs, ProgramSettings, Surroundings},
        proving::{ProvingArgs, ProvingSettings},
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
    proving: ProvingArgs,
    #[command(flatten)]
    program: ProgramArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// Settings of `edgeprove serve`.
#[derive(Debug)]
pub struct ServeSettings {
    /// The HTTP side.
    pub server: ServerSettings,
    /// The circuits.
    pub circuits: CircuitSettings,
    /// Provers and queue.
    pub proving: ProvingSettings,
    /// bb and folders.
    pub program: ProgramSettings,
    /// Logs.
    pub log: LogSettings,
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
        Alone::parse_from(["edgeprove"]).args
    }

    /// Reads the flags; the error tells all that is wrong.
    pub fn read(self, around: &Surroundings) -> Result<ServeSettings, ConfigError> {
        let mut faults = Faults::default();
        let server = self.server.read(&mut faults);
        let circuits = self.circuits.read(&mut faults);
        let proving = self.proving.read(&mut faults);
        let program = self.program.read(around, &mut faults);
        let log = self.log.read(&mut faults);
        let settings = (|| {
            Some(ServeSettings {
                server: server?,
                circuits: circuits?,
                proving: proving?,
                program: program?,
                log: log?,
            })
        })();
        faults.finish(settings)
    }
}

/// Serves until SIGTERM or SIGINT.
#[must_use]
pub fn run(args: ServeArgs) -> ExitCode {
    outcome::run(async {
        let settings = args.read(&Surroundings::of_this_process())?;
        telemetry::start(settings.log.format, settings.log.filter);
        telemetry::log_panics(without_values);
        // Before anything else, so that a signal that comes during the start is not lost.
        let stop = stop_signal().map_err(other)?;
        let engine = Engine::start(&settings.program, settings.circuits, &settings.proving).await;
        let app = App::build(engine.map_err(other)?, &settings.program, settings.server).await;
        app.map_err(other)?.run(stop).await.map_err(other)?;
        Ok::<_, Failure>(ExitCode::SUCCESS)
    })
}

/// Ends at the first SIGTERM or SIGINT. As process 1 of a container only signals with a handler arrive at all.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        let name = tokio::select! {
            _ = term.recv() => "SIGTERM",
            _ = int.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "asked to stop");
    })
}
