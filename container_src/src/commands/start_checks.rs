//! The checks of files that a start of the server makes when it opens them, here without a change on the disk.

use edgeprove_artifacts::ArtifactStore;
use edgeprove_audit::{AuditSettings, file::FileSink};
use edgeprove_engine::proof_systems::read_circuit;
use edgeprove_job_queue::store::Database;
use edgeprove_spool::Spool;
use edgeprove_telemetry::chain;

use crate::{
    config::Faults,
    engine::settings::{CircuitSettings, ProgramSettings},
    jobs::system::{JobSettings, OpenError},
};

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
        if let Err(error) = read_circuit(&source.path, u64::MAX) {
            faults.add(format!("the circuit file {}: {}", source.path.display(), chain(&error)));
        }
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
