use std::{fs, io, io::Write as _};

use flate2::{Compression, write::GzEncoder};
use futures_util::stream;

use super::*;

/// Bytes as compressible as those of a witness: mostly zeros, with a counter.
fn witness_like(bytes: u32) -> Vec<u8> {
    (0..bytes / 32)
        .flat_map(|n| [[0; 28].as_slice(), &n.wrapping_mul(2_654_435_761).to_be_bytes()].concat())
        .collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn in_pieces(bytes: &[u8], size: usize) -> impl Stream<Item = Result<Bytes, io::Error>> + use<> {
    let pieces: Vec<_> = bytes.chunks(size).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    stream::iter(pieces)
}

struct Door {
    _home: tempfile::TempDir,
    spool: Spool,
    limits: IntakeLimits,
}

impl Door {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::open(home.path()).unwrap();
        Self { _home: home, spool, limits: IntakeLimits::default() }
    }

    async fn send(&self, bytes: &[u8], piece: usize) -> Result<SpooledWitness, IntakeError> {
        receive(&self.spool, &self.limits, None, None, in_pieces(bytes, piece)).await
    }

    async fn is_left_clean(&self) {
        tokio::time::timeout(Duration::from_secs(10), self.spool.drained()).await.unwrap();
        assert_eq!(fs::read_dir(self.spool.path()).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn a_sound_upload_is_stored_as_it_came_however_it_is_cut() {
    let door = Door::new();
    for size in [0, 32, 3_200, 320_000] {
        let plain = witness_like(size);
        let sent = gzip(&plain);
        for piece in [1, 7, 1_000, GATHERED_BYTES - 1, GATHERED_BYTES, GATHERED_BYTES + 1, usize::MAX] {
            if sent.len() / piece > 100_000 {
                continue;
            }
            let upload = door.send(&sent, piece).await.unwrap();
            assert_eq!(
                (upload.compressed_bytes, upload.inflated_bytes),
                (sent.len() as u64, plain.len() as u64)
            );
            assert_eq!(fs::read(upload.file.path()).unwrap(), sent, "{size} bytes in pieces of {piece}");
        }
    }
    door.is_left_clean().await;
}

#[tokio::test]
async fn sizes_are_held_before_and_while_reading() {
    let mut door = Door::new();
    let sent = gzip(&witness_like(64_000));
    let never = || stream::pending::<Result<Bytes, io::Error>>();
    let limit = sent.len() as u64;
    door.limits.upload_max_bytes = limit;
    let announced = receive(&door.spool, &door.limits, Some(limit + 1), None, never()).await.unwrap_err();
    assert!(matches!(announced, IntakeError::TooLarge { announced: Some(_), .. }), "{announced}");
    let nothing = receive(&door.spool, &door.limits, Some(0), None, never()).await.unwrap_err();
    assert!(matches!(nothing, IntakeError::Empty), "{nothing}");
    assert_eq!(door.spool.len(), 0, "refused before a file was made");

    assert!(receive(&door.spool, &door.limits, Some(limit), None, in_pieces(&sent, 500)).await.is_ok());
    door.limits.upload_max_bytes = limit - 1;
    let error = door.send(&sent, 500).await.unwrap_err();
    assert!(
        matches!(error, IntakeError::TooLarge { announced: None, max_bytes } if max_bytes == limit - 1),
        "{error}"
    );
    door.is_left_clean().await;
}

#[tokio::test]
async fn what_is_not_gzip_is_refused_at_its_first_bytes_and_named() {
    let door = Door::new();
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
        // The rest never comes, and nobody waits for it.
        let body = in_pieces(sent, usize::MAX).chain(stream::pending());
        match receive(&door.spool, &door.limits, None, None, body).await.unwrap_err() {
            IntakeError::NotGzip { looks_like } => assert_eq!(looks_like, expected),
            other => panic!("{other:?}"),
        }
        assert!(matches!(door.send(sent, 1).await.unwrap_err(), IntakeError::NotGzip { .. }));
    }
    assert!(matches!(door.send(&[], 1).await.unwrap_err(), IntakeError::Empty));
    let hollow = stream::iter([Ok::<_, io::Error>(Bytes::new()), Ok(Bytes::new())]);
    let error = receive(&door.spool, &door.limits, None, None, hollow).await.unwrap_err();
    assert!(matches!(error, IntakeError::Empty), "{error}");
    door.is_left_clean().await;
}

#[tokio::test]
async fn cut_short_and_damaged_are_told_apart() {
    let door = Door::new();
    let sent = gzip(&witness_like(1_600));
    for length in 1..sent.len() {
        match door.send(&sent[..length], 100).await.unwrap_err() {
            IntakeError::Truncated { compressed, .. } => assert_eq!(compressed, length as u64),
            other => panic!("{length} of {} bytes: {other:?}", sent.len()),
        }
    }
    // Behind the header, which holds a time and a system that nothing checks, every bit counts.
    for at in 10..sent.len() {
        for bit in 0..8 {
            let mut damaged = sent.clone();
            damaged[at] ^= 1 << bit;
            match door.send(&damaged, 100).await.unwrap_err() {
                IntakeError::Corrupt { at: told, .. } => assert!(told <= sent.len() as u64),
                IntakeError::Truncated { .. } | IntakeError::BytesAfterEnd { .. } => {
                    assert!(at < sent.len() - 8, "checksum and length are complete");
                }
                other => panic!("byte {at}, bit {bit}: {other:?}"),
            }
        }
    }
    door.is_left_clean().await;
}

#[tokio::test]
async fn nothing_may_follow_the_stream() {
    let door = Door::new();
    let sent = gzip(&witness_like(1_600));
    for after in [&[0][..], &sent] {
        let both = [&sent[..], after].concat();
        for piece in [1, sent.len(), usize::MAX] {
            match door.send(&both, piece).await.unwrap_err() {
                IntakeError::BytesAfterEnd { at } => assert_eq!(at, sent.len() as u64),
                other => panic!("{other:?}"),
            }
        }
    }
    door.is_left_clean().await;
}

#[tokio::test]
async fn bombs_are_stopped_where_they_pass_a_bound() {
    let mut door = Door::new();
    let bomb = gzip(&vec![0; 64 << 20]);
    let step = 16 * 1024;
    match door.send(&bomb, usize::MAX).await.unwrap_err() {
        IntakeError::BeyondRatio { inflated, compressed, ratio_max } => {
            assert_eq!(ratio_max, limits::COMPRESSION_RATIO_MAX);
            assert!(inflated <= limits::COMPRESSION_RATIO_FLOOR_BYTES + step, "{inflated}");
            assert!(compressed < 2_000, "{compressed}");
        }
        other => panic!("{other:?}"),
    }
    door.limits.ratio_max = 2_000;
    door.limits.inflated_max_bytes = 8 << 20;
    let error = door.send(&bomb, 1_000).await.unwrap_err();
    assert!(matches!(error, IntakeError::BeyondCap { max_bytes } if max_bytes == 8 << 20), "{error}");

    let body = in_pieces(&bomb, 1_000).chain(stream::pending());
    let error = receive(&door.spool, &door.limits, None, Some(300_000), body).await.unwrap_err();
    assert!(matches!(error, IntakeError::BeyondCircuit { max_bytes: 300_000, witness: false }), "{error}");

    // Each bound itself may be reached.
    let plain = witness_like(320_000);
    door.limits.inflated_max_bytes = 320_000;
    let body = in_pieces(&gzip(&plain), 1_000);
    assert!(receive(&door.spool, &door.limits, None, Some(320_000), body).await.is_ok());
    let body = in_pieces(&gzip(&plain), 1_000);
    let error = receive(&door.spool, &door.limits, None, Some(319_999), body).await.unwrap_err();
    assert!(matches!(error, IntakeError::BeyondCircuit { .. }), "{error}");

    // What begins as a witness does is told to be a larger circuit's.
    let larger = [&[3, 0x91][..], &plain].concat();
    let body = in_pieces(&gzip(&larger), 1);
    let error = receive(&door.spool, &door.limits, None, Some(1_000), body).await.unwrap_err();
    assert!(matches!(error, IntakeError::BeyondCircuit { witness: true, .. }), "{error}");
    door.is_left_clean().await;
}

#[tokio::test]
async fn small_witnesses_of_zeros_are_no_bombs() {
    let door = Door::new();
    let upload = door.send(&gzip(&vec![0; 1 << 20]), usize::MAX).await.unwrap();
    assert!(upload.inflated_bytes / upload.compressed_bytes > limits::COMPRESSION_RATIO_MAX);
}

#[tokio::test]
async fn silence_and_a_broken_body_leave_nothing_behind() {
    let mut door = Door::new();
    door.limits.idle = Duration::from_millis(30);
    let sent = gzip(&witness_like(64_000));
    let body = in_pieces(&sent[..400], 200).chain(stream::pending());
    match receive(&door.spool, &door.limits, None, None, body).await.unwrap_err() {
        IntakeError::Stalled { received, idle } => assert_eq!((received, idle.as_millis()), (400, 30)),
        other => panic!("{other:?}"),
    }
    let gone = stream::iter([Err(io::Error::from(io::ErrorKind::ConnectionReset))]);
    let body = in_pieces(&sent[..400], 200).chain(gone);
    let error = receive(&door.spool, &door.limits, None, None, body).await.unwrap_err();
    assert!(matches!(&error, IntakeError::BodyFailed { received: 400, .. }), "{error}");
    assert!(std::error::Error::source(&error).is_some());
    door.is_left_clean().await;
}

#[tokio::test]
async fn an_upload_that_nobody_waits_for_any_more_is_wiped() {
    let door = Door::new();
    let sent = gzip(&witness_like(640_000));
    for patience_us in [0, 100, 300, 1_000, 3_000, 10_000] {
        let body = in_pieces(&sent[..sent.len() - 1], 20_000).chain(stream::pending());
        let upload = receive(&door.spool, &door.limits, None, None, body);
        let left = tokio::time::timeout(Duration::from_micros(patience_us), upload).await;
        assert!(left.is_err(), "the body does not end");
        door.is_left_clean().await;
    }
}
