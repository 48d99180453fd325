//! Who the caller of an endpoint is and whether it may use the endpoint, and which container its request needs. All of it
//! follows from the table of endpoints.

use edgeprove_protocol::{
    endpoints::{Audience, Class, ContainerRule, EdgeAction, Endpoint},
    headers,
    voucher::VoucherRefusal,
};
use http::{HeaderValue, header};

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
/// a key may have that token instead, and a page may have a voucher. `now_s` is the time in seconds since 1970.
///
/// Without the edge's secret, a server does not believe the edge that this caller may do nothing else. There, jobs have no
/// owners and their links no tokens.
pub fn identify(
    endpoint: &Endpoint,
    head: &RequestHead,
    settings: &Settings,
    now_s: u64,
) -> Result<Caller, Denied> {
    let is_by_link = || {
        endpoint.class == Class::LinkedJob && settings.secret.is_some() && router::has_link_token(&head.query)
    };
    match settings.keys.identify(&head.headers) {
        Err(Denied::NoKey) if is_by_link() => Ok(Caller::Link),
        // A key that has the form of a voucher is found first.
        Err(Denied::UnknownKey) => {
            let secret = settings.voucher_secret.as_ref();
            match settings.keys.identify_page(&head.headers, secret, now_s) {
                Some(page) => Ok(Caller::Page(Box::new(page?))),
                None => Err(Denied::UnknownKey),
            }
        }
        caller => caller,
    }
}

/// Refuses a list of jobs to a caller without a key: jobs are listed for their owner only. Refuses requests for
/// operators to all others, whatever the server behind the edge would do.
pub fn check_caller(endpoint: &Endpoint, caller: &Caller, settings: &Settings) -> Result<(), EdgeError> {
    if endpoint.edge == EdgeAction::ForwardIfAwake(Audience::Operators) {
        return match caller {
            Caller::Anonymous | Caller::Link => Err(EdgeError::OperatorWithoutKey),
            Caller::Page(_) => Err(VoucherRefusal::Endpoint.into()),
            Caller::Key(name) if settings.keys.is_operator(name) => Ok(()),
            Caller::Key(_) => Err(EdgeError::OperatorsOnly),
        };
    }
    match (endpoint.class, caller) {
        (Class::JobList, Caller::Anonymous) => Err(EdgeError::JobListWithoutKey),
        (Class::Voucher, Caller::Anonymous) => Err(EdgeError::VoucherWithoutKey),
        (Class::Voucher, Caller::Key(_)) if settings.voucher_secret.is_none() => {
            Err(EdgeError::VouchersDisabled)
        }
        (_, Caller::Page(_)) if !endpoint.accepts_vouchers() => Err(VoucherRefusal::Endpoint.into()),
        (Class::LinkedJob, Caller::Link) | (_, Caller::Key(_) | Caller::Page(_) | Caller::Anonymous) => {
            Ok(())
        }
        (_, Caller::Link) => Err(EdgeError::ApiKey(Denied::NoKey)),
    }
}

/// Refuses a voucher of pages of another origin. A server does not get the origin.
pub fn check_page(head: &RequestHead, caller: &Caller) -> Result<(), EdgeError> {
    let Caller::Page(page) = caller else { return Ok(()) };
    let sent = head.headers.get_all(header::ORIGIN).into_iter().map(HeaderValue::as_bytes);
    let is_same = head.header("sec-fetch-site") == Some("same-origin");
    page.voucher.check_origin(sent, |origin| is_same && origin.as_str() == head.origin)?;
    Ok(())
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
        ContainerRule::ByIdempotencyKey if has_separate_jobs && let Caller::Page(page) = caller => {
            // The uses of a voucher are counted in one container.
            let (holder, scope) = (&page.voucher.holder, page.voucher.scope());
            Ok(Selection::Container(container_pool::of_idempotency_key(holder, &scope, containers)))
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
    use edgeprove_protocol::{
        Priority, Voucher,
        caller::parse_digest,
        endpoints,
        voucher::{InvalidVoucher, KeyFingerprint, VoucherSecret},
    };
    use http::Method;

    use super::*;
    use crate::{api_keys::Page, request_head::tests::head, settings::tests::settings};

    const SECRET: &str = "0123456789abcdef";
    const KEYS: &str = "bob:617d6c49988b1ad5364bb98a83557af28881314ce3355722ed6faf14877fc893";
    const NOW_S: u64 = 1_800_000_000;
    const VOUCHERS: &str = "0123456789abcdef0123456789abcdef";
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
    fn only_lists_of_jobs_and_vouchers_need_a_key() {
        let settings = settings(&[("EDGE_SECRET", "0123456789abcdef")]);
        let is_for_all =
            |endpoint: &&Endpoint| endpoint.edge != EdgeAction::ForwardIfAwake(Audience::Operators);
        for endpoint in endpoints::at_edge().filter(is_for_all) {
            let (anonymous, alice) = match (endpoint.method, endpoint.path) {
                (endpoints::Method::Get, "/v1/proofs") => (Err(EdgeError::JobListWithoutKey), Ok(())),
                (_, "/v1/vouchers") => (Err(EdgeError::VoucherWithoutKey), Err(EdgeError::VouchersDisabled)),
                _ => (Ok(()), Ok(())),
            };
            assert_eq!(check_caller(endpoint, &Caller::Anonymous, &settings), anonymous, "{}", endpoint.path);
            assert_eq!(check_caller(endpoint, &Caller::Key("alice".to_owned()), &settings), alice);
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
            identify(router::route(method, path).unwrap(), &head, settings, NOW_S)
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
            assert_eq!(
                identify(endpoint, &head, &with_secret, NOW_S),
                Err(Denied::NoKey),
                "{}",
                endpoint.path
            );
            assert!(check_caller(endpoint, &Caller::Link, &with_secret).is_err(), "{}", endpoint.path);
        }
    }

    /// A voucher of this holder's key, which is the digest in `KEYS`.
    fn voucher(holder: &str) -> Voucher {
        let digest = KEYS.split_once(':').and_then(|(_, digest)| parse_digest(digest)).unwrap();
        Voucher {
            id: "v1".to_owned(),
            holder: holder.to_owned(),
            key: KeyFingerprint::of(&digest),
            circuits: vec!["range_check".parse().unwrap()],
            uses: 1,
            expires_s: NOW_S + 60,
            priority: Priority::Normal,
            origin: "https://app.example".parse().ok(),
            subject: None,
        }
    }

    fn page(voucher: Voucher) -> Caller {
        Caller::Page(Box::new(Page { voucher, token: String::new() }))
    }

    #[test]
    fn a_voucher_names_the_holder_of_a_valid_key() {
        let vars = [("API_KEYS", KEYS), ("EDGE_SECRET", SECRET), ("EDGEPROVE_VOUCHER_SECRET", VOUCHERS)];
        let with = settings(&vars);
        let secret = VoucherSecret::new(VOUCHERS).unwrap();
        let by = |token: &str, settings: &Settings, now_s| {
            let head = head(Method::POST, "/api/prove", "", &[("authorization", &format!("Bearer {token}"))]);
            identify(router::route(&Method::POST, "/api/prove").unwrap(), &head, settings, now_s)
        };
        let token = secret.sign(&voucher("bob"));
        let Ok(Caller::Page(page)) = by(&token, &with, NOW_S) else { panic!() };
        assert_eq!((page.voucher, page.token), (voucher("bob"), token.clone()));
        let foreign = VoucherSecret::new(&"f".repeat(32)).unwrap().sign(&voucher("bob"));
        let other_key = Voucher { key: KeyFingerprint::of(&[1; 32]), ..voucher("bob") };
        for (token, settings, now_s, invalid) in [
            (&token, &with, NOW_S + 60, InvalidVoucher::Expired),
            (&token, &settings(&vars[..2]), NOW_S, InvalidVoucher::Disabled),
            (&foreign, &with, NOW_S, InvalidVoucher::Signature),
            (&secret.sign(&voucher("alice")), &with, NOW_S, InvalidVoucher::Withdrawn),
            (&secret.sign(&other_key), &with, NOW_S, InvalidVoucher::Withdrawn),
            (&"epv1.x".to_owned(), &with, NOW_S, InvalidVoucher::Form),
        ] {
            assert_eq!(by(token, settings, now_s), Err(Denied::Voucher(invalid)));
        }
        assert_eq!(by(&token[1..], &with, NOW_S), Err(Denied::UnknownKey));
    }

    #[test]
    fn a_page_may_do_what_its_voucher_allows() {
        let with =
            settings(&[("API_KEYS", KEYS), ("EDGE_SECRET", SECRET), ("EDGEPROVE_VOUCHER_SECRET", VOUCHERS)]);
        let bob = page(voucher("bob"));
        for endpoint in endpoints::at_edge() {
            let checked = check_caller(endpoint, &bob, &with);
            let is_for_operators = endpoint.edge == EdgeAction::ForwardIfAwake(Audience::Operators);
            assert_eq!(
                checked.is_ok(),
                endpoint.accepts_vouchers() && !is_for_operators,
                "{}",
                endpoint.path
            );
        }
        let mint = endpoints::find_on_server(endpoints::Method::Post, "/v1/vouchers").unwrap();
        assert_eq!(check_caller(mint, &Caller::Key("bob".to_owned()), &with), Ok(()));

        let from = |headers: &[(&str, &str)]| check_page(&head(Method::GET, "/", "", headers), &bob).is_ok();
        assert!(from(&[("origin", "https://app.example")]));
        for headers in [&[][..], &[("origin", "https://evil.example")], &[("sec-fetch-site", "same-origin")]]
        {
            assert!(!from(headers), "{headers:?}");
        }
        let own = page(Voucher { origin: "https://prove.example".parse().ok(), ..voucher("bob") });
        let from_own =
            |site| check_page(&head(Method::GET, "/", "", &[("sec-fetch-site", site)]), &own).is_ok();
        assert!(from_own("same-origin") && !from_own("cross-site"));
    }

    #[test]
    fn the_uses_of_a_voucher_are_counted_in_one_container() {
        let endpoint = router::route(&Method::POST, "/v1/proofs").unwrap();
        let at = |voucher: &Voucher, key: &str, vars| {
            let head = head(Method::POST, "/v1/proofs", "", &[(headers::IDEMPOTENCY_KEY, key)]);
            let rule = ContainerRule::ByIdempotencyKey;
            select(rule, endpoint, &head, &page(voucher.clone()), &settings(vars)).unwrap()
        };
        let first = at(&voucher("bob"), "a", SEPARATE);
        assert!(matches!(first, Selection::Container(_)));
        assert_eq!(at(&voucher("bob"), "b", SEPARATE), first);
        assert_eq!(at(&voucher("bob"), "a", SHARED), Selection::LeastBusy);
        let ids = (0..20).map(|at| Voucher { id: at.to_string(), ..voucher("bob") });
        assert!(ids.into_iter().any(|other| at(&other, "a", SEPARATE) != first), "all go to one container");
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
