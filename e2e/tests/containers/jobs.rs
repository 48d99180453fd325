//! Jobs in containers that store their own jobs.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use edgeprove_e2e::{Edge, docker};
use edgeprove_protocol::{JobDocument, JobStatus, ProblemType, Target, job::JobPage};
use edgeprove_testkit::{
    Response,
    client::Request,
    eventually,
    wait::{LONG_LIMIT, within},
};

use crate::{assert_proves, only_container, sample, slow_down};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// `alice:` and the SHA-256 of `k1`.
pub(crate) const ALICE: &str = "alice:6ab9f1eb8f7d3388f4f9d586f66e99fd54080df2c446f0e58668b09c08a16dd0";

fn job(response: &Response) -> JobDocument {
    serde_json::from_slice(&response.body).unwrap_or_else(|error| panic!("no job ({error}): {response:?}"))
}

/// The published address of a container's server. A request to it does not pass through the edge.
fn published_address(container: &str) -> SocketAddr {
    let address = docker::run(&["port", container, "8080/tcp"]);
    let port = address.lines().next().unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn a_container_sleeps_only_after_its_jobs_have_finished() {
    const SLEEP_AFTER: Duration = Duration::from_secs(4);
    let edge = Edge::start(|e| {
        e.var("SLEEP_AFTER", "4s").var("EDGEPROVE_EPHEMERAL_JOBS", "true").var("EDGEPROVE_JOB_WORKERS", "1");
    });
    assert_proves(&edge);
    let container = only_container(&edge);
    let server = published_address(&container);
    slow_down(&container, "0.02");
    let jobs: Vec<_> = (0..2)
        .map(|_| {
            let response = edge.prove_request("/v1/proofs", &sample().witness).send();
            assert_eq!(response.status, 202, "{response:?}");
            job(&response)
        })
        .collect();
    assert!(jobs.iter().all(|job| job.id.instance() == Some(0)), "{jobs:?}");
    let submitted = Instant::now();
    // From here on, the edge gets no request.
    within(LONG_LIMIT, "both jobs are completed", || {
        let now = |job: &JobDocument| Request::new(server, http::Method::GET, &job.links.this).send();
        std::thread::sleep(Duration::from_millis(500));
        jobs.iter().all(|submitted| job(&now(submitted)).status == JobStatus::Completed).then_some(())
    });
    let took = submitted.elapsed();
    eprintln!("two jobs took {} ms", took.as_millis());
    assert!(
        took > 2 * SLEEP_AFTER + Duration::from_secs(1),
        "the jobs took only {took:?}, which shows nothing"
    );
    assert_eq!(only_container(&edge), container, "the container slept although it had jobs");
    slow_down(&container, "2");
    for job in &jobs {
        edge.get(&job.links.proof).assert_proves(&sample(), Target::NoirRecursive);
    }

    eventually("the container sleeps", || edge.containers().is_empty().then_some(()));
    assert!(!edge.log().contains("container_destroyed"), "the container had to be killed");
    // Its jobs are gone with it.
    edge.get(&jobs[0].links.this).assert_refused(ProblemType::JobNotFound);
}

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn a_job_id_leads_to_the_container_that_owns_the_job() {
    let edge = Edge::start(|e| {
        e.var("MAX_INSTANCES", "2")
            .var("EDGEPROVE_EPHEMERAL_JOBS", "true")
            .var("EDGE_SECRET", SECRET)
            .var("API_KEYS", ALICE);
    });
    let as_alice = |request: Request| request.header("x-api-key", "k1");
    let get = |path: &str| as_alice(edge.request("GET", path)).send();
    let submit = |name: &str| {
        let request = as_alice(edge.prove_request("/v1/proofs", &sample().witness));
        let response = request.header("idempotency-key", name).send();
        assert_eq!(response.status, 202, "{response:?}");
        job(&response)
    };
    let names: Vec<_> = (0..8).map(|number| format!("order-{number}")).collect();
    let jobs: Vec<_> = names.iter().map(|name| submit(name)).collect();
    let of = |instance| jobs.iter().filter(move |job| job.id.instance() == Some(instance));
    assert!(of(0).count() > 0 && of(1).count() > 0 && of(0).count() + of(1).count() == 8, "{jobs:?}");
    assert_eq!(edge.containers().len(), 2);
    for (name, first) in names.iter().zip(&jobs) {
        assert_eq!(submit(name).id, first.id, "the same request reached another container");
    }

    for submitted in &jobs {
        let events = String::from_utf8(get(&submitted.links.events).body).unwrap();
        assert!(events.contains("event: done"), "{events}");
        assert_eq!(job(&get(&submitted.links.this)).status, JobStatus::Completed);
    }
    for submitted in [of(0).next(), of(1).next()].into_iter().flatten() {
        get(&submitted.links.proof).assert_proves(&sample(), Target::NoirRecursive);
        let other =
            submitted.links.this.replace("/c0-", "/c#-").replace("/c1-", "/c0-").replace("/c#-", "/c1-");
        get(&other).assert_refused(ProblemType::JobNotFound);
    }
    get(&jobs[0].links.this.replace("/c", "/c7")).assert_refused(ProblemType::JobNotFound);

    // There is no list of the jobs of all containers.
    for path in ["/v1/proofs", "/v1/queue", "/v1/proofs?container=2"] {
        let problem = get(path).assert_refused(ProblemType::InvalidRequest);
        assert!(
            problem.detail.contains("?container=0") && problem.detail.contains("DATABASE_URL"),
            "{problem:?}"
        );
    }
    for instance in [0, 1] {
        let mut path = Some(format!("/v1/proofs?limit=1&container={instance}"));
        let mut listed = Vec::new();
        while let Some(next) = path {
            let page: JobPage = serde_json::from_slice(&get(&next).body).unwrap();
            listed.extend(page.jobs.iter().map(|job| job.id));
            path = page.next;
        }
        listed.reverse();
        assert_eq!(listed, of(instance).map(|job| job.id).collect::<Vec<_>>());
        let queue = get(&format!("/v1/queue?container={instance}")).json();
        assert_eq!(queue["jobs"]["completed"], of(instance).count(), "{queue}");
    }
}
