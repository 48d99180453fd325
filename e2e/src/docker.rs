//! Containers, seen and treated from outside, by the command line of the Docker Engine.

use std::{process::Command, time::Duration};

use edgeprove_testkit::processes;

const LIMIT: Duration = Duration::from_mins(1);

/// What `docker` prints on being asked this.
#[track_caller]
pub fn ask(arguments: &[&str]) -> String {
    let output = processes::run(Command::new("docker").args(arguments), LIMIT);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docker {arguments:?}: {words}");
    String::from_utf8(output.stdout).expect("docker prints text").trim().to_owned()
}

/// Names of the containers that run and whose names begin so.
#[track_caller]
pub fn running(prefix: &str) -> Vec<String> {
    listed(&["ps"], prefix)
}

/// The same with those that have ended.
#[track_caller]
pub fn all(prefix: &str) -> Vec<String> {
    listed(&["ps", "--all"], prefix)
}

fn listed(command: &[&str], prefix: &str) -> Vec<String> {
    let filter = format!("name=^{prefix}");
    let names = ask(&[command, &["--filter", &filter, "--format", "{{.Names}}"]].concat());
    names.lines().map(str::to_owned).collect()
}

/// What a container has logged.
#[track_caller]
pub fn logs(container: &str) -> String {
    let output = processes::run(Command::new("docker").args(["logs", container]), LIMIT);
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
