//! Vouchers: signed tokens with which a page proves on behalf of an API key.
//!
//! A token is `epv1.BODY.SIGNATURE`. The body is JSON with names of one letter, and the signature an HMAC-SHA-256 over
//! everything before the last dot; both are written in base64url without padding. Edge and servers share the secret, so each
//! of them checks a token without asking anybody. Only the number of uses is counted somewhere.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{CircuitId, HasProblemType, Origin, Priority, ProblemType, headers};

/// What every voucher of this version begins with.
pub const PREFIX: &str = "epv1.";
/// The longest token that is read. One of the largest voucher is shorter.
pub const TOKEN_MAX_BYTES: usize = 4096;
/// The most circuits of one voucher.
pub const CIRCUITS_MAX: usize = 16;
/// The longest origin of a voucher.
pub const ORIGIN_MAX_BYTES: usize = 256;
/// Minimum length of the secret: a token lets its reader test guesses.
pub const SECRET_MIN_BYTES: usize = 32;
/// Maximum length of the secret.
pub const SECRET_MAX_BYTES: usize = 256;

/// Makes the key of signatures differ from every other digest of the secret.
const SECRET_DOMAIN: &[u8] = b"edgeprove voucher secret v1";
/// Makes the fingerprint of an API key differ from every other digest of it.
const KEY_DOMAIN: &[u8] = b"edgeprove key of a voucher v1";

/// A few bytes of a digest of an API key: a voucher names the key that it was minted with, so that it ends with that key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyFingerprint([u8; 8]);

impl KeyFingerprint {
    /// The fingerprint of the key with this SHA-256.
    #[must_use]
    pub fn of(digest: &[u8; 32]) -> Self {
        let hash: [u8; 32] = Sha256::new().chain_update(KEY_DOMAIN).chain_update(digest).finalize().into();
        let mut short = [0; 8];
        short.copy_from_slice(&hash[..8]);
        Self(short)
    }

    /// Reads 16 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut short = [0; 8];
        hex::decode_to_slice(text, &mut short).ok().map(|()| Self(short))
    }
}

impl fmt::Display for KeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// What a page may do, for whom, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voucher {
    /// Its id, for the count of uses and for logs.
    pub id: String,
    /// The name of the API key on whose behalf the page proves.
    pub holder: String,
    /// That key.
    pub key: KeyFingerprint,
    /// The circuits that may be proved: 1 to [`CIRCUITS_MAX`].
    pub circuits: Vec<CircuitId>,
    /// How many jobs or proofs are accepted.
    pub uses: u32,
    /// The end of its validity, in seconds since 1970.
    pub expires_s: u64,
    /// The highest priority of its proofs.
    pub priority: Priority,
    /// The origin of the pages that may use it; `None`: any.
    pub origin: Option<Origin>,
    /// The user of the page, as the back end names it. Vouchers with the same one see each other's jobs.
    pub subject: Option<String>,
}

/// The body of a token.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(rename = "i")]
    id: String,
    #[serde(rename = "h")]
    holder: String,
    #[serde(rename = "k")]
    key: String,
    #[serde(rename = "c")]
    circuits: Vec<CircuitId>,
    #[serde(rename = "u")]
    uses: u32,
    #[serde(rename = "e")]
    expires_s: u64,
    #[serde(rename = "p")]
    priority: Priority,
    #[serde(rename = "o", skip_serializing_if = "Option::is_none", default)]
    origin: Option<String>,
    #[serde(rename = "s", skip_serializing_if = "Option::is_none", default)]
    subject: Option<String>,
}

/// Why a token is no voucher that is valid now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidVoucher {
    /// The service has no secret of vouchers.
    #[error("this service accepts no vouchers: its operator can set EDGEPROVE_VOUCHER_SECRET")]
    Disabled,
    /// It does not have the form of a voucher.
    #[error("the voucher is not complete, or is no voucher: send it as it was minted")]
    Form,
    /// Another service signed it, or it was changed.
    #[error(
        "the voucher was signed with another secret, or was changed: use one of this service; edge and servers must have \
         the same EDGEPROVE_VOUCHER_SECRET"
    )]
    Signature,
    /// It has expired.
    #[error("the voucher has expired: get a new one")]
    Expired,
    /// The API key that it was minted with is no longer valid.
    #[error("the API key of the voucher was withdrawn: get a voucher of a valid key")]
    Withdrawn,
}

impl HasProblemType for InvalidVoucher {
    fn kind(&self) -> ProblemType {
        ProblemType::VoucherInvalid
    }
}

/// What a valid voucher does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VoucherRefusal {
    /// The endpoint needs an API key.
    #[error(
        "a voucher proves, reads its own jobs and verifies, and nothing else: this request needs an API key"
    )]
    Endpoint,
    /// The voucher is for pages of another origin, or the request has none.
    #[error("the voucher is for pages of {allowed}, and the request does not come from one")]
    Origin {
        /// The origin of the voucher.
        allowed: String,
    },
    /// The voucher is for other circuits.
    #[error("the voucher is not for the circuit {circuit}: it is for {allowed}")]
    Circuit {
        /// The circuit of the request.
        circuit: CircuitId,
        /// The circuits of the voucher.
        allowed: String,
    },
    /// The voucher has a lower priority.
    #[error("the voucher allows at most priority {allowed}, not {asked}")]
    Priority {
        /// The requested priority.
        asked: Priority,
        /// That of the voucher.
        allowed: Priority,
    },
    /// A webhook is requested.
    #[error("a request with a voucher has no X-Callback-Url: only the holder of the API key is called back")]
    Callback,
}

impl HasProblemType for VoucherRefusal {
    fn kind(&self) -> ProblemType {
        ProblemType::VoucherNotAllowed
    }
}

/// The secret that signs vouchers. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct VoucherSecret([u8; 32]);

impl VoucherSecret {
    /// The secret of a text: [`SECRET_MIN_BYTES`] to [`SECRET_MAX_BYTES`] printable ASCII characters without spaces. `None`
    /// for any other one.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let is_fit = (SECRET_MIN_BYTES..=SECRET_MAX_BYTES).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_fit.then(|| Self(Sha256::new().chain_update(SECRET_DOMAIN).chain_update(text).finalize().into()))
    }

    /// A secret of random bytes.
    #[must_use]
    pub const fn of_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The token of a voucher.
    #[must_use]
    pub fn sign(&self, voucher: &Voucher) -> String {
        let Voucher { id, holder, key, circuits, uses, expires_s, priority, origin, subject } =
            voucher.clone();
        let body = Body {
            id,
            holder,
            key: key.to_string(),
            circuits,
            uses,
            expires_s,
            priority,
            origin: origin.map(|origin| origin.as_str().to_owned()),
            subject,
        };
        // Texts and numbers are always JSON.
        let json = serde_json::to_vec(&body).unwrap_or_default();
        let signed = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(json));
        let signature = URL_SAFE_NO_PAD.encode(self.mac(&signed).finalize().into_bytes());
        format!("{signed}.{signature}")
    }

    /// Reads a token that was signed with this secret, and has not expired at this time, in seconds since 1970. Nothing of the
    /// body is read before the signature is found to be right.
    pub fn check(&self, token: &str, now_s: u64) -> Result<Voucher, InvalidVoucher> {
        if token.len() > TOKEN_MAX_BYTES || !is_voucher(token.as_bytes()) {
            return Err(InvalidVoucher::Form);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(InvalidVoucher::Form)?;
        let body = signed.strip_prefix(PREFIX).ok_or(InvalidVoucher::Form)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| InvalidVoucher::Form)?;
        // In constant time.
        self.mac(signed).verify_slice(&signature).map_err(|_| InvalidVoucher::Signature)?;
        let json = URL_SAFE_NO_PAD.decode(body).map_err(|_| InvalidVoucher::Form)?;
        let voucher = read(&json).ok_or(InvalidVoucher::Form)?;
        if now_s < voucher.expires_s { Ok(voucher) } else { Err(InvalidVoucher::Expired) }
    }

    fn mac(&self, signed: &str) -> Hmac<Sha256> {
        // HMAC pads a key to a block with zeros. Given the whole block, it cannot fail for the key's length.
        let mut block = [0; 64];
        block[..self.0.len()].copy_from_slice(&self.0);
        let mut mac = Hmac::<Sha256>::new((&block).into());
        mac.update(signed.as_bytes());
        mac
    }
}

impl fmt::Debug for VoucherSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VoucherSecret(…)")
    }
}

fn read(json: &[u8]) -> Option<Voucher> {
    let Body { id, holder, key, circuits, uses, expires_s, priority, origin, subject } =
        // Not from bytes: each kind of source has deserializers of its own, and the Worker must be small.
        serde_json::from_str(std::str::from_utf8(json).ok()?).ok()?;
    let key = KeyFingerprint::parse(&key)?;
    let origin = match origin {
        Some(origin) => Some(origin.parse().ok()?),
        None => None,
    };
    let is_name = |text: &str| headers::is_acceptable_user(text.as_bytes());
    let is_fit = is_name(&id)
        && is_name(&holder)
        && subject.as_deref().is_none_or(is_name)
        && (1..=CIRCUITS_MAX).contains(&circuits.len())
        && uses > 0;
    is_fit.then_some(Voucher { id, holder, key, circuits, uses, expires_s, priority, origin, subject })
}

/// Whether a credential is meant as a voucher. An API key of this form is still found among the keys first.
#[must_use]
pub fn is_voucher(credential: &[u8]) -> bool {
    credential.starts_with(PREFIX.as_bytes())
}

impl Voucher {
    /// Fails if a circuit may not be proved.
    pub fn check_circuit(&self, circuit: &CircuitId) -> Result<(), VoucherRefusal> {
        if self.circuits.contains(circuit) {
            return Ok(());
        }
        let names: Vec<&str> = self.circuits.iter().map(CircuitId::as_str).collect();
        Err(VoucherRefusal::Circuit { circuit: circuit.clone(), allowed: names.join(", ") })
    }

    /// Fails if a priority is too high.
    pub fn check_priority(&self, asked: Priority) -> Result<(), VoucherRefusal> {
        let allowed = self.priority;
        if asked <= allowed { Ok(()) } else { Err(VoucherRefusal::Priority { asked, allowed }) }
    }

    /// Fails if the page of a request may not use it. `sent` are the values of `Origin`. A browser sends none with a `GET` of the
    /// service's own pages: `is_own` decides whether the request comes from a page of the service whose origin is this one.
    pub fn check_origin<'a>(
        &self,
        sent: impl IntoIterator<Item = &'a [u8]>,
        is_own: impl FnOnce(&Origin) -> bool,
    ) -> Result<(), VoucherRefusal> {
        let Some(origin) = &self.origin else { return Ok(()) };
        let mut sent = sent.into_iter();
        let is_right = match (sent.next(), sent.next()) {
            (Some(sent), None) => sent == origin.as_str().as_bytes(),
            (None, _) => is_own(origin),
            (Some(_), Some(_)) => false,
        };
        if is_right {
            return Ok(());
        }
        Err(VoucherRefusal::Origin { allowed: origin.as_str().to_owned() })
    }

    /// The idempotency key under which a job of its page is stored. Each page has keys of its own: it must not find the jobs of
    /// the key's holder or of other pages.
    #[must_use]
    pub fn own_idempotency_key(&self, key: &str) -> String {
        let digest = Sha256::new().chain_update(self.scope()).chain_update([0]).chain_update(key).finalize();
        format!("voucher {}", hex::encode(digest))
    }

    /// Whose jobs it sees: those of its subject, or else its own.
    #[must_use]
    pub fn scope(&self) -> String {
        match &self.subject {
            Some(subject) => format!("subject:{subject}"),
            None => format!("voucher:{}", self.id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: u64 = 1_800_000_000;

    fn secret() -> VoucherSecret {
        VoucherSecret::new("0123456789abcdef0123456789abcdef").unwrap()
    }

    fn voucher() -> Voucher {
        Voucher {
            id: "7c2d3f7e-0b7a-4c55-9d2f-5c1f3a0e9b11".to_owned(),
            holder: "alice".to_owned(),
            key: KeyFingerprint::of(&[7; 32]),
            circuits: vec!["range_check".parse().unwrap()],
            uses: 3,
            expires_s: NOW_S + 60,
            priority: Priority::Normal,
            origin: "https://app.example".parse().ok(),
            subject: Some("user-42".to_owned()),
        }
    }

    #[test]
    fn a_token_is_read_until_it_expires() {
        let least = Voucher { origin: None, subject: None, ..voucher() };
        for voucher in [voucher(), least] {
            let token = secret().sign(&voucher);
            assert_eq!(secret().check(&token, NOW_S), Ok(voucher.clone()));
            assert_eq!(secret().check(&token, voucher.expires_s - 1), Ok(voucher.clone()));
            assert_eq!(secret().check(&token, voucher.expires_s), Err(InvalidVoucher::Expired));
        }
    }

    #[test]
    fn a_changed_token_is_invalid() {
        let token = secret().sign(&voucher());
        let other = VoucherSecret::new("0123456789abcdef0123456789abcdeF").unwrap();
        assert_eq!(other.check(&token, NOW_S), Err(InvalidVoucher::Signature));
        // Each character, and each shorter token.
        for at in 0..token.len() {
            let changed = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
            let mut text = token.clone();
            text.replace_range(at..=at, changed);
            assert!(secret().check(&text, NOW_S).is_err(), "{at}");
            assert!(secret().check(&token[..at], NOW_S).is_err(), "{at}");
        }
        for text in ["", "epv1.", "epv1..", "epv2.a.b", &format!("{token}."), &format!("{token} ")] {
            assert!(secret().check(text, NOW_S).is_err(), "{text}");
        }
        assert_eq!(secret().check(&format!("epv1.{}", "a.".repeat(3000)), NOW_S), Err(InvalidVoucher::Form));
    }

    #[test]
    fn a_signed_body_of_another_form_is_invalid() {
        let signed = |json: &str| {
            let signed = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(json));
            let signature = URL_SAFE_NO_PAD.encode(secret().mac(&signed).finalize().into_bytes());
            secret().check(&format!("{signed}.{signature}"), NOW_S)
        };
        let good = format!(
            r#"{{"i":"a","h":"b","k":"{}","c":["d"],"u":1,"e":9999999999,"p":"LOW"}}"#,
            "0a".repeat(8)
        );
        assert!(signed(&good).is_ok());
        for (from, to) in [
            ("\"u\":1", "\"u\":0"),
            ("[\"d\"]", "[]"),
            ("\"h\":\"b\"", "\"h\":\"b c\""),
            ("\"p\":\"LOW\"", "\"p\":\"URGENT\""),
            ("\"p\":\"LOW\"", "\"p\":\"LOW\",\"o\":\"no origin\""),
            ("\"p\":\"LOW\"", "\"p\":\"LOW\",\"x\":1"),
            ("0a0a", "zz"),
        ] {
            assert_eq!(signed(&good.replace(from, to)), Err(InvalidVoucher::Form), "{to}");
        }
    }

    #[test]
    fn the_largest_voucher_fits_into_a_token() {
        let longest = |max: usize| "n".repeat(max);
        let circuits = (0..CIRCUITS_MAX).map(|at| {
            let name = format!("{at:02}{}", longest(CircuitId::MAX_BYTES - 2));
            name.parse::<CircuitId>().unwrap()
        });
        let largest = Voucher {
            id: longest(headers::USER_MAX_BYTES),
            holder: longest(headers::USER_MAX_BYTES),
            circuits: circuits.collect(),
            uses: u32::MAX,
            expires_s: u64::MAX,
            priority: Priority::Critical,
            origin: format!("https://{}", longest(ORIGIN_MAX_BYTES - 8)).parse().ok(),
            subject: Some(longest(headers::USER_MAX_BYTES)),
            ..voucher()
        };
        assert!(largest.origin.is_some());
        let token = secret().sign(&largest);
        assert!(token.len() <= TOKEN_MAX_BYTES, "{}", token.len());
        assert_eq!(secret().check(&token, NOW_S), Ok(largest));
    }

    #[test]
    fn a_voucher_is_for_its_origin() {
        let check = |sent: &[&str], is_own: bool| {
            voucher().check_origin(sent.iter().map(|sent| sent.as_bytes()), |_| is_own).is_ok()
        };
        assert!(check(&["https://app.example"], false) && check(&[], true));
        for sent in [
            &[][..],
            &["null"],
            &["https://evil.example"],
            &["https://app.example.evil.example"],
            &["http://app.example"],
            &["https://app.example", "https://app.example"],
        ] {
            assert!(!check(sent, false), "{sent:?}");
        }
        let of_any = Voucher { origin: None, ..voucher() };
        assert!(of_any.check_origin([b"null".as_slice()], |_| false).is_ok());
    }

    #[test]
    fn circuits_and_priorities_are_limited() {
        let voucher = voucher();
        assert!(voucher.check_circuit(&"range_check".parse().unwrap()).is_ok());
        let refused = voucher.check_circuit(&"range".parse().unwrap()).unwrap_err();
        assert!(refused.to_string().contains("range_check"));
        for priority in Priority::ALL {
            assert_eq!(voucher.check_priority(priority).is_ok(), priority <= Priority::Normal);
        }
    }

    #[test]
    fn secrets_are_long_and_never_shown() {
        for bad in
            ["", &"s".repeat(31), &"s".repeat(257), "with a space in it 0123456789abcdef", &"é".repeat(20)]
        {
            assert_eq!(VoucherSecret::new(bad), None, "{bad}");
        }
        assert_eq!(format!("{:?}", secret()), "VoucherSecret(…)");
        assert_ne!(KeyFingerprint::of(&[1; 32]), KeyFingerprint::of(&[2; 32]));
    }
}
