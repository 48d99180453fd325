//! Native against WebAssembly: the same witness proved by the server and by bb.js, on the same cores.

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
    bbjs.into_inner().end()?;

    let figure = |name: &str, samples| Figure::new(name, Unit::Milliseconds, samples);
    let (ours, theirs) = (figure("POST", ours), figure("bb.js", theirs));
    let ratio = Figure::ratio(&theirs, &ours);
    let from = vec![theirs, figure("bb.js with a ready key", keyed), ours];
    Ok(Row::held("bb.js in WebAssembly over warm POST", ratio, Goal::AtLeast(3.0), from).of(workload))
}

/// A node that proves when it is told to.
struct BbJs {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    log: std::fs::File,
}

impl BbJs {
    fn start(fixture: &Fixture, workload: &Workload) -> anyhow::Result<Self> {
        let log = tempfile::tempfile().context("no temporary file can be made")?;
        let mut child = Command::new("node")
            .arg("prove_in_wasm.mjs")
            .args([&workload.circuit, &workload.witness, &fixture.bb.crs])
            .args([fixture.ready.crs_points.to_string(), fixture.cores.to_string()])
            .current_dir(fixture.ready.paths.circuit_dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.try_clone()?)
            .spawn()
            .context("node cannot be started")?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (stdin, stdout) = stdin.zip(stdout).context("node has no pipes")?;
        Ok(Self { child, stdin, stdout: BufReader::new(stdout), log })
    }

    /// Proves once; in milliseconds, by node's own clock.
    fn prove(&mut self, way: &str) -> anyhow::Result<f64> {
        // A node that has ended says below why it has.
        let _ = writeln!(self.stdin, "{way}");
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            let status = self.child.wait()?;
            let mut said = String::new();
            self.log.rewind()?;
            self.log.read_to_string(&mut said)?;
            bail!("bb.js ended, {status}\n{said}");
        }
        line.trim().parse().with_context(|| format!("bb.js answers {line:?}"))
    }

    fn end(mut self) -> anyhow::Result<()> {
        drop(self.stdin);
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(anyhow::anyhow!("bb.js did not end well, {status}")) }
    }
}
