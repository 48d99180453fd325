//! Format and filter of the log.

use clap::Args;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use super::setting::{Faults, RawSetting, Setting, raw_setting, words};
use edgeprove_telemetry::LogFormat;

words!(LogFormat, "human" => LogFormat::Human, "json" => LogFormat::Json);

/// The crates of this server, as targets of the log.
const OUR_TARGETS: [&str; 22] = [
    "edgeprove",
    "edgeprove_artifacts",
    "edgeprove_audit",
    "edgeprove_builder",
    "edgeprove_chain",
    "edgeprove_circom_witness",
    "edgeprove_circuit_store",
    "edgeprove_engine",
    "edgeprove_files",
    "edgeprove_groth16",
    "edgeprove_job_queue",
    "edgeprove_job_rules",
    "edgeprove_outbound",
    "edgeprove_page",
    "edgeprove_protocol",
    "edgeprove_prover",
    "edgeprove_receipts",
    "edgeprove_sealing",
    "edgeprove_spool",
    "edgeprove_telemetry",
    "edgeprove_templates",
    "edgeprove_webhooks",
];

/// A valid log filter.
#[derive(Debug, Clone)]
struct Filter(String);

impl Setting for Filter {
    fn read(text: &str) -> Result<Self, String> {
        let is_known = directives(text).all(is_known) && EnvFilter::builder().parse(text).is_ok();
        is_known.then(|| Self(text.to_owned())).ok_or_else(|| {
            "a level (error, warn, info, debug, trace or off), or levels by module such as edgeprove_engine=debug,info"
                .to_owned()
        })
    }
}

/// The parts of a filter. The commas between the fields of a span do not separate them.
fn directives(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_u32;
    let parts = text.split(move |character| {
        match character {
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        character == ',' && depth == 0
    });
    parts.map(str::trim).filter(|part| !part.is_empty())
}

/// Whether a part of a filter is a level, one of our targets, or a target with a level. The filter itself takes every
/// word for a target: with a misspelt level, nothing would be logged.
fn is_known(directive: &str) -> bool {
    let is_level = |text: &str| !text.is_empty() && text.parse::<LevelFilter>().is_ok();
    if is_level(directive) {
        return true;
    }
    let head = directive.find(['[', '=']).unwrap_or(directive.len());
    let (target, rest) = directive.split_at(head);
    let level = rest.rsplit_once(']').map_or(rest, |(_, level)| level).strip_prefix('=');
    let crate_name = target.split("::").next().unwrap_or_default();
    let is_ours = OUR_TARGETS.contains(&crate_name);
    let is_path = target
        .split("::")
        .all(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
    match level {
        // The crate of another project may have any name.
        Some(level) => {
            is_level(level) && (target.is_empty() || is_path && (is_ours || !target.starts_with("edgeprove")))
        }
        None => is_ours && is_path || target.is_empty(),
    }
}

/// Flags of the log.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Log")]
pub struct LogArgs {
    /// Format of the log: `human`, or `json` with one object per line. The log goes to standard error and never
    /// contains a witness.
    #[arg(long, env = "EDGEPROVE_LOG_FORMAT", value_name = "FORMAT", default_value = "human", value_parser = raw_setting::<LogFormat>)]
    log_format: RawSetting<LogFormat>,

    /// Lowest level that is logged: `error`, `warn`, `info` or `debug`, which includes bb's output; `off` for no log; or a
    /// level per module, such as `edgeprove_engine=debug,info`.
    #[arg(long, env = "EDGEPROVE_LOG", value_name = "FILTER", default_value = "info", value_parser = raw_setting::<Filter>)]
    log: RawSetting<Filter>,
}

/// Settings of the log.
#[derive(Debug)]
pub struct LogSettings {
    /// The format of lines.
    pub format: LogFormat,
    /// The filter.
    pub filter: EnvFilter,
}

impl LogArgs {
    /// Reads the flags.
    pub fn read(self, faults: &mut Faults) -> Option<LogSettings> {
        let format = faults.take("log-format", self.log_format);
        let filter = faults.take("log", self.log);
        Some(LogSettings { format: format?, filter: EnvFilter::builder().parse_lossy(filter?.0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_targets_are_filters() {
        for good in [
            "info",
            "WARN",
            "off",
            "trace",
            "warn,edgeprove_engine=info",
            "edgeprove=debug,info",
            "edgeprove::http=debug,warn",
            "edgeprove_prover",
            "hyper=info,h2::client=trace",
            "info,edgeprove[request]=debug",
            "[request]=debug",
            "info,",
        ] {
            assert!(Filter::read(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn misspelt_levels_and_targets_are_faults() {
        for bad in [
            "wran",
            "information",
            "info,wran",
            "info warn",
            "edgeprove=",
            "edgeprove=wran",
            "edgprove",
            "edgeprove_engin=debug",
            "edgeprove-engine=debug",
            "=debug=",
            "edgeprove[request]=wran",
        ] {
            let error = Filter::read(bad).expect_err(bad);
            for level in ["error", "warn", "info", "debug", "trace", "off"] {
                assert!(error.contains(level), "{error}");
            }
        }
    }

    #[test]
    fn every_crate_of_the_server_is_a_target() {
        let manifest = include_str!("../../Cargo.toml");
        let (dependencies, _) = manifest.split_once("[dev-dependencies]").unwrap();
        let crates = dependencies.lines().filter_map(|line| line.strip_suffix(".workspace = true"));
        for name in crates.filter(|name| name.starts_with("edgeprove")) {
            assert!(OUR_TARGETS.contains(&name.replace('-', "_").as_str()), "{name}");
        }
    }
}
