//! Checks and publishes circuits that operators upload: a compiled program of Noir, or the files that circom and snarkjs
//! write.
//!
//! The server runs what is uploaded, in the same bounds as the files of configured circuits. One upload is checked at a
//! time. An uploaded circuit is published only as a whole, after every check:
//!
//! 1. The files are those of one language, and there is place for them.
//! 2. They can be read, fit each other, and have a verification key, as for a configured circuit.
//! 3. The sample, if there is one, is proved, and its proof verifies. So is the sample of a circuit that is stored already.
//!
//! Without a sample, nothing shows that the points of a circom key are those of its constraints: `snarkjs zkey verify` does.

use std::{
    fs, io,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use edgeprove_circuit_store::{
    CircuitStoreError, StoredCircuit,
    package::{Content, PackedFile},
};
use edgeprove_engine::{
    circuits::{Circuit, circuit::LoadError, registry::load_circuit},
    proof_systems::{CircuitFileError, circom::CircomFileError},
    scheduler::AdmissionError,
};
use edgeprove_protocol::{CircuitId, HasProblemType, ProblemType};
use edgeprove_prover::ProverError;
use edgeprove_spool::{SpoolDir, SpoolError};
use edgeprove_templates::Language;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    Built, CircuitError, Circuits, Publication, PublishedFile, default_target,
    description::{Description, Source},
    main_file,
    sample_proof::{self, SampleProofError},
    uploaded_files::{CircuitUpload, FileKind, UploadedFile},
};

/// Longest wait of an upload for others that are checked.
const TURN_WAIT_MAX: Duration = Duration::from_secs(30);
/// Most characters of the reason in an error.
const REASON_MAX_CHARS: usize = 600;

/// Why an uploaded circuit is not published.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// Its files cannot be used.
    #[error("the circuit cannot be used: {reason}")]
    Unusable {
        /// Which file, and what is wrong with it.
        reason: String,
    },
    /// The server could not read the files now.
    #[error("the circuit could not be checked now: {reason}")]
    Unavailable {
        /// The type of problem.
        kind: ProblemType,
        /// Why not.
        reason: String,
    },
    /// The sample has no proof.
    #[error("the sample in the part `input`: {}", .0.public_detail())]
    Sample(#[source] SampleProofError),
    /// Others are being checked.
    #[error("other uploaded circuits are being checked, one after the other")]
    Busy,
    /// It is stored, with another declaration of its trust.
    #[error(
        "the same circuit is stored as {id} with the trust `{stored}`: remove it before it is uploaded with another one"
    )]
    OtherTrust {
        /// The stored circuit.
        id: CircuitId,
        /// Its trust.
        stored: String,
    },
    /// A file could not be put in its place.
    #[error("the files of the circuit could not be stored")]
    Files(#[source] io::Error),
    /// There is no place for the files.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// No prover is free.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// It could not be stored.
    #[error(transparent)]
    Circuit(#[from] CircuitError),
}

impl From<CircuitStoreError> for UploadError {
    fn from(error: CircuitStoreError) -> Self {
        Self::Circuit(error.into())
    }
}

impl HasProblemType for UploadError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Unusable { .. } => ProblemType::CircuitInvalid,
            Self::Unavailable { kind, .. } => *kind,
            Self::Sample(error) => error.kind(),
            Self::Busy => ProblemType::ProverBusy,
            Self::OtherTrust { .. } => ProblemType::InvalidRequest,
            Self::Files(_) => ProblemType::SpoolUnavailable,
            Self::Spool(error) => error.kind(),
            Self::Admission(error) => error.kind(),
            Self::Circuit(error) => error.kind(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Admission(error) => error.retry_after(),
            Self::Circuit(error) => error.retry_after(),
            Self::Unusable { .. }
            | Self::Unavailable { .. }
            | Self::Sample(_)
            | Self::Busy
            | Self::OtherTrust { .. }
            | Self::Files(_)
            | Self::Spool(_) => None,
        }
    }

    fn field(&self) -> Option<&str> {
        match self {
            Self::Sample(error) => error.field(),
            Self::Unusable { .. }
            | Self::Unavailable { .. }
            | Self::Busy
            | Self::OtherTrust { .. }
            | Self::Files(_)
            | Self::Spool(_)
            | Self::Admission(_)
            | Self::Circuit(_) => None,
        }
    }
}

impl UploadError {
    /// The files cannot be used.
    #[must_use]
    pub fn unusable(reason: String) -> Self {
        Self::Unusable { reason }
    }

    /// By the error of a loaded circuit, whose files are in this folder.
    fn of_load(error: &LoadError, folder: &Path, language: Language) -> Self {
        let reason = reason(error, folder, language);
        match error {
            LoadError::Key(
                error @ (ProverError::Unavailable(_) | ProverError::Spool(_) | ProverError::Stopping),
            ) => Self::Unavailable { kind: error.kind(), reason },
            LoadError::File(CircuitFileError::Circom(CircomFileError::CompilerBusy { .. })) => {
                Self::Unavailable { kind: ProblemType::ProverBusy, reason }
            }
            LoadError::File(
                CircuitFileError::Unreadable { .. }
                | CircuitFileError::Circom(
                    CircomFileError::Unreadable { .. } | CircomFileError::NoEngine { .. },
                ),
            ) => Self::Unavailable { kind: ProblemType::Internal, reason },
            LoadError::File(_)
            | LoadError::UnsupportedTarget { .. }
            | LoadError::Key(_)
            | LoadError::CrsTooSmall { .. }
            | LoadError::TooMany { .. }
            | LoadError::BeyondMemory { .. } => Self::Unusable { reason },
        }
    }
}

/// The chain of causes in one line, without the folder of the files.
fn reason(error: &LoadError, folder: &Path, language: Language) -> String {
    let chain = edgeprove_telemetry::chain(error).replace(&format!("{}/", folder.display()), "");
    // Messages of decoders and compilers may have several lines.
    let line = chain.split_whitespace().collect::<Vec<_>>().join(" ").replace('\\', "/");
    let line: String = line.chars().take(REASON_MAX_CHARS).collect();
    match language {
        Language::Noir => format!("{}: {line}", FileKind::Program.file_name()),
        Language::Circom => line,
    }
}

/// Where an upload is after its check.
pub enum Checked {
    /// The same circuit is stored already.
    Known(Box<StoredCircuit>),
    /// It passed, and can be published.
    Passed(Box<PassedUpload>),
}

/// An upload that passed every check. Nothing of it is stored after it is dropped.
pub struct PassedUpload {
    publication: Publication,
    /// The content of the files.
    files: Vec<UploadedFile>,
    /// The next upload is checked after this one was published.
    turn: OwnedSemaphorePermit,
}

impl PassedUpload {
    /// The id.
    #[must_use]
    pub fn id(&self) -> &CircuitId {
        &self.publication.loaded.id
    }
}

impl Circuits {
    /// Checks an uploaded circuit. `account` is that of the caller, who takes turns with others.
    pub async fn check_upload(
        &self,
        upload: CircuitUpload,
        account: &str,
    ) -> Result<Option<Checked>, UploadError> {
        let Some(built) = &self.built else { return Ok(None) };
        let hash = upload.hash();
        let id = upload.id(&hash);
        let id = id.map_err(|_| UploadError::unusable("its name makes no id".to_owned()))?;
        if let Some(known) = built.known_upload(&upload, (&id, &hash)).await?
            && upload.sample.is_none()
        {
            return Ok(Some(Checked::Known(Box::new(known))));
        }
        let turn = tokio::time::timeout(TURN_WAIT_MAX, Arc::clone(&built.checking).acquire_owned()).await;
        // The semaphore is never closed.
        let Ok(Ok(turn)) = turn else { return Err(UploadError::Busy) };
        // The upload before this one may have been the same.
        let known = built.known_upload(&upload, (&id, &hash)).await?;
        if known.is_none() && self.configured.entries().any(|entry| entry.source.id == id) {
            return Err(UploadError::unusable(format!("a configured circuit is named {id}")));
        }
        let CircuitUpload { name, language, trust, files, sample } = upload;
        let started = Instant::now();
        let files_of = |file: &UploadedFile| PublishedFile {
            name: file.kind.file_name(),
            content: Content::File { path: file.file.path().to_owned(), bytes: file.file.len() },
            sha256: file.sha256,
        };
        let published: Vec<_> = files.iter().map(files_of).collect();
        if known.is_none() {
            let packed: Vec<PackedFile<'_>> = super::packed(&published);
            built.store.check_space(edgeprove_circuit_store::package::bytes(&packed)).await?;
        }
        let folder = built.folder_of(&files)?;
        let loaded = built.load_upload(folder.path(), &id, language).await?;
        drop(folder);
        let sample_proved = sample.is_some();
        if let Some(sample) = sample {
            let proving = &built.proving;
            let proved = sample_proof::prove_sample(proving, &built.spool, &loaded, sample, account).await;
            proved.map_err(UploadError::Sample)?;
        }
        if let Some(known) = known {
            let known = if sample_proved { built.note_proved_sample(known).await? } else { known };
            return Ok(Some(Checked::Known(Box::new(known))));
        }
        let took_ms = edgeprove_telemetry::millis(started.elapsed());
        tracing::info!(circuit = %id, took_ms, sample_proved, "an uploaded circuit passed its checks");
        let publication = Publication {
            hash,
            source: Source::Uploaded { name: name.to_string(), sample_proved },
            language,
            family: None,
            trust: trust.map(|trust| trust.as_str().to_owned()),
            setup: None,
            contract: None,
            files: published,
            loaded,
        };
        Ok(Some(Checked::Passed(Box::new(PassedUpload { publication, files, turn }))))
    }

    /// Publishes an upload that passed. `None` where no circuits are stored.
    pub async fn publish_upload(&self, upload: PassedUpload) -> Result<Option<StoredCircuit>, CircuitError> {
        let Some(built) = &self.built else { return Ok(None) };
        let PassedUpload { publication, files, turn } = upload;
        let published = self.publish_loaded(built, publication).await;
        drop((files, turn));
        published.map(Some)
    }
}

impl Built {
    /// The stored circuit that is the same as an upload.
    async fn known_upload(
        &self,
        upload: &CircuitUpload,
        (id, hash): (&CircuitId, &str),
    ) -> Result<Option<StoredCircuit>, UploadError> {
        let Some(stored) = self.store.find(id).await? else { return Ok(None) };
        if stored.circuit.hash != hash {
            return Err(UploadError::unusable(format!("another circuit has the id {id}: use another name")));
        }
        let described: Result<Description, _> = serde_json::from_str(&stored.circuit.description);
        let trust = described.map_err(CircuitError::from)?.trust;
        let declared = upload.trust.map(|trust| trust.as_str().to_owned());
        if trust != declared {
            let stored = trust.unwrap_or_default();
            return Err(UploadError::OtherTrust { id: id.clone(), stored });
        }
        Ok(Some(stored))
    }

    /// Stores that a sample of a stored circuit was proved.
    async fn note_proved_sample(&self, stored: StoredCircuit) -> Result<StoredCircuit, UploadError> {
        let described: Result<Description, _> = serde_json::from_str(&stored.circuit.description);
        let mut description = described.map_err(CircuitError::from)?;
        match &mut description.source {
            Source::Uploaded { sample_proved, .. } if !*sample_proved => *sample_proved = true,
            Source::Uploaded { .. } | Source::Built { .. } => return Ok(stored),
        }
        let description = serde_json::to_string(&description).map_err(CircuitError::from)?;
        let described = self.store.describe(&stored.circuit, description).await?;
        // An operator removed it at this moment; the next upload publishes it again.
        Ok(described.unwrap_or(stored))
    }

    /// A folder with the files under the names by which they are loaded. The files themselves stay where they are.
    fn folder_of(&self, files: &[UploadedFile]) -> Result<SpoolDir, UploadError> {
        let folder = self.spool.create_plain_dir()?;
        for UploadedFile { kind, file, .. } in files {
            let linked = fs::hard_link(file.path(), folder.path().join(kind.file_name()));
            linked.map_err(UploadError::Files)?;
        }
        Ok(folder)
    }

    async fn load_upload(
        &self,
        folder: &Path,
        id: &CircuitId,
        language: Language,
    ) -> Result<Arc<Circuit>, UploadError> {
        let target = default_target(language);
        let permit = self.proving.permit().await?;
        let file = folder.join(main_file(target));
        let loaded = load_circuit(id, &file, target, self.proving.keys(), permit.as_ref()).await;
        let loaded = loaded.map_err(|error| {
            tracing::warn!(circuit = %id, error = %edgeprove_telemetry::chain(&error), "an uploaded circuit cannot be used");
            UploadError::of_load(&error, folder, language)
        })?;
        if language == Language::Noir && loaded.inputs().is_none() {
            let reason = "circuit.json: its `abi` is missing, cannot be read or does not fit its program";
            return Err(UploadError::unusable(reason.to_owned()));
        }
        Ok(Arc::new(loaded))
    }
}
