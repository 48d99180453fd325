//! `GET /v1/scale`, and the metrics for autoscalers.

use std::fs;

use edgeprove_protocol::{JobStatus, ProblemType};
use http::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{TestServer, eventually, samples, settings::Settings, wait::LIMIT};

const EYES: &str = "the key of the autoscaler";
const USER: &str = "a common caller";

fn with_keys(settings: &mut Settings, folder: &tempfile::TempDir) {
    let keys = folder.path().join("keys.toml");
    let line = |name: &str, key: &str, role: &str| {
        let digest = hex::encode(Sha256::digest(key));
        format!("[keys.{name}]\nsha256 = [\"{digest}\"]\nrole = \"{role}\"\n")
    };
    let anonymous = "[anonymous]\nallowed = true\nrole = \"user\"\n";
    let text = [anonymous, &line("eyes", EYES, "observer"), &line("user", USER, "user")].concat();
    fs::write(&keys, text).unwrap();
    settings.flag("--keys-file", &keys.display());
    settings.flag("--roles", "server");
    settings.flags.push("--ephemeral-jobs".to_owned());
}

fn scale(server: &TestServer, query: &str) -> Value {
    let request = server.request(Method::GET, &format!("/v1/scale{query}")).header("x-api-key", EYES);
    let response = request.send();
    assert_eq!(response.status, 200, "{}", String::from_utf8_lossy(&response.body));
    assert_eq!(response.header("cache-control"), "no-store");
    response.json()
}

#[test]
fn an_autoscaler_learns_how_many_provers_are_needed() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(|settings| {
        with_keys(settings, &folder);
        settings.flag("--scale-min", "1");
        settings.flag("--scale-max", "3");
    });
    let nothing = json!({
        "desired": 1, "queued": 0, "running": 0, "busy": 0, "idle": 0, "p95Seconds": null, "drainSeconds": 60.0,
        "min": 1, "max": 3,
    });
    assert_eq!(scale(&server, ""), nothing);
    for _ in 0..5 {
        server.submit(samples::range_check());
    }
    // Nothing is known of such jobs: each gets a prover, within the bounds.
    let five = scale(&server, "");
    assert_eq!((&five["queued"], &five["desired"]), (&json!(5), &json!(3)));
    assert_eq!(scale(&server, "?max=100")["desired"], 5);
    assert_eq!(scale(&server, "?max=100&min=7&drain=30")["desired"], 7);
    eventually("the metrics have it", || {
        let metrics = String::from_utf8(server.get("/metrics").body).unwrap();
        metrics.lines().any(|line| line == "edgeprove_scale_desired_provers 3").then_some(())
    });
}

#[test]
fn jobs_that_ran_give_the_time_of_a_job() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(|settings| {
        with_keys(settings, &folder);
        // This server proves its jobs.
        let roles = settings.flags.iter().position(|flag| flag == "--roles").unwrap();
        settings.flags.drain(roles..roles + 2);
    });
    let id = server.submit(samples::range_check());
    assert_eq!(server.wait_until_finished(id, LIMIT).status, JobStatus::Completed);
    let seen = scale(&server, "");
    assert!(seen["p95Seconds"].as_f64().is_some_and(|p95| p95 > 0.0 && p95 < 120.0), "{seen}");
    assert_eq!((&seen["desired"], &seen["queued"], &seen["running"]), (&json!(0), &json!(0), &json!(0)));
}

#[test]
fn only_operators_and_observers_see_the_scale() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(|settings| with_keys(settings, &folder));
    server.get("/v1/scale").assert_refused(ProblemType::NotAllowed);
    let as_user = server.request(Method::GET, "/v1/scale").header("x-api-key", USER);
    as_user.send().assert_refused(ProblemType::NotAllowed);
    for query in ["?drain=0", "?drain=1m", "?min=-1", "?min=3&max=2", "?max=10000000", "?colour=green"] {
        let path = format!("/v1/scale{query}");
        let request = server.request(Method::GET, &path).header("x-api-key", EYES);
        request.send().assert_refused(ProblemType::InvalidRequest);
    }
}
