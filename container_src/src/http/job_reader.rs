//! Who reads a job: a caller that may see it, or a page with the token of its link.
//!
//! A browser cannot send an API key with an `EventSource` or a WebSocket. The link to the events of a job therefore has a
//! token ([`crate::jobs::link_token`]), with which anybody may read this one job until the token expires.

use std::net::IpAddr;

use axum::extract::{FromRequestParts, Query};
use edgeprove_job_rules::job::Job;
use edgeprove_protocol::{JobDocument, ProblemType, caller::address_account};
use http::request::Parts;
use serde::Deserialize;

use super::{
    api_error::ApiError,
    caller::Identity,
    extract::JobPath,
    job_response::visible_job,
    state::{AppState, Shared},
};
use crate::{
    access::{Caller, Credential, HOLDER, share_account},
    jobs::{Jobs, job_kinds::proof_payload::KIND},
};

/// A job, and who reads it.
pub struct JobReader {
    /// The job, as it was when the request arrived.
    pub job: Job,
    /// The right to read it.
    pub right: ReadRight,
    /// The account on which the streams of the reader count. A page with a token has its own: the token must not give it
    /// the limits of the owner.
    pub account: String,
}

/// The right to read a job, which can be withdrawn while a stream is open.
#[derive(Debug, Clone)]
pub enum ReadRight {
    /// The caller may see the job.
    OfCaller {
        /// How the request identified its sender.
        credential: Credential,
        /// The sender's address.
        address: Option<IpAddr>,
    },
    /// Anybody may see what the job makes.
    Public,
    /// The request had the token of the job's link. The holder of this key's name owns the job.
    OfLink(String),
}

/// The query of a request for a job.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct JobQuery {
    /// The token of the job's link.
    pub token: Option<String>,
    /// The last event that the client has seen, for clients that cannot send `Last-Event-ID`.
    pub last_event_id: Option<String>,
}

impl ReadRight {
    /// Whether the job of this owner may still be read.
    #[must_use]
    pub fn holds(&self, app: &Shared, owner: &str) -> bool {
        match self {
            Self::OfCaller { credential, address } => {
                let caller = app.access.identify(credential.clone(), *address);
                caller.is_ok_and(|caller| caller.may_see(owner))
            }
            Self::Public => true,
            Self::OfLink(name) => app.access.named(name, app.options.edge_secret.is_some()).is_some(),
        }
    }
}

impl JobReader {
    /// Whether the reader may have what belongs to the proof: a caller that may fetch it, or a page with the link of its
    /// owner. Observers may not.
    #[must_use]
    pub fn may_have_proof(&self, app: &Shared) -> bool {
        match &self.right {
            ReadRight::OfCaller { credential, address } => {
                let caller = app.access.identify(credential.clone(), *address);
                caller.is_ok_and(|caller| caller.may_use_job(&self.job.owner) || caller.may_operate().is_ok())
            }
            ReadRight::OfLink(_) => true,
            ReadRight::Public => false,
        }
    }

    /// The document of the job, with a new token in its links for a caller, and as it is for a page: a token must not
    /// renew itself.
    #[must_use]
    pub fn with_token(&self, jobs: &Jobs, document: JobDocument) -> JobDocument {
        match self.right {
            ReadRight::OfCaller { .. } => jobs.with_link_token(document, &self.job.owner),
            ReadRight::OfLink(_) | ReadRight::Public => document,
        }
    }
}

/// Answers 401 without a key and a valid token, 404 for the job of another caller, 429 beyond the caller's rate.
impl FromRequestParts<AppState> for JobReader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        let JobPath(id) = JobPath::from_request_parts(parts, app).await?;
        let Query(query) = Query::<JobQuery>::from_request_parts(parts, app).await.unwrap_or_default();
        let has_token = query.token.is_some();
        if let (Some(token), Ok(jobs)) = (query.token, app.jobs())
            && jobs.link_tokens.check(id, &token)
            && let Some(job) = jobs.store.queue.get(id).await?.filter(|job| job.kind == KIND)
            && let Some(name) = job.owner.strip_prefix(HOLDER).map(ToOwned::to_owned)
            && let Some(owner) = app.access.named(&name, app.options.edge_secret.is_some())
        {
            let address = parts.extensions.get::<Identity>().and_then(|identity| identity.address);
            app.access.count_link(&owner, &job.id.to_string(), address)?;
            let account = format!("link:{}", share_account(&address_account(address)));
            return Ok(Self { job, right: ReadRight::OfLink(name), account });
        }
        let caller = Caller::from_request_parts(parts, app).await.map_err(|error| {
            if has_token && error.kind == ProblemType::ApiKeyRequired { wrong_token() } else { error }
        })?;
        let job = visible_job(app, &caller, id).await?;
        let right = match parts.extensions.get::<Identity>() {
            Some(Identity { credential, address, .. }) => {
                ReadRight::OfCaller { credential: credential.clone(), address: *address }
            }
            None => ReadRight::OfCaller { credential: Credential::None, address: None },
        };
        let account = caller.share_account().into_owned();
        Ok(Self { job, right, account })
    }
}

fn wrong_token() -> ApiError {
    let detail = "the token of this link is wrong or has expired, and the request has no key that may read the job; \
                  GET /v1/proofs/{id} with the key returns a new link";
    ApiError::new(ProblemType::ApiKeyRequired, detail)
}
