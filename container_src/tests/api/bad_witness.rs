//! Bodies that are no witness, no whole one, or not one of this circuit.

use std::time::{Duration, Instant};

use edgeprove_protocol::{Problem, ProblemType};

use crate::support::{TestServer, processes, samples};

/// Sends something bad; afterwards the server must be as well as before.
#[track_caller]
fn refuses(server: &TestServer, body: &[u8], kind: ProblemType) -> Problem {
    let problem = server.post(body).refused(kind);
    server.assert_well();
    problem
}

/// The same, and the message names what is wrong.
#[track_caller]
fn refuses_saying(server: &TestServer, body: &[u8], kind: ProblemType, words: &str) {
    let problem = refuses(server, body, kind);
    assert!(problem.message.contains(words), "{words:?} is not in {:?}", problem.message);
}

#[test]
fn nothing_at_all() {
    let server = TestServer::plain();
    refuses(&server, b"", ProblemType::WitnessEmpty);
}

#[test]
fn a_stream_cut_short_anywhere() {
    let server = TestServer::plain();
    let good = &samples::range().witness;
    for length in [1, 2, 9, 10, 11, good.len() / 2, good.len() - 8, good.len() - 1] {
        refuses(&server, &good[..length], ProblemType::WitnessTruncated);
    }
}

#[test]
fn what_is_not_gzip_is_told_by_its_looks() {
    use base64::Engine as _;
    let server = TestServer::plain();
    let good = &samples::range().witness;
    let base64 = base64::engine::general_purpose::STANDARD.encode(good);
    let inflated = samples::inflate(good);
    for (body, words) in [
        (&b"hello"[..], "send the gzipped witness"),
        (b"{\"value\": 42}", "JSON"),
        (b"--boundary\r\nContent-Disposition: form-data", "form"),
        (b"PK\x03\x04", "zip"),
        (b"\x1f\x8b\x07", "gzip"),
        (base64.as_bytes(), "base64"),
        (&inflated, "not compressed"),
        (&[0; 4096], "gzip"),
    ] {
        refuses_saying(&server, body, ProblemType::WitnessNotGzip, words);
    }
}

#[test]
fn a_damaged_stream() {
    let server = TestServer::plain();
    let good = &samples::range().witness;
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
    for (body, words) in [
        (with(end - 8, 1), "damaged"),
        (with(end - 4, 1), "damaged"),
        (bad_block, "damaged"),
        (followed, "after the end"),
        (twice, "after the end"),
    ] {
        refuses_saying(&server, &body, ProblemType::WitnessCorrupt, words);
    }
}

#[test]
fn gzip_of_what_is_no_witness() {
    let server = TestServer::plain();
    let good = &samples::range().witness;
    let inflated = samples::inflate(good);
    let with = |at: usize, bytes: &[u8]| {
        let mut bad = inflated.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        samples::gzip(&bad)
    };
    let garbage: Vec<u8> = (0..50_u32).flat_map(|i| i.wrapping_mul(2_654_435_769).to_le_bytes()).collect();
    for (body, words) in [
        (samples::gzip(b""), "ends within the format byte"),
        (samples::gzip(&garbage), "first decompressed byte"),
        (samples::gzip(b"{\"value\": 42}"), "text"),
        (samples::gzip(good), "compressed twice"),
        (with(0, &[2]), "named msgpack"),
        (with(0, &[1]), "older Noir"),
        (with(4, &[1]), "function 1"),
        (samples::gzip(&inflated[..inflated.len() - 1]), "ends within a value"),
        (samples::gzip(&[inflated.as_slice(), b"\0"].concat()), "bytes after its end"),
        // The map's length, the first index, the first value's length, and the value.
        (with(5, &[0x88]), "ends within a witness index"),
        (with(6, &[3]), "follows witness"),
        (with(7, &[0xd9]), "is text"),
        (with(8, &[31]), "31 bytes"),
        (with(9, &[0xff; 32]), "not below the order"),
    ] {
        refuses_saying(&server, &body, ProblemType::WitnessMalformed, words);
    }
}

#[test]
fn the_witness_of_another_circuit() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::plain();
    let range = samples::range();
    let smaller = samples::square(dir.path(), "square", 1);
    refuses_saying(&server, &smaller.witness, ProblemType::WitnessOfAnotherCircuit, "witness 1");
    let larger = samples::altered(&range.witness, 7, 1);
    refuses_saying(&server, &larger, ProblemType::WitnessOfAnotherCircuit, "witness 7");
    let with_a_huge_index = samples::altered(&range.witness, u32::MAX, 1);
    refuses_saying(&server, &with_a_huge_index, ProblemType::WitnessOfAnotherCircuit, "4294967295");
    // Large enough to be refused before it has all come.
    let much_larger = samples::by_setup("merkle_membership").witness;
    refuses_saying(&server, &much_larger, ProblemType::WitnessOfAnotherCircuit, "this circuit");

    let square = TestServer::start(|s| {
        (s.circuit, s.good) = (Some(smaller.circuit.clone()), Some(smaller.clone()));
    });
    refuses(&square, &range.witness, ProblemType::WitnessOfAnotherCircuit);
}

#[test]
fn a_witness_that_does_not_satisfy_the_circuit() {
    let server = TestServer::plain();
    let problem = refuses(&server, &samples::unsatisfied(), ProblemType::WitnessUnsatisfied);
    assert!(problem.message.contains("ACIR opcode"), "{}", problem.message);
    assert!(!problem.retryable);

    // Public bounds and helper values as well.
    let good = &samples::range().witness;
    for index in 1..=6 {
        refuses(&server, &samples::altered(good, index, 0xbad), ProblemType::WitnessUnsatisfied);
    }
    assert!(!server.log().contains("ALARM"));
}

#[test]
fn a_witness_with_a_gap() {
    let server = TestServer::plain();
    let gap = samples::without(&samples::range().witness, 4);
    refuses(&server, &gap, ProblemType::WitnessUnsatisfied);
}

#[test]
fn an_unsatisfied_witness_for_a_solidity_verifier() {
    let server = TestServer::plain();
    let answer = server.posting_to("/api/prove?target=evm", &samples::unsatisfied()).send();
    answer.refused(ProblemType::WitnessUnsatisfied);
    server.assert_well();
}

#[test]
fn one_that_inflates_beyond_the_servers_own_cap() {
    let server = TestServer::start(|s| {
        s.flag("--decompressed-max", "100B");
        s.good = None;
    });
    let problem = server.post(&samples::range().witness).refused(ProblemType::WitnessTooLargeDecompressed);
    assert!(problem.detail.contains("more than 100 bytes"), "{}", problem.detail);
    server.assert_idle();
}

#[test]
fn a_bomb_is_refused_early_and_costs_nothing() {
    let server = TestServer::plain();
    let bomb = samples::gzip_of_zeros(1 << 30);
    assert!(bomb.len() < 10 << 20, "{} bytes", bomb.len());
    let before = processes::peak_memory(server.pid());
    let started = Instant::now();
    refuses(&server, &bomb, ProblemType::WitnessTooLargeDecompressed);
    assert!(started.elapsed() < Duration::from_secs(30), "it took {:?}", started.elapsed());
    let grown = processes::peak_memory(server.pid()) - before;
    assert!(grown < 16 << 20, "the server grew by {grown} bytes");
    assert!(server.spooled().is_empty());
}
