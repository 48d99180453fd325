//! Every series of a server at zero, before its first event.

use edgeprove_protocol::{CircuitId, Priority, ProblemType, Target};

use super::{
    CIRCUIT_MEMORY, Exposition, FAILURES, HTTP_DURATION, HTTP_PROBLEMS, HTTP_REQUESTS, KEY_CACHE, Outcome,
    PROOFS, PROOFS_ACTIVE, PROOFS_WAITING, STAGES, STATUS_CLASSES, TimedStage, UPLOADED, jobs, series::text,
};

/// The values that labels of a server can have.
#[derive(Debug, Clone, Default)]
pub struct Declared<'a> {
    /// Its circuits.
    pub circuits: Vec<&'a CircuitId>,
    /// The numbers of threads that a proof can have.
    pub threads: Vec<usize>,
    /// Its kinds of jobs.
    pub job_kinds: Vec<&'a str>,
    /// The patterns of its routes.
    pub routes: Vec<&'a str>,
    /// The routes of them that ask for a proof.
    pub proof_routes: Vec<&'a str>,
}

impl Exposition {
    /// Makes every series of these values, at zero. Problems are made of the routes that ask for a proof only.
    pub fn declare(&self, declared: &Declared<'_>) {
        UPLOADED.add(0, []);
        PROOFS_ACTIVE.set(0, []);
        for priority in Priority::ALL.map(Priority::as_str) {
            PROOFS_WAITING.set(0, [priority.into()]);
        }
        for result in ["hit", "miss"] {
            KEY_CACHE.add(0, [result.into()]);
        }
        for circuit in &declared.circuits {
            declare_circuit(circuit, &declared.threads);
        }
        for route in &declared.routes {
            for class in STATUS_CLASSES {
                HTTP_REQUESTS.add(0, [text(route), class.into()]);
            }
            HTTP_DURATION.declare_histogram([text(route), "2xx".into()]);
        }
        for (route, problem) in declared
            .proof_routes
            .iter()
            .flat_map(|route| ProblemType::ALL.iter().map(move |kind| (route, kind)))
        {
            HTTP_PROBLEMS.add(0, [text(route), problem.code().into()]);
        }
        jobs::declare(&declared.job_kinds);
    }
}

fn declare_circuit(circuit: &CircuitId, threads: &[usize]) {
    let circuit = circuit.as_str();
    for target in Target::ALL.map(Target::as_str) {
        for outcome in Outcome::LABELS {
            PROOFS.add(0, [text(circuit), target.into(), outcome.into()]);
        }
    }
    for problem in ProblemType::ALL {
        FAILURES.add(0, [text(circuit), problem.code().into()]);
    }
    for stage in TimedStage::ALL {
        STAGES.declare_histogram([text(circuit), stage.as_str().into()]);
    }
    for threads in threads {
        CIRCUIT_MEMORY.set(0, [text(circuit), threads.to_string().into()]);
    }
}
