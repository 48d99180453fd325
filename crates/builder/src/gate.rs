//! Proves the samples of a circuit before it is published.
//!
//! A circuit is published only when each sample that it accepts was proved and verified, with the public inputs of the
//! sample in the order of the template; when its constraints refuse the other samples; and when no changed proof verified.
//!
//! This finds faults. It does not show that a circuit is sound: a prover is free to choose the values of all wires, and only
//! the witness that the circuit's own program computes is tried. For circom, that is the one that it computes without
//! its assertions, so that an assertion in the place of a constraint is found. A value that the program computes and no
//! constraint binds (`<--` alone; `unconstrained` in Noir) is found only if the program's own value satisfies a constraint
//! that should have refused it.

use async_trait::async_trait;
use edgeprove_templates::{Instance, Language, sample::InvalidSample, sample::Sample};
use serde_json::{Map, Value};

use crate::field_value::FieldValue;

/// A proof of a sample, in the encoding of its proof system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleProof {
    /// The proof.
    pub proof: Vec<u8>,
    /// The public inputs.
    pub public_inputs: Vec<u8>,
}

/// Why a sample has no proof.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// The inputs have their types, and do not satisfy the circuit.
    #[error("the circuit refuses the inputs: {0}")]
    Refused(String),
    /// A value is outside of the type of its input, so that no circuit gets it. Other faults of inputs, such as a name
    /// that the circuit lacks, are [`Self::Failed`].
    #[error("a value is outside of the type of its input: {0}")]
    OutsideType(String),
    /// Something else failed, which shows nothing about the sample.
    #[error("no proof could be made")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A sample that was proved.
#[derive(Debug, Clone, PartialEq)]
pub struct ProvedSample {
    /// The sample.
    pub sample: Sample,
    /// Its proof, which verifies.
    pub proof: SampleProof,
}

/// One circuit with its proof system. The engine implements it for Noir.
#[async_trait]
pub trait SampleProver: Send + Sync {
    /// Computes the witness of inputs as a template has them, and proves.
    async fn prove(&self, inputs: &Map<String, Value>) -> Result<SampleProof, SampleError>;

    /// Tries to prove inputs that the circuit must refuse, with every witness that this can find for them.
    async fn prove_refused(&self, inputs: &Map<String, Value>) -> Result<SampleProof, SampleError> {
        self.prove(inputs).await
    }

    /// The public inputs of a proof in its order, as decimal digits or as hexadecimal ones after `0x`.
    fn public_values(&self, proof: &SampleProof) -> Result<Vec<String>, SampleError>;

    /// Verifies with nothing but the published verification key.
    async fn verify(&self, proof: &SampleProof) -> Result<bool, SampleError>;

    /// Proofs that differ from a valid one and that a verifier can read: one with another proof, and one for each public
    /// input with another value.
    fn tampered(&self, proof: &SampleProof) -> Vec<SampleProof>;
}

/// Why a circuit is not published.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// A sample that the circuit must accept has no proof.
    #[error("the circuit refuses the sample {sample:?}, which it must accept: {reason}")]
    AcceptedRefused {
        /// The name of the sample.
        sample: String,
        /// Why.
        reason: String,
    },
    /// A sample that the circuit must refuse has a proof.
    #[error("the circuit accepts the sample {sample:?}, which it must refuse")]
    RefusedAccepted {
        /// The name of the sample.
        sample: String,
    },
    /// A proof does not verify.
    #[error("the proof of the sample {sample:?} does not verify")]
    NotVerified {
        /// The name of the sample.
        sample: String,
    },
    /// A proof has other public inputs than its sample, or the same in another order.
    #[error(
        "the proof of the sample {sample:?} has the public inputs {found:?}, and the sample has {expected:?}"
    )]
    OtherPublicInputs {
        /// The name of the sample.
        sample: String,
        /// Those of the sample, in the order of the template.
        expected: Vec<String>,
        /// Those of the proof.
        found: Vec<String>,
    },
    /// A public input has no order in a proof that is known here.
    #[error("the public input {input:?} has a value that is no number, truth value or list of them")]
    PublicInput {
        /// The name of the input.
        input: String,
    },
    /// A changed proof verifies.
    #[error("a changed proof of the sample {sample:?} verifies")]
    TamperedAccepted {
        /// The name of the sample.
        sample: String,
    },
    /// A check has nothing to check.
    #[error("the circuit has no {0}, so that nothing shows that it works")]
    NothingToCheck(&'static str),
    /// The samples cannot be computed.
    #[error(transparent)]
    Samples(#[from] InvalidSample),
    /// A sample could not be proved or verified for another reason than its inputs.
    #[error("the sample {sample:?} could not be checked")]
    Failed {
        /// The name of the sample.
        sample: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Checks a circuit, and returns the first sample that it accepts. An error means that it must not be published.
pub async fn check(prover: &dyn SampleProver, instance: &Instance) -> Result<ProvedSample, GateError> {
    let accepted = instance.accepted_samples()?;
    let refused = instance.refused_samples()?;
    for (samples, what) in [(&accepted, "samples that it accepts"), (&refused, "samples that it refuses")] {
        if samples.is_empty() {
            return Err(GateError::NothingToCheck(what));
        }
    }
    let mut first = None;
    for sample in accepted {
        let proof = check_accepted(prover, instance, &sample).await?;
        first.get_or_insert(ProvedSample { sample, proof });
    }
    check_refused(prover, instance, &refused).await?;
    first.ok_or(GateError::NothingToCheck("samples that it accepts"))
}

async fn check_accepted(
    prover: &dyn SampleProver,
    instance: &Instance,
    sample: &Sample,
) -> Result<SampleProof, GateError> {
    let name = || sample.name.clone();
    let proof = match prover.prove(&sample.inputs).await {
        Ok(proof) => proof,
        Err(SampleError::Refused(reason) | SampleError::OutsideType(reason)) => {
            return Err(GateError::AcceptedRefused { sample: name(), reason });
        }
        Err(SampleError::Failed(source)) => return Err(GateError::Failed { sample: name(), source }),
    };
    if !verifies(prover, &proof, &sample.name).await? {
        return Err(GateError::NotVerified { sample: name() });
    }
    check_public_inputs(prover, instance, sample, &proof)?;
    let tampered = prover.tampered(&proof);
    if tampered.is_empty() {
        return Err(GateError::NothingToCheck("proof that could be changed"));
    }
    for changed in tampered {
        if verifies(prover, &changed, &sample.name).await? {
            return Err(GateError::TamperedAccepted { sample: name() });
        }
    }
    Ok(proof)
}

/// Compares the public inputs of a proof with those of its sample, in the order of the template.
fn check_public_inputs(
    prover: &dyn SampleProver,
    instance: &Instance,
    sample: &Sample,
    proof: &SampleProof,
) -> Result<(), GateError> {
    let mut expected = Vec::new();
    for input in instance.template().public_inputs() {
        let unknown = || GateError::PublicInput { input: input.name.clone() };
        flatten(sample.inputs.get(&input.name).ok_or_else(unknown)?, &mut expected).ok_or_else(unknown)?;
    }
    let found = prover.public_values(proof).map_err(|error| failure(error, &sample.name))?;
    let values: Option<Vec<_>> = found.iter().map(|text| FieldValue::parse(text)).collect();
    if values.as_ref() == Some(&expected) {
        return Ok(());
    }
    let expected = expected.into_iter().map(FieldValue::to_hex).collect();
    let found = values.map_or(found, |values| values.into_iter().map(FieldValue::to_hex).collect());
    Err(GateError::OtherPublicInputs { sample: sample.name.clone(), expected, found })
}

/// The numbers of a value in the order of a proof. `None`: its order is not known.
fn flatten(value: &Value, numbers: &mut Vec<FieldValue>) -> Option<()> {
    match value {
        Value::Bool(value) => numbers.push(FieldValue::of_bool(*value)),
        Value::String(text) => numbers.push(FieldValue::parse(text)?),
        Value::Array(values) => {
            for value in values {
                flatten(value, numbers)?;
            }
        }
        // The members of a struct have the order of its declaration, which a sample has not.
        Value::Object(_) | Value::Null | Value::Number(_) => return None,
    }
    Some(())
}

async fn check_refused(
    prover: &dyn SampleProver,
    instance: &Instance,
    samples: &[Sample],
) -> Result<(), GateError> {
    let mut is_shown = false;
    for sample in samples {
        match prover.prove_refused(&sample.inputs).await {
            Ok(_) => return Err(GateError::RefusedAccepted { sample: sample.name.clone() }),
            Err(SampleError::Refused(_)) => is_shown = true,
            // Noir's types are a part of the circuit: it has constraints for them. circom has one type.
            Err(SampleError::OutsideType(_)) => is_shown |= instance.template().language() == Language::Noir,
            Err(error @ SampleError::Failed(_)) => return Err(failure(error, &sample.name)),
        }
    }
    if is_shown { Ok(()) } else { Err(GateError::NothingToCheck("sample that its constraints refuse")) }
}

async fn verifies(prover: &dyn SampleProver, proof: &SampleProof, sample: &str) -> Result<bool, GateError> {
    prover.verify(proof).await.map_err(|error| failure(error, sample))
}

/// A sample could not be proved or verified for another reason than its inputs.
pub(crate) fn failure(error: SampleError, sample: &str) -> GateError {
    let source = match error {
        SampleError::Failed(source) => source,
        SampleError::Refused(reason) | SampleError::OutsideType(reason) => reason.into(),
    };
    GateError::Failed { sample: sample.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use edgeprove_templates::{Catalogue, Language};

    use super::*;

    /// A proof system with a fault. Its proofs are texts, and it accepts numbers from 100 to 500.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Faulty {
        Sound,
        RefusesAll,
        AcceptsAll,
        VerifiesNothing,
        VerifiesAll,
        TampersWithNothing,
        OtherPublicInputs,
        NoPublicInputs,
        AllOutsideType,
        Fails,
    }

    #[async_trait]
    impl SampleProver for Faulty {
        async fn prove(&self, inputs: &Map<String, Value>) -> Result<SampleProof, SampleError> {
            let value: u128 = inputs["value"].as_str().unwrap().parse().unwrap();
            if *self == Self::Fails {
                return Err(SampleError::Failed("the disk is full".into()));
            }
            let is_accepted = *self == Self::AcceptsAll || (100..=500).contains(&value);
            if *self == Self::AllOutsideType && !is_accepted {
                return Err(SampleError::OutsideType(String::from("no number")));
            }
            if *self == Self::RefusesAll || !is_accepted {
                return Err(SampleError::Refused(String::from("out of range")));
            }
            Ok(SampleProof { proof: b"proof".to_vec(), public_inputs: b"7".to_vec() })
        }

        fn public_values(&self, proof: &SampleProof) -> Result<Vec<String>, SampleError> {
            Ok(match self {
                Self::OtherPublicInputs => vec![String::from("8")],
                Self::NoPublicInputs => Vec::new(),
                _ => vec![format!("0x00{}", str::from_utf8(&proof.public_inputs).unwrap())],
            })
        }

        async fn verify(&self, proof: &SampleProof) -> Result<bool, SampleError> {
            let is_valid = proof.proof == b"proof" && proof.public_inputs == b"7";
            Ok(*self == Self::VerifiesAll || *self != Self::VerifiesNothing && is_valid)
        }

        fn tampered(&self, proof: &SampleProof) -> Vec<SampleProof> {
            let changed = SampleProof { public_inputs: b"8".to_vec(), ..proof.clone() };
            if *self == Self::TampersWithNothing { Vec::new() } else { vec![changed] }
        }
    }

    /// In circom every number below the modulus has the only type, so that a sample outside of it shows nothing.
    #[tokio::test]
    async fn circom_must_refuse_a_sample_by_its_constraints() {
        let catalogue = Catalogue::embedded().unwrap();
        let sample =
            |language| Instance::sample(catalogue.find("rangeCheck", Some(language)).unwrap()).unwrap();
        check(&Faulty::Sound, &sample(Language::Circom)).await.unwrap();
        check(&Faulty::AllOutsideType, &sample(Language::Noir)).await.unwrap();
        let error = check(&Faulty::AllOutsideType, &sample(Language::Circom)).await.unwrap_err();
        assert!(matches!(error, GateError::NothingToCheck(_)), "{error}");
    }

    #[tokio::test]
    async fn every_fault_of_a_proof_system_closes_the_gate() {
        let catalogue = Catalogue::embedded().unwrap();
        let instance = Instance::sample(catalogue.find("rangeCheck", Some(Language::Noir)).unwrap()).unwrap();
        check(&Faulty::Sound, &instance).await.unwrap();
        let fault = async |prover: Faulty| check(&prover, &instance).await.unwrap_err();

        let error = fault(Faulty::RefusesAll).await;
        assert!(matches!(error, GateError::AcceptedRefused { .. }), "{error}");
        let error = fault(Faulty::AcceptsAll).await;
        assert!(matches!(error, GateError::RefusedAccepted { .. }), "{error}");
        let error = fault(Faulty::VerifiesNothing).await;
        assert!(matches!(error, GateError::NotVerified { .. }), "{error}");
        let error = fault(Faulty::VerifiesAll).await;
        assert!(matches!(error, GateError::TamperedAccepted { .. }), "{error}");
        let error = fault(Faulty::TampersWithNothing).await;
        assert!(matches!(error, GateError::NothingToCheck(_)), "{error}");
        for faulty in [Faulty::OtherPublicInputs, Faulty::NoPublicInputs] {
            let error = fault(faulty).await;
            assert!(matches!(error, GateError::OtherPublicInputs { .. }), "{error}");
        }
        let error = fault(Faulty::Fails).await;
        assert!(matches!(error, GateError::Failed { .. }), "{error}");
    }
}
