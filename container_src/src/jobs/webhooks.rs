//! Webhooks of jobs: what is sent when a job has finished, and what is recorded of it.

use std::{error::Error, sync::Arc};

use async_trait::async_trait;
use edgeprove_audit::Audit;
use edgeprove_job_queue::QueueError;
use edgeprove_job_rules::{
    audit::{Action, Entry},
    job::Job,
};
use edgeprove_outbound::AllowedHosts;
use edgeprove_protocol::JobId;
use edgeprove_webhooks::{
    BodyError, Callback, OweError, Webhook, WebhookEvents, WebhookSecret, WebhookStore,
};
use serde_json::{Value, json};

use super::{
    Jobs,
    document::{document, with_receipt},
    job_kinds::{build, deploy, proof_payload},
};
use crate::access;

/// The settings of webhooks.
#[derive(Debug, Clone, Default)]
pub struct WebhookSettings {
    /// The hosts that may be called. Empty: there are no webhooks.
    pub hosts: AllowedHosts,
    /// The secrets that webhooks are signed with.
    pub secrets: Vec<WebhookSecret>,
}

/// The webhooks of a server that sends some.
pub struct Webhooks {
    /// Those that are owed.
    pub store: WebhookStore,
    /// The hosts that may be called.
    pub hosts: AllowedHosts,
}

/// Finds out what is sent, and records what was sent.
pub struct JobWebhooks {
    /// The jobs.
    pub jobs: Arc<Jobs>,
    /// The audit log.
    pub audit: Audit,
}

impl Jobs {
    /// Owes a webhook for a job that is there already.
    pub(super) async fn owe(&self, job: &Job, callback: Option<&Callback>) -> Result<(), OweError> {
        if let (Some(callback), Some(webhooks)) = (callback, &self.webhooks) {
            webhooks.store.owe(job.id, &job.kind, callback).await?;
            self.store.queue.database().sync().await.map_err(QueueError)?;
        }
        Ok(())
    }

    /// The event that a finished job is; `None` for a kind without events.
    async fn event(&self, job: Job) -> Result<Option<Value>, Box<dyn Error + Send + Sync>> {
        let kind = format!("{}.{}", job.kind, job.status);
        let at = job.finished_at.map(|at| edgeprove_telemetry::timestamp(at.0));
        let data = match job.kind.as_str() {
            proof_payload::KIND => {
                let view = self.views().view(job).await?;
                serde_json::to_value(with_receipt(document(&view)?, &view.job)?)?
            }
            build::KIND => serde_json::to_value(self.entry_at(&self.views().view(job).await?).await?)?,
            deploy::KIND => serde_json::to_value(self.deployment_of(&job).await?)?,
            _ => return Ok(None),
        };
        Ok(Some(json!({ "type": kind, "timestamp": at, "data": data })))
    }
}

#[async_trait]
impl WebhookEvents for JobWebhooks {
    async fn body(&self, id: JobId) -> Result<Option<String>, BodyError> {
        let job = self.jobs.store.queue.get(id).await.map_err(|error| BodyError(error.into()))?;
        let Some(job) = job else { return Ok(None) };
        let event = self.jobs.event(job).await.map_err(BodyError)?;
        Ok(event.map(|event| event.to_string()))
    }

    async fn ended(&self, webhook: &Webhook, is_delivered: bool) {
        let action = if is_delivered { Action::WebhookDelivered } else { Action::WebhookGivenUp };
        let entry = Entry {
            job_id: Some(webhook.job),
            job_kind: Some(webhook.job_kind.clone()),
            attempt: Some(webhook.attempt),
            ..self.audit.entry(access::actor(&webhook.owner), action)
        };
        self.audit.record_or_retain(entry).await;
    }
}
