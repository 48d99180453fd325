//! `edgeprove check-config` reports what `serve` would refuse, and changes nothing.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File},
    net::TcpListener,
    os::{
        fd::AsRawFd as _,
        unix::{
            ffi::OsStrExt as _,
            fs::{MetadataExt as _, PermissionsExt as _, chown},
            process::CommandExt as _,
        },
    },
    path::{Path, PathBuf},
    process::Command,
};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::{TestServer, paths, processes, samples, skipped, wait};

/// A name that an artifact can have.
const ARTIFACT: &str = "3f2504e0-4f89-41d3-9a0c-0305e82c3301";
/// A user who is neither root nor the one who runs the tests.
const OTHER: u32 = 12_345;

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

    /// A folder with this mode, however the process's umask is.
    fn folder(&self, name: &str, mode: u32) -> PathBuf {
        let path = self.at(name);
        fs::create_dir(&path).unwrap();
        set_mode(&path, mode);
        path
    }

    fn file(&self, name: &str, mode: u32) -> PathBuf {
        let path = self.at(name);
        fs::write(&path, "").unwrap();
        set_mode(&path, mode);
        path
    }

    /// A copy of a circuit, in a folder that exists.
    fn circuit(&self, folder: &str, mode: u32) -> PathBuf {
        let path = self.at(folder).join("range_check.json");
        fs::copy(&samples::range_check().circuit, &path).unwrap();
        set_mode(&path, mode);
        path
    }

    /// A copy of the CRS.
    fn crs(&self, mode: u32) -> PathBuf {
        let path = self.folder("crs", mode);
        for file in ["bn254_g1.dat", "bn254_g2.dat"] {
            fs::copy(paths::crs().join(file), path.join(file)).unwrap();
            set_mode(&path.join(file), 0o644);
        }
        path
    }

    fn run(&self, command: &str, flags: &[(&str, &Path)]) -> Ended {
        self.run_by(Command::new(paths::edgeprove()), command, flags)
    }

    /// Runs a command of the server, which this program is or starts.
    fn run_by(&self, mut run: Command, command: &str, flags: &[(&str, &Path)]) -> Ended {
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
        self.assert_refused_by(|| Command::new(paths::edgeprove()), flags, parts);
    }

    #[track_caller]
    fn assert_refused_by(&self, by: impl Fn() -> Command, flags: &[(&str, &Path)], parts: &[&str]) {
        let before = self.snapshot();
        let checked = self.run_by(by(), "check-config", flags);
        assert_eq!(self.snapshot(), before, "{flags:?}");
        assert_eq!((checked.code, checked.stdout.as_str()), (Some(64), ""), "{flags:?}: {}", checked.stderr);
        assert!(checked.stderr.contains("(1 error)"), "{flags:?}: {}", checked.stderr);
        let started = self.run_by(by(), "serve", flags);
        assert_eq!(started.code, Some(64), "{flags:?}: {}", started.stderr);
        for part in parts {
            assert!(checked.stderr.contains(part), "{part:?} is not in: {}", checked.stderr);
            assert!(started.stderr.contains(part), "{part:?} is not in: {}", started.stderr);
        }
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
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
    set_mode(&data.join("artifact.key"), 0o600);
    folder.assert_refused(&[("--data", &data)], &["artifact.key", "32 bytes"]);
}

#[test]
fn a_data_path_that_is_not_utf_8_is_a_fault() {
    let folder = TestFolder::new();
    let data = folder.0.path().join(OsStr::from_bytes(b"data\xff"));
    folder.assert_refused(&[("--data", &data)], &["UTF-8"]);
    let link = folder.at("link");
    fs::create_dir(&data).unwrap();
    std::os::unix::fs::symlink(&data, &link).unwrap();
    folder.assert_refused(&[("--data", &link)], &["UTF-8"]);
}

/// Makes what a start must not use. Returns its path, and the flag with its value.
type Prepare = fn(&TestFolder) -> (PathBuf, &'static str, PathBuf);

#[test]
fn what_others_may_write_to_is_a_fault() {
    let starts: [Prepare; 6] = [
        |folder| {
            let data = folder.folder("data", 0o777);
            // A server closes a folder only if it has no files of other programs.
            folder.file("data/photo.jpg", 0o600);
            (data.clone(), "--data", data)
        },
        |folder| {
            let (above, data) = (folder.folder("above", 0o777), folder.at("above/data"));
            (above, "--data", data)
        },
        |folder| {
            let file = folder.file("keys.toml", 0o666);
            (file.clone(), "--keys-file", file)
        },
        |folder| {
            let circuits = folder.folder("circuits", 0o777);
            folder.circuit("circuits", 0o644);
            (circuits.clone(), "--circuits", circuits)
        },
        |folder| {
            folder.folder("circuits", 0o755);
            let circuit = folder.circuit("circuits", 0o666);
            (circuit.clone(), "--circuit", circuit)
        },
        |folder| {
            let crs = folder.crs(0o777);
            (crs.clone(), "--crs", crs)
        },
    ];
    for prepare in starts {
        let folder = TestFolder::new();
        let (path, flag, value) = prepare(&folder);
        folder.assert_refused(&[(flag, &value)], &[path.to_str().unwrap(), "chmod"]);
    }
}

#[test]
fn what_another_user_owns_is_a_fault() {
    if skipped::is_not_root() {
        return;
    }
    let assert_refused = |folder: &TestFolder, owned: &str, flag: &str, value: &str| {
        let (owned, value) = (folder.at(owned), folder.at(value));
        chown(&owned, Some(OTHER), None).unwrap();
        folder.assert_refused(&[(flag, &value)], &[owned.to_str().unwrap(), "12345", "chown"]);
    };
    let in_data = ["edgeprove.db", "edgeprove.db-wal", "edgeprove.lock", "artifact.key", "artifacts"];
    for owned in in_data.map(|name| format!("data/{name}")).iter().map(String::as_str).chain(["data"]) {
        let folder = TestFolder::new();
        folder.folder("data", 0o700);
        folder.folder("data/artifacts", 0o700);
        for name in ["edgeprove.db", "edgeprove.db-wal", "edgeprove.lock"] {
            folder.file(&format!("data/{name}"), 0o600);
        }
        fs::write(folder.file("data/artifact.key", 0o600), "07".repeat(32)).unwrap();
        assert_refused(&folder, owned, "--data", "data");
    }
    for (flag, name) in [("--audit", "audit.jsonl"), ("--keys-file", "keys.toml")] {
        let folder = TestFolder::new();
        folder.file(name, 0o600);
        assert_refused(&folder, name, flag, name);
    }
    let folder = TestFolder::new();
    // The unfinished line of a log is moved to a file beside it.
    fs::write(folder.file("audit.jsonl", 0o600), "{\"entry\":{").unwrap();
    folder.file("audit.jsonl.torn", 0o600);
    assert_refused(&folder, "audit.jsonl.torn", "--audit", "audit.jsonl");
    let folder = TestFolder::new();
    folder.folder("other", 0o700);
    assert_refused(&folder, "other", "--spool-dir", "other");
}

#[test]
fn a_spool_of_root_that_is_open_to_all_is_a_fault() {
    if skipped::is_not_root() {
        return;
    }
    let folder = TestFolder::new();
    set_mode(folder.0.path(), 0o755);
    let (crs, spool, bb) = (folder.crs(0o755), folder.folder("shared", 0o777), folder.at("bb"));
    let version = Command::new(paths::bb()).arg("--version").output().unwrap().stdout;
    let version = String::from_utf8(version).unwrap();
    fs::write(&bb, format!("#!/bin/sh\necho {}\n", version.trim())).unwrap();
    set_mode(&bb, 0o755);
    // The other user may be unable to enter the folders of the program, but not to execute an open file.
    let program = File::open(paths::edgeprove()).unwrap();
    let by_other = || {
        let mut run = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
        run.uid(OTHER).gid(OTHER);
        run
    };
    let flags = [("--spool-dir", spool.as_path()), ("--crs", &crs), ("--bb", &bb)];
    folder.assert_refused_by(by_other, &flags, &[spool.to_str().unwrap(), "777", "--spool-dir"]);
    set_mode(&spool, 0o1777);
    let checked = folder.run_by(by_other(), "check-config", &flags);
    assert_eq!(checked.code, Some(0), "{checked:?}");
}

#[test]
fn files_of_another_user_that_are_only_read_are_a_warning() {
    if skipped::is_not_root() {
        return;
    }
    let folder = TestFolder::new();
    let (cache, crs) = (folder.folder("shared", 0o777), folder.crs(0o755));
    folder.folder("circuits", 0o755);
    let circuit = folder.circuit("circuits", 0o644);
    for owned in [&circuit, &crs] {
        chown(owned, Some(OTHER), None).unwrap();
    }
    let flags = [("--circuit", circuit.as_path()), ("--crs", &crs), ("--cache-dir", &cache)];
    let checked = folder.run("check-config", &flags);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    for path in [&circuit, &crs, &cache] {
        let path = path.to_str().unwrap();
        let is_warned = |line: &str| line.starts_with("warning: ") && line.contains(path);
        assert!(checked.stdout.lines().any(is_warned), "no warning names {path}: {}", checked.stdout);
    }
    let server = TestServer::start(|s| s.circuit = Some(circuit.clone()));
    server.wait_for_log_line("a warning names the circuit", |line| {
        line["level"] == "WARN"
            && line["fault"].as_str().is_some_and(|fault| fault.contains("range_check.json"))
    });
    server.assert_healthy();
}

#[test]
fn files_on_a_read_only_mount_are_no_fault() {
    if skipped::lacks_mount_namespaces() {
        return;
    }
    let folder = TestFolder::new();
    let mounted = folder.folder("mounted", 0o777);
    folder.circuit("mounted", 0o666);
    let keys = folder.file("mounted/keys.toml", 0o666);
    fs::write(&keys, "[anonymous]\nallowed = true\n").unwrap();
    let flags = [("--circuits", mounted.as_path()), ("--keys-file", &keys)];
    let script = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" && shift && exec \"$@\"";
    let mut by = skipped::namespace(&["--mount"]);
    by.args(["sh", "-c", script, "sh"]).arg(&mounted).arg(paths::edgeprove());
    let checked = folder.run_by(by, "check-config", &flags);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(!checked.stdout.contains("mode 777"), "{}", checked.stdout);
    assert_eq!(folder.run("check-config", &flags).code, Some(64));
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
