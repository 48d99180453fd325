//! A log in a file of JSON lines, written by one server.
//!
//! A line is complete when its line feed is written. Bytes after the last line feed are an unfinished line: a crash
//! interrupted the write, and no caller was notified that the entry is stored. They are no sign of tampering. Opening
//! the log moves them to a file beside it.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use edgeprove_job_rules::audit::{Entry, Link, Record, chain::LineFault};
use parking_lot::Mutex;

use super::{AuditError, AuditSink};

/// Longest line that is accepted. Entries have some hundred bytes.
pub const LINE_MAX_BYTES: usize = 64 << 10;

/// When entries are flushed to the disk, where they survive a power cut. An entry always survives the end of the
/// process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before [`AuditSink::append`] returns.
    Always,
    /// When the operating system decides to.
    Never,
}

/// A log in a file.
#[derive(Debug, Clone)]
pub struct FileSink {
    path: PathBuf,
    writer: Arc<Mutex<Writer>>,
    removed_bytes: u64,
}

#[derive(Debug)]
struct Writer {
    file: File,
    sync: SyncPolicy,
    head: Link,
    /// The length of all complete lines, in bytes.
    end: u64,
    /// Whether a failed write may have left bytes after `end`.
    dirty: bool,
}

impl FileSink {
    /// Opens a log, or creates it with mode 0600. The file is locked until the sink is dropped. An unfinished last line
    /// is moved to `FILE.torn`. Blocking.
    pub fn open(path: &Path, sync: SyncPolicy) -> Result<Self, AuditError> {
        let io = |action| failed(path, action);
        let is_new = !path.exists();
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path);
        let file = file.map_err(io("opened"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(AuditError::InUse { path: path.to_owned() });
            }
            Err(std::fs::TryLockError::Error(error)) => return Err(io("locked")(error)),
        }
        if is_new && let Some(folder) = path.parent() {
            // Without it a power cut could remove the whole file.
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(io("created"))?;
        }
        let length = file.metadata().map_err(io("read"))?.len();
        let (head, torn) = last_line(path, &file, length)?;
        let end = length - torn.len() as u64;
        if !torn.is_empty() {
            set_aside(path, &torn).map_err(io("repaired"))?;
            file.set_len(end).and_then(|()| file.sync_all()).map_err(io("repaired"))?;
        }
        let writer = Writer { file, sync, head, end, dirty: false };
        let (path, writer) = (path.to_owned(), Arc::new(Mutex::new(writer)));
        Ok(Self { path, writer, removed_bytes: torn.len() as u64 })
    }

    /// The length of the unfinished line that [`Self::open`] moved away, in bytes; 0 if there was none.
    #[must_use]
    pub fn removed_bytes(&self) -> u64 {
        self.removed_bytes
    }

    /// Runs a function that waits for the disk on a thread that may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(Self) -> Result<T, AuditError> + Send + 'static,
    ) -> Result<T, AuditError> {
        let sink = self.clone();
        tokio::task::spawn_blocking(move || work(sink)).await.unwrap_or(Err(AuditError::WriterEnded))
    }
}

#[async_trait]
impl AuditSink for FileSink {
    async fn append(&self, entries: Vec<Entry>) -> Result<Link, AuditError> {
        self.blocking(move |sink| sink.writer.lock().append(&entries).map_err(failed(&sink.path, "written")))
            .await
    }

    async fn read(&self, after: u64, limit: usize) -> Result<Vec<Record>, AuditError> {
        self.blocking(move |sink| {
            let end = sink.writer.lock().end;
            let mut records = Vec::new();
            for line in Lines::after(&sink.path, after, end)?.take(limit) {
                records.push(line?.1);
            }
            Ok(records)
        })
        .await
    }

    async fn head(&self) -> Result<Link, AuditError> {
        Ok(self.writer.lock().head)
    }
}

impl Writer {
    fn append(&mut self, entries: &[Entry]) -> io::Result<Link> {
        if self.dirty {
            self.file.set_len(self.end)?;
        }
        let (mut head, mut lines) = (self.head, String::new());
        for entry in entries {
            let record = Record::after(head, entry);
            lines.push_str(&record.line());
            lines.push('\n');
            head = record.link();
        }
        // Until the write has succeeded.
        self.dirty = true;
        self.file.write_all(lines.as_bytes())?;
        if self.sync == SyncPolicy::Always {
            self.file.sync_data()?;
        }
        (self.head, self.end, self.dirty) = (head, self.end + lines.len() as u64, false);
        Ok(head)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.dirty {
            // Complete lines after `end` would count as stored at the next start, although their callers got an error.
            let _ = self.file.set_len(self.end);
        }
    }
}

fn failed(path: &Path, action: &'static str) -> impl Fn(io::Error) -> AuditError {
    let path = path.to_owned();
    move |source| AuditError::Io { path: path.clone(), action, source: Arc::new(source) }
}

fn damaged(path: &Path, fault: LineFault) -> AuditError {
    AuditError::Damaged { path: path.to_owned(), fault }
}

/// The end of a file's chain, and the bytes after the last complete line.
fn last_line(path: &Path, file: &File, length: u64) -> Result<(Link, Vec<u8>), AuditError> {
    // At most two lines: a complete one and an unfinished one.
    let from = length.saturating_sub(2 * LINE_MAX_BYTES as u64);
    let mut tail = vec![0; usize::try_from(length - from).unwrap_or(0)];
    file.read_exact_at(&mut tail, from).map_err(failed(path, "read"))?;
    let damaged_line = |why: &str| damaged(path, LineFault::NotAnEntry { why: why.to_owned() });
    let Some(end) = tail.iter().rposition(|&byte| byte == b'\n') else {
        // The unfinished first line of a log; or another kind of file, which must not be changed.
        let begins_as_ours = tail.iter().zip(b"{\"entry\":{").all(|(byte, ours)| byte == ours);
        let is_blank = tail.iter().all(|&byte| byte == 0);
        let is_torn = from == 0 && tail.len() <= LINE_MAX_BYTES && (begins_as_ours || is_blank);
        return if is_torn {
            Ok((Link::START, tail))
        } else {
            Err(damaged_line("the file has other content"))
        };
    };
    let start = tail[..end].iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    if start == 0 && from > 0 {
        return Err(damaged_line("the last line is too long"));
    }
    let line = str::from_utf8(&tail[start..end]).map_err(|_| damaged_line("the last line is not text"))?;
    let record = Record::read(line).map_err(|fault| damaged(path, fault))?;
    Ok((record.link(), tail[end + 1..].to_vec()))
}

/// Appends an unfinished line to `FILE.torn`, where operators can inspect it.
fn set_aside(path: &Path, torn: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".torn");
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(name)?;
    file.write_all(torn)?;
    file.write_all(b"\n")?;
    file.sync_all()
}

/// Iterates over the complete lines of a log, each with its record.
#[derive(Debug)]
pub struct Lines {
    path: PathBuf,
    rest: BufReader<io::Take<File>>,
    after: u64,
}

impl Lines {
    /// The lines after the entry with the number `after`. The file may be written meanwhile.
    pub fn of(path: &Path, after: u64) -> Result<Self, AuditError> {
        let end = std::fs::metadata(path).map_err(failed(path, "read"))?.len();
        Self::after(path, after, end)
    }

    /// The lines after the entry with the number `after`, within the first `end` bytes. Lines are in order of their
    /// numbers, so a binary search finds the first.
    fn after(path: &Path, after: u64, end: u64) -> Result<Self, AuditError> {
        /// The search stops when fewer bytes than this are left.
        const NEAR: u64 = 16 << 10;
        let io = || failed(path, "read");
        let file = File::open(path).map_err(io())?;
        // The line at `low` precedes the wanted ones, unless it is the first line of the file.
        let (mut low, mut high) = (0, end);
        while after > 0 && high - low > NEAR {
            let middle = low + (high - low) / 2;
            match line_from(path, &file, middle, high)? {
                Some((start, record)) if record.seq <= after => low = start,
                Some(_) | None => high = middle,
            }
        }
        let mut file = file;
        file.seek(SeekFrom::Start(low)).map_err(io())?;
        let rest = BufReader::new(file.take(end - low));
        Ok(Self { path: path.to_owned(), rest, after })
    }

    fn next_line(&mut self) -> Result<Option<(String, Record)>, AuditError> {
        loop {
            let mut bytes = Vec::new();
            let limit = LINE_MAX_BYTES as u64;
            let read = self.rest.by_ref().take(limit).read_until(b'\n', &mut bytes);
            read.map_err(failed(&self.path, "read"))?;
            if bytes.pop() != Some(b'\n') {
                if bytes.len() + 1 >= LINE_MAX_BYTES {
                    let why = "a line is too long".to_owned();
                    return Err(damaged(&self.path, LineFault::NotAnEntry { why }));
                }
                return Ok(None);
            }
            let (line, record) = parsed(&self.path, bytes)?;
            if record.seq > self.after {
                return Ok(Some((line, record)));
            }
        }
    }
}

impl Iterator for Lines {
    type Item = Result<(String, Record), AuditError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_line().transpose()
    }
}

fn parsed(path: &Path, bytes: Vec<u8>) -> Result<(String, Record), AuditError> {
    let not_text = |_| damaged(path, LineFault::NotAnEntry { why: "a line is not text".to_owned() });
    let line = String::from_utf8(bytes).map_err(not_text)?;
    let record = Record::read(&line).map_err(|fault| damaged(path, fault))?;
    Ok((line, record))
}

/// The first line that starts after `from` and before `high`, with its position.
fn line_from(path: &Path, file: &File, from: u64, high: u64) -> Result<Option<(u64, Record)>, AuditError> {
    let mut bytes = vec![0; 2 * LINE_MAX_BYTES];
    let read = file.read_at(&mut bytes, from).map_err(failed(path, "read"))?;
    bytes.truncate(read);
    let Some(before) = bytes.iter().position(|&byte| byte == b'\n') else { return Ok(None) };
    let start = from + before as u64 + 1;
    let line = &bytes[before + 1..];
    let Some(end) = line.iter().position(|&byte| byte == b'\n') else { return Ok(None) };
    if start >= high {
        return Ok(None);
    }
    parsed(path, line[..end].to_vec()).map(|(_, record)| Some((start, record)))
}

#[cfg(test)]
mod tests;
