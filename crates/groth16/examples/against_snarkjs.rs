//! Our prover and our witness host against snarkjs, on the same key and inputs.
//!
//! ```sh
//! cargo xtask setup --only circom
//! cargo run --release -p edgeprove-groth16 --example against_snarkjs -- [PAIRS] [THREADS]
//! ```
//!
//! snarkjs runs in one process of Node.js that has the key and the program in memory, and both sides are warm. The runs
//! alternate, so that a busy machine slows both sides. The ratios are medians over pairs.

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

const INPUTS: &str = r#"{"seed": "123456789012345678901234567890"}"#;

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

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints the medians of both sides and of their ratios.
fn compare(what: &str, pairs: usize, mut ours: impl FnMut(), mut snarkjs: impl FnMut() -> f64) {
    // The first runs compile and fill caches.
    ours();
    snarkjs();
    let times: Vec<(f64, f64)> = (0..pairs)
        .map(|_| {
            let start = Instant::now();
            ours();
            (start.elapsed().as_secs_f64() * 1e3, snarkjs())
        })
        .collect();
    let column = |column: fn(&(f64, f64)) -> f64| median(times.iter().map(column).collect());
    let (ours, theirs, ratio) = (column(|t| t.0), column(|t| t.1), column(|t| t.0 / t.1));
    println!("{what}: ours {ours:.1} ms, snarkjs {theirs:.1} ms, ratio {ratio:.3} (median of {pairs} pairs)");
}

fn main() {
    let mut arguments = env::args().skip(1).map(|argument| argument.parse::<NonZeroUsize>().unwrap());
    let pairs = arguments.next().map_or(11, NonZeroUsize::get);
    let threads = Threads::of_width(arguments.next().unwrap_or(NonZeroUsize::new(2).unwrap())).unwrap();

    let circuit = CircomCircuit::compile("poseidon_chain");
    let start = Instant::now();
    let zkey = setup(&R1cs::read(&circuit.r1cs()).unwrap(), &threads).unwrap();
    println!("setup: {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    let start = Instant::now();
    let program =
        Circuit::compile(&WitnessEngine::start().unwrap(), &circuit.wasm(), Limits::default()).unwrap();
    println!("compilation of the witness program: {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    let inputs = Inputs::parse(INPUTS.as_bytes()).unwrap();
    let witness = program.compute(&inputs, None).unwrap();

    let dir = tempfile::tempdir().unwrap();
    let [zkey_file, wtns_file, inputs_file] =
        ["zkey", "wtns", "inputs.json"].map(|name| dir.path().join(name));
    fs::write(&zkey_file, &zkey).unwrap();
    fs::write(&wtns_file, witness.wtns()).unwrap();
    fs::write(&inputs_file, INPUTS).unwrap();
    let wasm_file = circuit.wasm_path();
    let operands: [&Path; 5] = [Path::new("bench"), &zkey_file, &wtns_file, &wasm_file, &inputs_file];
    let mut node = circom::command("snarkjs.mjs", &operands);
    let mut node = node.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (commands, times) = (node.stdin.take().unwrap(), BufReader::new(node.stdout.take().unwrap()));
    let mut snarkjs = Snarkjs { commands, times };

    let key = ProvingKey::read(&zkey, Trust::OwnSetup, &threads).unwrap();
    let values = WitnessValues::read(witness.wtns()).unwrap();
    println!("{} constraints, {} threads", key.info().constraints, threads.width());
    let prove = || drop(key.prove(&values, &threads).unwrap());
    compare("prove and verify", pairs, prove, || snarkjs.time_ms("prove"));
    let compute = || drop(program.compute(&inputs, None).unwrap());
    compare("witness", pairs, compute, || snarkjs.time_ms("witness"));
    // At the end of its input the process exits.
    drop(snarkjs);
    assert!(node.wait().unwrap().success());
}
