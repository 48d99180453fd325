//! Examines this machine with the settings of `serve`: whether a server would start, prove, and lose nothing.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use edgeprove_artifacts::{ArtifactStore, LocationSettings};
use edgeprove_engine::circuits::registry::LoadState;
use edgeprove_job_queue::store::{Database, DatabaseLocation};
use edgeprove_telemetry::{chain, process::ProcessUse};

use super::finding::Report;
use crate::{
    commands::{audit, serve::ServeArgs, start_checks},
    config::{
        Purpose, ServeSettings, environment::Environment, folder_durability::is_in_memory,
        misspelt_variables::Misspelt, server::is_in_use,
    },
    engine::Engine,
    http::listener::OTHER_FILES,
    jobs::system::JobSettings,
};

/// When this release was made, in seconds since 1970: no clock may be before it.
const RELEASED_S: u64 = 1_795_000_000;
/// The largest difference between this clock and that of the database.
const CLOCK_DIFFERENCE_MAX: Duration = Duration::from_secs(5);
/// The least free disk for jobs and keys.
const FREE_MIN_BYTES: u64 = 256 << 20;
/// Collectors of core dumps that respect a limit of zero.
const COLLECTORS: [&str; 2] = ["systemd-coredump", "apport"];

/// Examines everything that a start of the server needs.
pub(super) async fn examine(args: ServeArgs, environment: &Environment, misspelt: &[Misspelt]) -> Report {
    let mut report = Report::default();
    for variable in misspelt {
        report.warning("settings", variable.to_string(), "correct the name, or remove the variable");
    }
    clock(SystemTime::now(), &mut report);
    core_dumps(&fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default(), &mut report);
    let mut settings = match args.read(environment, &[], Purpose::Check).await {
        Ok(settings) => settings,
        Err(error) => {
            for fault in error.faults() {
                report.fault("settings", fault.clone(), "`edgeprove serve --help` describes each setting");
            }
            return report;
        }
    };
    report.ok("settings", "every setting can be used");
    let program = &settings.engine.program;
    report.ok("bb", format!("{}, version {}", program.bb.path.display(), program.version));
    report.ok("crs", format!("{}, {} points", program.crs.dir.display(), program.crs.points));
    for fault in start_checks::input_warnings(&settings) {
        report.warning("files", fault, "change owner or mode, or mount it read-only");
    }
    spool(&settings, &mut report);
    network(&settings, &mut report);
    access(&settings, &mut report);
    audit_log(&settings, &mut report);
    match &settings.jobs {
        Ok(jobs) => job_store(jobs, &mut report).await,
        Err(reason) => {
            report.warning(
                "jobs",
                reason.to_string(),
                "docs/OPERATIONS.md, section Jobs, has the ways to store them",
            );
        }
    }
    // The spool and the memory of witnesses are not needed to load circuits.
    settings.engine.program.spool_max_bytes = None;
    circuits(settings, &mut report).await;
    report
}

fn clock(now: SystemTime, report: &mut Report) {
    let is_before_release =
        now.duration_since(SystemTime::UNIX_EPOCH).map_or(true, |since| since.as_secs() < RELEASED_S);
    if is_before_release {
        report.fault(
            "clock",
            "the clock of this machine is before the release of this program",
            "synchronise it by NTP (`timedatectl set-ntp true`)",
        );
    } else {
        report.ok("clock", "not before the release of this program");
    }
}

fn core_dumps(pattern: &str, report: &mut Report) {
    match pattern.trim().strip_prefix('|') {
        Some(collector) if !COLLECTORS.iter().any(|known| collector.contains(known)) => report.warning(
            "core dumps",
            format!(
                "the kernel gives cores to the program `{collector}`, whatever their limit is: a core of bb has a witness"
            ),
            "let it respect a limit of 0, as systemd-coredump does, or set kernel.core_pattern to a file name",
        ),
        _ => report.ok("core dumps", "disabled for the server and its provers"),
    }
}

fn spool(settings: &ServeSettings, report: &mut Report) {
    let program = &settings.engine.program;
    let dir = existing(&program.spool_dir);
    if is_in_memory(dir) {
        report.ok("spool", format!("{}, in memory", program.spool_dir.display()));
    } else {
        report.warning(
            "spool",
            format!(
                "{} is not in memory: witnesses are overwritten there, but a disk may keep old blocks",
                program.spool_dir.display()
            ),
            "set --spool-dir (EDGEPROVE_SPOOL_DIR) to a folder on tmpfs, such as one in /dev/shm",
        );
    }
    let wanted = program.spool_max_bytes.unwrap_or(FREE_MIN_BYTES);
    free_space("spool", dir, wanted, "free some, or lower --spool-max", report);
    free_space(
        "disk",
        existing(&program.cache_dir),
        FREE_MIN_BYTES,
        "free some: keys are stored there",
        report,
    );
}

/// The folder itself, or the first one above it that exists.
fn existing(folder: &Path) -> &Path {
    folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"))
}

fn free_space(check: &'static str, folder: &Path, wanted: u64, fix: &str, report: &mut Report) {
    let Ok(found) = rustix::fs::statvfs(folder) else { return };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let (free_mib, wanted_mib) = (free >> 20, wanted >> 20);
    let detail = format!("{} has {free_mib} MiB free, and {wanted_mib} may be needed", folder.display());
    if free < wanted.min(FREE_MIN_BYTES) {
        report.fault(check, detail, fix);
    } else if free < wanted {
        report.warning(check, detail, fix);
    } else {
        report.ok(check, detail);
    }
}

fn network(settings: &ServeSettings, report: &mut Report) {
    for address in [Some(settings.server.listen), settings.server.probe_listen].into_iter().flatten() {
        if is_in_use(address) {
            report.warning(
                "network",
                format!("another process listens on {address}"),
                "nothing to fix while that is this server; otherwise choose another --listen",
            );
        } else {
            report.ok("network", format!("{address} is free"));
        }
    }
    let files_max = ProcessUse::now().and_then(|now| now.open_files_max);
    let wanted = settings.server.connections_max as u64 + OTHER_FILES;
    let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    if hard.is_some_and(|hard| hard < wanted) && files_max.is_some() {
        report.warning(
            "open files",
            format!("at most {} may be open, and --connections-max needs {wanted}", hard.unwrap_or_default()),
            "raise the limit (LimitNOFILE= of systemd, `ulimit -Hn`), or lower --connections-max",
        );
    } else {
        report.ok("open files", format!("as many may be open as {wanted} for all connections"));
    }
}

fn access(settings: &ServeSettings, report: &mut Report) {
    let (keys, listen) = (settings.access.keys.len(), settings.server.listen);
    if keys > 0 {
        report.ok("keys", format!("{keys} keys"));
    } else if settings.server.http.edge_secret.is_some() {
        report.ok("keys", "none: the edge decides who may prove");
    } else if listen.ip().is_loopback() {
        report.ok("keys", format!("none: callers of {listen} need no key"));
    } else {
        report.warning(
            "keys",
            format!("none, and the server listens on {listen}: everybody may prove"),
            "make a key with `edgeprove keys new`, and give --keys-file or --edge-secret",
        );
    }
}

fn audit_log(settings: &ServeSettings, report: &mut Report) {
    let Some(settings) = &settings.audit else {
        return report.ok("audit", "there is no log (--audit)");
    };
    if !settings.file.exists() {
        return report.ok("audit", format!("{} will be created", settings.file.display()));
    }
    match audit::fault_of(&settings.file) {
        Ok(None) => report.ok("audit", format!("{} is intact", settings.file.display())),
        Ok(Some(fault)) => report.fault(
            "audit",
            format!("{} was changed: {fault}", settings.file.display()),
            "keep the file as evidence, find out who changed it, and start a new one",
        ),
        Err(error) => report.fault(
            "audit",
            format!("{} cannot be read: {error}", settings.file.display()),
            "change its mode, or run this as the user of the server",
        ),
    }
}

async fn job_store(jobs: &JobSettings, report: &mut Report) {
    if let DatabaseLocation::Folder(folder) = &jobs.database {
        free_space("disk", existing(folder), FREE_MIN_BYTES, "free some: jobs are stored there", report);
    }
    match Database::reach(&jobs.database).await {
        Err(error) => report.fault(
            "database",
            chain(&error),
            "check --data or DATABASE_URL, and that this machine reaches the database",
        ),
        Ok(None) => report.ok("database", jobs.database.to_string()),
        Ok(Some(there)) => {
            report.ok("database", jobs.database.to_string());
            let here = SystemTime::now();
            let difference = here.duration_since(there).unwrap_or_else(|error| error.duration());
            let seconds = difference.as_secs();
            let detail = format!("the clocks of this machine and of the database differ by {seconds} s");
            if difference <= CLOCK_DIFFERENCE_MAX {
                report.ok("clock", detail);
            } else {
                report.fault(
                    "clock",
                    detail,
                    "synchronise both by NTP: servers would end the leases of others",
                );
            }
        }
    }
    let needs_connection = matches!(jobs.artifacts.location, LocationSettings::Bucket(_));
    let probed = if needs_connection {
        match ArtifactStore::open(&jobs.artifacts) {
            Ok(store) => store.probe().await.map_err(|error| chain(&error)),
            Err(error) => Err(chain(&error)),
        }
    } else {
        // A folder is created by the server.
        ArtifactStore::examine(&jobs.artifacts).map_err(|error| chain(&error))
    };
    match probed {
        Ok(()) => report.ok("artifacts", "their place can be used"),
        Err(error) => report.fault(
            "artifacts",
            error,
            "check --artifacts, the credentials of the bucket, and the key of the artifacts",
        ),
    }
}

async fn circuits(settings: ServeSettings, report: &mut Report) {
    if settings.circuits.sources.is_empty() {
        report.warning(
            "circuits",
            "there is none: a server proves nothing before one is built or uploaded",
            "give --circuit FILE or --circuits DIR",
        );
        return;
    }
    let engine = match Engine::start(&settings.engine, settings.circuits) {
        Ok(engine) => engine,
        Err(error) => {
            return report.fault(
                "prover",
                chain(&error),
                "check --spool-dir, and that bb can be run by this user",
            );
        }
    };
    engine.load().await;
    for entry in engine.circuits.entries() {
        match entry.state() {
            LoadState::Ready(circuit) => {
                let gates = circuit.ready_key(circuit.target).map_or(0, |key| key.size.gates);
                report.ok("circuits", format!("{} can be proved, {gates} gates", entry.source.id));
            }
            LoadState::Failed(failure) => report.fault(
                "circuits",
                format!("{} cannot be loaded: {}", entry.source.id, failure.error),
                "compile it with the Noir release of `edgeprove --version`, or use a CRS with enough points",
            ),
            LoadState::Loading => report.fault(
                "circuits",
                format!("{} was not loaded", entry.source.id),
                "run this again; the log of bb has more",
            ),
        }
    }
    engine.stop().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(examine: impl FnOnce(&mut Report)) -> String {
        let (mut report, mut text) = (Report::default(), Vec::new());
        examine(&mut report);
        report.write_text(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_clock_of_the_past_is_a_fault() {
        assert!(text(|report| clock(SystemTime::UNIX_EPOCH, report)).starts_with("FAULT"));
        assert!(text(|report| clock(SystemTime::now(), report)).starts_with("ok"));
    }

    #[test]
    fn an_unknown_collector_of_cores_is_a_warning() {
        for quiet in ["core\n", "|/usr/lib/systemd/systemd-coredump %P", "|/usr/share/apport/apport -p%p", ""]
        {
            assert!(text(|report| core_dumps(quiet, report)).starts_with("ok"), "{quiet}");
        }
        assert!(text(|report| core_dumps("|/bin/collect %p\n", report)).starts_with("warning"));
    }

    #[test]
    fn a_full_disk_is_a_fault() {
        let folder = tempfile::tempdir().unwrap();
        let found = |wanted| text(|report| free_space("disk", folder.path(), wanted, "free some", report));
        assert!(found(1).starts_with("ok"));
        assert!(found(u64::MAX).starts_with("warning"));
    }
}
