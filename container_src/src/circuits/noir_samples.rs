//! Proves the samples of a Noir circuit that was built, with the same provers as everything else.

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;
use edgeprove_builder::{
    Artifact, GateError, NoirBackend, NoirProver, SampleError, SampleProof, SampleProver,
};
use edgeprove_engine::{
    circuits::{Circuit, registry::load_circuit},
    proof_systems::{
        ComputationError,
        inputs::{Fault, InputDocument, InputError},
    },
    proving::{Proving, Urgency},
    witness::{
        self,
        computation::{self, ComputeError},
    },
};
use edgeprove_protocol::{HasProblemType, Priority, ProblemType, Target};
use edgeprove_prover::{ProofParts, ProverError, backend::FIELD_BYTES};
use edgeprove_spool::Spool;
use edgeprove_templates::Language;
use serde_json::{Map, Value, json};

use super::{default_target, main_file};

/// The account of builds, which take turns with callers.
const ACCOUNT: &str = "circuit builds";

/// Proves samples of Noir circuits.
#[derive(Clone)]
pub struct NoirSamples {
    proving: Arc<Proving>,
    spool: Spool,
}

impl NoirSamples {
    /// With these provers.
    #[must_use]
    pub const fn new(proving: Arc<Proving>, spool: Spool) -> Self {
        Self { proving, spool }
    }
}

#[async_trait]
impl NoirBackend for NoirSamples {
    async fn load(&self, program: &Artifact) -> Result<Box<dyn NoirProver>, GateError> {
        let failed = |source| GateError::Failed { sample: String::new(), source };
        let boxed = |error: Box<dyn std::error::Error + Send + Sync>| failed(error);
        let folder = self.spool.create_dir().map_err(|error| boxed(error.into()))?;
        let target = default_target(Language::Noir);
        let file = folder.path().join(main_file(target));
        tokio::fs::write(&file, program.bytes()).await.map_err(|error| boxed(error.into()))?;
        let permit = self.proving.permit().await.map_err(|error| boxed(error.into()))?;
        // The circuit has no name before it is published.
        let id = "sample"
            .parse()
            .map_err(|error: edgeprove_protocol::circuit_id::InvalidCircuitId| boxed(error.into()))?;
        let circuit = load_circuit(&id, &file, target, self.proving.keys(), permit.as_ref()).await;
        let circuit = Arc::new(circuit.map_err(|error| boxed(error.into()))?);
        Ok(Box::new(Prover { circuit, samples: self.clone() }))
    }
}

/// One loaded circuit.
struct Prover {
    circuit: Arc<Circuit>,
    samples: NoirSamples,
}

impl Prover {
    /// The document of a caller with these inputs.
    fn document(&self, inputs: &Map<String, Value>) -> Result<InputDocument, SampleError> {
        let is_public = |name: &str| {
            let inputs = self.circuit.inputs().unwrap_or_default();
            inputs.iter().any(|input| input.name == name && input.visibility == "public")
        };
        let (public, private): (Map<_, _>, Map<_, _>) =
            inputs.clone().into_iter().partition(|(name, _)| is_public(name));
        let document = json!({"privateInputs": private, "publicInputs": public});
        InputDocument::parse(document.to_string().into_bytes()).map_err(failed)
    }

    async fn prove_for(
        &self,
        target: Target,
        inputs: &Map<String, Value>,
    ) -> Result<SampleProof, SampleError> {
        let NoirSamples { proving, spool } = &self.samples;
        let (document, timeout) = (self.document(inputs)?, proving.options().timeout);
        let computed = computation::compute(document, &self.circuit, ACCOUNT, spool, timeout).await;
        let witness = computed.map_err(|error| match error {
            ComputeError::Computation(ComputationError::Inputs(InputError::Field {
                fault: Fault::Mismatch { .. } | Fault::Value { .. },
                ..
            })) => SampleError::OutsideType(error.public_detail()),
            error => refused_or_failed(error),
        })?;
        let (witness, _) = witness::check(witness, &self.circuit).await.map_err(failed)?;
        let urgency = Urgency { account: Some(ACCOUNT), priority: Priority::Normal, since: None };
        let proved = proving.prove(&self.circuit, target, &witness, urgency, None, &|_| {}).await;
        let parts = proved.map_err(refused_or_failed)?.parts;
        Ok(SampleProof {
            proof: parts.proof.into_flattened(),
            public_inputs: parts.public_inputs.into_flattened(),
        })
    }
}

#[async_trait]
impl NoirProver for Prover {
    async fn contract_key(&self) -> Result<Vec<u8>, SampleError> {
        let proving = &self.samples.proving;
        let permit = proving.permit().await.map_err(failed)?;
        let key = self.circuit.key(Target::Evm, proving.keys(), permit.as_ref()).await.map_err(failed)?;
        Ok(key.circuit.vk.to_vec())
    }

    async fn prove_for_contract(&self, inputs: &Map<String, Value>) -> Result<SampleProof, SampleError> {
        self.prove_for(Target::Evm, inputs).await
    }
}

#[async_trait]
impl SampleProver for Prover {
    async fn prove(&self, inputs: &Map<String, Value>) -> Result<SampleProof, SampleError> {
        self.prove_for(self.circuit.target, inputs).await
    }

    fn public_values(&self, proof: &SampleProof) -> Result<Vec<String>, SampleError> {
        let fields = proof.public_inputs.as_chunks::<FIELD_BYTES>().0;
        Ok(fields.iter().map(|field| format!("0x{}", hex::encode(field))).collect())
    }

    async fn verify(&self, proof: &SampleProof) -> Result<bool, SampleError> {
        let proving = &self.samples.proving;
        let key = self.circuit.ready_key(self.circuit.target).ok_or_else(|| failed(ProverError::Stopping))?;
        let fields = |bytes: &[u8]| bytes.as_chunks::<FIELD_BYTES>().0.to_vec();
        let parts = ProofParts { proof: fields(&proof.proof), public_inputs: fields(&proof.public_inputs) };
        let permit = proving.permit().await.map_err(failed)?;
        let deadline = Instant::now() + proving.options().timeout;
        match permit.verify(&key.circuit, &parts, deadline).await {
            // A verifier that cannot read a proof does not accept it.
            Err(ProverError::Refused { .. }) => Ok(false),
            verified => verified.map_err(failed),
        }
    }

    fn tampered(&self, proof: &SampleProof) -> Vec<SampleProof> {
        let mut tampered = Vec::new();
        let fields = |bytes: &[u8]| bytes.len() / FIELD_BYTES;
        // In the middle are the values of polynomials, so that the verifier can still read the proof.
        let middle = fields(&proof.proof) / 2;
        if let Some(changed) = with_other_field(&proof.proof, middle) {
            tampered.push(SampleProof { proof: changed, ..proof.clone() });
        }
        for index in 0..fields(&proof.public_inputs) {
            if let Some(changed) = with_other_field(&proof.public_inputs, index) {
                tampered.push(SampleProof { public_inputs: changed, ..proof.clone() });
            }
        }
        tampered
    }
}

/// The same fields, but one is another small number.
fn with_other_field(bytes: &[u8], index: usize) -> Option<Vec<u8>> {
    let mut changed = bytes.to_vec();
    let field = changed.get_mut(index * FIELD_BYTES..(index + 1) * FIELD_BYTES)?;
    let mut other = [0; FIELD_BYTES];
    other[FIELD_BYTES - 1] = if field.ends_with(&[3]) { 4 } else { 3 };
    field.copy_from_slice(&other);
    Some(changed)
}

/// Inputs that do not satisfy the circuit are refused. Everything else shows nothing about them.
fn refused_or_failed(error: impl HasProblemType + Send + Sync + 'static) -> SampleError {
    match error.kind() {
        ProblemType::WitnessUnsatisfied => SampleError::Refused(error.public_detail()),
        _ => failed(error),
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> SampleError {
    SampleError::Failed(Box::new(error))
}
