//! The bb program: where it is, what it gets from its environment, and how it multiplies curve points.

use std::{ffi::OsStr, path::PathBuf};

use edgeprove_telemetry::supervisor::Supervisor;
use tokio::process::Command;

use super::redaction::without_values;
use crate::child_process::{ChildProcess, StartError};

/// How bb multiplies and adds curve points (multi-scalar multiplication), which is most of the work of a proof. Proofs
/// of both ways verify under the same keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Msm {
    /// The newer way, which saves 10 to 25 % of a proof's time (`docs/BENCHMARKS.md`). bb 5.0.0 has it behind a switch
    /// while it matures. Here every proof is verified before it is sent.
    #[default]
    RoundParallel,
    /// bb's default.
    Legacy,
}

impl Msm {
    /// The environment variable that selects it. bb ignores the value.
    const fn variable(self) -> &'static str {
        match self {
            Self::RoundParallel => "BB_MSM_NEW",
            Self::Legacy => "BB_MSM_LEGACY",
        }
    }
}

/// Where bb is and what it needs from its environment.
#[derive(Debug, Clone)]
pub struct BbProgram {
    /// The executable.
    pub path: PathBuf,
    /// The folder of the CRS.
    pub crs_dir: PathBuf,
    /// How it multiplies curve points.
    pub msm: Msm,
    /// The most resident memory that one process may take, in bytes. It is killed beyond that.
    pub memory_max_bytes: u64,
}

impl BbProgram {
    /// Starts bb with these arguments and threads. Nothing of the server's environment reaches it.
    pub fn start<I, S>(
        &self,
        arguments: I,
        threads: usize,
        supervisor: &Supervisor,
    ) -> Result<ChildProcess, StartError>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = Command::new(&self.path);
        command
            .args(arguments)
            .env_clear()
            .env("HARDWARE_CONCURRENCY", threads.to_string())
            .env("CRS_PATH", &self.crs_dir)
            .env(self.msm.variable(), "1")
            // bb looks for a home folder even when it does not need one.
            .env("HOME", &self.crs_dir);
        ChildProcess::start(command, without_values, supervisor)
    }
}
