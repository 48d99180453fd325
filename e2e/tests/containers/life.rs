//! A container's life: it starts when it is needed, sleeps when it is not, and a crash costs no more than what it was
//! working on.

use std::{
    thread,
    time::{Duration, Instant},
};

use edgeprove_e2e::{Edge, docker};
use edgeprove_protocol::{ProblemType, Target, headers};
use edgeprove_testkit::{Connection, TestServer, eventually, wait::within};

use crate::{only_container, proves, sample, slow_down};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn it_starts_with_the_first_request_which_can_be_followed_into_its_log() {
    let edge = Edge::start(|e| {
        e.var("EDGE_SECRET", SECRET).var("EDGEPROVE_PROVER_QUEUE_MAX", "7");
    });
    // Nothing but a request for a container wakes one.
    edge.get("/");
    edge.ask("OPTIONS", "/api/prove")
        .header("origin", "https://page.example")
        .header("access-control-request-method", "POST")
        .send();
    edge.get("/api/none").refused(ProblemType::NotFound);
    let asleep = edge.get("/edge/health").json();
    assert_eq!(asleep["containers"][0]["state"], "sleeping", "{asleep}");
    assert_eq!(edge.containers(), Vec::<String>::new());

    let (cold, took) = proves(&edge);
    eprintln!("cold start to proof: {} ms", took.as_millis());
    let container = only_container(&edge);
    let id = cold.header(headers::REQUEST_ID);
    assert_eq!(edge.logged("request_id", id)[0]["instance"], 0);
    eventually("the container logs the request under the same id", || {
        docker::logs(&container).lines().any(|line| line.contains(id)).then_some(())
    });
    let (_, took) = proves(&edge);
    eprintln!("warm proof: {} ms", took.as_millis());
    let awake = edge.get("/edge/health").json();
    assert_eq!(awake["containers"][0]["state"], "ready", "{awake}");

    // What the deployment sets reaches the server, and nobody but the edge is answered by it.
    let health = edge.get("/api/health").json();
    assert_eq!(health["prover"]["waiting_max"], 7, "{health}");
    let published = docker::ask(&["port", &container, "8080/tcp"]);
    let port: u16 = published.lines().next().unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
    edgeprove_testkit::client::Ask::to_prove(([127, 0, 0, 1], port).into(), "/api/prove", &sample().witness)
        .send()
        .refused(ProblemType::NotFromTheEdge);
    for log in [edge.log(), docker::logs(&container)] {
        assert!(!log.contains(SECRET), "the log shows the secret");
    }
}

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn many_first_requests_start_it_once() {
    let edge = Edge::start(|_| {});
    let answers = thread::scope(|scope| {
        let asking: Vec<_> =
            (0..8).map(|_| scope.spawn(|| edge.posting("/api/prove", &sample().witness).send())).collect();
        asking.into_iter().map(|asking| asking.join().unwrap()).collect::<Vec<_>>()
    });
    for answer in answers {
        answer.proof_of(&sample());
    }
    only_container(&edge);
    assert_eq!(edge.logged("event", "container_started").len(), 1);
}

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn killed_midway_it_is_missed_within_two_seconds_and_the_next_request_proves() {
    let edge = Edge::start(|_| {});
    proves(&edge);
    let container = only_container(&edge);
    slow_down(&container, "0.1");
    let mut asker = Connection::post(edge.address(), "/api/prove", &sample().witness);
    eventually("the container proves", || {
        let health = edge.get("/api/health").json();
        (health["prover"]["running"] == 1).then_some(())
    });
    let killed = Instant::now();
    docker::ask(&["kill", &container]);
    let answer = asker.answer();
    let took = killed.elapsed();
    eprintln!("a clear answer {} ms after the kill began", took.as_millis());
    answer.refused_for_now(ProblemType::ContainerLost);
    assert!(took < Duration::from_secs(2), "{took:?}");
    let (_, took) = proves(&edge);
    eprintln!("the next proof after {} ms, cold start included", took.as_millis());
}

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn told_to_end_at_work_it_finishes_and_who_asks_then_is_served_by_a_new_one() {
    let edge = Edge::start(|_| {});
    proves(&edge);
    let container = only_container(&edge);
    slow_down(&container, "0.05");
    let mut asker = Connection::post(edge.address(), "/api/prove", &sample().witness);
    eventually("the container proves", || {
        let health = edge.get("/api/health").json();
        (health["prover"]["running"] == 1).then_some(())
    });
    // As Cloudflare does when it rolls out another image.
    docker::ask(&["kill", "--signal", "TERM", &container]);
    eventually("it takes no more", || {
        (edge.get("/api/health").json()["status"] == "unhealthy").then_some(())
    });
    edge.posting("/api/prove", &sample().witness).send().refused_for_now(ProblemType::NotReady);
    let (_, took) = proves(&edge);
    eprintln!("a proof of the next container after {} ms", took.as_millis());
    asker.answer().proves(&sample(), Target::NoirRecursive);
    only_container(&edge);
    assert_eq!(edge.logged("event", "container_started").len(), 2);
    assert!(!edge.log().contains("container_destroyed"), "it had to be killed");
}

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn it_sleeps_when_idle_stays_while_it_works_and_is_woken_again() {
    const SLEEP_AFTER: Duration = Duration::from_secs(4);
    let edge = Edge::start(|e| {
        e.var("SLEEP_AFTER", "4s");
    });
    proves(&edge);
    let container = only_container(&edge);
    slow_down(&container, "0.02");
    // It works for longer than it may idle.
    let (_, took) = proves(&edge);
    assert!(took > SLEEP_AFTER + Duration::from_secs(1), "the proof was over in {took:?}; nothing was shown");
    assert_eq!(only_container(&edge), container);
    slow_down(&container, "2");

    let idle = Instant::now();
    within(Duration::from_secs(30), "the container sleeps", || edge.containers().is_empty().then_some(()));
    let slept = idle.elapsed();
    eprintln!("asleep {} ms after the last answer", slept.as_millis());
    assert!(slept > Duration::from_secs(2), "it slept too early: {slept:?}");
    edge.logged("event", "container_stop_requested");
    assert!(!edge.log().contains("container_destroyed"), "it had to be killed");

    let (_, took) = proves(&edge);
    eprintln!("woken to proof: {} ms", took.as_millis());
    only_container(&edge);
    assert_eq!(edge.logged("event", "container_started").len(), 2);
}

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn a_server_may_stand_in_for_it_where_an_engine_runs() {
    let server = TestServer::plain();
    let edge = Edge::before(&server);
    edge.posting("/api/prove", &sample().witness).send().proof_of(edgeprove_testkit::samples::range());
    assert_eq!(edge.containers(), Vec::<String>::new());
}
