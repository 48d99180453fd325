//! Uploads that are too large, too slow, or aborted.

use std::time::{Duration, Instant};

use edgeprove_protocol::ProblemType;
use http::Method;

use crate::support::{Connection, TestServer, eventually, samples};

const UPLOAD_MAX: usize = 1 << 20;

fn start_with_small_limit() -> TestServer {
    TestServer::start(|s| s.flag("--upload-max", "1MiB"))
}

#[test]
fn an_upload_declared_too_large_is_refused_at_once() {
    let server = start_with_small_limit();
    let length = format!("Content-Length: {}", UPLOAD_MAX + 1);
    let mut upload = Connection::post_head(server.address(), "/api/prove", &[&length]);
    let problem = upload.read_response().assert_refused(ProblemType::WitnessTooLarge);
    assert!(problem.detail.contains("1048577") && problem.detail.contains("1048576"), "{}", problem.detail);
    server.assert_healthy();

    let most = format!("Content-Length: {}", u64::MAX / 2);
    let mut upload = Connection::post_head(server.address(), "/api/prove", &[&most]);
    upload.read_response().assert_refused(ProblemType::WitnessTooLarge);
    server.assert_healthy();
}

#[test]
fn an_upload_declared_too_large_gets_no_100_continue() {
    let server = start_with_small_limit();
    let lines = [&format!("Content-Length: {}", UPLOAD_MAX + 1), "Expect: 100-continue"];
    for _ in 0..20 {
        let mut upload = Connection::post_head(server.address(), "/api/prove", &lines);
        // This is the first response, so no `100 Continue` came before it.
        upload.read_response().assert_refused(ProblemType::WitnessTooLarge);
    }
    server.assert_healthy();
}

#[test]
fn an_acceptable_upload_gets_100_continue() {
    let server = start_with_small_limit();
    let range = samples::range_check();
    let length = format!("Content-Length: {}", range.witness.len());
    let lines = [length.as_str(), "Expect: 100-continue"];
    let mut upload = Connection::post_head(server.address(), "/api/prove", &lines);
    assert_eq!(upload.read_response().status, 100);
    upload.send(&range.witness);
    upload.read_response().assert_proof_of(range);
    server.assert_healthy();
}

#[test]
fn an_upload_that_exceeds_the_limit_is_refused() {
    let server = start_with_small_limit();
    let large = samples::padded(&samples::range_check().witness, UPLOAD_MAX + 100_000);
    let mut upload = Connection::post_head(server.address(), "/api/prove", &["Transfer-Encoding: chunked"]);
    for piece in large.chunks(10_000) {
        // Some time after its refusal, the server stops reading.
        if upload.try_send_chunk(piece).is_err() {
            break;
        }
    }
    upload.read_response().assert_refused(ProblemType::WitnessTooLarge);
    server.assert_healthy();

    let just_small_enough = samples::padded(&samples::range_check().witness, UPLOAD_MAX);
    assert!(just_small_enough.len() <= UPLOAD_MAX);
    server.prove(&just_small_enough).assert_proof_of(samples::range_check());
}

#[test]
fn a_refused_large_upload_still_gets_the_problem() {
    let server = start_with_small_limit();
    // This client sends the whole body before it reads the response.
    let large = vec![b'x'; 16 * UPLOAD_MAX];
    for _ in 0..3 {
        let mut request = server.request(Method::POST, "/api/prove").header("content-type", "text/plain");
        request.body.clone_from(&large);
        request.send().assert_refused(ProblemType::UnsupportedMediaType);
        server.prove_request(&large).send().assert_refused(ProblemType::WitnessTooLarge);
        let not_gzip = Connection::post_chunked(server.address(), "/api/prove", &large);
        not_gzip.unwrap().read_response().assert_refused(ProblemType::WitnessNotGzip);
        server
            .prove_request_at("/api/prove/unknown", &large)
            .send()
            .assert_refused(ProblemType::CircuitNotFound);
    }
    server.assert_healthy();
}

#[test]
fn an_upload_that_stalls_times_out() {
    let server = TestServer::start(|s| s.flag("--upload-idle", "3s"));
    let good = &samples::range_check().witness;
    let length = format!("Content-Length: {}", good.len());
    for sent in [0, 1, good.len() - 1] {
        let started = Instant::now();
        let mut upload = Connection::post_head(server.address(), "/api/prove", &[&length]);
        upload.send(&good[..sent]);
        let problem = upload.read_response().assert_refused(ProblemType::UploadStalled);
        assert!(started.elapsed() >= Duration::from_secs(3), "{:?}", started.elapsed());
        assert!(problem.detail.contains(&format!("{sent} bytes")), "{}", problem.detail);
        assert!(problem.retryable);
        server.assert_healthy();
    }
}

#[test]
fn the_rest_of_a_refused_upload_is_read_up_to_a_bound() {
    const PIECE: usize = 1 << 20;
    let server = TestServer::start_default();
    let lines = ["Transfer-Encoding: chunked"];
    let mut upload = Connection::post_head(server.address(), "/api/prove/unknown", &lines);
    let piece = vec![0; PIECE];
    let sent = (0..2_000).take_while(|_| upload.try_send_chunk(&piece).is_ok()).count();
    // The system's buffers of the connection take some as well.
    assert!(sent < 200, "{sent} MiB were taken");
    server.assert_healthy();
}

#[test]
fn a_slow_upload_ends_at_the_request_timeout() {
    let server = TestServer::start(|s| s.flag("--request-timeout", "10s"));
    let good = &samples::range_check().witness;
    let length = format!("Content-Length: {}", good.len());
    let mut upload = Connection::post_head(server.address(), "/api/prove", &[&length]);
    let mut drops = good.iter();
    // A byte every 300 ms is never idle, but too slow to ever finish.
    while !upload.receives_within(Duration::from_millis(300)) {
        let Some(drop) = drops.next() else { panic!("everything was sent, and no response came") };
        upload.send(&[*drop]);
    }
    upload.read_response().assert_refused(ProblemType::RequestTimeout);
    server.assert_healthy();
}

#[test]
fn a_request_head_that_never_ends_is_cut_off() {
    let server = TestServer::start_default();
    let mut slow = Connection::open(server.address());
    slow.send(b"POST /api/prove HTTP/1.1\r\nHost:");
    server.assert_healthy();
    slow.read_to_end();
    server.assert_healthy();
}

#[test]
fn an_aborted_upload_leaves_nothing_behind() {
    let server = TestServer::start_default();
    let large = samples::padded(&samples::range_check().witness, 300_000);
    let heads = [format!("Content-Length: {}", large.len()), "Transfer-Encoding: chunked".to_owned()];
    for (head, rude) in heads.iter().flat_map(|head| [(head, true), (head, false)]) {
        let mut upload = Connection::post_head(server.address(), "/api/prove", &[head]);
        if head.starts_with("Transfer") {
            upload.try_send_chunk(&large[..150_000]).unwrap();
        } else {
            upload.send(&large[..150_000]);
        }
        eventually("half an upload is in the spool", || {
            let size = std::fs::metadata(server.spool_files().first()?).ok()?.len();
            (size > 0).then_some(())
        });
        if !rude {
            // This client ends its half of the connection, and could still read a response.
            upload.end_sending();
            upload.read_to_end();
        }
        drop(upload);
        server.assert_healthy();
    }
}

#[test]
fn a_client_that_leaves_before_sending_is_harmless() {
    let server = TestServer::start_default();
    for _ in 0..20 {
        drop(Connection::open(server.address()));
        drop(Connection::post_head(server.address(), "/api/prove", &["Content-Length: 100"]));
    }
    server.assert_healthy();
}
