//! Every path on one page: what it is, which methods it takes, and how long it may take.
//!
//! The edge knows paths only as far as it must to spare a container the waking: what no server of ours answers is
//! refused here.

use http::Method;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// `GET /`: the endpoints. Wakes nothing.
    Index,
    /// `GET /edge/health`: the edge and its containers. Wakes nothing.
    EdgeHealth,
    /// Anything a container answers.
    Container(Class),
    /// `GET /v1/proofs`: the caller's jobs. A container that keeps its own answers for no other.
    JobList,
    /// `GET /v1/queue`: how many jobs there are. The same holds.
    Queue,
}

/// How long a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It proves.
    Prove,
    /// It does not.
    Other,
}

impl Route {
    /// How long its requests may take.
    #[must_use]
    pub fn class(self) -> Class {
        match self {
            Self::Container(class) => class,
            Self::Index | Self::EdgeHealth | Self::JobList | Self::Queue => Class::Other,
        }
    }
}

/// Why a request goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoute {
    /// There is no such path.
    NotFound,
    /// The path takes other methods.
    MethodNotAllowed {
        /// Which, as the `Allow` header lists them.
        allow: &'static str,
    },
}

const READ: &str = "GET, HEAD, OPTIONS";
const PROVE: &str = "POST, OPTIONS";
const JOBS: &str = "GET, HEAD, POST, OPTIONS";
const JOB: &str = "GET, HEAD, DELETE, OPTIONS";

/// Where a request goes. `OPTIONS` is answered before.
pub fn route(method: &Method, path: &str) -> Result<Route, NoRoute> {
    let (route, allow) = entry(path).ok_or(NoRoute::NotFound)?;
    if !allow.split(", ").any(|allowed| allowed == method.as_str()) {
        return Err(NoRoute::MethodNotAllowed { allow });
    }
    match (method, route) {
        // What is asked of jobs is quick; handing one in may wait for it.
        (&Method::POST, Route::JobList) => Ok(Route::Container(Class::Prove)),
        _ => Ok(route),
    }
}

/// The methods that a path takes, as the `Allow` header lists them.
pub fn methods(path: &str) -> Result<&'static str, NoRoute> {
    entry(path).map(|(_, allow)| allow).ok_or(NoRoute::NotFound)
}

fn entry(path: &str) -> Option<(Route, &'static str)> {
    Some(match segments(path).as_slice() {
        [] => (Route::Index, READ),
        ["edge", "health"] => (Route::EdgeHealth, READ),
        ["api", "prove"] | ["api", "prove", _] => (Route::Container(Class::Prove), PROVE),
        ["api", "health"] | ["health"] | ["problems", _] | ["v1", "proofs", _, "proof" | "events"] => {
            (Route::Container(Class::Other), READ)
        }
        ["v1", "proofs"] => (Route::JobList, JOBS),
        ["v1", "proofs", id] if !id.is_empty() => (Route::Container(Class::Other), JOB),
        ["v1", "queue"] => (Route::Queue, READ),
        // `/v1/audit` and `/metrics` are a single server's and its operator's; see docs/EDGE.md.
        _ => return None,
    })
}

/// A path as the log shows it: what a caller put into it stays out.
#[must_use]
pub fn pattern(path: &str) -> &'static str {
    match segments(path).as_slice() {
        [] => "/",
        ["edge", "health"] => "/edge/health",
        ["api", "prove"] => "/api/prove",
        ["api", "prove", _] => "/api/prove/{circuit}",
        ["api", "health"] => "/api/health",
        ["health"] => "/health",
        ["problems", _] => "/problems/{code}",
        ["v1", "proofs"] => "/v1/proofs",
        ["v1", "proofs", _] => "/v1/proofs/{id}",
        ["v1", "proofs", _, "proof"] => "/v1/proofs/{id}/proof",
        ["v1", "proofs", _, "events"] => "/v1/proofs/{id}/events",
        ["v1", "queue"] => "/v1/queue",
        _ => "unknown",
    }
}

/// The container that owns what a path names, where its id tells: `/v1/proofs/c3-…` is with the container of number 3.
///
/// Ids without a number belong to whoever is asked: their state is shared.
#[must_use]
pub fn home(path: &str) -> Option<u16> {
    let ["v1", _, id, ..] = *segments(path).as_slice() else { return None };
    let (number, rest) = id.strip_prefix('c')?.split_once('-')?;
    if rest.is_empty() { None } else { container_number(number) }
}

/// The container that a query names: `?container=3`.
#[must_use]
pub fn named_container(query: &str) -> Option<u16> {
    let mut named = query.split('&').filter_map(|pair| pair.strip_prefix("container="));
    match (named.next(), named.next()) {
        (Some(number), None) => container_number(number),
        _ => None,
    }
}

fn container_number(text: &str) -> Option<u16> {
    let is_number = (1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

fn segments(path: &str) -> Vec<&str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    if path.is_empty() { Vec::new() } else { path.split('/').collect() }
}

#[cfg(test)]
mod tests {
    use edgeprove_protocol::JobId;

    use super::*;

    #[test]
    fn paths_lead_where_they_should() {
        for (method, path, expected) in [
            (Method::GET, "/", Route::Index),
            (Method::HEAD, "/edge/health", Route::EdgeHealth),
            (Method::POST, "/api/prove", Route::Container(Class::Prove)),
            (Method::POST, "/api/prove/range_check", Route::Container(Class::Prove)),
            (Method::GET, "/api/health", Route::Container(Class::Other)),
            (Method::GET, "/problems/not_found", Route::Container(Class::Other)),
            (Method::POST, "/v1/proofs", Route::Container(Class::Prove)),
            (Method::GET, "/v1/proofs", Route::JobList),
            (Method::HEAD, "/v1/queue", Route::Queue),
            (Method::GET, "/v1/proofs/c1-x", Route::Container(Class::Other)),
            (Method::GET, "/v1/proofs/c1-x/proof", Route::Container(Class::Other)),
            (Method::GET, "/v1/proofs/c1-x/events", Route::Container(Class::Other)),
            (Method::DELETE, "/v1/proofs/c1-x", Route::Container(Class::Other)),
        ] {
            assert_eq!(route(&method, path), Ok(expected), "{method} {path}");
        }
    }

    #[test]
    fn what_no_server_answers_wakes_none() {
        for path in [
            "/api",
            "/api/",
            "/api/prove/a/b",
            "/wp-login.php",
            "/livez",
            "/readyz",
            "/metrics",
            "/v1",
            "/v1/audit",
            "/v1/circuits",
            "/v1/proofs/",
            "/v1/proofs/c1-x/witness",
            "/v1/proofs/c1-x/proof/again",
            "//",
            "/edge",
        ] {
            assert_eq!(route(&Method::GET, path), Err(NoRoute::NotFound), "{path}");
        }
        for (method, path, allow) in [
            (Method::GET, "/api/prove", PROVE),
            (Method::PUT, "/api/health", READ),
            (Method::POST, "/", READ),
            (Method::PATCH, "/v1/proofs/x", JOB),
            (Method::DELETE, "/v1/proofs", JOBS),
            (Method::DELETE, "/v1/proofs/x/events", READ),
            (Method::POST, "/v1/queue", READ),
        ] {
            assert_eq!(route(&method, path), Err(NoRoute::MethodNotAllowed { allow }), "{method} {path}");
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
            assert_eq!(named_container(query), number, "{query}");
        }
    }

    #[test]
    fn an_id_tells_its_container() {
        assert_eq!(home("/v1/proofs/c3-0191/events"), Some(3));
        assert_eq!(home("/v1/proofs/c12-0191"), Some(12));
        for path in [
            "/v1/proofs/0191",
            "/v1/proofs",
            "/api/prove/c3-x",
            "/v1/proofs/c-x",
            "/v1/proofs/c99999-x",
            "/v1/circuits/c+3-x",
            "/v1/proofs/c3-",
        ] {
            assert_eq!(home(path), None, "{path}");
        }
        for number in [None, Some(0), Some(7), Some(JobId::INSTANCE_MAX)] {
            let id = JobId::new(number, [0xc1; 16]).expect("the number is a container's");
            assert_eq!(home(&format!("/v1/proofs/{id}/events")), number, "{id}");
        }
    }
}
