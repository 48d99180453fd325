//! `edgeprove doctor`: examines this machine with the settings of `serve`, or a running server or edge, and prints how
//! to fix what it finds.
//!
//! The exit status is 0 where nothing prevents proofs, 1 where something does, and 64 where a setting of this command is
//! invalid. Warnings do not change it.

mod finding;
mod keys_of_service;
mod machine;
mod real_proof;
mod service;

use std::{io, path::PathBuf, process::ExitCode};

use clap::Args;
use edgeprove_protocol::CircuitId;

use self::{finding::Report, real_proof::Wanted, service::Service};
use super::{
    exit_status::{self, Failure, other},
    input_file,
    remote_server::{ClientKeyArgs, RemoteServer, ServerUrl},
    serve::ServeArgs,
};
use crate::config::{
    ConfigError, Faults, RawSetting, environment::Environment, misspelt_variables::Misspelt, raw_setting,
};

/// Flags of `edgeprove doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// URL of a server or an edge, such as `https://prover.example`. Without it, this machine is examined: whether a server
    /// with these settings would start and prove.
    #[arg(value_name = "URL", value_parser = raw_setting::<ServerUrl>)]
    url: Option<RawSetting<ServerUrl>>,

    #[command(flatten)]
    key: ClientKeyArgs,

    /// Inputs as JSON, as `POST /api/prove` takes them, of which the server makes a proof. `-` reads standard input. Default:
    /// the sample of a template, where the server has a circuit with the parameters of that sample.
    #[arg(long, value_name = "FILE", requires = "url")]
    inputs: Option<PathBuf>,

    /// Circuit of the inputs. Default: the server's default.
    #[arg(long, value_name = "ID", requires = "inputs", value_parser = raw_setting::<CircuitId>)]
    prove: Option<RawSetting<CircuitId>>,

    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    serve: ServeArgs,
}

/// Examines, and prints each finding with its remedy.
#[must_use]
pub fn run(args: DoctorArgs, environment: &Environment, misspelt: &[Misspelt]) -> ExitCode {
    exit_status::run(async {
        edgeprove_telemetry::process::disable_core_dumps();
        let is_json = args.json;
        let report = Box::pin(args.examine(environment, misspelt)).await?;
        let mut out = io::stdout().lock();
        if is_json { report.write_json(&mut out) } else { report.write_text(&mut out) }.map_err(other)?;
        Ok::<_, Failure>(if report.has_faults() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    })
}

impl DoctorArgs {
    async fn examine(self, environment: &Environment, misspelt: &[Misspelt]) -> Result<Report, Failure> {
        let Some(url) = self.url else {
            return Ok(Box::pin(machine::examine(self.serve, environment, misspelt)).await);
        };
        let mut faults = Faults::default();
        let url = faults.take_named("URL", url);
        let key = self.key.read(&mut faults);
        let circuit = self.prove.map(|circuit| faults.take_named("--prove", circuit));
        let (url, key) = faults.finish(url.zip(key))?;
        let has_key = key.is_some();
        let server = RemoteServer::new(url, key);
        let server = server.map_err(|error| ConfigError::new(edgeprove_telemetry::chain(&error)))?;
        let inputs = self.inputs.map(|path| input_file::read_bounded(&path)).transpose()?;
        let wanted = inputs.map(|inputs| Wanted { circuit: circuit.flatten(), inputs });
        let mut report = Report::default();
        let mut service = Service::new(&server, has_key, &mut report);
        let is_worth_a_proof = service.examine().await;
        if service.is_reached() {
            let is_local = service::is_loopback(server.url());
            let keys = keys_of_service::examine(&server, is_local, &mut report).await;
            if is_worth_a_proof {
                let verifier = (self.serve.into_engine(), environment, &keys);
                real_proof::examine(&server, wanted, verifier, &mut report).await;
            }
        }
        Ok(report)
    }
}
