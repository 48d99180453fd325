//! Circuits that circom compiled, against snarkjs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic reports that a test has failed")]

use std::{sync::OnceLock, thread};

use edgeprove_circom_witness::{
    Circuit, ExceptionKind, InputError, Inputs, Limits, WitnessEngine, WitnessError,
};
use edgeprove_test_circom::CircomCircuit;

struct Compiled {
    files: CircomCircuit,
    circuit: Circuit,
}

fn compiled(name: &str) -> Compiled {
    static ENGINE: OnceLock<WitnessEngine> = OnceLock::new();
    let engine = ENGINE.get_or_init(|| WitnessEngine::start().unwrap());
    let files = CircomCircuit::compile(name);
    let circuit = Circuit::compile(engine, &files.wasm(), Limits::default()).unwrap();
    Compiled { files, circuit }
}

impl Compiled {
    fn compute(&self, inputs: &str) -> Result<Vec<u8>, WitnessError> {
        let inputs = Inputs::parse(inputs.as_bytes())?;
        self.circuit.compute(&inputs, None).map(|witness| witness.wtns().to_vec())
    }

    #[track_caller]
    fn assert_like_snarkjs(&self, inputs: &str) {
        let snarkjs = self.files.snarkjs_witness(inputs).unwrap();
        assert!(self.compute(inputs).unwrap() == snarkjs, "another witness for {inputs}");
    }

    #[track_caller]
    fn error(&self, inputs: &str) -> WitnessError {
        self.compute(inputs).unwrap_err()
    }
}

#[test]
fn range_witnesses_are_those_of_snarkjs() {
    let range = compiled("range");
    for inputs in [
        r#"{"in": 50, "randomPublicSignal": "7"}"#,
        r#"{"randomPublicSignal": "0x2a", "in": "100"}"#,
        r#"{"in": 10, "randomPublicSignal": -3}"#,
        r#"{"in": [10], "randomPublicSignal": "21888242871839275222246405745257275088548364400416034343698204186575808495616"}"#,
    ] {
        range.assert_like_snarkjs(inputs);
    }
}

#[test]
fn without_assertions_every_input_has_a_witness() {
    let range = compiled("range");
    let engine = WitnessEngine::start().unwrap();
    let without_assertions =
        Circuit::compile_without_assertions(&engine, &range.files.wasm(), Limits::default()).unwrap();
    let compute = |inputs: &str| {
        let witness = without_assertions.compute(&Inputs::parse(inputs.as_bytes()).unwrap(), None);
        witness.unwrap().wtns().to_vec()
    };
    let accepted = r#"{"in": 50, "randomPublicSignal": "7"}"#;
    assert!(compute(accepted) == range.compute(accepted).unwrap());
    let refused = r#"{"in": 101, "randomPublicSignal": "7"}"#;
    let WitnessError::Exception(exception) = range.error(refused) else { panic!("no exception") };
    assert_eq!(exception.kind, ExceptionKind::AssertFailed);
    assert!(compute(refused).len() == range.compute(accepted).unwrap().len());
}

#[test]
fn shapes_witnesses_are_those_of_snarkjs() {
    let shapes = compiled("shapes");
    for inputs in [
        r#"{"single": 4, "grid": [[1, 2, 3], [4, 5, 6]], "none": []}"#,
        r#"{"single": "-1", "grid": [1, 2, 3, 4, 5, "0xff"]}"#,
        r#"{"grid": [[[1], [2]], [3, 4, 5, 6]], "single": 9007199254740991}"#,
    ] {
        shapes.assert_like_snarkjs(inputs);
    }
}

#[test]
fn a_larger_witness_is_the_one_of_snarkjs() {
    compiled("power_chain").assert_like_snarkjs(r#"{"seed": "123456789012345678901234567890"}"#);
}

#[test]
fn public_signals_follow_the_constant() {
    let range = compiled("range");
    let inputs = Inputs::parse(br#"{"in": 50, "randomPublicSignal": 7}"#).unwrap();
    let witness = range.circuit.compute(&inputs, None).unwrap();
    assert_eq!(witness.public_signals(2).unwrap(), ["50", "7"]);
}

#[test]
fn a_failed_assertion_names_its_line() {
    let range = compiled("range");
    let WitnessError::Exception(exception) = range.error(r#"{"in": 5, "randomPublicSignal": 7}"#) else {
        panic!("no exception");
    };
    assert_eq!(exception.kind, ExceptionKind::AssertFailed);
    let location = &exception.locations[0];
    assert!(location.name.starts_with("Range_"), "{location:?}");
    assert_eq!(location.line, 19);

    // One inside a component names the callers too.
    let shapes = compiled("shapes");
    let error = shapes.error(r#"{"single": 0, "grid": [1, 2, 3, 4, 5, 424242]}"#).to_string();
    let expected = "the inputs do not satisfy the circuit: an assertion failed in Product_0 line 7, called from Shapes_1";
    assert!(error.starts_with(expected), "{error}");
    assert!(!error.contains("4242"), "{error}");
}

#[test]
fn inputs_that_do_not_fit_are_errors() {
    let shapes = compiled("shapes");
    let input = |error: InputError| WitnessError::Input(error);
    let signal = |name: &str| name.to_owned();
    assert_eq!(
        shapes.error(r#"{"grid": [1, 2, 3, 4, 5, 6]}"#),
        input(InputError::Missing { expected: 7, given: 6 })
    );
    assert_eq!(shapes.error("{}"), input(InputError::Missing { expected: 7, given: 0 }));
    assert_eq!(
        shapes.error(r#"{"single": 1, "grid": [1, 2, 3, 4, 5]}"#),
        input(InputError::WrongLength { signal: signal("grid"), expected: 6, given: 5 })
    );
    assert_eq!(
        shapes.error(r#"{"single": [1, 1], "grid": [1, 2, 3, 4, 5, 6]}"#),
        input(InputError::WrongLength { signal: signal("single"), expected: 1, given: 2 })
    );
    for other in ["other", "sum", "inner.factors", ""] {
        assert_eq!(
            shapes.error(&format!(r#"{{"{other}": 1, "single": 1, "grid": [1, 2, 3, 4, 5, 6]}}"#)),
            input(InputError::UnknownSignal { signal: signal(other) })
        );
    }
    // snarkjs lets the last of two values win, and reduces a value beyond the modulus.
    assert_eq!(
        shapes.error(r#"{"single": 1, "single": 2, "grid": [1, 2, 3, 4, 5, 6]}"#),
        input(InputError::Duplicate { signal: signal("single") })
    );
    let modulus = "21888242871839275222246405745257275088548364400416034343698204186575808495617";
    assert_eq!(
        shapes.error(&format!(r#"{{"single": 1, "grid": [1, 2, "{modulus}", 4, 5, 6]}}"#)),
        input(InputError::NotBelowModulus { signal: signal("grid"), position: 2 })
    );
}

#[test]
fn one_program_serves_many_threads() {
    let range = compiled("range");
    let expected = range.files.snarkjs_witness(r#"{"in": 60, "randomPublicSignal": 1}"#).unwrap();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    assert!(range.compute(r#"{"in": 60, "randomPublicSignal": 1}"#).unwrap() == expected);
                    // An exception in one instance leaves no trace in the next.
                    range.error(r#"{"in": 101, "randomPublicSignal": 1}"#);
                }
            });
        }
    });
}
