//! The last lines of a child's standard error.

use std::{collections::VecDeque, fmt, sync::Arc};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Lines that are stored for the error of a child that dies.
const TAIL_LINES: usize = 12;
/// A longer line is cut.
const LINE_MAX_BYTES: usize = 400;

/// Removes values from a line of standard error, because such a line may quote what the child works on.
pub type Redact = fn(&str) -> String;

/// The last lines that a child wrote to its standard error, without values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LastWords(Vec<String>);

impl fmt::Display for LastWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("none") } else { f.write_str(&self.0.join(" | ")) }
    }
}

/// The standard error of a child. A task of its own reads it, so that the child never blocks on a full pipe.
#[derive(Debug, Clone, Default)]
pub(super) struct StderrTail(Arc<Mutex<VecDeque<String>>>);

impl StderrTail {
    /// Returns the lines so far.
    pub(super) fn last_words(&self) -> LastWords {
        LastWords(self.0.lock().iter().cloned().collect())
    }

    /// Reads standard error to its end. Each line is logged.
    pub(super) async fn drain(self, mut stderr: impl AsyncRead + Unpin, redact: Redact, pid: u32) {
        let mut piece = [0; 4096];
        let mut line = Vec::with_capacity(LINE_MAX_BYTES);
        loop {
            let read = match stderr.read(&mut piece).await {
                Ok(0) | Err(_) => break,
                Ok(read) => read,
            };
            for &byte in &piece[..read] {
                if byte == b'\n' {
                    self.finish(&mut line, redact, pid);
                } else if line.len() < LINE_MAX_BYTES {
                    line.push(byte);
                }
            }
        }
        self.finish(&mut line, redact, pid);
    }

    fn finish(&self, line: &mut Vec<u8>, redact: Redact, pid: u32) {
        if line.is_empty() {
            return;
        }
        let words = redact(&String::from_utf8_lossy(line));
        line.clear();
        tracing::debug!(prover_pid = pid, "stderr: {words}");
        let mut lines = self.0.lock();
        if lines.len() == TAIL_LINES {
            lines.pop_front();
        }
        lines.push_back(words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_flood_without_line_ends_stays_small() {
        let tail = StderrTail::default();
        let flood = vec![b'x'; 1 << 20];
        tail.clone().drain(flood.as_slice(), str::to_owned, 1).await;
        assert_eq!(tail.last_words().to_string().len(), LINE_MAX_BYTES);
        let lines = "one\n".repeat(100);
        tail.clone().drain(lines.as_bytes(), str::to_owned, 1).await;
        assert_eq!(tail.last_words().0.len(), TAIL_LINES);
    }

    #[tokio::test]
    async fn every_line_is_redacted() {
        let tail = StderrTail::default();
        tail.clone().drain(b"secret\nlast".as_slice(), |line| line.len().to_string(), 1).await;
        assert_eq!(tail.last_words().to_string(), "6 | 4");
    }
}
