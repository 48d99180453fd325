//! Webhooks: signed requests to servers of callers, each until it was delivered or given up.
//!
//! They follow the [Standard Webhooks](https://github.com/standard-webhooks/standard-webhooks) specification, version 1.0.0:
//! the headers `webhook-id`, `webhook-timestamp` and `webhook-signature`, with HMAC-SHA-256 under a secret of the operator.
//!
//! A webhook is owed from the moment before its job is accepted, in the database of the jobs. It is delivered at least once:
//! a server that is killed in between leaves it to the next one.
//!
//! Imports run down this list only.
//!
//! - [`dispatcher`]: makes the attempts, so that nobody's server delays the webhooks of others.
//! - [`attempt`]: one request and its answer.
//! - [`store`]: the webhooks that are owed.
//! - [`schedule`]: when a failed attempt is repeated.
//! - [`secret`]: secrets and signatures.

pub mod attempt;
pub mod dispatcher;
pub mod schedule;
pub mod secret;
pub mod store;

pub use attempt::AttemptError;
pub use dispatcher::{BodyError, Dispatcher, WebhookEvents};
pub use secret::{InvalidSecret, WebhookSecret};
pub use store::{Callback, OweError, Owed, Webhook, WebhookStore};
