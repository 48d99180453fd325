//! Folders and files that another user of the machine owns or may write to: a server that would use them does not start.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::support::{TestServer, samples, settings::Settings, skipped};

const OTHER: u32 = 12_345;

fn give_away(path: &Path) {
    chown(path, Some(OTHER), None).unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A server with these settings does not start, and reports the path and these words.
#[track_caller]
fn assert_refused(path: &Path, words: &[&str], change: impl FnOnce(&mut Settings)) {
    let failed = TestServer::fails_to_start(change);
    assert_eq!(failed.code, Some(64), "{}: {}", path.display(), failed.stderr);
    for part in words.iter().copied().chain([path.to_str().unwrap()]) {
        assert!(failed.stderr.contains(part), "{part} is not in: {}", failed.stderr);
    }
}

/// A data folder that someone prepared: with a key, a database and a folder of artifacts.
fn prepared_data() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs::create_dir_all(data.join("artifacts")).unwrap();
    fs::write(data.join("artifact.key"), "07".repeat(32)).unwrap();
    fs::write(data.join("edgeprove.db"), "").unwrap();
    set_mode(&data.join("edgeprove.db"), 0o666);
    set_mode(&data.join("artifact.key"), 0o644);
    set_mode(&data.join("artifacts"), 0o777);
    (dir, data)
}

fn use_data(settings: &mut Settings, data: &Path) {
    settings.flag("--data", &data.display());
}

#[test]
fn a_data_folder_of_another_user_is_refused() {
    if skipped::is_not_root() {
        return;
    }
    for owned in ["", "artifact.key", "edgeprove.db", "artifacts"] {
        let (_dir, data) = prepared_data();
        let path = if owned.is_empty() { data.clone() } else { data.join(owned) };
        give_away(&path);
        assert_refused(&path, &["12345", "chown"], |s| use_data(s, &data));
    }
    // The folder above it.
    let (dir, data) = prepared_data();
    give_away(dir.path());
    assert_refused(dir.path(), &["12345"], |s| use_data(s, &data));
}

#[test]
fn an_open_data_folder_is_closed_or_refused() {
    let (dir, data) = prepared_data();
    let server = TestServer::start(|s| use_data(s, &data));
    server.submit(samples::range_check());
    let mode = |name: &str| fs::metadata(data.join(name)).unwrap().mode() & 0o7777;
    for name in ["edgeprove.db", "edgeprove.db-wal", "edgeprove.db-shm", "edgeprove.lock", "artifact.key"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
    assert_eq!(mode("artifacts"), 0o700);
    server.finish();

    // With files of other programs in it, the server does not change its mode.
    fs::remove_file(data.join("edgeprove.lock")).unwrap();
    set_mode(&data, 0o777);
    assert_refused(&data, &["chmod"], |s| use_data(s, &data));
    set_mode(&data, 0o700);
    set_mode(dir.path(), 0o777);
    assert_refused(dir.path(), &["chmod"], |s| use_data(s, &data));
    set_mode(dir.path(), 0o1777);
    TestServer::start(|s| use_data(s, &data)).finish();
}

#[test]
fn artifacts_elsewhere_are_checked_as_well() {
    if skipped::is_not_root() {
        return;
    }
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    give_away(elsewhere.path());
    assert_refused(elsewhere.path(), &["12345"], |s| {
        use_data(s, dir.path());
        s.flag("--artifacts", &elsewhere.path().join("artifacts").display());
    });
}

#[test]
fn an_audit_log_of_another_user_is_refused() {
    if skipped::is_not_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (folder, log) = (dir.path().join("folder"), dir.path().join("folder/audit.jsonl"));
    fs::create_dir(&folder).unwrap();
    fs::write(&log, "").unwrap();
    for owned in [&log, &folder] {
        give_away(owned);
        assert_refused(owned, &["12345"], |s| s.flag("--audit", &log.display()));
        chown(owned, Some(0), None).unwrap();
    }
    set_mode(&log, 0o666);
    let server = TestServer::start(|s| s.flag("--audit", &log.display()));
    assert_eq!(fs::metadata(&log).unwrap().mode() & 0o7777, 0o644);
    server.assert_healthy();
}

#[test]
fn a_spool_of_another_user_is_refused() {
    if skipped::is_not_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    fs::create_dir(&spool).unwrap();
    give_away(&spool);
    assert_refused(&spool, &["12345", "--spool-dir"], |s| s.spool = Some(spool.clone()));
    chown(&spool, Some(0), None).unwrap();
    // The folder above it: its owner could exchange the spool.
    give_away(dir.path());
    assert_refused(dir.path(), &["12345"], |s| s.spool = Some(spool.clone()));
    assert_refused(dir.path(), &["12345"], |s| s.spool = Some(dir.path().join("new")));
}

/// A server that runs as kubelet and a container runtime start it: as a user without a name, who may write to this volume of
/// its pod by the volume's mode alone. `in_memory` mounts a new file system there instead.
fn start_in_a_pod(s: &mut Settings, node: &Path, volume: &Path, at: &Path, in_memory: bool) {
    let script = "mount --bind \"$1\" /etc/hosts && mount $2 \"$3\" \"$4\" && chmod 2777 \"$4\" && shift 4 && \
                  exec setpriv --securebits +no_setuid_fixup --reuid 10001 --regid 10001 --clear-groups \
                  --inh-caps +dac_override --ambient-caps +dac_override -- \"$@\"";
    let hosts = node.join("etc-hosts");
    fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    let mut wrapper = skipped::namespace(&["--mount"]);
    wrapper.args(["sh", "-c", script, "sh"]).arg(hosts);
    if in_memory {
        wrapper.args(["-t tmpfs", "tmpfs"])
    } else {
        wrapper.arg("--bind").arg(volume)
    };
    s.wrapper = Some({
        wrapper.arg(at);
        wrapper
    });
}

#[test]
fn a_volume_of_a_pod_holds_spool_and_data_whatever_its_mode() {
    if skipped::is_not_root() || skipped::lacks_mount_namespaces() || skipped::lacks_program("setpriv") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (node, at) = (dir.path().join("pods/1"), dir.path().join("volume"));
    let volume = node.join("volumes/kubernetes.io~empty-dir/volume");
    fs::create_dir_all(&volume).unwrap();
    fs::create_dir(&at).unwrap();
    for in_memory in [false, true] {
        let server = TestServer::start(|s| {
            start_in_a_pod(s, &node, &volume, &at, in_memory);
            s.spool = Some(at.join("spool"));
            use_data(s, &at);
        });
        server.assert_healthy();
        let job = server.submit(samples::range_check());
        server.wait_until_finished(job, crate::support::wait::LIMIT);
        server.finish();
    }
    let found = fs::metadata(volume.join("edgeprove.db")).unwrap();
    assert_eq!((found.uid(), found.mode() & 0o7777), (10_001, 0o600));
    // A folder of the node with the same mode may be reached by others.
    let shared = dir.path().join("shared");
    fs::create_dir(&shared).unwrap();
    for use_it in [use_data, |s: &mut Settings, path: &Path| s.spool = Some(path.to_owned())] {
        assert_refused(&at, &["chmod"], |s| {
            start_in_a_pod(s, &node, &shared, &at, false);
            use_it(s, &at);
        });
    }
}
