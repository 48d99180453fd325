use super::*;

/// Keeps entries in memory, and fails when it is told to.
#[derive(Default)]
struct Memory {
    batches: Mutex<Vec<usize>>,
    entries: Mutex<Vec<Entry>>,
    broken: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl AuditSink for Memory {
    async fn append(&self, entries: Vec<Entry>) -> Result<Link, AuditError> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        if self.broken.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(AuditError::Lost);
        }
        locked(&self.batches).push(entries.len());
        locked(&self.entries).extend(entries);
        Ok(Link::START)
    }

    async fn read(&self, _: u64, _: usize) -> Result<Vec<Record>, AuditError> {
        Ok(Vec::new())
    }

    async fn head(&self) -> Result<Link, AuditError> {
        Ok(Link::START)
    }
}

fn audit() -> (Audit, Arc<Memory>, Supervisor) {
    let (memory, supervisor) = (Arc::new(Memory::default()), Supervisor::default());
    let sink: Arc<dyn AuditSink> = Arc::clone(&memory) as _;
    (Audit::new(sink, "here".to_owned(), supervisor.clone()), memory, supervisor)
}

#[tokio::test]
async fn entries_that_come_together_are_written_together_and_in_order() {
    let (audit, memory, _supervisor) = audit();
    let records = (0..100).map(|number| {
        let entry = audit.entry(Actor::Key(number.to_string()), Action::JobSubmitted);
        audit.record(entry)
    });
    assert!(futures_util::future::join_all(records).await.into_iter().all(|kept| kept.is_ok()));
    let actors: Vec<Actor> = locked(&memory.entries).iter().map(|entry| entry.actor.clone()).collect();
    assert!(actors.into_iter().eq((0..100).map(|number| Actor::Key(number.to_string()))));
    let batches = locked(&memory.batches).clone();
    assert!(batches.len() <= 3, "{batches:?}");
    assert!(locked(&memory.entries).iter().all(|entry| entry.worker.as_deref() == Some("here")));
}

#[tokio::test]
async fn what_is_left_unsettled_was_abandoned() {
    let (audit, memory, supervisor) = audit();
    let proof = || audit.entry(Actor::Anonymous, Action::ProofSynchronous);
    drop(audit.pending(proof()));
    audit.pending(proof()).settle(Outcome::Ok).await.unwrap();
    // A caller who leaves while the record is written breaks nothing off.
    {
        let settling = audit.pending(proof()).settle(Outcome::Ok);
        tokio::select! {
            biased;
            _ = settling => panic!("it takes some milliseconds"),
            () = std::future::ready(()) => {}
        }
    }
    supervisor.stop().await;
    let outcomes: Vec<_> = locked(&memory.entries).iter().map(|entry| entry.outcome).collect();
    assert_eq!(outcomes, [Some(Outcome::Abandoned), Some(Outcome::Ok), Some(Outcome::Ok)]);
}

#[tokio::test]
async fn a_failure_is_told_and_work_pauses() {
    let (audit, memory, _supervisor) = audit();
    let entry = || audit.entry(Actor::Server, Action::ServerStarted);
    assert!(audit.ready() && !audit.is_failing());
    memory.broken.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(audit.record(entry()).await.is_err());
    assert!(!audit.ready() && audit.is_failing());
    memory.broken.store(false, std::sync::atomic::Ordering::Relaxed);
    audit.record(entry()).await.unwrap();
    assert!(audit.ready() && !audit.is_failing());
}

#[tokio::test]
async fn many_refusals_are_told_once_with_their_number() {
    let (audit, memory, supervisor) = audit();
    for _ in 0..50 {
        audit.note_refusal(audit.entry(Actor::Anonymous, Action::KeyRefused));
    }
    if let Some(inner) = &audit.0 {
        let earlier = Instant::now().checked_sub(REFUSALS_EVERY);
        locked(&inner.refusals).told_at = earlier;
    }
    audit.note_refusal(audit.entry(Actor::Anonymous, Action::KeyRefused));
    supervisor.stop().await;
    let times: Vec<_> = locked(&memory.entries).iter().map(|entry| entry.times).collect();
    assert_eq!(times, [None, Some(50)]);
}

#[tokio::test]
async fn without_a_log_nothing_is_in_the_way() {
    let audit = Audit::off();
    assert!(audit.ready() && !audit.is_failing() && audit.sink().is_none());
    let entry = audit.entry(Actor::Server, Action::ServerStarted);
    audit.record(entry.clone()).await.unwrap();
    audit.note(entry.clone());
    audit.pending(entry).settle(Outcome::Ok).await.unwrap();
}
