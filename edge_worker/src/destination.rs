//! Whether a caller may use an endpoint, and which container its request needs. Both follow from the table of
//! endpoints.

use edgeprove_protocol::{
    endpoints::{Class, ContainerRule, EdgeAction, Endpoint},
    headers,
};

use crate::{
    api_keys::{self, Caller},
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

/// Refuses a list of jobs to a caller without a key: jobs are listed for their owner only. Refuses requests for
/// operators where no container could recognise one.
pub fn check_caller(endpoint: &Endpoint, caller: &Caller, settings: &Settings) -> Result<(), EdgeError> {
    if endpoint.edge == EdgeAction::ForwardIfAwake {
        return match caller {
            Caller::Anonymous => Err(EdgeError::OperatorWithoutKey),
            // The container would ignore the name of the key, and an endpoint that is open to probes would be open.
            Caller::Key(_) if settings.secret.is_none() => Err(EdgeError::NoOperators),
            Caller::Key(_) => Ok(()),
        };
    }
    match (endpoint.class, caller) {
        (Class::JobList, Caller::Anonymous) => Err(EdgeError::JobListWithoutKey),
        (Class::JobList, Caller::Key(_))
        | (Class::Info | Class::Proof | Class::Job | Class::Operator | Class::Probe, _) => Ok(()),
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
        let is_for_all = |endpoint: &&Endpoint| endpoint.edge != EdgeAction::ForwardIfAwake;
        for endpoint in endpoints::at_edge().filter(is_for_all) {
            let is_list = (endpoint.method, endpoint.path) == (endpoints::Method::Get, "/v1/proofs");
            let refused = if is_list { Err(EdgeError::JobListWithoutKey) } else { Ok(()) };
            assert_eq!(check_caller(endpoint, &Caller::Anonymous, &settings), refused, "{}", endpoint.path);
            assert_eq!(check_caller(endpoint, &Caller::Key("alice".to_owned()), &settings), Ok(()));
        }
    }

    #[test]
    fn requests_for_operators_need_a_key_and_the_secret() {
        let (alice, with_secret) =
            (Caller::Key("alice".to_owned()), settings(&[("EDGE_SECRET", "0123456789abcdef")]));
        for path in ["/v1/audit", "/metrics"] {
            let endpoint = router::route(&Method::GET, path).unwrap();
            assert_eq!(check_caller(endpoint, &alice, &with_secret), Ok(()));
            assert_eq!(check_caller(endpoint, &alice, &settings(&[])), Err(EdgeError::NoOperators));
            let anonymous = check_caller(endpoint, &Caller::Anonymous, &with_secret);
            assert_eq!(anonymous, Err(EdgeError::OperatorWithoutKey));
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
