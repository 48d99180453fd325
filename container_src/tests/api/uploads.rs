//! Uploads that are too large, too slow, or given up.

use std::time::{Duration, Instant};

use edgeprove_protocol::ProblemType;
use http::Method;

use crate::support::{Connection, TestServer, eventually, samples};

const LIMIT: usize = 1 << 20;

fn small() -> TestServer {
    TestServer::start(|s| s.flag("--upload-max", "1MiB"))
}

#[test]
fn one_announced_as_too_large_is_refused_before_it_is_sent() {
    let server = small();
    let length = format!("Content-Length: {}", LIMIT + 1);
    let mut upload = Connection::post_head(server.address(), "/api/prove", &[&length]);
    let problem = upload.answer().refused(ProblemType::WitnessTooLarge);
    assert!(problem.detail.contains("1048577") && problem.detail.contains("1048576"), "{}", problem.detail);
    server.assert_well();

    let most = format!("Content-Length: {}", u64::MAX / 2);
    let mut upload = Connection::post_head(server.address(), "/api/prove", &[&most]);
    upload.answer().refused(ProblemType::WitnessTooLarge);
    server.assert_well();
}

#[test]
fn one_announced_as_too_large_is_not_asked_for() {
    let server = small();
    let lines = [&format!("Content-Length: {}", LIMIT + 1), "Expect: 100-continue"];
    for _ in 0..20 {
        let mut upload = Connection::post_head(server.address(), "/api/prove", &lines);
        // The first answer there is: no 100 comes before it.
        upload.answer().refused(ProblemType::WitnessTooLarge);
    }
    server.assert_well();
}

#[test]
fn one_of_an_expected_size_is_asked_for() {
    let server = small();
    let range = samples::range();
    let length = format!("Content-Length: {}", range.witness.len());
    let lines = [length.as_str(), "Expect: 100-continue"];
    let mut upload = Connection::post_head(server.address(), "/api/prove", &lines);
    assert_eq!(upload.answer().status, 100);
    upload.send(&range.witness);
    upload.answer().proof_of(range);
    server.assert_well();
}

#[test]
fn one_that_turns_out_too_large_is_refused_on_the_way() {
    let server = small();
    let large = samples::padded(&samples::range().witness, LIMIT + 100_000);
    let mut upload = Connection::post_head(server.address(), "/api/prove", &["Transfer-Encoding: chunked"]);
    for piece in large.chunks(10_000) {
        // The server stops listening some time after its refusal.
        if upload.try_send_chunk(piece).is_err() {
            break;
        }
    }
    upload.answer().refused(ProblemType::WitnessTooLarge);
    server.assert_well();

    let just_small_enough = samples::padded(&samples::range().witness, LIMIT);
    assert!(just_small_enough.len() <= LIMIT);
    server.post(&just_small_enough).proof_of(samples::range());
}

#[test]
fn one_that_is_refused_by_its_head_or_its_first_bytes_hears_why_although_it_is_large() {
    let server = small();
    // Such a client sends all of it before it listens.
    let large = vec![b'x'; 16 * LIMIT];
    for _ in 0..3 {
        let mut ask = server.ask(Method::POST, "/api/prove").header("content-type", "text/plain");
        ask.body.clone_from(&large);
        ask.send().refused(ProblemType::UnsupportedMediaType);
        server.posting(&large).send().refused(ProblemType::WitnessTooLarge);
        let not_gzip = Connection::post_chunked(server.address(), "/api/prove", &large);
        not_gzip.unwrap().answer().refused(ProblemType::WitnessNotGzip);
        server.posting_to("/api/prove/unknown", &large).send().refused(ProblemType::CircuitNotFound);
    }
    server.assert_well();
}

#[test]
fn one_that_stalls_is_given_up() {
    let server = TestServer::start(|s| s.flag("--upload-idle", "1s"));
    let good = &samples::range().witness;
    let length = format!("Content-Length: {}", good.len());
    for sent in [0, 1, good.len() - 1] {
        let started = Instant::now();
        let mut upload = Connection::post_head(server.address(), "/api/prove", &[&length]);
        upload.send(&good[..sent]);
        let problem = upload.answer().refused(ProblemType::UploadStalled);
        assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
        assert!(problem.detail.contains(&format!("after {sent} bytes")), "{}", problem.detail);
        assert!(problem.retryable);
        server.assert_well();
    }
}

#[test]
fn one_that_drips_for_ever_ends_with_the_request() {
    let server = TestServer::start(|s| s.flag("--request-timeout", "3s"));
    let good = &samples::range().witness;
    let length = format!("Content-Length: {}", good.len());
    let mut upload = Connection::post_head(server.address(), "/api/prove", &[&length]);
    let mut drops = good.iter();
    // A byte at least every 300 ms, which is never idle, and too slow to come to an end.
    while !upload.hears_within(Duration::from_millis(300)) {
        let Some(drop) = drops.next() else { panic!("all was sent and nothing came back") };
        upload.send(&[*drop]);
    }
    upload.answer().refused(ProblemType::RequestTimeout);
    server.assert_well();
}

#[test]
fn a_head_that_drips_for_ever_is_cut_off() {
    let server = TestServer::plain();
    let started = Instant::now();
    let mut slow = Connection::open(server.address());
    slow.send(b"POST /api/prove HTTP/1.1\r\nHost:");
    server.assert_well();
    slow.rest();
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    server.assert_well();
}

#[test]
fn a_client_that_leaves_midway_leaves_nothing_behind() {
    let server = TestServer::plain();
    let large = samples::padded(&samples::range().witness, 300_000);
    let heads = [format!("Content-Length: {}", large.len()), "Transfer-Encoding: chunked".to_owned()];
    for (head, rude) in heads.iter().flat_map(|head| [(head, true), (head, false)]) {
        let mut upload = Connection::post_head(server.address(), "/api/prove", &[head]);
        if head.starts_with("Transfer") {
            upload.try_send_chunk(&large[..150_000]).unwrap();
        } else {
            upload.send(&large[..150_000]);
        }
        eventually("half an upload is in the spool", || {
            let size = std::fs::metadata(server.spooled().first()?).ok()?.len();
            (size > 0).then_some(())
        });
        if !rude {
            // Says that nothing more will come, and would still listen.
            upload.end_sending();
            upload.rest();
        }
        drop(upload);
        server.assert_well();
    }
}

#[test]
fn a_client_that_leaves_before_anything_was_sent_leaves_nothing_behind() {
    let server = TestServer::plain();
    for _ in 0..20 {
        drop(Connection::open(server.address()));
        drop(Connection::post_head(server.address(), "/api/prove", &["Content-Length: 100"]));
    }
    server.assert_well();
}
