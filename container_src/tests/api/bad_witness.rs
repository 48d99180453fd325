//! Bodies that are not a witness, not a complete one, or not one of this circuit.

use edgeprove_protocol::{Problem, ProblemType};

use crate::support::{TestServer, processes, samples};

/// Sends an invalid body, and checks that the server proves as before.
#[track_caller]
fn assert_refuses(server: &TestServer, body: &[u8], kind: ProblemType) -> Problem {
    let problem = server.prove(body).assert_refused(kind);
    server.assert_healthy();
    problem
}

/// As [`assert_refuses`], and the message contains this part, which identifies the fault.
#[track_caller]
fn assert_refuses_with(server: &TestServer, body: &[u8], kind: ProblemType, part: &str) {
    let problem = assert_refuses(server, body, kind);
    assert!(problem.message.contains(part), "{part:?} is not in {:?}", problem.message);
}

#[test]
fn an_empty_body_is_refused() {
    let server = TestServer::start_default();
    assert_refuses(&server, b"", ProblemType::WitnessEmpty);
}

#[test]
fn a_truncated_stream_is_refused() {
    let server = TestServer::start_default();
    let good = &samples::range_check().witness;
    for length in [1, 2, 9, 10, 11, good.len() / 2, good.len() - 8, good.len() - 1] {
        assert_refuses(&server, &good[..length], ProblemType::WitnessTruncated);
    }
}

#[test]
fn a_body_that_is_not_gzip_is_recognised() {
    use base64::Engine as _;
    let server = TestServer::start_default();
    let good = &samples::range_check().witness;
    let base64 = base64::engine::general_purpose::STANDARD.encode(good);
    let decompressed = samples::decompress(good);
    for (body, part) in [
        (&b"hello"[..], "gzip"),
        (b"{\"value\": 42}", "JSON"),
        (b"--boundary\r\nContent-Disposition: form-data", "form"),
        (b"PK\x03\x04", "zip"),
        (b"\x1f\x8b\x07", "gzip"),
        (base64.as_bytes(), "base64"),
        (&decompressed, "compressed"),
        (&[0; 4096], "gzip"),
    ] {
        assert_refuses_with(&server, body, ProblemType::WitnessNotGzip, part);
    }
}

#[test]
fn a_damaged_stream_is_refused() {
    let server = TestServer::start_default();
    let good = &samples::range_check().witness;
    let end = good.len();
    let with = |at: usize, change: u8| {
        let mut bad = good.clone();
        bad[at] ^= change;
        bad
    };
    let twice = [good.as_slice(), good].concat();
    let followed = [good.as_slice(), b"\0"].concat();
    // A block of the reserved kind 3.
    let bad_block = [&good[..10], &[0b111], &good[11..]].concat();
    for (body, part) in [
        (with(end - 8, 1), "damaged"),
        (with(end - 4, 1), "damaged"),
        (bad_block, "damaged"),
        (followed, "after the end"),
        (twice, "after the end"),
    ] {
        assert_refuses_with(&server, &body, ProblemType::WitnessCorrupt, part);
    }
}

#[test]
fn gzipped_data_that_is_not_a_witness_is_refused() {
    let server = TestServer::start_default();
    let good = &samples::range_check().witness;
    let decompressed = samples::decompress(good);
    let with = |at: usize, bytes: &[u8]| {
        let mut bad = decompressed.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        samples::gzip(&bad)
    };
    let garbage: Vec<u8> = (0..50_u32).flat_map(|i| i.wrapping_mul(2_654_435_769).to_le_bytes()).collect();
    for (body, part) in [
        (samples::gzip(b""), "format byte"),
        (samples::gzip(&garbage), "first"),
        (samples::gzip(b"{\"value\": 42}"), "text"),
        (samples::gzip(good), "twice"),
        (with(0, &[2]), "msgpack"),
        (with(0, &[1]), "Noir"),
        (with(4, &[1]), "function 1"),
        (samples::gzip(&decompressed[..decompressed.len() - 1]), "value"),
        (samples::gzip(&[decompressed.as_slice(), b"\0"].concat()), "after"),
        // The map's length, the first index, the first value's length, and the value.
        (with(5, &[0x88]), "witness index"),
        (with(6, &[3]), "witness"),
        (with(7, &[0xd9]), "text"),
        (with(8, &[31]), "31 bytes"),
        (with(9, &[0xff; 32]), "order"),
    ] {
        assert_refuses_with(&server, &body, ProblemType::WitnessMalformed, part);
    }
}

#[test]
fn the_witness_of_another_circuit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start_default();
    let range = samples::range_check();
    let smaller = samples::square(dir.path(), "square", 1);
    assert_refuses_with(&server, &smaller.witness, ProblemType::WitnessOfAnotherCircuit, "witness 1");
    let larger = samples::altered(&range.witness, 7, 1);
    assert_refuses_with(&server, &larger, ProblemType::WitnessOfAnotherCircuit, "witness 7");
    let with_a_huge_index = samples::altered(&range.witness, u32::MAX, 1);
    assert_refuses_with(&server, &with_a_huge_index, ProblemType::WitnessOfAnotherCircuit, "4294967295");
    // This witness is so large that it is refused before it has arrived completely.
    let much_larger = samples::from_setup("merkle_membership").witness;
    assert_refuses_with(&server, &much_larger, ProblemType::WitnessOfAnotherCircuit, "this circuit");

    let square = TestServer::start(|s| {
        (s.circuit, s.sample) = (Some(smaller.circuit.clone()), Some(smaller.clone()));
    });
    assert_refuses(&square, &range.witness, ProblemType::WitnessOfAnotherCircuit);
}

#[test]
fn an_unsatisfied_witness_is_refused() {
    let server = TestServer::start_default();
    let problem = assert_refuses(&server, &samples::unsatisfied(), ProblemType::WitnessUnsatisfied);
    assert!(problem.message.contains("ACIR opcode"), "{}", problem.message);
    assert!(!problem.retryable);

    // The public bounds and the other private values are checked too.
    let good = &samples::range_check().witness;
    for index in 1..=6 {
        assert_refuses(&server, &samples::altered(good, index, 0xbad), ProblemType::WitnessUnsatisfied);
    }
    assert!(
        server.log_lines().iter().all(|line| line["level"] != "ERROR"),
        "it is not an error of the server"
    );
}

#[test]
fn a_witness_that_lacks_a_value_is_refused() {
    let server = TestServer::start_default();
    let gap = samples::without(&samples::range_check().witness, 4);
    assert_refuses(&server, &gap, ProblemType::WitnessUnsatisfied);
}

#[test]
fn an_unsatisfied_witness_for_evm_is_refused() {
    let server = TestServer::start_default();
    let response = server.prove_request_at("/api/prove?target=evm", &samples::unsatisfied()).send();
    response.assert_refused(ProblemType::WitnessUnsatisfied);
    server.assert_healthy();
}

#[test]
fn a_witness_above_the_decompressed_limit_is_refused() {
    let server = TestServer::start(|s| {
        s.flag("--decompressed-max", "100B");
        s.sample = None;
    });
    let problem = server
        .prove(&samples::range_check().witness)
        .assert_refused(ProblemType::WitnessTooLargeDecompressed);
    assert!(problem.detail.contains("100 bytes"), "{}", problem.detail);
    server.assert_idle();
}

#[test]
fn a_decompression_bomb_is_refused_in_little_memory() {
    let server = TestServer::start_default();
    // Its compressed bytes are within the bound for a witness of the circuit.
    let bomb = samples::gzip_of_zeros(100 << 20);
    assert!(bomb.len() < 1 << 20, "{} bytes", bomb.len());
    let before = processes::peak_memory(server.pid());
    assert_refuses(&server, &bomb, ProblemType::WitnessTooLargeDecompressed);
    let growth = processes::peak_memory(server.pid()) - before;
    assert!(growth < 16 << 20, "the server grew by {growth} bytes");
    assert!(server.spool_files().is_empty());
}

/// What reaches the server when the file is sent as text.
#[test]
fn a_witness_that_was_sent_as_text_is_recognised() {
    let server = TestServer::start_default();
    let good = &samples::range_check().witness;
    // `curl -d @file` ends at the first zero byte, or removes zero bytes and line ends.
    let cut = &good[..good.iter().position(|byte| *byte == 0).unwrap()];
    let stripped: Vec<u8> = good.iter().copied().filter(|byte| !b"\0\r\n".contains(byte)).collect();
    assert_refuses_with(&server, cut, ProblemType::WitnessTruncated, "--data-binary");
    assert_refuses_with(&server, &stripped, ProblemType::WitnessCorrupt, "--data-binary");
    let as_utf8 = String::from_utf8_lossy(good).into_owned().into_bytes();
    assert_refuses_with(&server, &as_utf8, ProblemType::WitnessNotGzip, "text");
    let as_characters: String = good.iter().map(|byte| char::from(*byte)).collect();
    assert_refuses_with(&server, as_characters.as_bytes(), ProblemType::WitnessNotGzip, "text");
}

/// Older releases wrote field elements as text, so their witnesses are larger than any of the right format.
#[test]
fn a_witness_of_an_older_noir_is_recognised() {
    let server = TestServer::start_default();
    let entry = [&[7, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0][..], &[b'0'; 64]].concat();
    let witness = |head: &[u8], entries: usize| samples::gzip(&[head, &entry.repeat(entries)].concat());
    // One item of the stack, for function 0.
    let bincode = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for entries in [1, 7, 100] {
        assert_refuses_with(
            &server,
            &witness(&bincode, entries),
            ProblemType::WitnessMalformed,
            "Noir 1.0.0",
        );
    }
}
