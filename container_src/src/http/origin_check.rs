//! Refuses requests that a page of a foreign origin makes a browser send, before any work is done for them.
//!
//! A browser sends forms, simple requests and WebSockets of any page without asking the server first. CORS only prevents
//! that the page reads the response: the proof would be made all the same, with the trust that the server has in the
//! network of the browser. Browsers report the page's origin in `Origin` and its relation in `Sec-Fetch-Site`, which no
//! page can change. Other clients send neither and pass.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use edgeprove_protocol::{
    HasProblemType, ProblemType,
    endpoints::{self, Class},
};
use http::{HeaderMap, HeaderValue, Method, Uri, Version, header};

use super::{
    api_error::ApiError,
    host_names::{HostAndPort, HostNames},
    request_body::RequestBody,
    request_id::{is_probe, route},
    state::{AppState, HttpOptions},
    trusted_edge::is_from_edge,
};

/// Maximum length of a header's value in a message.
const QUOTED_MAX: usize = 100;

/// The request comes from a page that may not call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForeignPage {
    /// It names a host that is not the server's.
    #[error(
        "this server is not called `{0}`: call it as localhost or 127.0.0.1, or start it with --allowed-host and that name"
    )]
    Host(String),
    /// The page has a foreign origin.
    #[error("pages of `{0}` may not call this server: start it with --cors-origin and that origin")]
    Origin(String),
    /// The page has a foreign origin, which the browser does not name.
    #[error(
        "a page of another site may not load this: its origin must be in --cors-origin, and the request must have it"
    )]
    Unnamed,
}

impl HasProblemType for ForeignPage {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Host(_) => ProblemType::HostNotAllowed,
            Self::Origin(_) | Self::Unnamed => ProblemType::OriginNotAllowed,
        }
    }
}

/// Answers 403 to requests of foreign pages, and 400 to those that do not name one host. Probes and endpoints that describe the service have no private state and
/// are not checked for their origin. The edge has checked its requests itself.
pub async fn refuse_foreign_pages(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let checked = if !has_valid_host_count(request.version(), request.headers()) {
        Err(ApiError::new(ProblemType::InvalidRequest, "a request of HTTP/1.1 must have one Host header"))
    } else if is_probe(&request) || is_from_edge(&app, request.extensions()) {
        Ok(())
    } else {
        check(&app.options, &request).map_err(ApiError::from)
    };
    let Err(refusal) = checked else { return next.run(request).await };
    // A page that may read the answer must get it, and not a broken upload.
    let (parts, body) = request.into_parts();
    RequestBody::new(&parts, body).discard(&app.lifecycle.supervisor);
    refusal.into_response()
}

/// Whether the request has as many `Host` headers as HTTP allows (RFC 9112, section 3.2): one. HTTP/1.0 does not require
/// it.
fn has_valid_host_count(version: Version, headers: &HeaderMap) -> bool {
    match headers.get_all(header::HOST).iter().count() {
        0 => version != Version::HTTP_11,
        count => count == 1,
    }
}

fn check(options: &HttpOptions, request: &Request) -> Result<(), ForeignPage> {
    check_host(options.host_names.as_ref(), request.uri(), request.headers())?;
    let route = route(request);
    let is_public = |class| matches!(class, Class::Info | Class::Probe);
    if endpoints::on_server().any(|endpoint| endpoint.path == route && is_public(endpoint.class)) {
        return Ok(());
    }
    check_origin(&options.cors_origins, request.method(), request.uri(), request.headers())
}

/// Whether these origins allow pages of every origin.
#[must_use]
pub fn allows_any(origins: &[HeaderValue]) -> bool {
    origins.iter().any(|origin| origin == "*")
}

fn check_host(names: Option<&HostNames>, uri: &Uri, headers: &HeaderMap) -> Result<(), ForeignPage> {
    let Some(names) = names else { return Ok(()) };
    if let Some(authority) = uri.authority()
        && !names.allow(&HostAndPort::of(authority).host)
    {
        return Err(ForeignPage::Host(quoted(authority.as_str().as_bytes())));
    }
    for value in headers.get_all(header::HOST) {
        let host = value.to_str().ok().and_then(HostAndPort::parse);
        if !host.is_some_and(|host| names.allow(&host.host)) {
            return Err(ForeignPage::Host(quoted(value.as_bytes())));
        }
    }
    Ok(())
}

fn check_origin(
    allowed: &[HeaderValue],
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<(), ForeignPage> {
    let value = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
    let site = value("sec-fetch-site");
    if allows_any(allowed) || site == Some(b"same-origin") {
        return Ok(());
    }
    let mut origins = headers.get_all(header::ORIGIN).into_iter();
    match (origins.next(), origins.next()) {
        (None, _) => {
            // Whoever follows a link to the server sees the answer, and the page that has the link does not.
            let is_navigation = matches!(*method, Method::GET | Method::HEAD)
                && value("sec-fetch-mode") == Some(b"navigate")
                && value("sec-fetch-dest") == Some(b"document");
            let is_foreign = matches!(site, Some(b"cross-site" | b"same-site"));
            if is_foreign && !is_navigation { Err(ForeignPage::Unnamed) } else { Ok(()) }
        }
        (Some(origin), None) if allowed.contains(origin) || is_own(origin, uri, headers) => Ok(()),
        (Some(origin), _) => Err(ForeignPage::Origin(quoted(origin.as_bytes()))),
    }
}

/// Whether a request comes from a page of the server itself, and this is the page's origin. With a `GET` of such a page a browser
/// sends no `Origin`.
#[must_use]
pub fn is_of_own_page(origin: &str, uri: &Uri, headers: &HeaderMap) -> bool {
    let is_same = headers.get("sec-fetch-site").is_some_and(|site| site == "same-origin");
    is_same && HeaderValue::from_str(origin).is_ok_and(|origin| is_own(&origin, uri, headers))
}

/// Whether the page was loaded from the host that the request names. The scheme may differ: a proxy in front may have
/// ended TLS.
fn is_own(origin: &HeaderValue, uri: &Uri, headers: &HeaderMap) -> bool {
    let Some((scheme, authority)) = origin.to_str().ok().and_then(|origin| origin.split_once("://")) else {
        return false;
    };
    let host = headers.get(header::HOST).and_then(|host| HostAndPort::parse(host.to_str().ok()?));
    let host = uri.authority().map(HostAndPort::of).or(host);
    match (HostAndPort::parse(authority), host) {
        (Some(page), Some(host)) => page.host == host.host && page.port_for(scheme) == host.port_for(scheme),
        _ => false,
    }
}

/// The value of a header for a message: printable characters, and not too many.
fn quoted(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    text.chars().filter(|c| !c.is_control() && *c != '`').take(QUOTED_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[track_caller]
    fn judged(origins: &[&str], method: &Method, pairs: &[(&'static str, &str)]) -> bool {
        let uri = Uri::from_static("/v1/proofs");
        let allowed: Vec<_> = origins.iter().map(|origin| HeaderValue::from_str(origin).unwrap()).collect();
        check_origin(&allowed, method, &uri, &sent(pairs)).is_ok()
    }

    #[test]
    fn pages_of_the_server_and_of_allowed_origins_pass() {
        let allowed = ["https://app.example"];
        for pairs in [
            &[][..],
            &[("origin", "https://app.example"), ("sec-fetch-site", "cross-site")],
            &[("origin", "http://prove.example:8080"), ("host", "Prove.example:8080")],
            &[("origin", "https://prove.example"), ("host", "prove.example")],
            &[("origin", "https://prove.example"), ("host", "prove.example:443")],
            &[("origin", "null"), ("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "none")],
        ] {
            assert!(judged(&allowed, &Method::POST, pairs), "{pairs:?}");
        }
        assert!(judged(&["*"], &Method::POST, &[("origin", "null")]));
    }

    #[test]
    fn foreign_pages_are_refused() {
        let host = ("host", "prove.example:8080");
        for pairs in [
            &[("origin", "null"), host][..],
            &[("origin", "https://evil.example"), host],
            &[("origin", "http://prove.example"), host],
            &[("origin", "http://prove.example:8080.evil.example"), host],
            &[("origin", "http://evil@prove.example:8080"), host],
            &[("origin", "http://prove.example:8080"), ("origin", "https://evil.example"), host],
            &[("origin", "http://prove.example:8080")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
        ] {
            assert!(!judged(&["https://app.example"], &Method::POST, pairs), "{pairs:?}");
        }
    }

    #[test]
    fn a_link_to_the_server_may_be_followed() {
        let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
        let (document, frame) = (("sec-fetch-dest", "document"), ("sec-fetch-dest", "iframe"));
        assert!(judged(&[], &Method::GET, &[link[0], link[1], document]));
        assert!(!judged(&[], &Method::POST, &[link[0], link[1], document]));
        assert!(!judged(&[], &Method::GET, &[link[0], link[1], frame]));
    }

    #[test]
    fn every_named_host_must_be_the_servers() {
        let names = HostNames::new(Vec::new(), "127.0.0.1".parse().unwrap());
        let of = |uri: &'static str, pairs: &[_]| {
            check_host(names.as_ref(), &Uri::from_static(uri), &sent(pairs)).is_ok()
        };
        assert!(of("/", &[]) && of("/", &[("host", "LOCALHOST:8080")]) && of("/", &[("host", "[::1]:1")]));
        assert!(!of("/", &[("host", "evil.example:8080")]) && !of("/", &[("host", "")]));
        assert!(!of("/", &[("host", "localhost"), ("host", "evil.example")]));
        assert!(!of("http://evil.example/", &[("host", "localhost")]));
    }

    #[test]
    fn a_quoted_value_is_short_and_printable() {
        assert_eq!(quoted(b"a`b\tc"), "abc");
        assert_eq!(quoted("x".repeat(1000).as_bytes()).len(), QUOTED_MAX);
    }
}
