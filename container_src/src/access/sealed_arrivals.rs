//! Which sealed bodies have arrived at any of the servers that share keys and database, so that none of them accepts one that
//! another has accepted. Each server also remembers its own in memory, which refuses most repetitions without the database and
//! bounds the rows that it writes.

use std::time::Duration;

use edgeprove_job_queue::{
    QueueError,
    store::{Database, Durability, StoreError},
};
use edgeprove_job_rules::{sql::sealed_bodies, time::UnixMillis};
use edgeprove_protocol::{HasProblemType, ProblemType};
use edgeprove_sealing::{Arrival, UnsealError};
use edgeprove_telemetry::Supervisor;
use tokio_util::sync::CancellationToken;

/// Interval of forgetting.
const FORGET_EVERY: Duration = Duration::from_secs(10);
/// The most rows that one statement deletes.
const BATCH: u32 = 500;

/// Why a body is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ArrivalError {
    /// It has arrived before.
    #[error(transparent)]
    Refused(#[from] UnsealError),
    /// The database failed, so nobody knows whether it has arrived.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl HasProblemType for ArrivalError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Refused(error) => error.kind(),
            Self::Queue(error) => error.kind(),
        }
    }
}

/// The sealed bodies that have arrived. Clones share the database.
#[derive(Debug, Clone)]
pub struct SealedArrivals {
    database: Database,
}

impl SealedArrivals {
    /// Remembers bodies in this database.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Remembers a body. Fails if it has arrived before.
    pub async fn remember(&self, arrival: Arrival) -> Result<(), ArrivalError> {
        let expires_ms = i64::try_from(arrival.expires_ms).unwrap_or(i64::MAX);
        let values = [arrival.id.as_str().into(), UnixMillis(expires_ms).into()];
        let mut session = self.database.session(Durability::Write).await.map_err(QueueError)?;
        match session.row(sealed_bodies::REMEMBER, values).await.map_err(QueueError)? {
            Some(_) => Ok(()),
            None => Err(UnsealError::Replayed.into()),
        }
    }

    /// Forgets expired bodies, until the supervisor stops.
    pub fn start(&self, supervisor: &Supervisor) {
        let (arrivals, stop) = (self.clone(), supervisor.stop_token().clone());
        supervisor.spawn("forget sealed bodies", async move { arrivals.forget_until(&stop).await });
    }

    async fn forget_until(&self, stop: &CancellationToken) {
        while tokio::time::timeout(FORGET_EVERY, stop.cancelled()).await.is_err() {
            if let Err(error) = self.forget().await {
                let error = edgeprove_telemetry::chain(&error);
                tracing::warn!(error, "expired sealed bodies could not be forgotten yet");
            }
        }
    }

    async fn forget(&self) -> Result<(), StoreError> {
        loop {
            let mut session = self.database.session(Durability::Write).await?;
            let now = session.now().await?;
            if session.rows(sealed_bodies::FORGET, [now.into(), BATCH.into()]).await?.is_empty() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use edgeprove_job_queue::store::DatabaseLocation;
    use futures_util::future::join_all;

    use super::*;
    use crate::access::voucher_uses::now_s;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_body_is_accepted_once_until_it_expires() {
        let database = Database::open(&DatabaseLocation::Memory).await.unwrap();
        let servers = [(); 2].map(|()| SealedArrivals::new(database.clone()));
        let body = |id: &str, expires_ms| Arrival { id: id.to_owned(), expires_ms };
        let (now, later) = (now_s() * 1000, (now_s() + 600) * 1000);
        let both = join_all((0..20).map(|at| servers[at % 2].remember(body("a", later)))).await;
        assert_eq!(both.iter().filter(|remembered| remembered.is_ok()).count(), 1);
        let refused = servers[0].remember(body("a", later)).await.unwrap_err();
        assert_eq!(refused.kind(), ProblemType::SealedBodyReplayed);
        for at in 0..=BATCH {
            servers[0].remember(body(&format!("old {at}"), now - 1)).await.unwrap();
        }
        servers[1].forget().await.unwrap();
        servers[1].remember(body("old 7", now - 1)).await.unwrap();
        assert!(servers[1].remember(body("a", later)).await.is_err(), "it has not expired");
    }
}
