//! What every row works with: the programs, the circuits that can be proved here, and how often to measure.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context, bail};
use edgeprove_protocol::answer::{CircuitHealth, CircuitStatus};
use tempfile::TempDir;

use super::bb_cli::Bb;
use crate::{progress, server::Server, setup::Ready};

/// A circuit and all that is needed to prove its sample.
#[derive(Debug)]
pub(super) struct Workload {
    pub(super) name: String,
    pub(super) gates: u64,
    /// Rows of its trace, a power of two.
    pub(super) rows: u64,
    pub(super) circuit: PathBuf,
    pub(super) witness: PathBuf,
    pub(super) witness_bytes: Vec<u8>,
    /// Made by bb itself.
    pub(super) key: PathBuf,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Fixture {
    pub(super) ready: Ready,
    /// The server.
    pub(super) program: PathBuf,
    pub(super) bb: Bb,
    /// From the smallest to the largest.
    pub(super) workloads: Vec<Workload>,
    /// Circuits that cannot be proved here, and why.
    pub(super) left_out: Vec<(String, String)>,
    pub(super) cores: usize,
    /// Samples of whatever takes a proof or two.
    pub(super) rounds: usize,
    scratch: TempDir,
}

impl Fixture {
    /// Builds the server unless one is given, and asks it which circuits it can prove.
    pub(super) fn prepare(ready: Ready, program: Option<&Path>, rounds: usize) -> anyhow::Result<Self> {
        let program = match program {
            Some(program) => program.to_owned(),
            None => Server::build(&ready, true)?,
        };
        let (bb, crs) = (ready.paths.bb(&ready.versions.bb.version), ready.paths.crs.clone());
        let bb = Bb { program: bb, crs, newer_msm: false, threads: None };
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let scratch = tempfile::tempdir().context("no temporary folder can be made")?;
        let mut fixture =
            Self { ready, program, bb, workloads: Vec::new(), left_out: Vec::new(), cores, rounds, scratch };
        // Fills the cache of verification keys as well.
        let circuits = fixture.serve::<&str>(&[])?.health()?.circuits;
        for health in circuits {
            let name = health.id.to_string();
            if health.status == CircuitStatus::Ready {
                let workload = fixture.workload(&name, &health)?;
                fixture.workloads.push(workload);
            } else {
                let why = health.error.unwrap_or_else(|| "it was not loaded".to_owned());
                progress::caution(&format!("{name} is left out: {why}"));
                fixture.left_out.push((name, why));
            }
        }
        fixture.workloads.sort_by_key(|workload| workload.gates);
        if fixture.workloads.is_empty() {
            bail!("no circuit can be proved here");
        }
        Ok(fixture)
    }

    fn workload(&self, name: &str, health: &CircuitHealth) -> anyhow::Result<Workload> {
        let file = |extension| self.ready.paths.circuits.join(format!("{name}.{extension}"));
        let (circuit, witness) = (file("json"), file("gz"));
        let witness_bytes =
            fs::read(&witness).with_context(|| format!("{} cannot be read", witness.display()))?;
        let dir = self.scratch.path().join(name);
        fs::create_dir(&dir).with_context(|| format!("{} cannot be made", dir.display()))?;
        Ok(Workload {
            name: name.to_owned(),
            gates: health.gates.unwrap_or(0),
            rows: health.circuit_size.unwrap_or(0),
            key: self.bb.write_key(&circuit, &dir)?,
            circuit,
            witness,
            witness_bytes,
        })
    }

    /// The smallest circuit.
    pub(super) fn smallest(&self) -> &Workload {
        &self.workloads[0]
    }

    /// The smallest and the largest circuit, once where that is the same.
    pub(super) fn extremes(&self) -> impl Iterator<Item = &Workload> {
        let last = self.workloads.len() - 1;
        self.workloads.iter().enumerate().filter_map(move |(i, w)| (i == 0 || i == last).then_some(w))
    }

    /// Samples of what takes many proofs or a start of the server each.
    pub(super) fn few_rounds(&self) -> usize {
        self.rounds.div_ceil(3)
    }

    /// Starts the server with settings as they come, but for these flags.
    pub(super) fn serve<S: AsRef<OsStr>>(&self, flags: &[S]) -> anyhow::Result<Server> {
        let mut command = Server::command(&self.program, &self.ready);
        // Each but the first finds the verification keys ready.
        command.arg("--cache-dir").arg(self.scratch.path().join("cache"));
        // A proof that is remembered is none that was made.
        if !flags.iter().any(|flag| flag.as_ref() == "--proof-cache") {
            command.args(["--proof-cache", "0"]);
        }
        command.args(flags);
        // Settings of whoever runs this are not what is measured.
        for (name, _) in env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"EDGEPROVE_"))
        {
            command.env_remove(name);
        }
        Server::start(command)
    }
}
