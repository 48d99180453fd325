//! The flags that the help of a command shows. Commands share groups of flags, and some flags of a group concern only the
//! server.

use clap::Command;

/// Flags of the provers of a server.
const OF_A_SERVER: [&str; 6] =
    ["width", "prover_queue_max", "prover_queue_wait", "recycle_proofs", "recycle_growth", "recycle_drift"];

/// `edgeprove prove` proves one witness of one circuit.
pub(super) fn of_prove(command: Command) -> Command {
    hide(hide(command, &OF_A_SERVER), &["circuits", "circuit_family"])
}

/// `edgeprove verify` proves nothing.
pub(super) fn of_verify(command: Command) -> Command {
    let of_proofs = ["prover", "cores", "memory_max", "prove_timeout", "verify", "cache_dir", "msm"];
    hide(hide(command, &OF_A_SERVER), &of_proofs)
}

/// `edgeprove warm` computes keys.
pub(super) fn of_warm(command: Command) -> Command {
    hide(hide(command, &OF_A_SERVER), &["prove_timeout", "verify", "circuit_family", "target"])
}

fn hide(command: Command, flags: &[&str]) -> Command {
    flags.iter().fold(command, |command, flag| command.mut_arg(*flag, |flag| flag.hide(true)))
}
