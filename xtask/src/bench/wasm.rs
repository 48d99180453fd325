//! Native proving against WebAssembly: the server and bb.js prove the same witness on the same cores.

use std::{
    io::{BufRead, BufReader, Read, Seek, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, bail};

use super::{
    client::Client,
    fixture::{Fixture, Workload},
    report::{Figure, Goal, Row, Unit},
    sampling,
};
use crate::server::Server;

/// A row for each circuit.
pub(super) fn rows(fixture: &Fixture) -> anyhow::Result<Vec<Row>> {
    let server = fixture.serve::<&str>(&[])?;
    fixture.workloads.iter().map(|workload| one(fixture, workload, &server)).collect()
}

fn one(fixture: &Fixture, workload: &Workload, server: &Server) -> anyhow::Result<Row> {
    let client = Client::new(server.url());
    let bbjs = std::cell::RefCell::new(BbJs::start(fixture, workload)?);
    let mut ours = || Ok(client.prove(&workload.name, &workload.witness_bytes)?.ms);
    let mut theirs = || bbjs.borrow_mut().prove("backend");
    let mut keyed = || bbjs.borrow_mut().prove("keyed");
    let [ours, theirs, keyed] =
        sampling::in_turn(fixture.few_rounds(), &mut [&mut ours, &mut theirs, &mut keyed])?;
    bbjs.into_inner().stop()?;

    let figure = |name: &str, samples| Figure::new(name, Unit::Milliseconds, samples);
    let (ours, theirs) = (figure("POST", ours), figure("bb.js", theirs));
    let ratio = Figure::ratio(&theirs, &ours);
    let from = vec![theirs, figure("bb.js with a ready key", keyed), ours];
    Ok(Row::with_goal("bb.js in WebAssembly over warm POST", ratio, Goal::AtLeast(3.0), from).of(workload))
}

/// A Node.js process that proves one witness once for each line on its standard input.
struct BbJs {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    log: std::fs::File,
}

impl BbJs {
    fn start(fixture: &Fixture, workload: &Workload) -> anyhow::Result<Self> {
        let log = tempfile::tempfile().context("a temporary file cannot be created")?;
        let mut child = Command::new("node")
            .arg("prove_in_wasm.mjs")
            .args([&workload.circuit, &workload.witness, &fixture.bb.crs])
            .args([fixture.ready.crs_points.to_string(), fixture.cores.to_string()])
            .current_dir(fixture.ready.paths.circuit_dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.try_clone()?)
            .spawn()
            .context("Node.js cannot be started")?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (stdin, stdout) = stdin.zip(stdout).context("Node.js has no pipes")?;
        Ok(Self { child, stdin, stdout: BufReader::new(stdout), log })
    }

    /// Proves once. Returns the time by the clock of Node.js, in milliseconds.
    fn prove(&mut self, mode: &str) -> anyhow::Result<f64> {
        // If Node.js has exited, the read below fails and reports its log.
        let _ = writeln!(self.stdin, "{mode}");
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            let status = self.child.wait()?;
            let mut output = String::new();
            self.log.rewind()?;
            self.log.read_to_string(&mut output)?;
            bail!("bb.js ended, {status}\n{output}");
        }
        line.trim().parse().with_context(|| format!("bb.js returned {line:?}"))
    }

    fn stop(mut self) -> anyhow::Result<()> {
        drop(self.stdin);
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(anyhow::anyhow!("bb.js failed at its end, {status}")) }
    }
}
