//! Counts the witness indices of a circuit as bb counts them.
//!
//! bb walks over the circuit to size its vector of witnesses, and refuses every witness whose largest index differs from
//! the largest one it met. The same walk here distinguishes the witness of another circuit from a damaged one before bb
//! reads it, and bounds the decompressed size of an upload.
//!
//! bb's walk covers opcodes (Brillig calls included), public parameters and return values, but *not* private
//! parameters. bb therefore refuses every witness of a circuit whose last private parameter is unused, although Noir
//! makes both correctly. [`name_unused_parameters`] fixes that.

use acir::{
    FieldElement,
    circuit::{
        Circuit, Opcode,
        brillig::{BrilligFunctionId, BrilligInputs, BrilligOutputs},
        opcodes::{BlackBoxFuncCall, FunctionInput},
    },
    native_types::{Expression, Witness},
};

/// The largest witness index that bb meets in a circuit, in all opcodes, public parameters and return values; `None` if
/// there is no witness at all, as in a circuit without inputs.
#[must_use]
pub fn max_witness_index(circuit: &Circuit<FieldElement>) -> Option<u32> {
    let mut max = None;
    let mut visit = |witness: Witness| max = max.max(Some(witness.witness_index()));
    circuit.public_parameters.0.iter().copied().for_each(&mut visit);
    circuit.return_values.0.iter().copied().for_each(&mut visit);
    for opcode in &circuit.opcodes {
        visit_witnesses(opcode, &mut visit);
    }
    max
}

/// Makes bb count the private parameters that no opcode uses, and returns how many bb had not counted.
///
/// They become the inputs of a Brillig call that never runs. A Brillig call adds no gate, so the verification key stays
/// the same; only bb's count of witnesses becomes that of Noir.
pub fn name_unused_parameters(circuit: &mut Circuit<FieldElement>) -> usize {
    let counted = max_witness_index(circuit);
    let uncounted: Vec<_> = circuit
        .private_parameters
        .iter()
        .copied()
        .filter(|witness| Some(witness.witness_index()) > counted)
        .map(|witness| BrilligInputs::Single(Expression::from(witness)))
        .collect();
    let count = uncounted.len();
    if count > 0 {
        circuit.opcodes.push(Opcode::BrilligCall {
            id: BrilligFunctionId::new(0),
            inputs: uncounted,
            outputs: Vec::new(),
            predicate: Expression::zero(),
        });
    }
    count
}

/// Calls `visit` with every witness that an opcode reads or writes, in no particular order and with repeats.
pub(super) fn visit_witnesses(opcode: &Opcode<FieldElement>, visit: &mut impl FnMut(Witness)) {
    match opcode {
        Opcode::AssertZero(expression) => visit_expression(expression, visit),
        Opcode::BlackBoxFuncCall(call) => visit_black_box(call, visit),
        Opcode::MemoryOp { block_id: _, op } => {
            visit(op.index);
            visit(op.value);
        }
        Opcode::MemoryInit { block_id: _, init, block_type: _ } => init.iter().copied().for_each(visit),
        Opcode::BrilligCall { id: _, inputs, outputs, predicate } => {
            for input in inputs {
                match input {
                    BrilligInputs::Single(expression) => visit_expression(expression, visit),
                    BrilligInputs::Array(expressions) => {
                        for expression in expressions {
                            visit_expression(expression, visit);
                        }
                    }
                    BrilligInputs::MemoryArray(_) => {}
                }
            }
            for output in outputs {
                match output {
                    BrilligOutputs::Simple(witness) => visit(*witness),
                    BrilligOutputs::Array(witnesses) => witnesses.iter().copied().for_each(&mut *visit),
                }
            }
            visit_expression(predicate, visit);
        }
        Opcode::Call { id: _, inputs, outputs, predicate } => {
            inputs.iter().chain(outputs).copied().for_each(&mut *visit);
            visit_expression(predicate, visit);
        }
    }
}

fn visit_expression(expression: &Expression<FieldElement>, visit: &mut impl FnMut(Witness)) {
    for (_, left, right) in &expression.mul_terms {
        visit(*left);
        visit(*right);
    }
    for (_, witness) in &expression.linear_combinations {
        visit(*witness);
    }
}

fn visit_black_box(call: &BlackBoxFuncCall<FieldElement>, visit: &mut impl FnMut(Witness)) {
    for input in call.get_inputs_vec() {
        if let FunctionInput::Witness(witness) = input {
            visit(witness);
        }
    }
    call.get_outputs_vec().into_iter().for_each(visit);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use acir::{circuit::PublicInputs, parse_opcodes};

    use super::*;

    fn circuit(opcodes: &str) -> Circuit<FieldElement> {
        Circuit { opcodes: parse_opcodes(opcodes).unwrap(), ..Circuit::default() }
    }

    #[test]
    fn every_kind_of_opcode_counts() {
        for (opcodes, expected) in [
            ("ASSERT w9 - w3 = 0", 9),
            ("ASSERT w1*w12 + w3 = 0", 12),
            ("ASSERT w12*w1 + w3 = 0", 12),
            ("BLACKBOX::RANGE input: w7, bits: 32", 7),
            ("BLACKBOX::XOR lhs: w1, rhs: w2, output: w8, bits: 32", 8),
            ("BLACKBOX::POSEIDON2_PERMUTATION inputs: [w0, w1, w2, w11], outputs: [w4, w5, w6, w7]", 11),
            ("INIT b0 = [w0, w5]\nREAD w2 = b0[w1]", 5),
            ("INIT b0 = [w0, w1]\nREAD w6 = b0[w1]", 6),
            ("INIT b0 = [w0, w1]\nWRITE b0[w4] = w2", 4),
            ("BRILLIG CALL func: 0, predicate: 1, inputs: [w10], outputs: [w2]", 10),
            ("BRILLIG CALL func: 0, predicate: 1, inputs: [w1, [w3, w14]], outputs: [w2]", 14),
            ("BRILLIG CALL func: 0, predicate: 1, inputs: [w1], outputs: [w2, [w3, w20]]", 20),
            ("BRILLIG CALL func: 0, predicate: w21, inputs: [w1], outputs: [w2]", 21),
            ("CALL func: 1, predicate: 1, inputs: [w1], outputs: [w30]", 30),
        ] {
            assert_eq!(max_witness_index(&circuit(opcodes)), Some(expected), "{opcodes}");
        }
    }

    #[test]
    fn private_parameters_do_not_count() {
        let mut circuit = circuit("ASSERT w1 - w2 = 0");
        circuit.private_parameters = BTreeSet::from([Witness(9)]);
        assert_eq!(max_witness_index(&circuit), Some(2));
        circuit.public_parameters = PublicInputs(BTreeSet::from([Witness(4)]));
        assert_eq!(max_witness_index(&circuit), Some(4));
        circuit.return_values = PublicInputs(BTreeSet::from([Witness(6)]));
        assert_eq!(max_witness_index(&circuit), Some(6));
        assert_eq!(max_witness_index(&Circuit::default()), None);
    }

    #[test]
    fn unused_parameters_become_part_of_the_count() {
        let mut circuit = circuit("ASSERT w1 - w2 = 0");
        circuit.private_parameters = (0..6).map(Witness).collect();
        assert_eq!(name_unused_parameters(&mut circuit), 3);
        assert_eq!(max_witness_index(&circuit), Some(5));
        assert_eq!(name_unused_parameters(&mut circuit), 0, "naming them once is enough");
        assert_eq!(circuit.opcodes.len(), 2);

        let mut only_input = Circuit { private_parameters: [Witness(0)].into(), ..Circuit::default() };
        assert_eq!(name_unused_parameters(&mut only_input), 1, "a circuit that ignores its only input");
        assert_eq!(max_witness_index(&only_input), Some(0));
        assert_eq!(name_unused_parameters(&mut Circuit::default()), 0);
    }
}
