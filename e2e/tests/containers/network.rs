//! Containers without the internet: it is off unless the settings allow it, and proving does not need it.

use std::{process::Command, time::Duration};

use edgeprove_e2e::{Edge, docker};
use edgeprove_testkit::{
    processes::{self, Process},
    skipped,
};

use crate::{assert_proves, only_container};

/// An address that no one has (RFC 5737), behind every router.
const OUTSIDE: &str = "192.0.2.1";

/// The number of the first process of a container on this machine.
#[track_caller]
fn pid_of(container: &str) -> i32 {
    let pid = docker::run(&["inspect", "--format", "{{.State.Pid}}", container]);
    pid.parse().expect("the container runs")
}

/// What `ip` prints in the network of a container. The image itself has no program but the server and bb.
#[track_caller]
fn ip_in_network_of(container: &str, arguments: &[&str]) -> (bool, String) {
    let pid = pid_of(container);
    assert!(Process::find(pid).is_some(), "the container's process is on this machine");
    let mut command = Command::new("nsenter");
    command.args(["--target", &pid.to_string(), "--net", "ip"]).args(arguments);
    let output = processes::run(&mut command, Duration::from_mins(1));
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// The value of `enableInternet` that the edge gave the runtime, as its log has it.
#[track_caller]
fn started_with_internet(edge: &Edge) -> bool {
    let line = edge.logged("event", "container_started")[0].clone();
    match line["detail"].as_str() {
        Some("internet=true") => true,
        Some("internet=false") => false,
        _ => panic!("the line has no setting: {line}"),
    }
}

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn a_container_proves_without_the_internet() {
    let edge = Edge::start(|_| {});
    assert_proves(&edge);
    assert!(!started_with_internet(&edge), "the internet is off by default");
}

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn the_setting_gives_a_container_the_internet() {
    let edge = Edge::start(|e| {
        e.var("CONTAINER_INTERNET", "true");
    });
    assert_proves(&edge);
    assert!(started_with_internet(&edge));
}

/// The local runtime ignores `enableInternet` in some versions, so the route out of the container is removed here, and
/// only its port is left. A server that needed anything from outside would not start its next proof.
#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn a_container_with_nothing_but_its_port_proves() {
    if skipped::lacks_program("nsenter") || skipped::lacks_program("ip") {
        return;
    }
    let edge = Edge::start(|_| {});
    assert_proves(&edge);
    let container = only_container(&edge);
    // Without a default route, only the network of the port is reachable.
    let (_, routes) = ip_in_network_of(&container, &["route", "show", "default"]);
    if !routes.trim().is_empty() {
        let (is_removed, text) = ip_in_network_of(&container, &["route", "del", "default"]);
        assert!(is_removed, "{text}");
    }
    let (is_reachable, text) = ip_in_network_of(&container, &["route", "get", OUTSIDE]);
    assert!(!is_reachable, "the container has a way out: {text}");
    assert_proves(&edge);
    assert_eq!(only_container(&edge), container, "it is the same container");
    let (is_reachable, text) = ip_in_network_of(&container, &["route", "get", OUTSIDE]);
    assert!(!is_reachable, "the container has a way out again: {text}");
}
