//! `edgeprove audit`: verifies and exports the audit log. The server may run meanwhile, or not.

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

use super::exit_status::{self, Failure, other};
use crate::config::{Faults, RawSetting, raw_setting, setting::Setting};
use edgeprove_audit::{
    AuditError,
    filter::{EntryFilter, RawFilter},
    lines::{LINE_MAX_BYTES, Lines, last_of},
};

/// Flags of `edgeprove audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Check that a log, or a part of one, was not changed. Exit status: 0 intact, 1 changed, 66 unreadable.
    Verify(VerifyArgs),
    /// Print the lines of the log, all or selected ones. Exit status: 0 done, 1 the log is damaged, 66 unreadable.
    Export(Box<ExportArgs>),
}

#[derive(Debug, Args)]
struct VerifyArgs {
    /// The log, or a part that was exported. `-` is standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Entry that the log must contain: the `head` that an earlier verification printed. May be repeated.
    #[arg(long, value_name = "SEQ:HASH", value_parser = raw_setting::<Link>)]
    anchor: Vec<RawSetting<Link>>,
}

#[derive(Debug, Args)]
struct ExportArgs {
    /// The log, as in the server's settings.
    #[arg(long, env = "EDGEPROVE_AUDIT", value_name = "FILE")]
    audit: Option<PathBuf>,

    /// Number of the entry after which to start.
    #[arg(long, value_name = "SEQ", default_value = "0", value_parser = raw_setting::<u64>)]
    after: RawSetting<u64>,

    /// Most entries to print. Default: all.
    #[arg(long, value_name = "N", value_parser = raw_setting::<usize>)]
    limit: Option<RawSetting<usize>>,

    /// Print only the last N entries, after all other selections.
    #[arg(long, value_name = "N", conflicts_with_all = ["after", "limit"], value_parser = raw_setting::<usize>)]
    last: Option<RawSetting<usize>>,

    /// Print only entries with this action, such as `job.cancelled`.
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,

    /// Print only entries of this actor: `key:NAME`, `anonymous` or `server`.
    #[arg(long, value_name = "ACTOR")]
    actor: Option<String>,

    /// Print only entries about this circuit.
    #[arg(long, value_name = "NAME")]
    circuit: Option<String>,

    /// Print only entries from this time on, such as `2026-11-29T08:00:00Z`.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Print only entries before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

/// Which lines are printed.
enum Selection {
    /// Those after a number, up to a count.
    After(u64, usize),
    /// The last ones.
    Last(usize),
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

/// The result of a verification.
enum Verdict {
    Intact { chain: Verified, has_unfinished_line: bool },
    Changed { line: u64, fault: LineFault },
}

/// Runs `edgeprove audit verify` or `edgeprove audit export`.
#[must_use]
pub fn run(args: AuditArgs) -> ExitCode {
    exit_status::run(async {
        match args.command {
            AuditCommand::Verify(args) => args.run(),
            AuditCommand::Export(args) => args.run(),
        }
    })
}

impl VerifyArgs {
    fn run(self) -> Result<ExitCode, Failure> {
        let mut faults = Faults::default();
        let anchors: Vec<Link> =
            self.anchor.into_iter().filter_map(|anchor| faults.take_named("--anchor", anchor)).collect();
        let anchors = faults.finish(Some(anchors))?;
        let path = self.file;
        let verdict = read(&path).and_then(|log| verify(log, anchors));
        let verdict = verdict.map_err(|source| Failure::NoInput(Box::new(Unreadable { path, source })))?;
        let mut out = io::stdout().lock();
        print(&mut out, &verdict).map_err(other)?;
        Ok(match verdict {
            Verdict::Intact { .. } => ExitCode::SUCCESS,
            Verdict::Changed { .. } => ExitCode::FAILURE,
        })
    }
}

/// What is wrong with a log; `None`: it is intact.
pub(super) fn fault_of(path: &Path) -> io::Result<Option<String>> {
    Ok(match verify(read(path)?, Vec::new())? {
        Verdict::Intact { .. } => None,
        Verdict::Changed { line, fault } => Some(format!("broken at line {line}: {fault}")),
    })
}

fn read(path: &Path) -> io::Result<Box<dyn BufRead>> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    Ok(Box::new(BufReader::new(File::open(path)?)))
}

fn verify(mut log: impl BufRead, anchors: Vec<Link>) -> io::Result<Verdict> {
    let (mut verifier, mut has_unfinished_line, mut line) = (Verifier::with_anchors(anchors), false, 0);
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
            // A crash has interrupted the write of this line, or the server is writing it now.
            Err(LineFault::NotAnEntry { .. }) if !has_end && bytes.len() < LINE_MAX_BYTES => {
                has_unfinished_line = true;
            }
            Err(fault) => return Ok(Verdict::Changed { line, fault }),
        }
    }
    Ok(match verifier.finish() {
        Ok(chain) => Verdict::Intact { chain, has_unfinished_line },
        Err(fault) => Verdict::Changed { line: line + 1, fault },
    })
}

fn print(out: &mut impl io::Write, verdict: &Verdict) -> io::Result<()> {
    match verdict {
        Verdict::Changed { line, fault } => writeln!(out, "broken at line {line}: {fault}"),
        Verdict::Intact { chain: Verified { begins_after, head }, has_unfinished_line } => {
            let entries = head.seq - begins_after.seq;
            writeln!(out, "whole: {entries} {}", if entries == 1 { "entry" } else { "entries" })?;
            if begins_after.seq > 0 {
                writeln!(out, "begins after: {begins_after}")?;
            }
            if *has_unfinished_line {
                writeln!(out, "an unfinished last line was ignored")?;
            }
            writeln!(out, "head: {head}")
        }
    }
}

impl ExportArgs {
    fn run(self) -> Result<ExitCode, Failure> {
        let (path, selection, filter) = self.settings()?;
        let mut out = io::BufWriter::new(io::stdout().lock());
        match selection {
            Selection::Last(count) => {
                for record in last_of(&path, &filter, count).map_err(failure)? {
                    if !write_line(&mut out, &record.line())? {
                        return Ok(ExitCode::SUCCESS);
                    }
                }
            }
            Selection::After(after, limit) => {
                let lines = Lines::of(&path, after).map_err(failure)?;
                let is_wanted = |line: &Result<_, _>| match line {
                    Ok((_, record)) => filter.allows(record),
                    Err(_) => true,
                };
                for line in lines.filter(is_wanted).take(limit) {
                    let (line, _) = line.map_err(failure)?;
                    if !write_line(&mut out, &line)? {
                        return Ok(ExitCode::SUCCESS);
                    }
                }
            }
        }
        out.flush().map_err(other)?;
        Ok(ExitCode::SUCCESS)
    }

    fn settings(self) -> Result<(PathBuf, Selection, EntryFilter), Failure> {
        let mut faults = Faults::default();
        let after = faults.take_named("--after", self.after);
        let limit = self.limit.map_or(Some(usize::MAX), |limit| faults.take_named("--limit", limit));
        let selection = match self.last {
            Some(last) => faults.take_named("--last", last).map(Selection::Last),
            None => after.zip(limit).map(|(after, limit)| Selection::After(after, limit)),
        };
        let Self { action, actor, circuit, since, until, .. } = self;
        let filter = match (RawFilter { action, actor, circuit, since, until }).parse() {
            Ok(filter) => Some(filter),
            Err(errors) => {
                for error in errors {
                    faults.add(format!("--{} must be {}", error.name, error.wanted));
                }
                None
            }
        };
        if self.audit.is_none() {
            faults.add("--audit (EDGEPROVE_AUDIT) is missing: give the file of the log");
        }
        let settings = || Some((self.audit?, selection?, filter?));
        Ok(faults.finish(settings())?)
    }
}

/// Writes a line. Returns false if the reader, such as `head`, wants no more lines.
fn write_line(out: &mut impl io::Write, line: &str) -> Result<bool, Failure> {
    match writeln!(out, "{line}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true).map_err(other),
    }
}

fn failure(error: AuditError) -> Failure {
    match error {
        AuditError::Io { .. } => Failure::NoInput(Box::new(error)),
        AuditError::Damaged { .. }
        | AuditError::InUse { .. }
        | AuditError::Changed { .. }
        | AuditError::Untrusted(_)
        | AuditError::WriterEnded => other(error),
    }
}
