//! Evaluates whether a witness satisfies its circuit.
//!
//! This runs only after a proof did not verify, to distinguish a bad witness from a broken prover. bb proves any witness
//! of the right shape: a witness that breaks a constraint yields a proof that does not verify, and so does a prover that
//! computed wrongly. Noir's own solver decides between the two. With a value for every witness it has nothing to solve;
//! it only checks whether each opcode holds.
//!
//! The solver is stricter than bb: bb computes the outputs of black boxes itself and ignores those of the witness. A
//! witness that bb cannot prove is unsatisfied here; the reverse need not hold.
//!
//! The values are overwritten when the evaluation ends, whichever way it ends. Two copies cannot be reached from here: the
//! solver's blocks of memory (`MemoryInit` copies values into them), which the allocator of the server overwrites when they
//! are freed, and what functions leave on the stack, which ends with its thread ([`crate::private_thread`]).

use std::{
    hint::black_box,
    panic::{AssertUnwindSafe, catch_unwind},
};

use acir::{
    AcirField, FieldElement,
    circuit::{
        Opcode, Program,
        opcodes::{BlackBoxFuncCall, FunctionInput},
    },
    native_types::{Witness, WitnessMap},
};
use acvm::pwg::{ACVM, ACVMStatus, OpcodeResolutionError};
use bn254_blackbox_solver::Bn254BlackBoxSolver;

use super::shape::visit_witnesses;
use crate::proof_systems::Verdict;

const NOT_OF_NOIR: &str = "the circuit is not as Noir's compiler writes circuits";

/// Evaluates every constraint of a circuit with the values of a witness. Blocking: it takes about as long as Noir takes
/// to solve the witness, without its unconstrained functions.
#[must_use]
pub fn judge(program: &Program<FieldElement>, values: Values) -> Verdict {
    let [circuit] = program.functions.as_slice() else {
        return undecided("the program does not have exactly one constrained function");
    };
    let mut constraints = Vec::with_capacity(circuit.opcodes.len());
    let mut positions = Vec::with_capacity(circuit.opcodes.len());
    for (position, opcode) in circuit.opcodes.iter().enumerate() {
        match opcode {
            // Unconstrained code constrains nothing; its results are in the witness.
            Opcode::BrilligCall { .. } => continue,
            Opcode::Call { .. } => return undecided("the circuit calls another"),
            Opcode::BlackBoxFuncCall(BlackBoxFuncCall::RecursiveAggregation { .. }) => {
                return undecided("the circuit verifies a proof");
            }
            Opcode::AssertZero(_)
            | Opcode::BlackBoxFuncCall(_)
            | Opcode::MemoryOp { .. }
            | Opcode::MemoryInit { .. } => {}
        }
        constraints.push(opcode.clone());
        positions.push(position);
    }
    // The solver asserts properties of circuits that Noir's compiler wrote, and a circuit may come from elsewhere.
    catch_unwind(AssertUnwindSafe(|| evaluate(&constraints, &positions, values)))
        .unwrap_or_else(|_| undecided(NOT_OF_NOIR))
}

/// The values of a witness. They are overwritten when this is dropped.
#[derive(Default)]
pub struct Values {
    map: WitnessMap<FieldElement>,
    /// The map has no iterator that borrows it.
    indices: Vec<Witness>,
}

impl Values {
    /// Adds the value of a witness index, big-endian.
    pub fn insert(&mut self, index: u32, value: &[u8; 32]) {
        self.indices.push(Witness(index));
        self.map.insert(Witness(index), FieldElement::from_be_bytes_reduce(value));
    }
}

impl Drop for Values {
    fn drop(&mut self) {
        for &index in &self.indices {
            self.map.insert(index, FieldElement::zero());
        }
        // Otherwise the compiler could leave out writes to memory that is freed next.
        black_box(&self.map);
    }
}

/// The solver with the values of a witness. They are overwritten when it is dropped.
struct Solver<'a> {
    acvm: ACVM<'a, FieldElement, Bn254BlackBoxSolver>,
    indices: Vec<Witness>,
}

impl<'a> Solver<'a> {
    fn new(
        functions: &'a Bn254BlackBoxSolver,
        constraints: &'a [Opcode<FieldElement>],
        mut values: Values,
    ) -> Self {
        let indices = std::mem::take(&mut values.indices);
        // Moving the map copies no value.
        let map = std::mem::take(&mut values.map);
        Self { acvm: ACVM::new(functions, constraints, map, &[], &[]), indices }
    }
}

impl Drop for Solver<'_> {
    fn drop(&mut self) {
        // It adds no values of its own, because it only gets constraints whose witnesses all have values.
        for &index in &self.indices {
            self.acvm.overwrite_witness(index, FieldElement::zero());
        }
        black_box(self.acvm.witness_map());
    }
}

fn unsatisfied(opcode: usize) -> Verdict {
    Verdict::Unsatisfied { first: format!("ACIR opcode {opcode}") }
}

fn undecided(reason: &str) -> Verdict {
    Verdict::Undecided { reason: reason.to_owned() }
}

/// Evaluates the constraints one after the other. `positions` are their opcode numbers in the circuit, from 0.
fn evaluate(constraints: &[Opcode<FieldElement>], positions: &[usize], values: Values) -> Verdict {
    let functions = Bn254BlackBoxSolver;
    let mut solver = Solver::new(&functions, constraints, values);
    let acvm = &mut solver.acvm;
    for (constraint, &opcode) in constraints.iter().zip(positions) {
        if !is_complete(constraint, acvm.witness_map()) || !inputs_fit(constraint, acvm.witness_map()) {
            return unsatisfied(opcode);
        }
        match acvm.solve_opcode() {
            ACVMStatus::InProgress | ACVMStatus::Solved => {}
            ACVMStatus::Failure(
                OpcodeResolutionError::UnsatisfiedConstrain { .. }
                | OpcodeResolutionError::IndexOutOfBounds { .. }
                | OpcodeResolutionError::InvalidInputBitSize { .. }
                | OpcodeResolutionError::BlackBoxFunctionFailed(..),
            ) => return unsatisfied(opcode),
            ACVMStatus::Failure(
                OpcodeResolutionError::OpcodeNotSolvable(_)
                | OpcodeResolutionError::BrilligFunctionFailed { .. }
                | OpcodeResolutionError::AcirMainCallAttempted { .. }
                | OpcodeResolutionError::AcirCallOutputsMismatch { .. }
                | OpcodeResolutionError::BrilligOutputsMismatch { .. }
                | OpcodeResolutionError::PredicateLargerThanOne { .. }
                | OpcodeResolutionError::MemoryOperationLargerThanOne { .. },
            )
            | ACVMStatus::RequiresForeignCall(_)
            | ACVMStatus::RequiresAcirCall(_) => return undecided(NOT_OF_NOIR),
        }
    }
    Verdict::Satisfied
}

/// Whether every witness of a constraint has a value. bb uses a random value for a missing one; the solver would solve
/// for the value that fits, and so hide the gap.
fn is_complete(constraint: &Opcode<FieldElement>, witness: &WitnessMap<FieldElement>) -> bool {
    let mut complete = true;
    visit_witnesses(constraint, &mut |index| complete &= witness.contains_key(&index));
    complete
}

/// Whether the inputs of a black box have as few bits as it accepts. For wider inputs the solver panics, or uses their
/// lowest byte alone.
fn inputs_fit(constraint: &Opcode<FieldElement>, witness: &WitnessMap<FieldElement>) -> bool {
    let Opcode::BlackBoxFuncCall(call) = constraint else { return true };
    let bits = match call {
        BlackBoxFuncCall::AES128Encrypt { .. }
        | BlackBoxFuncCall::Blake2s { .. }
        | BlackBoxFuncCall::Blake3 { .. }
        | BlackBoxFuncCall::EcdsaSecp256k1 { .. }
        | BlackBoxFuncCall::EcdsaSecp256r1 { .. } => 8,
        BlackBoxFuncCall::Sha256Compression { .. } => 32,
        BlackBoxFuncCall::AND { .. }
        | BlackBoxFuncCall::XOR { .. }
        | BlackBoxFuncCall::RANGE { .. }
        | BlackBoxFuncCall::MultiScalarMul { .. }
        | BlackBoxFuncCall::EmbeddedCurveAdd { .. }
        | BlackBoxFuncCall::Keccakf1600 { .. }
        | BlackBoxFuncCall::RecursiveAggregation { .. }
        | BlackBoxFuncCall::Poseidon2Permutation { .. } => return true,
    };
    call.get_inputs_vec().into_iter().all(|input| match input {
        FunctionInput::Constant(value) => value.num_bits() <= bits,
        FunctionInput::Witness(index) => witness.get(&index).is_some_and(|value| value.num_bits() <= bits),
    })
}

#[cfg(test)]
mod tests {
    use acir::{circuit::Circuit, parse_opcodes};

    use super::*;

    fn judge(program: &Program<FieldElement>, witness: WitnessMap<FieldElement>) -> Verdict {
        let mut values = Values::default();
        for (index, value) in witness {
            values.insert(index.witness_index(), &value.to_be_bytes().try_into().unwrap());
        }
        super::judge(program, values)
    }

    fn program(opcodes: &str) -> Program<FieldElement> {
        let opcodes = parse_opcodes(opcodes).unwrap();
        Program {
            functions: vec![Circuit { opcodes, ..Circuit::default() }],
            unconstrained_functions: Vec::new(),
        }
    }

    /// The values of witnesses 0, 1, 2 and so on.
    fn values(values: impl IntoIterator<Item = u64>) -> WitnessMap<FieldElement> {
        let mut map = WitnessMap::new();
        for (index, value) in (0..).zip(values) {
            map.insert(Witness(index), FieldElement::from(value));
        }
        map
    }

    /// The witness that Noir would make: the solver adds the values that are not given.
    fn solved(program: &Program<FieldElement>, given: WitnessMap<FieldElement>) -> WitnessMap<FieldElement> {
        let opcodes = &program.functions[0].opcodes;
        let solver = Bn254BlackBoxSolver;
        let mut acvm = ACVM::new(&solver, opcodes, given, &[], &[]);
        assert_eq!(acvm.solve(), ACVMStatus::Solved);
        acvm.finalize()
    }

    #[test]
    fn every_value_that_a_constraint_uses_matters() {
        let message = (0..33).map(|index| format!("w{index}")).collect::<Vec<_>>().join(", ");
        let digest = (33..65).map(|index| format!("w{index}")).collect::<Vec<_>>().join(", ");
        let lanes = message.split_once(", w25").unwrap().0;
        let permuted = (25..50).map(|index| format!("w{index}")).collect::<Vec<_>>().join(", ");
        for (opcodes, given) in [
            ("ASSERT w2 = w0*w1 + 3".to_owned(), 2),
            ("BLACKBOX::XOR lhs: w0, rhs: w1, output: w2, bits: 32".to_owned(), 2),
            ("BLACKBOX::AND lhs: w0, rhs: w1, output: w2, bits: 32\nASSERT w0 = w1 + -1".to_owned(), 2),
            (
                "BLACKBOX::POSEIDON2_PERMUTATION inputs: [w0, w1, w2, w3], outputs: [w4, w5, w6, w7]"
                    .to_owned(),
                4,
            ),
            (format!("BLACKBOX::BLAKE2S inputs: [{message}], outputs: [{digest}]"), 33),
            (format!("BLACKBOX::BLAKE3 inputs: [{message}], outputs: [{digest}]"), 33),
            (format!("BLACKBOX::KECCAKF1600 inputs: [{lanes}], outputs: [{permuted}]"), 25),
            ("INIT b0 = [w1, w2, w3]\nWRITE b0[w0] = w3\nREAD w4 = b0[w1]".to_owned(), 4),
        ] {
            let program = program(&opcodes);
            let given =
                values(if opcodes.starts_with("INIT") { vec![0, 2, 1, 7] } else { (1..=given).collect() });
            let witness = solved(&program, given);
            assert_eq!(judge(&program, witness.clone()), Verdict::Satisfied, "{opcodes}");
            for (index, value) in witness.clone() {
                // The memory's witness 2 is overwritten or never read.
                if opcodes.starts_with("INIT") && index != Witness(4) && index != Witness(3) {
                    continue;
                }
                let mut bad = witness.clone();
                bad.insert(index, value + FieldElement::one());
                let verdict = judge(&program, bad);
                assert!(matches!(verdict, Verdict::Unsatisfied { .. }), "{index} of {opcodes}");
            }
        }
    }

    #[test]
    fn the_first_broken_opcode_is_named_by_its_number() {
        let program = program(
            "BRILLIG CALL func: 0, predicate: 1, inputs: [w0], outputs: [w1]
             ASSERT w0*w1 = 1
             BRILLIG CALL func: 1, predicate: w0, inputs: [w0], outputs: [[w2, w3]]
             BLACKBOX::RANGE input: w2, bits: 8
             ASSERT w3 = 4",
        );
        let inverse = FieldElement::from(5u32).inverse();
        let witness = |w1, w2: u32, w3: u32| {
            let mut map = values([5]);
            map.insert(Witness(1), w1);
            map.insert(Witness(2), w2.into());
            map.insert(Witness(3), w3.into());
            map
        };
        assert_eq!(judge(&program, witness(inverse, 255, 4)), Verdict::Satisfied);
        assert_eq!(judge(&program, witness(FieldElement::one(), 256, 5)), unsatisfied(1));
        assert_eq!(judge(&program, witness(inverse, 256, 5)), unsatisfied(3));
        assert_eq!(judge(&program, witness(inverse, 255, 5)), unsatisfied(4));
    }

    #[test]
    fn unconstrained_results_without_a_use_may_be_missing() {
        let program = program(
            "BRILLIG CALL func: 0, predicate: 1, inputs: [w0], outputs: [w1, w2]
             ASSERT w0 = 1",
        );
        for witness in [values([1]), values([1, 7, 9])] {
            assert_eq!(judge(&program, witness), Verdict::Satisfied);
        }
    }

    #[test]
    fn a_missing_value_is_not_solved_for() {
        let program = program("ASSERT w1 = w0\nINIT b0 = [w0, w2]\nREAD w3 = b0[w0]");
        let without = |gap| values([0, 0, 0, 0]).into_iter().filter(move |&(index, _)| index != Witness(gap));
        for (gap, opcode) in [(0, 0), (1, 0), (2, 1), (3, 2)] {
            let mut map = WitnessMap::new();
            without(gap).for_each(|(index, value)| {
                map.insert(index, value);
            });
            assert_eq!(judge(&program, map), unsatisfied(opcode));
        }
    }

    #[test]
    fn bad_memory_indices_and_wide_inputs_are_unsatisfied() {
        let memory = program("INIT b0 = [w0, w1]\nREAD w3 = b0[w2]");
        assert_eq!(judge(&memory, values([5, 6, 1, 6])), Verdict::Satisfied);
        for index in [2, u64::MAX] {
            assert_eq!(judge(&memory, values([5, 6, index, 6])), unsatisfied(1));
        }

        let outputs = |first: u32, count: u32| {
            (first..first + count).map(|index| format!("w{index}")).collect::<Vec<_>>().join(", ")
        };
        let inputs = outputs;
        for (opcodes, witnesses) in [
            (format!("BLACKBOX::BLAKE3 inputs: [w0], outputs: [{}]", outputs(1, 32)), 33),
            (
                format!(
                    "BLACKBOX::SHA256_COMPRESSION inputs: [{}], hash_values: [{}], outputs: [{}]",
                    inputs(0, 16),
                    inputs(16, 8),
                    outputs(24, 8)
                ),
                32,
            ),
            (
                format!(
                    "BLACKBOX::ECDSA_SECP256K1 public_key_x: [{}], public_key_y: [{}], signature: [{}], \
                     hashed_message: [{}], predicate: 1, output: w160",
                    inputs(0, 32),
                    inputs(32, 32),
                    inputs(64, 64),
                    inputs(128, 32)
                ),
                161,
            ),
        ] {
            let verdict = judge(&program(&opcodes), values(vec![u64::MAX; witnesses]));
            assert_eq!(verdict, unsatisfied(0), "{opcodes}");
        }
    }

    #[test]
    fn parts_that_only_bb_can_evaluate_are_undecided() {
        let undecided = |program: &Program<FieldElement>| {
            assert!(matches!(judge(program, values([0; 8])), Verdict::Undecided { .. }), "{program}");
        };
        undecided(&program("CALL func: 1, predicate: 1, inputs: [w0], outputs: [w1]"));
        undecided(&program(
            "BLACKBOX::RECURSIVE_AGGREGATION verification_key: [w0], proof: [w1], public_inputs: [w2], \
             key_hash: w3, proof_type: 1, predicate: 1",
        ));
        undecided(&Program::default());
        let mut two = program("ASSERT w0 = 0");
        two.functions.push(two.functions[0].clone());
        undecided(&two);
        // Memory without an initialisation.
        undecided(&program("READ w0 = b0[w1]"));
    }
}
