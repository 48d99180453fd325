//! Limits how many requests of one caller are in progress at once, so that no caller takes every connection.
//!
//! A response that is still being sent counts too, such as the events of a job. Probes do not count.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use edgeprove_protocol::{HasProblemType, ProblemType, caller::address_account};
use parking_lot::Mutex;

use super::{
    api_error::ApiError, caller::Identity, guarded_body::guarded, listener::OnlyProbes,
    request_body::RequestBody, request_id::is_probe, state::AppState,
};
use crate::access::share_account;

/// The requests in progress of each caller. Clones share them.
#[derive(Debug, Clone)]
pub struct ConcurrentRequests {
    max: usize,
    counts: Arc<Mutex<HashMap<String, usize>>>,
}

/// One request in progress.
#[derive(Debug)]
struct Counted {
    caller: String,
    counts: Arc<Mutex<HashMap<String, usize>>>,
}

/// Why a request cannot be handled beside those in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooMany {
    /// The caller has too many requests in progress.
    #[error("at most {max} requests of one caller at once: wait until some are answered")]
    OfCaller {
        /// The limit.
        max: usize,
    },
    /// Every connection of the server has a request in progress.
    #[error("every connection of the server is in use")]
    Connections,
}

impl HasProblemType for TooMany {
    fn kind(&self) -> ProblemType {
        match self {
            Self::OfCaller { .. } => ProblemType::RateLimited,
            Self::Connections => ProblemType::TooManyConnections,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        Some(Duration::from_secs(1))
    }
}

impl ConcurrentRequests {
    /// Allows each caller this many requests at once.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { max, counts: Arc::default() }
    }

    fn count(&self, caller: String) -> Result<Counted, TooMany> {
        let mut counts = self.counts.lock();
        let count = counts.entry(caller.clone()).or_default();
        if *count >= self.max {
            return Err(TooMany::OfCaller { max: self.max });
        }
        *count += 1;
        drop(counts);
        Ok(Counted { caller, counts: Arc::clone(&self.counts) })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.caller);
            }
        }
    }
}

/// Answers 429 to a caller with too many requests in progress, and 503 where no connection is left for requests.
pub async fn limit_concurrent_requests(
    State(app): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    if is_probe(&request) {
        return next.run(request).await;
    }
    let counted = if request.extensions().get::<OnlyProbes>().is_some() {
        Err(TooMany::Connections)
    } else {
        app.concurrent_requests.count(caller_of(&request))
    };
    match counted {
        Ok(counted) => guarded(next.run(request).await, counted),
        Err(refusal) => {
            let (parts, body) = request.into_parts();
            if refusal != TooMany::Connections {
                // The caller must see this answer and not a broken upload.
                RequestBody::new(&parts, body).discard(&app.lifecycle.supervisor);
            }
            ApiError::from(refusal).into_response()
        }
    }
}

/// The caller's account: its key's name, or its address. IPv6 addresses share it by their first 48 bits.
fn caller_of(request: &Request) -> String {
    match request.extensions().get::<Identity>() {
        Some(Identity { caller: Ok(caller), .. }) => caller.share_account().into_owned(),
        Some(Identity { address, .. }) => share_account(&address_account(*address)).into_owned(),
        None => address_account(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_its_own_count_which_ends_with_its_requests() {
        let requests = ConcurrentRequests::new(2);
        let count = |caller: &str| requests.count(caller.to_owned());
        let (first, _second) = (count("key:a").unwrap(), count("key:a").unwrap());
        assert_eq!(count("key:a").unwrap_err(), TooMany::OfCaller { max: 2 });
        drop(count("key:b").unwrap());
        drop(first);
        drop(count("key:a").unwrap());
        assert_eq!(requests.counts.lock().len(), 1, "callers without a request take no memory");
    }
}
