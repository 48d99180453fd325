use std::{
    fs,
    io::{self, Read as _, Write as _},
};

use edgeprove_protocol::{HasProblemType as _, ProblemType};
use flate2::{Compression, GzBuilder};
use futures_util::stream;

use super::*;

/// Bytes that compress like a witness: mostly zeros, with a counter.
fn witness_like(bytes: u32) -> Vec<u8> {
    (0..bytes / 32)
        .flat_map(|n| [[0; 28].as_slice(), &n.wrapping_mul(2_654_435_761).to_be_bytes()].concat())
        .collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    gzip_with(GzBuilder::new(), bytes)
}

/// Bytes as one gzip stream with this header.
fn gzip_with(header: GzBuilder, bytes: &[u8]) -> Vec<u8> {
    let mut encoder = header.write(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn in_chunks(bytes: &[u8], size: usize) -> impl Stream<Item = Result<Bytes, io::Error>> + use<> {
    let chunks: Vec<_> = bytes.chunks(size).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    stream::iter(chunks)
}

struct Intake {
    _home: tempfile::TempDir,
    spool: Spool,
    limits: IntakeLimits,
}

impl Intake {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::open(home.path()).unwrap();
        Self { _home: home, spool, limits: IntakeLimits::default() }
    }

    async fn send(&self, bytes: &[u8], chunk: usize) -> Result<SpooledWitness, IntakeError> {
        receive(&self.spool, &self.limits, None, None, in_chunks(bytes, chunk)).await
    }

    async fn assert_spool_is_empty(&self) {
        tokio::time::timeout(Duration::from_mins(2), self.spool.drained()).await.unwrap();
        assert_eq!(fs::read_dir(self.spool.path()).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn an_upload_is_stored_unchanged_in_chunks_of_any_size() {
    let intake = Intake::new();
    for size in [0, 32, 3_200, 320_000] {
        let plain = witness_like(size);
        let sent = gzip(&plain);
        for chunk in [1, 7, 1_000, GATHERED_BYTES - 1, GATHERED_BYTES, GATHERED_BYTES + 1, usize::MAX] {
            if sent.len() / chunk > 100_000 {
                continue;
            }
            let upload = intake.send(&sent, chunk).await.unwrap();
            assert_eq!(
                (upload.compressed_bytes, upload.decompressed_bytes),
                (sent.len() as u64, plain.len() as u64)
            );
            assert_eq!(fs::read(upload.file.path()).unwrap(), sent, "{size} bytes in chunks of {chunk}");
        }
    }
    intake.assert_spool_is_empty().await;
}

#[tokio::test]
async fn sizes_are_checked_before_and_while_reading() {
    let mut intake = Intake::new();
    let sent = gzip(&witness_like(64_000));
    let never = || stream::pending::<Result<Bytes, io::Error>>();
    let limit = sent.len() as u64;
    intake.limits.upload_max_bytes = limit;
    let announced = receive(&intake.spool, &intake.limits, Some(limit + 1), None, never()).await.unwrap_err();
    assert!(matches!(announced, IntakeError::TooLarge { announced: Some(_), .. }), "{announced}");
    let nothing = receive(&intake.spool, &intake.limits, Some(0), None, never()).await.unwrap_err();
    assert!(matches!(nothing, IntakeError::Empty), "{nothing}");
    assert_eq!(intake.spool.len(), 0, "refused before a file was made");

    assert!(receive(&intake.spool, &intake.limits, Some(limit), None, in_chunks(&sent, 500)).await.is_ok());
    intake.limits.upload_max_bytes = limit - 1;
    let error = intake.send(&sent, 500).await.unwrap_err();
    assert!(
        matches!(error, IntakeError::TooLarge { announced: None, max_bytes, .. } if max_bytes == limit - 1),
        "{error}"
    );
    intake.assert_spool_is_empty().await;
}

#[tokio::test]
async fn an_upload_that_is_not_gzip_is_named_at_once() {
    let intake = Intake::new();
    for (sent, expected) in [
        (&[3, 0x91, 0x91, 0x92, 0][..], LooksLike::Witness),
        (b"H4sIAAAA", LooksLike::Base64),
        (b"{\"value\":1}", LooksLike::Json),
        (b"--boundary\r\n", LooksLike::Multipart),
        (b"PK\x03\x04", LooksLike::Zip),
        (&[0x28, 0xb5, 0x2f, 0xfd], LooksLike::Zstd),
        (&[0x1f, 0x8b, 9, 0], LooksLike::Unknown),
        (&[0x1f, 0x8c], LooksLike::Unknown),
    ] {
        // The rest never arrives, and the refusal does not wait for it.
        let body = in_chunks(sent, usize::MAX).chain(stream::pending());
        match receive(&intake.spool, &intake.limits, None, None, body).await.unwrap_err() {
            IntakeError::NotGzip { looks_like } => assert_eq!(looks_like, expected),
            other => panic!("{other:?}"),
        }
        assert!(matches!(intake.send(sent, 1).await.unwrap_err(), IntakeError::NotGzip { .. }));
    }
    assert!(matches!(intake.send(&[], 1).await.unwrap_err(), IntakeError::Empty));
    let empty_chunks = stream::iter([Ok::<_, io::Error>(Bytes::new()), Ok(Bytes::new())]);
    let error = receive(&intake.spool, &intake.limits, None, None, empty_chunks).await.unwrap_err();
    assert!(matches!(error, IntakeError::Empty), "{error}");
    intake.assert_spool_is_empty().await;
}

#[tokio::test]
async fn a_truncated_stream_differs_from_a_damaged_one() {
    let intake = Intake::new();
    let sent = gzip(&witness_like(1_600));
    for length in 1..sent.len() {
        match intake.send(&sent[..length], 100).await.unwrap_err() {
            IntakeError::Truncated { compressed, .. } => assert_eq!(compressed, length as u64),
            other => panic!("{length} of {} bytes: {other:?}", sent.len()),
        }
    }
    // The header has a time and a system, which no decoder checks. After it, every bit counts.
    for at in 10..sent.len() {
        for bit in 0..8 {
            let mut damaged = sent.clone();
            damaged[at] ^= 1 << bit;
            match intake.send(&damaged, 100).await.unwrap_err() {
                IntakeError::Corrupt { at: reported, .. } => assert!(reported <= sent.len() as u64),
                IntakeError::Truncated { .. } | IntakeError::BytesAfterEnd { .. } => {
                    assert!(at < sent.len() - 8, "checksum and length are complete");
                }
                other => panic!("byte {at}, bit {bit}: {other:?}"),
            }
        }
    }
    intake.assert_spool_is_empty().await;
}

#[tokio::test]
async fn bytes_after_the_stream_are_refused() {
    let intake = Intake::new();
    let sent = gzip(&witness_like(1_600));
    for after in [&[0][..], &sent] {
        let both = [&sent[..], after].concat();
        for chunk in [1, sent.len(), usize::MAX] {
            match intake.send(&both, chunk).await.unwrap_err() {
                IntakeError::BytesAfterEnd { at } => assert_eq!(at, sent.len() as u64),
                other => panic!("{other:?}"),
            }
        }
    }
    intake.assert_spool_is_empty().await;
}

#[tokio::test]
async fn a_bomb_is_refused_where_it_passes_a_limit() {
    let mut intake = Intake::new();
    let bomb = gzip(&vec![0; 64 << 20]);
    let step = 16 * 1024;
    match intake.send(&bomb, usize::MAX).await.unwrap_err() {
        IntakeError::BeyondRatio { decompressed, compressed, ratio_max } => {
            assert_eq!(ratio_max, limits::COMPRESSION_RATIO_MAX);
            assert!(decompressed <= limits::COMPRESSION_RATIO_FLOOR_BYTES + step, "{decompressed}");
            assert!(compressed < 2_000, "{compressed}");
        }
        other => panic!("{other:?}"),
    }
    intake.limits.ratio_max = 2_000;
    intake.limits.decompressed_max_bytes = 8 << 20;
    let error = intake.send(&bomb, 1_000).await.unwrap_err();
    assert!(matches!(error, IntakeError::BeyondCap { max_bytes } if max_bytes == 8 << 20), "{error}");

    let body = in_chunks(&bomb, 1_000).chain(stream::pending());
    let error = receive(&intake.spool, &intake.limits, None, Some(300_000), body).await.unwrap_err();
    assert!(
        matches!(error, IntakeError::BeyondCircuit { max_bytes: 300_000, begins_as: BeginsAs::Unknown }),
        "{error}"
    );

    // A size equal to a limit is allowed.
    let plain = witness_like(320_000);
    intake.limits.decompressed_max_bytes = 320_000;
    let body = in_chunks(&gzip(&plain), 1_000);
    assert!(receive(&intake.spool, &intake.limits, None, Some(320_000), body).await.is_ok());
    let body = in_chunks(&gzip(&plain), 1_000);
    let error = receive(&intake.spool, &intake.limits, None, Some(319_999), body).await.unwrap_err();
    assert!(matches!(error, IntakeError::BeyondCircuit { .. }), "{error}");

    // An upload that begins as a witness belongs to a larger circuit.
    let larger = [&[3, 0x91][..], &plain].concat();
    let body = in_chunks(&gzip(&larger), 1);
    let error = receive(&intake.spool, &intake.limits, None, Some(1_000), body).await.unwrap_err();
    assert!(matches!(error, IntakeError::BeyondCircuit { begins_as: BeginsAs::Witness, .. }), "{error}");
    intake.assert_spool_is_empty().await;
}

/// A gzip stream of this content and this many DEFLATE blocks without data.
fn padded(content: &[u8], blocks: usize) -> Vec<u8> {
    let mut sent = gzip(content);
    let block = [0, 0, 0, 0xff, 0xff];
    sent.splice(10..10, block.repeat(blocks));
    sent
}

#[tokio::test]
async fn compressed_bytes_are_bounded_by_the_circuit() {
    let intake = Intake::new();
    let content = witness_like(3_200);
    let receive = |sent: Vec<u8>, circuit_max_bytes| {
        let body = in_chunks(&sent, 10_000);
        let (spool, limits) = (&intake.spool, &intake.limits);
        async move { receive(spool, limits, None, Some(circuit_max_bytes), body).await }
    };
    assert!(receive(padded(&content, 1_000), 3_200).await.is_ok());
    let max = limits::compressed_max_bytes(3_200);
    let error = receive(padded(&content, 1_000_000), 3_200).await.unwrap_err();
    // The stream is refused by its content before its length is beyond the circuit's limit.
    assert!(matches!(error, IntakeError::Padded { max_bytes, .. } if max_bytes < max), "{error}");
    assert_eq!(error.kind(), ProblemType::WitnessTooLarge);
    let error = receive(padded(&content, 1_000_000), 1 << 30).await.unwrap_err();
    assert!(matches!(error, IntakeError::Padded { compressed, .. } if compressed < 2 << 20), "{error}");

    let never = || stream::pending::<Result<Bytes, io::Error>>();
    let announced = super::receive(&intake.spool, &intake.limits, Some(max + 1), Some(3_200), never()).await;
    let error = announced.unwrap_err();
    assert!(matches!(error, IntakeError::TooLarge { limit: SizeLimit::Circuit, .. }), "{error}");
    assert!(error.to_string().contains(&max.to_string()), "{error}");

    // A stream without compression, in blocks as small as any compressor makes them.
    let noise: Vec<u8> = (0..1_u32 << 20).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let mut stored = GzBuilder::new().write(Vec::new(), Compression::none());
    for piece in noise.chunks(64) {
        stored.write_all(piece).unwrap();
        stored.flush().unwrap();
    }
    let (stored, bytes) = (stored.finish().unwrap(), noise.len() as u64);
    assert!(stored.len() > noise.len());
    assert!(receive(stored, bytes).await.is_ok());
    intake.assert_spool_is_empty().await;
}

#[tokio::test]
async fn small_witnesses_of_zeros_are_accepted() {
    let intake = Intake::new();
    let upload = intake.send(&gzip(&vec![0; 1 << 20]), usize::MAX).await.unwrap();
    assert!(upload.decompressed_bytes / upload.compressed_bytes > limits::COMPRESSION_RATIO_MAX);
}

#[tokio::test]
async fn a_stalled_or_broken_body_leaves_no_file() {
    let mut intake = Intake::new();
    intake.limits.idle = Duration::from_millis(30);
    let sent = gzip(&witness_like(64_000));
    let body = in_chunks(&sent[..400], 200).chain(stream::pending());
    match receive(&intake.spool, &intake.limits, None, None, body).await.unwrap_err() {
        IntakeError::Stalled { received, idle } => assert_eq!((received, idle.as_millis()), (400, 30)),
        other => panic!("{other:?}"),
    }
    let gone = stream::iter([Err(io::Error::from(io::ErrorKind::ConnectionReset))]);
    let body = in_chunks(&sent[..400], 200).chain(gone);
    let error = receive(&intake.spool, &intake.limits, None, None, body).await.unwrap_err();
    assert!(matches!(&error, IntakeError::BodyFailed { received: 400, .. }), "{error}");
    assert!(std::error::Error::source(&error).is_some());
    intake.assert_spool_is_empty().await;
}

#[tokio::test]
async fn an_abandoned_upload_is_wiped() {
    let intake = Intake::new();
    let sent = gzip(&witness_like(640_000));
    for timeout_us in [0, 100, 300, 1_000, 3_000, 10_000] {
        let body = in_chunks(&sent[..sent.len() - 1], 20_000).chain(stream::pending());
        let upload = receive(&intake.spool, &intake.limits, None, None, body);
        // The timeout may end the upload anywhere, and a very slow machine may reach the limit for silence first.
        if let Ok(received) = tokio::time::timeout(Duration::from_micros(timeout_us), upload).await {
            let error = received.unwrap_err();
            assert!(matches!(error, IntakeError::Stalled { .. }), "the body has no end: {error}");
        }
        intake.assert_spool_is_empty().await;
    }
}

/// Name and comment of these lengths.
fn header(name: usize, comment: usize) -> GzBuilder {
    GzBuilder::new().filename(vec![b'n'; name]).comment(vec![b'c'; comment])
}

#[tokio::test]
async fn every_accepted_gzip_header_can_be_read_again() {
    let intake = Intake::new();
    let plain = witness_like(1_600);
    // A header has 10 bytes, and a NUL after name and comment.
    let fits = gzip_header::HEADER_MAX_BYTES - 12;
    for (name, comment) in [(0, 0), (fits, 0), (0, fits), (fits / 2, fits / 2)] {
        let upload = intake.send(&gzip_with(header(name, comment), &plain), 1_000).await.unwrap();
        let mut decompressed = Vec::new();
        upload.file.decompressed().unwrap().read_to_end(&mut decompressed).unwrap();
        assert!(decompressed == plain, "{name} {comment}");
    }
    for (name, comment) in [(fits + 1, 0), (0, fits + 1), (fits / 2 + 2, fits / 2), (200_000, 0)] {
        for chunk in [1, 1_000, usize::MAX] {
            let error = intake.send(&gzip_with(header(name, comment), &plain), chunk).await.unwrap_err();
            assert!(matches!(error, IntakeError::HeaderTooLong { .. }), "{name} {comment}: {error}");
            assert_eq!(error.kind(), ProblemType::WitnessTooLarge);
            assert!(error.to_string().contains("limit") && !error.to_string().contains("damaged"), "{error}");
        }
    }
    intake.assert_spool_is_empty().await;
}
