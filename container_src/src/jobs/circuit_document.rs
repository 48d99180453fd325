//! The wire's document of a circuit that was built or uploaded, or is being built.

use edgeprove_circuit_store::StoredCircuit;
use edgeprove_job_queue::{QueueError, job_view::JobView};
use edgeprove_job_rules::{outcome::DecodeError, queue_position::QueuePosition, time::UnixMillis};
use edgeprove_protocol::{
    HasProblemType, ProblemType,
    answer::{
        BuildProgress, BuiltFrom, CircuitEntry, CircuitFile, CircuitOrigin, CircuitStatus, UploadedCircuit,
    },
};

use super::{
    Jobs,
    build_request::BuildState,
    job_kinds::build::{Payload, stage_of},
};
use crate::circuits::{
    CircuitError, default_target,
    description::{Description, FileDescription, Source},
};

/// Why a circuit has no document.
#[derive(Debug, thiserror::Error)]
pub enum CircuitDocumentError {
    /// Its description cannot be read.
    #[error(transparent)]
    Description(#[from] CircuitError),
    /// Its job cannot be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The queue failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// Its job has impossible values.
    #[error("the job of the build is damaged")]
    Damaged,
}

impl HasProblemType for CircuitDocumentError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Description(error) => error.kind(),
            Self::Decode(error) => error.kind(),
            Self::Queue(error) => error.kind(),
            Self::Damaged => ProblemType::StoredDataDamaged,
        }
    }
}

impl Jobs {
    /// The entry of a circuit that was built, or is on its way.
    pub async fn circuit_entry(&self, state: &BuildState) -> Result<CircuitEntry, CircuitDocumentError> {
        let mut entry = built_entry(state)?;
        if let BuildState::Pending(job) = state {
            entry.build = Some(progress(&self.views().view((**job).clone()).await?));
        }
        Ok(entry)
    }

    /// The entry of a circuit by the job that builds it.
    pub async fn entry_at(&self, view: &JobView) -> Result<CircuitEntry, CircuitDocumentError> {
        let state = self.state_by(view.job.clone()).await.map_err(CircuitError::from)?;
        let mut entry = built_entry(&state)?;
        entry.build = matches!(state, BuildState::Pending(_)).then(|| progress(view));
        Ok(entry)
    }
}

fn progress(view: &JobView) -> BuildProgress {
    let job = &view.job;
    let timestamp = |at: UnixMillis| edgeprove_telemetry::timestamp(at.0);
    BuildProgress {
        status: job.status,
        stage: stage_of(job).0.to_owned(),
        progress: view.percent,
        queue_position: view.position.as_ref().map(QueuePosition::number),
        estimated_remaining_ms: view.remaining.map(|left| edgeprove_telemetry::millis(left.expected)),
        attempts: job.attempts,
        max_attempts: job.max_attempts,
        created_at: timestamp(job.enqueued_at),
        started_at: job.started_at.map(timestamp),
        events: format!("/v1/circuits/{}/events", job.subject),
    }
}

fn built_entry(state: &BuildState) -> Result<CircuitEntry, CircuitDocumentError> {
    let (job, status) = match state {
        BuildState::Ready(stored) => return Ok(stored_entry(stored)?),
        BuildState::Pending(job) => (job, CircuitStatus::Pending),
        BuildState::Failed(job) => (job, CircuitStatus::Failed),
    };
    let payload = Payload::of(job)?;
    let damaged = || CircuitDocumentError::Damaged;
    Ok(CircuitEntry {
        id: job.subject.parse().map_err(|_| damaged())?,
        status,
        target: default_target(payload.language),
        targets: Vec::new(),
        gates: None,
        circuit_size: None,
        vk_hash: None,
        vk: None,
        origin: CircuitOrigin::Built,
        uploaded: None,
        verifier: None,
        built: Some(BuiltFrom {
            template_name: payload.template,
            language: payload.language.as_str().to_owned(),
            params: serde_json::from_str(&payload.params).map_err(|_| damaged())?,
            hash: None,
            trust: None,
            setup: None,
            published_at: None,
            artifacts: Vec::new(),
        }),
        error: job.problem()?.filter(|_| status == CircuitStatus::Failed),
        build: None,
    })
}

/// The description of a stored circuit.
pub fn description(stored: &StoredCircuit) -> Result<Description, CircuitError> {
    serde_json::from_str(&stored.circuit.description).map_err(CircuitError::Description)
}

/// The entry of a stored circuit.
pub fn stored_entry(stored: &StoredCircuit) -> Result<CircuitEntry, CircuitError> {
    let circuit = &stored.circuit;
    let id = circuit.id.clone();
    let Description {
        source,
        language,
        targets,
        gates,
        circuit_size,
        vk_hash,
        trust,
        setup,
        verifier,
        artifacts,
        ..
    } = description(stored)?;
    let file = |file: FileDescription| CircuitFile {
        path: format!("/v1/circuits/{id}/artifacts/{}", file.name),
        name: file.name,
        bytes: file.bytes,
        sha256: file.sha256,
    };
    let (hash, language) = (circuit.hash.clone(), language.as_str().to_owned());
    let published_at = edgeprove_telemetry::timestamp(stored.published_at.0);
    let artifacts = artifacts.into_iter().map(file).collect();
    let (origin, built, uploaded) = match source {
        Source::Built { template: template_name, params } => {
            let (hash, published_at) = (Some(hash), Some(published_at));
            let built =
                BuiltFrom { template_name, language, params, hash, trust, setup, published_at, artifacts };
            (CircuitOrigin::Built, Some(built), None)
        }
        Source::Uploaded { name, sample_proved } => {
            let uploaded =
                UploadedCircuit { name, language, hash, trust, sample_proved, published_at, artifacts };
            (CircuitOrigin::Uploaded, None, Some(uploaded))
        }
    };
    Ok(CircuitEntry {
        status: CircuitStatus::Ready,
        target: circuit.target,
        targets,
        gates: Some(gates),
        circuit_size: Some(circuit_size),
        vk_hash: Some(vk_hash),
        vk: Some(format!("/v1/circuits/{id}/vk")),
        origin,
        verifier,
        built,
        uploaded,
        error: None,
        build: None,
        id,
    })
}
