//! CORS: which origins' pages may call. The edge decides it before a container wakes.

use std::time::Duration;

use edgeprove_protocol::{Origin, headers};
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// How long a browser may cache the response to a preflight request.
const MAX_AGE: Duration = Duration::from_hours(1);
/// The longest list of requested headers that a preflight response repeats.
const REQUESTED_MAX_BYTES: usize = 4096;
/// The methods that pages may use.
const METHODS: &str = "GET, HEAD, POST, DELETE";

/// The origins whose pages may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origins {
    any: bool,
    patterns: Vec<Pattern>,
    credentials: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    /// One origin.
    Exact(Origin),
    /// `https://*.example.com`: any subdomain, however deep, but not `example.com` itself.
    Subdomains {
        /// With `://`.
        scheme: String,
        /// With its leading dot, and the port where there is one.
        domain: String,
    },
}

/// What the origin of a request means for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The request is not from a page of another origin. The response needs no headers for it.
    SameOrigin,
    /// The page may call. The response has the headers of the origin.
    Allowed(AllowedOrigin),
    /// The page may not call. The response is 403.
    Refused,
}

/// A text that does not list origins, or a combination of settings that browsers refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OriginsError {
    /// An entry is not an origin.
    #[error("`{0}` is not an origin such as https://app.example or https://*.app.example")]
    NotAnOrigin(String),
    /// An entry has a user name or a password. It is not quoted.
    #[error("an entry has a user name or a password, which no origin has")]
    Password,
    /// The list has no entry.
    #[error("it lists no origin; `*` allows any origin")]
    NoOrigin,
    /// Credentials are allowed for any origin. Browsers refuse that.
    #[error("it cannot be true while ALLOWED_ORIGINS is *: list the origins")]
    CredentialsForAnyOrigin,
}

/// An origin that may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedOrigin {
    value: HeaderValue,
    credentials: bool,
    /// Whether the page may send every header that it asks for.
    any_header: bool,
}

impl Origins {
    /// Pages of any origin may call.
    #[must_use]
    pub fn any() -> Self {
        Self { any: true, patterns: Vec::new(), credentials: false }
    }

    /// Reads `*`, or origins separated by commas, in which `*.` stands for any subdomain.
    pub fn parse(text: &str) -> Result<Self, OriginsError> {
        if text == "*" {
            return Ok(Self::any());
        }
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let patterns = names.map(Pattern::parse).collect::<Result<Vec<_>, _>>()?;
        if patterns.is_empty() {
            return Err(OriginsError::NoOrigin);
        }
        Ok(Self { any: false, patterns, credentials: false })
    }

    /// Sets whether pages may send cookies. Only listed origins can have this.
    pub fn with_credentials(self, credentials: bool) -> Result<Self, OriginsError> {
        if credentials && self.any {
            return Err(OriginsError::CredentialsForAnyOrigin);
        }
        Ok(Self { credentials, ..self })
    }

    /// Whether responses differ by origin, so that they need `Vary: Origin` for caches.
    #[must_use]
    pub fn differ_in_responses(&self) -> bool {
        !self.any
    }

    /// Decides by the `Origin` header. `own` is the origin of the request's own URL.
    #[must_use]
    pub fn decide(&self, origin: Option<&HeaderValue>, own: &str) -> Decision {
        let Some(origin) = origin else { return Decision::SameOrigin };
        if origin.as_bytes() == own.as_bytes() {
            return Decision::SameOrigin;
        }
        if self.any {
            return Decision::Allowed(AllowedOrigin {
                value: HeaderValue::from_static("*"),
                credentials: false,
                any_header: true,
            });
        }
        let allowed =
            origin.to_str().is_ok_and(|text| self.patterns.iter().any(|pattern| pattern.matches(text)));
        if allowed {
            Decision::Allowed(AllowedOrigin {
                value: origin.clone(),
                credentials: self.credentials,
                any_header: false,
            })
        } else {
            Decision::Refused
        }
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, OriginsError> {
        if text.contains('@') {
            return Err(OriginsError::Password);
        }
        let (plain, has_wildcard) = match text.split_once("://*.") {
            Some((scheme, domain)) => (format!("{scheme}://{domain}"), true),
            None => (text.to_owned(), false),
        };
        let origin = plain.parse::<Origin>().ok().filter(|origin| !(has_wildcard && origin.has_address()));
        let origin = origin.ok_or_else(|| OriginsError::NotAnOrigin(text.to_owned()))?;
        Ok(match origin.as_str().split_once("://").filter(|_| has_wildcard) {
            Some((scheme, domain)) => {
                Self::Subdomains { scheme: format!("{scheme}://"), domain: format!(".{domain}") }
            }
            None => Self::Exact(origin),
        })
    }

    fn matches(&self, origin: &str) -> bool {
        match self {
            Self::Exact(exact) => origin == exact.as_str(),
            Self::Subdomains { scheme, domain } => {
                let host =
                    origin.strip_prefix(scheme.as_str()).and_then(|host| host.strip_suffix(domain.as_str()));
                // A browser sends only a host here; any other text must not match.
                host.is_some_and(|host| {
                    !host.is_empty()
                        && host.split('.').all(|label| {
                            !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                        })
                })
            }
        }
    }
}

impl AllowedOrigin {
    /// Adds the CORS headers of every response to the page.
    pub fn add_to(&self, response: &mut HeaderMap) {
        response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, self.value.clone());
        let exposed = HeaderValue::from_str(&headers::EXPOSED_TO_PAGES.join(", "));
        response.extend(exposed.ok().map(|exposed| (header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed)));
        if self.credentials {
            response.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }

    /// The further headers of the response to a preflight request. `requested` are the headers that the page asks for.
    ///
    /// Where any origin may call, they are allowed as requested: a page of which nothing is known may have tools that
    /// add headers of their own to each request. `*` would not include `Authorization`.
    pub fn preflight(
        &self,
        requested: Option<&HeaderValue>,
    ) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let requested = requested.filter(|requested| self.any_header && is_list_of_names(requested)).cloned();
        let allowed =
            requested.or_else(|| HeaderValue::from_str(&headers::ALLOWED_FROM_PAGES.join(", ")).ok());
        let vary = self.any_header.then(|| HeaderValue::from_static("Access-Control-Request-Headers"));
        [
            vary.map(|vary| (header::VARY, vary)),
            Some((header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS))),
            allowed.map(|allowed| (header::ACCESS_CONTROL_ALLOW_HEADERS, allowed)),
            Some((header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(MAX_AGE.as_secs()))),
        ]
        .into_iter()
        .flatten()
    }
}

/// Whether a value is a list of header names, of a length that a response may repeat.
fn is_list_of_names(value: &HeaderValue) -> bool {
    let is_name = |name: &str| HeaderName::try_from(name.trim()).is_ok();
    value.len() <= REQUESTED_MAX_BYTES && value.to_str().is_ok_and(|names| names.split(',').all(is_name))
}

#[cfg(test)]
mod tests {
    use edgeprove_protocol::endpoints::Method;

    use super::*;

    const OWN: &str = "https://prove.example";

    fn decide(origins: &str, origin: &str) -> Decision {
        Origins::parse(origins).unwrap().decide(Some(&HeaderValue::from_str(origin).unwrap()), OWN)
    }

    fn is_allowed(origins: &str, origin: &str) -> bool {
        matches!(decide(origins, origin), Decision::Allowed(_))
    }

    #[test]
    fn listed_origins_are_allowed_and_similar_ones_refused() {
        let origins = "https://app.example, https://*.shop.example:8443,http://localhost:3000";
        for good in [
            "https://app.example",
            "https://a.shop.example:8443",
            "https://b.a.shop.example:8443",
            "http://localhost:3000",
        ] {
            assert!(is_allowed(origins, good), "{good}");
        }
        for bad in [
            "http://app.example",
            "https://app.example:444",
            "https://app.example.evil.example",
            "https://evilapp.example",
            "https://shop.example:8443",
            "https://evil-shop.example:8443",
            "https://a.shop.example",
            "https://evil.example/.shop.example:8443",
            "https://evil.example?.shop.example:8443",
            "https://.shop.example:8443",
            "null",
            "",
        ] {
            assert_eq!(decide(origins, bad), Decision::Refused, "{bad}");
        }
    }

    #[test]
    fn any_origin_gets_a_star_and_never_credentials() {
        let Decision::Allowed(allowed) = decide("*", "null") else { panic!("refused") };
        let mut response = HeaderMap::new();
        allowed.add_to(&mut response);
        assert_eq!(response[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert!(!response.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
        assert!(!Origins::any().differ_in_responses());
        assert!(Origins::any().with_credentials(true).is_err());
    }

    #[test]
    fn a_listed_origin_is_repeated_and_may_have_credentials() {
        let origins = Origins::parse("https://app.example").unwrap().with_credentials(true).unwrap();
        let origin = HeaderValue::from_static("https://app.example");
        let Decision::Allowed(allowed) = origins.decide(Some(&origin), OWN) else { panic!("refused") };
        let mut response = HeaderMap::new();
        allowed.add_to(&mut response);
        assert_eq!(response[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example");
        assert_eq!(response[header::ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        let exposed = response[header::ACCESS_CONTROL_EXPOSE_HEADERS].to_str().unwrap();
        assert!(["x-vk-hash", "location", "x-proof-cache"].iter().all(|name| exposed.contains(name)));
        assert!(origins.differ_in_responses());
        assert_eq!(allowed.preflight(None).last().unwrap().1, "3600");
    }

    #[test]
    fn pages_may_use_every_method_of_an_endpoint() {
        for method in Method::ALL {
            assert!(METHODS.split(", ").any(|allowed| allowed == method.as_str()), "{method:?}");
        }
    }

    #[test]
    fn a_request_without_another_origin_is_admitted() {
        let origins = Origins::parse("https://app.example").unwrap();
        assert_eq!(origins.decide(None, OWN), Decision::SameOrigin);
        assert_eq!(origins.decide(Some(&HeaderValue::from_static(OWN)), OWN), Decision::SameOrigin);
    }

    #[test]
    fn a_list_with_another_text_is_an_error() {
        for bad in [
            "app.example",
            "https://app.example/",
            "https://app.example,https://b.example/",
            "https://*",
            "https://a.*.example",
            "https://*.*.example",
            "https://*.127.0.0.1",
            "https://*.[::1]:3000",
            "*,https://app.example",
            "",
            ",",
        ] {
            assert!(Origins::parse(bad).is_err(), "{bad}");
        }
        let error = Origins::parse("https://me:hunter2@app.example").unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn an_origin_matches_however_it_is_written() {
        for (written, sent) in [
            ("HTTPS://App.Example:443", "https://app.example"),
            ("https://*.App.example:443", "https://a.app.example"),
            ("http://*.app.example:08080", "http://a.app.example:8080"),
            ("https://[0:0::1]:443", "https://[::1]"),
        ] {
            assert!(is_allowed(written, sent), "{written}");
            assert!(!is_allowed(written, &format!("{sent}9")), "{written}");
        }
    }

    fn allowed_headers(origins: &str, requested: &'static str) -> String {
        let Decision::Allowed(allowed) = decide(origins, "https://app.example") else { panic!("refused") };
        let requested = HeaderValue::from_static(requested);
        let headers: HeaderMap = allowed.preflight(Some(&requested)).collect();
        assert_eq!(headers.contains_key(header::VARY), origins == "*", "caches must store each list");
        headers[header::ACCESS_CONTROL_ALLOW_HEADERS].to_str().unwrap().to_owned()
    }

    #[test]
    fn pages_with_tracing_pass_the_preflight() {
        for origins in ["*", "https://app.example"] {
            let allowed = allowed_headers(origins, "");
            for name in ["traceparent", "tracestate", "baggage", "sentry-trace", "authorization"] {
                assert!(allowed.split(", ").any(|other| other == name), "{name}: {allowed}");
            }
        }
    }

    #[test]
    fn any_origin_gets_the_headers_that_it_asks_for() {
        let requested = "authorization,x-of-some-tool, b3";
        assert_eq!(allowed_headers("*", requested), requested);
        assert!(!allowed_headers("https://app.example", requested).contains("x-of-some-tool"));
        for bad in ["x\ty", "a b", "x,,y", "a:b"] {
            assert!(allowed_headers("*", bad).contains("idempotency-key"), "{bad}");
        }
    }
}
