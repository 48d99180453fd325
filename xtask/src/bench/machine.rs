//! The machine, time and versions of a measurement: they show whether two reports are comparable.

use std::{env::consts, fmt, fs, path::Path, time::Duration};

use serde::Serialize;

use super::fixture::Fixture;
use crate::process;

/// The machine, time and versions of a measurement.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Machine {
    /// The day, in UTC.
    pub(super) date: String,
    pub(super) processor: String,
    pub(super) cores: usize,
    pub(super) system: String,
    /// The system's load average over one minute, before the first row and after the last. `None` where the system
    /// does not report it.
    pub(super) load_before: Option<f64>,
    pub(super) load_after: Option<f64>,
    pub(super) bb: String,
    /// The measured revision, as `git describe` reports it; `None` outside of a repository.
    pub(super) revision: Option<String>,
}

impl Machine {
    /// The state before the first row.
    pub(super) fn before(fixture: &Fixture) -> Self {
        Self {
            date: read("date", &["-u", "+%F"]).unwrap_or_default(),
            processor: processor().unwrap_or_else(|| consts::ARCH.to_owned()),
            cores: fixture.cores,
            system: consts::OS.to_owned(),
            load_before: load(),
            load_after: None,
            bb: fixture.ready.versions.bb.version.clone(),
            revision: revision(&fixture.ready.paths.root),
        }
    }

    /// Adds the state after the last row.
    pub(super) fn after(&mut self) {
        self.load_after = load();
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, {} cores, bb {}", self.date, self.processor, self.cores, self.bb)?;
        if let Some(revision) = &self.revision {
            write!(f, ", revision {revision}")?;
        }
        if let Some((before, after)) = self.load_before.zip(self.load_after) {
            write!(f, ", load {before:.1} before and {after:.1} after")?;
        }
        Ok(())
    }
}

fn processor() -> Option<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = cpus.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

fn revision(root: &Path) -> Option<String> {
    read("git", &["-C", root.to_str()?, "describe", "--always", "--dirty", "--exclude=*"])
}

fn read(program: &str, arguments: &[&str]) -> Option<String> {
    let output = process::read(program, arguments, Duration::from_secs(10)).ok()?;
    Some(output.trim().to_owned())
}
