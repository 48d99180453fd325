//! Format and filter of the log.

use clap::Args;
use tracing_subscriber::EnvFilter;

use super::setting::{Faults, RawSetting, Setting, raw_setting, words};
use edgeprove_telemetry::LogFormat;

words!(LogFormat, "human" => LogFormat::Human, "json" => LogFormat::Json);

/// A valid log filter.
#[derive(Debug, Clone)]
struct Filter(String);

impl Setting for Filter {
    fn read(text: &str) -> Result<Self, String> {
        let wanted = "a log filter such as info or edgeprove=debug,info";
        EnvFilter::builder().parse(text).map(|_| Self(text.to_owned())).map_err(|_| wanted.to_owned())
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

    /// Lowest level that is logged: `error`, `warn`, `info` or `debug`, which includes bb's output; or a level per
    /// module, such as `edgeprove=debug,info`.
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
