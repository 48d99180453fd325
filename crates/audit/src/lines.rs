//! Reads the lines of a log, from its beginning or its end. The file may be written meanwhile.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read, Seek as _, SeekFrom},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use edgeprove_files::regular_file;
use edgeprove_job_rules::audit::{Record, chain::LineFault};

use super::{AuditError, filter::EntryFilter};

/// Longest line that is accepted. Entries have some hundred bytes.
pub const LINE_MAX_BYTES: usize = 64 << 10;
/// Most lines that are read for one page.
pub const SCANNED_MAX: usize = 100_000;

/// Iterates over the complete lines of a log, each with its record.
#[derive(Debug)]
pub struct Lines {
    path: PathBuf,
    rest: BufReader<io::Take<File>>,
    after: u64,
}

impl Lines {
    /// The lines after the entry with the number `after`.
    pub fn of(path: &Path, after: u64) -> Result<Self, AuditError> {
        let (file, end) = open(path)?;
        Self::within(path, file, after, end)
    }

    /// The lines after the entry with the number `after`, within the first `end` bytes. Lines are in order of their
    /// numbers, so a binary search finds the first.
    pub(super) fn within(path: &Path, file: File, after: u64, end: u64) -> Result<Self, AuditError> {
        /// The search stops when fewer bytes than this are left.
        const NEAR: u64 = 16 << 10;
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
        file.seek(SeekFrom::Start(low)).map_err(failed(path, "read"))?;
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
                    return Err(too_long(&self.path));
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

/// The last `count` wanted records of a log, in the order of their numbers. Blocking.
pub fn last_of(path: &Path, filter: &EntryFilter, count: usize) -> Result<Vec<Record>, AuditError> {
    let (file, end) = open(path)?;
    last(path, &file, end, filter, count, usize::MAX)
}

/// The same within the first `end` bytes. At most `scanned_max` lines are read, from the end.
pub(super) fn last(
    path: &Path,
    file: &File,
    end: u64,
    filter: &EntryFilter,
    count: usize,
    scanned_max: usize,
) -> Result<Vec<Record>, AuditError> {
    const BLOCK_BYTES: u64 = 64 << 10;
    let (mut records, mut scanned, mut from) = (Vec::new(), 0, end);
    // The bytes from `from` on that belong to lines which are not complete yet, or were not read yet.
    let mut bytes: Vec<u8> = Vec::new();
    // What follows the last line feed is an unfinished line.
    let mut is_complete = false;
    while records.len() < count && scanned < scanned_max {
        let line = match bytes.iter().rposition(|&byte| byte == b'\n') {
            Some(at) => {
                let line = bytes.split_off(at + 1);
                bytes.pop();
                line
            }
            None if bytes.len() > LINE_MAX_BYTES => return Err(too_long(path)),
            None if from == 0 => {
                if bytes.is_empty() {
                    break;
                }
                std::mem::take(&mut bytes)
            }
            None => {
                let start = from.saturating_sub(BLOCK_BYTES);
                let mut block = vec![0; usize::try_from(from - start).unwrap_or(0)];
                file.read_exact_at(&mut block, start).map_err(failed(path, "read"))?;
                block.append(&mut bytes);
                (bytes, from) = (block, start);
                continue;
            }
        };
        if std::mem::replace(&mut is_complete, true) {
            scanned += 1;
            let (_, record) = parsed(path, line)?;
            if filter.allows(&record) {
                records.push(record);
            }
        }
    }
    records.reverse();
    Ok(records)
}

fn open(path: &Path) -> Result<(File, u64), AuditError> {
    let file = regular_file::open(path).map_err(failed(path, "read"))?;
    let end = file.metadata().map_err(failed(path, "read"))?.len();
    Ok((file, end))
}

pub(super) fn failed(path: &Path, action: &'static str) -> impl Fn(io::Error) -> AuditError {
    let path = path.to_owned();
    move |source| AuditError::Io { path: path.clone(), action, source: Arc::new(source) }
}

pub(super) fn damaged(path: &Path, fault: LineFault) -> AuditError {
    AuditError::Damaged { path: path.to_owned(), fault }
}

fn too_long(path: &Path) -> AuditError {
    damaged(path, LineFault::NotAnEntry { why: "a line is too long".to_owned() })
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
