//! circom's circuits: compiled, and keys, proofs and contract made here.

use std::{fs, io, path::Path, sync::Arc};

use async_trait::async_trait;
use edgeprove_circom_witness::{Circuit, Inputs, Limits, WitnessError};
use edgeprove_groth16::{
    PreparedVerifyingKey, Proof, ProveError, ProvingKey, PublicSignals, R1cs, R1csInfo, Threads, Trust,
    VerifyingKey, WitnessValues, setup, verifier_contract,
};
use edgeprove_templates::{Instance, Template};
use serde_json::{Map, Value};

use super::{BuildError, Builder, blocking};
use crate::{
    artifact::Artifact,
    gate::{self, SampleError, SampleProof, SampleProver},
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

impl Builder {
    pub(super) async fn build_circom(&self, instance: &Instance) -> Result<Vec<Artifact>, BuildError> {
        let circomlib = self.toolchain.circomlib();
        let prepare = move |workspace: &Workspace| {
            copy_circuits(&circomlib, workspace)?;
            workspace.create_folder(RESULTS)
        };
        let workspace = self.write_sources(instance, prepare).await?;
        let tool = self.toolchain.compile_circom(MAIN, LIBRARIES, RESULTS);
        let [r1cs, wasm, sym] = self.compile(tool, workspace, COMPILED).await?;
        check(&R1csInfo::read(&r1cs)?, instance.template(), self.limits.constraints)?;

        let builder = self.clone();
        let make = move || builder.make_keys(r1cs, wasm, sym);
        let (artifacts, prover) = blocking(make).await??;
        gate::check(&prover, instance).await?;
        Ok(artifacts)
    }

    /// Makes the keys and everything that follows from them. Blocking.
    fn make_keys(
        &self,
        r1cs: Vec<u8>,
        wasm: Vec<u8>,
        sym: Vec<u8>,
    ) -> Result<(Vec<Artifact>, CircomProver), BuildError> {
        let circuit = Circuit::compile(&self.engine, &wasm, Limits::default())?;
        let zkey = setup(&R1cs::read(&r1cs)?, &self.threads)?;
        let key = ProvingKey::read(&zkey, Trust::OwnSetup, &self.threads)?;
        let verification_key = key.verifying_key().to_json();
        let contract = verifier_contract(key.verifying_key())?;
        // What verifies is read from what is published.
        let published = VerifyingKey::from_json(verification_key.as_bytes())
            .map_err(|error| BuildError::DiffersFromTemplate(error.to_string()))?;
        let artifacts = vec![
            Artifact::new("circuit.r1cs", r1cs),
            Artifact::new("circuit.wasm", wasm),
            Artifact::new("circuit.sym", sym),
            Artifact::new("circuit.zkey", zkey),
            Artifact::new("verification_key.json", verification_key),
            Artifact::new("verifier.sol", contract),
        ];
        let prover = CircomProver {
            circuit,
            key: Arc::new(key),
            published: published.prepare(),
            threads: self.threads.clone(),
        };
        Ok((artifacts, prover))
    }
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

/// Compares the compiled circuit with its template.
fn check(info: &R1csInfo, template: &Template, constraints_max: u32) -> Result<(), BuildError> {
    if info.constraints > constraints_max {
        return Err(BuildError::TooLarge { constraints: info.constraints, limit: constraints_max });
    }
    let expected = [
        ("public outputs", info.public_outputs, 0),
        ("public inputs", info.public_inputs, template.public_inputs().len()),
    ];
    for (what, found, expected) in expected {
        if usize::try_from(found) != Ok(expected) {
            let reason = format!("it has {found} {what}, and the template states {expected}");
            return Err(BuildError::DiffersFromTemplate(reason));
        }
    }
    Ok(())
}

/// A circuit with its keys. Proofs are JSON in snarkjs's shapes.
struct CircomProver {
    circuit: Circuit,
    key: Arc<ProvingKey>,
    published: PreparedVerifyingKey,
    threads: Threads,
}

#[async_trait]
impl SampleProver for CircomProver {
    async fn prove(&self, inputs: &Map<String, Value>) -> Result<SampleProof, SampleError> {
        let inputs = serde_json::to_vec(inputs).map_err(failed)?;
        let (circuit, key, threads) = (self.circuit.clone(), Arc::clone(&self.key), self.threads.clone());
        tokio::task::spawn_blocking(move || prove(&circuit, &key, &inputs, &threads)).await.map_err(failed)?
    }

    async fn verify(&self, proof: &SampleProof) -> Result<bool, SampleError> {
        let signals = PublicSignals::from_json(&proof.public_inputs).map_err(failed)?;
        let proof = Proof::from_json(&proof.proof).map_err(failed)?;
        Ok(self.published.verify(&proof, &signals))
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

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> SampleError {
    SampleError::Failed(Box::new(error))
}

fn prove(
    circuit: &Circuit,
    key: &ProvingKey,
    inputs: &[u8],
    threads: &Threads,
) -> Result<SampleProof, SampleError> {
    let refused = |error: &dyn std::error::Error| SampleError::Refused(error.to_string());
    let inputs = Inputs::parse(inputs).map_err(|error| refused(&error))?;
    let witness = circuit.compute(&inputs, None).map_err(|error| match error {
        WitnessError::Input(_) | WitnessError::Exception(_) => refused(&error),
        other => failed(other),
    })?;
    let witness = WitnessValues::read(witness.wtns()).map_err(failed)?;
    let proved = key.prove(&witness, threads).map_err(|error| match error {
        ProveError::Unsatisfied => refused(&error),
        other => failed(other),
    })?;
    Ok(SampleProof { proof: proved.proof.to_json().into(), public_inputs: proved.signals.to_json().into() })
}
