//! What the service is: endpoints, pages, versions, problem types, health.

use edgeprove_protocol::{answer::Health, service::ServiceDocument};
use serde_json::json;

use super::text;
use crate::http::handlers::{
    health::{Live, Ready},
    index::EndpointList,
    local_prover::LocalProver,
    openapi::{
        operation::{Operation, Tag},
        problems::{CIRCUIT, WORK},
        schemas,
    },
    problems::ProblemDescription,
};

pub(super) fn operations() -> Vec<Operation> {
    let html = "text/html; charset=utf-8";
    vec![
        Operation::get("/", "listEndpoints", Tag::Service)
            .answers::<EndpointList>(200, "The endpoints and the circuits.")
            .answers_with(200, "The page.", html, |_| schemas::text())
            .answers_empty(304, "The caller has the page."),
        Operation::get("/openapi.json", "getContract", Tag::Service).answers_with(
            200,
            "This document.",
            "application/json",
            |_| json!({ "type": "object" }),
        ),
        Operation::get("/docs", "readContract", Tag::Service).answers_with(
            200,
            "This document, for people.",
            html,
            |_| schemas::text(),
        ),
        Operation::get("/assets/{name}", "getAsset", Tag::Service)
            .answers_with(200, "The file.", "*/*", |_| schemas::bytes())
            .answers_empty(304, "The caller has it."),
        Operation::get("/local-prover", "getLocalProver", Tag::Service)
            .answers::<LocalProver>(200, "Whether pages can prove in the browser."),
        Operation::get("/local-prover/{name}", "getLocalProverFile", Tag::Service)
            .header("range", text(), "The part of the file that is wanted.")
            .answers_with(200, "The file.", "*/*", |_| schemas::bytes())
            .answers_with(206, "A part of the file.", "*/*", |_| schemas::bytes())
            .answers_empty(304, "The caller has it.")
            .answers_empty(416, "The file has no such part."),
        Operation::get("/.well-known/edgeprove", "getService", Tag::Service)
            .answers::<ServiceDocument>(200, "Versions, limits and keys."),
        Operation::get("/problems/{code}", "explainProblem", Tag::Service)
            .answers::<ProblemDescription>(200, "The problem type."),
        health("/api/health", "getHealth"),
        health("/health", "getHealthToo"),
        Operation::get("/livez", "isAlive", Tag::Probes).answers::<Live>(200, "The process runs."),
        Operation::get("/readyz", "isReady", Tag::Probes)
            .answers::<Ready>(200, "The server accepts work.")
            .problems(CIRCUIT)
            .problems(WORK),
    ]
}

fn health(path: &'static str, id: &'static str) -> Operation {
    Operation::get(path, id, Tag::Service)
        .answers::<Health>(200, "Proofs can be made.")
        .answers::<Health>(500, "No proofs can be made.")
}
