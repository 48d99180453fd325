use std::fs;

use edgeprove_job_rules::audit::{Action, Actor, Verifier};

use super::*;
use crate::filter::RawFilter;

fn entries(count: usize) -> Vec<Entry> {
    let entry = |number| {
        let actor = Actor::Key(format!("user-{number}"));
        Entry::new("2026-11-21T09:43:23.731Z".to_owned(), actor, Action::ProofSynchronous)
    };
    (0..count).map(entry).collect()
}

/// A log in a folder of its own.
struct TestLog(tempfile::TempDir);

impl TestLog {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("audit.jsonl")
    }

    fn open(&self) -> FileSink {
        FileSink::open(&self.path(), SyncPolicy::Always).unwrap()
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    /// Verifies the chain and returns the number of entries.
    fn verify(&self) -> u64 {
        let mut verifier = Verifier::default();
        for line in self.text().lines() {
            verifier.take(line).unwrap();
        }
        verifier.finish().unwrap().head.seq
    }
}

#[tokio::test]
async fn a_chain_continues_after_a_restart() {
    let log = TestLog::new();
    let sink = log.open();
    assert_eq!(sink.head().await.unwrap(), Link::START);
    let head = sink.append(entries(3)).await.unwrap();
    assert_eq!((head.seq, sink.head().await.unwrap()), (3, head));
    drop(sink);
    let sink = log.open();
    assert_eq!((sink.removed_bytes(), sink.head().await.unwrap()), (0, head));
    assert_eq!(sink.append(entries(1)).await.unwrap().seq, 4);
    assert_eq!(log.verify(), 4);
}

#[test]
fn two_servers_cannot_write_one_file() {
    let log = TestLog::new();
    let first = log.open();
    assert!(matches!(FileSink::open(&log.path(), SyncPolicy::Never), Err(AuditError::InUse { .. })));
    drop(first);
    log.open();
}

#[tokio::test]
async fn an_unfinished_line_is_moved_away() {
    let log = TestLog::new();
    let two_lines = {
        let sink = log.open();
        sink.append(entries(2)).await.unwrap();
        log.text()
    };
    let first = two_lines.lines().next().unwrap().len() + 1;
    for length in (1..two_lines.len()).step_by(7) {
        fs::write(log.path(), &two_lines[..length]).unwrap();
        let aside = log.path().with_extension("jsonl.torn");
        let _ = fs::remove_file(&aside);
        let sink = log.open();
        let complete = if length < first { 0 } else { first };
        assert_eq!(sink.removed_bytes(), (length - complete) as u64);
        if length > complete {
            assert_eq!(fs::read_to_string(&aside).unwrap(), format!("{}\n", &two_lines[complete..length]));
        }
        sink.append(entries(1)).await.unwrap();
        assert_eq!(log.verify(), if complete == 0 { 1 } else { 2 });
    }
    // Some file systems leave zeros in blocks that were never written.
    fs::write(log.path(), format!("{}\0\0\0\0", &two_lines[..first])).unwrap();
    assert_eq!(log.open().removed_bytes(), 4);
}

#[test]
fn other_files_are_not_changed() {
    let log = TestLog::new();
    let too_long = "x".repeat(3 * LINE_MAX_BYTES);
    for other in ["notes", "notes\n", "{\"entry\":{}}\n", &too_long, &format!("{too_long}\n"), "\n", "\n\n"] {
        fs::write(log.path(), other).unwrap();
        let opened = FileSink::open(&log.path(), SyncPolicy::Always);
        assert!(matches!(opened, Err(AuditError::Damaged { .. })), "{:?}", &other[..other.len().min(20)]);
        assert_eq!(log.text(), other);
    }
}

fn seqs(page: &Page) -> Vec<u64> {
    page.records.iter().map(|record| record.seq).collect()
}

#[tokio::test]
async fn any_range_can_be_read() {
    let log = TestLog::new();
    let sink = log.open();
    let read = async |range| sink.read(EntryFilter::default(), range).await.unwrap();
    assert_eq!(read(PageRange::After { after: 0, limit: 10 }).await, Page::default());
    assert_eq!(read(PageRange::Last(10)).await, Page::default());
    for _ in 0..10 {
        sink.append(entries(50)).await.unwrap();
    }
    for after in [0, 1, 2, 49, 50, 250, 479, 480, 498, 499, 500, 501, u64::MAX] {
        let page = read(PageRange::After { after, limit: 20 }).await;
        let wanted: Vec<u64> = (1..=500).filter(|&seq| seq > after).take(20).collect();
        assert_eq!(page.next, (after < 480).then(|| after + 20), "after {after}");
        assert_eq!(seqs(&page), wanted, "after {after}");
    }
    for count in [0, 1, 2, 255, 499, 500, 501] {
        let wanted: Vec<u64> = (501_u64.saturating_sub(count)..=500).filter(|&seq| seq > 0).collect();
        let page = read(PageRange::Last(usize::try_from(count).unwrap())).await;
        assert_eq!((seqs(&page), page.next), (wanted, None), "the last {count}");
    }
    let all: Vec<String> = Lines::of(&log.path(), 0).unwrap().map(|line| line.unwrap().0).collect();
    assert_eq!(all.join("\n") + "\n", log.text());
}

#[tokio::test]
async fn a_filter_selects_entries_from_both_ends() {
    let log = TestLog::new();
    let sink = log.open();
    for _ in 0..10 {
        sink.append(entries(50)).await.unwrap();
    }
    let raw = RawFilter { actor: Some("key:user-7".to_owned()), ..RawFilter::default() };
    let filter = raw.parse().unwrap();
    let after = PageRange::After { after: 58, limit: 3 };
    let page = sink.read(filter.clone(), after).await.unwrap();
    assert_eq!((seqs(&page), page.next), (vec![108, 158, 208], Some(208)));
    let page = sink.read(filter.clone(), PageRange::Last(3)).await.unwrap();
    assert_eq!(seqs(&page), [358, 408, 458]);
    // An unfinished last line is no entry.
    drop(sink);
    fs::OpenOptions::new().append(true).open(log.path()).unwrap().write_all(b"{\"entry\"").unwrap();
    let last = lines::last_of(&log.path(), &filter, 2).unwrap();
    assert_eq!(last.iter().map(|record| record.seq).collect::<Vec<_>>(), [408, 458]);
}

/// Expects that the sink refuses to write, read and prove because of this change.
#[track_caller]
fn assert_stopped(outcomes: [Result<(), AuditError>; 3], wanted: LogChange) {
    for outcome in outcomes {
        match outcome {
            Err(AuditError::Changed { change, .. }) => assert_eq!(change, wanted),
            other => panic!("{other:?} instead of {wanted:?}"),
        }
    }
}

async fn attempts(sink: &FileSink) -> [Result<(), AuditError>; 3] {
    let read = sink.read(EntryFilter::default(), PageRange::Last(1)).await.map(|_| ());
    [sink.append(entries(1)).await.map(|_| ()), sink.check().await, read]
}

#[tokio::test]
async fn every_change_of_the_file_is_noticed() {
    let log = TestLog::new();
    let (sink, aside) = (log.open(), log.0.path().join("aside"));
    sink.append(entries(2)).await.unwrap();
    let older_copy = log.text();
    sink.append(entries(2)).await.unwrap();
    let text = log.text();

    fs::rename(log.path(), &aside).unwrap();
    assert_stopped(attempts(&sink).await, LogChange::Missing);
    fs::write(log.path(), &older_copy).unwrap();
    assert_stopped(attempts(&sink).await, LogChange::Replaced);
    fs::copy(&aside, log.path()).unwrap();
    assert_stopped(attempts(&sink).await, LogChange::Replaced);
    fs::rename(&aside, log.path()).unwrap();
    sink.check().await.unwrap();

    // The same file with other content.
    for (content, change) in [
        (older_copy.clone(), LogChange::Cut),
        (String::new(), LogChange::Cut),
        (format!("{text}{{}}\n"), LogChange::Extended),
        (text.replace("user-1", "user-2"), LogChange::OtherEnd),
    ] {
        fs::write(log.path(), content).unwrap();
        assert_stopped(attempts(&sink).await, change);
    }
    fs::write(log.path(), &text).unwrap();
    sink.append(entries(1)).await.unwrap();
    assert_eq!(log.verify(), 5);
}

#[tokio::test]
async fn the_chain_continues_after_a_rotation() {
    let log = TestLog::new();
    let sink = log.open();
    let head = sink.append(entries(3)).await.unwrap();
    let rotated = || Entry::new(String::new(), Actor::Server, Action::LogRotated);
    assert!(!sink.rotate(rotated()).await.unwrap(), "the log is in its place");
    let aside = log.0.path().join("audit-1.jsonl");
    fs::rename(log.path(), &aside).unwrap();
    // Another file is no place for the chain.
    fs::write(log.path(), "").unwrap();
    assert!(matches!(
        sink.rotate(rotated()).await,
        Err(AuditError::Changed { change: LogChange::Replaced, .. })
    ));
    fs::remove_file(log.path()).unwrap();
    fs::write(log.0.path().join("audit.jsonl.new"), "left by a crash").unwrap();
    assert!(sink.rotate(rotated()).await.unwrap());
    sink.append(entries(2)).await.unwrap();
    assert_eq!(fs::read_to_string(&aside).unwrap().lines().count(), 3);
    let mut verifier = Verifier::default();
    for line in log.text().lines() {
        verifier.take(line).unwrap();
    }
    let chain = verifier.finish().unwrap();
    assert_eq!((chain.begins_after, chain.head.seq), (head, 6));
    // The new file is locked, and a restart continues it.
    assert!(matches!(FileSink::open(&log.path(), SyncPolicy::Never), Err(AuditError::InUse { .. })));
    drop(sink);
    assert_eq!(log.open().append(entries(1)).await.unwrap().seq, 7);
}

#[test]
fn a_folder_is_no_log() {
    let log = TestLog::new();
    fs::create_dir(log.path()).unwrap();
    let opened = FileSink::open(&log.path(), SyncPolicy::Always);
    assert!(matches!(opened, Err(AuditError::Io { .. })));
}

#[tokio::test]
async fn a_failed_write_stores_nothing() {
    let log = TestLog::new();
    let sink = log.open();
    sink.append(entries(2)).await.unwrap();
    let before = log.text();
    // A read-only descriptor makes the write fail, as a full disk would.
    let readable = File::open(log.path()).unwrap();
    let writable = std::mem::replace(&mut sink.writer.lock().file, readable);
    assert!(matches!(sink.append(entries(1)).await, Err(AuditError::Io { action: "written", .. })));
    (&writable).write_all(b"{\"entry\":{\"acti").unwrap();
    sink.writer.lock().file = writable;
    sink.append(entries(1)).await.unwrap();
    assert!(log.text().starts_with(&before));
    assert_eq!(log.verify(), 3);
}
