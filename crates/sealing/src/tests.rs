//! Bodies that are sealed and opened, and every way in which one is refused.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use edgeprove_protocol::{HasProblemType as _, ProblemType, service::SealingKeyDocument};
use hpke::{
    Deserializable as _, Kem, OpModeR, aead::AesGcm256, kdf::HkdfSha256, kem::X25519HkdfSha256,
    setup_receiver,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    Binding, KeySource, SealingSecret, UnsealError, Unsealer, Unsealing,
    format::{BOUND_BYTES, CHUNK_BYTES, HEAD_BYTES},
    sealing::{SealError, seal},
};

const NOW: u64 = 1_764_547_200_000;
const FULL: usize = CHUNK_BYTES + 20;

/// The vector of RFC 9180 for this suite in base mode: test-vectors.json of draft-irtf-cfrg-hpke, mode 0, kem 32, kdf 1,
/// aead 2, the encryption with sequence number 0.
#[test]
fn the_vector_of_rfc_9180_opens() {
    let bytes = |text: &str| hex::decode(text).unwrap();
    let private = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(&bytes(
        "497b4502664cfea5d5af0b39934dac72242a74f8480451e1aee7d6a53320333d",
    ))
    .unwrap();
    let encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&bytes(
        "6c93e09869df3402d7bf231bf540fadd35cd56be14f97178f0954db94b7fc256",
    ))
    .unwrap();
    let info = bytes("4f6465206f6e2061204772656369616e2055726e");
    let mut context = setup_receiver::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &private,
        &encapsulated,
        &info,
    )
    .unwrap();
    let ciphertext =
        bytes("e5d84cd531cfb583096e7cfa9641bd3079cf3a91cda813c52deb5f512be9931980a41de125a925cdad859d5b7a");
    let plaintext = context.open(&ciphertext, &bytes("436f756e742d30")).unwrap();
    assert_eq!(plaintext, b"Beauty is truth, truth beauty");
}

/// The bodies that the clients in TypeScript and Python are tested with, too.
#[test]
fn the_bodies_of_the_vectors_open() {
    let vectors: Value = serde_json::from_str(include_str!("../vectors/sealed-bodies.json")).unwrap();
    let now = vectors["time_ms"].as_u64().unwrap();
    let secret = SealingSecret::read(vectors["secret"].as_str().unwrap()).unwrap();
    let server = Arc::new(Unsealing::new(KeySource::Shared(vec![secret]), now));
    let key = server.keys.document(now, |ms| ms.to_string()).unwrap().remove(0);
    assert_eq!(
        (&vectors["key"]["id"], &vectors["key"]["public_key"]),
        (&json!(key.id), &json!(key.public_key))
    );
    let mut opened = 0;
    for vector in vectors["bodies"].as_array().unwrap() {
        let Some(sealed) = vector["sealed"].as_str() else { continue };
        let text = |name: &str| vector[name].as_str().unwrap().to_owned();
        let credential = vector["token"].as_str().map(|token| Sha256::digest(token).into());
        let binding = Binding {
            content: text("content"),
            circuit: text("circuit"),
            target: text("target"),
            credential,
        };
        // Each has the same ephemeral key, so one server would take them for repetitions.
        let secret = SealingSecret::read(vectors["secret"].as_str().unwrap()).unwrap();
        let server = Arc::new(Unsealing::new(KeySource::Shared(vec![secret]), now));
        let plaintext = open_at(&server, binding, &hex::decode(sealed).unwrap(), 8192, now).unwrap();
        let expected: Vec<u8> = (0..vector["plaintext_bytes"].as_u64().unwrap())
            .map(|at| u8::try_from((7 * at + at / 256) % 256).unwrap())
            .collect();
        assert_eq!(plaintext, expected);
        opened += 1;
    }
    assert!(opened > 1);
}

fn server() -> Arc<Unsealing> {
    Arc::new(Unsealing::new(KeySource::OfThisServer, NOW - 1))
}

/// A new server with the same keys as every other one that this function returns. It remembers nothing.
fn shared() -> Arc<Unsealing> {
    let secret = SealingSecret::read(&"07".repeat(32)).unwrap();
    Arc::new(Unsealing::new(KeySource::Shared(vec![secret]), NOW - 60_000))
}

fn key(server: &Unsealing) -> SealingKeyDocument {
    server.keys.document(NOW, |ms| ms.to_string()).unwrap().remove(0)
}

fn binding() -> Binding {
    Binding {
        content: "application/gzip".to_owned(),
        circuit: "range_check".to_owned(),
        target: "evm".to_owned(),
        credential: Some([3; 32]),
    }
}

fn plaintext(bytes: usize) -> Vec<u8> {
    (0..=u8::MAX).flat_map(|byte| [byte; 7]).cycle().take(bytes).collect()
}

/// Opens a body that arrives in pieces of this size.
fn open_at(
    server: &Arc<Unsealing>,
    binding: Binding,
    body: &[u8],
    piece: usize,
    now: u64,
) -> Result<Vec<u8>, UnsealError> {
    let mut unsealer = Unsealer::new(Arc::clone(server), binding, "alice".into());
    let mut opened = Vec::new();
    for piece in body.chunks(piece) {
        unsealer.push(piece);
        while let Some(chunk) = unsealer.next_chunk(now)? {
            opened.extend_from_slice(&chunk);
        }
    }
    unsealer.finish()?;
    Ok(opened)
}

fn open(server: &Arc<Unsealing>, body: &[u8]) -> Result<Vec<u8>, UnsealError> {
    open_at(server, binding(), body, 8192, NOW)
}

#[test]
fn a_body_of_any_length_opens_in_any_pieces() {
    let server = server();
    for length in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 5] {
        for piece in [1, 61, 8192, usize::MAX] {
            let plaintext = plaintext(length);
            let body = seal(&key(&server), &binding(), NOW, &plaintext).unwrap();
            let opened = open_at(&server, binding(), &body, piece, NOW).unwrap();
            assert!(opened == plaintext, "{length} in pieces of {piece}");
        }
    }
}

#[test]
fn every_changed_byte_is_refused() {
    let server = server();
    let body = seal(&key(&server), &binding(), NOW, &plaintext(40)).unwrap();
    for at in 0..body.len() {
        let mut changed = body.clone();
        changed[at] ^= 1;
        let refused = open(&server, &changed).unwrap_err();
        let expected = match at {
            0..4 => ProblemType::SealedBodyInvalid,
            4..19 => ProblemType::SealingKeyUnknown,
            // The highest bytes of the time change it by more than the window, the lowest make it another `info`.
            19..BOUND_BYTES => {
                assert!(
                    matches!(
                        refused,
                        UnsealError::Time { .. } | UnsealError::Chunk { .. } | UnsealError::BeforeStart
                    ),
                    "{at}: {refused}"
                );
                continue;
            }
            _ => ProblemType::SealedBodyInvalid,
        };
        assert_eq!(refused.kind(), expected, "{at}: {refused}");
    }
    assert!(open(&server, &body).is_ok(), "what was refused is not remembered");
}

#[test]
fn missing_moved_and_additional_chunks_are_refused() {
    let server = shared();
    let body = seal(&key(&server), &binding(), NOW, &plaintext(3 * CHUNK_BYTES + 5)).unwrap();
    let (head, chunks) = body.split_at(HEAD_BYTES);
    let [one, two, three] = [0, 1, 2].map(|index| &chunks[index * FULL..(index + 1) * FULL]);
    let last = &chunks[3 * FULL..];
    let again = |parts: &[&[u8]]| {
        let body = [head, &parts.concat()].concat();
        open(&shared(), &body).unwrap_err()
    };
    assert_eq!(again(&[one, two, three]), UnsealError::Truncated);
    assert_eq!(again(&[one, two, three, &last[..last.len() - 1]]), UnsealError::Truncated);
    assert_eq!(again(&[]), UnsealError::Truncated);
    assert_eq!(again(&[two, one, three, last]), UnsealError::Chunk { index: 0 });
    assert_eq!(again(&[one, three, last]), UnsealError::Chunk { index: 1 });
    assert_eq!(again(&[one, one, two, three, last]), UnsealError::Chunk { index: 1 });
    assert_eq!(again(&[last]), UnsealError::Chunk { index: 0 });
    assert_eq!(again(&[one, two, three, last, last]), UnsealError::TrailingBytes);
    assert_eq!(again(&[one, two, three, last, b"x"]), UnsealError::TrailingBytes);
    // A chunk in the middle cannot be made the last one.
    let mut marked = three.to_vec();
    marked[0] |= 0x80;
    assert_eq!(again(&[one, two, &marked]), UnsealError::Chunk { index: 2 });
    assert_eq!(again(&[&[0, 0, 0, 16], &[0; 16]]), UnsealError::ChunkLength);
    assert_eq!(open(&server, &head[..HEAD_BYTES - 1]), Err(UnsealError::Truncated));
    assert_eq!(open(&server, b""), Err(UnsealError::Truncated));
}

#[test]
fn a_body_for_another_request_is_refused() {
    let server = server();
    let changes: [fn(&mut Binding); 6] = [
        |binding| "application/json".clone_into(&mut binding.content),
        |binding| "other".clone_into(&mut binding.circuit),
        |binding| binding.circuit.clear(),
        |binding| binding.target.clear(),
        |binding| binding.credential = None,
        |binding| binding.credential = Some([4; 32]),
    ];
    let body = seal(&key(&server), &binding(), NOW, b"witness").unwrap();
    for change in changes {
        let mut other = binding();
        change(&mut other);
        let refused = open_at(&server, other.clone(), &body, 8192, NOW);
        assert_eq!(refused, Err(UnsealError::Chunk { index: 0 }), "{other:?}");
    }
    assert_eq!(open(&server, &body).unwrap(), b"witness");
}

#[test]
fn a_repeated_body_is_refused() {
    let server = server();
    let body = seal(&key(&server), &binding(), NOW, b"witness").unwrap();
    assert!(open(&server, &body).is_ok());
    assert_eq!(open(&server, &body), Err(UnsealError::Replayed));
    let late = open_at(&server, binding(), &body, 8192, NOW + 119_000);
    assert_eq!(late, Err(UnsealError::Replayed));
    // The same witness sealed again is another body.
    assert!(open(&server, &seal(&key(&server), &binding(), NOW, b"witness").unwrap()).is_ok());
    // Of a body that broke off, a part has arrived.
    let long = seal(&key(&server), &binding(), NOW, &plaintext(2 * CHUNK_BYTES)).unwrap();
    assert_eq!(open(&server, &long[..long.len() - 1]), Err(UnsealError::Truncated));
    assert_eq!(open(&server, &long), Err(UnsealError::Replayed));
}

/// What servers report to each other.
#[test]
fn a_body_arrives_once_and_everywhere_as_the_same() {
    let body = seal(&key(&shared()), &binding(), NOW, &plaintext(2 * CHUNK_BYTES)).unwrap();
    let arrivals = |body: &[u8]| {
        let mut unsealer = Unsealer::new(shared(), binding(), "alice".into());
        let mut arrivals = Vec::new();
        for piece in body.chunks(30_000) {
            unsealer.push(piece);
            while unsealer.next_chunk(NOW).is_ok_and(|chunk| chunk.is_some()) {
                arrivals.push(unsealer.take_arrival());
            }
            assert_eq!(unsealer.take_arrival(), None);
        }
        arrivals
    };
    let [Some(first), None] = &arrivals(&body)[..] else { panic!("it arrives with its first chunk") };
    assert_eq!(arrivals(&body)[0].as_ref(), Some(first));
    assert_eq!((first.id.len(), first.expires_ms), (64, NOW + 241_000));
    let again = seal(&key(&shared()), &binding(), NOW, &plaintext(2 * CHUNK_BYTES)).unwrap();
    assert_ne!(arrivals(&again)[0].as_ref().unwrap().id, first.id);
    let mut changed = body;
    changed[HEAD_BYTES + 20] ^= 1;
    assert_eq!(arrivals(&changed), [], "what cannot be opened does not arrive");
}

#[test]
fn a_body_of_another_time_is_refused() {
    let server = shared();
    for (time, is_accepted) in [
        (NOW, true),
        (NOW - 60_000, true),
        (NOW - 60_001, false),
        (NOW + 120_000, true),
        (NOW + 120_001, false),
        (NOW - 120_001, false),
        (0, false),
        (u64::MAX, false),
    ] {
        let body = seal(&key(&server), &binding(), time, b"witness").unwrap();
        let opened = open(&server, &body);
        assert_eq!(opened.is_ok(), is_accepted, "{time}: {opened:?}");
        if let Err(refused) = opened {
            assert_eq!(refused.kind(), ProblemType::SealedAtWrongTime, "{refused}");
        }
    }
}

#[test]
fn a_stored_body_opens_at_any_time_and_again() {
    let server = shared();
    let body = seal(&key(&server), &binding(), NOW, &plaintext(40)).unwrap();
    let opened = |arrived_ms: u64, now_ms: u64| {
        let unsealer = Unsealer::new(Arc::clone(&server), binding(), "alice".into());
        let mut unsealer = unsealer.of_stored_body(arrived_ms);
        unsealer.push(&body);
        let chunk = unsealer.next_chunk(now_ms)?;
        unsealer.finish().map(|()| chunk)
    };
    // An hour later, and before this server started.
    for now_ms in [NOW + 3_600_000, NOW + 3_600_001] {
        assert_eq!(opened(NOW + 1000, now_ms).unwrap().unwrap(), plaintext(40));
    }
    assert!(matches!(opened(NOW + 3_600_000, NOW + 3_600_000), Err(UnsealError::Time { .. })));
    // What arrives by itself is checked as ever.
    assert!(open_at(&server, binding(), &body, 8192, NOW).is_ok());
    assert!(open_at(&server, binding(), &body, 8192, NOW).is_err());
}

#[test]
fn keys_of_others_and_of_small_order_are_refused() {
    let (server, other) = (server(), self::server());
    let body = seal(&key(&other), &binding(), NOW, b"witness").unwrap();
    assert_eq!(open(&server, &body), Err(UnsealError::UnknownKey));
    let mut of_zeros = key(&server);
    of_zeros.public_key = STANDARD.encode([0; 32]);
    assert!(matches!(seal(&of_zeros, &binding(), NOW, b""), Err(SealError::Hpke(_))));
    // An encapsulated key of small order would make the shared secret known to everybody.
    for point in [[0; 32], std::array::from_fn(|at| u8::from(at == 0))] {
        let mut body = seal(&key(&server), &binding(), NOW, b"witness").unwrap();
        body[BOUND_BYTES..HEAD_BYTES].copy_from_slice(&point);
        assert_eq!(open(&server, &body), Err(UnsealError::Chunk { index: 0 }));
    }
}
