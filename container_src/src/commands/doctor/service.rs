//! Examines a running server or edge from outside.

use edgeprove_protocol::{
    Problem, ProblemType,
    answer::{CircuitStatus, Health, HealthStatus},
};
use edgeprove_prover::barretenberg::version::{BB_VERSION, NOIR_VERSION};
use edgeprove_telemetry::chain;
use http::{Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::finding::Report;
use crate::commands::remote_server::{RemoteServer, ServerError};

/// The largest difference of two clocks that nothing notices.
const CLOCK_DIFFERENCE_MAX: SignedDuration = SignedDuration::from_secs(5);
/// From this difference on times in the audit log mislead, and tokens and sealed witnesses are refused.
const CLOCK_FAULT: SignedDuration = SignedDuration::from_secs(60);

/// A service, and the report about it.
pub(super) struct Service<'a> {
    server: &'a RemoteServer,
    has_key: bool,
    is_reached: bool,
    report: &'a mut Report,
}

impl<'a> Service<'a> {
    pub(super) fn new(server: &'a RemoteServer, has_key: bool, report: &'a mut Report) -> Self {
        Self { server, has_key, is_reached: false, report }
    }

    /// Whether [`Self::examine`] found a service of Edgeprove.
    pub(super) const fn is_reached(&self) -> bool {
        self.is_reached
    }

    /// Examines everything but a proof. Returns whether a proof is worth a try.
    pub(super) async fn examine(&mut self) -> bool {
        self.transport();
        let version_of_edge = self.edge().await;
        let Some(health) = self.health().await else { return false };
        self.is_reached = true;
        self.versions(&health, version_of_edge.as_deref());
        self.problems(&health);
        self.circuits(&health);
        self.clock(&health);
        self.settings(&health);
        self.key().await;
        health.status != HealthStatus::Unhealthy
    }

    fn transport(&mut self) {
        let url = self.server.url();
        if url.scheme() == "https" {
            self.report.ok("transport", "by TLS");
        } else if is_loopback(url) {
            self.report.ok("transport", "no TLS, on this machine alone");
        } else {
            self.report.warning(
                "transport",
                "the connection is not encrypted: keys, witnesses and proofs can be read on their way",
                "serve by TLS: docs/OPERATIONS.md has a reverse proxy",
            );
        }
    }

    /// The edge, if there is one. Returns its version.
    async fn edge(&mut self) -> Option<String> {
        let Ok(Value::Object(edge)) = self.server.json(Method::GET, "/edge/health", None).await else {
            return None;
        };
        let version = edge.get("version").and_then(Value::as_str)?.to_owned();
        let containers = edge.get("containers").and_then(Value::as_array);
        match containers {
            None if !self.has_key => self.report.skipped(
                "edge",
                format!("an edge, version {version}; it shows its containers to holders of a key only"),
                "give --key-file",
            ),
            _ => self.report.ok("edge", format!("version {version}")),
        }
        for container in containers.into_iter().flatten() {
            let number = &container["instance"];
            if container["state"].is_null() {
                self.report.fault(
                    "edge",
                    format!("the object of container {number} does not answer"),
                    "look at the log of the Worker, and deploy it again",
                );
            } else if let Some(code) = container["last_exit"]["code"].as_i64().filter(|code| *code != 0) {
                let reason = container["last_exit"]["reason"].as_str().unwrap_or_default();
                self.report.warning(
                    "edge",
                    format!("container {number} last ended with the status {code}: {reason}"),
                    "look at the log of the container",
                );
            }
        }
        for warning in edge.get("warnings").and_then(Value::as_array).into_iter().flatten() {
            let warning = warning.as_str().unwrap_or_default();
            self.report.warning("edge", warning, "docs/EDGE.md describes the settings of the Worker");
        }
        Some(version)
    }

    async fn health(&mut self) -> Option<Health> {
        let (status, body) = match self.server.get_any_status("/api/health").await {
            Ok(answer) => answer,
            Err(error) => {
                self.report.fault(
                    "connection",
                    chain(&error),
                    "check the address, and that the server runs: `edgeprove serve` logs the address that it listens on",
                );
                return None;
            }
        };
        if let Ok(health) = serde_json::from_slice::<Health>(&body) {
            let url = self.server.url().clone();
            self.report.ok("connection", format!("{url} is Edgeprove {}", health.version));
            return Some(health);
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) if problem.code == ProblemType::ApiKeyRequired => {
                self.report.fault("key", problem.detail, "give --key-file with a valid key");
            }
            Ok(problem) => self.report.fault(
                "connection",
                format!("{} ({}): {}", problem.title, problem.code, problem.detail),
                if problem.retryable {
                    "wait a little, and run this again"
                } else {
                    "docs/ERRORS.md has the reasons of this problem"
                },
            ),
            Err(_) => self.report.fault(
                "connection",
                format!("the status {} with a body that is not one of Edgeprove's", status.as_u16()),
                not_edgeprove(status),
            ),
        }
        None
    }

    fn versions(&mut self, health: &Health, version_of_edge: Option<&str>) {
        let own = env!("CARGO_PKG_VERSION");
        if let Some(edge) = version_of_edge.filter(|edge| *edge != health.version) {
            self.report.fault(
                "version",
                format!("the edge is version {edge}, and the container {}", health.version),
                "deploy both from the same checkout: `wrangler deploy` builds both",
            );
        }
        if health.version == own {
            self.report.ok("version", format!("{own}, as this program"));
        } else {
            self.report.warning(
                "version",
                format!("the service is version {}, and this program {own}", health.version),
                "use the program of the same release: other checks may not fit",
            );
        }
        for (check, found, known) in
            [("bb", &health.bb_version, BB_VERSION), ("noir", &health.noir_version, NOIR_VERSION)]
        {
            if found.contains(known) {
                self.report.ok(check, found.clone());
            } else {
                self.report.fault(
                    check,
                    format!("the service has {found}, and this program was built for {known}"),
                    "compile circuits, and verify, with the versions of the service; bb.js and noir_js of pages too",
                );
            }
        }
    }

    fn problems(&mut self, health: &Health) {
        let fix = "the log of the server has the details; docs/OPERATIONS.md has the remedies";
        match health.status {
            HealthStatus::Ok => self.report.ok("health", "the service reports no problem"),
            HealthStatus::Degraded => {
                for problem in &health.problems {
                    self.report.warning("health", problem.clone(), fix);
                }
            }
            HealthStatus::Unhealthy => {
                for problem in &health.problems {
                    self.report.fault("health", problem.clone(), fix);
                }
                if health.problems.is_empty() {
                    self.report.fault("health", "the service is unhealthy and does not report why", fix);
                }
            }
        }
    }

    fn circuits(&mut self, health: &Health) {
        let ready = health.circuits.iter().filter(|circuit| circuit.status == CircuitStatus::Ready).count();
        let built = health.built_circuits;
        if ready == 0 && built == 0 {
            self.report.fault(
                "circuits",
                "no circuit can be proved",
                "start the server with --circuit FILE, or build one: `edgeprove circuit build`",
            );
        } else {
            let points = health.crs.points;
            self.report.ok(
                "circuits",
                format!("{ready} configured and {built} built or uploaded; the CRS has {points} points"),
            );
        }
        for circuit in &health.circuits {
            if circuit.status == CircuitStatus::Failed {
                let error = circuit.error.as_deref().unwrap_or("for a reason in the log");
                self.report.fault(
                    "circuits",
                    format!("{} cannot be loaded: {error}", circuit.id),
                    "compile it with the Noir release of the service, or give the server a CRS with enough points",
                );
            }
        }
    }

    fn clock(&mut self, health: &Health) {
        let Ok(there) = health.timestamp.parse::<Timestamp>() else {
            self.report.fault(
                "clock",
                format!("the time of the service is not a time: {}", health.timestamp),
                "something between this machine and the service changes its answers",
            );
            return;
        };
        let difference = there.duration_since(Timestamp::now()).abs();
        let seconds = difference.as_secs();
        let detail = format!("the clocks of this machine and of the service differ by {seconds} s");
        let fix = "synchronise both by NTP (`timedatectl set-ntp true`)";
        if difference <= CLOCK_DIFFERENCE_MAX {
            self.report.ok("clock", detail);
        } else if difference < CLOCK_FAULT {
            self.report.warning("clock", detail, fix);
        } else {
            self.report.fault("clock", detail, fix);
        }
    }

    fn settings(&mut self, health: &Health) {
        if !health.verify {
            self.report.warning(
                "verification",
                "proofs are not verified before they leave the service",
                "start the server without `--verify off`",
            );
        }
        if health.jobs.enabled {
            let (queued, running) = (health.jobs.queued, health.jobs.running);
            self.report.ok("jobs", format!("{queued} queued, {running} running"));
        } else {
            let reason = health.jobs.error.as_deref().unwrap_or("the service accepts no job");
            self.report.warning(
                "jobs",
                reason,
                "docs/OPERATIONS.md, section Jobs, has the ways to store them",
            );
        }
        let prover = &health.prover;
        if prover.waiting >= prover.waiting_max && prover.waiting_max > 0 {
            self.report.warning(
                "load",
                format!("the queue is full, with {} requests", prover.waiting_max),
                "add cores or servers, or send long work as jobs",
            );
        } else {
            let (running, waiting, cores) = (prover.running, prover.waiting, prover.cores);
            self.report.ok("load", format!("{running} proofs run and {waiting} wait, on {cores} cores"));
        }
    }

    /// Whether the key is known; without one, whether the service is open to everybody.
    async fn key(&mut self) {
        if self.has_key {
            match self.server.json(Method::GET, "/v1/proofs?limit=1", None).await {
                Ok(_) => self.report.ok("key", "the service knows the key"),
                Err(ServerError::Refused(problem))
                    if matches!(problem.code.known(), Some(ProblemType::JobsDisabled)) =>
                {
                    self.report.ok("key", "the service knows the key");
                }
                Err(error) => self.report.fault(
                    "key",
                    chain(&error),
                    "ask the operator for a key: `edgeprove keys new` makes one with its line of the keys file",
                ),
            }
            return;
        }
        // A body without inputs never becomes a proof.
        match self.server.json(Method::POST, "/api/prove", Some(&Value::Null)).await {
            Err(ServerError::Refused(problem)) if problem.code == ProblemType::ApiKeyRequired => {
                self.report.ok("key", "proofs need a key, and none was given here");
            }
            Err(ServerError::Refused(_)) if is_loopback(self.server.url()) => {
                self.report.ok("key", "proofs need no key, on this machine alone");
            }
            Err(ServerError::Refused(_)) => self.report.warning(
                "key",
                "everybody may prove without a key",
                "start the server with --keys-file: `edgeprove keys new` makes a key",
            ),
            Ok(_) => self.report.fault(
                "key",
                "the service accepted a request without inputs",
                "something between this machine and the service answers in its place",
            ),
            Err(error) => {
                self.report.fault("key", chain(&error), "try again; the log of the server has more");
            }
        }
    }
}

/// Whether a URL leads to the machine itself.
pub(super) fn is_loopback(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

fn not_edgeprove(status: StatusCode) -> &'static str {
    if status.is_redirection() {
        "use the address that the service redirects to"
    } else if status.is_server_error() {
        "a proxy answers in the place of the server: look at its log, and whether the server runs"
    } else {
        "something else listens there: check the address and the port"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_this_machine_are_loopback() {
        let is = |url: &str| is_loopback(&url.parse().unwrap());
        assert!(is("http://127.0.0.1:8080") && is("http://[::1]/") && is("http://localhost"));
        assert!(
            !is("http://10.0.0.1") && !is("http://localhost.example") && !is("http://127.0.0.1.nip.example")
        );
    }
}
