//! `edgeprove audit`: the log, handed out and held against itself. Neither needs a server, or that it stands still.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use edgeprove_job_rules::audit::{
    Link, Verifier,
    chain::{LineFault, Verified},
};

use super::outcome::{self, Failure, other};
use crate::config::{Faults, RawSetting, faults::Setting, raw_setting};
use edgeprove_audit::{
    AuditError,
    file::{LINE_MAX_BYTES, Lines},
};

/// Flags of `edgeprove audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Say whether a log, or a piece of one, is as it was written: 0 whole, 1 broken, 66 unreadable.
    Verify(VerifyArgs),
    /// Write the log's lines to standard output: 0 done, 1 the log is damaged, 66 unreadable.
    Export(ExportArgs),
}

#[derive(Debug, Args)]
struct VerifyArgs {
    /// The log, or what was exported of it; `-` is standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// An entry that must be in it, as it was noted earlier: the `head` of an earlier verification. May be given several
    /// times.
    #[arg(long, value_name = "SEQ:HASH", value_parser = raw_setting::<Link>)]
    anchor: Vec<RawSetting<Link>>,
}

#[derive(Debug, Args)]
struct ExportArgs {
    /// The log, as the server is given it.
    #[arg(long, env = "EDGEPROVE_AUDIT", value_name = "FILE")]
    audit: Option<PathBuf>,

    /// Only entries after the one of this number.
    #[arg(long, value_name = "SEQ", default_value = "0", value_parser = raw_setting::<u64>)]
    after: RawSetting<u64>,

    /// At most so many.
    #[arg(long, value_name = "N", value_parser = raw_setting::<usize>)]
    limit: Option<RawSetting<usize>>,
}

impl Setting for Link {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "SEQ:HASH, a number and 64 hexadecimal digits in lower case".to_owned())
    }
}

/// The log cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be read", path.display())]
struct Unreadable {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// What a log turned out to be.
enum Verdict {
    Whole { chain: Verified, torn: bool },
    Broken { line: u64, fault: LineFault },
}

/// See `AuditCommand`.
#[must_use]
pub fn run(args: AuditArgs) -> ExitCode {
    outcome::run(async {
        match args.command {
            AuditCommand::Verify(args) => args.run(),
            AuditCommand::Export(args) => args.run(),
        }
    })
}

impl VerifyArgs {
    fn run(self) -> Result<ExitCode, Failure> {
        let mut faults = Faults::default();
        let anchors = faults.take_all("anchor", self.anchor);
        let anchors = faults.finish(Some(anchors))?;
        let path = self.file;
        let verdict = read(&path).and_then(|log| verify(log, anchors));
        let verdict = verdict.map_err(|source| Failure::NoInput(Box::new(Unreadable { path, source })))?;
        let mut out = io::stdout().lock();
        tell(&mut out, &verdict).map_err(other)?;
        Ok(match verdict {
            Verdict::Whole { .. } => ExitCode::SUCCESS,
            Verdict::Broken { .. } => ExitCode::FAILURE,
        })
    }
}

fn read(path: &Path) -> io::Result<Box<dyn BufRead>> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    Ok(Box::new(BufReader::new(File::open(path)?)))
}

fn verify(mut log: impl BufRead, anchors: Vec<Link>) -> io::Result<Verdict> {
    let (mut verifier, mut torn, mut line) = (Verifier::with_anchors(anchors), false, 0);
    loop {
        let mut bytes = Vec::new();
        if log.by_ref().take(LINE_MAX_BYTES as u64).read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        line += 1;
        let has_end = bytes.pop_if(|byte| *byte == b'\n').is_some();
        let taken = match str::from_utf8(&bytes) {
            Ok(text) => verifier.take(text),
            Err(_) => Err(LineFault::NotAnEntry { why: "it is not text".to_owned() }),
        };
        match taken {
            Ok(_) => {}
            // What a crash leaves of a line that nobody was told of, or what is being written just now.
            Err(LineFault::NotAnEntry { .. }) if !has_end && bytes.len() < LINE_MAX_BYTES => torn = true,
            Err(fault) => return Ok(Verdict::Broken { line, fault }),
        }
    }
    Ok(match verifier.finish() {
        Ok(chain) => Verdict::Whole { chain, torn },
        Err(fault) => Verdict::Broken { line: line + 1, fault },
    })
}

fn tell(out: &mut impl io::Write, verdict: &Verdict) -> io::Result<()> {
    match verdict {
        Verdict::Broken { line, fault } => writeln!(out, "broken at line {line}: {fault}"),
        Verdict::Whole { chain: Verified { begins_after, head }, torn } => {
            let entries = head.seq - begins_after.seq;
            writeln!(out, "whole: {entries} {}", if entries == 1 { "entry" } else { "entries" })?;
            if begins_after.seq > 0 {
                writeln!(out, "begins after: {begins_after}")?;
            }
            if *torn {
                writeln!(out, "a last line without an end was left out")?;
            }
            writeln!(out, "head: {head}")
        }
    }
}

impl ExportArgs {
    fn run(self) -> Result<ExitCode, Failure> {
        let mut faults = Faults::default();
        let after = faults.take("after", self.after);
        let limit = self.limit.map_or(Some(usize::MAX), |limit| faults.take("limit", limit));
        if self.audit.is_none() {
            faults.add("--audit (EDGEPROVE_AUDIT): name the log");
        }
        let settings = || Some((self.audit?, after?, limit?));
        let (path, after, limit) = faults.finish(settings())?;
        let mut out = io::BufWriter::new(io::stdout().lock());
        for line in Lines::of(&path, after).map_err(failure)?.take(limit) {
            let (line, _) = line.map_err(failure)?;
            match writeln!(out, "{line}") {
                // Whoever reads has seen enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
                written => written.map_err(other)?,
            }
        }
        out.flush().map_err(other)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn failure(error: AuditError) -> Failure {
    match error {
        AuditError::Io { .. } => Failure::NoInput(Box::new(error)),
        AuditError::Damaged { .. } | AuditError::InUse { .. } | AuditError::WriterEnded => other(error),
    }
}
