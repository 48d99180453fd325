//! Who the caller of an endpoint is and whether it may use the endpoint, and which container its request needs. All of it
//! follows from the table of endpoints.

use edgeprove_protocol::{
    endpoints::{Audience, Class, ContainerRule, EdgeAction, Endpoint},
    headers,
};

use crate::{
    api_keys::{self, Caller, Denied},
    container_pool,
    edge_error::EdgeError,
    request_head::RequestHead,
    router,
    settings::Settings,
};

/// The container that a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// The container with this number and no other.
    Container(u16),
    /// Any container. The [`container_pool::Pool`] chooses.
    LeastBusy,
}

/// Finds the caller of a request by its key. Where an endpoint can be read by the token of a job's link, a request without
/// a key may have that token instead.
///
/// Without the edge's secret, a server does not believe the edge that this caller may do nothing else. There, jobs have no
/// owners and their links no tokens.
pub fn identify(endpoint: &Endpoint, head: &RequestHead, settings: &Settings) -> Result<Caller, Denied> {
    let is_by_link = || {
        endpoint.class == Class::LinkedJob && settings.secret.is_some() && router::has_link_token(&head.query)
    };
    match settings.keys.identify(&head.headers) {
        Err(Denied::NoKey) if is_by_link() => Ok(Caller::Link),
        caller => caller,
    }
}

/// Refuses a list of jobs to a caller without a key: jobs are listed for their owner only. Refuses requests for
/// operators to all others, whatever the server behind the edge would do.
pub fn check_caller(endpoint: &Endpoint, caller: &Caller, settings: &Settings) -> Result<(), EdgeError> {
    if endpoint.edge == EdgeAction::ForwardIfAwake(Audience::Operators) {
        return match caller {
            Caller::Anonymous | Caller::Link => Err(EdgeError::OperatorWithoutKey),
            Caller::Key(name) if settings.keys.is_operator(name) => Ok(()),
            Caller::Key(_) => Err(EdgeError::OperatorsOnly),
        };
    }
    match (endpoint.class, caller) {
        (Class::JobList, Caller::Anonymous) => Err(EdgeError::JobListWithoutKey),
        (Class::LinkedJob, Caller::Link) | (_, Caller::Key(_) | Caller::Anonymous) => Ok(()),
        (_, Caller::Link) => Err(EdgeError::ApiKey(Denied::NoKey)),
    }
}

/// Applies the rule of an endpoint to a request.
pub fn select(
    rule: ContainerRule,
    endpoint: &Endpoint,
    head: &RequestHead,
    caller: &Caller,
    settings: &Settings,
) -> Result<Selection, EdgeError> {
    let containers = settings.max_instances;
    let exists = |number: &u16| *number < containers;
    let has_separate_jobs = settings.has_separate_jobs();
    match rule {
        ContainerRule::OwnerOfJob => match router::owner_of_job(endpoint, &head.path) {
            Some(owner) if exists(&owner) => Ok(Selection::Container(owner)),
            Some(_) => Err(EdgeError::NoSuchContainer),
            None => Ok(Selection::LeastBusy),
        },
        ContainerRule::NamedInQuery if has_separate_jobs => {
            let named = router::container_in_query(&head.query).filter(exists);
            named.map(Selection::Container).ok_or(EdgeError::ContainerNotNamed { containers })
        }
        ContainerRule::ByIdempotencyKey if has_separate_jobs => match head.header(headers::IDEMPOTENCY_KEY) {
            Some(key) => {
                let caller = api_keys::rate_key(Some(caller), None);
                Ok(Selection::Container(container_pool::of_idempotency_key(&caller, key, containers)))
            }
            None => Ok(Selection::LeastBusy),
        },
        ContainerRule::Any | ContainerRule::NamedInQuery | ContainerRule::ByIdempotencyKey => {
            Ok(Selection::LeastBusy)
        }
    }
}

/// The container whose records are requested, and the query that it gets: the server does not know `container`.
pub fn select_records(query: &str, settings: &Settings) -> Result<(u16, String), EdgeError> {
    let containers = settings.max_instances;
    let container = match router::container_in_query(query) {
        Some(number) if number < containers => number,
        None if containers == 1 && !query.contains("container=") => 0,
        Some(_) | None => return Err(EdgeError::RecordsNotNamed { containers }),
    };
    let rest: Vec<_> = query.split('&').filter(|pair| !pair.starts_with("container=")).collect();
    Ok((container, rest.join("&")))
}

#[cfg(test)]
mod tests {
    use edgeprove_protocol::endpoints;
    use http::Method;

    use super::*;
    use crate::{request_head::tests::head, settings::tests::settings};

    const SECRET: &str = "0123456789abcdef";
    const KEYS: &str = "bob:617d6c49988b1ad5364bb98a83557af28881314ce3355722ed6faf14877fc893";
    const ID: &str = "7c2d3f7e-0b7a-4c55-9d2f-5c1f3a0e9b11";

    fn selected(
        method: Method,
        path: &str,
        query: &str,
        key: Option<&str>,
        vars: &[(&str, &str)],
    ) -> Result<Selection, EdgeError> {
        let headers: Vec<_> = key.map(|key| (headers::IDEMPOTENCY_KEY, key)).into_iter().collect();
        let head = head(method, path, query, &headers);
        let endpoint = router::route(&head.method, path).unwrap();
        let EdgeAction::Forward(rule) = endpoint.edge else { panic!("{path} is not forwarded") };
        select(rule, endpoint, &head, &Caller::Anonymous, &settings(vars))
    }

    const SEPARATE: &[(&str, &str)] = &[("MAX_INSTANCES", "4")];
    const SHARED: &[(&str, &str)] = &[("MAX_INSTANCES", "4"), ("DATABASE_URL", "postgres://db.example/jobs")];

    #[test]
    fn only_a_list_of_jobs_needs_a_caller_with_a_key() {
        let settings = settings(&[("EDGE_SECRET", "0123456789abcdef")]);
        let is_for_all =
            |endpoint: &&Endpoint| endpoint.edge != EdgeAction::ForwardIfAwake(Audience::Operators);
        for endpoint in endpoints::at_edge().filter(is_for_all) {
            let is_list = (endpoint.method, endpoint.path) == (endpoints::Method::Get, "/v1/proofs");
            let refused = if is_list { Err(EdgeError::JobListWithoutKey) } else { Ok(()) };
            assert_eq!(check_caller(endpoint, &Caller::Anonymous, &settings), refused, "{}", endpoint.path);
            assert_eq!(check_caller(endpoint, &Caller::Key("alice".to_owned()), &settings), Ok(()));
        }
    }

    #[test]
    fn requests_for_operators_need_their_role_at_the_edge() {
        let roles = format!(
            "[keys.ops]\nsha256 = ['{}']\nrole = 'operator'\n[keys.alice]\nrole = 'priority'",
            "0a".repeat(32)
        );
        let settings =
            settings(&[("EDGE_SECRET", SECRET), ("API_KEYS", KEYS), ("EDGEPROVE_KEYS", roles.as_str())]);
        let by = |path: &str, caller: &Caller| {
            check_caller(router::route(&Method::GET, path).unwrap(), caller, &settings)
        };
        let key = |name: &str| Caller::Key(name.to_owned());
        for path in ["/v1/audit", "/metrics"] {
            assert_eq!(by(path, &key("ops")), Ok(()));
            for other in ["alice", "bob"] {
                assert_eq!(by(path, &key(other)), Err(EdgeError::OperatorsOnly), "{other}");
            }
            for other in [Caller::Anonymous, Caller::Link] {
                assert_eq!(by(path, &other), Err(EdgeError::OperatorWithoutKey));
            }
        }
        for caller in [key("bob"), Caller::Anonymous] {
            assert_eq!(by("/v1/stats", &caller), Ok(()), "for every caller that may read /v1/queue");
        }
    }

    #[test]
    fn the_token_of_a_link_replaces_a_key_for_one_job_only() {
        let with_secret = settings(&[("API_KEYS", KEYS), ("EDGE_SECRET", SECRET)]);
        let by = |method: &Method, path: &str, query: &str, headers: &[(&str, &str)], settings: &Settings| {
            let head = head(method.clone(), path, query, headers);
            identify(router::route(method, path).unwrap(), &head, settings)
        };
        let (job, token) = (format!("/v1/proofs/{ID}"), "token=1.x");
        for path in [job.clone(), format!("{job}/events")] {
            for method in [Method::GET, Method::HEAD] {
                assert_eq!(by(&method, &path, token, &[], &with_secret), Ok(Caller::Link), "{path}");
            }
            for query in ["", "token=", "token=a&token=b"] {
                assert_eq!(by(&Method::GET, &path, query, &[], &with_secret), Err(Denied::NoKey), "{query}");
            }
            // A wrong key is a wrong key.
            let guessed = [("x-api-key", "guessed")];
            assert_eq!(by(&Method::GET, &path, token, &guessed, &with_secret), Err(Denied::UnknownKey));
            let without_secret = settings(&[("API_KEYS", KEYS)]);
            assert_eq!(by(&Method::GET, &path, token, &[], &without_secret), Err(Denied::NoKey));
            // Where callers need no key, a token gives nothing.
            assert_eq!(by(&Method::GET, &path, token, &[], &settings(&[])), Ok(Caller::Anonymous));
        }
        for endpoint in endpoints::at_edge().filter(|endpoint| endpoint.class != Class::LinkedJob) {
            let head = head(Method::GET, &endpoint.path.replace("{id}", ID), token, &[]);
            assert_eq!(identify(endpoint, &head, &with_secret), Err(Denied::NoKey), "{}", endpoint.path);
            assert!(check_caller(endpoint, &Caller::Link, &with_secret).is_err(), "{}", endpoint.path);
        }
    }

    #[test]
    fn records_are_those_of_the_named_container() {
        let of = |query, vars| select_records(query, &settings(vars));
        assert_eq!(of("after=7&container=3&limit=2", SEPARATE), Ok((3, "after=7&limit=2".to_owned())));
        assert_eq!(of("container=3", SHARED), Ok((3, String::new())), "a database does not share records");
        assert_eq!(of("after=7", &[]), Ok((0, "after=7".to_owned())));
        assert_eq!(of("container=0", &[]), Ok((0, String::new())));
        for query in ["", "container=4", "container=x", "container=1&container=2"] {
            assert_eq!(of(query, SEPARATE), Err(EdgeError::RecordsNotNamed { containers: 4 }), "{query}");
        }
        assert_eq!(of("container=1", &[]), Err(EdgeError::RecordsNotNamed { containers: 1 }));
    }

    #[test]
    fn a_job_with_a_number_goes_to_its_container() {
        for path in ["", "/proof", "/events"] {
            let job =
                |id: &str, vars| selected(Method::GET, &format!("/v1/proofs/{id}{path}"), "", None, vars);
            assert_eq!(job(&format!("c3-{ID}"), SEPARATE), Ok(Selection::Container(3)));
            assert_eq!(job(&format!("c4-{ID}"), SEPARATE), Err(EdgeError::NoSuchContainer));
            assert_eq!(job(ID, SHARED), Ok(Selection::LeastBusy));
            assert_eq!(job("an-id-of-a-newer-server", SEPARATE), Ok(Selection::LeastBusy));
        }
    }

    #[test]
    fn a_list_of_separate_jobs_needs_a_container_in_its_query() {
        for path in ["/v1/proofs", "/v1/queue"] {
            let list = |query, vars| selected(Method::GET, path, query, None, vars);
            assert_eq!(list("limit=5&container=2", SEPARATE), Ok(Selection::Container(2)));
            for query in ["", "container=4", "container=x"] {
                assert_eq!(list(query, SEPARATE), Err(EdgeError::ContainerNotNamed { containers: 4 }));
                assert_eq!(list(query, SHARED), Ok(Selection::LeastBusy));
            }
            assert_eq!(list("", &[]), Ok(Selection::LeastBusy), "one container has the whole list");
        }
    }

    #[test]
    fn an_idempotency_key_selects_a_container_of_separate_jobs() {
        for path in ["/v1/proofs", "/api/prove", "/api/prove/range_check"] {
            let submit = |key, vars| selected(Method::POST, path, "", key, vars);
            let Ok(Selection::Container(number)) = submit(Some("order-1"), SEPARATE) else {
                panic!("{path}")
            };
            assert_eq!(submit(Some("order-1"), SEPARATE), Ok(Selection::Container(number)));
            assert_eq!(submit(Some("order-1"), SHARED), Ok(Selection::LeastBusy));
            assert_eq!(submit(None, SEPARATE), Ok(Selection::LeastBusy));
        }
    }
}
