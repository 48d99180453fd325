use std::fs;

use edgeprove_job_rules::audit::{Action, Actor, Verifier};

use super::*;

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

#[tokio::test]
async fn any_range_can_be_read() {
    let log = TestLog::new();
    let sink = log.open();
    assert_eq!(sink.read(0, 10).await.unwrap(), []);
    for _ in 0..10 {
        sink.append(entries(50)).await.unwrap();
    }
    for after in [0, 1, 2, 49, 50, 250, 498, 499, 500, 501, u64::MAX] {
        let records = sink.read(after, 20).await.unwrap();
        let wanted: Vec<u64> = (1..=500).filter(|&seq| seq > after).take(20).collect();
        assert_eq!(records.iter().map(|record| record.seq).collect::<Vec<_>>(), wanted, "after {after}");
    }
    let all: Vec<String> = Lines::of(&log.path(), 0).unwrap().map(|line| line.unwrap().0).collect();
    assert_eq!(all.join("\n") + "\n", log.text());
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
