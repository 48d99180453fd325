//! Counts the uses of vouchers: in the database of the jobs, which servers may share, or in memory.
//!
//! A use is counted before the work starts, in one atomic step with the comparison, so that requests at the same moment cannot
//! use a voucher too often. It is given back where the work is not accepted.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::{Duration, SystemTime},
};

use edgeprove_job_queue::{
    QueueError,
    store::{Database, Durability, StoreError},
};
use edgeprove_job_rules::{sql::vouchers, time::UnixMillis};
use edgeprove_protocol::{HasProblemType, ProblemType, Voucher};
use edgeprove_telemetry::Supervisor;
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

/// The most vouchers that are counted in memory.
const COUNTED_MAX: usize = 65_536;
/// How long after its end a voucher is still counted: the clocks of servers may differ by this much.
const CLOCKS_DIFFER: Duration = Duration::from_hours(1);
/// Interval of forgetting.
const FORGET_EVERY: Duration = Duration::from_mins(1);
/// The most rows that one statement deletes.
const BATCH: u32 = 500;
/// The number of locks for repeated requests.
const LOCKS: usize = 64;

/// Why a use is not counted.
#[derive(Debug, thiserror::Error)]
pub enum UseError {
    /// As many jobs and proofs were accepted as the voucher allows.
    #[error("the voucher is used up: it allows {uses} proofs")]
    UsedUp {
        /// The number of uses.
        uses: u32,
    },
    /// Too many vouchers are counted in memory.
    #[error("more vouchers are in use than this server counts")]
    TooMany,
    /// The database failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl HasProblemType for UseError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::UsedUp { .. } => ProblemType::VoucherUsedUp,
            Self::TooMany => ProblemType::RateLimited,
            Self::Queue(error) => error.kind(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooMany => Some(FORGET_EVERY),
            Self::UsedUp { .. } | Self::Queue(_) => None,
        }
    }
}

/// The counts of uses. Clones share them.
#[derive(Debug, Clone)]
pub struct VoucherUses {
    counts: Counts,
    locks: Arc<[Arc<tokio::sync::Mutex<()>>; LOCKS]>,
}

#[derive(Debug, Clone)]
enum Counts {
    /// In the database of the jobs.
    Stored(Database),
    /// By id: how often each was used, and when it expires, in seconds since 1970.
    InMemory(Arc<Mutex<HashMap<String, (u32, u64)>>>),
}

/// The uses of one voucher.
#[derive(Debug, Clone)]
pub struct UsesOfVoucher {
    all: VoucherUses,
    voucher: Arc<Voucher>,
}

impl VoucherUses {
    /// Counts in this database, or in memory where there is none.
    #[must_use]
    pub fn new(database: Option<Database>) -> Self {
        let counts = database.map_or_else(|| Counts::InMemory(Arc::default()), Counts::Stored);
        Self { counts, locks: Arc::new(std::array::from_fn(|_| Arc::default())) }
    }

    /// The uses of this voucher.
    #[must_use]
    pub fn of(&self, voucher: &Arc<Voucher>) -> UsesOfVoucher {
        UsesOfVoucher { all: self.clone(), voucher: Arc::clone(voucher) }
    }

    /// Forgets expired vouchers, until the supervisor stops.
    pub fn start(&self, supervisor: &Supervisor) {
        let (uses, stop) = (self.clone(), supervisor.stop_token().clone());
        supervisor.spawn("forget vouchers", async move { uses.forget_until(&stop).await });
    }

    async fn forget_until(&self, stop: &CancellationToken) {
        while tokio::time::timeout(FORGET_EVERY, stop.cancelled()).await.is_err() {
            if let Err(error) = self.forget().await {
                let error = edgeprove_telemetry::chain(&error);
                tracing::warn!(error, "expired vouchers could not be forgotten yet");
            }
        }
    }

    async fn forget(&self) -> Result<(), StoreError> {
        match &self.counts {
            Counts::InMemory(counts) => forget_expired(&mut counts.lock(), now_s()),
            Counts::Stored(database) => loop {
                let mut session = database.session(Durability::Write).await?;
                let until = session.now().await?.before(CLOCKS_DIFFER);
                let forgotten = session.rows(vouchers::FORGET, [until.into(), BATCH.into()]).await?;
                if forgotten.is_empty() {
                    break;
                }
            },
        }
        Ok(())
    }
}

impl UsesOfVoucher {
    /// Counts a use. Fails if the voucher is used up.
    pub async fn take(&self) -> Result<(), UseError> {
        let Voucher { id, uses, expires_s, .. } = &*self.voucher;
        match &self.all.counts {
            Counts::InMemory(counts) => take_in_memory(&mut counts.lock(), &self.voucher, now_s()),
            Counts::Stored(database) => {
                let expires_ms = i64::try_from(expires_s.saturating_mul(1000)).unwrap_or(i64::MAX);
                let values = [id.as_str().into(), UnixMillis(expires_ms).into(), (*uses).into()];
                let mut session = database.session(Durability::Write).await.map_err(QueueError)?;
                let counted = session.row(vouchers::USE, values).await.map_err(QueueError)?;
                if counted.is_some() { Ok(()) } else { Err(UseError::UsedUp { uses: *uses }) }
            }
        }
    }

    /// Gives back a use whose work was not accepted. If that fails, the use stays counted, and the log has the reason.
    pub async fn give_back(&self) {
        let given_back = match &self.all.counts {
            Counts::InMemory(counts) => {
                if let Some((used, _)) = counts.lock().get_mut(&self.voucher.id) {
                    *used = used.saturating_sub(1);
                }
                Ok(())
            }
            Counts::Stored(database) => self.give_back_in(database).await,
        };
        if let Err(error) = given_back {
            let error = edgeprove_telemetry::chain(&error);
            tracing::warn!(voucher = self.voucher.id, error, "a use of a voucher could not be given back");
        }
    }

    async fn give_back_in(&self, database: &Database) -> Result<(), StoreError> {
        let mut session = database.session(Durability::Write).await?;
        session.row(vouchers::GIVE_BACK, [self.voucher.id.as_str().into()]).await?;
        Ok(())
    }

    /// Waits until no other request of this server with the same idempotency key is being accepted: the second of two equal
    /// requests must find the job of the first one, and not a voucher that is used up.
    pub async fn lock(&self, idempotency_key: &str) -> OwnedMutexGuard<()> {
        let mut hasher = DefaultHasher::new();
        idempotency_key.hash(&mut hasher);
        let at = usize::try_from(hasher.finish() % LOCKS as u64).unwrap_or_default();
        Arc::clone(&self.all.locks[at]).lock_owned().await
    }
}

fn take_in_memory(
    counts: &mut HashMap<String, (u32, u64)>,
    voucher: &Voucher,
    now_s: u64,
) -> Result<(), UseError> {
    if counts.len() >= COUNTED_MAX && !counts.contains_key(&voucher.id) {
        forget_expired(counts, now_s);
        if counts.len() >= COUNTED_MAX {
            return Err(UseError::TooMany);
        }
    }
    let (used, _) = counts.entry(voucher.id.clone()).or_insert((0, voucher.expires_s));
    if *used >= voucher.uses {
        return Err(UseError::UsedUp { uses: voucher.uses });
    }
    *used += 1;
    Ok(())
}

/// This process alone counts in memory, and checks vouchers by the same clock. If the clock is set back, a voucher must not
/// begin again.
fn forget_expired(counts: &mut HashMap<String, (u32, u64)>, now_s: u64) {
    counts.retain(|_, (_, expires_s)| expires_s.saturating_add(CLOCKS_DIFFER.as_secs()) > now_s);
}

/// The time by the machine's clock, in seconds since 1970.
#[must_use]
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use edgeprove_job_queue::store::DatabaseLocation;
    use edgeprove_protocol::{Priority, voucher::KeyFingerprint};

    use futures_util::future::join_all;

    use super::*;

    fn voucher(id: &str, uses: u32) -> Arc<Voucher> {
        Arc::new(Voucher {
            id: id.to_owned(),
            holder: "alice".to_owned(),
            key: KeyFingerprint::of(&[7; 32]),
            circuits: vec!["range_check".parse().unwrap()],
            uses,
            expires_s: now_s() + 60,
            priority: Priority::Normal,
            origin: None,
            subject: None,
        })
    }

    async fn counters() -> [VoucherUses; 2] {
        let database = Database::open(&DatabaseLocation::Memory).await.unwrap();
        [VoucherUses::new(None), VoucherUses::new(Some(database))]
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn exactly_as_many_uses_are_counted_as_are_allowed() {
        for counter in counters().await {
            let (first, other) = (counter.of(&voucher("a", 5)), counter.of(&voucher("b", 1)));
            let takes = join_all((0..20).map(|_| first.take())).await;
            let counted = takes.iter().filter(|take| take.is_ok()).count();
            assert_eq!(counted, 5);
            assert!(matches!(first.take().await, Err(UseError::UsedUp { uses: 5 })));
            other.take().await.unwrap();
            first.give_back().await;
            first.take().await.unwrap();
            assert!(first.take().await.is_err());
            counter.forget().await.unwrap();
            assert!(first.take().await.is_err(), "an unexpired voucher was forgotten");
        }
    }

    #[test]
    fn the_number_of_vouchers_in_memory_is_bounded() {
        let mut counts = HashMap::new();
        let now = now_s();
        for at in 0..COUNTED_MAX {
            counts.insert(at.to_string(), (1, now + 60));
        }
        assert!(matches!(take_in_memory(&mut counts, &voucher("new", 1), now), Err(UseError::TooMany)));
        let known = voucher("7", 2);
        assert!(take_in_memory(&mut counts, &known, now).is_ok());
        assert!(matches!(take_in_memory(&mut counts, &known, now), Err(UseError::UsedUp { .. })));
        let later = now + 61 + CLOCKS_DIFFER.as_secs();
        assert!(take_in_memory(&mut counts, &voucher("new", 1), later).is_ok());
        assert_eq!(counts.len(), 1);
    }
}
