use edgeprove_protocol::{Voucher, endpoints, voucher::KeyFingerprint};
use http::Method;

use super::*;
use crate::{api_keys::Page, request_head::tests::head, router, settings::tests::settings};

const GZIP: (&str, &str) = ("content-type", "application/gzip");
const LENGTH: (&str, &str) = ("content-length", "2400");

fn read_as(
    caller: &Caller,
    path: &str,
    query: &str,
    headers: &[(&str, &str)],
    vars: &[(&str, &str)],
) -> Result<JobRequest, EdgeError> {
    let head = head(Method::POST, path, query, headers);
    JobRequest::read(router::route(&Method::POST, path).unwrap(), &head, caller, &settings(vars))
}

fn read(path: &str, query: &str, headers: &[(&str, &str)]) -> Result<JobRequest, EdgeError> {
    read_as(&Caller::Anonymous, path, query, headers, &[])
}

#[track_caller]
fn assert_refused(refused: Result<JobRequest, EdgeError>, kind: ProblemType) {
    let refused = refused.unwrap_err();
    assert_eq!(refused.problem_type(), kind, "{refused:?}");
}

#[test]
fn a_path_a_preference_or_a_key_makes_a_job() {
    let becomes = |path: &str, headers: &[(&str, &str)]| {
        let head = head(Method::POST, path, "", headers);
        becomes_job(router::route(&Method::POST, path).unwrap(), &head)
    };
    assert!(becomes("/v1/proofs", &[]));
    for path in ["/api/prove", "/api/prove/range_check"] {
        assert!(!becomes(path, &[]) && !becomes(path, &[("prefer", "return=minimal")]));
        for header in [("prefer", "respond-async"), ("prefer", "wait=5"), ("idempotency-key", "order-1")] {
            assert!(becomes(path, &[header]), "{header:?}");
        }
    }
    let others = endpoints::at_edge().filter(|endpoint| endpoint.class != Class::Proof);
    for endpoint in others {
        assert!(
            !becomes_job(endpoint, &head(Method::POST, "/", "", &[("prefer", "wait=5")])),
            "{}",
            endpoint.path
        );
    }
}

#[test]
fn the_head_of_a_witness_is_read() {
    let headers = [
        GZIP,
        LENGTH,
        ("x-priority", "low"),
        ("x-timeout", "12.5"),
        ("x-max-attempts", "2"),
        ("x-deadline", "60"),
        ("idempotency-key", "order-1"),
        ("prefer", "wait=5"),
    ];
    let job = read("/v1/proofs", "circuit=range_check&target=evm", &headers).unwrap();
    let expected = JobRequest {
        content: Content::Witness,
        bytes: 2400,
        circuit: "range_check".parse().ok(),
        target: Some(Target::Evm),
        priority: Priority::Low,
        deadline: Some(Duration::from_mins(1)),
        timeout: Some(Duration::from_millis(12_500)),
        max_attempts: Some(2),
        idempotency_key: Some("order-1".to_owned()),
        preferences: Preferences { respond_async: false, wait: Some(Duration::from_secs(5)) },
        is_submission: true,
    };
    assert_eq!(job, expected);
    assert_eq!(job.container_path(), "/api/prove/range_check?target=evm");
    let in_path = read("/api/prove/range_check", "", &[GZIP, LENGTH]).unwrap();
    assert_eq!((in_path.container_path().as_str(), in_path.is_submission), ("/api/prove/range_check", false));
    assert_eq!(read("/v1/proofs", "", &[LENGTH]).unwrap().container_path(), "/api/prove");
}

#[test]
fn a_body_needs_a_length_and_a_known_type() {
    let typed = |media: &str, length: &str| {
        read("/v1/proofs", "", &[("content-type", media), ("content-length", length)])
    };
    for (media, content) in [
        ("application/octet-stream", Content::Witness),
        ("Application/JSON; charset=utf-8", Content::Inputs),
        ("multipart/form-data; boundary=x", Content::Form),
        ("application/vnd.edgeprove.sealed; content=\"application/gzip\"", Content::Sealed),
    ] {
        assert_eq!(typed(media, "7").unwrap().content, content);
    }
    assert_refused(typed("text/plain", "7"), ProblemType::UnsupportedMediaType);
    assert_refused(typed("application/gzip", "0"), ProblemType::WitnessEmpty);
    assert_refused(typed("application/gzip", "-1"), ProblemType::InvalidRequest);
    assert_refused(typed("application/json", "8388609"), ProblemType::InputsTooLarge);
    assert_refused(read("/v1/proofs", "", &[GZIP]), ProblemType::LengthRequired);
    assert_refused(read("/v1/proofs", "", &[GZIP, GZIP, LENGTH]), ProblemType::InvalidRequest);
    for (encoding, media, is_ok) in [
        ("gzip", "application/gzip", true),
        ("br", "application/gzip", false),
        ("gzip", "application/json", false),
    ] {
        let headers = [("content-encoding", encoding), ("content-type", media), LENGTH];
        assert_eq!(read("/v1/proofs", "", &headers).is_ok(), is_ok, "{encoding} {media}");
    }
}

#[test]
fn what_a_server_refuses_is_refused() {
    for query in ["circuit=a&circuit=b", "verifier=evm", "circuit", "target=evm&target=evm", "target=solana"]
    {
        assert_refused(read("/v1/proofs", query, &[GZIP, LENGTH]), ProblemType::InvalidRequest);
    }
    assert_refused(read("/v1/proofs", "circuit=..%2F", &[GZIP, LENGTH]), ProblemType::CircuitNotFound);
    for header in [
        ("x-priority", "urgent"),
        ("x-timeout", "0"),
        ("x-timeout", "soon"),
        ("x-deadline", "-1"),
        ("x-max-attempts", "0"),
        ("x-max-attempts", "many"),
    ] {
        assert_refused(read("/v1/proofs", "", &[GZIP, LENGTH, header]), ProblemType::InvalidRequest);
    }
    let callback = ("x-callback-url", "https://user:secret@hooks.example");
    let refused = read("/v1/proofs", "", &[GZIP, LENGTH, callback]).unwrap_err();
    assert_eq!(refused.problem_type(), ProblemType::CallbackNotAllowed);
    assert!(!refused.detail().contains("secret"));
}

#[test]
fn a_priority_needs_its_role() {
    let keys = format!(
        "[keys.ops]\nsha256 = ['{}']\nrole = 'operator'\n[keys.watch]\nsha256 = ['{}']\nrole = 'observer'",
        "0a".repeat(32),
        "0b".repeat(32)
    );
    let vars = [("EDGE_SECRET", "0123456789abcdef"), ("EDGEPROVE_KEYS", keys.as_str())];
    let by = |name: &str, priority: &str| {
        let caller = Caller::Key(name.to_owned());
        read_as(&caller, "/v1/proofs", "", &[GZIP, LENGTH, ("x-priority", priority)], &vars)
    };
    assert_eq!(by("ops", "CRITICAL").unwrap().priority, Priority::Critical);
    assert_eq!(by("alice", "NORMAL").unwrap().priority, Priority::Normal);
    for (name, priority) in [("alice", "HIGH"), ("watch", "LOW")] {
        assert_refused(by(name, priority), ProblemType::NotAllowed);
    }
}

#[test]
fn a_page_may_do_what_its_voucher_allows() {
    let voucher = Voucher {
        id: "v1".to_owned(),
        holder: "bob".to_owned(),
        key: KeyFingerprint::of(&[1; 32]),
        circuits: vec!["range_check".parse().unwrap()],
        uses: 1,
        expires_s: 1_800_000_000,
        priority: Priority::Low,
        origin: None,
        subject: None,
    };
    let own_key = voucher.own_idempotency_key("order-1");
    let page = Caller::Page(Box::new(Page { voucher, token: String::new() }));
    let by_page = |path: &str, headers: &[(&str, &str)]| read_as(&page, path, "", headers, &[]);
    let job = by_page("/api/prove/range_check", &[GZIP, LENGTH, ("idempotency-key", "order-1")]).unwrap();
    assert_eq!((job.priority, job.idempotency_key), (Priority::Low, Some(own_key)));
    assert_refused(by_page("/api/prove/other", &[GZIP, LENGTH]), ProblemType::VoucherNotAllowed);
    let urgent = [GZIP, LENGTH, ("x-priority", "NORMAL")];
    assert_refused(by_page("/api/prove/range_check", &urgent), ProblemType::VoucherNotAllowed);
}

#[test]
fn the_answer_is_the_one_that_the_caller_prefers() {
    let max = Duration::from_secs(90);
    for (path, prefer, wait, must_prove, unfinished, finished) in [
        ("/v1/proofs", "", None, false, Some("respond-async"), None),
        ("/v1/proofs", "wait=5", Some(5), false, Some("wait=5"), Some("wait=5")),
        (
            "/v1/proofs",
            "respond-async, wait=500",
            Some(90),
            false,
            Some("respond-async, wait=90"),
            Some("wait=90"),
        ),
        ("/api/prove", "respond-async", None, false, Some("respond-async"), None),
        ("/api/prove", "wait=5", Some(5), false, Some("wait=5"), Some("wait=5")),
        ("/api/prove", "", Some(90), true, None, None),
    ] {
        let job = read(path, "", &[GZIP, LENGTH, ("prefer", prefer)]).unwrap();
        assert_eq!(job.wait(max).map(|wait| wait.as_secs()), wait, "{path} {prefer}");
        assert_eq!(job.must_prove(), must_prove, "{path} {prefer}");
        assert_eq!(job.applied(max, false).as_deref(), unfinished, "{path} {prefer}");
        assert_eq!(job.applied(max, true).as_deref(), finished, "{path} {prefer}");
    }
}
