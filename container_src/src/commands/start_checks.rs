//! The checks of files that a start of the server makes when it opens them, here without a change on the disk, and the
//! checks that other users cannot change files which the server reads.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use edgeprove_artifacts::ArtifactStore;
use edgeprove_audit::{AuditSettings, file::FileSink};
use edgeprove_builder::Powers;
use edgeprove_engine::proof_systems::{self, ReadLimits, read_circuit};
use edgeprove_files::trusted_path::{UntrustedPath, input_faults};
use edgeprove_job_queue::store::Database;
use edgeprove_spool::Spool;
use edgeprove_telemetry::chain;

use crate::{
    config::{Faults, ServeSettings, setting::flag},
    engine::settings::{CircuitSettings, ProgramSettings},
    jobs::system::{JobSettings, OpenError},
};

/// No other user may write to the circuits, to the CRS, to the powers of tau, or to a folder on the way to them. That another user owns one of them
/// is no fault, because images often have such files: [`input_warnings`] has those.
pub(super) fn check_inputs(
    circuits: Option<&CircuitSettings>,
    program: Option<&ProgramSettings>,
    powers: Option<&Path>,
    faults: &mut Faults,
) {
    let circuits = circuits.iter().flat_map(|circuits| circuit_files(circuits));
    let powers = powers.map(Path::to_owned);
    let paths = circuits.chain(program.iter().flat_map(|program| crs_files(program))).chain(powers);
    let found = paths.flat_map(|path| input_faults(&path));
    // Several files have the same folder.
    let found: BTreeSet<String> =
        found.filter(is_writable).map(|fault| format!("{fault}, or mount it read-only")).collect();
    for fault in found {
        faults.add(fault);
    }
}

/// How other users could change what the server reads, as far as it starts nevertheless.
pub(super) fn input_warnings(settings: &ServeSettings) -> BTreeSet<String> {
    let program = &settings.engine.program;
    let owned =
        circuit_files(&settings.circuits).chain(crs_files(program)).flat_map(|path| input_faults(&path));
    let owned = owned.filter(|fault| !is_writable(fault));
    // A key of the cache is not trusted before a proof has verified under it.
    let others = [&program.cache_dir, &program.bb.path].into_iter().flat_map(|path| input_faults(path));
    owned.chain(others).map(|fault| fault.to_string()).collect()
}

fn circuit_files(circuits: &CircuitSettings) -> impl Iterator<Item = PathBuf> {
    circuits.sources.iter().flat_map(|source| proof_systems::files(&source.path))
}

/// The folder of the CRS and its files.
fn crs_files(program: &ProgramSettings) -> impl Iterator<Item = PathBuf> {
    let dir: &Path = &program.crs.dir;
    let files = program.crs.files().into_iter().map(|name| dir.join(name));
    [dir.to_owned()].into_iter().chain(files)
}

fn is_writable(fault: &UntrustedPath) -> bool {
    matches!(fault, UntrustedPath::Writable { .. })
}

/// The audit log can be continued or created.
pub(super) fn check_audit(audit: Option<&AuditSettings>, faults: &mut Faults) {
    if let Some(audit) = audit {
        faults.ok(FileSink::examine(&audit.file));
    }
}

/// Every circuit can be read. Whether bb can load it is known when the server starts.
pub(super) fn check_circuits(circuits: Option<&CircuitSettings>, faults: &mut Faults) {
    for source in circuits.iter().flat_map(|circuits| &circuits.sources) {
        // The size that the CRS allows is checked at the start.
        if let Err(error) = read_circuit(&source.path, ReadLimits::of_a_command()) {
            faults.add(format!("the circuit file {}: {}", source.path.display(), chain(&error)));
        }
    }
}

/// The powers of tau can be read. Their points are not checked.
pub(super) fn check_powers(powers: Option<&Path>, faults: &mut Faults) {
    if let Some(path) = powers
        && let Err(error) = Powers::open(path)
    {
        faults.add(format!("{}: {}: {}", flag("powers"), path.display(), chain(&error)));
    }
}

/// The spool can be opened or created.
pub(super) fn check_spool(program: Option<&ProgramSettings>, faults: &mut Faults) {
    if let Some(program) = program {
        faults.ok(Spool::examine(&program.spool_dir));
    }
}

/// The data folder, the artifacts and their key can be used. Where nobody chose the folder, a server starts without jobs
/// instead.
pub(super) fn check_jobs(jobs: Option<&JobSettings>, faults: &mut Faults) {
    if let Some(jobs) = jobs.filter(|jobs| !jobs.is_default) {
        faults.ok(examine(jobs));
    }
}

/// Fails where the data folder or the artifacts of these jobs cannot be used.
pub(super) fn examine(jobs: &JobSettings) -> Result<(), OpenError> {
    Database::examine(&jobs.database)?;
    ArtifactStore::examine(&jobs.artifacts)?;
    Ok(())
}
