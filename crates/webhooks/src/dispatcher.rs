//! Makes the attempts at webhooks, several at a time.
//!
//! Nobody's server delays the webhooks of others: first attempts come before further ones, a host has few attempts at a time,
//! and a caller begins another attempt only while it has fewer than are free.

use std::{
    collections::HashMap,
    error::Error,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use edgeprove_job_queue::{SqlQueue, store::StoreError};
use edgeprove_outbound::AllowedHosts;
use edgeprove_protocol::JobId;
use edgeprove_telemetry::metrics::jobs::{self as metrics, WebhookEnd};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    attempt::{AttemptError, Sender},
    schedule,
    secret::WebhookSecret,
    store::{State, Webhook, WebhookStore},
};

/// The most attempts of this server at a time.
const ATTEMPTS_MAX: usize = 32;
/// The most of them at one host.
const ATTEMPTS_PER_HOST_MAX: usize = 4;
/// When an attempt that its server never ended is repeated: longer than an attempt takes.
const LEASE: Duration = Duration::from_secs(30);
/// The pause after a change of a job, in which further ones may come.
const CHANGE_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause. Notifications of changes may be lost.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The pause after the database failed.
const DATABASE_PAUSE: Duration = Duration::from_secs(1);
/// The pause between two rounds of tidying up.
const TIDY_EVERY: Duration = Duration::from_mins(10);

/// What the server that sends webhooks knows of jobs, and does when a webhook has ended.
#[async_trait]
pub trait WebhookEvents: Send + Sync {
    /// What is sent of a finished job, as JSON; `None` if there is no such job any more.
    async fn body(&self, job: JobId) -> Result<Option<String>, BodyError>;

    /// A webhook was delivered, or is given up.
    async fn ended(&self, webhook: &Webhook, is_delivered: bool);
}

/// What is sent of a job could not be found out.
#[derive(Debug, thiserror::Error)]
#[error("what is sent of the job could not be found out")]
pub struct BodyError(#[source] pub Box<dyn Error + Send + Sync>);

/// Makes the attempts of one server.
pub struct Dispatcher {
    store: WebhookStore,
    queue: SqlQueue,
    sender: Sender,
    events: Arc<dyn WebhookEvents>,
}

impl Dispatcher {
    /// Sends the webhooks of the jobs of this queue to these hosts, signed with each of these secrets.
    pub fn new(
        store: WebhookStore,
        queue: SqlQueue,
        (hosts, secrets): (AllowedHosts, Vec<WebhookSecret>),
        events: Arc<dyn WebhookEvents>,
    ) -> Result<Self, reqwest::Error> {
        Ok(Self { store, queue, sender: Sender::new(hosts, secrets)?, events })
    }

    /// Sends webhooks until the server stops. Attempts that have not ended by then are repeated by the next server.
    pub async fn run(&self, stop: &CancellationToken) {
        stop.run_until_cancelled(self.dispatch()).await;
    }

    async fn dispatch(&self) {
        let mut changes = self.queue.subscribe();
        let mut running = FuturesUnordered::new();
        let mut slots = Slots::default();
        let (mut tidied, mut is_failing) = (None::<Instant>, false);
        loop {
            let started = self.round(&mut slots, &mut tidied).await;
            let pause = match started {
                Ok((claimed, State { owed, next, .. })) => {
                    is_failing = false;
                    metrics::webhooks_owed(owed);
                    running.extend(claimed.into_iter().map(|webhook| async move {
                        self.attempt(&webhook).await;
                        webhook
                    }));
                    next.unwrap_or(PAUSE_MAX).min(PAUSE_MAX)
                }
                Err(error) => {
                    if !is_failing {
                        let error = edgeprove_telemetry::chain(&error);
                        tracing::warn!(error, "the webhooks that are owed could not be read");
                    }
                    is_failing = true;
                    DATABASE_PAUSE
                }
            };
            let (mut pause, mut has_changed) = (pin!(tokio::time::sleep(pause)), false);
            loop {
                tokio::select! {
                    Some(ended) = running.next() => {
                        slots.free(&ended);
                        break;
                    }
                    // Also where changes were missed.
                    _ = changes.recv(), if !has_changed => {
                        has_changed = true;
                        let until = tokio::time::Instant::now() + CHANGE_PAUSE;
                        let until = until.min(pause.deadline());
                        pause.as_mut().reset(until);
                    }
                    () = &mut pause => break,
                }
            }
        }
    }

    /// Claims what is due and may be attempted now.
    async fn round(
        &self,
        slots: &mut Slots,
        tidied: &mut Option<Instant>,
    ) -> Result<(Vec<Webhook>, State), StoreError> {
        if tidied.is_none_or(|at| at.elapsed() >= TIDY_EVERY) {
            self.store.tidy(self.queue.rules().retention).await?;
            *tidied = Some(Instant::now());
        }
        self.store.make_due().await?;
        let state = self.store.state().await?;
        let mut claimed = Vec::new();
        // A look costs less than a claim, which writes.
        for _ in 0..state.due {
            if !slots.has_free() {
                break;
            }
            match self.store.claim(LEASE, &slots.busy()).await {
                Ok(Some(webhook)) => {
                    slots.take(&webhook);
                    claimed.push(webhook);
                }
                Ok(None) => break,
                // What was claimed is attempted.
                Err(_) if !claimed.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok((claimed, state))
    }

    /// Makes one attempt, and writes its outcome.
    async fn attempt(&self, webhook: &Webhook) {
        let Webhook { id, job, host, attempt, .. } = webhook;
        let outcome = match self.body(webhook).await {
            Ok(Some(body)) => self.send(webhook, body).await,
            Ok(None) => {
                tracing::warn!(webhook = id, %job, host, attempt, "a webhook was given up: its job is deleted");
                return self.end(webhook, WebhookEnd::GivenUp).await;
            }
            Err(error) => {
                let error = edgeprove_telemetry::chain(error.as_ref());
                tracing::warn!(webhook = id, %job, host, attempt, error, "a webhook could not be prepared yet");
                return self.repeat(webhook, None).await;
            }
        };
        match outcome {
            Ok(()) => {
                tracing::info!(webhook = id, %job, host, attempt, "webhook delivered");
                self.end(webhook, WebhookEnd::Delivered).await;
            }
            Err(error) => {
                let shown = edgeprove_telemetry::chain(&error);
                tracing::info!(webhook = id, %job, host, attempt, error = shown, "an attempt at a webhook failed");
                if error.is_final() {
                    tracing::warn!(webhook = id, %job, host, attempt, "a webhook was given up: its server wants none");
                    return self.end(webhook, WebhookEnd::GivenUp).await;
                }
                self.repeat(webhook, error.retry_after()).await;
            }
        }
    }

    /// What is sent: the same at every attempt.
    async fn body(&self, webhook: &Webhook) -> Result<Option<String>, Box<dyn Error + Send + Sync>> {
        if let Some(body) = &webhook.body {
            return Ok(Some(body.clone()));
        }
        let Some(body) = self.events.body(webhook.job).await? else { return Ok(None) };
        self.store.store_body(webhook, &body).await?;
        Ok(Some(body))
    }

    async fn send(&self, webhook: &Webhook, body: String) -> Result<(), AttemptError> {
        let url = self.store.url(webhook)?;
        self.sender.send((&webhook.id, &webhook.owner), &url, body).await
    }

    async fn repeat(&self, webhook: &Webhook, asked: Option<Duration>) {
        let (random, _) = Uuid::new_v4().as_u64_pair();
        let Some(delay) = schedule::delay(webhook.attempt, asked, random) else {
            let Webhook { id, job, host, attempt, .. } = webhook;
            tracing::warn!(webhook = id, %job, host, attempt, "a webhook was given up: no attempt succeeded");
            return self.end(webhook, WebhookEnd::GivenUp).await;
        };
        metrics::webhook(&webhook.job_kind, WebhookEnd::Repeated);
        let written = self.store.repeat(webhook, delay).await;
        Self::note(webhook, written.map(drop));
    }

    async fn end(&self, webhook: &Webhook, end: WebhookEnd) {
        let written = self.store.end(webhook).await;
        // Where another attempt has started, that one reports its own end.
        if matches!(written, Ok(true)) {
            metrics::webhook(&webhook.job_kind, end);
            self.events.ended(webhook, end == WebhookEnd::Delivered).await;
        }
        Self::note(webhook, written.map(drop));
    }

    /// Logs that an outcome could not be written. The attempt is repeated when its lease ends.
    fn note(webhook: &Webhook, written: Result<(), StoreError>) {
        if let Err(error) = written {
            let error = edgeprove_telemetry::chain(&error);
            tracing::warn!(webhook = webhook.id, job = %webhook.job, error, "the outcome of a webhook could not be written");
        }
    }
}

/// The attempts that run.
#[derive(Debug, Default)]
struct Slots {
    all: usize,
    by_account: HashMap<String, usize>,
    by_host: HashMap<String, usize>,
}

impl Slots {
    const fn has_free(&self) -> bool {
        self.all < ATTEMPTS_MAX
    }

    fn take(&mut self, webhook: &Webhook) {
        self.all += 1;
        *self.by_account.entry(webhook.account.clone()).or_default() += 1;
        *self.by_host.entry(webhook.host.clone()).or_default() += 1;
    }

    fn free(&mut self, webhook: &Webhook) {
        self.all = self.all.saturating_sub(1);
        for (counts, of) in [(&mut self.by_account, &webhook.account), (&mut self.by_host, &webhook.host)] {
            if let Some(count) = counts.get_mut(of) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    counts.remove(of);
                }
            }
        }
    }

    /// The accounts and hosts that may begin no attempt, as a statement binds them.
    fn busy(&self) -> String {
        let accounts = self.by_account.iter().filter(|(_, own)| *own + self.all >= ATTEMPTS_MAX);
        let hosts = self.by_host.iter().filter(|(_, count)| **count >= ATTEMPTS_PER_HOST_MAX);
        let accounts = accounts.map(|(account, _)| [Some(account), None]);
        let busy: Vec<[Option<&String>; 2]> =
            accounts.chain(hosts.map(|(host, _)| [None, Some(host)])).collect();
        serde_json::json!(busy).to_string()
    }
}
