//! Asking twice for the same thing gives one job.
//!
//! A caller names its request with a key of its own. The key belongs to that caller: two callers may choose the same one.
//! The same key with the same body is the same job, however far it is, also when it failed or expired. The same key with
//! another body is a mistake on the caller's side, which is told instead of guessed at. A key is free again when its
//! job's row goes ([`crate::expiry`]).

use std::{fmt, str::FromStr};

/// What a caller names its request by: 1 to 255 printable ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdempotencyKey(String);

/// A text that cannot be such a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an idempotency key has 1 to {max} printable ASCII characters", max = IdempotencyKey::MAX_BYTES)]
pub struct InvalidIdempotencyKey;

/// SHA-256 of a request's body and of everything else that its result depends on, such as circuit and target.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BodyDigest(pub [u8; 32]);

/// A request's name, and what was asked under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The name.
    pub key: IdempotencyKey,
    /// What was asked.
    pub body: BodyDigest,
}

/// What a request is, next to the job that its owner's key names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The same request again: its answer is that job.
    Same,
    /// Another request under the same name.
    Conflict,
}

impl Idempotency {
    /// Judges a request by the job that already bears its key.
    #[must_use]
    pub fn judge(&self, earlier: &Self) -> Verdict {
        if self == earlier { Verdict::Same } else { Verdict::Conflict }
    }
}

impl IdempotencyKey {
    /// Longest key.
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
