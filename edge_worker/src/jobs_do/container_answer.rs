//! What the answer of a container means for the job that was sent to it.

use std::time::Duration;

use edgeprove_protocol::{
    CircuitId, Problem, ProblemType, Target,
    answer::{Cost, Timings},
};
use serde_json::Value;

/// How long a container that cannot take a job is left alone, where it does not state it.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest time of that which a container can ask for.
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// How long a container is left alone that refuses the edge.
const MISCONFIGURED_PAUSE: Duration = Duration::from_secs(30);

/// The members of a proof's JSON that the object stores in the job.
#[derive(Debug, Clone, PartialEq)]
pub struct ProofHead {
    /// The circuit that was proved.
    pub circuit: CircuitId,
    /// The verifier that the proof is for.
    pub target: Target,
    /// Whether the server verified the proof.
    pub verified: bool,
    /// Whether it came from the proof cache.
    pub cached: bool,
    /// Duration of each stage.
    pub timings: Timings,
    /// What it has taken.
    pub cost: Cost,
}

impl ProofHead {
    /// Reads the JSON of a proof; `None` if it is none.
    #[must_use]
    pub fn read(answer: &str) -> Option<Self> {
        let answer: Value = serde_json::from_str(answer).ok()?;
        let text = |name: &str| answer.get(name)?.as_str();
        let is_true = |name: &str| answer.get(name).and_then(Value::as_bool).unwrap_or(false);
        let proof = answer.get("proof")?;
        if !is_true("success") || !(proof.is_string() || proof.is_object()) {
            return None;
        }
        Some(Self {
            circuit: text("circuit")?.parse().ok()?,
            target: text("target")?.parse().ok()?,
            verified: is_true("verified"),
            cached: is_true("cached"),
            timings: timings_of(&answer)?,
            cost: cost_of(&answer).unwrap_or_default(),
        })
    }
}

/// The durations in the JSON of a proof.
#[must_use]
pub fn timings_of(answer: &Value) -> Option<Timings> {
    let timings = answer.get("timings")?;
    let ms = |name: &str| timings.get(name)?.as_f64();
    Some(Timings {
        upload_ms: ms("upload_ms")?,
        queue_ms: ms("queue_ms")?,
        prove_ms: ms("prove_ms")?,
        verify_ms: ms("verify_ms")?,
        total_ms: ms("total_ms")?,
    })
}

/// The cost in the JSON of a proof; `None` from a container of an earlier version.
fn cost_of(answer: &Value) -> Option<Cost> {
    let cost = answer.get("cost")?;
    let number = |name: &str| cost.get(name)?.as_f64();
    Some(Cost { vcpu_seconds: number("vcpu_seconds")?, gib_seconds: number("gib_seconds")? })
}

/// What a refusal means.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// Another attempt would fail as well.
    Final(Problem),
    /// Another attempt may succeed.
    Retry(Problem),
    /// The container did not take the job. The attempt does not count.
    NotTaken {
        /// How long the container gets no job.
        pause: Duration,
        /// The problem, for the log.
        problem: Problem,
    },
}

impl Refusal {
    /// The meaning of an error response. `body` is its problem document, `retry_after` the time that it asks for.
    #[must_use]
    pub fn of_response(status: u16, body: &str, retry_after: Option<Duration>, request_id: &str) -> Self {
        let problem = serde_json::from_str::<Problem>(body).ok().filter(|problem| problem.status == status);
        let Some(problem) = problem else {
            let detail = format!("the container answered with status {status} and no problem document");
            return Self::Retry(bad_response(&detail, request_id));
        };
        let pause = retry_after.unwrap_or(PAUSE).min(PAUSE_MAX);
        match problem.code.known() {
            Some(kind) if is_of_the_container(kind) => Self::NotTaken { pause, problem },
            Some(ProblemType::NotFromTheEdge | ProblemType::EdgeMisconfigured) => {
                Self::NotTaken { pause: MISCONFIGURED_PAUSE, problem }
            }
            _ if problem.retryable => Self::Retry(problem),
            _ => Self::Final(problem),
        }
    }
}

/// The problem of an answer that is no proof.
#[must_use]
pub fn bad_response(detail: &str, request_id: &str) -> Problem {
    Problem::new(ProblemType::ContainerBadResponse, detail, Some(request_id.to_owned()))
}

/// Whether the problem is that the container cannot take work at the moment.
fn is_of_the_container(kind: ProblemType) -> bool {
    matches!(
        kind,
        ProblemType::ProverBusy
            | ProblemType::ProverUnavailable
            | ProblemType::TooManyConnections
            | ProblemType::TooManyUploads
            | ProblemType::NotReady
            | ProblemType::RateLimited
            | ProblemType::QuotaExceeded
            | ProblemType::SpoolUnavailable
            | ProblemType::AuditUnavailable
            | ProblemType::ContainerUnavailable
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(kind: ProblemType) -> Refusal {
        let problem = Problem::new(kind, "x", Some("r1".to_owned()));
        let body = serde_json::to_string(&problem).unwrap();
        Refusal::of_response(kind.status(), &body, None, "r1")
    }

    #[test]
    fn the_head_of_a_proof_is_read() {
        let timings = Timings { prove_ms: 12.5, ..Timings::default() };
        let answer = serde_json::json!({
            "success": true, "proof": "AQID", "circuit": "maze", "target": "evm", "verified": true, "timings": timings,
        });
        let head = ProofHead::read(&answer.to_string()).unwrap();
        assert_eq!((head.circuit.as_str(), head.target, head.cached), ("maze", Target::Evm, false));
        assert_eq!((head.verified, head.timings), (true, timings));
        for member in ["success", "proof", "circuit", "target", "timings"] {
            let mut answer = answer.clone();
            answer.as_object_mut().unwrap().remove(member);
            assert_eq!(ProofHead::read(&answer.to_string()), None, "{member}");
        }
        assert_eq!(ProofHead::read(""), None);
    }

    #[test]
    fn only_faults_of_the_job_are_final() {
        for kind in
            [ProblemType::WitnessUnsatisfied, ProblemType::CircuitNotFound, ProblemType::WitnessNotGzip]
        {
            assert!(matches!(refusal(kind), Refusal::Final(_)), "{}", kind.code());
        }
        for kind in [ProblemType::ProverCrashed, ProblemType::ContainerLost, ProblemType::ProofTimeout] {
            assert!(matches!(refusal(kind), Refusal::Retry(_)), "{}", kind.code());
        }
    }

    #[test]
    fn a_busy_container_costs_no_attempt() {
        for kind in [ProblemType::ProverBusy, ProblemType::ContainerUnavailable, ProblemType::NotReady] {
            assert!(matches!(refusal(kind), Refusal::NotTaken { pause: PAUSE, .. }), "{}", kind.code());
        }
        let wrong_secret = refusal(ProblemType::NotFromTheEdge);
        assert!(matches!(wrong_secret, Refusal::NotTaken { pause: MISCONFIGURED_PAUSE, .. }));
    }

    #[test]
    fn a_response_without_a_problem_is_retried() {
        for (status, body) in [(500, ""), (502, "<html>"), (200, "{}")] {
            let Refusal::Retry(problem) = Refusal::of_response(status, body, None, "r1") else {
                panic!("{status} is retried")
            };
            assert_eq!(problem.code, ProblemType::ContainerBadResponse);
        }
    }
}
