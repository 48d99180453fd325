//! Circuits that a server behind the edge builds from templates: requested, followed, proved and verified through the edge.

use std::path::Path;

use edgeprove_e2e::Edge;
use edgeprove_protocol::{JobId, JobStatus, ProblemType, headers};
use edgeprove_testkit::{
    Receiver, Response, TestServer,
    wait::{LONG_LIMIT, within},
};
use serde_json::{Value, json};

/// A server that builds circuits, keeps jobs, and sends webhooks to this receiver.
fn builder(data: &Path, receiver: &Receiver) -> TestServer {
    let (data, toolchain) =
        (data.join("data"), Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("circuit"));
    TestServer::start(|settings| {
        settings.flag("--data", &data.display());
        settings.flag("--webhook-hosts", &receiver.address());
        settings.flag("--webhook-secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        settings.flag("--toolchain", &toolchain.display());
        // The compilers need Node.js.
        settings.environment.push(("PATH".to_owned(), std::env::var("PATH").unwrap()));
    })
}

fn post(edge: &Edge, path: &str, body: &Value) -> Response {
    let mut request = edge.request("POST", path).header("content-type", "application/json");
    request.body = body.to_string().into_bytes();
    request.header("accept", "application/json").send()
}

fn inputs(number: &str) -> Value {
    json!({"privateInputs": {"value": number}, "publicInputs": {"context": "7"}})
}

/// Requests the circuit for numbers from 100 to 500, follows its build until it is ready, and returns its id.
fn build(edge: &Edge, language: &str, receiver: &Receiver) -> String {
    let params = json!({"min": 100, "max": 500});
    let body = json!({"templateName": "rangeCheck", "language": language, "params": params});
    let mut request = edge
        .request("POST", "/v1/circuits")
        .header("content-type", "application/json")
        .header(headers::CALLBACK_URL, &receiver.url("/built"));
    request.body = body.to_string().into_bytes();
    let accepted = request.send();
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let accepted = accepted.json();
    let events = accepted["build"]["events"].as_str().unwrap();
    let response = edge.request("GET", events).send_within(LONG_LIMIT);
    assert_eq!(response.header("content-type"), "text/event-stream", "{response:?}");
    let text = String::from_utf8(response.body).unwrap();
    let (_, done) = text.split_once("event: done\n").expect("the build ends");
    assert!(done.contains("\"status\":\"ready\""), "{text}");
    accepted["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_template_is_built_and_proved_through_the_edge() {
    let (data, receiver) = (tempfile::tempdir().unwrap(), Receiver::start_default());
    let server = builder(data.path(), &receiver);
    let edge = Edge::before(&server);
    for (number, language) in ["noir", "circom"].into_iter().enumerate() {
        let id = build(&edge, language, &receiver);
        let webhook =
            within(LONG_LIMIT, "the webhook arrives", || receiver.received().into_iter().nth(number));
        let event = webhook.json();
        assert_eq!((webhook.path.as_str(), &event["type"]), ("/built", &json!("build.completed")));
        assert_eq!(event["data"]["id"], id);
        let proved = post(&edge, &format!("/api/prove/{id}"), &inputs("123"));
        assert_eq!((proved.status.as_u16(), &proved.json()["verified"]), (200, &json!(true)), "{proved:?}");
        post(&edge, &format!("/api/prove/{id}"), &inputs("99"))
            .assert_refused(ProblemType::WitnessUnsatisfied);

        let accepted = post(&edge, &format!("/v1/proofs?circuit={id}"), &inputs("124"));
        let job: JobId = serde_json::from_value(accepted.json()["id"].clone()).unwrap();
        within(LONG_LIMIT, "the job is completed", || {
            let status = edge.get(&format!("/v1/proofs/{job}")).json()["status"].clone();
            (status == JobStatus::Completed.as_str()).then_some(())
        });
        let proof =
            edge.request("GET", &format!("/v1/proofs/{job}/proof")).header("accept", "application/json");
        let answer = proof.send().json();
        let statement = json!({"proof": answer["proof"], "publicInputs": answer["public_inputs"]});
        let verdict = post(&edge, &format!("/v1/verify/{id}"), &statement).json();
        assert_eq!(verdict["valid"], true, "{verdict}");

        let contract = edge.get(&format!("/v1/circuits/{id}/verifier.sol"));
        assert!(String::from_utf8_lossy(&contract.body).contains("pragma solidity"), "{contract:?}");
        assert_eq!(edge.get(&format!("/v1/circuits/{id}/vk")).status, 200);
    }
    let listed = edge.get("/v1/circuits").json();
    assert_eq!(listed["circuits"].as_array().unwrap().len(), 3, "{listed}");
    // The edge hides what is for operators of the server.
    let built = listed["circuits"][1]["id"].as_str().unwrap();
    let deployed = post(&edge, &format!("/v1/circuits/{built}/deploy"), &json!({}));
    assert_eq!(deployed.status, 404, "{deployed:?}");
    for text in ["\"123\"", "\"99\"", "\"124\""] {
        assert!(!edge.log().contains(text), "the log has a private input");
    }
    edge.finish();
}
