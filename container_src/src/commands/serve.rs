//! `edgeprove serve`: the server.

use std::process::ExitCode;

use bytesize::ByteSize;
use clap::Args;

use super::{
    exit_status::{self, Failure, other},
    start_checks, stop_signals,
};
use crate::{
    app::App,
    config::{
        ConfigError, Faults, Purpose, ServeSettings, access_and_audit::AccessAndAuditArgs,
        builder::BuilderArgs, circuits::CircuitArgs, engine::EngineArgs, environment::Environment,
        jobs::JobArgs, memory, misspelt_variables::Misspelt, server::ServerArgs, setting::flag,
    },
};
use edgeprove_prover::barretenberg::redaction::without_values;

/// Flags of `edgeprove serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    access_and_audit: AccessAndAuditArgs,
    #[command(flatten)]
    circuits: CircuitArgs,
    #[command(flatten)]
    builder: BuilderArgs,
    #[command(flatten)]
    jobs: JobArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

impl ServeArgs {
    /// The flags of the engine alone.
    pub(super) fn into_engine(self) -> EngineArgs {
        self.engine
    }

    /// Reads the flags, and checks files, bb and the port. With [`Purpose::Check`] also the files that a start would open
    /// for writing. The error has all errors of all areas, and then the misspelt variables, which may be their reason.
    pub async fn read(
        self,
        environment: &Environment,
        misspelt: &[Misspelt],
        purpose: Purpose,
    ) -> Result<ServeSettings, ConfigError> {
        let mut faults = Faults::default();
        let server = self.server.read(purpose, &mut faults);
        let access_and_audit = self.access_and_audit.read(&mut faults);
        let circuits = self.circuits.read(&mut faults);
        let engine = self.engine.read(environment, purpose, &mut faults).await;
        let program = engine.as_ref().map(|(engine, _)| &engine.program);
        let cache_dir = program.map(|program| program.cache_dir.as_path());
        let work = self.builder.read(environment, cache_dir, &mut faults);
        let bounds = work.as_ref().map(|work| work.bounds);
        let jobs = self.jobs.read(environment, bounds, &mut faults);
        let powers = work.as_ref().and_then(|work| work.powers.as_deref());
        start_checks::check_inputs(circuits.as_ref(), program, powers, &mut faults);
        if purpose == Purpose::Check {
            let audit = access_and_audit.as_ref().and_then(|(_, audit)| audit.as_ref());
            start_checks::check_audit(audit, &mut faults);
            start_checks::check_circuits(circuits.as_ref(), &mut faults);
            start_checks::check_powers(powers, &mut faults);
            start_checks::check_spool(program, &mut faults);
            start_checks::check_jobs(jobs.as_ref().and_then(|(_, jobs)| jobs.as_ref().ok()), &mut faults);
        }
        let engine = engine.zip(server.as_ref()).and_then(|((mut engine, log), server)| {
            let spool_max = &mut engine.program.spool_max_bytes;
            *spool_max = Some(spool_max_bytes(*spool_max, server.http.intake.upload_max_bytes, &mut faults)?);
            Some((engine, log))
        });
        let settings = || {
            let (access, audit) = access_and_audit?;
            let (engine, log) = engine?;
            let (job_attempts_max, jobs) = jobs?;
            Some(ServeSettings {
                server: server?,
                access,
                audit,
                circuits: circuits?,
                engine,
                log,
                jobs,
                job_attempts_max,
                work: work?,
            })
        };
        let settings = settings();
        if !faults.is_empty() {
            for variable in misspelt {
                faults.add(variable.to_string());
            }
        }
        faults.finish(settings)
    }
}

/// The given or default size of the spool. It must have space for two uploads, because one caller gets at most half.
fn spool_max_bytes(given: Option<u64>, upload_max_bytes: u64, faults: &mut Faults) -> Option<u64> {
    let Some(given) = given else { return Some(memory::for_spool(upload_max_bytes)) };
    if given < upload_max_bytes.saturating_mul(2) {
        let (given, upload) = (ByteSize(given), ByteSize(upload_max_bytes));
        faults.add(format!(
            "{} must be at least twice {} (got {given} and {upload}): one caller gets at most half of it",
            flag("spool-max"),
            flag("upload-max")
        ));
        return None;
    }
    Some(given)
}

/// Serves until SIGTERM or SIGINT.
#[must_use]
pub fn run(args: ServeArgs, environment: &Environment, misspelt: &[Misspelt]) -> ExitCode {
    exit_status::run(async {
        // First of all: to read the settings takes a while, because it runs bb.
        stop_signals::survive_hangups().map_err(other)?;
        let signal = stop_signals::stop().map_err(other)?;
        tokio::pin!(signal);
        let settings = tokio::select! {
            settings = args.read(environment, misspelt, Purpose::Use) => settings?,
            // Nothing was started that would have to end first.
            _ = &mut signal => return Ok(ExitCode::SUCCESS),
        };
        edgeprove_telemetry::start(settings.log.format, &settings.log.filter);
        edgeprove_telemetry::process::disable_core_dumps();
        edgeprove_telemetry::log_panics(without_values);
        for Misspelt { name, meant } in misspelt {
            tracing::warn!(name, meant, "a variable is no setting and has no effect");
        }
        for fault in start_checks::input_warnings(&settings) {
            tracing::warn!(fault, "another user could change what the server reads");
        }
        let stop = async {
            // Outside the macro, which evaluates nothing where the level is disabled.
            let signal = signal.await;
            tracing::info!(signal, "received the signal to stop");
        };
        let app = Box::pin(App::start(settings)).await?;
        app.serve(stop).await.map_err(other)?;
        Ok::<_, Failure>(ExitCode::SUCCESS)
    })
}
