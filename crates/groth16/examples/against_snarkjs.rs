//! Our prover and our witness host against snarkjs, on the same keys and inputs.
//!
//! ```sh
//! cargo xtask setup --only circom
//! cargo run --release -p edgeprove-groth16 --example against_snarkjs -- [PAIRS] [THREADS]
//! ```
//!
//! It prints a line of JSON for each comparison: `what` (`prove` with the verification of the proof, `witness`),
//! `constraints`, and the milliseconds of each pair in `ours` and `snarkjs`. `cargo xtask bench --rows groth16` runs this.
//!
//! snarkjs runs in one process of Node.js that has the key and the program in memory, and both sides are warm. The runs
//! alternate, so that a busy machine slows both sides.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program for the command line")]

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    num::NonZeroUsize,
    path::Path,
    process::{ChildStdin, ChildStdout, Stdio},
    time::Instant,
};

use edgeprove_circom_witness::{Circuit, Inputs, Limits, WitnessEngine};
use edgeprove_groth16::{ProvingKey, R1cs, Threads, Trust, WitnessValues, setup};
use edgeprove_test_circom::{self as circom, CircomCircuit};
use serde_json::json;

/// The circuits of `circuit/circom/tests`, each with its inputs: about 100 and about 30,000 constraints.
const CIRCUITS: [(&str, &str); 2] = [
    ("range", r#"{"in": "42", "randomPublicSignal": "7"}"#),
    ("long_poseidon_chain", r#"{"seed": "123456789012345678901234567890"}"#),
];

/// snarkjs in a process of its own.
struct Snarkjs {
    commands: ChildStdin,
    times: BufReader<ChildStdout>,
}

impl Snarkjs {
    /// Runs a command, and returns the milliseconds that it took there.
    fn time_ms(&mut self, command: &str) -> f64 {
        writeln!(self.commands, "{command}").unwrap();
        let mut line = String::new();
        self.times.read_line(&mut line).unwrap();
        line.trim().parse().unwrap()
    }
}

/// Times both sides in turn.
struct Comparison {
    constraints: u32,
    pairs: usize,
    snarkjs: Snarkjs,
}

impl Comparison {
    /// Runs a command of snarkjs and our function for the same, and prints the times.
    fn run(&mut self, what: &str, ours: impl Fn()) {
        let mut times: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
        // The first pair compiles and fills caches.
        for pair in 0..=self.pairs {
            let start = Instant::now();
            ours();
            let pair_times = [start.elapsed().as_secs_f64() * 1e3, self.snarkjs.time_ms(what)];
            if pair > 0 {
                times.iter_mut().zip(pair_times).for_each(|(times, time)| times.push(time));
            }
        }
        let [ours, snarkjs] = times;
        let constraints = self.constraints;
        println!("{}", json!({"what": what, "constraints": constraints, "ours": ours, "snarkjs": snarkjs}));
    }
}

fn main() {
    let mut arguments = env::args().skip(1).map(|argument| argument.parse::<NonZeroUsize>().unwrap());
    let pairs = arguments.next().map_or(11, NonZeroUsize::get);
    let threads = Threads::of_width(arguments.next().unwrap_or(NonZeroUsize::new(2).unwrap())).unwrap();
    for (name, inputs) in CIRCUITS {
        compare(name, inputs, pairs, &threads);
    }
}

fn compare(name: &str, inputs_text: &str, pairs: usize, threads: &Threads) {
    let circuit = CircomCircuit::compile(name);
    let zkey = setup(&R1cs::read(&circuit.r1cs()).unwrap(), threads).unwrap();
    let program =
        Circuit::compile(&WitnessEngine::start().unwrap(), &circuit.wasm(), Limits::default()).unwrap();
    let inputs = Inputs::parse(inputs_text.as_bytes()).unwrap();
    let witness = program.compute(&inputs, None).unwrap();

    let dir = tempfile::tempdir().unwrap();
    let [zkey_file, wtns_file, inputs_file] =
        ["zkey", "wtns", "inputs.json"].map(|name| dir.path().join(name));
    fs::write(&zkey_file, &zkey).unwrap();
    fs::write(&wtns_file, witness.wtns()).unwrap();
    fs::write(&inputs_file, inputs_text).unwrap();
    let wasm_file = circuit.wasm_path();
    let operands: [&Path; 5] = [Path::new("bench"), &zkey_file, &wtns_file, &wasm_file, &inputs_file];
    let mut node = circom::command("snarkjs.mjs", &operands);
    let mut node = node.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (commands, times) = (node.stdin.take().unwrap(), BufReader::new(node.stdout.take().unwrap()));

    let key = ProvingKey::read(&zkey, Trust::OwnSetup, threads).unwrap();
    let values = WitnessValues::read(witness.wtns()).unwrap();
    let mut comparison =
        Comparison { constraints: key.info().constraints, pairs, snarkjs: Snarkjs { commands, times } };
    comparison.run("prove", || drop(key.prove(&values, threads).unwrap()));
    comparison.run("witness", || drop(program.compute(&inputs, None).unwrap()));
    // At the end of its input the process exits.
    drop(comparison);
    assert!(node.wait().unwrap().success());
}
