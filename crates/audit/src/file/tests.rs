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

struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn log(&self) -> PathBuf {
        self.0.path().join("audit.jsonl")
    }

    fn open(&self) -> FileSink {
        FileSink::open(&self.log(), SyncPolicy::Always).unwrap()
    }

    fn text(&self) -> String {
        fs::read_to_string(self.log()).unwrap()
    }

    fn whole(&self) -> u64 {
        let mut verifier = Verifier::default();
        for line in self.text().lines() {
            verifier.take(line).unwrap();
        }
        verifier.finish().unwrap().head.seq
    }
}

#[tokio::test]
async fn a_chain_goes_on_where_it_ended() {
    let desk = Desk::new();
    let sink = desk.open();
    assert_eq!(sink.head().await.unwrap(), Link::START);
    let head = sink.append(entries(3)).await.unwrap();
    assert_eq!((head.seq, sink.head().await.unwrap()), (3, head));
    drop(sink);
    let sink = desk.open();
    assert_eq!((sink.mended(), sink.head().await.unwrap()), (0, head));
    assert_eq!(sink.append(entries(1)).await.unwrap().seq, 4);
    assert_eq!(desk.whole(), 4);
}

#[test]
fn two_servers_do_not_write_one_file() {
    let desk = Desk::new();
    let first = desk.open();
    assert!(matches!(FileSink::open(&desk.log(), SyncPolicy::Never), Err(AuditError::Taken { .. })));
    drop(first);
    desk.open();
}

#[tokio::test]
async fn a_line_that_a_crash_cut_short_is_set_aside_wherever_it_was_cut() {
    let desk = Desk::new();
    let two_lines = {
        let sink = desk.open();
        sink.append(entries(2)).await.unwrap();
        desk.text()
    };
    let first = two_lines.lines().next().unwrap().len() + 1;
    for length in (1..two_lines.len()).step_by(7) {
        fs::write(desk.log(), &two_lines[..length]).unwrap();
        let aside = desk.log().with_extension("jsonl.torn");
        let _ = fs::remove_file(&aside);
        let sink = desk.open();
        let kept = if length < first { 0 } else { first };
        assert_eq!(sink.mended(), (length - kept) as u64);
        if length > kept {
            assert_eq!(fs::read_to_string(&aside).unwrap(), format!("{}\n", &two_lines[kept..length]));
        }
        sink.append(entries(1)).await.unwrap();
        assert_eq!(desk.whole(), if kept == 0 { 1 } else { 2 });
    }
    // What a file system may leave of blocks that were never written.
    fs::write(desk.log(), format!("{}\0\0\0\0", &two_lines[..first])).unwrap();
    assert_eq!(desk.open().mended(), 4);
}

#[test]
fn what_is_no_log_is_not_touched() {
    let desk = Desk::new();
    let long = "x".repeat(3 * LINE_MAX_BYTES);
    for other in ["notes", "notes\n", "{\"entry\":{}}\n", &long, &format!("{long}\n"), "\n", "\n\n"] {
        fs::write(desk.log(), other).unwrap();
        let opened = FileSink::open(&desk.log(), SyncPolicy::Always);
        assert!(matches!(opened, Err(AuditError::Damaged { .. })), "{:?}", &other[..other.len().min(20)]);
        assert_eq!(desk.text(), other);
    }
}

#[tokio::test]
async fn any_piece_can_be_read() {
    let desk = Desk::new();
    let sink = desk.open();
    assert_eq!(sink.read(0, 10).await.unwrap(), []);
    for _ in 0..10 {
        sink.append(entries(50)).await.unwrap();
    }
    for after in [0, 1, 2, 49, 50, 250, 498, 499, 500, 501, u64::MAX] {
        let records = sink.read(after, 20).await.unwrap();
        let wanted: Vec<u64> = (1..=500).filter(|&seq| seq > after).take(20).collect();
        assert_eq!(records.iter().map(|record| record.seq).collect::<Vec<_>>(), wanted, "after {after}");
    }
    let all: Vec<String> = Lines::of(&desk.log(), 0).unwrap().map(|line| line.unwrap().0).collect();
    assert_eq!(all.join("\n") + "\n", desk.text());
}

#[tokio::test]
async fn what_could_not_be_kept_whole_is_not_kept_at_all() {
    let desk = Desk::new();
    let sink = desk.open();
    sink.append(entries(2)).await.unwrap();
    let before = desk.text();
    // A descriptor that cannot be written stands for a disk that is full; the file lies there as a failed write leaves it.
    let readable = File::open(desk.log()).unwrap();
    let writable = std::mem::replace(&mut sink.writer().file, readable);
    assert!(matches!(sink.append(entries(1)).await, Err(AuditError::Io { doing: "written", .. })));
    (&writable).write_all(b"{\"entry\":{\"acti").unwrap();
    sink.writer().file = writable;
    sink.append(entries(1)).await.unwrap();
    assert!(desk.text().starts_with(&before));
    assert_eq!(desk.whole(), 3);
}
