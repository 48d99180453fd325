//! Compiles a circuit, makes its keys, and checks it.
//!
//! - [`circom`]: circom's circuits, with Groth16.
//! - [`noir`]: Noir's circuits.
//! - [`contract`]: the verifier contract of a circuit.

mod circom;
mod contract;
mod noir;

use std::{
    any::Any,
    io,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use async_trait::async_trait;
use edgeprove_circom_witness::{CircuitError, EngineError, WitnessEngine};
use edgeprove_groth16::{FormatError, KeyError, SetupError, Threads, ThreadsError};
use edgeprove_templates::{Instance, Language};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use crate::{
    artifact::Artifact,
    contract::{BuiltContract, ContractError},
    error::{Fate, ToolError},
    gate::{GateError, SampleError, SampleProof, SampleProver},
    powers::Powers,
    sandbox::{Isolation, Limits, Sandbox, Tool},
    toolchain::Toolchain,
    workspace::Workspace,
};
use contract::ContractFiles;

/// What the build of one circuit may take.
#[derive(Debug, Clone, Copy)]
pub struct BuildLimits {
    /// What the compiler may take.
    pub compiler: Limits,
    /// The most constraints of a circom circuit. Setup and gate take some 2 KiB of memory for each.
    pub constraints: u32,
    /// The most wires of a circom circuit. Setup and gate take some 1 KiB of memory for each.
    pub wires: u32,
    /// The largest artifact of the compiler, in bytes.
    pub artifact_bytes: u64,
}

impl Default for BuildLimits {
    fn default() -> Self {
        Self { compiler: Limits::default(), constraints: 1 << 18, wires: 1 << 19, artifact_bytes: 512 << 20 }
    }
}

/// What a build does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildStage {
    /// The compiler runs.
    Compiling,
    /// The keys are made.
    MakingKeys,
    /// The samples are proved.
    Checking,
}

impl BuildStage {
    /// Its name for reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Compiling => "compiling",
            Self::MakingKeys => "making_keys",
            Self::Checking => "checking",
        }
    }
}

/// What a caller of [`Builder::build`] wants to know, and how long it waits.
#[derive(Clone, Copy)]
pub struct BuildContext<'a> {
    /// Called when a stage begins.
    pub on_stage: &'a (dyn Fn(BuildStage) + Send + Sync),
    /// When the build must have ended. The wait for another build counts.
    pub deadline: Instant,
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
    /// The powers of tau from which its keys were made.
    pub powers: Option<Arc<Powers>>,
    /// Its verifier contract.
    pub contract: BuiltContract,
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
    #[error("the circuit has {found} {what}, and at most {limit} are accepted")]
    TooLarge {
        /// Constraints or wires.
        what: &'static str,
        /// Their number.
        found: u32,
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
    Setup(#[source] SetupError),
    /// The powers of tau are for smaller circuits.
    #[error(transparent)]
    DoesNotFit(SetupError),
    /// The keys cannot be read.
    #[error("the keys that were made cannot be read")]
    Key(#[from] KeyError),
    /// The verifier contract was not made, or accepts and refuses other proofs than it must.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// The circuit failed the gate.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// The build did not end in time.
    #[error("the circuit was not built in time")]
    TimedOut,
    /// No thread could be started.
    #[error("a thread for the keys could not be started")]
    NoThread(#[source] io::Error),
    /// A computation panicked.
    #[error("a computation of the build failed")]
    Panicked,
    /// The server stops.
    #[error("the build was interrupted")]
    Interrupted,
}

impl From<SetupError> for BuildError {
    fn from(error: SetupError) -> Self {
        match error {
            SetupError::DoesNotFit { .. } => Self::DoesNotFit(error),
            error => Self::Setup(error),
        }
    }
}

impl BuildError {
    /// Whether another attempt may succeed.
    #[must_use]
    pub fn fate(&self) -> Fate {
        match self {
            Self::Tool(error) => error.fate(),
            Self::Contract(error) => error.fate(),
            Self::Setup(SetupError::Cancelled) | Self::Interrupted => Fate::Stopping,
            Self::Sources(_)
            | Self::Setup(SetupError::Randomness(_) | SetupError::Panicked(_) | SetupError::Powers(_))
            | Self::Key(KeyError::Panicked(_))
            | Self::Gate(GateError::Failed { .. })
            | Self::TimedOut
            | Self::NoThread(_)
            | Self::Panicked => Fate::Temporary,
            Self::DiffersFromTemplate(_)
            | Self::TooLarge { .. }
            | Self::Constraints(_)
            | Self::Program(_)
            | Self::Setup(SetupError::NoConstraints | SetupError::TooLarge | SetupError::DoesNotFit { .. })
            | Self::DoesNotFit(_)
            | Self::Key(KeyError::Format(_))
            | Self::Gate(_) => Fate::Permanent,
        }
    }

    /// The message for callers. It has no path of this machine; the sources of the error may.
    #[must_use]
    pub fn public_detail(&self) -> String {
        self.to_string()
    }
}

/// Proves Noir's circuits, for the gate. The server's engine implements it.
#[async_trait]
pub trait NoirBackend: Send + Sync {
    /// Loads a compiled program and makes its verification key.
    async fn load(&self, program: &Artifact) -> Result<Box<dyn NoirProver>, GateError>;
}

/// One Noir circuit, which has proofs of its own for verifier contracts.
#[async_trait]
pub trait NoirProver: SampleProver {
    /// The verification key of proofs for contracts, as bb writes it.
    async fn contract_key(&self) -> Result<Vec<u8>, SampleError>;

    /// Proves inputs for a contract. [`SampleProver::tampered`] changes such proofs as well.
    async fn prove_for_contract(&self, inputs: &Map<String, Value>) -> Result<SampleProof, SampleError>;
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

/// Builds circuits, one at a time. Clones share its threads and its turn.
///
/// ```no_run
/// # async fn build(builder: edgeprove_builder::Builder, noir: &dyn edgeprove_builder::NoirBackend)
/// # -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::{Duration, Instant};
///
/// use edgeprove_builder::BuildContext;
/// use edgeprove_templates::{Catalogue, Instance, Language};
///
/// let catalogue = Catalogue::embedded()?;
/// let template = catalogue.find("rangeCheck", Some(Language::Circom))?;
/// let instance = Instance::new(template, &r#"{"min": 100, "max": 500}"#.parse()?)?;
/// let deadline = Instant::now() + Duration::from_secs(600);
/// let context = BuildContext { on_stage: &|stage| println!("{stage:?}"), deadline };
/// let circuit = builder.build(&instance, noir, &context).await?;
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
    width: NonZeroUsize,
    threads: Threads,
    engine: WitnessEngine,
    turn: Arc<Semaphore>,
    /// Calls of contracts for callers.
    calls: Arc<Semaphore>,
    makes_contracts: bool,
    powers: Option<Arc<Powers>>,
}

/// The turn of a build. Whatever runs for the build holds it: its compiler, and its computations. So a build that was
/// cancelled keeps the next one waiting until they have ended.
#[derive(Clone)]
struct Turn {
    permit: Arc<dyn Any + Send + Sync>,
    is_cancelled: Arc<AtomicBool>,
}

/// Cancels the computations of a build whose future is dropped.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Turn {
    /// Runs a computation on a thread that may block.
    async fn blocking<T: Send + 'static>(
        &self,
        compute: impl FnOnce(&AtomicBool) -> T + Send + 'static,
    ) -> Result<T, BuildError> {
        let Self { permit, is_cancelled } = self.clone();
        let run = move || {
            let result = compute(&is_cancelled);
            drop(permit);
            result
        };
        tokio::task::spawn_blocking(run)
            .await
            .map_err(|error| if error.is_panic() { BuildError::Panicked } else { BuildError::Interrupted })
    }
}

impl Builder {
    /// Starts the threads for keys and proofs of circom's circuits.
    pub fn new(
        sandbox: Sandbox,
        toolchain: Toolchain,
        limits: BuildLimits,
        width: NonZeroUsize,
    ) -> Result<Self, BuilderError> {
        let (threads, engine) = (Threads::of_width(width)?, WitnessEngine::start()?);
        let (turn, calls) =
            (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(contract::CALLS_MAX.get())));
        let (makes_contracts, powers) = (true, None);
        Ok(Self { sandbox, toolchain, limits, width, threads, engine, turn, calls, makes_contracts, powers })
    }

    /// Makes the keys of circom's circuits from these powers of tau, where there are some.
    #[must_use]
    pub fn with_powers(mut self, powers: Option<Arc<Powers>>) -> Self {
        self.powers = powers;
        self
    }

    /// The powers of tau.
    #[must_use]
    pub fn powers(&self) -> Option<&Powers> {
        self.powers.as_deref()
    }

    /// Builds circuits without verifier contracts, which take seconds of a build.
    #[must_use]
    pub fn without_contracts(mut self) -> Self {
        self.makes_contracts = false;
        self
    }

    /// The tools.
    #[must_use]
    pub const fn toolchain(&self) -> &Toolchain {
        &self.toolchain
    }

    /// Builds a circuit, after the one that another caller is building. The folder of its files is removed afterwards, in
    /// the background.
    ///
    /// Dropping the future kills the compiler. A computation in this process, such as the setup, ends at its next step,
    /// as it does at the deadline. Steps are short, except for the translation of a witness program, which takes seconds
    /// for a large circuit. The next build waits for both.
    pub async fn build(
        &self,
        instance: &Instance,
        noir: &dyn NoirBackend,
        context: &BuildContext<'_>,
    ) -> Result<BuiltCircuit, BuildError> {
        let build = async {
            let permit = Arc::clone(&self.turn).acquire_owned().await.map_err(|_| BuildError::Interrupted)?;
            let is_cancelled = Arc::new(AtomicBool::new(false));
            let _cancel = CancelOnDrop(Arc::clone(&is_cancelled));
            let turn = Turn { permit: Arc::new(permit), is_cancelled };
            (context.on_stage)(BuildStage::Compiling);
            let ((mut artifacts, made), trust) = match instance.template().language() {
                Language::Noir => (self.build_noir(&turn, instance, noir, context).await?, None),
                Language::Circom => {
                    (self.build_circom(&turn, instance, context).await?, Some(SetupTrust::Local))
                }
            };
            let ContractFiles { artifacts: of_contract, contract } = made;
            artifacts.extend(of_contract);
            let powers = trust.and(self.powers.clone());
            Ok(BuiltCircuit { artifacts, trust, powers, contract, isolation: self.sandbox.isolation() })
        };
        let result = tokio::time::timeout_at(context.deadline.into(), build).await;
        result.unwrap_or(Err(BuildError::TimedOut))
    }

    /// Creates a folder and writes the files of a circuit into it, below a folder of their own.
    async fn write_sources(
        &self,
        turn: &Turn,
        instance: &Instance,
        prepare: impl FnOnce(&Workspace) -> io::Result<()> + Send + 'static,
    ) -> Result<Arc<Workspace>, BuildError> {
        let (sandbox, files) = (self.sandbox.clone(), instance.files().clone());
        let held = Arc::clone(&turn.permit);
        let write = move |_: &AtomicBool| -> Result<_, BuildError> {
            let workspace = sandbox.workspace(Some(held))?;
            let write_all = || {
                for (name, text) in &files {
                    workspace.write(name, text.as_bytes())?;
                }
                prepare(&workspace)
            };
            write_all().map_err(BuildError::Sources)?;
            Ok(workspace)
        };
        turn.blocking(write).await?
    }

    /// Runs a compiler, and reads what it wrote.
    async fn compile<const N: usize>(
        &self,
        turn: &Turn,
        tool: Tool,
        workspace: Arc<Workspace>,
        results: [&'static str; N],
    ) -> Result<[Vec<u8>; N], BuildError> {
        let (name, max_bytes) = (tool.name.clone(), self.limits.artifact_bytes);
        self.sandbox.run(tool, &workspace, self.limits.compiler).await?;
        let read = move |_: &AtomicBool| -> Result<[Vec<u8>; N], ToolError> {
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
        Ok(turn.blocking(read).await??)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use edgeprove_spool::SpoolError;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_cancelled_computation_holds_the_turn_until_it_ends() {
        let turns = Arc::new(Semaphore::new(1));
        let permit: Arc<dyn Any + Send + Sync> = Arc::new(Arc::clone(&turns).acquire_owned().await.unwrap());
        let turn = Turn { permit, is_cancelled: Arc::default() };
        let cancel = CancelOnDrop(Arc::clone(&turn.is_cancelled));
        let (started, start) = tokio::sync::oneshot::channel();
        let (end, ended) = mpsc::channel();
        let compute = move |is_cancelled: &AtomicBool| {
            started.send(()).unwrap();
            ended.recv().unwrap();
            assert!(is_cancelled.load(Ordering::Relaxed));
        };
        tokio::select! {
            result = turn.blocking(compute) => panic!("{result:?}"),
            started = start => started.unwrap(),
        }
        drop((turn, cancel));
        assert!(turns.try_acquire().is_err());
        end.send(()).unwrap();
        drop(turns.acquire().await.unwrap());
    }

    #[tokio::test]
    async fn a_panic_of_a_computation_is_an_error() {
        let turn = Turn { permit: Arc::new(()), is_cancelled: Arc::default() };
        let result: Result<(), _> = turn.blocking(|_| panic!("on purpose")).await;
        let error = result.unwrap_err();
        assert!(matches!(error, BuildError::Panicked), "{error}");
        assert_eq!(error.fate(), Fate::Temporary);
    }

    #[test]
    fn the_fate_of_an_error_follows_from_its_cause() {
        let tool = || String::from("circom");
        let temporary = [
            BuildError::Tool(ToolError::System {
                tool: tool(),
                action: "started",
                source: io::Error::other("/srv/secret"),
            }),
            BuildError::Tool(ToolError::Workspace(SpoolError::Wiped { path: "/srv/secret".into() })),
            BuildError::Sources(io::Error::other("/srv/secret")),
            BuildError::NoThread(io::Error::other("/srv/secret")),
            BuildError::Gate(GateError::Failed { sample: String::new(), source: "/srv/secret".into() }),
            BuildError::TimedOut,
        ];
        let permanent = [
            BuildError::Tool(ToolError::TooLarge { tool: tool(), limit_bytes: 1 }),
            BuildError::TooLarge { what: "wires", found: 2, limit: 1 },
            BuildError::Setup(SetupError::NoConstraints),
            SetupError::DoesNotFit { constraints: 2, public_signals: 1, needed: 2, power: 1 }.into(),
            BuildError::Gate(GateError::NotVerified { sample: String::new() }),
        ];
        let stopping = [
            BuildError::Interrupted,
            BuildError::Setup(SetupError::Cancelled),
            BuildError::Tool(ToolError::Stopping),
        ];
        for (errors, fate) in [
            (Vec::from(temporary), Fate::Temporary),
            (Vec::from(permanent), Fate::Permanent),
            (Vec::from(stopping), Fate::Stopping),
        ] {
            for error in errors {
                assert_eq!(error.fate(), fate, "{error:?}");
                assert!(!error.public_detail().contains("/srv"), "{}", error.public_detail());
            }
        }
    }
}
