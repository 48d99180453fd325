//! The answer with a stored proof, in the format that the caller prefers. What is stored is the JSON of a server.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use edgeprove_protocol::{
    ProofSystem, Target,
    answer::{PROOF_MEDIA_TYPE, TAR_MEDIA_TYPE},
    headers,
    limits::PUBLIC_INPUTS_HEADER_MAX,
};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::Value;

use super::container_answer::timings_of;
use crate::edge_error::EdgeError;

/// The format of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The proof's bytes.
    Bytes,
    /// JSON.
    Json,
    /// Proof, public inputs and verification key as a tar file. The edge has no verification keys.
    Tar,
}

/// An answer with a proof.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
}

impl Format {
    /// The preferred format of an `Accept` header, and bytes where none is named, as a server has it.
    #[must_use]
    pub fn of_accept(map: &HeaderMap) -> Self {
        let (mut json, mut tar, mut bytes) = (0.0, 0.0, 0.0);
        let values = map.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
        for range in values.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts
                .find_map(|parameter| parameter.strip_prefix("q="))
                .map_or(1.0, |weight| weight.parse::<f32>().unwrap_or(0.0));
            match media.as_str() {
                "application/json" => json = weight.max(json),
                TAR_MEDIA_TYPE => tar = weight.max(tar),
                "application/octet-stream" | "application/*" | "*/*" => bytes = weight.max(bytes),
                _ => {}
            }
        }
        match bytes.max(tar).max(json) {
            best if tar > 0.0 && tar >= best => Self::Tar,
            best if json > 0.0 && json >= best => Self::Json,
            _ => Self::Bytes,
        }
    }
}

/// The answer for a stored proof.
pub fn answer(stored: &[u8], format: Format) -> Result<Answer, EdgeError> {
    let damaged = |reason: &str| EdgeError::ArtifactDamaged { reason: format!("a stored proof: {reason}") };
    let proof = std::str::from_utf8(stored).ok().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let proof = proof.ok_or_else(|| damaged("it is not JSON"))?;
    let target = proof.get("target").and_then(|target| target.as_str()?.parse::<Target>().ok());
    let target = target.ok_or_else(|| damaged("it has no target"))?;
    let mut map = headers_of(&proof);
    let (media, body) = match format {
        Format::Json => ("application/json", stored.to_vec()),
        Format::Bytes => {
            let value = proof.get("proof");
            let bytes = value.and_then(|value| match target.proof_system() {
                ProofSystem::UltraHonk => STANDARD.decode(value.as_str()?).ok(),
                ProofSystem::Groth16 => groth16_bytes(value),
            });
            (PROOF_MEDIA_TYPE, bytes.ok_or_else(|| damaged("the proof is not one of its target"))?)
        }
        Format::Tar => return Err(EdgeError::ProofWithoutKey),
    };
    map.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    Ok(Answer { headers: map, body })
}

fn headers_of(proof: &Value) -> HeaderMap {
    let mut map = HeaderMap::new();
    let mut timing = String::new();
    for (index, (stage, ms)) in timings_of(proof).unwrap_or_default().stages().iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a duration of a request"
        )]
        let hundredths = (ms * 100.0).round() as u64;
        // Writing to a `String` cannot fail.
        let _ = write!(timing, "{comma}{stage};dur={}.{:02}", hundredths / 100, hundredths % 100);
    }
    let text = |name: &str| proof.get(name)?.as_str();
    let is_true = |name: &str| proof.get(name).and_then(Value::as_bool).unwrap_or(false);
    let inputs = proof.get("public_inputs").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let inputs = inputs.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",");
    for (name, value) in [
        (headers::CIRCUIT_ID, text("circuit")),
        (headers::VK_HASH, text("vk_hash")),
        (headers::PROOF_HASH, text("proof_hash")),
        (headers::VERIFIED, Some(if is_true("verified") { "true" } else { "false" })),
        (headers::FALLBACK_FROM, text("fallback_from")),
        (headers::PROOF_CACHE, is_true("cached").then_some("hit")),
        ("server-timing", Some(timing.as_str())),
        ("cache-control", Some("no-store")),
        (headers::PUBLIC_INPUTS, (inputs.len() <= PUBLIC_INPUTS_HEADER_MAX).then_some(inputs.as_str())),
    ] {
        // A server wrote them: hexadecimal digits, names and numbers.
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            map.insert(HeaderName::from_static(name), value);
        }
    }
    map
}

/// The eight words of a proof that snarkjs wrote, as a verifier contract takes them.
fn groth16_bytes(proof: &Value) -> Option<Vec<u8>> {
    let number = |path: &str| decimal(proof.pointer(path)?.as_str()?);
    // In a contract, the parts of a number of the extension field are in the other order.
    let words =
        ["/pi_a/0", "/pi_a/1", "/pi_b/0/1", "/pi_b/0/0", "/pi_b/1/1", "/pi_b/1/0", "/pi_c/0", "/pi_c/1"];
    let words: Option<Vec<[u8; 32]>> = words.into_iter().map(number).collect();
    Some(words?.concat())
}

/// A number below 2^256 in decimal digits, as 32 bytes, the most significant first.
fn decimal(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0_u8; 32];
    if text.is_empty() || text.len() > 78 {
        return None;
    }
    for digit in text.chars() {
        let mut carry = u16::try_from(digit.to_digit(10)?).ok()?;
        for byte in bytes.iter_mut().rev() {
            let value = u16::from(*byte) * 10 + carry;
            *byte = u8::try_from(value & 0xff).ok()?;
            carry = value >> 8;
        }
        if carry > 0 {
            return None;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use edgeprove_protocol::answer::{Cost, ProofAnswer, Timings};
    use serde_json::json;

    use super::*;

    fn stored(target: Target, proof: Value) -> Vec<u8> {
        let answer = ProofAnswer {
            success: true,
            proof,
            public_signals: None,
            proof_hash: "0xab".to_owned(),
            public_inputs: vec!["0x01".to_owned(), "0x02".to_owned()],
            circuit: "maze".parse().unwrap(),
            target,
            vk_hash: "0xcd".to_owned(),
            verified: true,
            cached: false,
            fallback_from: None,
            timings: Timings { prove_ms: 12.5, ..Timings::default() },
            request_id: "r1".to_owned(),
            receipt: None,
            calldata: None,
            cost: Cost::default(),
        };
        serde_json::to_vec(&answer).unwrap()
    }

    #[test]
    fn a_proof_is_returned_as_json_or_bytes() {
        let proof = stored(Target::Evm, json!("AQID"));
        let bytes = answer(&proof, Format::Bytes).unwrap();
        assert_eq!(
            (bytes.body, bytes.headers["content-type"].as_bytes()),
            (vec![1, 2, 3], &b"application/octet-stream"[..])
        );
        let as_json = answer(&proof, Format::Json).unwrap();
        assert_eq!(
            (as_json.body, as_json.headers["content-type"].as_bytes()),
            (proof.clone(), &b"application/json"[..])
        );
        for (name, value) in [
            ("x-circuit-id", "maze"),
            ("x-verified", "true"),
            ("x-public-inputs", "0x01,0x02"),
            (
                "server-timing",
                "upload;dur=0.00, queue;dur=0.00, prove;dur=12.50, verify;dur=0.00, total;dur=0.00",
            ),
        ] {
            assert_eq!(as_json.headers[name], value, "{name}");
        }
        assert_eq!(answer(&proof, Format::Tar), Err(EdgeError::ProofWithoutKey));
        for damaged in [stored(Target::Evm, json!("?")), stored(Target::Groth16, json!({})), b"{".to_vec()] {
            assert!(matches!(answer(&damaged, Format::Bytes), Err(EdgeError::ArtifactDamaged { .. })));
        }
    }

    #[test]
    fn a_proof_of_snarkjs_becomes_the_words_of_a_contract() {
        let proof = json!({
            "pi_a": ["1", "2", "1"], "pi_b": [["3", "4"], ["5", "6"], ["1", "0"]], "pi_c": ["7", "256", "1"],
        });
        let bytes = answer(&stored(Target::Groth16, proof), Format::Bytes).unwrap().body;
        let words: Vec<u16> = bytes.chunks(32).map(|word| u16::from_be_bytes([word[30], word[31]])).collect();
        assert_eq!((bytes.len(), words), (256, vec![1, 2, 4, 3, 6, 5, 7, 256]));
        let max = "115792089237316195423570985008687907853269984665640564039457584007913129639935";
        assert_eq!(decimal(max), Some([0xff; 32]));
        for bad in
            ["", "-1", "x", "115792089237316195423570985008687907853269984665640564039457584007913129639936"]
        {
            assert_eq!(decimal(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_format_is_that_of_the_accept_header() {
        for (accept, format) in [
            ("application/json", Format::Json),
            ("application/json, */*", Format::Json),
            ("*/*", Format::Bytes),
            ("text/html", Format::Bytes),
            ("application/x-tar", Format::Tar),
            ("application/json;q=0.5, application/octet-stream", Format::Bytes),
        ] {
            let map = [(header::ACCEPT, HeaderValue::from_static(accept))].into_iter().collect();
            assert_eq!(Format::of_accept(&map), format, "{accept}");
        }
    }
}
