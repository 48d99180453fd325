use std::io;

use super::*;

mod version_2;

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const NAME: &str = "0d9f3c1e-7b64-4f0a-9a53-2f1d6c8e5b70";

fn ring() -> KeyRing {
    KeyRing::read(KEY).unwrap()
}

fn name() -> ArtifactName {
    NAME.parse().unwrap()
}

/// Content in which every chunk differs from every other.
fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from((at ^ (at >> 8) ^ (at >> 16)) & 0xff).unwrap()).collect()
}

async fn seal(kind: ArtifactKind, name: ArtifactName, content: &[u8]) -> Vec<u8> {
    let mut sealing = Sealing::new(ring().current(), kind, name, content).unwrap();
    let mut sealed = Vec::new();
    while let Some(bytes) = sealing.next().await.unwrap() {
        assert!(bytes.len() <= SEALED_CHUNK_BYTES);
        sealed.extend_from_slice(&bytes);
    }
    assert!(sealing.next().await.unwrap().is_none(), "nothing follows the end");
    sealed
}

async fn witness(content: &[u8]) -> Vec<u8> {
    seal(ArtifactKind::Witness, name(), content).await
}

/// Opens bytes that come in pieces of a size.
fn open_in(
    pieces_of: usize,
    kind: ArtifactKind,
    name: ArtifactName,
    sealed: &[u8],
) -> Result<Vec<u8>, ArtifactError> {
    let (head, rest) = sealed.split_at(sealed.len().min(HEAD_BYTES));
    let mut opening = Opening::new(&ring(), kind, name, head)?;
    let mut content = Vec::new();
    for piece in rest.chunks(pieces_of) {
        opening.push(piece);
        while let Some(chunk) = opening.next()? {
            content.extend_from_slice(&chunk);
        }
    }
    let last = opening.last();
    assert_eq!(opening.last().is_ok(), last.is_ok(), "a second call has the same outcome");
    if let Some(chunk) = last? {
        content.extend_from_slice(&chunk);
    }
    Ok(content)
}

fn open(sealed: &[u8]) -> Result<Vec<u8>, ArtifactError> {
    open_in(SEALED_CHUNK_BYTES, ArtifactKind::Witness, name(), sealed)
}

#[track_caller]
fn assert_damaged(sealed: &[u8], at: u64) {
    match open(sealed) {
        Err(ArtifactError::Damaged { chunk, .. }) => assert_eq!(chunk, at),
        other => panic!("{:?} instead of damage at chunk {at}", other.map(|content| content.len())),
    }
}

#[tokio::test]
async fn content_of_every_length_comes_back() {
    for len in [
        0,
        1,
        100,
        CHUNK_BYTES - 1,
        CHUNK_BYTES,
        CHUNK_BYTES + 1,
        3 * CHUNK_BYTES - 1,
        3 * CHUNK_BYTES,
        3 * CHUNK_BYTES + 1,
    ] {
        let content = content(len);
        let sealed = witness(&content).await;
        let chunks = len.div_ceil(CHUNK_BYTES).max(1);
        assert_eq!(sealed.len(), HEAD_BYTES + len + chunks * TAG_BYTES, "{len}");
        for pieces_of in [1000, CHUNK_BYTES, SEALED_CHUNK_BYTES, SEALED_CHUNK_BYTES + 1, 1 << 20] {
            let opened = open_in(pieces_of, ArtifactKind::Witness, name(), &sealed).unwrap();
            assert!(opened == content, "{len} in pieces of {pieces_of}");
        }
    }
}

#[tokio::test]
async fn small_reads_of_the_source_give_the_same_chunks() {
    let content = content(CHUNK_BYTES + 10);
    let pieces = content.chunks(1000).map(|piece| Ok::<_, io::Error>(Bytes::copy_from_slice(piece)));
    let source = tokio_util::io::StreamReader::new(futures_util::stream::iter(pieces));
    let mut sealing = Sealing::new(ring().current(), ArtifactKind::Witness, name(), source).unwrap();
    let mut lengths = Vec::new();
    while let Some(bytes) = sealing.next().await.unwrap() {
        lengths.push(bytes.len());
    }
    assert_eq!(lengths, [HEAD_BYTES, SEALED_CHUNK_BYTES, 10 + TAG_BYTES]);
}

#[tokio::test]
async fn stored_bytes_look_random_and_never_repeat() {
    let canary = b"a value that must not be seen";
    let content = canary.repeat(CHUNK_BYTES / 10);
    let (one, other) = (witness(&content).await, witness(&content).await);
    assert!(!one.windows(8).any(|window| canary.windows(8).any(|part| part == window)));
    assert_eq!(one[..=KEY_ID_BYTES], other[..=KEY_ID_BYTES], "version and key");
    let alike = one.iter().zip(&other).skip(1 + KEY_ID_BYTES).filter(|(a, b)| a == b).count();
    assert!(alike < one.len() / 128, "{alike} of {} bytes are alike", one.len());
}

#[tokio::test]
async fn no_bit_can_be_changed() {
    let sealed = witness(b"a short one").await;
    for at in 0..sealed.len() {
        for bit in 0..8 {
            let mut changed = sealed.clone();
            changed[at] ^= 1 << bit;
            match (at, open(&changed).unwrap_err()) {
                (0, ArtifactError::UnknownFormat { .. })
                | (1..=KEY_ID_BYTES, ArtifactError::UnknownKey { .. })
                | (_, ArtifactError::Damaged { chunk: 0, .. }) => {}
                (at, error) => panic!("bit {bit} of byte {at}: {error:?}"),
            }
        }
    }
    let sealed = witness(&content(3 * CHUNK_BYTES)).await;
    for chunk in 0..3_u64 {
        let mut changed = sealed.clone();
        let start = HEAD_BYTES + usize::try_from(chunk).unwrap() * SEALED_CHUNK_BYTES;
        for at in [start, start + CHUNK_BYTES - 1, start + CHUNK_BYTES, start + SEALED_CHUNK_BYTES - 1] {
            changed[at] ^= 1;
            assert_damaged(&changed, chunk);
            changed[at] ^= 1;
        }
    }
}

#[tokio::test]
async fn no_end_can_be_cut_off() {
    let sealed = witness(b"a short one").await;
    for len in 0..sealed.len() {
        assert_damaged(&sealed[..len], 0);
    }
    let sealed = witness(&content(3 * CHUNK_BYTES)).await;
    for whole in 0..3 {
        let boundary = HEAD_BYTES + whole * SEALED_CHUNK_BYTES;
        // At a boundary the last chunk is complete, but was not encrypted as the last.
        let wrong = whole.saturating_sub(1) as u64;
        assert_damaged(&sealed[..boundary], wrong);
        for beyond in [1, TAG_BYTES - 1, TAG_BYTES, CHUNK_BYTES] {
            assert_damaged(&sealed[..boundary + beyond], whole as u64);
        }
    }
}

#[tokio::test]
async fn nothing_can_be_added() {
    for len in [5, CHUNK_BYTES] {
        let mut sealed = witness(&content(len)).await;
        sealed.push(0);
        assert_damaged(&sealed, 0);
        sealed.pop();
        let first = sealed[HEAD_BYTES..].to_vec();
        sealed.extend_from_slice(&first);
        assert_damaged(&sealed, 0);
    }
}

#[tokio::test]
async fn chunks_cannot_be_reordered() {
    let content = content(4 * CHUNK_BYTES);
    let sealed = witness(&content).await;
    let (head, body) = sealed.split_at(HEAD_BYTES);
    let chunks: Vec<&[u8]> = body.chunks(SEALED_CHUNK_BYTES).collect();
    let put_together = |order: &[usize]| {
        let chunks = order.iter().map(|&at| chunks[at]);
        [head].into_iter().chain(chunks).collect::<Vec<_>>().concat()
    };
    assert!(open(&put_together(&[0, 1, 2, 3])).unwrap() == content);
    for (order, wrong) in [
        (&[1, 0, 2, 3][..], 0),
        (&[0, 2, 1, 3], 1),
        (&[0, 1, 3, 2], 2),
        (&[0, 0, 1, 2, 3], 1),
        (&[0, 1, 3], 2),
        (&[3], 0),
        (&[0, 1, 2, 3, 3], 3),
    ] {
        assert_damaged(&put_together(order), wrong);
    }
    let other = witness(&content).await;
    let mut mixed = sealed.clone();
    let second = HEAD_BYTES + SEALED_CHUNK_BYTES..HEAD_BYTES + 2 * SEALED_CHUNK_BYTES;
    mixed[second.clone()].copy_from_slice(&other[second]);
    assert_damaged(&mixed, 1);
    let other_head = [&other[..HEAD_BYTES], &sealed[HEAD_BYTES..]].concat();
    assert_damaged(&other_head, 0);
}

#[tokio::test]
async fn an_artifact_has_one_kind_and_one_name() {
    let sealed = witness(b"content").await;
    let opened = |kind, name| open_in(1000, kind, name, &sealed);
    assert!(opened(ArtifactKind::Witness, name()).is_ok());
    for (kind, name) in [(ArtifactKind::Proof, name()), (ArtifactKind::Witness, ArtifactName::random())] {
        let error = opened(kind, name).unwrap_err();
        assert!(matches!(error, ArtifactError::Damaged { chunk: 0, .. }), "{error:?}");
        assert!(!error.is_retryable());
    }
}

#[tokio::test]
async fn a_source_that_fails_is_not_one_that_ends() {
    let pieces = [Ok(Bytes::from_static(b"some")), Err(io::Error::other("the disk is gone"))];
    let source = tokio_util::io::StreamReader::new(futures_util::stream::iter(pieces));
    let mut sealing = Sealing::new(ring().current(), ArtifactKind::Witness, name(), source).unwrap();
    assert_eq!(sealing.next().await.unwrap().unwrap().len(), HEAD_BYTES);
    let error = sealing.next().await.unwrap_err();
    assert!(matches!(&error, ArtifactError::Source(source) if source.to_string() == "the disk is gone"));
    assert!(error.is_retryable());
}

/// Written by another program from the description of the format: key 00 to 1f, salt 80 to 9f, the name above.
const WRITTEN: &str = "\
    01597681e3a23a826f808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f\
    bcc8ae835bf4bff28b5b5a176e8afdcbf9472ba73317afe7fa";

#[test]
fn an_artifact_of_another_program_opens() {
    assert_eq!(open(&hex::decode(WRITTEN).unwrap()).unwrap(), b"a witness");
}

#[test]
fn a_newer_format_is_reported() {
    let error = Opening::new(&ring(), ArtifactKind::Proof, name(), &[3; HEAD_BYTES]).err().unwrap();
    assert!(matches!(error, ArtifactError::UnknownFormat { version: 3, .. }), "{error:?}");
}
