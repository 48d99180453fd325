//! A sandbox with a spool of its own, and what is left of its tools.

use std::{env, fs, path::Path, time::Duration};

use edgeprove_builder::{Isolation, Limits, Required, Sandbox, Tool, ToolLocations};
use edgeprove_spool::Spool;
use edgeprove_telemetry::supervisor::Supervisor;
use edgeprove_testkit::wait::try_eventually;

/// A sandbox, and the folder that has its spool.
pub(crate) struct Fixture {
    pub(crate) sandbox: Sandbox,
    pub(crate) supervisor: Supervisor,
    pub(crate) spool: Spool,
    _home: tempfile::TempDir,
}

/// The variable that lets these tests pass on a machine that refuses namespaces.
const WITHOUT_NAMESPACES: &str = "EDGEPROVE_TEST_WITHOUT_NAMESPACES";

/// Tests of the network fail where namespaces are refused, unless whoever runs them allows it.
pub(crate) fn required() -> Required {
    if env::var_os(WITHOUT_NAMESPACES).is_some() { Required::ProcessGroup } else { Required::NoNetwork }
}

impl Fixture {
    /// With the best isolation that this machine allows.
    pub(crate) async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().to_owned();
        Self::open(home, &folder).await
    }

    /// With the spool in this folder.
    pub(crate) async fn open(home: tempfile::TempDir, folder: &Path) -> Self {
        let spool = Spool::open(&folder.join("spool")).unwrap();
        let supervisor = Supervisor::default();
        let sandbox = Sandbox::open(spool.clone(), supervisor.clone(), required()).await;
        let sandbox = sandbox.unwrap_or_else(|error| panic!("{error}; {WITHOUT_NAMESPACES}=1 allows it"));
        Self { sandbox, supervisor, spool, _home: home }
    }

    /// With a process group only, as in a container without further rights.
    pub(crate) async fn without_namespaces() -> Self {
        let mut fixture = Self::new().await;
        fixture.sandbox = fixture.sandbox.with_isolation(Isolation::ProcessGroup);
        fixture
    }

    /// Waits until no process of any tool is left, nor a file.
    #[track_caller]
    pub(crate) fn assert_nothing_is_left(&self) {
        try_eventually("no process and no file of a tool is left", || {
            let processes = processes_below(self.spool.path());
            let files: Vec<_> = fs::read_dir(self.spool.path()).unwrap().flatten().collect();
            if processes.is_empty() && files.is_empty() && self.spool.is_empty() {
                Ok(())
            } else {
                Err(format!("{processes:?} {files:?}"))
            }
        });
    }
}

/// The processes whose home is in this folder: tools, and everything that they started.
pub(crate) fn processes_below(folder: &Path) -> Vec<String> {
    let home = format!("HOME={}", folder.display());
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter(|entry| {
            // The environment of a dead process is empty.
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(home.as_bytes()))
        })
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

pub(crate) fn node() -> std::path::PathBuf {
    ToolLocations::find_program("node", &env::var_os("PATH").unwrap()).unwrap()
}

pub(crate) fn shell(script: &str) -> Tool {
    Tool {
        name: String::from("the shell"),
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into()],
    }
}

pub(crate) fn javascript(script: &str) -> Tool {
    Tool { name: String::from("the script"), program: node(), arguments: vec!["-e".into(), script.into()] }
}

/// Limits that only a tool without an end reaches.
pub(crate) fn limits() -> Limits {
    Limits { time: Duration::from_mins(2), ..Limits::default() }
}
