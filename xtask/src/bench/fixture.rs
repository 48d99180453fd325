//! The fixture of all rows: the programs, the circuits that can be proved here, and the number of samples.

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

/// A circuit with the files that prove its sample inputs.
#[derive(Debug)]
pub(super) struct Workload {
    pub(super) name: String,
    pub(super) gates: u64,
    /// The dyadic size: the smallest power of two that contains the circuit.
    pub(super) circuit_size: u64,
    pub(super) circuit: PathBuf,
    pub(super) witness: PathBuf,
    pub(super) witness_bytes: Vec<u8>,
    /// The verification key, computed by bare bb.
    pub(super) key: PathBuf,
}

/// The programs, the circuits and the number of samples.
#[derive(Debug)]
pub(super) struct Fixture {
    pub(super) ready: Ready,
    /// The server's executable.
    pub(super) program: PathBuf,
    pub(super) bb: Bb,
    /// Sorted by size, the smallest first.
    pub(super) workloads: Vec<Workload>,
    /// Circuits that cannot be proved here, each with the reason.
    pub(super) skipped: Vec<(String, String)>,
    pub(super) cores: usize,
    /// The number of samples of measurements of one or two proofs.
    pub(super) rounds: usize,
    scratch: TempDir,
}

impl Fixture {
    /// Builds the server unless one is given, and finds out which circuits it can prove.
    pub(super) fn prepare(ready: Ready, program: Option<&Path>, rounds: usize) -> anyhow::Result<Self> {
        let program = match program {
            Some(program) => program.to_owned(),
            None => Server::build(&ready, true)?,
        };
        let (bb, crs) = (ready.paths.bb(&ready.versions.bb.version), ready.paths.crs.clone());
        let bb = Bb { program: bb, crs, newer_msm: false, threads: None };
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let scratch = tempfile::tempdir().context("a temporary folder cannot be created")?;
        let mut fixture =
            Self { ready, program, bb, workloads: Vec::new(), skipped: Vec::new(), cores, rounds, scratch };
        // This start also fills the cache of verification keys.
        let circuits = fixture.serve::<&str>(&[])?.health()?.circuits;
        for health in circuits {
            let name = health.id.to_string();
            if health.status == CircuitStatus::Ready {
                let workload = fixture.workload(&name, &health)?;
                fixture.workloads.push(workload);
            } else {
                let why = health.error.unwrap_or_else(|| "the server did not load it".to_owned());
                progress::warn(&format!("{name} is skipped: {why}"));
                fixture.skipped.push((name, why));
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
        fs::create_dir(&dir).with_context(|| format!("{} cannot be created", dir.display()))?;
        Ok(Workload {
            name: name.to_owned(),
            gates: health.gates.unwrap_or(0),
            circuit_size: health.circuit_size.unwrap_or(0),
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

    /// The smallest and the largest circuit; one if they are the same.
    pub(super) fn extremes(&self) -> impl Iterator<Item = &Workload> {
        let last = self.workloads.len() - 1;
        self.workloads.iter().enumerate().filter_map(move |(i, w)| (i == 0 || i == last).then_some(w))
    }

    /// The number of samples of measurements that take many proofs or a start of the server each.
    pub(super) fn few_rounds(&self) -> usize {
        self.rounds.div_ceil(3)
    }

    /// Starts the server with its default settings and these flags.
    pub(super) fn serve<S: AsRef<OsStr>>(&self, flags: &[S]) -> anyhow::Result<Server> {
        let mut command = Server::command(&self.program, &self.ready);
        // Every start after the first finds the verification keys in the cache.
        command.arg("--cache-dir").arg(self.scratch.path().join("cache"));
        // A proof from the cache is not a measurement of proving.
        if !flags.iter().any(|flag| flag.as_ref() == "--proof-cache") {
            command.args(["--proof-cache", "0"]);
        }
        command.args(flags);
        // The user's own settings are not measured.
        for (name, _) in env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"EDGEPROVE_"))
        {
            command.env_remove(name);
        }
        Server::start(command)
    }
}
