use super::*;

/// Stores entries in memory, and fails while `is_broken` is set.
#[derive(Default)]
struct MemorySink {
    batches: Mutex<Vec<usize>>,
    entries: Mutex<Vec<Entry>>,
    is_broken: std::sync::atomic::AtomicBool,
    is_moved: std::sync::atomic::AtomicBool,
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

    async fn read(&self, _: EntryFilter, _: PageRange) -> Result<Page, AuditError> {
        Ok(Page::default())
    }

    async fn head(&self) -> Result<Link, AuditError> {
        Ok(Link::START)
    }

    async fn check(&self) -> Result<(), AuditError> {
        if self.is_moved.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(AuditError::Changed { path: PathBuf::new(), change: LogChange::Missing });
        }
        Ok(())
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
    assert!(audit.is_ready().await && !audit.is_failing().await);
    memory.is_broken.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(audit.record(entry()).await.is_err());
    assert!(!audit.is_ready().await && audit.is_failing().await);
    memory.is_broken.store(false, std::sync::atomic::Ordering::Relaxed);
    audit.record(entry()).await.unwrap();
    assert!(audit.is_ready().await && !audit.is_failing().await);
}

#[tokio::test(start_paused = true)]
async fn entries_of_the_past_wait_for_the_log() {
    let (audit, memory, _supervisor) = audit();
    let entry = |action| audit.entry(Actor::Server, action);
    let is_broken = |broken| memory.is_broken.store(broken, std::sync::atomic::Ordering::Relaxed);
    let actions = || memory.entries.lock().iter().map(|entry| entry.action).collect::<Vec<_>>();
    is_broken(true);
    audit.record_or_retain(entry(Action::JobCompleted)).await;
    audit.note(entry(Action::JobExpired));
    audit.record(entry(Action::JobStarted)).await.unwrap_err();
    tokio::time::sleep(RETRY_AFTER * 3).await;
    assert_eq!((actions(), audit.is_failing().await), (Vec::new(), true));
    is_broken(false);
    tokio::time::sleep(RETRY_AFTER * 2).await;
    // The start of a job was refused, so that it did not happen.
    assert_eq!(actions(), [Action::JobCompleted, Action::JobExpired]);
    assert!(!audit.is_failing().await);
    // A second failure begins another retry.
    is_broken(true);
    audit.record_or_retain(entry(Action::JobFailed)).await;
    is_broken(false);
    tokio::time::sleep(RETRY_AFTER * 2).await;
    assert_eq!(actions().last(), Some(&Action::JobFailed));
}

#[tokio::test]
async fn retained_entries_are_bounded_and_written_at_the_stop() {
    let (audit, memory, supervisor) = audit();
    memory.is_broken.store(true, std::sync::atomic::Ordering::Relaxed);
    for _ in 0..RETAINED_MAX + 50 {
        audit.note(audit.entry(Actor::Server, Action::JobExpired));
    }
    audit.record_or_retain(audit.entry(Actor::Server, Action::JobCompleted)).await;
    supervisor.stop().await;
    memory.is_broken.store(false, std::sync::atomic::Ordering::Relaxed);
    audit.finish().await;
    let entries = memory.entries.lock();
    assert_eq!(entries.len(), RETAINED_MAX + 1);
    assert_eq!(entries.last().map(|entry| entry.action), Some(Action::ServerStopped));
}

#[tokio::test]
async fn work_pauses_while_the_log_is_another_one() {
    let (audit, memory, _supervisor) = audit();
    assert!(audit.is_ready().await);
    memory.is_moved.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(!audit.is_ready().await && audit.is_failing().await);
    memory.is_moved.store(false, std::sync::atomic::Ordering::Relaxed);
    assert!(audit.is_ready().await && !audit.is_failing().await);
}

#[tokio::test(start_paused = true)]
async fn counted_refusals_are_written_a_second_later() {
    let (audit, memory, _supervisor) = audit();
    for actor in [Actor::Anonymous, Actor::Key("bob".to_owned()), Actor::Anonymous] {
        audit.note_refusal(audit.entry(actor, Action::KeyRefused));
    }
    if let Some(inner) = &audit.0 {
        inner.refusals.lock().age(REFUSALS_EVERY);
    }
    tokio::time::sleep(REFUSALS_EVERY * 2).await;
    let entries = memory.entries.lock().iter().map(|e| (e.actor.clone(), e.times)).collect::<Vec<_>>();
    let bob = Actor::Key("bob".to_owned());
    assert_eq!(entries, [(Actor::Anonymous, None), (bob, None), (Actor::Anonymous, None)]);
}

#[tokio::test]
async fn refusals_that_are_counted_at_the_end_are_written() {
    let (audit, memory, supervisor) = audit();
    for number in 0..30 {
        let actor = if number % 3 == 0 { Actor::Key("bob".to_owned()) } else { Actor::Anonymous };
        audit.note_refusal(audit.entry(actor, Action::KeyRefused));
    }
    supervisor.stop().await;
    // A request that is refused while connections close.
    audit.note_refusal(audit.entry(Actor::Anonymous, Action::KeyRefused));
    audit.note_refusal(audit.entry(Actor::Anonymous, Action::KeyRefused));
    audit.finish().await;
    let entries = memory.entries.lock().clone();
    let count = |actor: &Actor| -> u64 {
        let of_actor = entries.iter().filter(|entry| entry.actor == *actor);
        of_actor.map(|entry| entry.times.unwrap_or(1)).sum()
    };
    assert_eq!((count(&Actor::Key("bob".to_owned())), count(&Actor::Anonymous)), (10, 22));
    assert_eq!(entries.last().map(|entry| entry.action), Some(Action::ServerStopped));
}

#[tokio::test]
async fn without_a_log_everything_succeeds() {
    let audit = Audit::off();
    assert!(audit.is_ready().await && !audit.is_failing().await && audit.sink().is_none());
    let entry = audit.entry(Actor::Server, Action::ServerStarted);
    audit.record(entry.clone()).await.unwrap();
    audit.note(entry.clone());
    audit.pending(entry).settle(Outcome::Ok).await.unwrap();
}
