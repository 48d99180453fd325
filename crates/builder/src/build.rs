//! Compiles a circuit, makes its keys, and checks it.
//!
//! - [`circom`]: circom's circuits, with Groth16.
//! - [`noir`]: Noir's circuits.

mod circom;
mod noir;

use std::{io, num::NonZeroUsize, sync::Arc};

use async_trait::async_trait;
use edgeprove_circom_witness::{CircuitError, EngineError, WitnessEngine};
use edgeprove_groth16::{
    FormatError, KeyError, SetupError, Threads, ThreadsError, solidity::NoPublicSignals,
};
use edgeprove_templates::{Instance, Language};

use crate::{
    artifact::Artifact,
    error::ToolError,
    gate::{GateError, SampleProver},
    sandbox::{Isolation, Limits, Sandbox, Tool},
    toolchain::Toolchain,
    workspace::Workspace,
};

/// What the build of one circuit may take.
#[derive(Debug, Clone, Copy)]
pub struct BuildLimits {
    /// What the compiler may take.
    pub compiler: Limits,
    /// The most constraints of a circom circuit. Setup and gate take some 2 KiB of memory for each.
    pub constraints: u32,
    /// The largest artifact of the compiler, in bytes.
    pub artifact_bytes: u64,
}

impl Default for BuildLimits {
    fn default() -> Self {
        Self { compiler: Limits::default(), constraints: 1 << 20, artifact_bytes: 512 << 20 }
    }
}

/// Who must be trusted that nobody can prove false statements with the keys of a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetupTrust {
    /// The server that made the keys.
    Local,
}

impl SetupTrust {
    /// Its name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
        }
    }
}

/// A circuit that passed the gate.
#[derive(Debug, Clone)]
pub struct BuiltCircuit {
    /// Its files.
    pub artifacts: Vec<Artifact>,
    /// Whom its keys make one trust; `None` for Noir, whose keys need no setup of their own.
    pub trust: Option<SetupTrust>,
    /// How the compiler was separated from the system.
    pub isolation: Isolation,
}

impl BuiltCircuit {
    /// The artifact of this name.
    #[must_use]
    pub fn artifact(&self, name: &str) -> Option<&Artifact> {
        self.artifacts.iter().find(|artifact| artifact.name() == name)
    }
}

/// Why there is no circuit.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A tool failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// A source could not be written.
    #[error("the sources of the circuit could not be written")]
    Sources(#[source] io::Error),
    /// The circuit has other inputs than its template states.
    #[error("the compiled circuit differs from its template: {0}")]
    DiffersFromTemplate(String),
    /// The circuit is too large.
    #[error("the circuit has {constraints} constraints, and at most {limit} are accepted")]
    TooLarge {
        /// Its constraints.
        constraints: u32,
        /// The limit.
        limit: u32,
    },
    /// The compiler wrote constraints that cannot be read.
    #[error("the constraints that circom wrote cannot be read")]
    Constraints(#[from] FormatError),
    /// The compiler wrote a program that cannot be run.
    #[error("the witness program that circom wrote cannot be run")]
    Program(#[from] CircuitError),
    /// There are no keys.
    #[error("the keys could not be made")]
    Setup(#[from] SetupError),
    /// The keys cannot be read.
    #[error("the keys that were made cannot be read")]
    Key(#[from] KeyError),
    /// There is no contract.
    #[error(transparent)]
    Contract(#[from] NoPublicSignals),
    /// The circuit failed the gate.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// A computation panicked, or the server stops.
    #[error("the build was interrupted")]
    Interrupted,
}

/// Proves Noir's circuits, for the gate. The server's engine implements it.
#[async_trait]
pub trait NoirBackend: Send + Sync {
    /// Loads a compiled program and makes its verification key.
    async fn load(&self, program: &Artifact) -> Result<Box<dyn SampleProver>, GateError>;
}

/// Why there is no builder.
#[derive(Debug, thiserror::Error)]
pub enum BuilderError {
    /// The threads could not be started.
    #[error(transparent)]
    Threads(#[from] ThreadsError),
    /// The runtime of witness programs could not be started.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Builds circuits. Clones share its threads.
///
/// ```no_run
/// # async fn build(builder: edgeprove_builder::Builder, noir: &dyn edgeprove_builder::NoirBackend)
/// # -> Result<(), Box<dyn std::error::Error>> {
/// use edgeprove_templates::{Catalogue, Instance, Language};
///
/// let catalogue = Catalogue::embedded()?;
/// let template = catalogue.find("rangeCheck", Some(Language::Circom))?;
/// let instance = Instance::new(template, &r#"{"min": 100, "max": 500}"#.parse()?)?;
/// let circuit = builder.build(&instance, noir).await?;
/// for artifact in &circuit.artifacts {
///     println!("{} {:x?}", artifact.name(), artifact.sha256());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Builder {
    sandbox: Sandbox,
    toolchain: Toolchain,
    limits: BuildLimits,
    threads: Threads,
    engine: WitnessEngine,
}

impl Builder {
    /// Starts the threads for keys and proofs of circom's circuits.
    pub fn new(
        sandbox: Sandbox,
        toolchain: Toolchain,
        limits: BuildLimits,
        threads: NonZeroUsize,
    ) -> Result<Self, BuilderError> {
        let (threads, engine) = (Threads::of_width(threads)?, WitnessEngine::start()?);
        Ok(Self { sandbox, toolchain, limits, threads, engine })
    }

    /// The tools.
    #[must_use]
    pub const fn toolchain(&self) -> &Toolchain {
        &self.toolchain
    }

    /// Builds a circuit. Nothing of it is left on the disk.
    ///
    /// Dropping the future kills the compiler. A computation in this process, such as the setup, runs to its end in the
    /// background; its result is dropped.
    pub async fn build(
        &self,
        instance: &Instance,
        noir: &dyn NoirBackend,
    ) -> Result<BuiltCircuit, BuildError> {
        let (artifacts, trust) = match instance.template().language() {
            Language::Noir => (self.build_noir(instance, noir).await?, None),
            Language::Circom => (self.build_circom(instance).await?, Some(SetupTrust::Local)),
        };
        Ok(BuiltCircuit { artifacts, trust, isolation: self.sandbox.isolation() })
    }

    /// Creates a folder and writes the files of a circuit into it, below a folder of their own.
    async fn write_sources(
        &self,
        instance: &Instance,
        prepare: impl FnOnce(&Workspace) -> io::Result<()> + Send + 'static,
    ) -> Result<Arc<Workspace>, BuildError> {
        let (workspace, files) = (self.sandbox.workspace()?, instance.files().clone());
        let written = Arc::clone(&workspace);
        let write = move || {
            for (name, text) in &files {
                written.write(name, text.as_bytes())?;
            }
            prepare(&written)
        };
        blocking(write).await?.map_err(BuildError::Sources)?;
        Ok(workspace)
    }

    /// Runs a compiler, and reads what it wrote.
    async fn compile<const N: usize>(
        &self,
        tool: Tool,
        workspace: Arc<Workspace>,
        results: [&'static str; N],
    ) -> Result<[Vec<u8>; N], BuildError> {
        let (name, max_bytes) = (tool.name.clone(), self.limits.artifact_bytes);
        self.sandbox.run(tool, &workspace, self.limits.compiler).await?;
        let read = move || -> Result<[Vec<u8>; N], ToolError> {
            let mut contents = [const { Vec::new() }; N];
            for (content, file) in contents.iter_mut().zip(results) {
                *content = workspace.read(file, max_bytes).map_err(|source| ToolError::NoResult {
                    tool: name.clone(),
                    file: file.to_owned(),
                    source,
                })?;
            }
            Ok(contents)
        };
        Ok(blocking(read).await??)
    }
}

/// Runs a computation on a thread of its own.
async fn blocking<T: Send + 'static>(compute: impl FnOnce() -> T + Send + 'static) -> Result<T, BuildError> {
    tokio::task::spawn_blocking(compute).await.map_err(|_| BuildError::Interrupted)
}
