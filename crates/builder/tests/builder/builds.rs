//! Builds of templates with the real compilers.

use std::{
    collections::BTreeMap,
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    pin::pin,
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use edgeprove_builder::{
    Artifact, BuildContext, BuildError, BuildLimits, BuildStage, Builder, BuiltCircuit, Fate, GateError,
    Limits, NoirBackend, NoirProver, NotDeployable, SampleError, SampleProof, SampleProver, Sandbox,
    SetupTrust, ToolError, ToolLocations, Toolchain, Versions,
    contract::{Flavor, Verifier},
};
use edgeprove_groth16::{R1csInfo, VerifyingKey};
use edgeprove_protocol::Target;
use edgeprove_templates::{Catalogue, Instance, Language, Template};
use edgeprove_testkit::{bb, paths, processes, wait};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

use crate::support::{Fixture, node, processes_below};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn locations() -> ToolLocations {
    let circuit = repository().join("circuit");
    let circom = circuit.join("circom");
    for packages in [circuit.join("node_modules"), circom.join("node_modules")] {
        assert!(
            packages.is_dir(),
            "{} does not exist: run `cargo xtask setup --only circom`",
            packages.display()
        );
    }
    ToolLocations { node: node(), noir: circuit, circom, bb: paths::bb() }
}

/// Builds without contracts, which take seconds.
pub(crate) async fn builder(sandbox: &Sandbox, limits: BuildLimits) -> Builder {
    builder_of_contracts(sandbox, limits).await.without_contracts()
}

async fn builder_of_contracts(sandbox: &Sandbox, limits: BuildLimits) -> Builder {
    let toolchain = Toolchain::find(locations(), Versions::pinned(), sandbox).await.unwrap();
    Builder::new(sandbox.clone(), toolchain, limits, NonZeroUsize::new(2).unwrap()).unwrap()
}

/// Builds without a limit that anything reaches.
pub(crate) async fn build(
    builder: &Builder,
    instance: &Instance,
    noir: &dyn NoirBackend,
) -> Result<BuiltCircuit, BuildError> {
    let deadline = Instant::now() + wait::LIMIT;
    builder.build(instance, noir, &BuildContext { on_stage: &|_| {}, deadline }).await
}

pub(crate) fn instance(name: &str, language: Language) -> Instance {
    let catalogue = Catalogue::embedded().unwrap();
    Instance::sample(catalogue.find(name, Some(language)).unwrap()).unwrap()
}

/// The sample of the range check with a change in one of its files, of whatever size that makes it.
fn changed(language: Language, file: &str, from: &str, to: &str) -> Instance {
    changed_template("rangeCheck", language, file, from, to)
}

fn changed_template(name: &str, language: Language, file: &str, from: &str, to: &str) -> Instance {
    let folder = repository().join("circuit").join(language.as_str()).join("templates").join(name);
    let mut files: BTreeMap<String, String> = instance(name, language).template().sources().clone();
    files.insert(String::from("template.json"), fs::read_to_string(folder.join("template.json")).unwrap());
    let text = files.get_mut(file).unwrap();
    assert!(text.contains(from), "{text}");
    *text = text.replace(from, to);
    let description = files.get_mut("template.json").unwrap();
    *description = description.replace(r#""size": { "constraints": 193 }"#, r#""size": {}"#);
    let template = Template::read(&format!("{language}/templates/{name}"), files).unwrap();
    Instance::sample(&Arc::new(template)).unwrap()
}

/// Noir's own solver and the unmodified bb.
struct RealNoir;

struct RealProver {
    folder: tempfile::TempDir,
}

#[async_trait]
impl NoirBackend for RealNoir {
    async fn load(&self, program: &Artifact) -> Result<Box<dyn NoirProver>, GateError> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("circuit.json"), program.bytes()).unwrap();
        Ok(Box::new(RealProver { folder }))
    }
}

impl RealProver {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl RealProver {
    fn prove_for(&self, target: Target, inputs: &Map<String, Value>) -> Result<SampleProof, SampleError> {
        let noir = repository().join("circuit/noir.mjs");
        let script = format!(
            "import {{ readFile, writeFile }} from 'node:fs/promises';
             import {{ execute }} from '{}';
             const [program, inputs, witness] = process.argv.slice(1);
             const circuit = JSON.parse(await readFile(program, 'utf8'));
             await writeFile(witness, await execute(circuit, JSON.parse(inputs)));",
            noir.display()
        );
        let (circuit, witness) = (self.path("circuit.json"), self.path("witness.gz"));
        let mut execute = Command::new(node());
        execute.args(["--input-type=module", "-e", &script]).arg(&circuit);
        execute.arg(Value::from(inputs.clone()).to_string()).arg(&witness);
        let output = processes::run(&mut execute, wait::LIMIT);
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(if message.contains("Circuit execution failed") {
                SampleError::Refused(message)
            } else if message.contains("does not match the specified type") {
                SampleError::OutsideType(message)
            } else {
                SampleError::Failed(message.into())
            });
        }
        let out = self.path("proof");
        let mut prove = Command::new(paths::bb());
        prove.arg("prove").arg("-b").arg(&circuit).arg("-w").arg(&witness);
        prove.arg("-o").arg(&out).arg("-c").arg(paths::crs()).arg("--write_vk");
        prove.args(["-t", target.as_str()]);
        let output = processes::run(&mut prove, wait::LIMIT);
        assert!(output.status.success(), "{output:?}");
        let read = |name: &str| fs::read(out.join(name)).unwrap();
        Ok(SampleProof { proof: read("proof"), public_inputs: read("public_inputs") })
    }
}

#[async_trait]
impl NoirProver for RealProver {
    async fn contract_key(&self) -> Result<Vec<u8>, SampleError> {
        let mut write = Command::new(paths::bb());
        write.args(["write_vk", "-t", "evm", "-b"]).arg(self.path("circuit.json"));
        write.arg("-o").arg(self.path("key")).arg("-c").arg(paths::crs());
        let output = processes::run(&mut write, wait::LIMIT);
        assert!(output.status.success(), "{output:?}");
        Ok(fs::read(self.path("key").join("vk")).unwrap())
    }

    async fn prove_for_contract(&self, inputs: &Map<String, Value>) -> Result<SampleProof, SampleError> {
        self.prove_for(Target::Evm, inputs)
    }
}

#[async_trait]
impl SampleProver for RealProver {
    async fn prove(&self, inputs: &Map<String, Value>) -> Result<SampleProof, SampleError> {
        self.prove_for(Target::NoirRecursive, inputs)
    }

    async fn verify(&self, proof: &SampleProof) -> Result<bool, SampleError> {
        let circuit = self.path("circuit.json");
        Ok(bb::verifies(&circuit, Target::NoirRecursive, &proof.proof, &proof.public_inputs))
    }

    fn public_values(&self, proof: &SampleProof) -> Result<Vec<String>, SampleError> {
        Ok(proof.public_inputs.chunks(32).map(|word| format!("0x{}", hex::encode(word))).collect())
    }

    fn tampered(&self, proof: &SampleProof) -> Vec<SampleProof> {
        let mut other = proof.clone();
        let middle = other.proof.len() / 2;
        other.proof[middle] ^= 1;
        let mut tampered = vec![other];
        for input in 0..proof.public_inputs.len() / 32 {
            let mut changed = proof.clone();
            changed.public_inputs[input * 32 + 31] ^= 1;
            tampered.push(changed);
        }
        tampered
    }
}

/// Fails a build of another language that asks for Noir.
pub(crate) struct NoNoir;

#[async_trait]
impl NoirBackend for NoNoir {
    async fn load(&self, _program: &Artifact) -> Result<Box<dyn NoirProver>, GateError> {
        panic!("no program of Noir is expected");
    }
}

fn digests(artifacts: &[Artifact]) -> BTreeMap<&'static str, [u8; 32]> {
    artifacts.iter().map(|artifact| (artifact.name(), *artifact.sha256())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_range_check_is_built_in_circom() {
    let fixture = Fixture::new().await;
    let builder = builder_of_contracts(&fixture.sandbox, BuildLimits::default()).await;
    let instance = instance("rangeCheck", Language::Circom);
    let built = build(&builder, &instance, &NoNoir).await.unwrap();
    assert_eq!((built.trust, built.isolation), (Some(SetupTrust::Local), fixture.sandbox.isolation()));
    let names: Vec<_> = built.artifacts.iter().map(Artifact::name).collect();
    let expected = [
        "circuit.r1cs",
        "circuit.wasm",
        "circuit.sym",
        "circuit.zkey",
        "verification_key.json",
        "verifier.sol",
        "verifier.json",
    ];
    assert_eq!(names, expected);
    for artifact in &built.artifacts {
        assert_eq!(artifact.sha256()[..], Sha256::digest(artifact.bytes())[..], "{artifact:?}");
    }
    let bytes = |name| built.artifact(name).unwrap().bytes();
    let info = R1csInfo::read(bytes("circuit.r1cs")).unwrap();
    assert_eq!(Some(u64::from(info.constraints)), instance.template().size().constraints);
    assert_eq!(VerifyingKey::from_json(bytes("verification_key.json")).unwrap().public_signals(), 1);
    assert!(str::from_utf8(bytes("verifier.sol")).unwrap().contains("contract Groth16Verifier"));
    let verifier = verifier(&built, Flavor::Groth16);
    assert_eq!(verifier.contracts.len(), 1);
    assert!((200_000..250_000).contains(&verifier.gas.verify), "{:?}", verifier.gas);

    // A proof for another key is none for this contract.
    let no_call = builder.call_verifier(bytes("verifier.json").to_vec(), vec![1, 2, 3, 4]).await.unwrap();
    assert!(!no_call);

    // Another build has the same circuit and other keys.
    let builder = builder.without_contracts();
    let again = build(&builder, &instance, &NoNoir).await.unwrap();
    assert_eq!(again.contract.gas, Err(NotDeployable::NotMade));
    assert!(again.artifact("verifier.json").is_none());
    let (first, second) = (digests(&built.artifacts), digests(&again.artifacts));
    for name in ["circuit.r1cs", "circuit.wasm", "circuit.sym"] {
        assert_eq!(first[name], second[name], "{name}");
    }
    assert_ne!(first["circuit.zkey"], second["circuit.zkey"]);
    fixture.assert_nothing_is_left();
}

/// The file that deploys the contract of a circuit.
fn verifier(built: &BuiltCircuit, flavor: Flavor) -> Verifier {
    let verifier: Verifier =
        serde_json::from_slice(built.artifact("verifier.json").unwrap().bytes()).unwrap();
    assert_eq!((built.contract.flavor, verifier.flavor), (flavor, flavor));
    assert_eq!((verifier.contract.as_str(), verifier.audited), (flavor.contract(), false));
    assert_eq!(verifier.compiler, format!("solc {}", Versions::pinned().solc));
    assert_eq!(built.contract.gas, Ok(verifier.gas));
    let deployed: Vec<_> = verifier.contracts.iter().map(|contract| contract.name.as_str()).collect();
    assert_eq!(deployed.last(), Some(&flavor.contract()));
    for (index, contract) in verifier.contracts.iter().enumerate() {
        let mut code = contract.creation_code.clone();
        for link in &contract.links {
            assert!(deployed[..index].contains(&link.library.as_str()), "{link:?} is deployed before");
            code.replace_range(2 * link.start..2 * link.start + 40, &"0".repeat(40));
        }
        assert!(hex::decode(&code).is_ok(), "{} has further positions of addresses", contract.name);
    }
    verifier
}

#[tokio::test(flavor = "multi_thread")]
async fn the_range_check_is_built_in_noir() {
    let fixture = Fixture::new().await;
    let builder = builder_of_contracts(&fixture.sandbox, BuildLimits::default()).await;
    let built = build(&builder, &instance("rangeCheck", Language::Noir), &RealNoir).await.unwrap();
    assert_eq!(built.trust, None);
    let [program, source, _] = built.artifacts.as_slice() else { panic!("{built:?}") };
    assert_eq!((program.name(), source.name()), ("circuit.json", "verifier.sol"));
    assert!(str::from_utf8(source.bytes()).unwrap().contains("contract HonkVerifier"));
    let verifier = verifier(&built, Flavor::HonkZk);
    assert_eq!(verifier.license.as_deref(), Some("Apache-2.0"));
    assert_eq!(verifier.contracts.len(), 3);
    assert!((2_000_000..5_000_000).contains(&verifier.gas.verify), "{:?}", verifier.gas);
    assert!((5_000_000..10_000_000).contains(&verifier.gas.deploy), "{:?}", verifier.gas);
    let text = str::from_utf8(program.bytes()).unwrap();
    // Nothing in it depends on the folder of the build.
    assert!(!text.contains(&fixture.spool.path().display().to_string()), "{text}");
    let builder = builder.without_contracts();
    let again = build(&builder, &instance("rangeCheck", Language::Noir), &RealNoir).await.unwrap();
    assert!(again.artifacts[0].bytes() == program.bytes(), "another build has other bytes");
    fixture.assert_nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compilers_message_has_no_paths() {
    let fixture = Fixture::new().await;
    let builder = builder(&fixture.sandbox, BuildLimits::default()).await;
    let broken = [
        (
            changed(Language::Circom, "template.circom", "context * context", "nothing * context"),
            "template.circom",
        ),
        (changed(Language::Circom, "template.circom", "bitify.circom", "missing.circom"), "missing.circom"),
        (changed(Language::Noir, "src/main.nr", "fn main(", "fn main(nothing: Nothing, "), "src/main.nr"),
    ];
    let (spool, repository) =
        (fixture.spool.path().display().to_string(), repository().display().to_string());
    for (instance, named) in broken {
        let error = build(&builder, &instance, &NoNoir).await.unwrap_err();
        let BuildError::Tool(ToolError::Failed { message, .. }) = &error else { panic!("{error:?}") };
        assert!(message.contains(named), "{message}");
        assert!(!message.contains(&spool) && !message.contains(&repository), "{message}");
        assert!(!message.contains('\u{1b}'), "{message:?}");
    }
    fixture.assert_nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circuit_that_proves_too_much_is_not_published() {
    let fixture = Fixture::new().await;
    let builder = builder(&fixture.sandbox, BuildLimits::default()).await;
    // Without the upper bound.
    let lax = changed(Language::Circom, "template.circom", "isNotAbove.out === 1;", "");
    let error = build(&builder, &lax, &NoNoir).await.unwrap_err();
    assert!(matches!(error, BuildError::Gate(GateError::RefusedAccepted { .. })), "{error}");
    // No number is below zero.
    let strict =
        changed(Language::Circom, "template.circom", "isNotAbove.out === 1;", "isNotAbove.out === 0;");
    let error = build(&builder, &strict, &NoNoir).await.unwrap_err();
    assert!(matches!(error, BuildError::Gate(GateError::AcceptedRefused { .. })), "{error}");
    // Another public input than the template states.
    let output = changed(
        Language::Circom,
        "template.circom",
        "signal input context;",
        "signal input context; signal output other; other <== context;",
    );
    let error = build(&builder, &output, &NoNoir).await.unwrap_err();
    assert!(matches!(error, BuildError::DiffersFromTemplate(_)), "{error}");
    fixture.assert_nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_is_no_constraint() {
    let fixture = Fixture::new().await;
    let builder = builder(&fixture.sandbox, BuildLimits::default()).await;
    // The witness program refuses the sample, and anybody can compute another witness.
    let asserted =
        changed(Language::Circom, "template.circom", "isNotAbove.out === 1;", "assert(isNotAbove.out == 1);");
    let error = build(&builder, &asserted, &NoNoir).await.unwrap_err();
    let BuildError::Gate(GateError::RefusedAccepted { sample }) = &error else { panic!("{error:?}") };
    assert_eq!(sample, "one above the largest number");
    assert_eq!(error.fate(), Fate::Permanent);
    fixture.assert_nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn public_inputs_have_the_templates_names_and_order() {
    let fixture = Fixture::new().await;
    let builder = builder(&fixture.sandbox, BuildLimits::default()).await;
    let swapped = changed_template(
        "rangeCheckPublic",
        Language::Circom,
        "template.circom",
        "signal input min;\n    signal input max;",
        "signal input max;\n    signal input min;",
    );
    let error = build(&builder, &swapped, &NoNoir).await.unwrap_err();
    let BuildError::DiffersFromTemplate(reason) = &error else { panic!("{error:?}") };
    assert!(reason.contains(r#"["max", "min", "context"]"#), "{reason}");
    let right = instance("rangeCheckPublic", Language::Circom);
    build(&builder, &right, &NoNoir).await.unwrap();
    fixture.assert_nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circuit_has_the_size_that_its_template_states() {
    let fixture = Fixture::new().await;
    let builder = builder(&fixture.sandbox, BuildLimits::default()).await;
    let stated = r#""size": { "constraints": 193 }"#;
    let other = changed(Language::Circom, "template.json", stated, r#""size": { "constraints": 192 }"#);
    let error = build(&builder, &other, &NoNoir).await.unwrap_err();
    assert!(matches!(error, BuildError::DiffersFromTemplate(_)), "{error}");
    fixture.assert_nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_a_build_hold() {
    let fixture = Fixture::new().await;
    let circom = instance("rangeCheck", Language::Circom);
    let few = BuildLimits { constraints: 100, ..BuildLimits::default() };
    let error = build(&builder(&fixture.sandbox, few).await, &circom, &NoNoir).await.unwrap_err();
    assert!(matches!(error, BuildError::TooLarge { found: 193, limit: 100, .. }), "{error}");

    let narrow = BuildLimits { wires: 100, ..BuildLimits::default() };
    let error = build(&builder(&fixture.sandbox, narrow).await, &circom, &NoNoir).await.unwrap_err();
    assert!(matches!(error, BuildError::TooLarge { what: "wires", limit: 100, .. }), "{error}");

    let small = BuildLimits { artifact_bytes: 100, ..BuildLimits::default() };
    let error = build(&builder(&fixture.sandbox, small).await, &circom, &NoNoir).await.unwrap_err();
    assert!(matches!(error, BuildError::Tool(ToolError::NoResult { .. })), "{error}");

    // A template that the compiler would work on for ever.
    let compiler = Limits { time: Duration::from_secs(3), ..Limits::default() };
    let endless = changed(
        Language::Circom,
        "template.circom",
        "signal input value;",
        "signal input value; var endless = 1; while (endless > 0) { endless += 1; }",
    );
    let short = BuildLimits { compiler, ..BuildLimits::default() };
    let error = build(&builder(&fixture.sandbox, short).await, &endless, &NoNoir).await.unwrap_err();
    assert!(matches!(error, BuildError::Tool(ToolError::TimedOut { .. })), "{error}");
    fixture.assert_nothing_is_left();
}

/// Waits for ever, when a build needs it.
struct EndlessNoir(Notify);

#[async_trait]
impl NoirBackend for EndlessNoir {
    async fn load(&self, _program: &Artifact) -> Result<Box<dyn NoirProver>, GateError> {
        self.0.notify_one();
        std::future::pending().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_take_turns_and_end_at_their_deadline() {
    let fixture = Fixture::new().await;
    let builder = builder(&fixture.sandbox, BuildLimits::default()).await;
    let circom = instance("rangeCheck", Language::Circom);
    let stages = Mutex::new(Vec::new());
    let on_stage = |stage: BuildStage| stages.lock().unwrap().push(stage);
    let context = |deadline| BuildContext { on_stage: &on_stage, deadline };
    let endless = EndlessNoir(Notify::new());
    {
        let noir = instance("rangeCheck", Language::Noir);
        let mut first = pin!(build(&builder, &noir, &endless));
        tokio::select! {
            built = &mut first => panic!("{built:?}"),
            () = endless.0.notified() => {}
        }
        // The first one has the turn for as long as its future lives.
        let soon = Instant::now() + Duration::from_millis(300);
        let error = builder.build(&circom, &NoNoir, &context(soon)).await.unwrap_err();
        assert!(matches!(error, BuildError::TimedOut), "{error}");
        assert_eq!(error.fate(), Fate::Temporary);
        assert!(stages.lock().unwrap().is_empty());
    }
    builder.build(&circom, &NoNoir, &context(Instant::now() + wait::LIMIT)).await.unwrap();
    let expected = [BuildStage::Compiling, BuildStage::MakingKeys, BuildStage::Checking];
    assert_eq!(*stages.lock().unwrap(), expected);
    fixture.assert_nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_is_cancelled_in_its_setup_ends() {
    let fixture = Fixture::new().await;
    let builder = builder(&fixture.sandbox, BuildLimits::default()).await;
    let circom = instance("rangeCheckPublic", Language::Circom);
    let making_keys = Notify::new();
    let on_stage = |stage: BuildStage| {
        if stage == BuildStage::MakingKeys {
            making_keys.notify_one();
        }
    };
    let context = BuildContext { on_stage: &on_stage, deadline: Instant::now() + wait::LIMIT };
    tokio::select! {
        built = builder.build(&circom, &NoNoir, &context) => panic!("{built:?}"),
        () = making_keys.notified() => {}
    }
    build(&builder, &circom, &NoNoir).await.unwrap();
    fixture.assert_nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_build_leaves_nothing() {
    let fixture = Fixture::new().await;
    let builder = builder(&fixture.sandbox, BuildLimits::default()).await;
    let noir = instance("rangeCheck", Language::Noir);
    let path = fixture.spool.path().to_owned();
    let started = tokio::task::spawn_blocking(move || {
        wait::eventually("the compiler runs", || (!processes_below(&path).is_empty()).then_some(()));
    });
    tokio::select! {
        built = build(&builder, &noir, &NoNoir) => panic!("{built:?}"),
        started = started => started.unwrap(),
    }
    fixture.assert_nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_of_another_version_is_an_error() {
    let fixture = Fixture::new().await;
    let find = async |locations, versions| {
        Toolchain::find(locations, versions, &fixture.sandbox).await.map(drop).unwrap_err()
    };
    let other = String::from("0.0.1");
    for wrong in [
        Versions { noir: other.clone(), ..Versions::pinned() },
        Versions { circom2: other.clone(), ..Versions::pinned() },
        Versions { circomlib: other.clone(), ..Versions::pinned() },
        Versions { solc: other.clone(), ..Versions::pinned() },
        Versions { evm: other.clone(), ..Versions::pinned() },
        Versions { node_major_min: 10_000, ..Versions::pinned() },
    ] {
        let error = find(locations(), wrong).await;
        assert!(matches!(error, ToolError::WrongVersion { .. }), "{error}");
    }
    let nowhere = fixture.spool.path().join("nowhere");
    for missing in [
        ToolLocations { node: nowhere.clone(), ..locations() },
        ToolLocations { noir: nowhere.clone(), ..locations() },
        ToolLocations { circom: nowhere.clone(), ..locations() },
        ToolLocations { bb: nowhere, ..locations() },
    ] {
        let error = find(missing, Versions::pinned()).await;
        assert!(matches!(error, ToolError::NotFound { .. }), "{error}");
        assert!(!error.to_string().contains("nowhere"), "{error}");
    }

    Toolchain::find(locations(), Versions::pinned(), &fixture.sandbox).await.unwrap();
}
