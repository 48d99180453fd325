//! The head of a request. The edge reads nothing else of it.

use edgeprove_protocol::{TraceContext, headers, trace_context::TRACEPARENT};
use http::{HeaderMap, Method, header};

use crate::{
    edge_error::EdgeError,
    js_headers::{self, UnfitHeader},
};

/// Headers whose values a server refuses if they are not ASCII.
const ASCII_ONLY: [&str; 2] = [headers::PRIORITY, headers::DEADLINE];

/// A request without its body.
#[derive(Debug, Clone)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The path.
    pub path: String,
    /// The query without its question mark; empty where there is none.
    pub query: String,
    /// Scheme and host of the request's URL, in the form of an `Origin` header.
    pub origin: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The id that the edge gave to the request.
    pub request_id: String,
}

impl RequestHead {
    /// Reads the head of a request.
    pub fn read(request: &web_sys::Request, request_id: &str) -> Result<Self, EdgeError> {
        let url = web_sys::Url::new(&request.url()).map_err(|_| EdgeError::UnreadableRequest)?;
        let method =
            Method::from_bytes(request.method().as_bytes()).map_err(|_| EdgeError::UnreadableRequest)?;
        Ok(Self {
            method,
            path: url.pathname(),
            query: url.search().trim_start_matches('?').to_owned(),
            origin: url.origin(),
            headers: js_headers::read(&request.headers())?,
            request_id: request_id.to_owned(),
        })
    }

    /// Path and query as they were in the URL.
    #[must_use]
    pub fn path_and_query(&self) -> String {
        let mark = if self.query.is_empty() { "" } else { "?" };
        format!("{}{mark}{}", self.path, self.query)
    }

    /// A header's value, if it is text.
    pub fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Whether this is a preflight request, which a browser sends before a page's request.
    #[must_use]
    pub fn is_preflight(&self) -> bool {
        self.method == Method::OPTIONS && self.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// The trace that the request belongs to, if its caller sent one.
    #[must_use]
    pub fn trace(&self) -> Option<TraceContext> {
        self.header(TRACEPARENT)?.parse().ok()
    }

    /// Refuses headers of a request for a proof that its server would refuse. An `Idempotency-Key` selects a container,
    /// and the runtime joins two of them to one value with a comma.
    pub fn check_proof_headers(&self) -> Result<(), EdgeError> {
        let mut keys = self.headers.get_all(headers::IDEMPOTENCY_KEY).iter();
        match (keys.next(), keys.next()) {
            (None, _) => {}
            (Some(key), None) if headers::is_acceptable_idempotency_key(key.as_bytes()) => {}
            (Some(_), _) => return Err(EdgeError::UnfitIdempotencyKey),
        }
        let is_ascii = |name: &&str| self.headers.get_all(*name).iter().all(|value| value.to_str().is_ok());
        match ASCII_ONLY.iter().find(|name| !is_ascii(name)) {
            Some(name) => Err(UnfitHeader((*name).to_owned()).into()),
            None => Ok(()),
        }
    }

    /// The caller's address, as Cloudflare reports it.
    #[must_use]
    pub fn client_ip(&self) -> Option<&str> {
        self.header("cf-connecting-ip")
    }

    /// Refuses a body whose announced length is too large.
    pub fn check_content_length(&self, max: u64) -> Result<(), EdgeError> {
        let Some(length) = self.headers.get(header::CONTENT_LENGTH) else { return Ok(()) };
        let length = length.to_str().ok().and_then(|length| length.parse::<u64>().ok());
        let bytes = length.ok_or(EdgeError::ContentLengthNotNumber)?;
        if bytes > max { Err(EdgeError::BodyTooLarge { bytes, max }) } else { Ok(()) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    /// The head of a request as a caller sends it.
    pub(crate) fn head(method: Method, path: &str, query: &str, headers: &[(&str, &str)]) -> RequestHead {
        let header = |&(name, value): &(&str, &str)| {
            (HeaderName::try_from(name).unwrap(), HeaderValue::from_str(value).unwrap())
        };
        RequestHead {
            method,
            path: path.to_owned(),
            query: query.to_owned(),
            origin: "https://prove.example".to_owned(),
            headers: headers.iter().map(header).collect(),
            request_id: "r1".to_owned(),
        }
    }

    #[test]
    fn path_and_query_are_those_of_the_url() {
        assert_eq!(head(Method::GET, "/v1/queue", "", &[]).path_and_query(), "/v1/queue");
        assert_eq!(head(Method::GET, "/", "a=b?c", &[]).path_and_query(), "/?a=b?c");
    }

    #[test]
    fn values_that_a_server_refuses_are_refused() {
        let check = |headers: &[_]| head(Method::POST, "/api/prove", "", headers).check_proof_headers();
        for name in ["x-priority", "x-deadline"] {
            assert_eq!(check(&[(name, "1")]), Ok(()));
            assert_eq!(check(&[(name, "\u{fc}")]), Err(EdgeError::UnfitHeader { name: name.to_owned() }));
        }
        // A server ignores these.
        assert_eq!(check(&[("user-agent", "\u{fc}")]), Ok(()));
        assert_eq!(check(&[("idempotency-key", "order-1")]), Ok(()));
        // The runtime joins two headers of one name as in the second value.
        for unfit in ["bestellung-\u{fc}", "order-1, order-1", "a,b", ""] {
            assert_eq!(check(&[("idempotency-key", unfit)]), Err(EdgeError::UnfitIdempotencyKey), "{unfit}");
        }
    }

    #[test]
    fn a_trace_id_is_that_of_a_valid_traceparent() {
        let trace_id = |value: &str| {
            let trace = head(Method::GET, "/", "", &[("traceparent", value)]).trace();
            trace.map(|trace| trace.trace_id().to_owned())
        };
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(trace_id(&format!("00-{id}-00f067aa0ba902b7-01")), Some(id.to_owned()));
        assert_eq!(trace_id("hunter2"), None);
    }

    #[test]
    fn an_announced_length_must_be_a_number_within_the_limit() {
        let check = |length| {
            head(Method::POST, "/api/prove", "", &[("content-length", length)]).check_content_length(1024)
        };
        assert_eq!(check("1024"), Ok(()));
        assert_eq!(check("1025"), Err(EdgeError::BodyTooLarge { bytes: 1025, max: 1024 }));
        assert_eq!(check("-1"), Err(EdgeError::ContentLengthNotNumber));
        assert_eq!(head(Method::POST, "/api/prove", "", &[]).check_content_length(0), Ok(()));
    }
}
