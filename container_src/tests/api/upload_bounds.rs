//! Bounds of uploads that no client passes: compressed bytes, the spool, forms, and headers of gzip.

use std::{
    fs,
    time::{Duration, Instant},
};

use edgeprove_protocol::{ProblemType, Target::NoirRecursive, headers};
use http::Method;
use sha2::{Digest as _, Sha256};

use crate::support::{
    Connection, Response, Sample, TestServer, client::Request, eventually, processes, samples,
    settings::Settings,
};

/// Far more than a witness of `range_check` can need.
const PADDED: usize = 60 << 20;
/// What a gzip stream may have beside its content, and some more.
const OVERHEAD_MAX: u64 = 2 << 20;

pub(super) const ALICE: &str = "alice's key, which is long enough to be one";
const BOB: &str = "bob's key, which is long enough to be one too";

/// Sends a body in chunks until it ends or the server stops reading, and returns the response.
fn send_chunked(
    server: &TestServer,
    path: &str,
    lines: &[&str],
    pieces: impl Iterator<Item = Vec<u8>>,
) -> Response {
    let lines = [lines, &["Transfer-Encoding: chunked"]].concat();
    let mut upload = Connection::post_head(server.address(), path, &lines);
    let sent: std::io::Result<()> = pieces.into_iter().try_for_each(|piece| upload.try_send_chunk(&piece));
    if sent.is_ok() {
        let _ = upload.try_send_chunk(&[]);
    }
    upload.read_response()
}

fn spooled_bytes(server: &TestServer) -> u64 {
    server.spool_files().iter().filter_map(|file| Some(fs::metadata(file).ok()?.len())).sum()
}

#[test]
fn a_padded_witness_is_refused_by_its_length() {
    let server = TestServer::start_default();
    let length = format!("Content-Length: {PADDED}");
    let mut upload = Connection::post_head(server.address(), "/api/prove", &[&length]);
    let problem = upload.read_response().assert_refused(ProblemType::WitnessTooLarge);
    assert!(problem.detail.contains("this circuit"), "{}", problem.detail);
    server.assert_healthy();
}

#[test]
fn a_padded_witness_is_refused_while_it_arrives() {
    let large = tempfile::tempdir().unwrap();
    // For this circuit, the length alone is allowed.
    let wide = samples::wide(large.path(), "wide", 60_000);
    let server = TestServer::start(|s| s.circuits = Some(large.path().to_owned()));
    for sample in [samples::range_check(), &wide] {
        let padded = samples::padded(&samples::range_check().witness, 3 << 20);
        let path = format!("/api/prove/{}", sample.name);
        let response = send_chunked(&server, &path, &[], padded.chunks(10_000).map(<[u8]>::to_vec));
        response.assert_refused(ProblemType::WitnessTooLarge);
        server.assert_idle();
    }
    let mut upload =
        Connection::post_head(server.address(), "/api/prove/wide", &["Transfer-Encoding: chunked"]);
    let padded = samples::padded(&samples::range_check().witness, PADDED);
    for piece in padded.chunks(100_000) {
        if upload.try_send_chunk(piece).is_err() {
            break;
        }
        assert!(spooled_bytes(&server) < OVERHEAD_MAX);
    }
    upload.read_response().assert_refused(ProblemType::WitnessTooLarge);
    // A witness that does not compress at all is within the bound.
    server.prove_request_at(&path_of(&wide), &wide.witness).send().assert_proves(&wide, NoirRecursive);
    server.assert_healthy();
}

fn path_of(sample: &Sample) -> String {
    format!("/api/prove/{}", sample.name)
}

/// Names alice and bob, whose keys they present, and bounds the spool to this.
pub(super) fn two_callers(settings: &mut Settings) {
    let entry = |(name, key): (&str, &str)| format!("{name}:{}", hex::encode(Sha256::digest(key)));
    let keys = [("alice", ALICE), ("bob", BOB)].map(entry).join(",");
    settings.environment.push(("EDGEPROVE_API_KEYS".to_owned(), keys));
    settings.flag("--upload-max", "2MiB");
    settings.flag("--spool-max", "4MiB");
    settings.sample = None;
}

pub(super) fn begin_upload(server: &TestServer, key: &str, witness: &[u8]) -> Connection {
    let lines = [format!("Content-Length: {}", witness.len()), format!("{}: {key}", headers::API_KEY)];
    let mut upload = Connection::post_head(server.address(), "/api/prove", &[&lines[0], &lines[1]]);
    let before = spooled_bytes(server);
    upload.send(&witness[..witness.len() - 1]);
    eventually("the upload is in the spool, or refused", || {
        let is_stored = spooled_bytes(server) + 20_000 >= before + witness.len() as u64;
        (is_stored || upload.receives_within(Duration::from_millis(1))).then_some(())
    });
    upload
}

#[test]
fn no_caller_takes_the_whole_spool() {
    let server = TestServer::start(two_callers);
    let range = samples::range_check();
    let padded = samples::padded(&range.witness, 1_000_000);
    let prove = |key: &str| server.prove_request(&range.witness).header(headers::API_KEY, key).send();
    let mut unfinished: Vec<Connection> = (0..2).map(|_| begin_upload(&server, ALICE, &padded)).collect();
    assert!(unfinished.iter().all(|upload| !upload.receives_within(Duration::from_millis(1))));
    // Half of the spool is hers, and no more.
    let problem = begin_upload(&server, ALICE, &padded)
        .read_response()
        .assert_refused_for_now(ProblemType::TooManyUploads);
    assert!(problem.retryable && problem.detail.contains("caller"), "{}", problem.detail);
    prove(BOB).assert_proves(range, NoirRecursive);
    // An upload that goes on is not harmed.
    let mut first = unfinished.remove(0);
    first.send(&padded[padded.len() - 1..]);
    first.read_response().assert_proves(range, NoirRecursive);
    // Uploads that break off give their bytes back, however often.
    drop(unfinished);
    for _ in 0..6 {
        server.assert_idle();
        drop(begin_upload(&server, ALICE, &padded));
    }
    server.assert_idle();
    prove(ALICE).assert_proves(range, NoirRecursive);
    server.prove_request(&padded).header(headers::API_KEY, ALICE).send().assert_proves(range, NoirRecursive);
}

#[test]
fn a_spool_smaller_than_two_uploads_is_a_fault() {
    let failed = TestServer::fails_to_start(|s| s.flag("--spool-max", "100MiB"));
    assert_eq!(failed.code, Some(64));
    for part in ["--spool-max", "EDGEPROVE_SPOOL_MAX", "--upload-max"] {
        assert!(failed.stderr.contains(part), "{part} is not in: {}", failed.stderr);
    }
}

/// A server of a family, which accepts forms.
fn start_with_family(
    dir: &tempfile::TempDir,
    change: impl FnOnce(&mut Settings),
) -> (TestServer, Sample, Sample) {
    let (large, small) = (samples::square(dir.path(), "large", 3), samples::square(dir.path(), "small", 5));
    let server = TestServer::start(|s| {
        s.circuit = None;
        s.circuits = Some(dir.path().to_owned());
        s.sample = Some(large.clone());
        s.flag("--circuit-family", "large,small");
        change(s);
    });
    (server, large, small)
}

const FORM: &str = "Content-Type: multipart/form-data; boundary=b";

fn form_head(name: &str) -> Vec<u8> {
    format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n").into_bytes()
}

/// Sends a form, whose type replaces the usual one.
fn send_form(server: &TestServer, pieces: impl Iterator<Item = Vec<u8>>) -> Response {
    let mut upload = Connection::open(server.address());
    let head = format!(
        "POST /api/prove/large HTTP/1.1\r\nHost: localhost\r\n{FORM}\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    upload.send(head.as_bytes());
    let sent: std::io::Result<()> = pieces.into_iter().try_for_each(|piece| upload.try_send_chunk(&piece));
    if sent.is_ok() {
        let _ = upload.try_send_chunk(&[]);
    }
    upload.read_response()
}

#[test]
fn everything_around_the_parts_of_a_form_is_bounded() {
    const PIECE: usize = 1 << 20;
    let dir = tempfile::tempdir().unwrap();
    let (server, large, _) = start_with_family(&dir, |_| {});
    server.assert_healthy();
    let before = processes::peak_memory(server.pid());
    let (started, ticks) = (Instant::now(), processes::Process::find(server.pid()).unwrap().ticks);
    let flood = || (0..150).map(|_| vec![b'\r'; PIECE]);
    let once = |bytes: &[u8]| std::iter::once(bytes.to_vec());
    send_form(&server, flood()).assert_refused(ProblemType::InvalidRequest);
    send_form(&server, once(b"--b\r\nX: ").chain(flood())).assert_refused(ProblemType::InvalidRequest);
    send_form(&server, once(b"--b").chain(flood())).assert_refused(ProblemType::InvalidRequest);
    // More parts than circuits.
    let part = [form_head("large"), large.witness.clone(), b"\r\n".to_vec()].concat();
    let parts = (0..10_000).map(|_| part.clone());
    send_form(&server, parts).assert_refused(ProblemType::InvalidRequest);
    // A part that never ends is an upload, with an upload's bounds.
    let padded = samples::padded(&large.witness, PADDED);
    let part = once(&form_head("large")).chain(padded.chunks(PIECE).map(<[u8]>::to_vec));
    send_form(&server, part).assert_refused(ProblemType::WitnessTooLarge);
    let grown = processes::peak_memory(server.pid()).saturating_sub(before);
    assert!(grown < 16 << 20, "{} KiB", grown >> 10);
    // Clock ticks are hundredths of a second.
    let used = processes::Process::find(server.pid()).unwrap().ticks - ticks;
    assert!(used < 300, "{used} ticks in {:?}", started.elapsed());
    server.assert_healthy();
}

#[test]
fn a_form_has_the_bounds_of_one_upload() {
    let dir = tempfile::tempdir().unwrap();
    let (server, large, small) = start_with_family(&dir, |s| {
        s.flag("--upload-max", "1MiB");
        s.flag("--upload-idle", "2s");
    });
    let padded = |sample: &Sample| samples::padded(&sample.witness, 700_000);
    let form = |second: Vec<u8>| {
        let mut request = Request::new(server.address(), Method::POST, "/api/prove/large");
        request = request.header("content-type", "multipart/form-data; boundary=b");
        let line = b"\r\n".to_vec();
        request.body = [
            form_head("large"),
            padded(&large),
            line.clone(),
            form_head("small"),
            second,
            line,
            b"--b--\r\n".to_vec(),
        ]
        .concat();
        request
    };
    form(small.witness.clone()).send().assert_proves(&large, NoirRecursive);
    // By its length, and while it arrives.
    let too_large = form(padded(&small));
    send_form(&server, too_large.body.chunks(50_000).map(<[u8]>::to_vec))
        .assert_refused(ProblemType::WitnessTooLarge);
    too_large.send().assert_refused(ProblemType::WitnessTooLarge);
    // Silence within a head.
    let mut upload = Connection::open(server.address());
    let head = format!(
        "POST /api/prove/large HTTP/1.1\r\nHost: localhost\r\n{FORM}\r\nContent-Length: 1000\r\n\r\n--b\r\nX"
    );
    upload.send(head.as_bytes());
    upload.read_response().assert_refused(ProblemType::UploadStalled);
    server.assert_healthy();
}

#[test]
fn an_upload_that_trickles_times_out() {
    let dir = tempfile::tempdir().unwrap();
    let (server, large, _) = start_with_family(&dir, |s| s.flag("--upload-idle", "2s"));
    let witness = samples::padded(&large.witness, 3_000);
    for (content_type, body) in [
        ("Content-Type: application/gzip", witness.clone()),
        (FORM, [form_head("large"), witness].concat()),
        // A head of a part that never ends.
        (FORM, [&b"--b\r\nX: "[..], &[b'x'; 3_000]].concat()),
    ] {
        let mut upload = Connection::open(server.address());
        let head = format!(
            "POST /api/prove/large HTTP/1.1\r\nHost: localhost\r\n{content_type}\r\nContent-Length: 3000\r\n\r\n"
        );
        upload.send(head.as_bytes());
        upload.send(&body[..100]);
        let mut sent = 100;
        // It is never idle.
        while !upload.receives_within(Duration::from_millis(200)) {
            upload.send(&body[sent..=sent]);
            sent += 1;
        }
        let problem = upload.read_response().assert_refused(ProblemType::UploadStalled);
        assert!(problem.detail.contains("per second"), "{}", problem.detail);
        assert!(sent < 500, "{sent} bytes were sent");
        server.assert_healthy();
    }
}

/// A witness whose gzip header has these flags and optional fields.
fn with_header(flags: u8, fields: &[u8]) -> Vec<u8> {
    let witness = &samples::range_check().witness;
    [&witness[..3], &[flags], &witness[4..10], fields, &witness[10..]].concat()
}

#[test]
fn every_gzip_header_is_taken_or_refused() {
    const CHECKSUM: u8 = 2;
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    let range = samples::range_check();
    let text = |length: usize| [vec![b'n'; length], vec![0]].concat();
    let checksum = |flags: u8, fields: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(&with_header(flags, fields)[..10 + fields.len()]);
        let [low, high, ..] = crc.sum().to_le_bytes();
        [fields, &[low, high]].concat()
    };
    let wrong = |mut fields: Vec<u8>| {
        *fields.last_mut().unwrap() ^= 1;
        fields
    };
    let taken = [
        with_header(0, &[]),
        with_header(EXTRA, &[[3, 0].as_slice(), b"abc"].concat()),
        with_header(NAME, &text(100)),
        with_header(NAME | COMMENT, &[text(30_000), text(30_000)].concat()),
        with_header(CHECKSUM, &checksum(CHECKSUM, &[])),
        with_header(CHECKSUM | NAME, &checksum(CHECKSUM | NAME, &text(20))),
        with_header(EXTRA | NAME, &[vec![0xe8, 0xfd], vec![0; 65_000], text(5)].concat()),
    ];
    let too_long = [
        with_header(NAME, &text(66_000)),
        with_header(COMMENT, &text(66_000)),
        with_header(NAME | COMMENT, &[text(40_000), text(40_000)].concat()),
        with_header(NAME, &text(1_000_000)),
        with_header(EXTRA | NAME, &[vec![0xff, 0xff], vec![0; 65_535], text(5)].concat()),
    ];
    let refused = [
        with_header(CHECKSUM, &wrong(checksum(CHECKSUM, &[]))),
        with_header(CHECKSUM | NAME, &wrong(checksum(CHECKSUM | NAME, &text(20)))),
        with_header(0x20, &[]),
        with_header(0x80, &[]),
        [range.witness.clone(), range.witness.clone()].concat(),
        [range.witness.clone(), vec![0]].concat(),
    ];
    for change in [|_: &mut Settings| {}, Settings::process_mode] {
        let server = TestServer::start(change);
        for (number, witness) in taken.iter().enumerate() {
            let response = server.prove(witness);
            assert_eq!(response.status, 200, "header {number}: {}", String::from_utf8_lossy(&response.body));
        }
        for (refused, problem) in
            [(&refused[..], ProblemType::WitnessCorrupt), (&too_long, ProblemType::WitnessTooLarge)]
        {
            for (number, witness) in refused.iter().enumerate() {
                eprintln!("header {number} of {problem:?}");
                server.prove(witness).assert_refused(problem);
            }
        }
        server.assert_healthy();
    }
}
