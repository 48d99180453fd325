//! A clock for one server, which a test may change while the server runs. The clock of the machine stays as it is.
//!
//! A small C library is preloaded and replaces `clock_gettime`. This works for dynamically linked programs, as on any
//! ordinary Linux. The C compiler is the one that links Rust programs.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::settings::Settings;

const SOURCE: &str = include_str!("clock.c");

/// A clock that shows the time of the machine until a test changes it.
#[derive(Debug)]
pub struct Clock {
    dir: TempDir,
    ahead: File,
}

impl Clock {
    /// Compiles the library. The clock shows the time of the machine.
    #[track_caller]
    #[expect(clippy::new_without_default, reason = "it calls a compiler, which a default should not")]
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("edgeprove-clock-").tempdir().unwrap();
        let mut compiler = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-x", "c", "-", "-o"])
            .arg(library(dir.path()))
            .stdin(Stdio::piped())
            .spawn()
            .expect("a C compiler is installed, because Rust links with it");
        compiler.stdin.take().unwrap().write_all(SOURCE.as_bytes()).unwrap();
        assert!(compiler.wait().unwrap().success(), "the clock is compiled");
        let ahead = File::create_new(offset_file(dir.path())).unwrap();
        let clock = Self { dir, ahead };
        clock.set_offset(0);
        clock
    }

    /// Sets the clock ahead of the machine's clock by this many seconds, or behind it if the number is negative.
    pub fn set_offset(&self, ahead_s: i64) {
        // Eight aligned bytes of a mapped page are read and written atomically.
        self.ahead.write_all_at(&ahead_s.to_ne_bytes(), 0).unwrap();
    }

    /// Makes a server use this clock.
    pub fn apply_to(&self, settings: &mut Settings) {
        settings.environment.extend(self.environment());
    }

    /// The variables of a program that uses this clock.
    pub fn environment(&self) -> [(String, String); 2] {
        [("LD_PRELOAD", library(self.dir.path())), ("TEST_CLOCK", offset_file(self.dir.path()))].map(
            |(name, path)| {
                let path = fs::canonicalize(path).unwrap().into_os_string().into_string().unwrap();
                (name.to_owned(), path)
            },
        )
    }
}

fn library(dir: &Path) -> PathBuf {
    dir.join("clock.so")
}

fn offset_file(dir: &Path) -> PathBuf {
    dir.join("ahead")
}
