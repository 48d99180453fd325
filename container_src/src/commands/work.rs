//! `edgeprove work`: a prover that pulls its jobs from a server.

use std::{net::SocketAddr, num::NonZeroU32, process::ExitCode, time::Duration};

use clap::Args;
use edgeprove_protocol::{limits::UPLOAD_MAX_BYTES, work::is_worker_name};
use edgeprove_prover::barretenberg::redaction::without_values;
use tokio::net::TcpListener;

use super::{
    exit_status::{self, Failure, other},
    remote_server::{ClientKeyArgs, ServerUrl},
    stop_signals,
};
use crate::{
    app::{server_name, write_address},
    config::{
        ConfigError, Faults, Purpose, RawSetting,
        circuits::CircuitArgs,
        engine::EngineArgs,
        environment::Environment,
        memory,
        misspelt_variables::Misspelt,
        raw_setting,
        setting::{Setting, WAITS},
    },
    engine::Engine,
    http::puller_probes::{self, PROBE_CONNECTIONS_MAX},
    worker::{Puller, PullerError, PullerSettings, server::ServerAddress},
};

/// Highest value of `--concurrency`.
const CONCURRENCY_MAX: u32 = 1024;

/// Flags of `edgeprove work`.
#[derive(Debug, Args)]
pub struct WorkArgs {
    /// URL of the server that has the jobs.
    #[arg(long, env = "EDGEPROVE_FROM", value_name = "URL", value_parser = raw_setting::<ServerUrl>)]
    from: Option<RawSetting<ServerUrl>>,

    #[command(flatten)]
    key: ClientKeyArgs,

    /// Allow `http://` to another machine, in a network whose every machine may read the API key, the witnesses and the proofs.
    #[arg(long, env = "EDGEPROVE_PLAIN_HTTP", action = clap::ArgAction::SetTrue, value_parser = raw_setting::<bool>)]
    plain_http: RawSetting<bool>,

    /// Jobs that run at the same time. Default: one for each prover that fits into the cores side by side.
    #[arg(long, env = "EDGEPROVE_CONCURRENCY", value_name = "N", value_parser = raw_setting::<u32>)]
    concurrency: Option<RawSetting<u32>>,

    /// Name of this prover in the log of the server. Default: the name of the machine with the number of the process.
    #[arg(long, env = "EDGEPROVE_WORKER_NAME", value_name = "NAME", value_parser = raw_setting::<WorkerName>)]
    name: Option<RawSetting<WorkerName>>,

    /// Whether jobs of circuits that the server stores, because they were built or uploaded, are taken: on or off. Such a circuit
    /// is fetched when its first job is proved.
    #[arg(long, env = "EDGEPROVE_STORED_CIRCUITS", value_name = "ON|OFF", default_value = "on", value_parser = raw_setting::<bool>)]
    stored_circuits: RawSetting<bool>,

    /// Time to finish running jobs after SIGTERM or SIGINT. After it they are returned to the queue, for other provers. Set it below
    /// the time after which the platform kills the process.
    #[arg(long, env = "EDGEPROVE_DRAIN", value_name = "TIME", default_value = "100s", value_parser = raw_setting::<Duration>)]
    drain: RawSetting<Duration>,

    /// Address where `/livez`, `/readyz` and `/metrics` are answered. Default: none, and nothing is listened to.
    #[arg(long, env = "EDGEPROVE_PROBE_LISTEN", value_name = "ADDR", value_parser = raw_setting::<SocketAddr>)]
    probe_listen: Option<RawSetting<SocketAddr>>,

    /// File to which the address of `--probe-listen` is written.
    #[arg(long, env = "EDGEPROVE_ADDR_FILE", value_name = "FILE")]
    addr_file: Option<std::path::PathBuf>,

    #[command(flatten)]
    circuits: CircuitArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

/// The name of a prover.
#[derive(Debug, Clone)]
struct WorkerName(String);

impl Setting for WorkerName {
    fn read(text: &str) -> Result<Self, String> {
        if is_worker_name(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err("a name of 1 to 64 characters of A-Z a-z 0-9 - _ .".to_owned())
        }
    }
}

/// The address of the probes cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("--probe-listen (EDGEPROVE_PROBE_LISTEN) {address}: this address cannot be used")]
struct ProbeAddress {
    address: SocketAddr,
    #[source]
    source: std::io::Error,
}

impl From<PullerError> for Failure {
    fn from(error: PullerError) -> Self {
        match error {
            PullerError::NothingToProve => Self::Config(ConfigError::new(edgeprove_telemetry::chain(&error))),
            PullerError::NoClient(_) | PullerError::Panicked | PullerError::Refused(_) => other(error),
        }
    }
}

/// Proves jobs until SIGTERM or SIGINT.
#[must_use]
pub fn run(args: WorkArgs, environment: &Environment, misspelt: &[Misspelt]) -> ExitCode {
    exit_status::run(async {
        stop_signals::survive_hangups().map_err(other)?;
        let signal = stop_signals::stop().map_err(other)?;
        tokio::pin!(signal);
        let mut faults = Faults::default();
        let settings = tokio::select! {
            settings = args.read(environment, &mut faults) => settings,
            _ = &mut signal => return Ok(ExitCode::SUCCESS),
        };
        if !faults.is_empty() {
            for variable in misspelt {
                faults.add(variable.to_string());
            }
        }
        let Settings { mut puller, concurrency, probe_listen, addr_file, circuits, engine, log } =
            faults.finish(settings)?;
        edgeprove_telemetry::start(log.format, &log.filter);
        edgeprove_telemetry::process::disable_core_dumps();
        edgeprove_telemetry::log_panics(without_values);
        let exposition = edgeprove_telemetry::metrics::start().map_err(other)?;
        let probes = match probe_listen {
            Some(address) => {
                let bound = TcpListener::bind(address).await;
                Some(bound.map_err(|source| other(ProbeAddress { address, source }))?)
            }
            None => None,
        };
        if let (Some(path), Some(listener)) = (&addr_file, &probes) {
            write_address(path, listener).map_err(other)?;
        }
        let engine = Engine::start(&engine, circuits).map_err(other)?;
        puller.concurrency = concurrency.unwrap_or_else(|| side_by_side(&engine));
        let puller = Puller::new(puller, engine)?;
        if let Some(listener) = probes {
            puller_probes::start(listener, puller.engine(), exposition, PROBE_CONNECTIONS_MAX);
        }
        let stop = async {
            // Outside the macro, which evaluates nothing where the level is disabled.
            let signal = signal.await;
            tracing::info!(signal, "received the signal to stop");
        };
        puller.run(stop).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// How many proofs run at the same time when they are as narrow as they can be.
fn side_by_side(engine: &Engine) -> NonZeroU32 {
    let limits = engine.proving.scheduler().limits();
    let narrowest = limits.widths().first().copied().unwrap_or(1).max(1);
    let provers = u32::try_from(limits.cores / narrowest).unwrap_or(CONCURRENCY_MAX);
    NonZeroU32::new(provers.min(CONCURRENCY_MAX)).unwrap_or(NonZeroU32::MIN)
}

/// The values of the flags.
struct Settings {
    puller: PullerSettings,
    concurrency: Option<NonZeroU32>,
    probe_listen: Option<SocketAddr>,
    addr_file: Option<std::path::PathBuf>,
    circuits: crate::engine::settings::CircuitSettings,
    engine: crate::engine::settings::EngineSettings,
    log: crate::config::log::LogSettings,
}

impl WorkArgs {
    async fn read(self, environment: &Environment, faults: &mut Faults) -> Option<Settings> {
        let plain_http = faults.take("plain-http", self.plain_http);
        if self.from.is_none() {
            faults.add("--from (EDGEPROVE_FROM) is missing: give the URL of the server that has the jobs");
        }
        let from = self.from.and_then(|from| faults.take("from", from));
        if let Some(from) = &from
            && from.is_readable_on_the_way()
            && plain_http == Some(false)
        {
            faults.add(
                "--from (EDGEPROVE_FROM): over http:// to another machine, everybody on the way can read the API key and the \
                 witnesses: use https://, or accept that with --plain-http (EDGEPROVE_PLAIN_HTTP=on)",
            );
        }
        let key = self.key.read(faults);
        let concurrency =
            self.concurrency.map(|jobs| faults.take_within("concurrency", jobs, 1..=CONCURRENCY_MAX));
        let name = match self.name {
            Some(name) => faults.take("name", name).map(|WorkerName(name)| name),
            None => Some(server_name().chars().take(edgeprove_protocol::work::WORKER_MAX_BYTES).collect()),
        };
        let stored_circuits = faults.take("stored-circuits", self.stored_circuits);
        let drain = faults.take_within("drain", self.drain, WAITS);
        let probe_listen = self.probe_listen.map(|address| faults.take("probe-listen", address));
        let circuits = self.circuits.read(faults);
        let engine = self.engine.read(environment, Purpose::Use, faults).await;
        let (mut engine, log) = engine?;
        engine.program.spool_max_bytes.get_or_insert(memory::for_spool(UPLOAD_MAX_BYTES));
        let concurrency = match concurrency {
            Some(jobs) => NonZeroU32::new(jobs?),
            None => None,
        };
        let probe_listen = match probe_listen {
            Some(address) => Some(address?),
            None => None,
        };
        let server = ServerAddress {
            url: from?.into_url(),
            key: key?.map(super::remote_server::ClientKey::into_header),
        };
        let puller = PullerSettings {
            server,
            name: name?,
            concurrency: concurrency.unwrap_or(NonZeroU32::MIN),
            drain: drain?,
            stored_circuits: stored_circuits?,
        };
        let addr_file = self.addr_file;
        Some(Settings { puller, concurrency, probe_listen, addr_file, circuits: circuits?, engine, log })
    }
}
