//! The lifecycle of a container: it starts when it is needed, sleeps when it is not, and a crash loses only the
//! requests that it was working on.

use std::{
    thread,
    time::{Duration, Instant},
};

use edgeprove_e2e::{Edge, docker};
use edgeprove_protocol::{ProblemType, Target, headers};
use edgeprove_testkit::{Connection, TestServer, eventually};

use crate::{assert_proves, only_container, sample, slow_down};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn the_first_request_starts_a_container() {
    let edge = Edge::start(|e| {
        e.var("EDGE_SECRET", SECRET).var("EDGEPROVE_PROVER_QUEUE_MAX", "7");
    });
    // Only a request that needs a container starts one.
    edge.get("/");
    edge.request("OPTIONS", "/api/prove")
        .header("origin", "https://page.example")
        .header("access-control-request-method", "POST")
        .send();
    edge.get("/api/none").assert_refused(ProblemType::NotFound);
    let sleeping = edge.get("/edge/health").json();
    assert_eq!(sleeping["containers"][0]["state"], "sleeping", "{sleeping}");
    assert_eq!(edge.containers(), Vec::<String>::new());

    let (cold, took) = assert_proves(&edge);
    eprintln!("cold start to proof: {} ms", took.as_millis());
    let container = only_container(&edge);
    let id = cold.header(headers::REQUEST_ID);
    assert_eq!(edge.logged("request_id", id)[0]["instance"], 0);
    eventually("the container logs the request under the same id", || {
        docker::logs(&container).lines().any(|line| line.contains(id)).then_some(())
    });
    let (_, took) = assert_proves(&edge);
    eprintln!("warm proof: {} ms", took.as_millis());
    let awake = edge.get("/edge/health").json();
    assert_eq!(awake["containers"][0]["state"], "ready", "{awake}");

    // The settings of the deployment reach the server, and the server serves only its edge.
    let health = edge.get("/api/health").json();
    assert_eq!(health["prover"]["waiting_max"], 7, "{health}");
    let published = docker::run(&["port", &container, "8080/tcp"]);
    let port: u16 = published.lines().next().unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
    edgeprove_testkit::client::Request::prove(([127, 0, 0, 1], port).into(), "/api/prove", &sample().witness)
        .send()
        .assert_refused(ProblemType::NotFromTheEdge);
    for log in [edge.log(), docker::logs(&container)] {
        assert!(!log.contains(SECRET), "the log contains the secret");
    }
}

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn many_first_requests_start_one_container() {
    let edge = Edge::start(|_| {});
    let responses = thread::scope(|scope| {
        let asking: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| edge.prove_request("/api/prove", &sample().witness).send()))
            .collect();
        asking.into_iter().map(|asking| asking.join().unwrap()).collect::<Vec<_>>()
    });
    for response in responses {
        response.assert_proof_of(&sample());
    }
    only_container(&edge);
    assert_eq!(edge.logged("event", "container_started").len(), 1);
}

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn a_killed_container_fails_its_request_and_is_replaced() {
    let edge = Edge::start(|_| {});
    assert_proves(&edge);
    let container = only_container(&edge);
    slow_down(&container, "0.1");
    let mut client = Connection::post(edge.address(), "/api/prove", &sample().witness);
    eventually("the container proves", || {
        let health = edge.get("/api/health").json();
        (health["prover"]["running"] == 1).then_some(())
    });
    let killed = Instant::now();
    docker::run(&["kill", &container]);
    let response = client.read_response();
    let took = killed.elapsed();
    eprintln!("a response {} ms after the kill", took.as_millis());
    response.assert_refused_for_now(ProblemType::ContainerLost);
    let (_, took) = assert_proves(&edge);
    eprintln!("the next proof after {} ms, including the cold start", took.as_millis());
}

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn a_request_after_a_kill_is_sent_a_second_time() {
    let edge = Edge::start(|_| {});
    assert_proves(&edge);
    // The request may arrive before anything has noticed the end of the container.
    docker::run(&["kill", &only_container(&edge)]);
    assert_eq!(edge.get("/api/health").status, 200);
    assert_eq!(edge.logged_times(2, "event", "container_started").len(), 2);
}

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn requests_of_operators_and_by_links_wake_no_container() {
    let edge = Edge::start(|e| {
        e.var("EDGE_SECRET", SECRET).var("API_KEYS", crate::jobs::ALICE).var("SLEEP_AFTER", "4s");
        e.var("EDGEPROVE_KEYS", "keys.alice = { sha256 = [], role = \"operator\" }");
    });
    let get = |path: &str| edge.request("GET", path).header(headers::API_KEY, "k1").send();
    let by_link = edge.get("/v1/proofs/7c2d3f7e-0b7a-4c55-9d2f-5c1f3a0e9b11/events?token=1.x");
    by_link.assert_refused_for_now(ProblemType::ContainerUnavailable);
    for path in ["/metrics", "/v1/audit"] {
        let problem = get(path).assert_refused_for_now(ProblemType::ContainerUnavailable);
        assert!(problem.detail.contains("wakes none"), "{problem:?}");
    }
    assert_eq!(edge.containers(), Vec::<String>::new());

    assert_eq!(get("/api/health").status, 200);
    only_container(&edge);
    // Such requests do not keep an awake container awake.
    eventually("the container sleeps", || {
        let metrics = get("/metrics");
        assert!([200, 502, 503].contains(&metrics.status.as_u16()), "{metrics:?}");
        edge.containers().is_empty().then_some(())
    });
    edge.logged("code", "container_unavailable");
}

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn a_terminated_container_finishes_its_proof_and_is_replaced() {
    let edge = Edge::start(|_| {});
    assert_proves(&edge);
    let container = only_container(&edge);
    slow_down(&container, "0.05");
    let mut client = Connection::post(edge.address(), "/api/prove", &sample().witness);
    eventually("the container proves", || {
        let health = edge.get("/api/health").json();
        (health["prover"]["running"] == 1).then_some(())
    });
    // Cloudflare does the same when it rolls out a new image.
    docker::run(&["kill", "--signal", "TERM", &container]);
    eventually("the container accepts no more requests", || {
        (edge.get("/api/health").json()["status"] == "unhealthy").then_some(())
    });
    edge.prove_request("/api/prove", &sample().witness).send().assert_refused_for_now(ProblemType::NotReady);
    let (_, took) = assert_proves(&edge);
    eprintln!("a proof of the next container after {} ms", took.as_millis());
    client.read_response().assert_proves(&sample(), Target::NoirRecursive);
    only_container(&edge);
    assert_eq!(edge.logged_times(2, "event", "container_started").len(), 2);
    assert!(!edge.log().contains("container_destroyed"), "the container had to be killed");
}

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn a_container_sleeps_when_idle_and_wakes_for_a_request() {
    const SLEEP_AFTER: Duration = Duration::from_secs(4);
    let edge = Edge::start(|e| {
        e.var("SLEEP_AFTER", "4s");
    });
    assert_proves(&edge);
    let container = only_container(&edge);
    slow_down(&container, "0.02");
    // The proof takes longer than the container may be idle.
    let (_, took) = assert_proves(&edge);
    assert!(took > SLEEP_AFTER + Duration::from_secs(1), "the proof took only {took:?}, which shows nothing");
    assert_eq!(only_container(&edge), container);
    slow_down(&container, "2");

    let idle = Instant::now();
    eventually("the container sleeps", || edge.containers().is_empty().then_some(()));
    let slept = idle.elapsed();
    eprintln!("asleep {} ms after the last answer", slept.as_millis());
    assert!(slept > Duration::from_secs(2), "it slept too early: {slept:?}");
    edge.logged("event", "container_stop_requested");
    assert!(!edge.log().contains("container_destroyed"), "the container had to be killed");

    let (_, took) = assert_proves(&edge);
    eprintln!("woken to proof: {} ms", took.as_millis());
    only_container(&edge);
    assert_eq!(edge.logged_times(2, "event", "container_started").len(), 2);
}

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn a_given_upstream_is_used_instead_of_containers() {
    let server = TestServer::start_default();
    let edge = Edge::before(&server);
    edge.prove_request("/api/prove", &sample().witness)
        .send()
        .assert_proof_of(edgeprove_testkit::samples::range_check());
    assert_eq!(edge.containers(), Vec::<String>::new());
}
