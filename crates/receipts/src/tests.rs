use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use edgeprove_protocol::{
    ProofSystem, Target,
    receipt::{RECEIPT_MAX_BYTES, Receipt, ReceiptProgram, ReceiptServer},
};
use edgeprove_sealing::{KeySource, SealingSecret};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::json;

use crate::{
    InvalidKeys, InvalidReceipt, PublicKeys, ReceiptKeys,
    jws::{CompactJws, compact},
    keys::{PERIOD_MS, PUBLISHED_PERIODS, thumbprint},
    verify,
};

/// The key and the signature of RFC 8037, appendix A.
const RFC_PRIVATE: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
const RFC_PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const RFC_THUMBPRINT: &str = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
const RFC_JWS: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIb\
                       QR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

/// The beginning of a period.
const START: u64 = 230 * PERIOD_MS;
const NOON: u64 = START + PERIOD_MS / 2;

fn bytes(base64url: &str) -> [u8; 32] {
    URL_SAFE_NO_PAD.decode(base64url).unwrap().try_into().unwrap()
}

fn receipt() -> Receipt {
    let hash = |byte: u8| format!("0x{}", format!("{byte:02x}").repeat(32));
    Receipt {
        iat: 0,
        request_id: "4f1c-22".to_owned(),
        circuit: "range_check".parse().unwrap(),
        fallback_from: None,
        proof_system: ProofSystem::UltraHonk.as_str().to_owned(),
        target: Target::Evm,
        vk_hash: hash(1),
        vk_sha256: hash(2),
        backend: ReceiptProgram { name: "bb".to_owned(), version: "5.0.0".to_owned() },
        proof_hash: hash(3),
        public_inputs_hash: hash(4),
        verified: true,
        cached: false,
        accepted_at: "2026-12-01T00:00:00.000Z".to_owned(),
        started_at: "2026-12-01T00:00:00.010Z".to_owned(),
        finished_at: "2026-12-01T00:00:00.200Z".to_owned(),
        sealed: true,
        spool_wiped: true,
        audit_head: Some(format!("7:{}", "0".repeat(64))),
        server: ReceiptServer { id: "0badcafe".to_owned(), version: "0.1.0".to_owned() },
    }
}

fn shared(secrets: &[u8]) -> ReceiptKeys {
    let secret = |byte: &u8| SealingSecret::read(&format!("{byte:02x}").repeat(32)).unwrap();
    ReceiptKeys::new(KeySource::Shared(secrets.iter().map(secret).collect()))
}

fn signed(keys: &ReceiptKeys, now_ms: u64) -> String {
    keys.sign(&mut receipt(), now_ms).unwrap()
}

/// What a verifier fetches at this time.
fn published(keys: &ReceiptKeys, now_ms: u64) -> PublicKeys {
    let timestamp = |ms| jiff::Timestamp::from_millisecond(i64::try_from(ms).unwrap()).unwrap().to_string();
    let document = keys.document(now_ms, timestamp).unwrap();
    PublicKeys::from_json(&serde_json::to_vec(&document).unwrap()).unwrap()
}

#[test]
fn the_signature_of_rfc_8037_is_verified() {
    assert_eq!(thumbprint(&bytes(RFC_PUBLIC)), RFC_THUMBPRINT);
    let jws = CompactJws::parse(RFC_JWS).unwrap();
    assert_eq!(
        (&jws.header[..], &jws.payload[..]),
        (&br#"{"alg":"EdDSA"}"#[..], &b"Example of Ed25519 signing"[..])
    );
    assert!(jws.is_signed_by(&bytes(RFC_PUBLIC)) && !jws.is_signed_by(&[7; 32]));
    // The same key signs the same.
    let pair = Ed25519KeyPair::from_seed_unchecked(&bytes(RFC_PRIVATE)).unwrap();
    assert_eq!(pair.public_key().as_ref(), bytes(RFC_PUBLIC));
    assert_eq!(compact(&jws.header, &jws.payload, |signed| pair.sign(signed)), RFC_JWS);
    // It is a JWS, and no receipt.
    let key = json!({ "kty": "OKP", "crv": "Ed25519", "x": RFC_PUBLIC });
    let keys = PublicKeys::from_json(key.to_string().as_bytes()).unwrap();
    assert!(matches!(verify(RFC_JWS, &keys), Err(InvalidReceipt::Header(_))));
}

#[test]
fn a_receipt_survives_and_a_changed_one_does_not() {
    let keys = shared(&[1]);
    let (text, public) = (signed(&keys, NOON), published(&keys, NOON));
    let verified = verify(&format!(" {text}\n"), &public).unwrap();
    assert_eq!(verified, Receipt { iat: NOON / 1000, ..receipt() });
    assert!(text.len() < 1400, "{}", text.len());
    for at in (0..text.len()).step_by(7) {
        let mut changed = text.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        assert!(verify(&String::from_utf8(changed).unwrap(), &public).is_err(), "{at}");
    }
    let [header, payload, signature] = text.split('.').collect::<Vec<_>>()[..] else { panic!("{text}") };
    let decoded = String::from_utf8(URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    let other = URL_SAFE_NO_PAD.encode(decoded.replace("\"spool_wiped\":true", "\"spool_wiped\":null"));
    assert_ne!(other, payload);
    assert_eq!(verify(&format!("{header}.{other}.{signature}"), &public), Err(InvalidReceipt::Signature));
    for cut in
        [format!("{header}.{payload}."), format!("{header}.{payload}"), format!("{text}."), String::new()]
    {
        assert_eq!(verify(&cut, &public), Err(InvalidReceipt::NotAJws), "{cut}");
    }
    let huge = format!("{header}.{}.{signature}", "A".repeat(RECEIPT_MAX_BYTES));
    assert_eq!(verify(&huge, &public), Err(InvalidReceipt::TooLarge));
}

#[test]
fn a_header_cannot_choose_how_it_is_verified() {
    let pair = Ed25519KeyPair::from_seed_unchecked(&bytes(RFC_PRIVATE)).unwrap();
    let key = json!({ "kty": "OKP", "crv": "Ed25519", "x": RFC_PUBLIC, "kid": "another name" });
    let keys = PublicKeys::from_json(key.to_string().as_bytes()).unwrap();
    let with = |header: serde_json::Value| {
        let payload = serde_json::to_vec(&receipt()).unwrap();
        verify(&compact(header.to_string().as_bytes(), &payload, |signed| pair.sign(signed)), &keys)
    };
    let good = json!({ "alg": "EdDSA", "kid": RFC_THUMBPRINT, "typ": "edgeprove-receipt+jwt" });
    assert_eq!(with(good.clone()), Ok(receipt()));
    let changed = |name: &str, value: serde_json::Value| {
        let mut header = good.clone();
        header[name] = value;
        header
    };
    for algorithm in ["none", "None", "HS256", "ES256", "eddsa", ""] {
        let refused = with(changed("alg", json!(algorithm)));
        assert_eq!(refused, Err(InvalidReceipt::Algorithm(algorithm.to_owned())));
    }
    assert_eq!(with(changed("typ", json!("JWT"))), Err(InvalidReceipt::Type("JWT".to_owned())));
    let unknown = with(changed("kid", json!("another name")));
    assert_eq!(unknown, Err(InvalidReceipt::UnknownKey("another name".to_owned())));
    for (name, value) in [
        ("crit", json!(["b64"])),
        ("b64", json!(false)),
        ("jwk", key),
        ("jku", json!("https://other.example/keys")),
        ("kid", json!(null)),
    ] {
        assert!(matches!(with(changed(name, value)), Err(InvalidReceipt::Header(_))), "{name}");
    }
    // A signature that would also be valid for the same header without a signature does not exist.
    let none = format!("{}.e30.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#));
    assert_eq!(verify(&none, &keys), Err(InvalidReceipt::NotAJws));
}

#[test]
fn a_key_signs_for_its_period_and_stays_published() {
    let keys = shared(&[1]);
    let old = signed(&keys, START);
    assert!(verify(&old, &published(&keys, START)).is_ok());
    let last = START + PERIOD_MS * (PUBLISHED_PERIODS + 1);
    assert!(verify(&old, &published(&keys, last - 1)).is_ok());
    let forgotten = published(&keys, last);
    assert!(matches!(verify(&old, &forgotten), Err(InvalidReceipt::UnknownKey(_))));
    // A server whose clock is ahead signs with the next key, which another one publishes already.
    let ahead = signed(&shared(&[1]), START + PERIOD_MS + 1);
    assert!(verify(&ahead, &published(&keys, START + PERIOD_MS - 60_000)).is_ok());
    assert!(verify(&ahead, &published(&keys, START + PERIOD_MS - 2 * 60 * 60 * 1000)).is_err());
    assert_eq!(published(&keys, NOON).iter().count(), 1 + usize::try_from(PUBLISHED_PERIODS).unwrap());
    // The key that signs now is the first.
    let first = published(&keys, START + PERIOD_MS - 60_000);
    let header = CompactJws::parse(&old).unwrap().header;
    assert!(String::from_utf8(header).unwrap().contains(&first.iter().next().unwrap().id));
}

#[test]
fn a_receipt_of_an_expired_key_is_refused() {
    let pair = Ed25519KeyPair::from_seed_unchecked(&bytes(RFC_PRIVATE)).unwrap();
    let key = |from: &str, end: &str| {
        let key = json!({
            "kty": "OKP", "crv": "Ed25519", "x": RFC_PUBLIC, "not_before": from, "expires_at": end
        });
        PublicKeys::from_json(key.to_string().as_bytes()).unwrap()
    };
    let header = json!({ "alg": "EdDSA", "kid": RFC_THUMBPRINT, "typ": "edgeprove-receipt+jwt" });
    let at = |iat| {
        let payload = serde_json::to_vec(&Receipt { iat, ..receipt() }).unwrap();
        compact(header.to_string().as_bytes(), &payload, |signed| pair.sign(signed))
    };
    let day = key("1970-01-02T00:00:00.000Z", "1970-01-03T00:00:00.000Z");
    for (iat, is_valid) in
        [(86_399, false), (86_400, true), (172_799, true), (172_800, false), (u64::MAX, false)]
    {
        let expected = if is_valid { Ok(()) } else { Err(InvalidReceipt::KeyNotValid) };
        assert_eq!(verify(&at(iat), &day).map(drop), expected, "{iat}");
    }
}

#[test]
fn servers_with_one_secret_sign_with_the_same_keys() {
    let both = shared(&[2, 1]);
    assert_eq!(signed(&shared(&[1]), NOON), signed(&shared(&[1]), NOON));
    // A replaced secret verifies until it is removed, and signs no more.
    assert!(verify(&signed(&shared(&[1]), NOON), &published(&both, NOON)).is_ok());
    assert_eq!(signed(&both, NOON), signed(&shared(&[2]), NOON));
    assert!(verify(&signed(&both, NOON), &published(&shared(&[1]), NOON)).is_err());
    let [one, two] = [(); 2].map(|()| ReceiptKeys::new(KeySource::OfThisServer));
    assert!(verify(&signed(&one, NOON), &published(&one, NOON + PERIOD_MS)).is_ok());
    assert!(verify(&signed(&one, NOON), &published(&two, NOON)).is_err());
    let lasting = |keys: &ReceiptKeys| keys.document(NOON, |ms| ms.to_string()).unwrap().lasting;
    assert!(lasting(&both) && !lasting(&one));
    assert_eq!(format!("{one:?}"), "ReceiptKeys(…)");
}

#[test]
fn keys_are_read_from_a_document_or_refused() {
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": RFC_PUBLIC });
    let of = |value: &serde_json::Value| PublicKeys::from_json(value.to_string().as_bytes());
    let rsa = json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB" });
    for document in [
        jwk.clone(),
        json!({ "keys": [rsa, jwk] }),
        json!({ "sealing": { "keys": [] }, "receipts": { "keys": [jwk], "lasting": true } }),
    ] {
        assert_eq!(of(&document).unwrap().iter().next().unwrap().id, RFC_THUMBPRINT);
    }
    let mut private = jwk.clone();
    private["d"] = json!(RFC_PRIVATE);
    assert!(matches!(of(&private), Err(InvalidKeys::Private)));
    for none in [json!({}), json!({ "keys": [] }), json!({ "receipts": { "keys": [rsa] } })] {
        assert!(matches!(of(&none), Err(InvalidKeys::NoKey)), "{none}");
    }
    for (name, value) in
        [("x", json!("AA")), ("x", json!(7)), ("expires_at", json!("soon")), ("not_before", json!(1))]
    {
        let mut damaged = jwk.clone();
        damaged[name] = value;
        assert!(matches!(of(&damaged), Err(InvalidKeys::Member(found)) if found == name), "{damaged}");
    }
    assert!(matches!(PublicKeys::from_json(b"[]"), Err(InvalidKeys::NotJson(_))));
}
