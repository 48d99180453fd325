//! Tests the whole path: workerd, its Durable Object, a real container in Docker, a real bb. The tests run one at a
//! time, because each needs all cores.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed, and a panic reports it"
)]

mod faults;
mod jobs;
mod lifecycle;
mod network;
mod pool;
mod streams;

use std::time::{Duration, Instant};

use edgeprove_e2e::{Edge, docker};
use edgeprove_protocol::Target;
use edgeprove_testkit::{Response, Sample, samples, wait::try_eventually};

/// The only circuit of the image: `range_check` under another name.
fn sample() -> Sample {
    Sample { name: "circuit".to_owned(), ..samples::range_check().clone() }
}

/// Requests a proof through the edge and verifies it with an unmodified bb. Returns how long the request took.
#[track_caller]
fn assert_proves(edge: &Edge) -> (Response, Duration) {
    let sample = sample();
    let began = Instant::now();
    let response = edge.prove_request("/api/prove", &sample.witness).send();
    let took = began.elapsed();
    response.assert_proves(&sample, Target::NoirRecursive);
    (response, took)
}

/// The name of the only container of the edge.
#[track_caller]
fn only_container(edge: &Edge) -> String {
    // A container that has been replaced may still be stopping.
    try_eventually("the edge has one container", || {
        <[String; 1]>::try_from(edge.containers()).map(|[name]| name).map_err(|names| format!("{names:?}"))
    })
}

/// Limits a container to this many cores, so that a proof takes as long as a test needs.
#[track_caller]
fn slow_down(container: &str, cpus: &str) {
    docker::run(&["update", "--cpus", cpus, container]);
}
