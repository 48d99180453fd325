//! circom's circuits: compiled, and keys, proofs and contract made here.

use std::{
    fs, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use async_trait::async_trait;
use edgeprove_circom_witness::{
    Circuit, CircuitException, ExceptionKind, InputError, Inputs, Limits, WitnessError,
};
use edgeprove_groth16::{
    PreparedVerifyingKey, Proof, ProvingKey, PublicSignals, R1cs, R1csInfo, Threads, Trust, VerifyingKey,
    WitnessValues, setup::setup_cancellable, setup_from_powers, verifier_contract,
};
use edgeprove_telemetry::PRIVATE_VALUES_THREAD;
use edgeprove_templates::{Instance, template::Input};
use serde_json::{Map, Value};

use super::{
    BuildContext, BuildError, BuildLimits, BuildStage, Builder, Turn,
    contract::{ContractFiles, Origin, SampleCalls},
};
use crate::{
    artifact::Artifact,
    contract::{Flavor, NotDeployable},
    gate::{self, ProvedSample, SampleError, SampleProof, SampleProver},
    workspace::Workspace,
};

/// The file with the main component.
const MAIN: &str = "main.circom";
/// The folder of libraries.
const LIBRARIES: &str = "lib";
/// circomlib's circuits, as templates include them, in that folder.
const CIRCOMLIB: &str = "lib/circomlib/circuits";
/// The folder for results.
const RESULTS: &str = "out";
/// The results: constraints, witness program, and names of signals.
const COMPILED: [&str; 3] = ["out/main.r1cs", "out/main_js/main.wasm", "out/main.sym"];

/// Address space of a stack of the setup: more than the C library stores for later threads, so that it goes back to the
/// system when its thread ends.
const STACK_BYTES: usize = 64 << 20;

impl Builder {
    pub(super) async fn build_circom(
        &self,
        turn: &Turn,
        instance: &Instance,
        context: &BuildContext<'_>,
    ) -> Result<(Vec<Artifact>, ContractFiles), BuildError> {
        let circomlib = self.toolchain.circomlib();
        let prepare = move |workspace: &Workspace| {
            copy_circuits(&circomlib, workspace)?;
            workspace.create_folder(RESULTS)
        };
        let workspace = self.write_sources(turn, instance, prepare).await?;
        let tool = self.toolchain.compile_circom(MAIN, LIBRARIES, RESULTS);
        let [r1cs, wasm, sym] = self.compile(turn, tool, workspace, COMPILED).await?;

        (context.on_stage)(BuildStage::MakingKeys);
        let (builder, held, checked) = (self.clone(), turn.clone(), instance.clone());
        let make = move |is_cancelled: &AtomicBool| {
            check(&r1cs, &sym, &checked, &builder.limits)?;
            builder.make_keys([r1cs, wasm, sym], held, is_cancelled)
        };
        let (artifacts, prover) = turn.blocking(make).await??;
        (context.on_stage)(BuildStage::Checking);
        let sample = gate::check(&prover, instance).await?;
        let contract = if self.makes_contracts {
            self.circom_contract(turn, &prover, sample).await?
        } else {
            ContractFiles::none(Flavor::Groth16, NotDeployable::NotMade)
        };
        Ok((artifacts, contract))
    }

    async fn circom_contract(
        &self,
        turn: &Turn,
        prover: &CircomProver,
        ProvedSample { sample, proof }: ProvedSample,
    ) -> Result<ContractFiles, BuildError> {
        let Ok(source) = verifier_contract(prover.parts.key.verifying_key()) else {
            return Ok(ContractFiles::none(Flavor::Groth16, NotDeployable::NoPublicInputs));
        };
        let calls = SampleCalls::new(sample.name.clone(), &proof, prover, calldata)
            .map_err(|error| gate::failure(error, &sample.name))?;
        self.make_contract(turn, Flavor::Groth16, Origin::Source(source), calls).await
    }

    /// Makes the keys and everything that follows from them. Blocking.
    fn make_keys(
        &self,
        [r1cs, wasm, sym]: [Vec<u8>; 3],
        turn: Turn,
        is_cancelled: &AtomicBool,
    ) -> Result<(Vec<Artifact>, CircomProver), BuildError> {
        let constraints = R1cs::read(&r1cs)?;
        let zkey = self.set_up(&constraints, is_cancelled)?;
        let key = ProvingKey::read(&zkey, Trust::OwnSetup, &self.threads)?;
        proceed(is_cancelled)?;
        let verification_key = key.verifying_key().to_json();
        // What verifies is read from what is published.
        let published = VerifyingKey::from_json(verification_key.as_bytes())
            .map_err(|error| BuildError::DiffersFromTemplate(error.to_string()))?;
        let program = Circuit::compile(&self.engine, &wasm, Limits::default())?;
        proceed(is_cancelled)?;
        let program_without_assertions =
            Circuit::compile_without_assertions(&self.engine, &wasm, Limits::default())?;
        proceed(is_cancelled)?;
        let parts = Parts {
            program,
            program_without_assertions,
            constraints,
            key,
            published: published.prepare(),
            threads: self.threads.clone(),
        };
        let artifacts = vec![
            Artifact::new("circuit.r1cs", r1cs),
            Artifact::new("circuit.wasm", wasm),
            Artifact::new("circuit.sym", sym),
            Artifact::new("circuit.zkey", zkey),
            Artifact::new("verification_key.json", verification_key),
        ];
        Ok((artifacts, CircomProver { parts: Arc::new(parts), turn }))
    }

    /// Makes the key on threads of its own, which end with it: who finds its random numbers on a stack could prove anything.
    fn set_up(&self, constraints: &R1cs, is_cancelled: &AtomicBool) -> Result<Vec<u8>, BuildError> {
        let run = |threads: &Threads| match &self.powers {
            Some(powers) => setup_from_powers(constraints, powers.file(), threads, is_cancelled),
            None => setup_cancellable(constraints, threads, is_cancelled),
        };
        let run = || Threads::with_new(self.width, PRIVATE_VALUES_THREAD, STACK_BYTES, run);
        let named = thread::Builder::new().name(PRIVATE_VALUES_THREAD.to_owned()).stack_size(STACK_BYTES);
        let joined = thread::scope(|scope| Ok(named.spawn_scoped(scope, run)?.join()));
        let made = joined.map_err(BuildError::NoThread)?.map_err(|_| BuildError::Panicked)?;
        Ok(made.map_err(|error| BuildError::NoThread(io::Error::other(error)))??)
    }
}

/// Ends a build that was cancelled.
fn proceed(is_cancelled: &AtomicBool) -> Result<(), BuildError> {
    if is_cancelled.load(Ordering::Relaxed) { Err(BuildError::Interrupted) } else { Ok(()) }
}

/// Copies circomlib's circuits. The compiler follows no link out of its working folder.
fn copy_circuits(circomlib: &Path, workspace: &Workspace) -> io::Result<()> {
    for entry in fs::read_dir(circomlib)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| name.ends_with(".circom")) else { continue };
        workspace.write(&format!("{CIRCOMLIB}/{name}"), &fs::read(entry.path())?)?;
    }
    Ok(())
}

/// Compares the compiled circuit with its template and the limits.
fn check(r1cs: &[u8], sym: &[u8], instance: &Instance, limits: &BuildLimits) -> Result<(), BuildError> {
    let info = R1csInfo::read(r1cs)?;
    let sizes = [("constraints", info.constraints, limits.constraints), ("wires", info.wires, limits.wires)];
    for (what, found, limit) in sizes {
        if found > limit {
            return Err(BuildError::TooLarge { what, found, limit });
        }
    }
    let differs = |reason: String| Err(BuildError::DiffersFromTemplate(reason));
    if info.public_outputs > 0 {
        let found = info.public_outputs;
        return differs(format!("it has {found} public outputs, and a template has none"));
    }
    let template = instance.template();
    let expected: Vec<&str> =
        template.public_inputs().iter().map(|Input { name, .. }| name.as_str()).collect();
    let found = public_names(sym, info.public_signals());
    if found != expected {
        return differs(format!("its public inputs are {found:?}, and the template states {expected:?}"));
    }
    // The stated size is the one with the sample parameters.
    let is_sample =
        Instance::sample(template).is_ok_and(|sample| sample.parameters() == instance.parameters());
    match template.size().constraints {
        Some(stated) if is_sample && stated != u64::from(info.constraints) => {
            let found = info.constraints;
            differs(format!("it has {found} constraints, and the template states {stated}"))
        }
        _ => Ok(()),
    }
}

/// The names of the public signals, from a `.sym` file: one line for each signal, with its label, wire, component and name.
/// An array is named once. An element of which the file has no name is "?".
fn public_names(sym: &[u8], public_signals: u32) -> Vec<&str> {
    let lines = str::from_utf8(sym).unwrap_or_default().lines();
    let signals: Vec<(&str, &str)> = lines
        .filter_map(|line| {
            let mut fields = line.splitn(4, ',').skip(1);
            let (wire, name) = (fields.next()?, fields.nth(1)?);
            Some((wire, name.strip_prefix("main.")?))
        })
        // The signals of the main component come first, as far as the last public one.
        .take_while(|(_, name)| !name.contains('.'))
        .collect();
    let mut names = Vec::new();
    for wire in 1..=public_signals {
        let wire = wire.to_string();
        let found = signals.iter().find(|(of, _)| *of == wire).map_or("?", |(_, name)| name);
        let name = found.split('[').next().unwrap_or(found);
        if names.last() != Some(&name) {
            names.push(name);
        }
    }
    names
}

/// A circuit with its keys. Proofs are JSON in snarkjs's shapes.
struct CircomProver {
    parts: Arc<Parts>,
    turn: Turn,
}

struct Parts {
    program: Circuit,
    /// The same without its assertions.
    program_without_assertions: Circuit,
    constraints: R1cs,
    key: ProvingKey,
    published: PreparedVerifyingKey,
    threads: Threads,
}

impl CircomProver {
    /// Runs a computation that is too long for an async thread.
    async fn run<T: Send + 'static>(
        &self,
        compute: impl FnOnce(&Parts, &Arc<AtomicBool>) -> Result<T, SampleError> + Send + 'static,
    ) -> Result<T, SampleError> {
        let (parts, flag) = (Arc::clone(&self.parts), Arc::clone(&self.turn.is_cancelled));
        self.turn.blocking(move |_| compute(&parts, &flag)).await.map_err(failed)?
    }
}

#[async_trait]
impl SampleProver for CircomProver {
    async fn prove(&self, inputs: &Map<String, Value>) -> Result<SampleProof, SampleError> {
        let inputs = serde_json::to_vec(inputs).map_err(failed)?;
        self.run(move |parts, is_cancelled| parts.prove(&inputs, is_cancelled)).await
    }

    async fn prove_refused(&self, inputs: &Map<String, Value>) -> Result<SampleProof, SampleError> {
        let inputs = serde_json::to_vec(inputs).map_err(failed)?;
        self.run(move |parts, is_cancelled| parts.prove_past_assertions(&inputs, is_cancelled)).await
    }

    fn public_values(&self, proof: &SampleProof) -> Result<Vec<String>, SampleError> {
        Ok(PublicSignals::from_json(&proof.public_inputs).map_err(failed)?.to_decimals())
    }

    async fn verify(&self, proof: &SampleProof) -> Result<bool, SampleError> {
        let proof = proof.clone();
        let verify = move |parts: &Parts, _: &Arc<AtomicBool>| {
            let (proof, signals) = read(&proof)?;
            Ok(parts.published.verify(&proof, &signals))
        };
        self.run(verify).await
    }

    fn tampered(&self, proof: &SampleProof) -> Vec<SampleProof> {
        let Ok(mut points) = serde_json::from_slice::<Map<String, Value>>(&proof.proof) else {
            return Vec::new();
        };
        let Ok(signals) = serde_json::from_slice::<Vec<String>>(&proof.public_inputs) else {
            return Vec::new();
        };
        // Both are points of the same curve, so that the proof can still be read.
        if let (Some(a), Some(c)) = (points.remove("pi_a"), points.remove("pi_c")) {
            points.insert(String::from("pi_a"), c);
            points.insert(String::from("pi_c"), a);
        }
        let mut tampered =
            vec![SampleProof { proof: Value::from(points).to_string().into(), ..proof.clone() }];
        for index in 0..signals.len() {
            let mut signals = signals.clone();
            signals[index] = String::from(if signals[index] == "3" { "4" } else { "3" });
            let public_inputs = Value::from(signals).to_string().into();
            tampered.push(SampleProof { public_inputs, ..proof.clone() });
        }
        tampered
    }
}

impl Parts {
    /// Proves as callers do. The program without assertions must compute the same witness, so that it can be trusted where
    /// an assertion fails.
    fn prove(&self, inputs: &[u8], is_cancelled: &Arc<AtomicBool>) -> Result<SampleProof, SampleError> {
        let inputs = parse(inputs)?;
        let compute = |program: &Circuit| program.compute(&inputs, Some(Arc::clone(is_cancelled)));
        let witness = compute(&self.program).map_err(refused_or_failed)?;
        let other = compute(&self.program_without_assertions).map_err(failed)?;
        if witness.wtns() != other.wtns() {
            return Err(SampleError::Failed(
                "the program without assertions computes another witness".into(),
            ));
        }
        self.prove_witness(witness.wtns(), is_cancelled)
    }

    /// Proves with the witness that the program computes without its assertions, if it satisfies the constraints.
    fn prove_past_assertions(
        &self,
        inputs: &[u8],
        is_cancelled: &Arc<AtomicBool>,
    ) -> Result<SampleProof, SampleError> {
        let inputs = parse(inputs)?;
        let witness = self.program_without_assertions.compute(&inputs, Some(Arc::clone(is_cancelled)));
        self.prove_witness(witness.map_err(failed)?.wtns(), is_cancelled)
    }

    fn prove_witness(&self, wtns: &[u8], is_cancelled: &AtomicBool) -> Result<SampleProof, SampleError> {
        let witness = WitnessValues::read(wtns).map_err(failed)?;
        if u32::try_from(witness.len()) != Ok(self.constraints.info().wires) {
            return Err(SampleError::Failed("the witness is one of another circuit".into()));
        }
        if let Some(constraint) = self.constraints.first_unsatisfied(&witness) {
            return Err(SampleError::Refused(format!("constraint {constraint} is not satisfied")));
        }
        let proved = self.key.prove_unverified(&witness, &self.threads, is_cancelled).map_err(failed)?;
        Ok(SampleProof {
            proof: proved.proof.to_json().into(),
            public_inputs: proved.signals.to_json().into(),
        })
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> SampleError {
    SampleError::Failed(Box::new(error))
}

fn read(proof: &SampleProof) -> Result<(Proof, PublicSignals), SampleError> {
    let signals = PublicSignals::from_json(&proof.public_inputs).map_err(failed)?;
    Ok((Proof::from_json(&proof.proof).map_err(failed)?, signals))
}

/// The call of a verifier contract with a proof.
fn calldata(proof: &SampleProof) -> Result<Vec<u8>, SampleError> {
    let (proof, signals) = read(proof)?;
    Ok(proof.calldata(&signals))
}

/// Only a value that no signal can have is refused here. Everything else is a fault of the sample.
fn parse(inputs: &[u8]) -> Result<Inputs, SampleError> {
    Inputs::parse(inputs).map_err(|error| match error {
        InputError::NotBelowModulus { .. } => SampleError::OutsideType(error.to_string()),
        other => failed(other),
    })
}

/// Only an assertion refuses inputs. Other exceptions show nothing about them.
fn refused_or_failed(error: WitnessError) -> SampleError {
    match error {
        WitnessError::Exception(CircuitException { kind: ExceptionKind::AssertFailed, .. }) => {
            SampleError::Refused(error.to_string())
        }
        other => failed(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_public_signals_are_read() {
        let sym = b"1,1,5,main.grid[0][0]\n2,2,5,main.grid[0][1]\n3,3,5,main.context\n4,4,5,main.value\n\
            5,-1,0,main.bits.out[0]\n6,5,0,main.bits.context\n";
        assert_eq!(public_names(sym, 3), ["grid", "context"]);
        assert_eq!(public_names(sym, 4), ["grid", "context", "value"]);
        assert_eq!(public_names(sym, 5), ["grid", "context", "value", "?"]);
        assert_eq!(public_names(b"1,1,0,main.a\nrubbish\n", 2), ["a", "?"]);
        assert!(public_names(sym, 0).is_empty());
    }

    #[test]
    fn only_an_assertion_refuses_inputs() {
        let exception = |kind| WitnessError::Exception(CircuitException { kind, locations: Vec::new() });
        let refuses = |error| matches!(refused_or_failed(error), SampleError::Refused(_));
        assert!(refuses(exception(ExceptionKind::AssertFailed)));
        for kind in [ExceptionKind::OutOfMemory, ExceptionKind::SignalNotFound, ExceptionKind::Unknown] {
            assert!(!refuses(exception(kind)), "{kind:?}");
        }
        assert!(!refuses(InputError::Missing { expected: 2, given: 1 }.into()));
        let outside =
            br#"{"a": "21888242871839275222246405745257275088548364400416034343698204186575808495617"}"#;
        assert!(matches!(parse(outside), Err(SampleError::OutsideType(_))));
        assert!(matches!(parse(br#"{"a": 1.5}"#), Err(SampleError::Failed(_))));
    }
}
