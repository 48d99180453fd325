//! The answers to requests, which are those of a server.

use edgeprove_edge::{
    edge_response::EdgeResponse,
    jobs_do::{
        api::{ApiRequest, Reply},
        error::JobsError,
        protocol::{ARTIFACT_UNUSED, ENQUEUE_PATH, JobVoucher, StoredProof, Submission, Viewer},
    },
};
use edgeprove_protocol::{JobDocument, JobStage, JobStatus, ProblemType, job::JobPage};
use http::{HeaderMap, HeaderValue, Method, header};

use crate::{Fixture, NOW, at, completed, operator, submission, viewer};

impl Fixture {
    fn try_send(&self, method: &Method, path: &str, viewer: &Viewer, body: &str) -> Result<Reply, JobsError> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let headers = &HeaderMap::new();
        let viewer = viewer.clone();
        self.queue.answer(
            &ApiRequest { method, path, query, headers, viewer, request_id: "r", watched: 2 },
            body,
            at(50),
        )
    }

    #[track_caller]
    fn send(&self, method: &Method, path: &str, viewer: &Viewer) -> EdgeResponse {
        match self.try_send(method, path, viewer, "").unwrap() {
            Reply::Respond(response) | Reply::Changed(_, response) => response,
            Reply::Follow(..) => panic!("it is a stream"),
        }
    }

    fn refused(&self, method: &Method, path: &str, viewer: &Viewer) -> ProblemType {
        self.try_send(method, path, viewer, "").unwrap_err().kind()
    }

    fn submit(&self, submission: &Submission) -> EdgeResponse {
        let body = serde_json::to_string(submission).unwrap();
        match self.try_send(&Method::POST, ENQUEUE_PATH, &viewer("key:alice"), &body).unwrap() {
            Reply::Respond(response) | Reply::Changed(_, response) => response,
            Reply::Follow(..) => panic!("it is a stream"),
        }
    }
}

fn document(response: &EdgeResponse) -> JobDocument {
    serde_json::from_str(&response.body).unwrap()
}

#[test]
fn a_submission_is_answered_with_the_job() {
    let fixture = Fixture::new(|_| {});
    let with_key = |number| Submission {
        idempotency_key: Some("k".to_owned()),
        body_digest: Some("ab".repeat(32)),
        ..submission(number)
    };
    let response = fixture.submit(&with_key(1));
    let job = document(&response);
    assert_eq!((response.status, job.status, job.stage), (202, JobStatus::Queued, JobStage::Queued));
    assert_eq!((job.queue_position, job.owner.as_deref()), (Some(1), None));
    assert_eq!(response.headers[header::LOCATION], format!("/v1/proofs/{}", job.id));
    assert_eq!(response.headers[header::RETRY_AFTER], "1");
    assert!(!response.headers.contains_key(ARTIFACT_UNUSED));
    let again = fixture.submit(&with_key(2));
    assert_eq!((again.status, document(&again).id), (202, job.id));
    assert_eq!(again.headers[ARTIFACT_UNUSED], "1");
    let broken = fixture.try_send(&Method::POST, ENQUEUE_PATH, &viewer("key:alice"), "{}").unwrap_err();
    assert_eq!(broken.kind(), ProblemType::InvalidRequest);
}

#[test]
fn a_caller_sees_its_own_jobs_only() {
    let fixture = Fixture::new(|_| {});
    let page = |scope: &str| Viewer { scope: Some(scope.to_owned()), ..viewer("key:alice") };
    let voucher =
        JobVoucher { id: "v1".to_owned(), scope: "s1".to_owned(), uses: 9, expires_s: 1_900_000_000 };
    let of_alice = fixture.accept(&submission(1));
    let of_page = fixture.accept(&Submission { voucher: Some(voucher), ..submission(2) });
    let (alices, pages) = (format!("/v1/proofs/{}", of_alice.id), format!("/v1/proofs/{}", of_page.id));
    let get = |path: &str, viewer: &Viewer| fixture.try_send(&Method::GET, path, viewer, "").is_ok();
    assert!(get(&alices, &viewer("key:alice")) && get(&alices, &operator()));
    assert!(get(&pages, &page("s1")) && get(&pages, &viewer("key:alice")));
    for (path, viewer) in [
        (&alices, viewer("key:bob")),
        (&alices, viewer("anonymous")),
        (&alices, page("s1")),
        (&pages, page("s2")),
    ] {
        for method in [Method::GET, Method::DELETE] {
            assert_eq!(fixture.refused(&method, path, &viewer), ProblemType::JobNotFound, "{viewer:?}");
        }
        for part in ["proof", "events"] {
            let path = format!("{path}/{part}");
            assert_eq!(fixture.refused(&Method::GET, &path, &viewer), ProblemType::JobNotFound, "{path}");
        }
    }
    for path in ["/v1/proofs/x", "/v1/proofs/c3-7c2d3f7e-0b7a-4c55-9d2f-5c1f3a0e9b11"] {
        assert_eq!(fixture.refused(&Method::GET, path, &operator()), ProblemType::JobNotFound);
    }
    for path in ["/v1/audit", "/metrics"] {
        assert_eq!(fixture.refused(&Method::GET, path, &viewer("key:alice")), ProblemType::NotAllowed);
    }
    assert_eq!(
        document(&fixture.send(&Method::GET, &alices, &operator())).owner.as_deref(),
        Some("key:alice")
    );
}

#[test]
fn lists_have_pages_that_new_jobs_do_not_shift() {
    let fixture = Fixture::new(|_| {});
    (1..=5).for_each(|number| drop(fixture.accept(&submission(number))));
    fixture.accept(&Submission { owner: "key:bob".to_owned(), ..submission(6) });
    let page = |path: &str, viewer: &Viewer| -> JobPage {
        serde_json::from_str(&fixture.send(&Method::GET, path, viewer).body).unwrap()
    };
    let first = page("/v1/proofs?limit=2&total=true", &viewer("key:alice"));
    assert_eq!((first.jobs.len(), first.total), (2, Some(5)));
    assert_eq!(first.jobs[0].id, submission(5).id);
    assert_eq!(first.jobs[0].queue_position, Some(5));
    fixture.accept(&submission(7));
    let second = page(first.next.as_deref().unwrap(), &viewer("key:alice"));
    assert_eq!(second.jobs[0].id, submission(3).id);
    let last = page(second.next.as_deref().unwrap(), &viewer("key:alice"));
    assert_eq!((last.jobs.len(), last.next), (1, None));
    let all = page("/v1/proofs?owner=all&order=oldest&status=queued", &operator());
    assert_eq!((all.jobs.len(), all.jobs[0].id), (7, submission(1).id));
    assert_eq!(all.jobs[0].queue_position, None, "the queue is not read for operators' lists");
}

#[test]
fn a_proof_is_fetched_when_the_job_is_completed() {
    let fixture = Fixture::new(|_| {});
    let (alice, accepted) = (viewer("key:alice"), fixture.accept(&submission(1)));
    let path = format!("/v1/proofs/{}/proof", accepted.id);
    let waiting = fixture.try_send(&Method::GET, &path, &alice, "").unwrap_err().response("r");
    assert_eq!(
        (waiting.status, &waiting.headers[header::RETRY_AFTER]),
        (409, &HeaderValue::from_static("1"))
    );
    let job = fixture.queue.claim(NOW).unwrap().unwrap();
    fixture.queue.finish(&job, &completed(), at(10)).unwrap();
    let stored: StoredProof = serde_json::from_str(&fixture.send(&Method::GET, &path, &alice).body).unwrap();
    assert_eq!(stored, StoredProof { artifact: "jobs/proof/1".to_owned(), bytes: 16_000 });
    fixture.send(&Method::HEAD, &path, &alice);
    assert_eq!(fixture.audited().iter().filter(|action| *action == "job.fetched").count(), 1);
    let shown = document(&fixture.send(&Method::GET, &format!("/v1/proofs/{}", accepted.id), &alice));
    assert_eq!((shown.status, shown.progress, shown.stages.len()), (JobStatus::Completed, 100, 5));
    fixture.queue.expire(at(3_600_010)).unwrap();
    assert_eq!(fixture.refused(&Method::GET, &path, &alice), ProblemType::JobExpired);
}

#[test]
fn a_stream_goes_on_after_the_last_event() {
    let fixture = Fixture::new(|_| {});
    let (alice, accepted) = (viewer("key:alice"), fixture.accept(&submission(1)));
    let path = format!("/v1/proofs/{}/events", accepted.id);
    let follow = |query: &str| fixture.try_send(&Method::GET, &format!("{path}{query}"), &alice, "").unwrap();
    assert!(matches!(follow(""), Reply::Follow(_, None)));
    assert!(matches!(follow("?last_event_id=0.0.0.1"), Reply::Follow(_, Some(_))));
    assert!(matches!(follow("?last_event_id=nonsense"), Reply::Follow(_, None)));
    let job = fixture.queue.claim(NOW).unwrap().unwrap();
    fixture.queue.finish(&job, &completed(), at(10)).unwrap();
    let Reply::Respond(seen) = follow("?last_event_id=1.4.100.0") else { panic!("all was seen") };
    assert_eq!(seen.status, 204);
    assert!(matches!(follow("?last_event_id=1.2.50.0"), Reply::Follow(_, Some(_))));
}

#[test]
fn operators_read_the_audit_log_in_pages() {
    let fixture = Fixture::new(|_| {});
    (1..=3).for_each(|number| drop(fixture.accept(&submission(number))));
    let first = fixture.send(&Method::GET, "/v1/audit?limit=2", &operator());
    assert_eq!(
        (first.body.lines().count(), &first.headers["x-audit-next"]),
        (2, &HeaderValue::from_static("2"))
    );
    let rest = fixture.send(&Method::GET, "/v1/audit?after=2", &operator());
    assert_eq!((rest.body.lines().count(), rest.headers.contains_key("x-audit-next")), (1, false));
    let last = fixture.send(&Method::GET, "/v1/audit?last=1", &operator());
    assert_eq!(last.body, rest.body);
    let counts = fixture.send(&Method::GET, "/v1/queue", &viewer("key:alice"));
    let counts: serde_json::Value = serde_json::from_str(&counts.body).unwrap();
    assert_eq!((&counts["jobs"]["queued"], &counts["queued"]["NORMAL"]), (&3.into(), &3.into()));
    assert_eq!((&counts["jobs"]["failed"], &counts["watched"]), (&0.into(), &2.into()));
}
