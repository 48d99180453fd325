//! Provers that pull jobs from this server, and how many of them autoscalers should run.

use std::time::Duration;

use clap::Args;
use edgeprove_job_rules::scale::ScaleBounds;

use super::setting::{Faults, RawSetting, flag, raw_setting};
use crate::jobs::{
    pull::PullSettings,
    scale::{PROVERS_MAX, WINDOWS},
};

/// Highest value of `--pull-waiting`. Each takes a connection.
const WAITING_MAX: u32 = 100_000;

/// Flags of provers elsewhere.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Provers elsewhere")]
pub struct PullArgs {
    /// Most claims of provers (`edgeprove work`) that wait for a job at the same time. Further ones get an answer at once. One API
    /// key has at most half of what is free.
    #[arg(long, env = "EDGEPROVE_PULL_WAITING", value_name = "N", default_value = "1024", value_parser = raw_setting::<u32>)]
    pull_waiting: RawSetting<u32>,

    /// Time in which the queue should be empty, for `GET /v1/scale`: fewer seconds ask for more provers.
    #[arg(long, env = "EDGEPROVE_SCALE_DRAIN_WINDOW", value_name = "TIME", default_value = "60s", value_parser = raw_setting::<Duration>)]
    scale_drain_window: RawSetting<Duration>,

    /// Fewest provers that `GET /v1/scale` asks for.
    #[arg(long, env = "EDGEPROVE_SCALE_MIN", value_name = "N", default_value = "0", value_parser = raw_setting::<u32>)]
    scale_min: RawSetting<u32>,

    /// Most provers that `GET /v1/scale` asks for. While more are busy, it asks for these.
    #[arg(long, env = "EDGEPROVE_SCALE_MAX", value_name = "N", default_value = "100", value_parser = raw_setting::<u32>)]
    scale_max: RawSetting<u32>,
}

impl PullArgs {
    /// Reads the flags.
    pub fn read(self, faults: &mut Faults) -> Option<PullSettings> {
        let waiting_max = faults.take_within("pull-waiting", self.pull_waiting, 1..=WAITING_MAX);
        let drain = faults.take_within("scale-drain-window", self.scale_drain_window, WINDOWS);
        let min = faults.take_within("scale-min", self.scale_min, 0..=PROVERS_MAX);
        let max = faults.take_within("scale-max", self.scale_max, 1..=PROVERS_MAX);
        let (waiting_max, drain, min, max) = (waiting_max?, drain?, min?, max?);
        if min > max {
            faults.add(format!(
                "{} must be at most {} (got {min} and {max})",
                flag("scale-min"),
                flag("scale-max")
            ));
            return None;
        }
        Some(PullSettings { waiting_max, scale: ScaleBounds { drain, min, max } })
    }
}
