//! Proves the samples of a circuit before it is published.
//!
//! A circuit is published only when each sample that it accepts was proved and verified, no proof came from a sample that
//! it refuses, and no changed proof verified.

use async_trait::async_trait;
use edgeprove_templates::{Instance, sample::InvalidSample};
use serde_json::{Map, Value};

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
    /// The inputs do not satisfy the circuit, or do not fit the types of its inputs.
    #[error("the circuit refuses the inputs: {0}")]
    Refused(String),
    /// Something else failed, which shows nothing about the sample.
    #[error("no proof could be made")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// One circuit with its proof system. The engine implements it for Noir.
#[async_trait]
pub trait SampleProver: Send + Sync {
    /// Computes the witness of inputs as a template has them, and proves.
    async fn prove(&self, inputs: &Map<String, Value>) -> Result<SampleProof, SampleError>;

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

/// Checks a circuit. An error means that it must not be published.
pub async fn check(prover: &dyn SampleProver, instance: &Instance) -> Result<(), GateError> {
    let accepted = instance.accepted_samples()?;
    let refused = instance.refused_samples()?;
    for (samples, what) in [(&accepted, "samples that it accepts"), (&refused, "samples that it refuses")] {
        if samples.is_empty() {
            return Err(GateError::NothingToCheck(what));
        }
    }
    for sample in &accepted {
        let name = || sample.name.clone();
        let proof = match prover.prove(&sample.inputs).await {
            Ok(proof) => proof,
            Err(SampleError::Refused(reason)) => {
                return Err(GateError::AcceptedRefused { sample: name(), reason });
            }
            Err(SampleError::Failed(source)) => return Err(GateError::Failed { sample: name(), source }),
        };
        if !verifies(prover, &proof, &sample.name).await? {
            return Err(GateError::NotVerified { sample: name() });
        }
        let tampered = prover.tampered(&proof);
        if tampered.is_empty() {
            return Err(GateError::NothingToCheck("proof that could be changed"));
        }
        for changed in tampered {
            if verifies(prover, &changed, &sample.name).await? {
                return Err(GateError::TamperedAccepted { sample: name() });
            }
        }
    }
    for sample in &refused {
        match prover.prove(&sample.inputs).await {
            Ok(_) => return Err(GateError::RefusedAccepted { sample: sample.name.clone() }),
            Err(SampleError::Refused(_)) => {}
            Err(SampleError::Failed(source)) => {
                return Err(GateError::Failed { sample: sample.name.clone(), source });
            }
        }
    }
    Ok(())
}

async fn verifies(prover: &dyn SampleProver, proof: &SampleProof, sample: &str) -> Result<bool, GateError> {
    prover.verify(proof).await.map_err(|error| {
        let source = match error {
            SampleError::Failed(source) => source,
            SampleError::Refused(reason) => reason.into(),
        };
        GateError::Failed { sample: sample.to_owned(), source }
    })
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
            if *self == Self::RefusesAll || !is_accepted {
                return Err(SampleError::Refused(String::from("out of range")));
            }
            Ok(SampleProof { proof: b"proof".to_vec(), public_inputs: b"7".to_vec() })
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
        let error = fault(Faulty::Fails).await;
        assert!(matches!(error, GateError::Failed { .. }), "{error}");
    }
}
