//! The whole path: workerd, its Durable Object, a real container in Docker, a real bb. One test at a time, for each has
//! the machine's cores to itself.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed, and says so"
)]

mod faults;
mod jobs;
mod life;
mod pool;
mod streams;

use std::time::{Duration, Instant};

use edgeprove_e2e::{Edge, docker};
use edgeprove_protocol::Target;
use edgeprove_testkit::{Answer, Sample, samples};

/// The image's one circuit is `range_check` under another name.
fn sample() -> Sample {
    Sample { name: "circuit".to_owned(), ..samples::range().clone() }
}

/// A proof through the edge, held against an untouched bb, and how long it took.
#[track_caller]
fn proves(edge: &Edge) -> (Answer, Duration) {
    let sample = sample();
    let began = Instant::now();
    let answer = edge.posting("/api/prove", &sample.witness).send();
    let took = began.elapsed();
    answer.proves(&sample, Target::NoirRecursive);
    (answer, took)
}

/// The edge's one container.
#[track_caller]
fn only_container(edge: &Edge) -> String {
    let mut containers = edge.containers();
    assert_eq!(containers.len(), 1, "{containers:?}");
    containers.remove(0)
}

/// Lets a container have this share of one core, so that a proof takes as long as a test needs.
#[track_caller]
fn slow_down(container: &str, cpus: &str) {
    docker::ask(&["update", "--cpus", cpus, container]);
}
