//! `GET /.well-known/edgeprove`, and witnesses and inputs that are sealed for the server.

use std::{fs, thread, time::Duration};

use edgeprove_protocol::{
    JobDocument, ProblemType, Target,
    headers::IDEMPOTENCY_KEY,
    limits,
    service::{Attestation, SEALED_MEDIA_TYPE, SealingKeyDocument},
};
use edgeprove_sealing::{
    format::{CHUNK_BYTES, HEAD_BYTES, LENGTH_BYTES, TAG_BYTES},
    sealing::seal,
};
use edgeprove_testkit::{
    Connection, Response, TestServer,
    client::Request,
    inputs,
    paths::PinnedVersions,
    samples,
    sealed::{Binding, now_ms, of_inputs, of_witness, sealed_body, sealed_request, sealing_key, service},
    settings::Settings,
    wait::LONG_LIMIT,
};
use sha2::{Digest as _, Sha256};

const SECRET: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddee01";
const OTHER_SECRET: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddee02";

/// Seals for a server what is bound in this way, and sends it.
fn send(server: &TestServer, path: &str, binding: &Binding, plaintext: &[u8]) -> Response {
    let body = sealed_body(&sealing_key(server.address(), None), binding, plaintext);
    sealed_request(server.address(), path, &binding.content, body).send()
}

/// Sends a sealed witness of `range_check`.
fn send_body(server: &TestServer, body: &[u8]) -> Response {
    sealed_request(server.address(), "/api/prove", "application/gzip", body.to_vec()).send()
}

fn with_secret(settings: &mut Settings, secret: &str) {
    settings.environment.push(("EDGEPROVE_SEALING_SECRET".to_owned(), secret.to_owned()));
}

#[test]
fn a_client_finds_versions_limits_and_a_key() {
    let server = TestServer::start(|s| {
        s.flag("--upload-max", "1MiB");
        s.flag("--job-attempts", "2");
    });
    let service = service(server.address(), None);
    assert_eq!(service.versions.bb, server.health().bb_version);
    assert_eq!(service.versions.noir, PinnedVersions::noir());
    assert_eq!(service.versions.edgeprove, env!("CARGO_PKG_VERSION"));
    let of_server = service.limits;
    assert_eq!((of_server.upload_max_bytes, of_server.inputs_max_bytes), (1 << 20, 1 << 20));
    assert_eq!(of_server.decompressed_max_bytes, limits::DECOMPRESSED_MAX_BYTES);
    assert_eq!(of_server.request_timeout_ms, limits::REQUEST_TIMEOUT_MS);
    assert_eq!(of_server.job_attempts_max, 2);
    assert!(of_server.prove_timeout_ms <= of_server.request_timeout_ms);
    let [key] = &service.sealing.keys[..] else { panic!("{service:?}") };
    assert_eq!(key.attestation, Attestation::None);
    assert!(key.not_before <= service.timestamp && service.timestamp < key.expires_at, "{service:?}");
}

#[test]
fn a_sealed_witness_is_proved_like_one_in_the_clear() {
    let server = TestServer::start(|s| s.flags.push("--ephemeral-jobs".to_owned()));
    let range = samples::range_check();
    send(&server, "/api/prove", &of_witness(""), &range.witness).assert_proof_of(range);
    let evm = Binding { target: "evm".to_owned(), ..of_witness("range_check") };
    send(&server, "/api/prove/range_check?target=evm", &evm, &range.witness)
        .assert_proves(range, Target::Evm);
    let document = inputs::range_check().to_string();
    send(&server, "/api/prove", &of_inputs(""), document.as_bytes()).assert_proof_of(range);

    let path = "/v1/proofs?circuit=range_check";
    for (binding, plaintext) in
        [(of_witness("range_check"), &range.witness[..]), (of_inputs("range_check"), document.as_bytes())]
    {
        let job = send(&server, path, &binding, plaintext).assert_accepted();
        server.wait_until_finished(job.id, LONG_LIMIT);
        server.get(&job.links.proof).assert_proof_of(range);
    }
    // What is inside is checked as ever.
    let refused = |binding: Binding, plaintext: &[u8], kind| {
        drop(send(&server, "/api/prove", &binding, plaintext).assert_refused(kind));
    };
    refused(of_witness(""), &samples::unsatisfied(), ProblemType::WitnessUnsatisfied);
    refused(of_witness(""), b"", ProblemType::WitnessEmpty);
    refused(of_witness(""), b"no gzip", ProblemType::WitnessNotGzip);
    refused(of_witness(""), &range.witness[..range.witness.len() - 9], ProblemType::WitnessTruncated);
    refused(of_inputs(""), b"{", ProblemType::InvalidRequest);
    refused(
        Binding { content: "text/html".to_owned(), ..of_witness("") },
        b"x",
        ProblemType::UnsupportedMediaType,
    );
    let without_content = Request::new(server.address(), http::Method::POST, "/api/prove");
    without_content
        .header("content-type", SEALED_MEDIA_TYPE)
        .send()
        .assert_refused(ProblemType::UnsupportedMediaType);
    server.assert_idle();
    server.assert_healthy();
}

#[test]
fn a_long_sealed_witness_is_opened_chunk_by_chunk() {
    const FULL: usize = CHUNK_BYTES + LENGTH_BYTES + TAG_BYTES;
    let dir = tempfile::tempdir().unwrap();
    let wide = samples::wide(dir.path(), "wide", 10_000);
    assert!(wide.witness.len() > 4 * CHUNK_BYTES);
    let server = TestServer::start(|s| {
        s.circuit = Some(wide.circuit.clone());
        s.sample = Some(wide.clone());
    });
    let key = sealing_key(server.address(), None);
    let seal = || sealed_body(&key, &of_witness(""), &wide.witness);
    send_body(&server, &seal()).assert_proof_of(&wide);
    let cut = seal()[..HEAD_BYTES + 2 * FULL].to_vec();
    let problem = send_body(&server, &cut).assert_refused(ProblemType::SealedBodyInvalid);
    assert!(problem.detail.contains("ends before its last chunk"), "{problem:?}");
    let mut swapped = seal();
    let chunks = &mut swapped[HEAD_BYTES..];
    let (first, second) = chunks.split_at_mut(FULL);
    first.swap_with_slice(&mut second[..FULL]);
    send_body(&server, &swapped).assert_refused(ProblemType::SealedBodyInvalid);
    // A part of it was opened before the end was missing, so nobody may send it again.
    send_body(&server, &cut).assert_refused(ProblemType::SealedBodyReplayed);
    server.assert_idle();
    server.assert_healthy();
}

#[test]
fn a_body_that_was_changed_or_moved_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let square = samples::square(dir.path(), "square", 7);
    fs::copy(&samples::range_check().circuit, dir.path().join("range_check.json")).unwrap();
    drop(square);
    let server = TestServer::start(|s| {
        s.circuit = None;
        s.circuits = Some(dir.path().to_owned());
        s.sample = None;
        s.flags.push("--ephemeral-jobs".to_owned());
    });
    let key = sealing_key(server.address(), None);
    let range = samples::range_check();
    let seal = |binding: &Binding| sealed_body(&key, binding, &range.witness);
    let at = |path: &str, body: Vec<u8>| sealed_request(server.address(), path, "application/gzip", body);
    let is_invalid = |request: Request| {
        drop(request.send().assert_refused(ProblemType::SealedBodyInvalid));
    };
    let (path, binding) = ("/api/prove/range_check", of_witness("range_check"));

    let body = seal(&binding);
    let mut changed = body.clone();
    *changed.last_mut().unwrap() ^= 1;
    is_invalid(at(path, changed));
    is_invalid(at(path, body[..body.len() - 1].to_vec()));
    is_invalid(at(path, [seal(&binding).as_slice(), b"x"].concat()));
    is_invalid(at(path, range.witness.clone()));
    is_invalid(at(path, b"EPSB".to_vec()));
    // To another circuit, target, type and caller. No part of the body was opened, so the right request still succeeds.
    is_invalid(at("/api/prove/square", body.clone()));
    is_invalid(at("/api/prove/range_check?target=evm", body.clone()));
    is_invalid(at("/v1/proofs?circuit=square", body.clone()).header("idempotency-key", "7"));
    is_invalid(sealed_request(server.address(), path, "application/octet-stream", body.clone()));
    is_invalid(at(path, body.clone()).header("authorization", "Bearer of-somebody"));
    at(path, body.clone()).send().assert_proof_of(range);

    let problem = at(path, body).send().assert_refused(ProblemType::SealedBodyReplayed);
    assert!(problem.detail.contains("seal what you send again"), "{problem:?}");
    at(path, seal(&binding)).send().assert_proof_of(range);
    server.assert_idle();
}

#[test]
fn a_body_is_bound_to_the_key_of_its_caller() {
    let [alice, bob] = ["alice's key", "bob's key"];
    let digest = |key: &str| hex::encode(Sha256::digest(key));
    let list = format!("alice:{},bob:{}", digest(alice), digest(bob));
    let server = TestServer::start(|s| s.environment.push(("EDGEPROVE_API_KEYS".to_owned(), list)));
    let key = sealing_key(server.address(), None);
    let of_alice = Binding { credential: Some(Sha256::digest(alice).into()), ..of_witness("") };
    let range = samples::range_check();
    let body = sealed_body(&key, &of_alice, &range.witness);
    let as_caller = |key: &str| {
        sealed_request(server.address(), "/api/prove", "application/gzip", body.clone())
            .header("x-api-key", key)
    };
    as_caller(bob).send().assert_refused(ProblemType::SealedBodyInvalid);
    // A caller cannot borrow the digest that an edge would report.
    as_caller(bob)
        .header("x-credential-digest", &digest(alice))
        .send()
        .assert_refused(ProblemType::SealedBodyInvalid);
    as_caller("nobody's key").send().assert_refused(ProblemType::ApiKeyRequired);
    as_caller(alice).send().assert_proof_of(range);
    as_caller(bob).send().assert_refused(ProblemType::SealedBodyInvalid);
    as_caller(alice).send().assert_refused(ProblemType::SealedBodyReplayed);
}

#[test]
fn another_key_and_another_time_have_problems_of_their_own() {
    let (server, other) = (TestServer::start_default(), TestServer::start_default());
    let (ours, theirs) = (sealing_key(server.address(), None), sealing_key(other.address(), None));
    assert_ne!(ours.id, theirs.id);
    let range = samples::range_check();
    let sealed = |key: &SealingKeyDocument, at_ms| seal(key, &of_witness(""), at_ms, &range.witness).unwrap();
    let problem =
        send_body(&server, &sealed(&theirs, now_ms())).assert_refused(ProblemType::SealingKeyUnknown);
    assert!(!problem.retryable, "the same bytes never succeed: {problem:?}");
    for at_ms in [now_ms() - 200_000, now_ms() + 200_000, 0] {
        send_body(&server, &sealed(&ours, at_ms)).assert_refused(ProblemType::SealedAtWrongTime);
    }
    let mut of_version_2 = sealed(&ours, now_ms());
    of_version_2[4] = 2;
    send_body(&server, &of_version_2).assert_refused(ProblemType::SealingKeyUnknown);
    server.assert_idle();
}

#[test]
fn servers_with_one_secret_open_the_same_bodies() {
    let one = TestServer::start(|s| with_secret(s, SECRET));
    let range = samples::range_check();
    let key = sealing_key(one.address(), None);
    // Sealed after the other server started.
    let two = TestServer::start(|s| with_secret(s, &format!("{OTHER_SECRET},{SECRET}")));
    send_body(&two, &sealed_body(&key, &of_witness(""), &range.witness)).assert_proof_of(range);
    assert_ne!(sealing_key(two.address(), None).id, key.id, "clients get a key of the first secret");

    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), format!("\n{SECRET}\n")).unwrap();
    let three = TestServer::start(|s| s.flag("--sealing-secret-file", &file.path().display()));
    assert_eq!(sealing_key(three.address(), None).id, key.id);
    // What was sealed before a server started may have arrived at its predecessor.
    let earlier = seal(&key, &of_witness(""), now_ms() - 100_000, &range.witness).unwrap();
    send_body(&three, &earlier).assert_refused(ProblemType::SealedAtWrongTime);
    for server in [one, two, three] {
        assert!(!server.log().contains(&SECRET[..32]));
    }
}

#[test]
fn a_server_without_sealing_has_no_key() {
    let server = TestServer::start(|s| s.flag("--sealing", "off"));
    assert_eq!(service(server.address(), None).sealing.keys, []);
    let other = TestServer::start_default();
    let key = sealing_key(other.address(), None);
    let range = samples::range_check();
    let body = sealed_body(&key, &of_witness(""), &range.witness);
    send_body(&server, &body).assert_refused(ProblemType::SealingKeyUnknown);
    server.prove(&range.witness).assert_proof_of(range);
}

#[test]
fn a_wrong_sealing_secret_is_an_error_that_hides_it() {
    let (empty, wrong) = (tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap());
    fs::write(wrong.path(), "hunter2-hunter2-hunter2\n").unwrap();
    let fails = |change: &dyn Fn(&mut Settings)| {
        let failed = TestServer::fails_to_start(change);
        assert_eq!(failed.code, Some(64), "{failed:?}");
        assert!(failed.stderr.contains("sealing-secret") && !failed.stderr.contains("hunter2"), "{failed:?}");
        assert!(!failed.stderr.contains(&SECRET[..32]), "{failed:?}");
    };
    fails(&|s| with_secret(s, "hunter2-hunter2-hunter2"));
    fails(&|s| with_secret(s, &format!("{SECRET},{}", &SECRET[2..])));
    fails(&|s| with_secret(s, &[SECRET; 5].join(",")));
    fails(&|s| s.flag("--sealing-secret-file", &wrong.path().display()));
    fails(&|s| s.flag("--sealing-secret-file", &empty.path().display()));
    fails(&|s| {
        with_secret(s, SECRET);
        s.flag("--sealing-secret-file", &wrong.path().display());
    });
}

#[test]
fn a_witness_that_is_sealed_again_is_the_same_request() {
    let server = TestServer::start(|s| s.flags.push("--ephemeral-jobs".to_owned()));
    let range = samples::range_check();
    let key = sealing_key(server.address(), None);
    let path = "/v1/proofs?circuit=range_check";
    let submit = |witness: &[u8], is_sealed: bool| {
        let request = if is_sealed {
            let body = sealed_body(&key, &of_witness("range_check"), witness);
            sealed_request(server.address(), path, "application/gzip", body)
        } else {
            server.prove_request_at(path, witness)
        };
        request.header(IDEMPOTENCY_KEY, "order-7").send()
    };
    let job: JobDocument = submit(&range.witness, true).assert_accepted();
    assert_eq!(submit(&range.witness, true).assert_accepted().id, job.id);
    assert_eq!(submit(&range.witness, false).assert_accepted().id, job.id);
    submit(&samples::unsatisfied(), true).assert_refused(ProblemType::IdempotencyKeyReused);
}

/// The pace is that of the bytes that arrive, although a chunk is opened only when it is complete.
#[test]
fn a_sealed_body_may_be_slow_but_not_silent() {
    let server = TestServer::start(|s| s.flag("--upload-idle", "5s"));
    let range = samples::range_check();
    let witness = samples::padded(&range.witness, 60_000);
    let key = sealing_key(server.address(), None);
    let begin = |body: &[u8]| {
        let media = format!("{SEALED_MEDIA_TYPE}; content=\"application/gzip\"");
        let length = format!("Content-Length: {}", body.len());
        Connection::post_head_of(server.address(), "/api/prove", &media, &[&length])
    };
    let body = sealed_body(&key, &of_witness(""), &witness);
    let mut silent = begin(&body);
    silent.send(&body[..body.len() - 1]);
    silent.read_response_within(LONG_LIMIT).assert_refused(ProblemType::UploadStalled);
    server.assert_idle();

    let body = sealed_body(&key, &of_witness(""), &witness);
    let mut slow = begin(&body);
    // The only chunk takes longer than the longest pause.
    for piece in body.chunks(body.len().div_ceil(5)) {
        thread::sleep(Duration::from_millis(1500));
        slow.send(piece);
    }
    slow.read_response_within(LONG_LIMIT).assert_proof_of(range);
}
