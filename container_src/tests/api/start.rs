//! The start of a server: the level of its log, and signals before it is ready.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use rustix::process::Signal;

use crate::support::{
    TestServer, eventually, paths,
    processes::{self, Process},
    wait,
};

const USAGE: Option<i32> = Some(64);

#[test]
fn a_server_runs_until_sigterm_at_every_log_level() {
    let levels = ["off", "error", "warn", "info", "trace", "warn,edgeprove_engine=info"];
    thread::scope(|scope| {
        for level in levels {
            scope.spawn(move || {
                let server = TestServer::start(|s| s.flag("--log", level));
                server.assert_healthy();
                // Checks that the status is 0.
                server.finish();
            });
        }
    });
}

#[test]
fn a_misspelt_log_level_is_reported() {
    for (level, command) in
        [("wran", "serve"), ("information", "check-config"), ("info,edgeprove_engin=debug", "serve")]
    {
        let mut bare = Command::new(paths::edgeprove());
        bare.args([command, "--listen", "127.0.0.1:0", "--log", level]).env_clear();
        bare.env("BB_PATH", paths::bb()).env("CRS_PATH", paths::crs());
        let output = processes::run(&mut bare, wait::LIMIT);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), USAGE, "{stderr}");
        for part in ["--log", "EDGEPROVE_LOG", level, "error", "warn", "info", "debug", "trace", "off"] {
            assert!(stderr.contains(part), "{part:?} is not in: {stderr}");
        }
    }
}

/// A bb that first reports which server runs it, and then waits until it may continue.
struct HeldBb {
    dir: tempfile::TempDir,
}

impl HeldBb {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (at, bb) = (dir.path().display(), paths::bb());
        let text = format!(
            "#!/bin/sh\n\
             if mkdir '{at}/is-held' 2>/dev/null; then\n\
             echo $PPID > '{at}/draft' && mv '{at}/draft' '{at}/server'\n\
             while [ ! -e '{at}/go' ]; do sleep 0.02; done\n\
             fi\n\
             exec '{}' \"$@\"\n",
            bb.display()
        );
        let held = Self { dir };
        fs::write(held.program(), text).unwrap();
        fs::set_permissions(held.program(), fs::Permissions::from_mode(0o755)).unwrap();
        held
    }

    fn program(&self) -> PathBuf {
        self.dir.path().join("bb")
    }

    /// Waits until a server runs it, and returns that server.
    #[track_caller]
    fn wait_for_server(&self) -> Process {
        eventually("the server runs bb", || {
            let pid = fs::read_to_string(self.dir.path().join("server")).ok()?.trim().parse().ok()?;
            Process::find(pid)
        })
    }

    fn release(&self) {
        fs::write(self.dir.path().join("go"), "").unwrap();
    }
}

#[test]
fn sighup_during_the_start_does_not_end_a_server() {
    let bb = HeldBb::new();
    let is_ready = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let server = bb.wait_for_server();
            server.signal(Signal::HUP);
            bb.release();
            while !is_ready.load(Ordering::Relaxed) && server.is_alive() {
                server.signal(Signal::HUP);
                thread::sleep(Duration::from_millis(2));
            }
        });
        let server = TestServer::start(|s| s.bb = bb.program());
        is_ready.store(true, Ordering::Relaxed);
        server.assert_healthy();
    });
}

#[test]
fn sigterm_during_the_start_ends_a_server_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let bb = HeldBb::new();
        let mut command = Command::new(paths::edgeprove());
        command.args(["serve", "--listen", "127.0.0.1:0", "--data", "off"]).env_clear();
        command.env("BB_PATH", bb.program()).env("CRS_PATH", paths::crs()).stdin(Stdio::null());
        command.arg("--spool-dir").arg(bb.dir.path().join("spool"));
        let mut child = command.arg("--cache-dir").arg(bb.dir.path().join("cache")).spawn().unwrap();
        let server = bb.wait_for_server();
        assert_eq!(u32::try_from(server.pid).unwrap(), child.id());
        server.signal(signal);
        let status = eventually("the server ends", || child.try_wait().unwrap());
        bb.release();
        assert_eq!(status.code(), Some(0), "{status}");
        assert!(!is_in(bb.dir.path(), "spool"), "the spool was opened");
    }
}

fn is_in(folder: &Path, name: &str) -> bool {
    folder.join(name).exists()
}
