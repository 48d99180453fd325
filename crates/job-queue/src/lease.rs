//! The lease of an attempt: where it is renewed, and where stages are reported.

use std::error::Error;

use async_trait::async_trait;
use edgeprove_job_rules::lease::LeaseToken;
use edgeprove_protocol::JobId;
use tokio::sync::broadcast;

use crate::{
    queue_types::{Change, LeaseStatus, StageReport},
    sql_queue::SqlQueue,
};

/// Why a lease could not be renewed. Another renewal may succeed.
pub type LeaseError = Box<dyn Error + Send + Sync>;

/// The lease of one attempt: in the queue of this process, or at a server elsewhere.
#[async_trait]
pub trait Lease: Send + Sync {
    /// Renews it.
    async fn renew(&self) -> Result<LeaseStatus, LeaseError>;

    /// Writes the stage of the attempt.
    async fn report_stage(&self, stage: &StageReport) -> Result<LeaseStatus, LeaseError>;

    /// Changes of jobs, where this process learns of them: one of this job leads to a renewal, since it may be a cancel request.
    fn changes(&self) -> Option<broadcast::Receiver<Change>> {
        None
    }
}

/// A lease in the queue of this process.
#[derive(Debug, Clone)]
pub struct QueueLease {
    /// The queue.
    pub queue: SqlQueue,
    /// The job.
    pub id: JobId,
    /// The token of the claim.
    pub token: LeaseToken,
}

#[async_trait]
impl Lease for QueueLease {
    async fn renew(&self) -> Result<LeaseStatus, LeaseError> {
        Ok(self.queue.heartbeat(self.id, self.token).await?)
    }

    async fn report_stage(&self, stage: &StageReport) -> Result<LeaseStatus, LeaseError> {
        Ok(self.queue.report_stage(self.id, self.token, stage).await?)
    }

    fn changes(&self) -> Option<broadcast::Receiver<Change>> {
        Some(self.queue.subscribe())
    }
}
