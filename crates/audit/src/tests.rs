use super::*;

/// Stores entries in memory, and fails while `is_broken` is set.
#[derive(Default)]
struct MemorySink {
    batches: Mutex<Vec<usize>>,
    entries: Mutex<Vec<Entry>>,
    is_broken: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl AuditSink for MemorySink {
    async fn append(&self, entries: Vec<Entry>) -> Result<Link, AuditError> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        if self.is_broken.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(AuditError::WriterEnded);
        }
        self.batches.lock().push(entries.len());
        self.entries.lock().extend(entries);
        Ok(Link::START)
    }

    async fn read(&self, _: u64, _: usize) -> Result<Vec<Record>, AuditError> {
        Ok(Vec::new())
    }

    async fn head(&self) -> Result<Link, AuditError> {
        Ok(Link::START)
    }
}

fn audit() -> (Audit, Arc<MemorySink>, Supervisor) {
    let (memory, supervisor) = (Arc::new(MemorySink::default()), Supervisor::default());
    let sink: Arc<dyn AuditSink> = Arc::clone(&memory) as _;
    (Audit::new(sink, "here".to_owned(), supervisor.clone()), memory, supervisor)
}

#[tokio::test]
async fn concurrent_entries_are_written_together_in_order() {
    let (audit, memory, _supervisor) = audit();
    let records = (0..100).map(|number| {
        let entry = audit.entry(Actor::Key(number.to_string()), Action::JobSubmitted);
        audit.record(entry)
    });
    assert!(futures_util::future::join_all(records).await.into_iter().all(|stored| stored.is_ok()));
    let actors: Vec<Actor> = memory.entries.lock().iter().map(|entry| entry.actor.clone()).collect();
    assert!(actors.into_iter().eq((0..100).map(|number| Actor::Key(number.to_string()))));
    let batches = memory.batches.lock().clone();
    assert!(batches.len() <= 3, "{batches:?}");
    assert!(memory.entries.lock().iter().all(|entry| entry.worker.as_deref() == Some("here")));
}

#[tokio::test]
async fn a_dropped_pending_entry_is_abandoned() {
    let (audit, memory, supervisor) = audit();
    let proof = || audit.entry(Actor::Anonymous, Action::ProofSynchronous);
    drop(audit.pending(proof()));
    audit.pending(proof()).settle(Outcome::Ok).await.unwrap();
    // Dropping the call while the entry is written does not cancel the write.
    {
        let settling = audit.pending(proof()).settle(Outcome::Ok);
        tokio::select! {
            biased;
            _ = settling => panic!("a write takes some milliseconds"),
            () = std::future::ready(()) => {}
        }
    }
    supervisor.stop().await;
    let outcomes: Vec<_> = memory.entries.lock().iter().map(|entry| entry.outcome).collect();
    assert_eq!(outcomes, [Some(Outcome::Abandoned), Some(Outcome::Ok), Some(Outcome::Ok)]);
}

#[tokio::test]
async fn work_pauses_after_a_failed_write() {
    let (audit, memory, _supervisor) = audit();
    let entry = || audit.entry(Actor::Server, Action::ServerStarted);
    assert!(audit.is_ready() && !audit.is_failing());
    memory.is_broken.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(audit.record(entry()).await.is_err());
    assert!(!audit.is_ready() && audit.is_failing());
    memory.is_broken.store(false, std::sync::atomic::Ordering::Relaxed);
    audit.record(entry()).await.unwrap();
    assert!(audit.is_ready() && !audit.is_failing());
}

#[tokio::test]
async fn many_refusals_become_one_entry_with_their_number() {
    let (audit, memory, supervisor) = audit();
    for _ in 0..50 {
        audit.note_refusal(audit.entry(Actor::Anonymous, Action::KeyRefused));
    }
    if let Some(inner) = &audit.0 {
        let earlier = Instant::now().checked_sub(REFUSALS_EVERY);
        inner.refusals.lock().recorded_at = earlier;
    }
    audit.note_refusal(audit.entry(Actor::Anonymous, Action::KeyRefused));
    supervisor.stop().await;
    let times: Vec<_> = memory.entries.lock().iter().map(|entry| entry.times).collect();
    assert_eq!(times, [None, Some(50)]);
}

#[tokio::test]
async fn without_a_log_everything_succeeds() {
    let audit = Audit::off();
    assert!(audit.is_ready() && !audit.is_failing() && audit.sink().is_none());
    let entry = audit.entry(Actor::Server, Action::ServerStarted);
    audit.record(entry.clone()).await.unwrap();
    audit.note(entry.clone());
    audit.pending(entry).settle(Outcome::Ok).await.unwrap();
}
