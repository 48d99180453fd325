//! Starts bb and keeps what it says on its standard error.
//!
//! bb's words may quote values of the circuit it works on, so whatever looks like a field element is cut out before a
//! line reaches the log or an error.

use std::{
    collections::VecDeque,
    ffi::OsStr,
    fmt,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
};

use edgeprove_telemetry::supervisor::Supervisor;

/// Lines of standard error that are kept for the error of a child that dies.
const TAIL_LINES: usize = 12;
/// A longer line is cut.
const LINE_MAX_BYTES: usize = 400;

/// How bb multiplies and adds up curve points, which is most of what a proof takes. Either way gives proofs that
/// verify under the same keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Msm {
    /// The newer way, which saves 10 to 25 % of a proof (`docs/BENCHMARKS.md`). bb 5.0.0 keeps it behind a switch while
    /// it matures; here every proof is verified before it leaves.
    #[default]
    RoundParallel,
    /// bb's own default.
    Legacy,
}

impl Msm {
    /// The variable that bb reads it from; its value does not matter.
    fn variable(self) -> &'static str {
        match self {
            Self::RoundParallel => "BB_MSM_NEW",
            Self::Legacy => "BB_MSM_LEGACY",
        }
    }
}

/// Where bb is and what it needs from its environment.
#[derive(Debug, Clone)]
pub struct BbProgram {
    /// The executable.
    pub path: PathBuf,
    /// The folder of the CRS.
    pub crs_dir: PathBuf,
    /// How it multiplies.
    pub msm: Msm,
}

/// Why a child could not be started, or how it died.
#[derive(Debug, thiserror::Error)]
pub enum ChildFailure {
    /// The program could not be started.
    #[error("{} could not be started", program.display())]
    Start {
        /// What was to be started.
        program: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// It ended by itself.
    #[error("it ended with {status}; last words: {last_words}")]
    Ended {
        /// Its exit status.
        status: ExitStatus,
        /// The last lines of its standard error.
        last_words: LastWords,
    },
    /// Talking to it failed although it runs; it was killed.
    #[error("it stopped listening or answering; last words: {last_words}")]
    Mute {
        /// What went wrong on the pipe.
        #[source]
        source: std::io::Error,
        /// The last lines of its standard error.
        last_words: LastWords,
    },
    /// It started but did not answer as bb does.
    #[error("it does not answer as bb does: {what}")]
    Handshake {
        /// What was odd.
        what: String,
    },
}

/// The last lines a child wrote to its standard error.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LastWords(Vec<String>);

impl fmt::Display for LastWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("none") } else { f.write_str(&self.0.join(" | ")) }
    }
}

/// The standard error of a child, drained by a task of its own.
#[derive(Debug, Clone, Default)]
pub struct StderrTail(Arc<Mutex<VecDeque<String>>>);

impl StderrTail {
    /// The lines kept so far.
    #[must_use]
    pub fn last_words(&self) -> LastWords {
        LastWords(self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect())
    }

    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == TAIL_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

impl BbProgram {
    /// Starts bb with these arguments and threads, as the leader of a process group of its own. Nothing of the
    /// server's environment reaches it.
    pub fn start<I, S>(
        &self,
        arguments: I,
        threads: usize,
        supervisor: &Supervisor,
    ) -> Result<(Child, StderrTail), ChildFailure>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut child = Command::new(&self.path)
            .args(arguments)
            .env_clear()
            .env("HARDWARE_CONCURRENCY", threads.to_string())
            .env("CRS_PATH", &self.crs_dir)
            .env(self.msm.variable(), "1")
            // bb looks for a home folder even when it does not need one.
            .env("HOME", &self.crs_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| ChildFailure::Start { program: self.path.clone(), source })?;
        let tail = StderrTail::default();
        if let Some(stderr) = child.stderr.take() {
            let (tail, pid) = (tail.clone(), child.id().unwrap_or_default());
            supervisor.spawn("bb stderr", drain(stderr, tail, pid));
        }
        Ok((child, tail))
    }
}

async fn drain(mut stderr: impl AsyncRead + Unpin, tail: StderrTail, pid: u32) {
    let mut line = Vec::new();
    let mut piece = [0; 1024];
    loop {
        let read = match stderr.read(&mut piece).await {
            Ok(0) | Err(_) => break,
            Ok(read) => read,
        };
        for &byte in &piece[..read] {
            if byte == b'\n' {
                say(&mut line, &tail, pid);
            } else if line.len() < LINE_MAX_BYTES {
                line.push(byte);
            }
        }
    }
    say(&mut line, &tail, pid);
}

fn say(line: &mut Vec<u8>, tail: &StderrTail, pid: u32) {
    if line.is_empty() {
        return;
    }
    let words = without_values(&String::from_utf8_lossy(line));
    line.clear();
    tracing::debug!(bb_pid = pid, "bb: {words}");
    tail.push(words);
}

/// Cuts out of bb's words whatever could be a value of the witness: runs of hexadecimal digits longer than any
/// address, size or count that bb prints.
#[must_use]
pub fn without_values(words: &str) -> String {
    const LONGEST_HARMLESS: usize = 12;
    let mut kept = String::with_capacity(words.len());
    let mut run = String::new();
    for character in words.chars().chain(std::iter::once('\n')) {
        if character.is_ascii_hexdigit() {
            run.push(character);
            continue;
        }
        if run.len() > LONGEST_HARMLESS {
            kept.push('…');
        } else {
            kept.push_str(&run);
        }
        run.clear();
        if character != '\n' {
            kept.push(character);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_cut_out_of_bbs_words() {
        let field = "2a".repeat(32);
        let words =
            format!("Assertion failed: (0x{field} == 7U) Actual  : 123456789012345678901 at row 4096");
        let kept = without_values(&words);
        assert_eq!(kept, "Assertion failed: (0x… == 7U) Actual  : … at row 4096");
    }

    #[tokio::test]
    async fn a_flood_without_line_ends_stays_small() {
        let tail = StderrTail::default();
        let flood = vec![b'x'; 1 << 20];
        drain(flood.as_slice(), tail.clone(), 1).await;
        assert_eq!(tail.last_words().to_string().len(), LINE_MAX_BYTES);
        let lines = "one\n".repeat(100);
        drain(lines.as_bytes(), tail.clone(), 1).await;
        assert_eq!(tail.last_words().0.len(), TAIL_LINES);
    }
}
