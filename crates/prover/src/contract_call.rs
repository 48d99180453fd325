//! The call that verifies a proof in a contract.

use edgeprove_groth16::proof::function;
use edgeprove_protocol::Target;

use crate::{
    ProofParts,
    barretenberg::contract_call::{self, FUNCTION},
    groth16,
};

/// A call of a verifier contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContractCall {
    /// The function with the types of its parameters.
    pub function: String,
    /// The calldata.
    pub calldata: Vec<u8>,
}

/// The call of the verifier contract for a proof. `None`: there are no contracts for proofs of this target, or these are not
/// the words of a proof.
#[must_use]
pub fn contract_call(target: Target, parts: &ProofParts) -> Option<ContractCall> {
    match target {
        Target::NoirRecursive => None,
        Target::Evm => {
            let (proof, inputs) = (parts.proof.as_flattened(), parts.public_inputs.as_flattened());
            let calldata = contract_call::calldata(proof, inputs);
            Some(ContractCall { function: FUNCTION.to_owned(), calldata })
        }
        Target::Groth16 => {
            let (proof, signals) = groth16::read_parts(parts)?;
            let calldata = proof.calldata(&signals);
            Some(ContractCall { function: function(signals.len()), calldata })
        }
    }
}
