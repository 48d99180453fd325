use edgeprove_artifacts::{ArtifactSettings, KeySettings, LocationSettings};
use edgeprove_job_queue::{JobOutcome, SqlQueue, store::DatabaseLocation};
use edgeprove_job_rules::{capability::Capability, job::NewJob, queue_bounds::Bounds, transition::Rules};
use edgeprove_outbound::AllowedHosts;
use edgeprove_protocol::Priority;

use super::*;

const LEASE: Duration = Duration::from_mins(1);
const NOBODY: &str = "[]";

struct Fixture {
    queue: SqlQueue,
    store: WebhookStore,
}

impl Fixture {
    async fn new() -> Self {
        let settings = ArtifactSettings { location: LocationSettings::Temporary, keys: KeySettings::Random };
        let artifacts = Arc::new(ArtifactStore::open(&settings).unwrap());
        let database = Database::open(&DatabaseLocation::Memory).await.unwrap();
        let queue = SqlQueue::new(database.clone(), Rules::default(), Bounds::default()).await.unwrap();
        Self { queue, store: WebhookStore::new(database, artifacts).with_bound(10) }
    }

    /// Enqueues the job with this number.
    async fn job(&self, number: u8) -> JobId {
        let id = id(number);
        let job = NewJob {
            id,
            kind: "greet".to_owned(),
            subject: "world".to_owned(),
            version: "1".to_owned(),
            owner: "alice".to_owned(),
            account: "key:alice".to_owned(),
            priority: Priority::Normal,
            max_attempts: 1,
            idempotency: None,
            payload: "{}".to_owned(),
            input: None,
        };
        self.queue.enqueue(job, None).await.unwrap();
        id
    }

    /// Completes the next job.
    async fn complete(&self) {
        let job = self.queue.claim("worker", &[Capability::all_of("greet")]).await.unwrap().unwrap();
        let outcome = JobOutcome::completed(None, "hello").unwrap();
        self.queue.finish(job.id, job.lease_token, &outcome).await.unwrap();
    }

    async fn owe(&self, job: u8, account: &str, path: &str) -> Result<Owed, OweError> {
        let callback = callback(account, &format!("https://{account}.example/{path}"));
        self.store.owe(id(job), "greet", &callback).await
    }

    async fn claim(&self, busy: &str) -> Option<Webhook> {
        self.store.claim(LEASE, busy).await.unwrap()
    }
}

fn id(number: u8) -> JobId {
    JobId::new(None, [number; 16]).unwrap()
}

fn callback(account: &str, url: &str) -> Callback {
    let hosts = AllowedHosts(vec!["*".parse().unwrap()]);
    Callback { url: hosts.admit(url).unwrap(), owner: format!("key:{account}"), account: account.to_owned() }
}

#[tokio::test]
async fn callers_share_the_slots() {
    let fixture = Fixture::new().await;
    let mut shares = Vec::new();
    let mut last = String::new();
    for account in ["a", "b", "c"] {
        let mut owed = 0;
        while let Ok(new) = fixture.owe(owed, account, "x").await {
            let Owed::New(id) = new else { panic!("it is new") };
            (owed, last) = (owed + 1, id);
        }
        shares.push(owed);
    }
    assert_eq!(shares, [5, 3, 1]);
    let refused = fixture.owe(100, "a", "x").await.unwrap_err();
    assert_eq!(refused.kind(), ProblemType::TooManyCallbacks);
    fixture.store.withdraw(&last).await.unwrap();
    assert!(fixture.owe(100, "d", "x").await.is_ok());
    assert_eq!(fixture.store.state().await.unwrap().owed, 9);
}

#[tokio::test]
async fn a_webhook_is_owed_once_for_a_url() {
    let fixture = Fixture::new().await;
    assert!(matches!(fixture.owe(1, "a", "x").await, Ok(Owed::New(_))));
    assert_eq!(fixture.owe(1, "a", "x").await.unwrap(), Owed::Known);
    assert!(matches!(fixture.owe(1, "a", "y").await, Ok(Owed::New(_))));
    assert!(matches!(fixture.owe(1, "b", "x").await, Ok(Owed::New(_))));
    assert!(matches!(fixture.owe(2, "a", "x").await, Ok(Owed::New(_))));
}

#[tokio::test]
async fn a_webhook_is_due_when_its_job_has_finished() {
    let fixture = Fixture::new().await;
    fixture.job(1).await;
    fixture.owe(1, "a", "x?key=1").await.unwrap();
    fixture.owe(2, "a", "x").await.unwrap();
    fixture.store.make_due().await.unwrap();
    assert_eq!(fixture.claim(NOBODY).await, None);
    fixture.complete().await;
    fixture.store.make_due().await.unwrap();
    let webhook = fixture.claim(NOBODY).await.unwrap();
    assert_eq!((webhook.job, webhook.attempt, webhook.host.as_str()), (id(1), 1, "a.example:443"));
    assert_eq!(*fixture.store.url(&webhook).unwrap(), "https://a.example/x?key=1");
    // It is leased, and the other job was never accepted.
    assert_eq!(fixture.claim(NOBODY).await, None);
    let next = fixture.store.state().await.unwrap().next.unwrap();
    assert!(next > Duration::ZERO && next <= LEASE, "{next:?}");
    assert!(fixture.store.end(&webhook).await.unwrap());
    assert_eq!(fixture.store.state().await.unwrap(), State { owed: 1, due: 0, next: None });
    assert_eq!(fixture.owe(1, "a", "x?key=1").await.unwrap(), Owed::Known);
}

#[tokio::test]
async fn an_earlier_attempt_changes_nothing() {
    let fixture = Fixture::new().await;
    fixture.job(1).await;
    fixture.owe(1, "a", "x").await.unwrap();
    fixture.complete().await;
    fixture.store.make_due().await.unwrap();
    let first = fixture.store.claim(Duration::ZERO, NOBODY).await.unwrap().unwrap();
    assert!(fixture.store.store_body(&first, "{}").await.unwrap());
    let second = fixture.claim(NOBODY).await.unwrap();
    assert_eq!((second.attempt, second.body.as_deref()), (2, Some("{}")));
    assert!(!fixture.store.store_body(&first, "other").await.unwrap());
    assert!(!fixture.store.end(&first).await.unwrap());
    assert!(!fixture.store.repeat(&first, Duration::ZERO).await.unwrap());
    assert!(fixture.store.repeat(&second, Duration::ZERO).await.unwrap());
    let third = fixture.claim(NOBODY).await.unwrap();
    assert!(fixture.store.end(&third).await.unwrap() && !fixture.store.end(&third).await.unwrap());
    assert_eq!(fixture.claim(NOBODY).await, None);
}

#[tokio::test]
async fn first_attempts_come_first_and_the_busy_wait() {
    let fixture = Fixture::new().await;
    for (number, account) in [(1, "a"), (2, "a"), (3, "b")] {
        fixture.job(number).await;
        fixture.owe(number, account, "x").await.unwrap();
        fixture.complete().await;
    }
    fixture.store.make_due().await.unwrap();
    let first = fixture.claim(NOBODY).await.unwrap();
    fixture.store.repeat(&first, Duration::ZERO).await.unwrap();
    let busy = r#"[["a", null]]"#;
    assert_eq!(fixture.claim(busy).await.unwrap().account, "b");
    assert_eq!(fixture.claim(busy).await, None);
    assert_eq!(fixture.claim(r#"[[null, "a.example:443"]]"#).await, None);
    let next = [fixture.claim(NOBODY).await.unwrap(), fixture.claim(NOBODY).await.unwrap()];
    assert_eq!(next.map(|webhook| (webhook.job, webhook.attempt)), [(id(2), 1), (id(1), 2)]);
}

#[tokio::test]
async fn what_ended_long_ago_is_forgotten() {
    let fixture = Fixture::new().await;
    fixture.job(1).await;
    fixture.owe(1, "a", "x").await.unwrap();
    fixture.owe(2, "a", "x").await.unwrap();
    fixture.complete().await;
    fixture.store.make_due().await.unwrap();
    let webhook = fixture.claim(NOBODY).await.unwrap();
    fixture.store.end(&webhook).await.unwrap();
    fixture.store.tidy(Retention::default()).await.unwrap();
    assert_eq!(fixture.owe(1, "a", "x").await.unwrap(), Owed::Known);
    let at_once = Retention { results: Duration::ZERO, tombstones: Duration::ZERO, ..Retention::default() };
    fixture.store.tidy(at_once).await.unwrap();
    assert!(matches!(fixture.owe(1, "a", "x").await, Ok(Owed::New(_))));
    // It may still be accepted.
    assert_eq!(fixture.owe(2, "a", "x").await.unwrap(), Owed::Known);
}
