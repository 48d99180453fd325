//! A log in a file of JSON lines, written by one server.
//!
//! A line is complete when its line feed is written. Bytes after the last line feed are an unfinished line: a crash
//! interrupted the write, and no caller was notified that the entry is stored. They are no sign of tampering. Opening
//! the log moves them to a file beside it.
//!
//! Before each write the file is compared with the one that was written before, by device, inode, length and last line. An
//! operator rotates the log by moving it away: [`AuditSink::rotate`] then continues the chain in a new file.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use edgeprove_files::{draft::sync_folder, folder_of, regular_file, trusted_path, writable_folder};
use edgeprove_job_rules::audit::{Entry, Link, Record, chain::LineFault};
use parking_lot::Mutex;
use rustix::fs::Access;

use super::{
    AuditError, AuditSink, LogChange, Page, PageRange,
    filter::EntryFilter,
    lines::{self, LINE_MAX_BYTES, Lines, SCANNED_MAX, damaged, failed},
};

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
    /// Device and inode of the file.
    id: (u64, u64),
    sync: SyncPolicy,
    head: Link,
    /// The last complete line; empty where there is none.
    last_line: Vec<u8>,
    /// The length of all complete lines, in bytes.
    end: u64,
    /// Whether a failed write may have left bytes after `end`.
    dirty: bool,
}

impl FileSink {
    /// Opens a log, or creates it with mode 0600. Fails if another user could exchange it. The file is locked until the sink is dropped. An unfinished last line
    /// is moved to `FILE.torn`. Blocking.
    pub fn open(path: &Path, sync: SyncPolicy) -> Result<Self, AuditError> {
        let io = |action| failed(path, action);
        trusted_path::check_parents(path).map_err(Arc::new)?;
        let is_new = !path.exists();
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let file = regular_file::open_with(&mut options, path);
        let file = file.map_err(io("opened"))?;
        trusted_path::close_file_for_writing(path, &file).map_err(Arc::new)?;
        lock(path, &file)?;
        if is_new {
            // Without it a power cut could remove the whole file.
            sync_folder(path).map_err(io("created"))?;
        }
        let found = file.metadata().map_err(io("read"))?;
        let End { head, last_line, torn } = end_of(path, &file, found.len())?;
        let end = found.len() - torn.len() as u64;
        if !torn.is_empty() {
            set_aside(path, &torn)?;
            file.set_len(end).and_then(|()| file.sync_all()).map_err(io("repaired"))?;
        }
        let writer = Writer { file, id: id(&found), sync, head, last_line, end, dirty: false };
        let (path, writer) = (path.to_owned(), Arc::new(Mutex::new(writer)));
        Ok(Self { path, writer, removed_bytes: torn.len() as u64 })
    }

    /// Fails where [`Self::open`] would fail, and changes nothing. That another server uses the log is no failure.
    pub fn examine(path: &Path) -> Result<(), AuditError> {
        let io = |action| failed(path, action);
        trusted_path::check_parents(path).map_err(Arc::new)?;
        regular_file::check_path(path).map_err(io("opened"))?;
        let file = match regular_file::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // No folder is created for a log.
                let folder = folder_of(path);
                let checked = fs::metadata(folder).and_then(|_| writable_folder::check(folder));
                return checked.map_err(io("created"));
            }
            Err(error) => return Err(io("opened")(error)),
        };
        rustix::fs::access(path, Access::WRITE_OK).map_err(|error| io("written")(error.into()))?;
        let found = file.metadata().map_err(io("read"))?;
        trusted_path::check_file(path, &found).map_err(Arc::new)?;
        let End { torn, .. } = end_of(path, &file, found.len())?;
        if !torn.is_empty() {
            let aside = torn_file(path);
            regular_file::check_path(&aside).map_err(io("repaired"))?;
            match fs::metadata(&aside) {
                Ok(found) => trusted_path::check_file(&aside, &found).map_err(Arc::new)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(io("repaired")(error)),
            }
        }
        Ok(())
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
        self.blocking(move |sink| {
            let mut writer = sink.writer.lock();
            writer.check(&sink.path)?;
            writer.append(&entries).map_err(failed(&sink.path, "written"))
        })
        .await
    }

    async fn read(&self, filter: EntryFilter, range: PageRange) -> Result<Page, AuditError> {
        self.blocking(move |sink| {
            let (wanted, end) = {
                let writer = sink.writer.lock();
                writer.check(&sink.path)?;
                (writer.id, writer.end)
            };
            let file = regular_file::open(&sink.path).map_err(failed(&sink.path, "read"))?;
            if id(&file.metadata().map_err(failed(&sink.path, "read"))?) != wanted {
                return Err(changed(&sink.path, LogChange::Replaced));
            }
            match range {
                PageRange::After { after, limit } => {
                    page(Lines::within(&sink.path, file, after, end)?, &filter, after, limit)
                }
                PageRange::Last(count) => {
                    let records = lines::last(&sink.path, &file, end, &filter, count, SCANNED_MAX)?;
                    Ok(Page { records, next: None })
                }
            }
        })
        .await
    }

    async fn head(&self) -> Result<Link, AuditError> {
        Ok(self.writer.lock().head)
    }

    async fn check(&self) -> Result<(), AuditError> {
        self.blocking(|sink| match sink.writer.try_lock() {
            Some(writer) => writer.check(&sink.path),
            // A write is under way, and checks the file itself.
            None => Ok(()),
        })
        .await
    }

    async fn rotate(&self, entry: Entry) -> Result<bool, AuditError> {
        self.blocking(move |sink| sink.writer.lock().rotate(&sink.path, &entry)).await
    }
}

/// The first `limit` wanted records of these lines, which follow the entry with the number `after`.
fn page(lines: Lines, filter: &EntryFilter, after: u64, limit: usize) -> Result<Page, AuditError> {
    let mut page = Page::default();
    let (mut scanned, mut seq) = (0, after);
    for line in lines {
        if page.records.len() >= limit || scanned >= SCANNED_MAX {
            page.next = Some(seq);
            break;
        }
        let (_, record) = line?;
        (scanned, seq) = (scanned + 1, record.seq);
        if filter.allows(&record) {
            page.records.push(record);
        }
    }
    Ok(page)
}

impl Writer {
    fn append(&mut self, entries: &[Entry]) -> io::Result<Link> {
        if self.dirty {
            self.file.set_len(self.end)?;
        }
        let (mut head, mut lines, mut last_line_at) = (self.head, String::new(), 0);
        for entry in entries {
            let record = Record::after(head, entry);
            last_line_at = lines.len();
            lines.push_str(&record.line());
            lines.push('\n');
            head = record.link();
        }
        if lines.is_empty() {
            return Ok(head);
        }
        // Until the write has succeeded.
        self.dirty = true;
        self.file.write_all(lines.as_bytes())?;
        if self.sync == SyncPolicy::Always {
            self.file.sync_data()?;
        }
        (self.head, self.end, self.dirty) = (head, self.end + lines.len() as u64, false);
        self.last_line = lines.split_off(last_line_at).into_bytes();
        Ok(head)
    }

    /// Fails if the file with this name is not the one that was written before.
    fn check(&self, path: &Path) -> Result<(), AuditError> {
        let found = match fs::metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(changed(path, LogChange::Missing));
            }
            Err(error) => return Err(failed(path, "checked")(error)),
        };
        if id(&found) != self.id {
            return Err(changed(path, LogChange::Replaced));
        }
        if found.len() < self.end {
            return Err(changed(path, LogChange::Cut));
        }
        // A failed write may have left bytes, which the next one removes.
        if found.len() > self.end && !self.dirty {
            return Err(changed(path, LogChange::Extended));
        }
        let mut last_line = vec![0; self.last_line.len()];
        let at = self.end - last_line.len() as u64;
        self.file.read_exact_at(&mut last_line, at).map_err(failed(path, "checked"))?;
        if last_line != self.last_line {
            return Err(changed(path, LogChange::OtherEnd));
        }
        Ok(())
    }

    /// If no file has this name, writes a new one that continues the chain with `entry`. Returns whether it did.
    fn rotate(&mut self, path: &Path, entry: &Entry) -> Result<bool, AuditError> {
        match self.check(path) {
            Ok(()) => return Ok(false),
            Err(AuditError::Changed { change: LogChange::Missing, .. }) => {}
            Err(error) => return Err(error),
        }
        // The file that was moved away ends with its last complete line.
        let io = |action| failed(path, action);
        if self.dirty {
            self.file.set_len(self.end).map_err(io("rotated"))?;
            self.dirty = false;
        }
        self.file.sync_all().map_err(io("rotated"))?;

        let record = Record::after(self.head, entry);
        let line = format!("{}\n", record.line()).into_bytes();
        // The file gets its name with its first line in it: a crash must not leave a log that starts a new chain.
        let draft = beside(path, ".new");
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io("rotated")(error)),
            Ok(()) | Err(_) => {}
        }
        let file = OpenOptions::new().read(true).append(true).create_new(true).mode(0o600).open(&draft);
        let mut file = file.map_err(io("rotated"))?;
        lock(path, &file)?;
        file.write_all(&line).and_then(|()| file.sync_all()).map_err(io("rotated"))?;
        fs::rename(&draft, path).and_then(|()| sync_folder(path)).map_err(io("rotated"))?;
        let id = id(&file.metadata().map_err(io("rotated"))?);
        let (end, head) = (line.len() as u64, record.link());
        *self = Self { file, id, sync: self.sync, head, last_line: line, end, dirty: false };
        Ok(true)
    }
}

/// Locks a log until it is closed.
fn lock(path: &Path, file: &File) -> Result<(), AuditError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(fs::TryLockError::WouldBlock) => Err(AuditError::InUse { path: path.to_owned() }),
        Err(fs::TryLockError::Error(error)) => Err(failed(path, "locked")(error)),
    }
}

fn id(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

fn changed(path: &Path, change: LogChange) -> AuditError {
    AuditError::Changed { path: path.to_owned(), change }
}

/// The path with something added to its name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.dirty {
            // Complete lines after `end` would count as stored at the next start, although their callers got an error.
            let _ = self.file.set_len(self.end);
        }
    }
}

/// The end of a log.
struct End {
    head: Link,
    /// The last complete line; empty where there is none.
    last_line: Vec<u8>,
    /// The bytes after it.
    torn: Vec<u8>,
}

fn end_of(path: &Path, file: &File, length: u64) -> Result<End, AuditError> {
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
            Ok(End { head: Link::START, last_line: Vec::new(), torn: tail })
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
    let (last_line, torn) = (tail[start..=end].to_vec(), tail[end + 1..].to_vec());
    Ok(End { head: record.link(), last_line, torn })
}

/// Appends an unfinished line to `FILE.torn`, where operators can inspect it.
fn set_aside(path: &Path, torn: &[u8]) -> Result<(), AuditError> {
    let aside = torn_file(path);
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    let mut file = regular_file::open_with(&mut options, &aside).map_err(failed(path, "repaired"))?;
    trusted_path::close_file_for_writing(&aside, &file).map_err(Arc::new)?;
    let written = file.write_all(torn).and_then(|()| file.write_all(b"\n")).and_then(|()| file.sync_all());
    written.map_err(failed(path, "repaired"))
}

/// The file for unfinished lines of a log.
fn torn_file(path: &Path) -> PathBuf {
    beside(path, ".torn")
}

#[cfg(test)]
mod tests;
