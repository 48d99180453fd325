//! Whom a request is from, and that it may do what it asks for.
//!
//! Every request is looked at once, before anything else sees its key. Whether it needs one is for the endpoint to say, by
//! asking for a [`Caller`] or an [`Operator`]: probes, health and the index are open to all.

use std::net::IpAddr;

use axum::{
    extract::{FromRequestParts, Request, State},
    middleware::Next,
    response::Response,
};
use edgeprove_job_rules::audit::{Action, Actor, Entry, Outcome};
use edgeprove_protocol::{Priority, ProblemType, caller::presented_key, headers};
use http::{HeaderMap, HeaderValue, header, request::Parts};

use super::{
    api_error::ApiError,
    edge::said_by_the_edge,
    request_id::id_of,
    state::{AppState, Shared},
};
use crate::access::{ANONYMOUS, Caller, Credential, Denied, Forbidden, HOLDER, keys::KeyDigest};

/// The address at the other end of the connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// What was found out of a request's sender.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Who it is, or why that is not known.
    pub caller: Result<Caller, Denied>,
    /// Where it is, as far as that is known.
    pub address: Option<IpAddr>,
}

/// Finds out whom a request is from. Nothing that runs after this sees a key.
pub async fn identify(State(app): State<AppState>, mut request: Request, next: Next) -> Response {
    let identity = identity(&app, &request);
    for name in [header::AUTHORIZATION.as_str(), headers::API_KEY] {
        request.headers_mut().remove(name);
    }
    request.extensions_mut().insert(identity);
    next.run(request).await
}

fn identity(app: &Shared, request: &Request) -> Identity {
    let says = said_by_the_edge(request);
    // Behind an edge the other end of the connection is the edge, or the platform.
    let peer = || request.extensions().get::<Peer>().map(|peer| peer.0);
    let address = if app.options.edge_secret.is_some() { says.ip } else { peer() };
    let credential = match says.user {
        Some(user) => Credential::NamedByTheEdge(user),
        None => presented(request.headers()),
    };
    Identity { caller: app.access.identify(credential, address), address }
}

/// The key that a request bears.
fn presented(asked: &HeaderMap) -> Credential {
    let key = presented_key(|name| asked.get(name).map(HeaderValue::as_bytes));
    key.map_or(Credential::None, |key| Credential::Key(KeyDigest::of(key)))
}

/// The name of a request's caller, for the log.
#[must_use]
pub fn caller_name(request: &Request) -> Option<String> {
    let identity = request.extensions().get::<Identity>()?;
    identity.caller.as_ref().ok()?.name().map(str::to_owned)
}

/// Turned away: on record, and by 401.
impl FromRequestParts<AppState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        let (caller, address) = match parts.extensions.get::<Identity>() {
            Some(Identity { caller, address }) => (caller.clone(), *address),
            None => (Err(Denied::NoKey), None),
        };
        match caller {
            Ok(caller) => Ok(caller),
            Err(denied) => {
                put_on_record(app, Actor::Anonymous, ProblemType::ApiKeyRequired, parts);
                app.access.count_denied(address)?;
                Err(denied.into())
            }
        }
    }
}

/// A caller who may do what operators do; all others are turned away by 403.
#[derive(Debug, Clone)]
pub struct Operator(pub Caller);

impl FromRequestParts<AppState> for Operator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, app).await?;
        app.access.count(&caller)?;
        caller.may_operate().map_err(|error| forbidden(app, &caller, error, parts))?;
        Ok(Self(caller))
    }
}

/// How urgent a request is: what `X-Priority` says, if its caller may say so.
pub fn priority(app: &Shared, caller: &Caller, parts: &Parts) -> Result<Priority, ApiError> {
    let mut said = parts.headers.get_all(headers::PRIORITY).into_iter();
    let priority =
        match (said.next(), said.next()) {
            (None, _) => Priority::default(),
            (Some(text), None) => text.to_str().unwrap_or_default().trim().parse().map_err(|error| {
                ApiError::new(ProblemType::InvalidRequest, format!("in X-Priority: {error}"))
            })?,
            (Some(_), Some(_)) => {
                return Err(ApiError::new(ProblemType::InvalidRequest, "X-Priority may be sent once"));
            }
        };
    caller.may_use(priority).map_err(|error| forbidden(app, caller, error, parts))?;
    Ok(priority)
}

/// Whose jobs a caller asks for by name, if it may: its own, and as an operator anybody's.
pub fn whose(app: &Shared, caller: &Caller, owner: &str, parts: &Parts) -> Result<String, ApiError> {
    let is_name = |name: &str| headers::is_acceptable_user(name.as_bytes());
    if owner != ANONYMOUS && !owner.strip_prefix(HOLDER).is_some_and(is_name) {
        let detail = format!("owner is {HOLDER}NAME, or {ANONYMOUS} for all without a key");
        return Err(ApiError::new(ProblemType::InvalidRequest, detail));
    }
    if caller.owner() != owner {
        caller.may_operate().map_err(|error| forbidden(app, caller, error, parts))?;
    }
    Ok(owner.to_owned())
}

fn forbidden(app: &Shared, caller: &Caller, error: Forbidden, parts: &Parts) -> ApiError {
    put_on_record(app, caller.actor(), ProblemType::NotAllowed, parts);
    error.into()
}

fn put_on_record(app: &Shared, actor: Actor, problem: ProblemType, parts: &Parts) {
    let entry = app.audit.entry(actor, Action::KeyRefused);
    let request_id = Some(id_of(&parts.headers));
    app.audit.note_refusal(Entry { outcome: Some(Outcome::Failed(problem)), request_id, ..entry });
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn asked(pairs: &[(&'static str, &str)]) -> Credential {
        let pair = |&(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        presented(&pairs.iter().map(pair).collect())
    }

    #[test]
    fn a_key_is_found_either_way_it_is_sent() {
        let key = Credential::Key(KeyDigest::of(b"battery staple"));
        for value in ["Bearer battery staple", "bearer  battery staple "] {
            assert_eq!(asked(&[("authorization", value)]), key);
        }
        assert_eq!(asked(&[("x-api-key", " battery staple")]), key);
        assert_eq!(asked(&[("authorization", "Bearer battery staple"), ("x-api-key", "other")]), key);
        assert_eq!(asked(&[("authorization", "Basic Ym9iOng="), ("x-api-key", "battery staple")]), key);
    }

    #[test]
    fn what_is_no_key_is_none() {
        for (name, value) in [("authorization", "Bearer "), ("authorization", "Be"), ("cookie", "key=x")] {
            assert_eq!(asked(&[(name, value)]), Credential::None, "{value}");
        }
        assert_eq!(asked(&[("x-api-key", "")]), Credential::None);
    }
}
