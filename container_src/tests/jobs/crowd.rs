//! Ten thousand jobs, and a thousand watchers.

use std::{
    thread,
    time::{Duration, Instant},
};

use edgeprove_protocol::{JobId, JobStatus};
use edgeprove_testkit::{Connection, TestServer, processes::Process, samples};
use http::Method;

use crate::support::{Place, freeze, hand_in, thaw, until_running};

/// How many hand in at once.
const CALLERS: usize = 4;

/// Hands in so many jobs from several sides.
fn hand_in_crowd(server: &TestServer, jobs: usize) -> Vec<JobId> {
    thread::scope(|scope| {
        let callers: Vec<_> =
            (0..CALLERS).map(|_| scope.spawn(|| hand_in(server, samples::range(), jobs / CALLERS))).collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    })
}

/// The middle one of several times that this takes.
#[track_caller]
fn median(what: impl Fn()) -> Duration {
    let time = || {
        let began = Instant::now();
        what();
        began.elapsed()
    };
    let mut times: Vec<_> = (0..9).map(|_| time()).collect();
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
fn measure() {
    let place = Place::new();
    let server =
        place.serve(&[("--job-workers", "1"), ("--queue-max", "20000"), ("--jobs-per-caller", "20000")]);
    let n: usize = std::env::var("N").unwrap().parse().unwrap();
    server.post(&samples::range().witness);
    let one = server.hand_in(samples::range());
    server.over(one, Duration::from_secs(9));
    freeze(&server);
    let tell = |label: &str| {
        eprintln!(
            "{label}: submit {:?} get {:?} list {:?} queue {:?} metrics {:?}",
            median(|| {
                server.hand_in(samples::range());
            }),
            median(|| {
                let j = server.job(one);
                assert!(j.status.is_over())
            }),
            median(|| {
                server.get("/v1/proofs?limit=100");
            }),
            median(|| {
                server.queue();
            }),
            median(|| {
                server.get("/metrics");
            }),
        );
    };
    tell("empty");
    let t = Instant::now();
    let jobs = hand_in_crowd(&server, n);
    eprintln!("{n} in {:?}", t.elapsed());
    tell("full");
    eprintln!(
        "get last {:?}",
        median(|| {
            server.job(*jobs.last().unwrap());
        })
    );
    thaw(&server);
    drop(jobs);
    panic!("end");
}
