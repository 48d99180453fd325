//! Inspects and controls containers with the command line of the Docker Engine.

use std::process::Command;

use edgeprove_testkit::{processes, wait};

/// Runs `docker` with these arguments and returns its output.
#[track_caller]
pub fn run(arguments: &[&str]) -> String {
    let output = processes::run(Command::new("docker").args(arguments), wait::LIMIT);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docker {arguments:?}: {stderr}");
    String::from_utf8(output.stdout).expect("docker prints text").trim().to_owned()
}

/// Names of the running containers whose names begin with this prefix.
#[track_caller]
pub fn running(prefix: &str) -> Vec<String> {
    list(&["ps"], prefix)
}

/// Names of the running and stopped containers whose names begin with this prefix.
#[track_caller]
pub fn all(prefix: &str) -> Vec<String> {
    list(&["ps", "--all"], prefix)
}

fn list(command: &[&str], prefix: &str) -> Vec<String> {
    let filter = format!("name=^{prefix}");
    let names = run(&[command, &["--filter", &filter, "--format", "{{.Names}}"]].concat());
    names.lines().map(str::to_owned).collect()
}

/// The log of a container.
#[track_caller]
pub fn logs(container: &str) -> String {
    let output = processes::run(Command::new("docker").args(["logs", container]), wait::LIMIT);
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
