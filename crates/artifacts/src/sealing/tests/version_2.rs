//! Artifacts of version 2, which the edge writes.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::*;

const VECTORS: &str = include_str!("../../../vectors/v2.json");

/// Seals as the edge does.
fn seal_as_edge(kind: ArtifactKind, salt: &[u8], content: &[u8]) -> Vec<u8> {
    let ring = ring();
    let mut head = [0; HEAD_BYTES];
    head[0] = VERSION_OF_EDGE;
    head[1..=KEY_ID_BYTES].copy_from_slice(ring.current().id().as_bytes());
    head[1 + KEY_ID_BYTES..].copy_from_slice(salt);
    let key = own_key(ring.current(), &head, KEY_INFO_OF_EDGE);
    let nonce = Nonce::<Aes256Gcm, StreamBE32<Aes256Gcm>>::default();
    let mut stream: EncryptorBE32<Aes256Gcm> = EncryptorBE32::new((&*key).into(), &nonce);
    let associated = associated(&head, kind, name());
    let mut sealed = head.to_vec();
    let mut chunks = content.chunks(CHUNK_BYTES).peekable();
    loop {
        let mut chunk = chunks.next().unwrap_or_default().to_vec();
        let is_last = chunks.peek().is_none();
        if is_last {
            stream.encrypt_last_in_place(&associated, &mut chunk).unwrap();
            sealed.extend_from_slice(&chunk);
            return sealed;
        }
        stream.encrypt_next_in_place(&associated, &mut chunk).unwrap();
        sealed.extend_from_slice(&chunk);
    }
}

fn kind_of(word: &str) -> ArtifactKind {
    ArtifactKind::ALL.into_iter().find(|kind| kind.word() == word).unwrap()
}

#[test]
fn artifacts_of_a_third_program_open() {
    let document: Value = serde_json::from_str(VECTORS).unwrap();
    assert_eq!((document["key"].as_str(), document["name"].as_str()), (Some(KEY), Some(NAME)));
    assert_eq!(document["key_id"], ring().current().id().to_string());
    let salt = hex::decode(document["salt"].as_str().unwrap()).unwrap();
    for vector in document["vectors"].as_array().unwrap() {
        let plain = match vector["content"]["text"].as_str() {
            Some(text) => text.as_bytes().to_vec(),
            None => content(vector["content"]["pattern"].as_u64().unwrap().try_into().unwrap()),
        };
        let kind = kind_of(vector["kind"].as_str().unwrap());
        let sealed = seal_as_edge(kind, &salt, &plain);
        assert_eq!(vector["sealed_bytes"], sealed.len());
        assert_eq!(vector["sealed_sha256"], hex::encode(Sha256::digest(&sealed)), "{}", vector["content"]);
        let sealed = match vector["sealed"].as_str() {
            Some(written) => hex::decode(written).unwrap(),
            None => sealed,
        };
        for pieces_of in [1000, SEALED_CHUNK_BYTES, 1 << 20] {
            assert!(open_in(pieces_of, kind, name(), &sealed).unwrap() == plain, "{}", vector["content"]);
        }
    }
}

#[test]
fn what_is_changed_does_not_open() {
    let salt = [7; SALT_BYTES];
    let sealed = seal_as_edge(ArtifactKind::Witness, &salt, &content(2 * CHUNK_BYTES + 10));
    let (first, second) = (HEAD_BYTES, HEAD_BYTES + SEALED_CHUNK_BYTES);
    for (at, chunk) in [(first, 0), (second - 1, 0), (second, 1), (sealed.len() - 1, 2)] {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert_damaged(&changed, chunk);
    }
    // Of all bytes of the head the first is the version: as version 1 the artifact has another key.
    let mut as_version_1 = sealed.clone();
    as_version_1[0] = VERSION;
    assert_damaged(&as_version_1, 0);
    let mut other_salt = sealed.clone();
    other_salt[HEAD_BYTES - 1] ^= 1;
    assert_damaged(&other_salt, 0);
    // A chunk that is complete was not encrypted as the last.
    assert_damaged(&sealed[..second], 0);
    assert_damaged(&sealed[..sealed.len() - 1], 2);
    let exchanged = [&sealed[..first], &sealed[second..second + SEALED_CHUNK_BYTES], &sealed[first..second]];
    assert_damaged(&exchanged.concat(), 0);
}

#[test]
fn an_artifact_of_the_edge_has_one_kind_and_one_name() {
    let sealed = seal_as_edge(ArtifactKind::Proof, &[7; SALT_BYTES], b"content");
    assert!(open_in(1000, ArtifactKind::Proof, name(), &sealed).is_ok());
    for (kind, name) in [(ArtifactKind::Witness, name()), (ArtifactKind::Proof, ArtifactName::random())] {
        let error = open_in(1000, kind, name, &sealed).unwrap_err();
        assert!(matches!(error, ArtifactError::Damaged { chunk: 0, .. }), "{error:?}");
    }
    assert_eq!(key_of(&sealed[..HEAD_BYTES]), Some(ring().current().id()));
}
