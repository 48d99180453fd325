//! Which headers of a request reach the server, and which headers of a response reach the caller.

use std::time::Duration;

use edgeprove_protocol::{caller::presented_key, headers};
use http::{HeaderMap, HeaderValue, header};
use sha2::{Digest as _, Sha256};

use crate::{
    api_keys::{Caller, fingerprint},
    cors::{Decision, Origins},
    request_head::RequestHead,
    settings::{Secret, Settings},
};

/// Sent by the Worker to a container's object: how long the response may take, in milliseconds.
pub const TIMEOUT_MS: &str = "x-edge-timeout-ms";
/// Sent by the Worker to a container's object: the request must not wake the container.
const AWAKE_ONLY: &str = "x-edge-awake-only";
/// Sent by a container's object to the Worker: the code of a problem that is the object's and not the container's.
pub const OBJECT_PROBLEM: &str = "x-edge-problem";

/// Headers of a request that do not reach the server as the caller sent them.
const REMOVED_FROM_REQUESTS: [&str; 20] = [
    // Only the edge may set these.
    headers::EDGE_SECRET,
    headers::CLIENT_IP,
    headers::AUTHENTICATED_USER,
    headers::LINK_ONLY,
    headers::CREDENTIAL_DIGEST,
    headers::KEY_FINGERPRINT,
    headers::SEALED_ARRIVAL,
    headers::VOUCHER,
    headers::REQUEST_ID,
    TIMEOUT_MS,
    AWAKE_ONLY,
    // Credentials end at the edge.
    headers::API_KEY,
    "authorization",
    "cookie",
    // workerd cannot forward the 100 that a server sends for it.
    "expect",
    // The container has no CORS of its own; the edge has decided.
    "origin",
    "sec-fetch-site",
    "sec-fetch-mode",
    "sec-fetch-dest",
    "host",
];
/// Headers of a response that do not reach the caller.
const REMOVED_FROM_RESPONSES: [&str; 6] = [
    headers::PROVER_LOAD,
    headers::EDGE_SECRET,
    OBJECT_PROBLEM,
    // The edge decides which pages may read a response, and with credentials or not.
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "access-control-expose-headers",
];

/// The headers of the request that a server gets. No header of the caller can replace one of the edge.
#[must_use]
pub fn for_server(head: &RequestHead, settings: &Settings, caller: &Caller) -> HeaderMap {
    let mut forwarded = head.headers.clone();
    for name in REMOVED_FROM_REQUESTS {
        forwarded.remove(name);
    }
    let (user, key, voucher, link_only) = match caller {
        Caller::Key(name) => (Some(name.as_str()), fingerprint(&head.headers), None, None),
        Caller::Page(page) => (Some(page.voucher.holder.as_str()), None, Some(page.token.as_str()), None),
        Caller::Anonymous => (None, None, None, None),
        Caller::Link => (None, None, None, Some("1")),
    };
    let digest = credential_digest(&head.headers);
    let key = key.map(|key| key.to_string());
    let added = [
        (headers::REQUEST_ID, Some(head.request_id.as_str())),
        (headers::CLIENT_IP, head.client_ip()),
        (headers::AUTHENTICATED_USER, user),
        (headers::KEY_FINGERPRINT, key.as_deref()),
        (headers::VOUCHER, voucher),
        (headers::LINK_ONLY, link_only),
        (headers::CREDENTIAL_DIGEST, digest.as_deref()),
        (headers::EDGE_SECRET, settings.secret.as_ref().map(Secret::expose)),
    ];
    for (name, value) in added {
        if let Some(value) = value {
            set(&mut forwarded, name, value);
        }
    }
    forwarded
}

/// The digest of a caller's key or voucher, which ends at the edge: what the caller sealed is bound to it.
#[must_use]
pub fn credential_digest(request: &HeaderMap) -> Option<String> {
    let presented = presented_key(|name| request.get_all(name).into_iter().map(HeaderValue::as_bytes));
    presented.ok().flatten().map(|key| hex::encode(Sha256::digest(key)))
}

/// The headers of the request that a container's object gets: those of a server, and the time limit.
#[must_use]
pub fn for_container(head: &RequestHead, settings: &Settings, caller: &Caller, limit: Duration) -> HeaderMap {
    let mut forwarded = for_server(head, settings, caller);
    set(&mut forwarded, TIMEOUT_MS, &limit.as_millis().to_string());
    forwarded
}

/// The headers of a request that must not wake the container.
#[must_use]
pub fn for_awake_container(
    head: &RequestHead,
    settings: &Settings,
    caller: &Caller,
    limit: Duration,
) -> HeaderMap {
    let mut forwarded = for_container(head, settings, caller, limit);
    set(&mut forwarded, AWAKE_ONLY, "1");
    forwarded
}

/// Takes the mark of [`for_awake_container`] out of the headers that an object got. Returns whether it was there.
pub fn take_awake_only(headers: &mut HeaderMap) -> bool {
    headers.remove(AWAKE_ONLY).is_some()
}

/// Takes the time limit out of the headers that an object got.
pub fn take_timeout(headers: &mut HeaderMap) -> Option<Duration> {
    let timeout = headers.remove(TIMEOUT_MS)?;
    timeout.to_str().ok()?.parse().ok().map(Duration::from_millis)
}

/// How the headers of a response depend on the origin of the page.
#[derive(Debug, Clone, Default)]
pub struct CorsHeaders {
    /// The decision about the page's origin; `None` where the request failed before it.
    decision: Option<Decision>,
    /// Whether responses differ by origin, so that caches must store them separately.
    differs_by_origin: bool,
}

impl CorsHeaders {
    /// The headers for a decision of these origins.
    #[must_use]
    pub fn new(origins: &Origins, decision: Decision) -> Self {
        Self { decision: Some(decision), differs_by_origin: origins.differ_in_responses() }
    }

    fn add_to(&self, response: &mut HeaderMap) {
        if let Some(Decision::Allowed(origin)) = &self.decision {
            origin.add_to(response);
        }
        if self.differs_by_origin {
            response.append(header::VARY, HeaderValue::from_static("Origin"));
        }
    }
}

/// The headers of the response that the caller gets.
#[must_use]
pub fn for_caller(response: &HeaderMap, request_id: &str, cors: &CorsHeaders) -> HeaderMap {
    let mut forwarded = response.clone();
    for name in REMOVED_FROM_RESPONSES {
        forwarded.remove(name);
    }
    set(&mut forwarded, headers::REQUEST_ID, request_id);
    forwarded.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    cors.add_to(&mut forwarded);
    forwarded
}

/// Gives a header one value and no other. A text that cannot be a value leaves the header out.
pub fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    headers.remove(name);
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use edgeprove_protocol::voucher::KeyFingerprint;
    use http::Method;
    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::{request_head::tests::head, settings::tests::settings};

    const SECRET: &str = "0123456789abcdef";

    fn shown(headers: &HeaderMap) -> BTreeMap<&str, &str> {
        headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect()
    }

    #[test]
    fn a_caller_cannot_set_the_headers_of_the_edge() {
        let mut request = head(
            Method::POST,
            "/api/prove",
            "",
            &[
                (headers::EDGE_SECRET, "guessed-guessed-guessed"),
                (headers::AUTHENTICATED_USER, "root"),
                (headers::LINK_ONLY, "1"),
                (headers::CREDENTIAL_DIGEST, "00"),
                (headers::KEY_FINGERPRINT, "0a0a0a0a0a0a0a0a"),
                (headers::VOUCHER, "epv1.a.b"),
                (headers::SEALED_ARRIVAL, "1764547200000"),
                (headers::CLIENT_IP, "10.0.0.1"),
                (headers::REQUEST_ID, "chosen"),
                (TIMEOUT_MS, "999999"),
                (AWAKE_ONLY, "1"),
                ("authorization", "Bearer key"),
                ("x-api-key", "key"),
                ("cookie", "session=1"),
                ("expect", "100-continue"),
                ("origin", "https://app.example"),
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", "cors"),
                ("sec-fetch-dest", "empty"),
                ("host", "prove.example"),
                ("accept", "application/json"),
                ("prefer", "wait=5"),
            ],
        );
        let settings = settings(&[("EDGE_SECRET", SECRET)]);
        let caller = Caller::Key("alice".to_owned());
        let forwarded = for_server(&request, &settings, &caller);
        let key = KeyFingerprint::of(&Sha256::digest("key").into()).to_string();
        let expected = [
            (headers::KEY_FINGERPRINT, key.as_str()),
            (headers::EDGE_SECRET, SECRET),
            (headers::AUTHENTICATED_USER, "alice"),
            (headers::CREDENTIAL_DIGEST, "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683"),
            (headers::REQUEST_ID, "r1"),
            ("accept", "application/json"),
            ("prefer", "wait=5"),
        ];
        assert_eq!(shown(&forwarded), BTreeMap::from(expected));

        set(&mut request.headers, "cf-connecting-ip", "192.0.2.1");
        let anonymous = for_server(&request, &settings, &Caller::Anonymous);
        assert_eq!(anonymous[headers::CLIENT_IP], "192.0.2.1");
        assert!(!anonymous.contains_key(headers::AUTHENTICATED_USER));
        assert!(!anonymous.contains_key(headers::LINK_ONLY));
        let by_link = for_server(&request, &settings, &Caller::Link);
        assert_eq!(by_link[headers::LINK_ONLY], "1");
        assert_eq!(by_link[headers::CLIENT_IP], "192.0.2.1");
        assert!(!by_link.contains_key(headers::AUTHENTICATED_USER));
    }

    #[test]
    fn an_object_gets_the_time_limit_and_its_container_does_not() {
        let request = head(Method::GET, "/v1/queue", "", &[]);
        let limit = Duration::from_secs(30);
        let mut forwarded = for_container(&request, &settings(&[]), &Caller::Anonymous, limit);
        assert_eq!(take_timeout(&mut forwarded), Some(limit));
        assert_eq!(shown(&forwarded), BTreeMap::from([(headers::REQUEST_ID, "r1")]));
        assert_eq!(take_timeout(&mut forwarded), None);
        assert!(!take_awake_only(&mut forwarded));

        let mut forwarded = for_awake_container(&request, &settings(&[]), &Caller::Anonymous, limit);
        assert!(take_awake_only(&mut forwarded) && take_timeout(&mut forwarded).is_some());
        assert_eq!(shown(&forwarded), BTreeMap::from([(headers::REQUEST_ID, "r1")]));
    }

    #[test]
    fn a_trace_goes_on_to_the_server() {
        let trace = [
            ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ("tracestate", "a=1"),
            ("baggage", "b=2"),
        ];
        let request = head(Method::GET, "/v1/queue", "", &trace);
        let forwarded = for_server(&request, &settings(&[]), &Caller::Anonymous);
        for (name, value) in trace {
            assert_eq!(forwarded[name], value);
        }
    }

    #[test]
    fn only_the_edge_decides_which_pages_read_a_response() {
        let mut response = HeaderMap::new();
        for (name, value) in [
            ("access-control-allow-origin", "https://evil.example"),
            ("access-control-allow-credentials", "true"),
            ("access-control-expose-headers", "x-inner"),
        ] {
            set(&mut response, name, value);
        }
        let page = HeaderValue::from_static("https://app.example");
        let decided = |origin| {
            let decision = Origins::any().decide(origin, "https://prove.example");
            for_caller(&response, "r1", &CorsHeaders::new(&Origins::any(), decision))
        };
        let same_origin = decided(None);
        assert!(
            same_origin.keys().all(|name| !name.as_str().starts_with("access-control-")),
            "{same_origin:?}"
        );
        let other_origin = decided(Some(&page));
        assert_eq!(other_origin["access-control-allow-origin"], "*");
        assert!(!other_origin.contains_key("access-control-allow-credentials"), "{other_origin:?}");
        assert!(!other_origin["access-control-expose-headers"].to_str().unwrap().contains("x-inner"));
    }

    #[test]
    fn headers_between_edge_and_server_do_not_reach_the_caller() {
        let mut response = HeaderMap::new();
        set(&mut response, headers::PROVER_LOAD, "running=1, waiting=0, cores=2");
        set(&mut response, OBJECT_PROBLEM, "container_lost");
        set(&mut response, headers::VK_HASH, "0x00");
        set(&mut response, headers::REQUEST_ID, "of the server");
        let forwarded = for_caller(&response, "r1", &CorsHeaders::default());
        let expected =
            [(headers::VK_HASH, "0x00"), (headers::REQUEST_ID, "r1"), ("x-content-type-options", "nosniff")];
        assert_eq!(shown(&forwarded), BTreeMap::from(expected));
    }

    #[test]
    fn headers_of_a_newer_server_reach_the_caller() {
        let mut response = HeaderMap::new();
        set(&mut response, "x-of-a-newer-server", "1");
        set(&mut response, "retry-after", "7");
        let forwarded = for_caller(&response, "r1", &CorsHeaders::default());
        assert_eq!(forwarded["x-of-a-newer-server"], "1");
        assert_eq!(forwarded["retry-after"], "7");
    }

    #[test]
    fn responses_that_differ_by_origin_have_a_vary_header() {
        let origins = Origins::parse("https://app.example").unwrap();
        let origin = HeaderValue::from_static("https://app.example");
        let decision = origins.decide(Some(&origin), "https://prove.example");
        let cors = CorsHeaders::new(&origins, decision);
        let mut response = HeaderMap::new();
        set(&mut response, "vary", "accept");
        let forwarded = for_caller(&response, "r1", &cors);
        assert_eq!(forwarded.get_all("vary").iter().collect::<Vec<_>>(), ["accept", "Origin"]);
        assert_eq!(forwarded[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example");
    }
}
