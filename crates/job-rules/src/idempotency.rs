//! Idempotency: the same request, sent twice, creates one job.
//!
//! A caller gives its request a key. Two callers may use the same key. The same key with the same body gets the same job, also
//! if the job failed or expired. The same key with another body is an error of the caller and is refused. A key is free again
//! when the row of its job is deleted ([`crate::expiry`]).

use std::{fmt, str::FromStr};

/// A caller's key of a request: 1 to 255 printable ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdempotencyKey(String);

/// A text that is no idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an idempotency key has 1 to {max} printable ASCII characters", max = IdempotencyKey::MAX_BYTES)]
pub struct InvalidIdempotencyKey;

/// SHA-256 of a request's body and of everything else that its result depends on, such as circuit and target.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BodyDigest(pub [u8; 32]);

/// The key of a request, and the digest of its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The key.
    pub key: IdempotencyKey,
    /// The digest of the body.
    pub body: BodyDigest,
}

/// How a request compares with the earlier request of the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the same request.
    Same,
    /// It is another request.
    Conflict,
}

impl Idempotency {
    /// Compares a request with the earlier one of the same key.
    #[must_use]
    pub fn judge(&self, earlier: &Self) -> Verdict {
        if self == earlier { Verdict::Same } else { Verdict::Conflict }
    }
}

impl IdempotencyKey {
    /// The maximum length.
    pub const MAX_BYTES: usize = 255;

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdempotencyKey {
    type Err = InvalidIdempotencyKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=Self::MAX_BYTES).contains(&text.len());
        let is_printable = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        if fits && text.bytes().all(is_printable) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidIdempotencyKey)
        }
    }
}

/// A text that is no digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a digest has 64 hexadecimal digits")]
pub struct InvalidBodyDigest;

impl FromStr for BodyDigest {
    type Err = InvalidBodyDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| InvalidBodyDigest)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for BodyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for BodyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BodyDigest({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(key: &str, body: u8) -> Idempotency {
        Idempotency { key: key.parse().unwrap(), body: BodyDigest([body; 32]) }
    }

    #[test]
    fn one_name_is_one_request() {
        assert_eq!(request("a", 1).judge(&request("a", 1)), Verdict::Same);
        assert_eq!(request("a", 2).judge(&request("a", 1)), Verdict::Conflict);
    }

    #[test]
    fn keys_fit_into_a_header_and_a_log_line() {
        let longest = "k".repeat(IdempotencyKey::MAX_BYTES);
        for good in ["a", "8e03978e-40d5-43dd-bc93-6894a57f9324", "order 7, \"second\"", &longest] {
            assert_eq!(
                good.parse::<IdempotencyKey>().map(|key| key.as_str().to_owned()),
                Ok(good.to_owned())
            );
        }
        for bad in ["", "a\nb", "ä", &format!("{longest}k")] {
            assert_eq!(bad.parse::<IdempotencyKey>(), Err(InvalidIdempotencyKey), "{bad:?}");
        }
    }

    #[test]
    fn digests_survive_a_round_trip() {
        let digest = BodyDigest([0xab; 32]);
        assert_eq!(digest.to_string().parse(), Ok(digest));
        for bad in ["", "ab", &"zz".repeat(32), &"ab".repeat(33)] {
            assert_eq!(bad.parse::<BodyDigest>(), Err(InvalidBodyDigest), "{bad:?}");
        }
    }
}
