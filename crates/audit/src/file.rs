//! A file of JSON lines, written by one server.
//!
//! A line is whole when its end is written. What stands after the last end is what a crash left of a line that nobody was
//! told of: it is no sign of tampering, and is moved to a file beside the log when the log is opened. Whatever was told to
//! be kept stands before it.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use edgeprove_job_rules::audit::{Entry, Link, Record, chain::LineFault};

use super::{AuditError, AuditSink};

/// Longest line there is; entries have some hundred bytes.
pub const LINE_MAX_BYTES: usize = 64 << 10;

/// When what was written is made to survive a loss of power. Nothing is ever lost by the end of the process alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before anybody is told that it is kept.
    Always,
    /// When the system gets round to it.
    Never,
}

/// The log as a file.
#[derive(Debug, Clone)]
pub struct FileSink {
    path: PathBuf,
    writer: Arc<Mutex<Writer>>,
    mended: u64,
}

#[derive(Debug)]
struct Writer {
    file: File,
    sync: SyncPolicy,
    head: Link,
    /// Where the whole lines end.
    end: u64,
    /// Whether something stands after that end, which a failed attempt left.
    dirty: bool,
}

impl FileSink {
    /// Opens the log, or begins it. The file is locked until the server ends, and its own to read (mode 0600).
    pub fn open(path: &Path, sync: SyncPolicy) -> Result<Self, AuditError> {
        let io = |doing| failed(path, doing);
        let is_new = !path.exists();
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path);
        let file = file.map_err(io("opened"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(AuditError::Taken { path: path.to_owned() });
            }
            Err(std::fs::TryLockError::Error(error)) => return Err(io("locked")(error)),
        }
        if is_new && let Some(folder) = path.parent() {
            // Else a loss of power could take the whole file.
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(io("begun"))?;
        }
        let length = file.metadata().map_err(io("read"))?.len();
        let (head, torn) = last_line(path, &file, length)?;
        let end = length - torn.len() as u64;
        if !torn.is_empty() {
            set_aside(path, &torn).map_err(io("mended"))?;
            file.set_len(end).and_then(|()| file.sync_all()).map_err(io("mended"))?;
        }
        let writer = Writer { file, sync, head, end, dirty: false };
        let (path, writer) = (path.to_owned(), Arc::new(Mutex::new(writer)));
        Ok(Self { path, writer, mended: torn.len() as u64 })
    }

    /// Bytes of a line that a crash had left without an end, and that were set aside.
    #[must_use]
    pub fn mended(&self) -> u64 {
        self.mended
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        // A panic while writing leaves what a failure leaves, which the next attempt removes.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs what waits for the disk where waiting holds nobody up.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(Self) -> Result<T, AuditError> + Send + 'static,
    ) -> Result<T, AuditError> {
        let sink = self.clone();
        tokio::task::spawn_blocking(move || work(sink)).await.unwrap_or(Err(AuditError::Lost))
    }
}

#[async_trait]
impl AuditSink for FileSink {
    async fn append(&self, entries: Vec<Entry>) -> Result<Link, AuditError> {
        self.blocking(move |sink| sink.writer().append(&entries).map_err(failed(&sink.path, "written"))).await
    }

    async fn read(&self, after: u64, limit: usize) -> Result<Vec<Record>, AuditError> {
        self.blocking(move |sink| {
            let end = sink.writer().end;
            let mut records = Vec::new();
            for line in Lines::after(&sink.path, after, end)?.take(limit) {
                records.push(line?.1);
            }
            Ok(records)
        })
        .await
    }

    async fn head(&self) -> Result<Link, AuditError> {
        Ok(self.writer().head)
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
        // Until all has gone well.
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
            // The next to open the log would take whole lines in there for kept ones, which nobody was told of.
            let _ = self.file.set_len(self.end);
        }
    }
}

fn failed(path: &Path, doing: &'static str) -> impl Fn(io::Error) -> AuditError {
    let path = path.to_owned();
    move |source| AuditError::Io { path: path.clone(), doing, source: Arc::new(source) }
}

fn damaged(path: &Path, fault: LineFault) -> AuditError {
    AuditError::Damaged { path: path.to_owned(), fault }
}

/// Where the chain of a file ends, and what stands there after the end of the last line.
fn last_line(path: &Path, file: &File, length: u64) -> Result<(Link, Vec<u8>), AuditError> {
    // Two lines at most: a whole one, and one without an end.
    let from = length.saturating_sub(2 * LINE_MAX_BYTES as u64);
    let mut tail = vec![0; usize::try_from(length - from).unwrap_or(0)];
    file.read_exact_at(&mut tail, from).map_err(failed(path, "read"))?;
    let odd = |why: &str| damaged(path, LineFault::NotAnEntry { why: why.to_owned() });
    let Some(end) = tail.iter().rposition(|&byte| byte == b'\n') else {
        // The first line of all, cut short; or another file altogether, which must not be touched.
        let begins_as_ours = tail.iter().zip(b"{\"entry\":{").all(|(byte, ours)| byte == ours);
        let is_blank = tail.iter().all(|&byte| byte == 0);
        let is_torn = from == 0 && tail.len() <= LINE_MAX_BYTES && (begins_as_ours || is_blank);
        return if is_torn { Ok((Link::START, tail)) } else { Err(odd("the file holds something else")) };
    };
    let start = tail[..end].iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    if start == 0 && from > 0 {
        return Err(odd("the last line is longer than any"));
    }
    let line = str::from_utf8(&tail[start..end]).map_err(|_| odd("the last line is not text"))?;
    let record = Record::read(line).map_err(|fault| damaged(path, fault))?;
    Ok((record.link(), tail[end + 1..].to_vec()))
}

/// Keeps what was cut short in `FILE.torn`, for whoever wants to look at it.
fn set_aside(path: &Path, torn: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".torn");
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(name)?;
    file.write_all(torn)?;
    file.write_all(b"\n")?;
    file.sync_all()
}

/// The lines of a log, whole ones only, each with its record.
#[derive(Debug)]
pub struct Lines {
    path: PathBuf,
    rest: BufReader<io::Take<File>>,
    after: u64,
}

impl Lines {
    /// Those after the entry of this number, of a file that may be written meanwhile.
    pub fn of(path: &Path, after: u64) -> Result<Self, AuditError> {
        let end = std::fs::metadata(path).map_err(failed(path, "read"))?.len();
        Self::after(path, after, end)
    }

    /// Those after the entry of this number, up to this many bytes. Lines stand in order, so that their beginning is
    /// found by halving.
    fn after(path: &Path, after: u64, end: u64) -> Result<Self, AuditError> {
        /// Fewer bytes than this are read through.
        const NEAR: u64 = 16 << 10;
        let io = || failed(path, "read");
        let file = File::open(path).map_err(io())?;
        // A line that begins at `low` comes before those that are looked for, unless it is the first of all.
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
                    let why = "a line is longer than any".to_owned();
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

/// The first line that begins after `from` and before `high`, and where it begins.
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
