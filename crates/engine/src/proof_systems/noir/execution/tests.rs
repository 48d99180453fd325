use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use acir::{
    brillig::{BitSize, HeapVector, IntegerBitSize, MemoryAddress},
    circuit::{
        Circuit, Opcode,
        brillig::{BrilligBytecode, BrilligFunctionId, BrilligInputs, BrilligOutputs},
    },
    native_types::Expression,
    parse_opcodes,
};
use serde_json::json;

use super::*;
use crate::proof_systems::inputs::InputDocument;

const SP: MemoryAddress = MemoryAddress::Direct(0);

fn limits() -> ComputationLimits {
    ComputationLimits {
        deadline: Instant::now() + Duration::from_mins(1),
        memory_max_bytes: 1 << 20,
        is_cancelled: Arc::new(AtomicBool::new(false)),
    }
}

fn constant(slot: u32, value: u32) -> BrilligOpcode<FieldElement> {
    BrilligOpcode::Const {
        destination: MemoryAddress::Direct(slot),
        bit_size: BitSize::Integer(IntegerBitSize::U32),
        value: FieldElement::from(value),
    }
}

/// The end of a function that returns nothing.
fn stop() -> [BrilligOpcode<FieldElement>; 2] {
    let return_data = HeapVector { pointer: MemoryAddress::Direct(9), size: MemoryAddress::Direct(9) };
    [constant(9, 0), BrilligOpcode::Stop { return_data }]
}

/// A circuit with one input, which calls an unconstrained function.
fn calling(bytecode: Vec<BrilligOpcode<FieldElement>>) -> Program<FieldElement> {
    let call = Opcode::BrilligCall {
        id: BrilligFunctionId::new(0),
        inputs: vec![BrilligInputs::Single(Expression::from(Witness(0)))],
        outputs: Vec::<BrilligOutputs>::new(),
        predicate: Expression::one(),
    };
    let circuit =
        Circuit { opcodes: vec![call], private_parameters: [Witness(0)].into(), ..Circuit::default() };
    let function = BrilligBytecode { function_name: "f".to_owned(), bytecode };
    Program { functions: vec![circuit], unconstrained_functions: vec![function] }
}

fn compute_with(
    program: &Program<FieldElement>,
    limits: &ComputationLimits,
) -> Result<ComputedWitness, ComputationError> {
    let parameter = json!({"name": "x", "type": {"kind": "field"}, "visibility": "private"});
    let abi = Abi::read(Some(&json!({"parameters": [parameter]})), 1).unwrap();
    let document = br#"{"privateInputs": {"x": 5}}"#.to_vec();
    let inputs = abi.flatten(&InputDocument::parse(document).unwrap()).unwrap();
    let max_index = super::super::shape::max_witness_index(&program.functions[0]);
    compute(program, &abi, max_index, &inputs, limits)
}

#[test]
fn a_function_that_ends_is_run() {
    let print = |name: &str| BrilligOpcode::ForeignCall {
        function: name.to_owned(),
        destinations: Vec::new(),
        destination_value_types: Vec::new(),
        inputs: Vec::new(),
        input_value_types: Vec::new(),
    };
    let printing = calling([[print("print")].as_slice(), &stop()].concat());
    let witness = compute_with(&printing, &limits()).unwrap();
    assert_eq!(witness.decompressed_bytes, 6 + 1 + 34);
    let asking = calling([[print("ask_me")].as_slice(), &stop()].concat());
    let error = compute_with(&asking, &limits()).unwrap_err();
    assert!(error.to_string().contains("oracle `ask_me`"), "{error}");
}

#[test]
fn an_endless_function_ends_at_its_deadline() {
    let endless = calling(vec![BrilligOpcode::Jump { location: 0 }]);
    let limits = ComputationLimits { deadline: Instant::now() + Duration::from_millis(20), ..limits() };
    assert!(matches!(compute_with(&endless, &limits), Err(ComputationError::Timeout)));
    let limits = ComputationLimits { is_cancelled: Arc::new(AtomicBool::new(true)), ..self::limits() };
    assert!(matches!(compute_with(&endless, &limits), Err(ComputationError::Cancelled)));
}

#[test]
fn memory_is_bounded_before_it_is_written() {
    let huge = u32::MAX - 1;
    let relative = MemoryAddress::Relative(7);
    let store = |pointer| BrilligOpcode::Store { destination_pointer: pointer, source: SP };
    let bit_size = BitSize::Integer(IntegerBitSize::U32);
    let value = FieldElement::zero();
    for bytecode in [
        vec![constant(huge, 1)],
        vec![constant(0, huge), BrilligOpcode::Const { destination: relative, bit_size, value }],
        vec![constant(3, huge), store(MemoryAddress::Direct(3))],
        vec![constant(0, 3), constant(10, huge), store(relative)],
        vec![
            constant(3, huge),
            BrilligOpcode::IndirectConst { destination_pointer: MemoryAddress::Direct(3), bit_size, value },
        ],
        vec![BrilligOpcode::Mov { destination: MemoryAddress::Direct(1 << 20), source: SP }],
        vec![BrilligOpcode::Call { location: 0 }],
        // It doubles slot 1 until the store is beyond the limit.
        vec![
            constant(1, 16),
            BrilligOpcode::BinaryIntOp {
                destination: MemoryAddress::Direct(1),
                op: acir::brillig::BinaryIntOp::Add,
                bit_size: IntegerBitSize::U32,
                lhs: MemoryAddress::Direct(1),
                rhs: MemoryAddress::Direct(1),
            },
            store(MemoryAddress::Direct(1)),
            BrilligOpcode::Jump { location: 1 },
        ],
    ] {
        let text = format!("{bytecode:?}");
        let program = calling([bytecode.as_slice(), &stop()].concat());
        let error = compute_with(&program, &limits()).err();
        assert!(matches!(error, Some(ComputationError::TooMuchMemory { .. })), "{text}: {error:?}");
    }
}

#[test]
fn a_function_without_an_end_is_refused() {
    for bytecode in [vec![], vec![constant(2, 1)], vec![BrilligOpcode::Jump { location: 7 }]] {
        let error = compute_with(&calling(bytecode), &limits()).err();
        assert!(matches!(error, Some(ComputationError::Unsupported { .. })), "{error:?}");
    }
    let trap = BrilligOpcode::Trap {
        revert_data: HeapVector { pointer: MemoryAddress::Direct(9), size: MemoryAddress::Direct(9) },
    };
    let error = compute_with(&calling(vec![constant(9, 0), trap]), &limits()).err();
    assert!(matches!(error, Some(ComputationError::Unsatisfied { first: None })), "{error:?}");
}

#[test]
fn circuits_that_call_others_are_refused() {
    let call = "CALL func: 1, predicate: 1, inputs: [w0], outputs: [w1]";
    let circuit = Circuit {
        opcodes: parse_opcodes(call).unwrap(),
        private_parameters: [Witness(0)].into(),
        ..Circuit::default()
    };
    let program = Program { functions: vec![circuit], unconstrained_functions: Vec::new() };
    let error = compute_with(&program, &limits()).unwrap_err();
    assert!(matches!(error, ComputationError::Unsupported { .. }), "{error}");
}

#[test]
fn an_unsatisfied_opcode_is_named() {
    let circuit = Circuit {
        opcodes: parse_opcodes("ASSERT w1 = 2*w0\nASSERT w1 = 11").unwrap(),
        private_parameters: [Witness(0)].into(),
        ..Circuit::default()
    };
    let program = Program { functions: vec![circuit], unconstrained_functions: Vec::new() };
    let error = compute_with(&program, &limits()).unwrap_err();
    assert_eq!(error.to_string(), "the inputs do not satisfy the circuit: ACIR opcode 1");
}
