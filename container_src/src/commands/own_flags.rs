//! The flags that the help of a command shows. Commands share groups of flags, and some flags of a group concern only the
//! server.

use clap::Command;

/// Flags of the provers of a server.
const OF_A_SERVER: [&str; 6] =
    ["width", "prover_queue_max", "prover_queue_wait", "recycle_proofs", "recycle_growth", "recycle_drift"];

/// Flags whose help is about requests, with the help for one proof.
const OF_PROVE: [(&str, &str); 5] = [
    (
        "circuit",
        "Compiled circuit to prove: target/NAME.json of `nargo compile`, or the key NAME.zkey of a circom circuit, with \
         its program NAME.wasm (or `NAME_js/NAME.wasm`) beside it",
    ),
    (
        "target",
        "Target of the proof: `noir-recursive` (verified by bb and bb.js) or `evm` (verified in Solidity). Default: \
         noir-recursive. The target of a circom circuit is always `groth16`",
    ),
    (
        "verify",
        "`on` verifies the proof before it is written. `off` saves some milliseconds, but writes an invalid proof for an \
         unsatisfied witness",
    ),
    (
        "memory_max",
        "Memory that bb may use. A circuit that does not fit is not loaded. Default: the memory of the machine or the \
         container minus one eighth (64 to 512 MiB)",
    ),
    ("prove_timeout", "Longest time for the proof. A proof that takes longer is stopped and fails"),
];

/// `edgeprove prove` proves one witness of one circuit.
pub(super) fn of_prove(command: Command) -> Command {
    let command = hide(hide(command, &OF_A_SERVER), &["circuits", "circuit_family", "spool_max"]);
    OF_PROVE.iter().fold(command, |command, (flag, help)| command.mut_arg(*flag, |flag| flag.help(*help)))
}

/// `edgeprove verify` proves nothing, and needs no CRS.
pub(super) fn of_verify(command: Command) -> Command {
    let of_proofs =
        ["prover", "cores", "memory_max", "prove_timeout", "verify", "crs", "cache_dir", "msm", "spool_max"];
    hide(hide(command, &OF_A_SERVER), &of_proofs)
}

/// `edgeprove warm` computes keys.
pub(super) fn of_warm(command: Command) -> Command {
    hide(hide(command, &OF_A_SERVER), &["prove_timeout", "verify", "circuit_family", "target", "spool_max"])
}

/// `edgeprove work` proves jobs whose requests another server has accepted.
pub(super) fn of_work(command: Command) -> Command {
    let command = hide(command, &["prover_queue_max", "prover_queue_wait"]);
    command.mut_arg("circuit", |flag| {
        flag.help("Compiled circuit whose jobs are proved, as for `edgeprove serve`. May be repeated")
    })
}

fn hide(command: Command, flags: &[&str]) -> Command {
    flags.iter().fold(command, |command, flag| command.mut_arg(*flag, |flag| flag.hide(true)))
}
