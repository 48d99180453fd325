//! A clock of a server's own, that can be set while it runs. The machine's belongs to everybody on it.
//!
//! A few lines of C are loaded before the C library and answer in its place, hence only where programs are linked to
//! that one while they start, as on any ordinary Linux. What links Rust compiles C as well.

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

/// A clock that is right until it is set.
#[derive(Debug)]
pub struct Clock {
    dir: TempDir,
    ahead: File,
}

impl Clock {
    /// One that is right.
    #[track_caller]
    #[expect(clippy::new_without_default, reason = "it calls a compiler, which a default should not")]
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("edgeprove-clock-").tempdir().unwrap();
        let mut compiler = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-x", "c", "-", "-o"])
            .arg(library(dir.path()))
            .stdin(Stdio::piped())
            .spawn()
            .expect("there is a C compiler, as there is a linker");
        compiler.stdin.take().unwrap().write_all(SOURCE.as_bytes()).unwrap();
        assert!(compiler.wait().unwrap().success(), "the clock is compiled");
        let ahead = File::create_new(dial(dir.path())).unwrap();
        let clock = Self { dir, ahead };
        clock.set(0);
        clock
    }

    /// Sets it to so many seconds ahead of the machine's, or behind.
    pub fn set(&self, ahead_s: i64) {
        // Eight aligned bytes of a mapped page are read and written as one.
        self.ahead.write_all_at(&ahead_s.to_ne_bytes(), 0).unwrap();
    }

    /// Gives a server this clock.
    pub fn give(&self, settings: &mut Settings) {
        for (name, path) in [("LD_PRELOAD", library(self.dir.path())), ("TEST_CLOCK", dial(self.dir.path()))]
        {
            let path = fs::canonicalize(path).unwrap().into_os_string().into_string().unwrap();
            settings.environment.push((name.to_owned(), path));
        }
    }
}

fn library(dir: &Path) -> PathBuf {
    dir.join("clock.so")
}

fn dial(dir: &Path) -> PathBuf {
    dir.join("ahead")
}
