//! Which endpoint a request is for, and which container its path or query names.
//!
//! Every path, method and rule comes from the table in [`edgeprove_protocol::endpoints`]. A request for a path that is
//! not in the table is refused here, so it wakes no container.

use edgeprove_protocol::{
    JobId,
    endpoints::{self, Endpoint, LINK_TOKEN, Method},
};

/// The log's pattern for a path that is not in the table.
pub const UNKNOWN: &str = "unknown";

/// The longest token of a link that is forwarded.
const LINK_TOKEN_MAX_BYTES: usize = 256;

/// Why a request has no endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteError {
    /// The path is not in the table.
    NotFound,
    /// The path has other methods.
    MethodNotAllowed {
        /// The value of the `Allow` header.
        allow: String,
    },
}

/// The endpoint of a request. `OPTIONS` requests are answered before: see [`allowed_methods`].
pub fn route(method: &http::Method, path: &str) -> Result<&'static Endpoint, RouteError> {
    let method = Method::of_request(method.as_str());
    let endpoint = at(path).find(|endpoint| Some(endpoint.method) == method);
    match endpoint {
        Some(endpoint) => Ok(endpoint),
        None => Err(RouteError::MethodNotAllowed { allow: allowed_methods(path)? }),
    }
}

/// The methods of a path, as the `Allow` header lists them.
pub fn allowed_methods(path: &str) -> Result<String, RouteError> {
    let mut methods: Vec<Method> = at(path).map(|endpoint| endpoint.method).collect();
    if methods.is_empty() {
        return Err(RouteError::NotFound);
    }
    methods.sort_unstable();
    let names = methods.into_iter().flat_map(|method| match method {
        Method::Get => &["GET", "HEAD"][..],
        Method::Post => &["POST"],
        Method::Delete => &["DELETE"],
    });
    Ok(names.copied().chain(["OPTIONS"]).collect::<Vec<_>>().join(", "))
}

/// The pattern of a path for the log. The log has no text that a caller chose.
#[must_use]
pub fn pattern(path: &str) -> &'static str {
    at(path).next().map_or(UNKNOWN, |endpoint| endpoint.path)
}

fn at(path: &str) -> impl Iterator<Item = &'static Endpoint> {
    endpoints::at_edge().filter(move |endpoint| endpoint.matches(path))
}

/// The number of the container that has the job of a path, if the job's id has one: `/v1/proofs/c3-…` is at container
/// 3.
///
/// Jobs without a number are in a database that all containers share. An id that cannot be read has no number here: a
/// server answers such a request, since a newer server may know ids of another form.
#[must_use]
pub fn owner_of_job(endpoint: &Endpoint, path: &str) -> Option<u16> {
    endpoint.parameter(path)?.parse::<JobId>().ok()?.instance()
}

/// The number of the container that a query names: `?container=3`.
#[must_use]
pub fn container_in_query(query: &str) -> Option<u16> {
    let mut values = query.split('&').filter_map(|pair| pair.strip_prefix("container="));
    match (values.next(), values.next()) {
        (Some(number), None) => container_number(number),
        (Some(_), Some(_)) | (None, _) => None,
    }
}

/// Whether a query has one token of a job's link, of a length that a token can have. Its form is the server's.
#[must_use]
pub fn has_link_token(query: &str) -> bool {
    let is_token = |pair: &&str| pair.split('=').next() == Some(LINK_TOKEN);
    let mut tokens = query.split('&').filter(is_token);
    match (tokens.next(), tokens.next()) {
        (Some(token), None) => {
            let value = token.len().saturating_sub(LINK_TOKEN.len() + 1);
            (1..=LINK_TOKEN_MAX_BYTES).contains(&value)
        }
        (Some(_), Some(_)) | (None, _) => false,
    }
}

fn container_number(text: &str) -> Option<u16> {
    let is_number = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_and_method_has_its_endpoint() {
        for (method, path, expected) in [
            (http::Method::GET, "/", "/"),
            (http::Method::HEAD, "/edge/health", "/edge/health"),
            (http::Method::POST, "/api/prove", "/api/prove"),
            (http::Method::POST, "/api/prove/range_check", "/api/prove/{circuit}"),
            (http::Method::GET, "/api/health", "/api/health"),
            (http::Method::GET, "/problems/not_found", "/problems/{code}"),
            (http::Method::POST, "/v1/proofs", "/v1/proofs"),
            (http::Method::GET, "/v1/proofs", "/v1/proofs"),
            (http::Method::HEAD, "/v1/queue", "/v1/queue"),
            (http::Method::GET, "/v1/proofs/c1-x", "/v1/proofs/{id}"),
            (http::Method::GET, "/v1/proofs/c1-x/proof", "/v1/proofs/{id}/proof"),
            (http::Method::GET, "/v1/proofs/c1-x/events", "/v1/proofs/{id}/events"),
            (http::Method::DELETE, "/v1/proofs/c1-x", "/v1/proofs/{id}"),
            (http::Method::GET, "/v1/circuits/range_check", "/v1/circuits/{circuit}"),
            (http::Method::GET, "/v1/audit", "/v1/audit"),
            (http::Method::GET, "/metrics", "/metrics"),
        ] {
            let endpoint = route(&method, path).unwrap();
            assert_eq!(endpoint.path, expected, "{method} {path}");
            assert_eq!(Some(endpoint.method), Method::of_request(method.as_str()), "{method} {path}");
            assert_eq!(pattern(path), expected);
        }
    }

    #[test]
    fn a_path_that_is_not_in_the_table_is_not_found() {
        for path in [
            "/api",
            "/api/",
            "/api/prove/a/b",
            "/wp-login.php",
            "/livez",
            "/readyz",
            "/v1",
            "/v1/audit/1",
            "/v1/circuits/a/b",
            "/v1/proofs/c1-x/witness",
            "/v1/proofs/c1-x/proof/again",
            "/edge",
        ] {
            assert_eq!(route(&http::Method::GET, path), Err(RouteError::NotFound), "{path}");
            assert_eq!(allowed_methods(path), Err(RouteError::NotFound), "{path}");
            assert_eq!(pattern(path), UNKNOWN, "{path}");
        }
    }

    #[test]
    fn a_path_with_an_empty_segment_is_not_found() {
        for path in [
            "",
            "//",
            "/v1/proofs/",
            "/v1/proofs//events",
            "/v1/proofs//proof",
            "/v1//proofs",
            "//v1/proofs",
            "/api/prove/",
            "/api/prove//",
            "/problems/",
            "/edge/health/",
        ] {
            for method in [http::Method::GET, http::Method::POST, http::Method::DELETE] {
                assert_eq!(route(&method, path), Err(RouteError::NotFound), "{method} {path}");
            }
        }
    }

    #[test]
    fn a_wrong_method_is_answered_with_those_of_the_path() {
        for (method, path, allow) in [
            (http::Method::GET, "/api/prove", "POST, OPTIONS"),
            (http::Method::PUT, "/api/health", "GET, HEAD, OPTIONS"),
            (http::Method::POST, "/", "GET, HEAD, OPTIONS"),
            (http::Method::PATCH, "/v1/proofs/x", "GET, HEAD, DELETE, OPTIONS"),
            (http::Method::DELETE, "/v1/proofs", "GET, HEAD, POST, OPTIONS"),
            (http::Method::DELETE, "/v1/proofs/x/events", "GET, HEAD, OPTIONS"),
            (http::Method::POST, "/v1/queue", "GET, HEAD, OPTIONS"),
        ] {
            let allow = allow.to_owned();
            assert_eq!(route(&method, path), Err(RouteError::MethodNotAllowed { allow }), "{method} {path}");
        }
    }

    #[test]
    fn a_query_names_one_container_or_none() {
        for (query, number) in [
            ("container=3", Some(3)),
            ("status=queued&container=0&limit=5", Some(0)),
            ("", None),
            ("container=", None),
            ("container=-1", None),
            ("container=12345", None),
            ("container=1&container=2", None),
            ("a_container=1", None),
        ] {
            assert_eq!(container_in_query(query), number, "{query}");
        }
    }

    #[test]
    fn a_query_has_one_token_or_none() {
        let longest = "t".repeat(LINK_TOKEN_MAX_BYTES);
        for query in ["token=1.x", "last_event_id=1.2&token=1.x", &format!("token={longest}")] {
            assert!(has_link_token(query), "{query}");
        }
        for query in ["", "token", "token=", "a_token=x", "tokens=x", "token=a&token=b", "token&token=b"] {
            assert!(!has_link_token(query), "{query}");
        }
        assert!(!has_link_token(&format!("token={longest}t")));
    }

    #[test]
    fn the_number_in_a_job_id_is_that_of_its_container() {
        let owner = |path: &str| owner_of_job(route(&http::Method::GET, path).unwrap(), path);
        for number in [None, Some(0), Some(7), Some(JobId::INSTANCE_MAX)] {
            let id = JobId::new(number, [0xc1; 16]).expect("the number is a container's");
            for path in ["", "/proof", "/events"] {
                assert_eq!(owner(&format!("/v1/proofs/{id}{path}")), number, "{id}");
            }
        }
        for id in ["0191", "c3-x", "c3-", "c-x", "c99999-x", "c+3-x"] {
            assert_eq!(owner(&format!("/v1/proofs/{id}")), None, "{id}");
        }
        assert_eq!(owner("/v1/proofs"), None);
    }
}
