//! The call of the verifier contract that bb writes.

use crate::FIELD_BYTES;

/// The function that verifies.
pub const FUNCTION: &str = "verify(bytes,bytes32[])";
/// The first bytes of a call of [`FUNCTION`]: of its Keccak-256.
const SELECTOR: [u8; 4] = [0xea, 0x50, 0xd0, 0xe4];

/// The calldata of [`FUNCTION`], for a proof of the target `evm` and its public inputs, which are fields one after the other.
#[must_use]
pub fn calldata(proof: &[u8], public_inputs: &[u8]) -> Vec<u8> {
    let word = |number: usize| {
        let mut word = [0; FIELD_BYTES];
        word[FIELD_BYTES - size_of::<usize>()..].copy_from_slice(&number.to_be_bytes());
        word
    };
    let padded = proof.len().next_multiple_of(FIELD_BYTES);
    // The two parameters are elsewhere: first their positions, and at each a length before the content.
    let head = 2 * FIELD_BYTES;
    let mut calldata = SELECTOR.to_vec();
    calldata.extend(word(head));
    calldata.extend(word(head + FIELD_BYTES + padded));
    calldata.extend(word(proof.len()));
    calldata.extend(proof);
    calldata.resize(calldata.len() + padded - proof.len(), 0);
    calldata.extend(word(public_inputs.len() / FIELD_BYTES));
    calldata.extend(public_inputs);
    calldata
}

#[cfg(test)]
mod tests {
    use edgeprove_groth16::proof::selector_of;

    use super::*;

    #[test]
    fn a_call_has_its_parts_where_ethereum_expects_them() {
        assert_eq!(selector_of(FUNCTION), SELECTOR);
        let (proof, inputs) = ([1; 3 * FIELD_BYTES], [2; 2 * FIELD_BYTES]);
        let calldata = calldata(&proof, &inputs);
        let words = calldata[4..].as_chunks::<FIELD_BYTES>().0;
        let last_bytes: Vec<_> = words.iter().map(|word| word[FIELD_BYTES - 1]).collect();
        assert_eq!(last_bytes, [64, 192, 96, 1, 1, 1, 2, 2, 2]);
        assert_eq!(calldata.len(), 4 + 9 * FIELD_BYTES);
        let odd = super::calldata(&[7; 5], &[]);
        assert_eq!(odd.len(), 4 + 5 * FIELD_BYTES);
        assert_eq!(odd[4 + 3 * FIELD_BYTES..][..6], [7, 7, 7, 7, 7, 0]);
    }
}
