//! Jobs in containers that keep their own.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use edgeprove_e2e::{Edge, docker};
use edgeprove_protocol::{JobDocument, JobStatus, ProblemType, Target, job::JobPage};
use edgeprove_testkit::{Answer, client::Ask, wait::within};

use crate::{only_container, proves, sample, slow_down};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// `alice:` and the SHA-256 of `k1`.
const ALICE: &str = "alice:6ab9f1eb8f7d3388f4f9d586f66e99fd54080df2c446f0e58668b09c08a16dd0";

fn job(answer: &Answer) -> JobDocument {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("no job ({error}): {answer:?}"))
}

/// Where a container's server listens on this machine: what is asked there is no request to the edge.
fn published(container: &str) -> SocketAddr {
    let address = docker::ask(&["port", container, "8080/tcp"]);
    let port = address.lines().next().unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn it_stays_awake_for_jobs_that_nobody_waits_for_and_sleeps_once_they_are_done() {
    const SLEEP_AFTER: Duration = Duration::from_secs(4);
    let edge = Edge::start(|e| {
        e.var("SLEEP_AFTER", "4s").var("EDGEPROVE_EPHEMERAL_JOBS", "true").var("EDGEPROVE_JOB_WORKERS", "1");
    });
    proves(&edge);
    let container = only_container(&edge);
    let server = published(&container);
    slow_down(&container, "0.02");
    let jobs: Vec<_> = (0..2)
        .map(|_| {
            let answer = edge.posting("/v1/proofs", &sample().witness).send();
            assert_eq!(answer.status, 202, "{answer:?}");
            job(&answer)
        })
        .collect();
    assert!(jobs.iter().all(|job| job.id.instance() == Some(0)), "{jobs:?}");
    let handed_in = Instant::now();
    // From here on nobody asks the edge for anything.
    within(Duration::from_mins(3), "both are done", || {
        let now = |job: &JobDocument| Ask::new(server, http::Method::GET, &job.links.this).send();
        std::thread::sleep(Duration::from_millis(500));
        jobs.iter().all(|asked| job(&now(asked)).status == JobStatus::Completed).then_some(())
    });
    let took = handed_in.elapsed();
    eprintln!("two jobs took {} ms", took.as_millis());
    assert!(took > 2 * SLEEP_AFTER + Duration::from_secs(1), "they were done in {took:?}; nothing was shown");
    assert_eq!(only_container(&edge), container, "it slept although there was work");
    slow_down(&container, "2");
    for job in &jobs {
        edge.get(&job.links.proof).proves(&sample(), Target::NoirRecursive);
    }

    within(Duration::from_secs(30), "the container sleeps", || edge.containers().is_empty().then_some(()));
    assert!(!edge.log().contains("container_destroyed"), "it had to be killed");
    // What it alone kept went with it, and the next one says so.
    edge.get(&jobs[0].links.this).refused(ProblemType::JobNotFound);
}

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn of_two_that_keep_their_own_a_jobs_name_finds_the_one_that_has_it() {
    let edge = Edge::start(|e| {
        e.var("MAX_INSTANCES", "2")
            .var("EDGEPROVE_EPHEMERAL_JOBS", "true")
            .var("EDGE_SECRET", SECRET)
            .var("API_KEYS", ALICE);
    });
    let as_alice = |ask: Ask| ask.header("x-api-key", "k1");
    let get = |path: &str| as_alice(edge.ask("GET", path)).send();
    let submit = |name: &str| {
        let asked = as_alice(edge.posting("/v1/proofs", &sample().witness));
        let answer = asked.header("idempotency-key", name).send();
        assert_eq!(answer.status, 202, "{answer:?}");
        job(&answer)
    };
    let names: Vec<_> = (0..8).map(|number| format!("order-{number}")).collect();
    let jobs: Vec<_> = names.iter().map(|name| submit(name)).collect();
    let of = |home| jobs.iter().filter(move |job| job.id.instance() == Some(home));
    assert!(of(0).count() > 0 && of(1).count() > 0 && of(0).count() + of(1).count() == 8, "{jobs:?}");
    assert_eq!(edge.containers().len(), 2);
    for (name, first) in names.iter().zip(&jobs) {
        assert_eq!(submit(name).id, first.id, "the same request came to another container");
    }

    for asked in &jobs {
        let events = String::from_utf8(get(&asked.links.events).body).unwrap();
        assert!(events.contains("event: done"), "{events}");
        assert_eq!(job(&get(&asked.links.this)).status, JobStatus::Completed);
    }
    for asked in [of(0).next(), of(1).next()].into_iter().flatten() {
        get(&asked.links.proof).proves(&sample(), Target::NoirRecursive);
        let other = asked.links.this.replace("/c0-", "/c#-").replace("/c1-", "/c0-").replace("/c#-", "/c1-");
        get(&other).refused(ProblemType::JobNotFound);
    }
    get(&jobs[0].links.this.replace("/c", "/c7")).refused(ProblemType::JobNotFound);

    // No list passes for the whole of them.
    for path in ["/v1/proofs", "/v1/queue", "/v1/proofs?container=2"] {
        let problem = get(path).refused(ProblemType::InvalidRequest);
        assert!(
            problem.detail.contains("?container=0") && problem.detail.contains("DATABASE_URL"),
            "{problem:?}"
        );
    }
    for home in [0, 1] {
        let mut path = Some(format!("/v1/proofs?limit=1&container={home}"));
        let mut listed = Vec::new();
        while let Some(next) = path {
            let page: JobPage = serde_json::from_slice(&get(&next).body).unwrap();
            listed.extend(page.jobs.iter().map(|job| job.id));
            path = page.next;
        }
        listed.reverse();
        assert_eq!(listed, of(home).map(|job| job.id).collect::<Vec<_>>());
        let queue = get(&format!("/v1/queue?container={home}")).json();
        assert_eq!(queue["jobs"]["completed"], of(home).count(), "{queue}");
    }
}
