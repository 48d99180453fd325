//! `GET /edge/health`: the state of the edge and of its containers.

use futures_util::future::join_all;
use serde::Serialize;
use serde_json::json;
use wasm_bindgen_futures::JsFuture;
use worker::Env;

use crate::{
    bindings,
    edge_response::EdgeResponse,
    lifecycle::{ContainerState, Status},
    outgoing_request::{Fetch, Outgoing},
    prover_container_do::STATUS_PATH,
    settings::Settings,
    timestamp,
};

/// How long an object may take to report the state of its container.
const STATUS_TIME_LIMIT: std::time::Duration = std::time::Duration::from_secs(5);
/// The most containers in a report.
const CONTAINERS_MAX: u16 = 32;

/// The state of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContainerHealth {
    /// Its number.
    pub instance: u16,
    /// Its state; `None` if its object does not respond.
    pub state: Option<ContainerState>,
    /// Requests that wait for a response of it.
    pub in_flight: usize,
    /// How often it was started.
    pub starts: u64,
    /// When it was last started.
    pub started_at: Option<String>,
    /// How it last ended.
    pub last_exit: Option<ExitHealth>,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExitHealth {
    /// When.
    pub at: String,
    /// Its exit status, if the platform reported one.
    pub code: Option<i32>,
    /// The reason, for people. Messages of the platform are in the log only.
    pub reason: String,
}

impl ContainerHealth {
    fn new(instance: u16, status: Option<Status>) -> Self {
        let Some(Status { state, in_flight, record }) = status else {
            return Self {
                instance,
                state: None,
                in_flight: 0,
                starts: 0,
                started_at: None,
                last_exit: None,
            };
        };
        Self {
            instance,
            state: Some(state),
            in_flight,
            starts: record.starts,
            started_at: record.started_at.map(timestamp::rfc3339),
            last_exit: record.last_exit.map(|last| ExitHealth {
                at: timestamp::rfc3339(last.at),
                code: last.exit.code(),
                reason: last.exit.summary(),
            }),
        }
    }
}

/// The response for callers without a key: the edge works.
#[must_use]
pub fn brief() -> EdgeResponse {
    EdgeResponse::json(200, &json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}

/// The response for callers who may use the service. No container is woken for it.
pub async fn full(env: &Env, settings: &Settings) -> EdgeResponse {
    let has_containers = settings.upstream.is_none();
    let count = if has_containers { settings.max_instances.min(CONTAINERS_MAX) } else { 0 };
    let containers = join_all(
        (0..count).map(async |instance| ContainerHealth::new(instance, status(env, instance).await)),
    );
    report(&containers.await, settings)
}

fn report(containers: &[ContainerHealth], settings: &Settings) -> EdgeResponse {
    // The URL stays inside: a holder of a key is not an operator.
    let body = json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
        "containers": containers,
        "warnings": settings.warnings,
        "upstream": settings.upstream.is_some(),
    });
    EdgeResponse::json(200, &body)
}

async fn status(env: &Env, instance: u16) -> Option<Status> {
    let object: Fetch = bindings::prover(env, instance).ok()?.into_rpc();
    let request = Outgoing::get(&bindings::prover_url(instance, STATUS_PATH)).ok()?;
    let response = request.send(&object, STATUS_TIME_LIMIT).await.ok()?;
    let text = JsFuture::from(response.text().ok()?).await.ok()?;
    serde_json::from_str(&text.as_string()?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{
        lifecycle::{ContainerExit, LastExit, Record},
        settings::tests::settings,
    };

    fn container(status: Option<Status>) -> Value {
        let report = report(&[ContainerHealth::new(0, status)], &settings(&[]));
        let report: Value = serde_json::from_str(&report.body).unwrap();
        assert_eq!(report["warnings"], json!(["API_KEYS is not set: any caller may prove"]));
        report["containers"][0].clone()
    }

    #[test]
    fn a_caller_without_a_key_gets_no_details() {
        let body = brief().body;
        assert!(!body.contains("warnings") && !body.contains("containers"), "{body}");
    }

    #[test]
    fn a_report_does_not_show_the_url_of_the_upstream() {
        let settings = settings(&[("UPSTREAM_URL", "http://10.1.2.3:8080")]);
        let body = report(&[], &settings).body;
        let parsed: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(parsed["upstream"], true);
        assert!(!body.contains("10.1.2.3"), "{body}");
    }

    #[test]
    fn a_report_shows_when_a_container_started_and_ended() {
        let exit = |exit| Some(LastExit { exit, at: 1_795_276_042_347 });
        let record = Record {
            started_at: Some(1_795_276_042_372),
            starts: 2,
            last_exit: exit(ContainerExit::Code(137)),
            started_with: None,
        };
        let status = Status { state: ContainerState::Ready, in_flight: 1, record: record.clone() };
        let expected = json!({
            "instance": 0,
            "state": "ready",
            "in_flight": 1,
            "starts": 2,
            "started_at": "2026-11-21T15:47:22.372Z",
            "last_exit": { "at": "2026-11-21T15:47:22.347Z", "code": 137, "reason": "exit status 137" },
        });
        assert_eq!(container(Some(status)), expected);

        let record = Record { last_exit: exit(ContainerExit::Lost("gone".to_owned())), ..record };
        let lost = container(Some(Status { state: ContainerState::Sleeping, in_flight: 0, record }));
        assert_eq!(lost["state"], "sleeping");
        assert_eq!(lost["last_exit"]["code"], Value::Null);
        assert_eq!(lost["last_exit"]["reason"], "no exit status");
        assert_eq!(container(None)["state"], Value::Null);
    }
}
