//! `edgeprove check-config` reports what `serve` would refuse, and changes nothing.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
};

use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    process::geteuid,
};

use crate::support::{TestServer, paths, processes, samples, wait};

/// A name that an artifact can have.
const ARTIFACT: &str = "3f2504e0-4f89-41d3-9a0c-0305e82c3301";

/// A folder in which settings are tried out.
struct TestFolder(tempfile::TempDir);

/// How a command ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl TestFolder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn fifo(&self, name: &str) -> PathBuf {
        let path = self.at(name);
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        path
    }

    fn run(&self, command: &str, flags: &[(&str, &Path)]) -> Ended {
        let mut run = Command::new(paths::edgeprove());
        run.arg(command).env_clear().env("BB_PATH", paths::bb()).env("CRS_PATH", paths::crs());
        run.env("EDGEPROVE_LISTEN", "127.0.0.1:0").env("EDGEPROVE_EPHEMERAL_JOBS", "true");
        run.env("EDGEPROVE_SPOOL_DIR", self.at("spool")).env("EDGEPROVE_CACHE_DIR", self.at("cache"));
        for (flag, value) in flags {
            run.arg(flag).arg(value);
        }
        let output = processes::run(&mut run, wait::LIMIT);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Everything in the folder, with what a change would change.
    fn snapshot(&self) -> BTreeMap<PathBuf, (u32, u64, i64, i64)> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.0.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                let data = entry.symlink_metadata().unwrap();
                if data.is_dir() {
                    folders.push(entry.clone());
                }
                found.insert(entry, (data.mode(), data.size(), data.mtime(), data.mtime_nsec()));
            }
        }
        found
    }

    /// `check-config` reports a fault with these words and changes nothing, and `serve` refuses the settings too.
    #[track_caller]
    fn assert_refused(&self, flags: &[(&str, &Path)], parts: &[&str]) {
        let before = self.snapshot();
        let checked = self.run("check-config", flags);
        assert_eq!(self.snapshot(), before, "{flags:?}");
        assert_eq!((checked.code, checked.stdout.as_str()), (Some(64), ""), "{flags:?}: {}", checked.stderr);
        assert!(checked.stderr.contains("(1 error)"), "{flags:?}: {}", checked.stderr);
        let started = self.run("serve", flags);
        assert_eq!(started.code, Some(64), "{flags:?}: {}", started.stderr);
        for part in parts {
            assert!(checked.stderr.contains(part), "{part:?} is not in: {}", checked.stderr);
            assert!(started.stderr.contains(part), "{part:?} is not in: {}", started.stderr);
        }
    }
}

#[test]
fn files_that_serve_cannot_use_are_faults() {
    let folder = TestFolder::new();
    let (fifo, file) = (folder.fifo("fifo"), folder.at("file"));
    fs::write(&file, "no log").unwrap();
    folder.assert_refused(&[("--audit", &fifo)], &["FIFO"]);
    folder.assert_refused(&[("--audit", &file)], &["file", "entry"]);
    folder.assert_refused(&[("--audit", &folder.at("missing/audit.jsonl"))], &["missing/audit.jsonl"]);
    folder.assert_refused(&[("--data", &fifo)], &["fifo"]);
    folder.assert_refused(&[("--data", &file)], &["file"]);
    folder.assert_refused(&[("--cache-dir", &fifo)], &["--cache-dir", "fifo"]);
    folder.assert_refused(&[("--cache-dir", Path::new("/dev/null"))], &["--cache-dir", "/dev/null"]);
    folder.assert_refused(&[("--spool-dir", &file)], &["file"]);
    folder.assert_refused(&[("--addr-file", &folder.at(""))], &["--addr-file", "a folder"]);
    folder.assert_refused(&[("--addr-file", &fifo)], &["--addr-file", "FIFO"]);
}

#[test]
fn artifacts_without_their_key_are_a_fault() {
    let folder = TestFolder::new();
    let data = folder.at("data");
    fs::create_dir_all(data.join("artifacts")).unwrap();
    fs::write(data.join("artifacts").join(ARTIFACT), [0; 200]).unwrap();
    folder.assert_refused(&[("--data", &data)], &["artifact.key", "missing"]);
    fs::write(data.join("artifact.key"), "no key").unwrap();
    fs::set_permissions(data.join("artifact.key"), fs::Permissions::from_mode(0o600)).unwrap();
    folder.assert_refused(&[("--data", &data)], &["artifact.key", "32 bytes"]);
}

#[test]
fn a_spool_of_another_user_is_a_fault() {
    if !geteuid().is_root() {
        eprintln!("skipped: only root can give a folder to another user");
        return;
    }
    let folder = TestFolder::new();
    let spool = folder.at("other");
    fs::create_dir(&spool).unwrap();
    chown(&spool, Some(12_345), None).unwrap();
    folder.assert_refused(&[("--spool-dir", &spool)], &["12345"]);
}

#[test]
fn a_check_beside_the_running_server_finds_no_fault() {
    let folder = TestFolder::new();
    let (data, audit) = (folder.at("data"), folder.at("audit.jsonl"));
    let server = TestServer::start(|s| {
        s.flag("--data", &data.display());
        s.flag("--audit", &audit.display());
    });
    let address = server.address().to_string();
    let circuit = &samples::range_check().circuit;
    let flags = [
        ("--data", data.as_path()),
        ("--audit", &audit),
        ("--listen", Path::new(&address)),
        ("--spool-dir", server.spool()),
        ("--circuit", circuit),
    ];
    let checked = folder.run("check-config", &flags);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let note = checked.stdout.lines().find(|line| line.starts_with("note: ")).unwrap();
    assert!(note.contains(&address), "{note}");
    server.assert_healthy();
}

#[test]
fn a_check_creates_nothing() {
    let folder = TestFolder::new();
    let before = folder.snapshot();
    let (data, audit, address) = (folder.at("data"), folder.at("audit.jsonl"), folder.at("address"));
    let flags = [("--data", data.as_path()), ("--audit", &audit), ("--addr-file", &address)];
    let checked = folder.run("check-config", &flags);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert_eq!(folder.snapshot(), before);
}

#[test]
fn a_port_in_use_is_a_note_and_an_address_elsewhere_a_fault() {
    let folder = TestFolder::new();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let checked = folder.run("check-config", &[("--probe-listen", Path::new(&address))]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.stdout.contains(&format!("note: {address}")), "{}", checked.stdout);
    // An address of the documentation is none of this machine.
    folder.assert_refused(&[("--listen", Path::new("192.0.2.1:8080"))], &["--listen", "192.0.2.1"]);
}
