//! `edgeprove voucher`: mints a voucher for a page.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use edgeprove_protocol::{CircuitId, Origin, Priority, answer::NewVoucher};
use http::Method;
use serde_json::json;

use super::{
    circuit::{ServerArgs, print, print_json, read},
    exit_status::{self, Failure},
};
use crate::config::{Faults, RawSetting, raw_setting, setting::Setting};

/// Flags of `edgeprove voucher`.
#[derive(Debug, Args)]
pub struct VoucherArgs {
    #[command(flatten)]
    server: ServerArgs,

    /// Circuit that may be proved; several are separated by commas.
    #[arg(long = "circuit", value_name = "ID,...", required = true, value_delimiter = ',', value_parser = raw_setting::<CircuitId>)]
    circuits: Vec<RawSetting<CircuitId>>,

    /// How many proofs.
    #[arg(long, value_name = "N", default_value = "1", value_parser = raw_setting::<u32>)]
    uses: RawSetting<u32>,

    /// How long the voucher is valid.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = raw_setting::<Duration>)]
    expires: RawSetting<Duration>,

    /// Origin of the pages that may use it, such as `https://app.example`. Default: any.
    #[arg(long, value_name = "ORIGIN", value_parser = raw_setting::<Origin>)]
    origin: Option<RawSetting<Origin>>,

    /// Highest priority of its proofs: `LOW`, `NORMAL`, `HIGH` or `CRITICAL`.
    #[arg(long, value_name = "PRIORITY", default_value = "NORMAL", value_parser = raw_setting::<Priority>)]
    priority: RawSetting<Priority>,

    /// User of the page. Vouchers of one subject see each other's jobs.
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,

    /// Print all that the server answers, as JSON.
    #[arg(long)]
    json: bool,
}

impl Setting for Origin {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "an origin such as https://app.example, without a path".to_owned())
    }
}

impl Setting for Priority {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "LOW, NORMAL, HIGH or CRITICAL".to_owned())
    }
}

/// Mints a voucher, and prints its token.
#[must_use]
pub fn run(args: VoucherArgs) -> ExitCode {
    exit_status::run(args.run())
}

impl VoucherArgs {
    async fn run(self) -> Result<ExitCode, Failure> {
        let mut faults = Faults::default();
        let server = self.server.open(&mut faults);
        let circuits: Vec<_> =
            self.circuits.into_iter().filter_map(|id| faults.take_named("--circuit", id)).collect();
        let uses = faults.take_named("--uses", self.uses);
        let expires = faults.take_named("--expires", self.expires);
        let priority = faults.take_named("--priority", self.priority);
        let origin = self.origin.map(|origin| faults.take_named("--origin", origin));
        let settings = server.zip(uses).zip(expires.zip(priority));
        let ((server, uses), (expires, priority)) = faults.finish(settings)?;
        let mut body = json!({
            "circuit": circuits, "uses": uses, "expires": expires.as_secs(), "priority": priority,
        });
        if let Some(origin) = origin.flatten() {
            body["origin"] = origin.as_str().into();
        }
        if let Some(subject) = self.subject {
            body["subject"] = subject.into();
        }
        let document = server.json(Method::POST, "/v1/vouchers", Some(&body)).await?;
        let minted: NewVoucher = read(&document)?;
        if self.json { print_json(&document) } else { print(&format!("{}\n", minted.voucher)) }
    }
}
