//! A proof that a caller sends, as JSON.
//!
//! Nothing of it takes much more memory than its text: a proof is a text or an object of known texts, and the number of public
//! inputs is bounded.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use edgeprove_groth16::{JsonError, Proof, ProofJson, PublicSignals};
use edgeprove_protocol::{ProblemType, ProofSystem, Target};
use edgeprove_prover::{FIELD_BYTES, ProofParts};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

use crate::http::api_error::ApiError;

/// The most public inputs.
const PUBLIC_INPUTS_MAX: usize = 4096;

/// A proof with its public inputs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SentProof {
    proof: ProofText,
    #[serde(rename = "publicInputs", alias = "publicSignals", alias = "public_inputs")]
    public_inputs: PublicInputs,
}

/// A proof in one of its two forms.
#[derive(Debug)]
enum ProofText {
    /// One of bb, in base64.
    Base64(String),
    /// One of snarkjs.
    Groth16(Box<ProofJson>),
}

/// At most [`PUBLIC_INPUTS_MAX`] texts.
#[derive(Debug)]
struct PublicInputs(Vec<String>);

impl SentProof {
    /// Reads the body of a request.
    pub(super) fn parse(json: &[u8]) -> Result<Self, ApiError> {
        serde_json::from_slice(json).map_err(|error| {
            let detail = format!(
                "the body must be {{\"proof\": …, \"publicInputs\": […]}}, as an answer with a proof has them: {error}"
            );
            ApiError::new(ProblemType::InvalidRequest, detail)
        })
    }

    /// The proof and its public inputs. `None`: no verifier accepts them, because a value is not below the modulus, or a point
    /// is not on the curve.
    pub(super) fn parts(self, target: Target) -> Result<Option<ProofParts>, ApiError> {
        let Self { proof, public_inputs: PublicInputs(texts) } = self;
        match (target.proof_system(), proof) {
            (ProofSystem::UltraHonk, ProofText::Base64(text)) => parts_of_honk(&text, &texts).map(Some),
            (ProofSystem::UltraHonk, ProofText::Groth16(_)) => Err(not_base64()),
            (ProofSystem::Groth16, ProofText::Groth16(proof)) => parts_of_groth16(&proof, &texts),
            (ProofSystem::Groth16, ProofText::Base64(_)) => {
                let detail = "`proof` must be an object as snarkjs writes it: the circuit is one of Groth16";
                Err(ApiError::new(ProblemType::InvalidRequest, detail))
            }
        }
    }
}

fn parts_of_honk(text: &str, texts: &[String]) -> Result<ProofParts, ApiError> {
    let bytes = STANDARD.decode(text).map_err(|_| not_base64())?;
    let (proof, rest) = bytes.as_chunks::<FIELD_BYTES>();
    if !rest.is_empty() {
        return Err(not_base64());
    }
    Ok(ProofParts { proof: proof.to_vec(), public_inputs: words(texts)? })
}

fn parts_of_groth16(proof: &ProofJson, texts: &[String]) -> Result<Option<ProofParts>, ApiError> {
    let proof = match Proof::try_from(proof) {
        Ok(proof) => proof,
        Err(JsonError::InvalidPoint { .. } | JsonError::InvalidValue { .. }) => return Ok(None),
        Err(error) => {
            return Err(ApiError::new(ProblemType::InvalidRequest, format!("`proof`: {error}")));
        }
    };
    let is_decimal = |text: &String| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let signals = if texts.iter().all(is_decimal) {
        PublicSignals::from_decimals(texts).ok()
    } else {
        PublicSignals::from_words(&words(texts)?)
    };
    let parts =
        |signals: PublicSignals| ProofParts { proof: proof.words().to_vec(), public_inputs: signals.words() };
    Ok(signals.map(parts))
}

fn words(texts: &[String]) -> Result<Vec<[u8; FIELD_BYTES]>, ApiError> {
    let words: Option<_> = texts.iter().map(|text| word(text)).collect();
    words.ok_or_else(|| {
        let detail =
            "`publicInputs` must be texts: `0x` and 64 hexadecimal digits each, or for Groth16 decimal digits each";
        ApiError::new(ProblemType::InvalidRequest, detail)
    })
}

fn word(text: &str) -> Option<[u8; FIELD_BYTES]> {
    let mut word = [0; FIELD_BYTES];
    hex::decode_to_slice(text.strip_prefix("0x")?, &mut word).ok()?;
    Some(word)
}

fn not_base64() -> ApiError {
    let detail = "`proof` must be the proof in base64: a whole number of 32-byte fields";
    ApiError::new(ProblemType::InvalidRequest, detail)
}

impl<'de> Deserialize<'de> for ProofText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrObject;

        impl<'de> Visitor<'de> for TextOrObject {
            type Value = ProofText;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a proof in base64 or one of snarkjs")
            }

            fn visit_str<E>(self, text: &str) -> Result<ProofText, E> {
                Ok(ProofText::Base64(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ProofText, A::Error> {
                let proof = ProofJson::deserialize(MapAccessDeserializer::new(map))?;
                Ok(ProofText::Groth16(Box::new(proof)))
            }
        }

        deserializer.deserialize_any(TextOrObject)
    }
}

impl<'de> Deserialize<'de> for PublicInputs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;

        impl<'de> Visitor<'de> for Texts {
            type Value = PublicInputs;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of texts")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<PublicInputs, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    if texts.len() == PUBLIC_INPUTS_MAX {
                        let detail = format!("there are more than {PUBLIC_INPUTS_MAX} public inputs");
                        return Err(A::Error::custom(detail));
                    }
                    texts.push(text);
                }
                Ok(PublicInputs(texts))
            }
        }

        deserializer.deserialize_seq(Texts)
    }
}
