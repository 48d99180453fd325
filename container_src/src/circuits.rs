//! The circuits that this server can prove: those that are configured, and those that are stored because they were built from
//! templates or uploaded.
//!
//! A stored circuit is loaded when it is first needed, from the store that servers share, and unloaded when others need its memory.
//! What was published or removed by another server is known after a moment: [`Circuits::follow`].
//!
//! - [`upload`]: checks the circuits that operators upload.
//! - [`uploaded_files`]: the parts of an upload.
//! - [`sample_proof`]: proves the sample of an uploaded circuit.
//! - [`noir_samples`]: proves the samples of Noir's circuits that were built.
//! - [`built_families`]: families of circuits that were built.
//! - [`compiled_contracts`]: the compiled contracts of a built circuit.
//! - [`description`]: the description of a stored circuit.
//! - [`sample_inputs`]: sample inputs of configured circuits. [`browser_programs`]: their programs, for pages.
//! - [`toolchain`]: starts the builder.

pub mod browser_programs;
mod built_families;
pub mod compiled_contracts;
pub mod description;
pub mod noir_samples;
pub mod sample_inputs;
pub mod sample_proof;
pub mod toolchain;
pub mod upload;
pub mod uploaded_files;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use edgeprove_builder::{BuiltCircuit, BuiltContract, Powers};
use edgeprove_circuit_store::{
    CircuitStore, CircuitStoreError, FamilyPlace, ListedCircuit, NewCircuit, StoredCircuit,
    package::{Content, PackedFile},
};
use edgeprove_engine::{
    circuits::{
        Circuit, Registry,
        registry::{LookupError, load_circuit},
    },
    proving::Proving,
    scheduler::AdmissionError,
};
use edgeprove_groth16::{VerifyingKey, verifier_contract};
use edgeprove_job_rules::capability::Subject;
use edgeprove_protocol::{
    CircuitId, HasProblemType, ProblemType, ProofSystem, Target,
    answer::{CircuitSetup, PowersOfTau},
};
use edgeprove_spool::{Spool, SpoolError};
use edgeprove_templates::{Instance, Language, Toolchain};
use parking_lot::{Mutex, RwLock};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use description::{Description, Source};

/// The files of all built circuits that are loaded at the same time, in bytes.
pub const LOADED_MAX_BYTES: u64 = 256 << 20;
/// How often the list of built circuits is read again.
const FOLLOW_EVERY: Duration = Duration::from_secs(2);
/// How long a circuit that could not be loaded is not tried again.
const FAILED_FOR: Duration = Duration::from_secs(30);

/// What a server does with jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// Whether it proves.
    pub proves: bool,
    /// Whether it builds circuits.
    pub builds: bool,
}

impl Roles {
    /// The names of the roles.
    #[must_use]
    pub fn names(self) -> Vec<String> {
        let neither = !self.proves && !self.builds;
        let roles = [(self.proves, "prover"), (self.builds, "builder"), (neither, "server")];
        roles.into_iter().filter(|(has, _)| *has).map(|(_, name)| name.to_owned()).collect()
    }
}

/// The circuits.
pub struct Circuits {
    configured: Arc<Registry>,
    built: Option<Built>,
    source: Option<Arc<dyn CircuitSource>>,
}

/// Where circuits come from that are stored elsewhere.
#[async_trait]
pub trait CircuitSource: Send + Sync {
    /// Finds a circuit that is not configured. It is loaded, and fetched where it is not yet.
    async fn find(&self, id: &CircuitId) -> Result<Arc<Circuit>, CircuitError>;
}

/// Circuits that are stored.
struct Built {
    store: CircuitStore,
    proving: Arc<Proving>,
    spool: Spool,
    /// Every built circuit, as of the last look at the store.
    known: RwLock<BTreeMap<CircuitId, Known>>,
    /// Counts the changes of this server, so that a list that was read before one does not undo it.
    changes: AtomicU64,
    failed: Mutex<BTreeMap<CircuitId, (Instant, LookupError)>>,
    /// Held while a circuit is loaded: one at a time, because it takes memory and a prover.
    loading: tokio::sync::Mutex<()>,
    /// The turn of the one upload that is checked.
    checking: Arc<Semaphore>,
}

/// A file of a circuit that is published.
#[derive(Debug, Clone)]
pub struct PublishedFile {
    /// Its name.
    pub name: &'static str,
    /// Its content.
    pub content: Content,
    /// SHA-256 of the content.
    pub sha256: [u8; 32],
}

impl PublishedFile {
    fn of_bytes(name: &'static str, bytes: bytes::Bytes) -> Self {
        Self { name, sha256: Sha256::digest(&bytes).into(), content: bytes.into() }
    }
}

/// A circuit that was loaded and is published next.
struct Publication {
    hash: String,
    source: Source,
    language: Language,
    family: Option<FamilyPlace>,
    trust: Option<String>,
    setup: Option<CircuitSetup>,
    contract: Option<BuiltContract>,
    files: Vec<PublishedFile>,
    loaded: Arc<Circuit>,
}

/// What is known of a built circuit that is not loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    version: String,
    family: Option<FamilyPlace>,
}

/// Why a circuit cannot be proved now.
#[derive(Debug, thiserror::Error)]
pub enum CircuitError {
    /// There is none of this name, or it cannot be loaded.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The store of built circuits failed.
    #[error(transparent)]
    Store(#[from] CircuitStoreError),
    /// There is no place for the files of a circuit.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// No prover is free to load it.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// Its description cannot be written or read.
    #[error("the description of a circuit is damaged")]
    Description(#[from] serde_json::Error),
}

impl HasProblemType for CircuitError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Lookup(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Spool(error) => error.kind(),
            Self::Admission(error) => error.kind(),
            Self::Description(_) => ProblemType::StoredDataDamaged,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Admission(error) => error.retry_after(),
            Self::Lookup(_) | Self::Store(_) | Self::Spool(_) | Self::Description(_) => None,
        }
    }
}

impl Circuits {
    /// The configured circuits only.
    #[must_use]
    pub const fn configured(registry: Arc<Registry>) -> Self {
        Self { configured: registry, built: None, source: None }
    }

    /// The configured circuits, and those of this source.
    #[must_use]
    pub fn with_source(registry: Arc<Registry>, source: Arc<dyn CircuitSource>) -> Self {
        Self { configured: registry, built: None, source: Some(source) }
    }

    /// The configured circuits, and those of this store.
    #[must_use]
    pub fn with_built(
        registry: Arc<Registry>,
        store: CircuitStore,
        proving: Arc<Proving>,
        spool: Spool,
    ) -> Self {
        let built = Built {
            store,
            proving,
            spool,
            known: RwLock::default(),
            changes: AtomicU64::new(0),
            failed: Mutex::default(),
            loading: tokio::sync::Mutex::default(),
            checking: Arc::new(Semaphore::new(1)),
        };
        Self { configured: registry, built: Some(built), source: None }
    }

    /// The store of built circuits, where there is one.
    #[must_use]
    pub fn store(&self) -> Option<&CircuitStore> {
        self.built.as_ref().map(|built| &built.store)
    }

    /// Whether there is no circuit, neither a configured nor a built one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.configured.is_empty() && self.built() == 0
    }

    /// The number of built circuits, as of the last look at the store.
    #[must_use]
    pub fn built(&self) -> usize {
        self.built.as_ref().map_or(0, |built| built.known.read().len())
    }

    /// Whether all circuits are configured ones that failed to load.
    #[must_use]
    pub fn has_only_failures(&self) -> bool {
        self.configured.has_only_failures() && self.built() == 0
    }

    /// Finds a circuit that is loaded; `None` where a stored circuit is not, or there is none. Fails where a configured one
    /// cannot be proved.
    pub fn find_loaded(&self, id: Option<&CircuitId>) -> Result<Option<Arc<Circuit>>, LookupError> {
        match self.configured.find(id) {
            Ok(circuit) => Ok(Some(circuit)),
            Err(LookupError::Unknown { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Finds a circuit by name; `None` means the default one. A stored circuit that is not loaded is loaded now.
    pub async fn find(&self, id: Option<&CircuitId>) -> Result<Arc<Circuit>, CircuitError> {
        let unknown = match self.configured.find(id) {
            Err(error @ LookupError::Unknown { .. }) => error,
            found => return Ok(found?),
        };
        if let (Some(source), Some(id)) = (&self.source, id) {
            return source.find(id).await;
        }
        let (Some(built), Some(id)) = (&self.built, id) else { return Err(unknown.into()) };
        match built.store.find(id).await? {
            Some(stored) => built.load(&self.configured, &stored).await,
            None => Err(unknown.into()),
        }
    }

    /// What jobs of this server can prove, each circuit in its version.
    #[must_use]
    pub fn subjects(&self) -> Vec<Subject> {
        let configured = self.configured.loaded().map(|circuit| (circuit.id.to_string(), circuit.version()));
        let configured = configured.map(|(name, version)| Subject { name, version });
        configured.chain(self.stored_subjects()).collect()
    }

    /// The stored circuits, each in its version.
    #[must_use]
    pub fn stored_subjects(&self) -> Vec<Subject> {
        let known = self.built.as_ref().map(|built| built.known.read().clone()).unwrap_or_default();
        known
            .into_iter()
            .map(|(id, known)| Subject { name: id.to_string(), version: known.version })
            .collect()
    }

    /// Whether a circuit of this id was built and published.
    pub async fn is_published(&self, id: &CircuitId) -> Result<bool, CircuitStoreError> {
        match self.store() {
            Some(store) => Ok(store.find(id).await?.is_some()),
            None => Ok(false),
        }
    }

    /// Loads a circuit that was built, as every server will, and publishes it.
    pub async fn publish(
        &self,
        instance: &Instance,
        toolchain: &Toolchain,
        circuit: &BuiltCircuit,
    ) -> Result<(), CircuitError> {
        let (id, hash) = (instance.circuit_id(toolchain), instance.hash(toolchain));
        let Some(built) = &self.built else {
            return Err(LookupError::Unknown { id, known: String::new() }.into());
        };
        let files: Vec<_> = circuit
            .artifacts
            .iter()
            .map(|artifact| PublishedFile {
                name: artifact.name(),
                content: artifact.bytes().clone().into(),
                sha256: *artifact.sha256(),
            })
            .collect();
        let language = instance.template().language();
        let folder = built.spool.create_dir()?;
        let written = edgeprove_circuit_store::package::write_into(&packed(&files), folder.path()).await;
        written.map_err(CircuitStoreError::from)?;
        let loaded = built.load_from(folder.path(), &id, default_target(language)).await?;
        drop(folder);
        let publication = Publication {
            hash: hash.to_string(),
            source: Source::of_template(instance),
            language,
            family: instance.family(toolchain).map(|(family, size)| FamilyPlace { family, size }),
            trust: circuit.trust.map(|trust| trust.as_str().to_owned()),
            setup: circuit
                .trust
                .map(|_| CircuitSetup { powers: circuit.powers.as_deref().map(powers_of_tau) }),
            contract: Some(circuit.contract.clone()),
            files,
            loaded,
        };
        self.publish_loaded(built, publication).await.map(drop)
    }

    /// Publishes a loaded circuit with its files, its verification key and its contract.
    async fn publish_loaded(
        &self,
        built: &Built,
        publication: Publication,
    ) -> Result<StoredCircuit, CircuitError> {
        let Publication { hash, source, language, family, trust, setup, contract, mut files, loaded } =
            publication;
        for file in files_of_key(&loaded) {
            if files.iter().all(|other| other.name != file.name) {
                files.push(file);
            }
        }
        let trust = (trust, setup);
        let description = Description::new(source, language, trust, contract.as_ref(), &files, &loaded);
        let new = NewCircuit {
            id: loaded.id.clone(),
            hash,
            version: loaded.version(),
            target: loaded.target,
            description: serde_json::to_string(&description)?,
            family,
        };
        let version = new.version.clone();
        let stored = built.store.publish(new, &packed(&files)).await?;
        // Keys of circom have randomness in them: where another server was faster, its keys are the circuit's.
        let is_ours = stored.circuit.version == version;
        // First, because a circuit that is not known is unloaded.
        built.know(&stored, &self.configured);
        if is_ours {
            self.configured.add(loaded, stored.package_bytes, LOADED_MAX_BYTES);
        }
        Ok(stored)
    }

    /// Removes a stored circuit, and returns whether it was there.
    pub async fn remove(&self, id: &CircuitId) -> Result<bool, CircuitStoreError> {
        let Some(built) = &self.built else { return Ok(false) };
        let is_removed = built.store.remove(id).await?;
        built.forget(id, &self.configured);
        Ok(is_removed)
    }

    /// Reads the list of built circuits again and again, until the server stops, and unloads those that were removed or
    /// replaced.
    pub async fn follow(&self, stop: &CancellationToken) {
        let Some(built) = &self.built else { return };
        let mut is_failing = false;
        while !stop.is_cancelled() {
            match built.look(&self.configured).await {
                Ok(()) => is_failing = false,
                Err(error) if is_failing => tracing::debug!(%error, "built circuits still cannot be listed"),
                Err(error) => {
                    let error = edgeprove_telemetry::chain(&error);
                    tracing::warn!(error, "built circuits cannot be listed");
                    is_failing = true;
                }
            }
            let _ = tokio::time::timeout(FOLLOW_EVERY, stop.cancelled()).await;
        }
    }
}

impl Built {
    async fn look(&self, registry: &Registry) -> Result<(), CircuitStoreError> {
        let before = self.changes.load(Ordering::Relaxed);
        let known =
            |listed: ListedCircuit| (listed.id, Known { version: listed.version, family: listed.family });
        let listed: BTreeMap<_, _> = self.store.all().await?.into_iter().map(known).collect();
        let mut known = self.known.write();
        // The next look has the change.
        if self.changes.load(Ordering::Relaxed) != before {
            return Ok(());
        }
        for circuit in registry.added() {
            if listed.get(&circuit.id).map(|known| &known.version) != Some(&circuit.version()) {
                registry.remove_added(&circuit.id);
            }
        }
        self.failed.lock().retain(|id, _| listed.contains_key(id));
        if *known != listed {
            registry.set_added_families(built_families::of(&listed));
            *known = listed;
        }
        Ok(())
    }

    fn know(&self, stored: &StoredCircuit, registry: &Registry) {
        let NewCircuit { id, version, family, .. } = stored.circuit.clone();
        let mut known = self.known.write();
        self.changes.fetch_add(1, Ordering::Relaxed);
        let circuit = Known { version, family };
        if known.get(&id) != Some(&circuit) {
            known.insert(id, circuit);
            registry.set_added_families(built_families::of(&known));
        }
    }

    fn forget(&self, id: &CircuitId, registry: &Registry) {
        let mut known = self.known.write();
        self.changes.fetch_add(1, Ordering::Relaxed);
        known.remove(id);
        registry.set_added_families(built_families::of(&known));
        self.failed.lock().remove(id);
        registry.remove_added(id);
    }

    async fn load(&self, registry: &Registry, stored: &StoredCircuit) -> Result<Arc<Circuit>, CircuitError> {
        let id = &stored.circuit.id;
        let _turn = self.loading.lock().await;
        if let Ok(circuit) = registry.find(Some(id)) {
            return Ok(circuit);
        }
        if let Some((at, failure)) = self.failed.lock().get(id)
            && at.elapsed() < FAILED_FOR
        {
            return Err(failure.clone().into());
        }
        let started = Instant::now();
        let folder = self.spool.create_dir()?;
        self.store.files(stored).await?.unpack_into(folder.path()).await?;
        let circuit =
            self.load_from(folder.path(), id, stored.circuit.target).await.inspect_err(|error| {
                if let CircuitError::Lookup(failure) = error {
                    self.failed.lock().insert(id.clone(), (Instant::now(), failure.clone()));
                }
            })?;
        if circuit.version() != stored.circuit.version {
            return Err(CircuitStoreError::Corrupt { what: "the files are those of another circuit" }.into());
        }
        self.know(stored, registry);
        registry.add(Arc::clone(&circuit), stored.package_bytes, LOADED_MAX_BYTES);
        tracing::info!(circuit = %id, took_ms = edgeprove_telemetry::millis(started.elapsed()), "built circuit loaded");
        Ok(circuit)
    }

    async fn load_from(
        &self,
        folder: &Path,
        id: &CircuitId,
        target: Target,
    ) -> Result<Arc<Circuit>, CircuitError> {
        let permit = self.proving.permit().await?;
        let file = folder.join(main_file(target));
        let loaded = load_circuit(id, &file, target, self.proving.keys(), permit.as_ref()).await;
        loaded.map(Arc::new).map_err(|error| {
            tracing::error!(circuit = %id, error = %edgeprove_telemetry::chain(&error), "a built circuit could not be loaded");
            LookupError::Failed { id: id.clone(), kind: error.kind(), public_reason: error.public_reason() }.into()
        })
    }
}

/// What callers see of powers of tau.
#[must_use]
pub fn powers_of_tau(powers: &Powers) -> PowersOfTau {
    PowersOfTau {
        origin: powers.origin().as_str().to_owned(),
        digest: powers.digest().to_string(),
        power: powers.info().power,
    }
}

/// The target of proofs of a built circuit where a request names none.
#[must_use]
pub const fn default_target(language: Language) -> Target {
    match language {
        Language::Noir => Target::NoirRecursive,
        Language::Circom => Target::Groth16,
    }
}

/// The file of a package that a circuit is loaded from; the others are found beside it.
#[must_use]
pub const fn main_file(target: Target) -> &'static str {
    match target {
        Target::NoirRecursive | Target::Evm => "circuit.json",
        Target::Groth16 => "circuit.zkey",
    }
}

/// The file of a package with the verification key for the default target.
#[must_use]
pub const fn key_file(target: Target) -> &'static str {
    match target.proof_system() {
        ProofSystem::UltraHonk => "vk",
        ProofSystem::Groth16 => "verification_key.json",
    }
}

/// The file of a package with the verifier contract.
pub const CONTRACT_FILE: &str = "verifier.sol";

/// The verification key of a loaded circuit for its default target, and for Groth16 its verifier contract. A circuit without
/// public signals has none.
fn files_of_key(loaded: &Circuit) -> Vec<PublishedFile> {
    let Some(key) = loaded.ready_key(loaded.target) else { return Vec::new() };
    let mut files = vec![PublishedFile::of_bytes(key_file(loaded.target), key.circuit.vk.clone())];
    if loaded.proof_system() == ProofSystem::Groth16
        && let Ok(key) = VerifyingKey::from_json(&key.circuit.vk)
        && let Ok(contract) = verifier_contract(&key)
    {
        files.push(PublishedFile::of_bytes(CONTRACT_FILE, contract.into()));
    }
    files
}

/// The files of a package, the smallest first: a file is found by reading those before it, and keys and contracts are small.
fn packed(files: &[PublishedFile]) -> Vec<PackedFile<'_>> {
    let mut files: Vec<_> = files.iter().collect();
    files.sort_by_key(|file| file.content.len());
    let packed = |file: &PublishedFile| PackedFile { name: file.name, content: file.content.clone() };
    files.into_iter().map(packed).collect()
}
