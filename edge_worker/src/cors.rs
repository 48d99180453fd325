//! Whose pages may call: decided at the edge, before a container wakes.

use std::time::Duration;

use edgeprove_protocol::headers;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

/// How long a browser may keep the answer to a preflight.
const MAX_AGE: Duration = Duration::from_hours(1);
/// What pages may send.
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
    /// The origin as a browser sends it.
    Exact(String),
    /// `https://*.example.com`: any subdomain, however deep, but not `example.com` itself.
    Subdomains {
        /// With `://`.
        scheme: String,
        /// With its leading dot, and the port where there is one.
        domain: String,
    },
}

/// What is to be done with a request for its origin's sake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Not of a page of another origin: nothing is to be said.
    SameOrigin,
    /// Answer with these headers.
    Allowed(AllowedOrigin),
    /// Answer 403.
    Refused,
}

/// An origin that may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedOrigin {
    value: HeaderValue,
    credentials: bool,
}

impl Origins {
    /// Pages of any origin may call.
    #[must_use]
    pub fn any() -> Self {
        Self { any: true, patterns: Vec::new(), credentials: false }
    }

    /// Reads `*`, or origins separated by commas, in which `*.` stands for any subdomain.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::any());
        }
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let patterns = names.map(Pattern::parse).collect::<Result<_, _>>()?;
        Ok(Self { any: false, patterns, credentials: false })
    }

    /// Lets pages send cookies and the like. Not to be had for any origin at all: browsers refuse that, and rightly.
    pub fn with_credentials(self, credentials: bool) -> Result<Self, String> {
        if credentials && self.any {
            return Err("it cannot be true while ALLOWED_ORIGINS is *: name the origins".to_owned());
        }
        Ok(Self { credentials, ..self })
    }

    /// Decides by the `Origin` header. `own` is the scheme and host that the request itself went to.
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
            });
        }
        let allowed =
            origin.to_str().is_ok_and(|text| self.patterns.iter().any(|pattern| pattern.matches(text)));
        if allowed {
            Decision::Allowed(AllowedOrigin { value: origin.clone(), credentials: self.credentials })
        } else {
            Decision::Refused
        }
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, String> {
        let wanted =
            || format!("`{text}` is not an origin such as https://app.example or https://*.example.com");
        let plain = text.replacen("://*.", "://any.", 1);
        let uri: Uri = plain.parse().map_err(|_| wanted())?;
        let is_origin = matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.authority().is_some_and(|authority| !authority.as_str().contains(['@', '*']))
            && uri.path() == "/"
            && uri.query().is_none()
            && !plain.ends_with('/')
            && plain == plain.to_ascii_lowercase();
        if !is_origin {
            return Err(wanted());
        }
        match text.split_once("*.") {
            Some((scheme, domain)) => {
                Ok(Self::Subdomains { scheme: scheme.to_owned(), domain: format!(".{domain}") })
            }
            None => Ok(Self::Exact(text.to_owned())),
        }
    }

    fn matches(&self, origin: &str) -> bool {
        match self {
            Self::Exact(exact) => origin == exact,
            Self::Subdomains { scheme, domain } => {
                let host =
                    origin.strip_prefix(scheme.as_str()).and_then(|host| host.strip_suffix(domain.as_str()));
                // What a browser sends is no more than a host; anything else in its place must not pass.
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
    /// Adds what every answer to the page must bear.
    pub fn mark(&self, answer: &mut HeaderMap) {
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, self.value.clone());
        let exposed = HeaderValue::from_str(&headers::EXPOSED_TO_PAGES.join(", "));
        answer.extend(exposed.ok().map(|exposed| (header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed)));
        if self.credentials {
            answer.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }

    /// The headers of the answer to a preflight, besides those of every answer.
    pub fn preflight(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let said = HeaderValue::from_str(&headers::ALLOWED_FROM_PAGES.join(", "));
        [
            Some((header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS))),
            said.ok().map(|said| (header::ACCESS_CONTROL_ALLOW_HEADERS, said)),
            Some((header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(MAX_AGE.as_secs()))),
        ]
        .into_iter()
        .flatten()
    }
}

impl Origins {
    /// Whether answers differ by origin, so that caches must be told.
    #[must_use]
    pub fn vary(&self) -> bool {
        !self.any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "https://prove.example";

    fn decide(origins: &str, origin: &str) -> Decision {
        Origins::parse(origins).unwrap().decide(Some(&HeaderValue::from_str(origin).unwrap()), OWN)
    }

    fn is_allowed(origins: &str, origin: &str) -> bool {
        matches!(decide(origins, origin), Decision::Allowed(_))
    }

    #[test]
    fn exact_origins_and_subdomains_are_allowed_and_look_alikes_refused() {
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
    fn any_origin_is_answered_with_a_star_and_never_with_credentials() {
        let Decision::Allowed(allowed) = decide("*", "null") else { panic!("refused") };
        let mut answer = HeaderMap::new();
        allowed.mark(&mut answer);
        assert_eq!(answer[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert!(!answer.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
        assert!(!Origins::any().vary());
        assert!(Origins::any().with_credentials(true).is_err());
    }

    #[test]
    fn a_named_origin_is_repeated_and_may_bring_credentials() {
        let origins = Origins::parse("https://app.example").unwrap().with_credentials(true).unwrap();
        let origin = HeaderValue::from_static("https://app.example");
        let Decision::Allowed(allowed) = origins.decide(Some(&origin), OWN) else { panic!("refused") };
        let mut answer = HeaderMap::new();
        allowed.mark(&mut answer);
        assert_eq!(answer[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example");
        assert_eq!(answer[header::ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        let exposed = answer[header::ACCESS_CONTROL_EXPOSE_HEADERS].to_str().unwrap();
        assert!(["x-vk-hash", "location", "x-proof-cache"].iter().all(|name| exposed.contains(name)));
        assert!(origins.vary());
        assert_eq!(allowed.preflight().last().unwrap().1, "3600");
    }

    #[test]
    fn what_is_not_of_a_page_of_another_origin_needs_no_leave() {
        let origins = Origins::parse("https://app.example").unwrap();
        assert_eq!(origins.decide(None, OWN), Decision::SameOrigin);
        assert_eq!(origins.decide(Some(&HeaderValue::from_static(OWN)), OWN), Decision::SameOrigin);
    }

    #[test]
    fn what_is_no_origin_is_a_fault() {
        for bad in [
            "app.example",
            "https://app.example/",
            "https://app.example/x",
            "https://",
            "ftp://app.example",
            "https://*",
            "https://a.*.example",
            "https://*.*.example",
            "https://me@app.example",
            "https://App.example",
            "https://app.example?x",
        ] {
            assert!(Origins::parse(bad).is_err(), "{bad}");
        }
    }
}
