//! Identifies the caller of a request and checks its permissions.
//!
//! A layer identifies every request once and removes its API key, so that later code never sees a key. An endpoint that
//! needs a caller extracts a [`Caller`] or an [`Operator`]. Probes, health and the index are open.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{FromRequestParts, MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use edgeprove_job_rules::audit::{Action, Actor, Entry, Outcome};
use edgeprove_protocol::{
    HasProblemType as _, Priority, ProblemType, Voucher,
    caller::presented_key,
    endpoints::{self, Method},
    headers,
    voucher::{KeyFingerprint, VoucherRefusal, is_voucher},
};
use http::{HeaderMap, HeaderValue, header, request::Parts};

use super::{
    api_error::ApiError,
    origin_check::is_of_own_page,
    rate_limit_headers,
    request_id::request_id_of,
    single_header,
    state::{AppState, Shared},
    trusted_edge::{ReportedCaller, is_from_edge, reported_caller},
};
use crate::access::{ANONYMOUS, Caller, Credential, Denied, Forbidden, HOLDER, api_keys::KeyDigest};

/// The remote address of the connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// The identified caller of a request.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The caller, or why the request has none.
    pub caller: Result<Caller, Denied>,
    /// The caller's address, where known.
    pub address: Option<IpAddr>,
    /// How the request identifies its sender.
    pub credential: Credential,
    /// SHA-256 of the key or the voucher that the client sent, here or to the edge: what it sealed is bound to it.
    pub presented: Option<KeyDigest>,
    /// The fingerprint of the caller's API key.
    pub key: Option<KeyFingerprint>,
}

impl Identity {
    /// A request without a caller.
    const fn refused(denied: Denied, address: Option<IpAddr>) -> Self {
        Self { caller: Err(denied), address, credential: Credential::None, presented: None, key: None }
    }
}

/// Identifies the caller and removes the API key from the request. The answer shows what is left of the caller's limits.
pub async fn identify(State(app): State<AppState>, mut request: Request, next: Next) -> Response {
    let identity = identity(&app, &request);
    for name in [header::AUTHORIZATION.as_str(), headers::API_KEY] {
        request.headers_mut().remove(name);
    }
    // What is left of a key's limits is nothing for a page.
    let caller = identity.caller.clone().ok().filter(|caller| caller.voucher().is_none());
    request.extensions_mut().insert(identity);
    let mut response = next.run(request).await;
    if let Some(caller) = caller {
        rate_limit_headers::add(response.headers_mut(), &app.access.allowances(&caller));
    }
    response
}

fn identity(app: &Shared, request: &Request) -> Identity {
    let reported = reported_caller(request.extensions());
    // Behind an edge the connection comes from the edge or the platform.
    let peer = || request.extensions().get::<Peer>().map(|peer| peer.0);
    let address = if app.options.edge_secret.is_some() { reported.ip } else { peer() };
    // Without an edge secret anybody can send the header. Where there are no keys, no caller is more than another one.
    let may_report = app.options.edge_secret.is_some() || app.access.keys().is_empty();
    let reported_credential = reported.credential.filter(|_| may_report);
    // Where a server accepts callers without a key, this one is still none of them: the edge has keys.
    if reported.is_link_only {
        return Identity::refused(Denied::NoKey, address);
    }
    match credential(app, &reported, request.headers()) {
        Ok(credential) => {
            let (presented, key) = match &credential {
                Credential::Key(digest) => (Some(*digest), Some(digest.fingerprint())),
                Credential::Voucher { is_from_edge: false, .. } => (own_digest(request.headers()), None),
                Credential::NamedByTheEdge(_) => (reported_credential, reported.key),
                Credential::None | Credential::Voucher { is_from_edge: true, .. } => {
                    (reported_credential, None)
                }
            };
            let caller = app.access.identify(credential.clone(), address);
            Identity { caller, address, credential, presented, key }
        }
        Err(denied) => Identity::refused(denied, address),
    }
}

/// How a request identifies its sender: as the edge reports it, or by the key or the voucher of its own headers.
fn credential(
    app: &Shared,
    reported: &ReportedCaller,
    request_headers: &HeaderMap,
) -> Result<Credential, Denied> {
    if let Some(token) = &reported.voucher {
        let voucher = app.vouchers.check(token.as_bytes())?;
        return Ok(Credential::Voucher { voucher, is_from_edge: true });
    }
    if let Some(user) = &reported.user {
        return Ok(Credential::NamedByTheEdge(user.clone()));
    }
    let Some(presented) = presented(request_headers)? else { return Ok(Credential::None) };
    let digest = KeyDigest::of(presented);
    if is_voucher(presented) && app.access.keys().holder(&digest).is_none() {
        let voucher = app.vouchers.check(presented)?;
        return Ok(Credential::Voucher { voucher, is_from_edge: false });
    }
    Ok(Credential::Key(digest))
}

/// SHA-256 of the key or the voucher in the headers of a request.
fn own_digest(request_headers: &HeaderMap) -> Option<KeyDigest> {
    presented(request_headers).ok().flatten().map(KeyDigest::of)
}

/// The API key or the voucher in the headers of a request.
fn presented(request_headers: &HeaderMap) -> Result<Option<&[u8]>, Denied> {
    presented_key(|name| request_headers.get_all(name).into_iter().map(HeaderValue::as_bytes))
}

/// The name of the caller, for the log.
#[must_use]
pub fn caller_name(request: &Request) -> Option<String> {
    let identity = request.extensions().get::<Identity>()?;
    identity.caller.as_ref().ok()?.name().map(str::to_owned)
}

/// Answers 401, and writes the refusal to the audit log, where the request has no known key and no valid voucher; 400 where it
/// has several; 403 where the voucher does not allow the endpoint or the page's origin.
impl FromRequestParts<AppState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        let (caller, address) = match parts.extensions.get::<Identity>() {
            Some(Identity { caller, address, .. }) => (caller.clone(), *address),
            None => (Err(Denied::NoKey), None),
        };
        match caller {
            Ok(caller) => match caller.voucher() {
                Some(voucher) => match check_voucher(app, voucher, parts) {
                    Ok(()) => Ok(caller),
                    Err(refusal) => {
                        app.access.count(&caller)?;
                        Err(refused_voucher(app, &caller, refusal, parts))
                    }
                },
                None => Ok(caller),
            },
            Err(denied) => {
                let kind = denied.kind();
                if matches!(kind, ProblemType::ApiKeyRequired | ProblemType::VoucherInvalid) {
                    record_refusal(app, Actor::Anonymous, None, kind, parts);
                }
                app.access.count_denied(address)?;
                Err(denied.into())
            }
        }
    }
}

/// Whether a voucher may be used for this endpoint, by this page.
fn check_voucher(app: &Shared, voucher: &Voucher, parts: &Parts) -> Result<(), VoucherRefusal> {
    let path = parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
    let endpoint = path
        .zip(Method::of_request(parts.method.as_str()))
        .and_then(|(path, method)| endpoints::find_on_server(method, path));
    if !endpoint.is_some_and(endpoints::Endpoint::accepts_vouchers) {
        return Err(VoucherRefusal::Endpoint);
    }
    if is_from_edge(app, &parts.extensions) {
        // The edge has checked the origin, and forwards none.
        return Ok(());
    }
    let sent = parts.headers.get_all(header::ORIGIN).into_iter().map(HeaderValue::as_bytes);
    voucher.check_origin(sent, |origin| is_of_own_page(origin.as_str(), &parts.uri, &parts.headers))
}

/// The error of a request that the caller's voucher does not allow. It is written to the audit log.
pub fn refused_voucher(app: &Shared, caller: &Caller, refusal: VoucherRefusal, parts: &Parts) -> ApiError {
    record_refusal(app, caller.actor(), caller.voucher(), ProblemType::VoucherNotAllowed, parts);
    refusal.into()
}

/// A caller with the role `operator`. All others get 403.
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

/// The priority of a request: `X-Priority`, where the caller may use that priority. Without the header it is `NORMAL`, or that of
/// the caller's voucher if that is lower.
pub fn priority(app: &Shared, caller: &Caller, parts: &Parts) -> Result<Priority, ApiError> {
    let invalid = |error| ApiError::new(ProblemType::InvalidRequest, format!("in X-Priority: {error}"));
    let text = single_header::text(&parts.headers, headers::PRIORITY)?;
    let asked = text.map(|text| text.trim().parse::<Priority>().map_err(invalid)).transpose()?;
    let highest = caller.voucher().map_or(Priority::Critical, |voucher| voucher.priority);
    let priority = asked.unwrap_or_else(|| Priority::default().min(highest));
    if let Some(voucher) = caller.voucher() {
        voucher.check_priority(priority).map_err(|error| refused_voucher(app, caller, error, parts))?;
    }
    // The role of the key may have changed since the voucher was minted.
    caller.may_use(priority).map_err(|error| forbidden(app, caller, error, parts))?;
    Ok(priority)
}

/// Fails if the caller does not see the jobs of all callers. The refusal is written to the audit log.
pub fn observes(app: &Shared, caller: &Caller, parts: &Parts) -> Result<(), ApiError> {
    caller.may_observe().map_err(|error| forbidden(app, caller, error, parts))
}

/// Parses the owner whose jobs are requested. Callers may name themselves; operators and observers may name anybody.
pub fn owner_filter(app: &Shared, caller: &Caller, owner: &str, parts: &Parts) -> Result<String, ApiError> {
    let is_name = |name: &str| headers::is_acceptable_user(name.as_bytes());
    if owner != ANONYMOUS && !owner.strip_prefix(HOLDER).is_some_and(is_name) {
        let detail =
            format!("`owner` must be {HOLDER}NAME, {ANONYMOUS} for all callers without a key, or all");
        return Err(ApiError::new(ProblemType::InvalidRequest, detail));
    }
    if caller.owner() != owner {
        observes(app, caller, parts)?;
    }
    Ok(owner.to_owned())
}

/// The error of a request that the caller's role does not allow. It is written to the audit log.
pub fn forbidden(app: &Shared, caller: &Caller, error: Forbidden, parts: &Parts) -> ApiError {
    record_refusal(app, caller.actor(), caller.voucher(), ProblemType::NotAllowed, parts);
    error.into()
}

fn record_refusal(
    app: &Shared,
    actor: Actor,
    voucher: Option<&Arc<Voucher>>,
    problem: ProblemType,
    parts: &Parts,
) {
    let entry = app.audit.entry(actor, Action::KeyRefused);
    let request_id = Some(request_id_of(&parts.headers));
    let voucher = voucher.map(|voucher| voucher.id.clone());
    app.audit.note_refusal(Entry { outcome: Some(Outcome::Failed(problem)), request_id, voucher, ..entry });
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn parsed(pairs: &[(&'static str, &str)]) -> Result<Credential, Denied> {
        let pair = |&(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        let mut map = HeaderMap::new();
        for (name, value) in pairs.iter().map(pair) {
            map.append(name, value);
        }
        Ok(presented(&map)?.map_or(Credential::None, |key| Credential::Key(KeyDigest::of(key))))
    }

    #[test]
    fn a_key_is_read_from_both_headers() {
        let key = Ok(Credential::Key(KeyDigest::of(b"battery staple")));
        for value in ["Bearer battery staple", "bearer  battery staple "] {
            assert_eq!(parsed(&[("authorization", value)]), key);
        }
        assert_eq!(parsed(&[("x-api-key", " battery staple")]), key);
        let both = [("authorization", "Bearer battery staple"), ("x-api-key", "battery staple")];
        assert_eq!(parsed(&both), key);
        assert_eq!(parsed(&[("authorization", "Basic Ym9iOng="), ("x-api-key", "battery staple")]), key);
    }

    #[test]
    fn different_keys_are_refused() {
        let (plain, other) = (("x-api-key", "battery staple"), "Bearer other");
        for pairs in [[plain, ("authorization", other)], [plain, ("x-api-key", "other")]] {
            assert_eq!(parsed(&pairs), Err(Denied::SeveralKeys), "{pairs:?}");
        }
        let twice = [("authorization", other), ("authorization", "Bearer another")];
        assert_eq!(parsed(&twice), Err(Denied::SeveralKeys));
    }

    #[test]
    fn other_headers_are_not_keys() {
        for (name, value) in [("authorization", "Bearer "), ("authorization", "Be"), ("cookie", "key=x")] {
            assert_eq!(parsed(&[(name, value)]), Ok(Credential::None), "{value}");
        }
        assert_eq!(parsed(&[("x-api-key", "")]), Ok(Credential::None));
    }
}
