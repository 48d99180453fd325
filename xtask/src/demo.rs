//! `cargo xtask demo`: everything once, from setup to a verified proof.
//!
//! It runs setup, starts the server, proves the sample witness of each circuit over HTTP and one more as a job. A bb
//! process outside of the server verifies each proof a second time. At the end the server builds circuits from a template
//! and proves with them.

mod bb_verify;
mod job;
mod local_prover;
mod template;

use std::{fs, thread, time::Duration};

use anyhow::{Context, bail};
use edgeprove_protocol::answer::{CircuitHealth, CircuitStatus, ProofAnswer};

use crate::{
    interrupt,
    paths::NpmProject,
    progress,
    server::Server,
    setup::{self, Ready},
};

/// Starts the server, proves every sample over HTTP, and verifies the proofs twice.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Build the server with optimisations. bb does the proving and is always optimised, so this saves a few
    /// milliseconds for each proof, and the build takes minutes longer.
    #[arg(long)]
    release: bool,
    /// Keep the server running until Ctrl-C, and print the address of its page.
    #[arg(long)]
    keep: bool,
}

/// The results of one circuit.
struct Proved {
    health: CircuitHealth,
    answer: ProofAnswer,
    bb_verify: Duration,
}

/// The command.
pub(crate) fn run(args: &DemoArgs) -> anyhow::Result<()> {
    // A signal must not end this process before its children have ended.
    interrupt::watch()?;
    // Ctrl-C also reaches bb, cargo and the server. Their errors after it are not reported.
    show(args).or_else(|error| interrupt::check().and(Err(error)))
}

fn show(args: &DemoArgs) -> anyhow::Result<()> {
    let ready = setup::server()?;
    setup::circom()?;
    interrupt::check()?;
    let program = Server::build(&ready, args.release)?;
    interrupt::check()?;
    let data = tempfile::tempdir().context("a temporary folder cannot be created")?;
    let mut command = Server::command(&program, &ready);
    // The demo deletes its jobs at its end, so the server should not warn about that.
    command.arg("--data").arg(data.path()).arg("--ephemeral-jobs");
    command.arg("--toolchain").arg(ready.paths.npm_project_dir(NpmProject::Circuit));
    command.arg("--page-local").arg(local_prover::provide(&ready)?);
    interrupt::check()?;
    let server = Server::start(command)?;
    progress::done("server", &format!("listening on {}", server.url()));

    let proved = prove_all(&server, &ready)?;
    prove_as_job(&server, &ready, &proved)?;
    for language in ["noir", "circom"] {
        template::build_and_prove(&server, language)?;
    }
    print_results(&proved);
    println!("\nTo prove by hand:\n\n{}\n", curl(&server, &ready, &proved));
    if args.keep {
        println!("Its page, for a browser: {}/\nThe server runs until Ctrl-C.", server.url());
        while !interrupt::is_requested() {
            server.check()?;
            thread::sleep(Duration::from_millis(100));
        }
    } else {
        println!("`cargo xtask demo --keep` keeps the server running, with its page for a browser.");
    }
    server.stop()
}

/// Proves each circuit that the server has loaded. Circuits that need more CRS points are skipped with a warning.
fn prove_all(server: &Server, ready: &Ready) -> anyhow::Result<Vec<Proved>> {
    let mut proved = Vec::new();
    for health in server.health()?.circuits {
        interrupt::check()?;
        let name = health.id.to_string();
        if health.status != CircuitStatus::Ready {
            let why = health.error.unwrap_or_default();
            if ready.crs_points >= setup::EVERY_CIRCUIT {
                bail!("the server could not load {name}: {why}");
            }
            progress::warn(&format!("{name} is skipped: {why}"));
            continue;
        }
        let witness = ready.paths.circuits.join(format!("{name}.gz"));
        let witness = fs::read(&witness).with_context(|| format!("{} cannot be read", witness.display()))?;
        let answer = server.prove(&name, &witness).with_context(|| format!("{name} was not proved"))?;
        if !answer.verified {
            bail!("the server did not verify its proof of {name}");
        }
        let bb_verify = bb_verify::verify(ready, &name, &answer)
            .with_context(|| format!("bb does not accept the proof of {name}"))?;
        progress::done(&name, "proved, verified by the server and by bb");
        proved.push(Proved { health, answer, bb_verify });
    }
    if proved.is_empty() {
        bail!("no circuit could be proved");
    }
    proved.sort_by_key(|proved| proved.health.gates);
    Ok(proved)
}

/// Proves the smallest circuit's sample as a job.
fn prove_as_job(server: &Server, ready: &Ready, proved: &[Proved]) -> anyhow::Result<()> {
    let Some(smallest) = proved.first() else { return Ok(()) };
    let name = smallest.health.id.to_string();
    let witness = ready.paths.circuits.join(format!("{name}.gz"));
    let witness = fs::read(&witness).with_context(|| format!("{} cannot be read", witness.display()))?;
    let job::Followed { stages, answer } = job::follow(server, &name, &witness)?;
    bb_verify::verify(ready, &name, &answer).context("bb does not accept the job's proof")?;
    let stages: Vec<_> = stages.into_iter().map(edgeprove_protocol::JobStage::as_str).collect();
    progress::done("job", &format!("{name}: {}; verified by the server and by bb", stages.join(", ")));
    Ok(())
}

fn print_results(proved: &[Proved]) {
    println!(
        "\nmilliseconds            gates    upload  queue   prove  verify   total    bb verify, own process"
    );
    for Proved { health, answer, bb_verify } in proved {
        let (name, gates, times) = (health.id.to_string(), health.gates.unwrap_or(0), answer.timings);
        println!(
            "{name:<20} {gates:>8} {:>9.1} {:>6.1} {:>7.1} {:>7.1} {:>7.1} {:>12.1}",
            times.upload_ms,
            times.queue_ms,
            times.prove_ms,
            times.verify_ms,
            times.total_ms,
            bb_verify.as_secs_f64() * 1000.0
        );
    }
}

/// A shell command that proves the smallest circuit.
fn curl(server: &Server, ready: &Ready, proved: &[Proved]) -> String {
    let name = proved.first().map(|proved| proved.health.id.to_string()).unwrap_or_default();
    let witness = ready.paths.circuits.join(format!("{name}.gz"));
    format!(
        "curl --data-binary @{} -H 'Content-Type: application/gzip' -H 'Accept: application/json' \\\n     \
         {}/api/prove/{name}",
        witness.display(),
        server.url()
    )
}
