//! Programs that are not those of circom, or that want to do more than compute.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic reports that a test has failed")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use edgeprove_circom_witness::{
    Circuit, CircuitError, ExceptionKind, Inputs, Limits, Witness, WitnessEngine, WitnessError,
};

/// A program with one input, whose witness is 1 and 1. Tests replace parts of it.
const PROGRAM: &str = r#"(module
  (import "runtime" "exceptionHandler" (func $exception (param i32)))
  (import "runtime" "printErrorMessage" (func $error_message))
  (import "runtime" "writeBufferMessage" (func $log_message))
  (memory (export "memory") 1)
  (data (i32.const 8) "\01\00\00\f0\93\f5\e1\43\91\70\b9\79\48\e8\33\28\5d\58\81\81\b6\45\50\b8\29\a0\31\e1\72\4e\64\30")
  (global $message (mut i32) (i32.const 0))
  (func $store (param $value i64)
    (i64.store (i32.const 64) (local.get $value))
    (i64.store (i32.const 72) (i64.const 0))
    (i64.store (i32.const 80) (i64.const 0))
    (i64.store (i32.const 88) (i64.const 0)))
  (func (export "getVersion") (result i32) (i32.const 2))
  (func (export "getSharedRWMemoryStart") (result i32) (i32.const 64))
  (func (export "getFieldNumLen32") (result i32) (i32.const 8))
  (func (export "getRawPrime")
    (i64.store (i32.const 64) (i64.load (i32.const 8)))
    (i64.store (i32.const 72) (i64.load (i32.const 16)))
    (i64.store (i32.const 80) (i64.load (i32.const 24)))
    (i64.store (i32.const 88) (i64.load (i32.const 32))))
  (func (export "getInputSize") (result i32) (i32.const 1))
  (func (export "getWitnessSize") (result i32) (i32.const 2))
  (func (export "getInputSignalSize") (param i32 i32) (result i32) (i32.const 1))
  (func (export "init") (param i32))
  (func $set (export "setInputSignal") (param i32 i32 i32) (nop))
  (func (export "getWitness") (param i32) (call $store (i64.const 1)))
  (func (export "getMessageChar") (result i32) (i32.const 0))
)"#;

/// The body of `setInputSignal`, where circom's programs compute.
const BODY: &str = "(nop)";

fn limits() -> Limits {
    Limits {
        function_bytes: 1 << 20,
        program_bytes: 1 << 20,
        memory_bytes: 4 << 20,
        table_entries: 100,
        time: Duration::from_millis(300),
    }
}

fn compile_bytes(wasm: &[u8]) -> Result<Circuit, CircuitError> {
    Circuit::compile(&WitnessEngine::start().unwrap(), wasm, limits())
}

#[track_caller]
fn wasm(from: &str, to: &str) -> Vec<u8> {
    assert!(PROGRAM.contains(from), "the program has no {from}");
    wat::parse_str(PROGRAM.replacen(from, to, 1)).unwrap()
}

#[track_caller]
fn compile(from: &str, to: &str) -> Result<Circuit, CircuitError> {
    compile_bytes(&wasm(from, to))
}

fn compute(circuit: &Circuit) -> Result<Witness, WitnessError> {
    circuit.compute(&Inputs::parse(br#"{"a": 4242}"#).unwrap(), None)
}

/// Computes with another body of the function that computes.
#[track_caller]
fn failure(body: &str) -> WitnessError {
    compute(&compile(BODY, body).unwrap()).unwrap_err()
}

#[test]
fn the_unchanged_program_works() {
    let circuit = compile(BODY, BODY).unwrap();
    assert_eq!((circuit.input_size(), circuit.witness_size()), (1, 2));
    assert_eq!(compute(&circuit).unwrap().public_signals(1).unwrap(), ["1"]);
}

#[test]
fn an_endless_loop_ends_at_the_time_limit() {
    let start = Instant::now();
    let error = failure("(loop $again (br $again))");
    assert_eq!(error, WitnessError::DeadlineExceeded { limit: limits().time });
    assert!(start.elapsed() >= limits().time);
}

#[test]
fn a_cancelled_program_ends_early() {
    let limits = Limits { time: Duration::from_mins(10), ..limits() };
    let endless = wasm(BODY, "(loop $again (br $again))");
    let circuit = Circuit::compile(&WitnessEngine::start().unwrap(), &endless, limits).unwrap();
    let cancelled = Arc::new(AtomicBool::new(false));
    let for_thread = Arc::clone(&cancelled);
    let computing =
        thread::spawn(move || circuit.compute(&Inputs::parse(br#"{"a": 1}"#).unwrap(), Some(for_thread)));
    cancelled.store(true, Ordering::Relaxed);
    assert_eq!(computing.join().unwrap().unwrap_err(), WitnessError::Cancelled);
}

#[test]
fn traps_are_errors() {
    for body in [
        "(unreachable)",
        "(call $set (local.get 0) (local.get 1) (local.get 2))",
        "(drop (i32.load (i32.const -1)))",
    ] {
        let error = failure(body);
        assert!(matches!(error, WitnessError::Trapped(_)), "{body}: {error}");
        assert!(!error.to_string().contains("4242"));
    }
}

#[test]
fn memory_is_bounded() {
    let limit = limits().memory_bytes;
    assert_eq!(failure("(drop (memory.grow (i32.const 1000)))"), WitnessError::MemoryLimit { limit });
    // Growth below the limit is allowed.
    compute(&compile(BODY, "(drop (memory.grow (i32.const 10)))").unwrap()).unwrap();
    let error = compile("(memory (export \"memory\") 1)", "(memory (export \"memory\") 65536)").unwrap_err();
    assert!(matches!(error, CircuitError::MemoryTooLarge { bytes: 0x1_0000_0000, .. }), "{error}");
}

#[test]
fn tables_are_bounded() {
    let with_table = |table: &str| compile("(global $message", &format!("(table {table})\n(global $message"));
    with_table("100 funcref").unwrap();
    let error = with_table("101 funcref").unwrap_err();
    assert!(matches!(error, CircuitError::TableTooLarge { entries: 101, limit: 100 }), "{error}");
    let error = with_table("4000000000 funcref").unwrap_err();
    assert!(matches!(error, CircuitError::TableTooLarge { .. }), "{error}");
    let error = with_table("1 funcref) (table 1 funcref").unwrap_err();
    assert!(matches!(error, CircuitError::TooManyResources), "{error}");
}

#[test]
fn foreign_imports_are_refused() {
    let import = "(import \"runtime\" \"exceptionHandler\" (func $exception (param i32)))";
    for other in [
        "(import \"wasi_snapshot_preview1\" \"fd_write\" (func $exception (param i32)))",
        "(import \"runtime\" \"readFile\" (func $exception (param i32)))",
        "(import \"runtime\" \"exceptionHandler\" (func $exception (param i64)))",
        "(import \"runtime\" \"exceptionHandler\" (func $exception (param i32) (result i32)))",
        "(import \"runtime\" \"exceptionHandler\" (global $exception i32))",
        "(import \"env\" \"memory\" (memory $imported 1))",
    ] {
        let mut other_program = PROGRAM.replacen(import, other, 1);
        if other.contains("(memory") {
            // Otherwise it would be a second memory.
            other_program = other_program.replacen("(memory (export \"memory\") 1)", "", 1);
        }
        let error = compile_bytes(&wat::parse_str(other_program).unwrap()).unwrap_err();
        assert!(matches!(error, CircuitError::ForeignImport { .. }), "{other}: {error}");
    }
}

#[test]
fn bytes_that_are_no_program_are_refused() {
    let good = wasm(BODY, BODY);
    for bytes in [b"".as_slice(), b"\0asm", b"(module)", PROGRAM.as_bytes(), &good[..good.len() - 1]] {
        let error = compile_bytes(bytes).unwrap_err();
        assert!(matches!(error, CircuitError::NotWasm { .. }), "{error}");
    }
    let long = vec![0; limits().program_bytes + 1];
    assert!(matches!(compile_bytes(&long).unwrap_err(), CircuitError::ProgramTooLong { .. }));
}

#[test]
fn every_export_of_circom_is_needed() {
    for name in [
        "memory",
        "getVersion",
        "getSharedRWMemoryStart",
        "getFieldNumLen32",
        "getRawPrime",
        "getInputSize",
        "getWitnessSize",
        "getInputSignalSize",
        "init",
        "setInputSignal",
        "getWitness",
        "getMessageChar",
    ] {
        let error = compile(&format!("\"{name}\""), "\"other\"").unwrap_err();
        let CircuitError::MissingExport { name: missing } = error else { panic!("{name}: {error}") };
        assert_eq!(missing, name);
    }
    let error = compile("\"getVersion\") (result i32) (i32.const 2)", "\"getVersion\")").unwrap_err();
    assert!(matches!(error, CircuitError::MissingExport { name: "getVersion" }), "{error}");
}

#[test]
fn other_versions_and_fields_are_refused() {
    let error =
        compile("\"getVersion\") (result i32) (i32.const 2)", "\"getVersion\") (result i32) (i32.const 1)");
    assert!(matches!(error.unwrap_err(), CircuitError::UnsupportedVersion { version: 1 }));
    let error = compile("\\01\\00\\00\\f0", "\\02\\00\\00\\f0");
    assert!(matches!(error.unwrap_err(), CircuitError::WrongField));
    let error = compile("(result i32) (i32.const 8))", "(result i32) (i32.const 12))");
    assert!(matches!(error.unwrap_err(), CircuitError::WrongField));
}

#[test]
fn impossible_sizes_are_refused() {
    for (name, size) in
        [("getWitnessSize", -1), ("getWitnessSize", 0), ("getWitnessSize", 1 << 30), ("getInputSize", -1)]
    {
        let old = if name == "getInputSize" { 1 } else { 2 };
        let function = |size: i32| format!("\"{name}\") (result i32) (i32.const {size})");
        let error = compile(&function(old), &function(size)).unwrap_err();
        assert!(matches!(error, CircuitError::ImpossibleSize), "{name} {size}: {error}");
    }
    for offset in [-1, 65_536 - 31] {
        let function = |offset: i32| format!("\"getSharedRWMemoryStart\") (result i32) (i32.const {offset})");
        let error = compile(&function(64), &function(offset)).unwrap_err();
        let is_misbehaviour = matches!(error, CircuitError::DoesNotStart(WitnessError::Misbehaved { .. }));
        assert!(is_misbehaviour, "{offset}: {error}");
    }
}

#[test]
fn a_start_function_is_bounded_too() {
    let error = compile(
        "(global $message",
        "(func $main (loop $again (br $again)))\n(start $main)\n(global $message",
    );
    let error = error.unwrap_err();
    assert!(matches!(error, CircuitError::DoesNotStart(WitnessError::DeadlineExceeded { .. })), "{error}");
}

#[test]
fn exceptions_cannot_be_ignored() {
    for (code, kind) in
        [(1, ExceptionKind::SignalNotFound), (4, ExceptionKind::AssertFailed), (99, ExceptionKind::Unknown)]
    {
        let WitnessError::Exception(exception) = failure(&format!("(call $exception (i32.const {code}))"))
        else {
            panic!("no exception");
        };
        assert_eq!((exception.kind, exception.locations), (kind, vec![]));
    }
}

#[test]
fn endless_and_invented_messages_are_dropped() {
    let endless = "\"getMessageChar\") (result i32) (i32.const 52)";
    let changed = PROGRAM.replacen("\"getMessageChar\") (result i32) (i32.const 0)", endless, 1).replacen(
        BODY,
        "(call $log_message) (call $error_message) (call $exception (i32.const 4))",
        1,
    );
    let circuit = compile_bytes(&wat::parse_str(changed).unwrap()).unwrap();
    let error = compute(&circuit).unwrap_err();
    assert_eq!(error.to_string(), "the inputs do not satisfy the circuit: an assertion failed");
}

#[test]
fn a_message_inside_a_message_is_an_error() {
    let recursive = "\"getMessageChar\") (result i32) (call $error_message) (i32.const 0)";
    let changed = PROGRAM.replacen("\"getMessageChar\") (result i32) (i32.const 0)", recursive, 1).replacen(
        BODY,
        "(call $error_message)",
        1,
    );
    let circuit = compile_bytes(&wat::parse_str(changed).unwrap()).unwrap();
    assert!(matches!(compute(&circuit).unwrap_err(), WitnessError::Misbehaved { .. }));
}

#[test]
fn values_beyond_the_modulus_are_noticed() {
    let all_ones = "(call $store (i64.const -1)) (i64.store (i32.const 88) (i64.const -1))";
    let circuit = compile("(call $store (i64.const 1))", all_ones).unwrap();
    assert_eq!(compute(&circuit).unwrap_err(), WitnessError::NotCanonical { index: 0 });
}
