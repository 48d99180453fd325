//! Secrets, and the signatures that are made with them.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use edgeprove_telemetry::keyed_hash::{Mac as _, hmac_sha256_of, update_part};
use zeroize::Zeroizing;

/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// The shortest and the longest secret, in bytes.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// What the secret of an owner is derived for.
const OF_OWNER: &[u8] = b"edgeprove secret of the webhooks of an owner";

/// A secret with which webhooks are signed.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(Zeroizing<Vec<u8>>);

/// A text that is no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`whsec_` and 24 to 64 random bytes in base64, such as from: echo whsec_$(openssl rand -base64 32)")]
pub struct InvalidSecret;

impl FromStr for WebhookSecret {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        let encoded = text.strip_prefix(PREFIX).ok_or(InvalidSecret)?;
        let bytes = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| InvalidSecret)?);
        if BYTES.contains(&bytes.len()) { Ok(Self(bytes)) } else { Err(InvalidSecret) }
    }
}

impl WebhookSecret {
    /// The secret of one owner of jobs, which reveals neither this one nor those of others.
    #[must_use]
    pub fn of_owner(&self, owner: &str) -> Option<Self> {
        let mut mac = hmac_sha256_of(&self.0)?;
        update_part(&mut mac, OF_OWNER);
        update_part(&mut mac, owner.as_bytes());
        Some(Self(Zeroizing::new(mac.finalize().into_bytes().to_vec())))
    }

    /// The text from which it can be read again.
    #[must_use]
    pub fn expose(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{PREFIX}{}", STANDARD.encode(&*self.0)))
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

/// The value of `webhook-signature`: a signature with each secret and with the owner's secret of each, so that receivers may
/// have any of them.
#[must_use]
pub fn signatures(secrets: &[WebhookSecret], owner: &str, id: &str, unix_seconds: u64, body: &str) -> String {
    let of_owner = secrets.iter().filter_map(|secret| secret.of_owner(owner));
    let signed = secrets.iter().cloned().chain(of_owner).filter_map(|WebhookSecret(key)| {
        let mut mac = hmac_sha256_of(&key)?;
        mac.update(format!("{id}.{unix_seconds}.").as_bytes());
        mac.update(body.as_bytes());
        Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    });
    signed.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected signature comes from Python's `hmac`.
    #[test]
    fn a_signature_matches_another_implementation() {
        let first: WebhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let (id, at, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, "{\"test\": 2432232314}");
        let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let parts = |secrets: &[WebhookSecret], owner: &str| -> Vec<String> {
            signatures(secrets, owner, id, at, body).split(' ').map(str::to_owned).collect()
        };
        let of_one = parts(std::slice::from_ref(&first), "key:alice");
        assert_eq!((of_one.len(), of_one[0].as_str()), (2, signature));
        let second = format!("whsec_{}", STANDARD.encode([7; 64])).parse().unwrap();
        let both = parts(&[second, first.clone()], "key:alice");
        assert_eq!((both.len(), both[1].as_str(), &both[3]), (4, signature, &of_one[1]));
        assert_ne!(both[0], signature);
        // The expected secret comes from Python's `hmac`, over the parts with their lengths in 8 bytes.
        let alice = first.of_owner("key:alice").unwrap();
        assert_eq!(*alice.expose(), "whsec_WyAafgesRXETJzGXZbIL+Y9QHTpqz5yDVEdKuTd7JF0=");
        assert_eq!(parts(&[alice], "key:bob")[0], of_one[1], "the owner can verify with her secret alone");
        assert_ne!(parts(std::slice::from_ref(&first), "key:bob")[1], of_one[1]);
        assert_eq!(format!("{first:?}"), "WebhookSecret(…)");
    }

    #[test]
    fn weak_and_malformed_secrets_are_refused() {
        for bytes in [0, 23, 65] {
            let text = format!("whsec_{}", STANDARD.encode(vec![1; bytes]));
            assert_eq!(text.parse::<WebhookSecret>(), Err(InvalidSecret), "{bytes}");
        }
        for text in ["", "whsec_", "whsec_!", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            assert_eq!(text.parse::<WebhookSecret>(), Err(InvalidSecret), "{text}");
        }
    }
}
