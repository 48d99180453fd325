//! The URL at which a caller is notified when its job has finished: `X-Callback-Url`.
//!
//! It may have a password or a key, so nothing but its host is ever shown.

use edgeprove_outbound::RefusedUrl;
use edgeprove_protocol::{ProblemType, headers, voucher::VoucherRefusal};
use edgeprove_webhooks::Callback;
use http::HeaderMap;

use super::{api_error::ApiError, single_header};
use crate::{access::Caller, jobs::Jobs};

/// Reads the header of a request that makes a job.
///
/// 1. It is there once, and is a URL (400).
/// 2. The caller has a key and no voucher (403).
/// 3. The operator allows webhooks to its host (403).
pub fn callback(jobs: &Jobs, caller: &Caller, map: &HeaderMap) -> Result<Option<Callback>, ApiError> {
    let Some(text) = single_header::text(map, headers::CALLBACK_URL)? else { return Ok(None) };
    if caller.voucher().is_some() {
        return Err(VoucherRefusal::Callback.into());
    }
    let not_allowed = |detail: String| ApiError::new(ProblemType::CallbackNotAllowed, detail);
    let Some(webhooks) = &jobs.webhooks else {
        let detail = "this server sends no webhooks: its operator can allow hosts with --webhook-hosts \
                      (EDGEPROVE_WEBHOOK_HOSTS)";
        return Err(not_allowed(detail.to_owned()));
    };
    // Two headers that a proxy joined have a comma and a space between them.
    let is_one = !text.contains(|character: char| character.is_whitespace() || character.is_control());
    let admitted = if is_one { webhooks.hosts.admit(text) } else { Err(RefusedUrl::NoUrl) };
    let url = admitted.map_err(|error| match error {
        RefusedUrl::NoUrl => {
            ApiError::new(ProblemType::InvalidRequest, format!("X-Callback-Url {error}, without spaces"))
        }
        RefusedUrl::NotListed | RefusedUrl::NotEncrypted | RefusedUrl::Internal => {
            not_allowed(format!("X-Callback-Url {error}"))
        }
    })?;
    Ok(Some(Callback { url, owner: caller.owner(), account: jobs.account(caller) }))
}

/// Refuses the header in a request that makes no job (400).
pub fn refuse(map: &HeaderMap) -> Result<(), ApiError> {
    if !map.contains_key(headers::CALLBACK_URL) {
        return Ok(());
    }
    let detail = "X-Callback-Url is for requests that make a job: send a proof to /v1/proofs, or with Prefer: respond-async";
    Err(ApiError::new(ProblemType::InvalidRequest, detail))
}
