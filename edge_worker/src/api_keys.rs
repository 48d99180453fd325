//! API keys: which callers are admitted, and under which name their requests are counted.

use std::collections::BTreeMap;

pub use edgeprove_protocol::caller::{Denied, KeyListFault};
use edgeprove_protocol::{
    Voucher,
    caller::{NamedDigest, address_account, find_key, parse_keys, presented_key},
    role::Role,
    voucher::{InvalidVoucher, KeyFingerprint, VoucherSecret, is_voucher},
};
use http::{HeaderMap, HeaderValue};
use sha2::{Digest as _, Sha256};

use crate::server_keys::{Profile, ServerKeys, ServerKeysFault};

/// The API keys, as digests: a reader of the settings cannot use them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiKeys {
    keys: Vec<NamedDigest>,
    /// Whether callers without a key are admitted although there are keys.
    allows_anonymous: bool,
    /// What the holders may do, by the containers' keys.
    profiles: BTreeMap<String, Profile>,
    /// What callers without a key may do.
    anonymous: Profile,
}

/// The caller of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// The holder of a key of this name.
    Key(String),
    /// A caller without a key, of a service that admits such callers.
    Anonymous,
    /// A page that acts on behalf of the holder of a key.
    Page(Box<Page>),
    /// A caller without a key, of a service that does not admit such callers, but with the token of a job's link. Only
    /// the server can check the token.
    Link,
}

/// A page with a valid voucher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// What the voucher allows.
    pub voucher: Voucher,
    /// Its token, for the server.
    pub token: String,
}

impl ApiKeys {
    /// Reads a list of keys as [`parse_keys`] does.
    pub fn parse(text: &str) -> Result<Self, KeyListFault> {
        Ok(Self { keys: parse_keys(text)?, ..Self::default() })
    }

    /// Adds the keys of the containers. A key with two names is an error: its caller would have either name.
    pub fn with(mut self, more: ServerKeys) -> Result<Self, ServerKeysFault> {
        for key in more.keys {
            if find_key(&self.keys, &key.digest).is_some_and(|other| other.name != key.name) {
                return Err(ServerKeysFault::SameKey);
            }
            self.keys.push(key);
        }
        self.allows_anonymous = more.allows_anonymous;
        self.profiles = more.profiles;
        self.anonymous = more.anonymous;
        if self.keys.is_empty() && !self.allows_anonymous { Err(ServerKeysFault::NoKeys) } else { Ok(self) }
    }

    /// Whether no keys are set, so that any caller is admitted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether the holder of this name is an operator.
    #[must_use]
    pub fn is_operator(&self, name: &str) -> bool {
        self.profiles.get(name).is_some_and(|profile| profile.role == Role::Operator)
    }

    /// What a caller may do. A page may do no more than the holder of its voucher's key.
    #[must_use]
    pub fn profile(&self, caller: &Caller) -> Profile {
        let name = match caller {
            Caller::Key(name) => name,
            Caller::Page(page) => &page.voucher.holder,
            Caller::Anonymous | Caller::Link => return self.anonymous,
        };
        self.profiles.get(name).copied().unwrap_or_default()
    }

    /// Finds the caller by the key in the request's headers.
    pub fn identify(&self, headers: &HeaderMap) -> Result<Caller, Denied> {
        let presented = presented(headers)?;
        if self.keys.is_empty() || (presented.is_none() && self.allows_anonymous) {
            return Ok(Caller::Anonymous);
        }
        let presented = presented.ok_or(Denied::NoKey)?;
        let digest: [u8; 32] = Sha256::digest(presented).into();
        find_key(&self.keys, &digest).map(|key| Caller::Key(key.name.clone())).ok_or(Denied::UnknownKey)
    }
}

impl ApiKeys {
    /// Finds the page of a request by the voucher in its headers; `None` if they have none. The key that minted the voucher must
    /// still be valid.
    #[must_use]
    pub fn identify_page(
        &self,
        headers: &HeaderMap,
        secret: Option<&VoucherSecret>,
        now_s: u64,
    ) -> Option<Result<Page, InvalidVoucher>> {
        let presented = presented(headers).ok().flatten().filter(|presented| is_voucher(presented))?;
        Some(self.page(presented, secret, now_s))
    }

    fn page(
        &self,
        presented: &[u8],
        secret: Option<&VoucherSecret>,
        now_s: u64,
    ) -> Result<Page, InvalidVoucher> {
        let secret = secret.ok_or(InvalidVoucher::Disabled)?;
        let token = std::str::from_utf8(presented).map_err(|_| InvalidVoucher::Form)?;
        let voucher = secret.check(token, now_s)?;
        let is_key =
            |key: &NamedDigest| key.name == voucher.holder && KeyFingerprint::of(&key.digest) == voucher.key;
        if !self.keys.iter().any(is_key) {
            return Err(InvalidVoucher::Withdrawn);
        }
        Ok(Page { voucher, token: token.to_owned() })
    }
}

/// The fingerprint of the key in the headers of a request, for the vouchers that are minted with it.
#[must_use]
pub fn fingerprint(headers: &HeaderMap) -> Option<KeyFingerprint> {
    let key = presented(headers).ok().flatten()?;
    Some(KeyFingerprint::of(&Sha256::digest(key).into()))
}

fn presented(headers: &HeaderMap) -> Result<Option<&[u8]>, Denied> {
    presented_key(|name| headers.get_all(name).into_iter().map(HeaderValue::as_bytes))
}

/// The name under which requests are counted: the caller's key, or that of a page's voucher, or else the address.
#[must_use]
pub fn rate_key(caller: Option<&Caller>, client_ip: Option<&str>) -> String {
    match caller {
        Some(Caller::Key(name)) => format!("key:{name}"),
        Some(Caller::Page(page)) => format!("key:{}", page.voucher.holder),
        Some(Caller::Anonymous | Caller::Link) | None => {
            address_account(client_ip.and_then(|ip| ip.parse().ok()))
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    // SHA-256 of `correct horse` and of `battery staple`.
    fn keys() -> ApiKeys {
        let digest = |key: &str| hex::encode(Sha256::digest(key));
        ApiKeys::parse(&format!("alice:{},\n bob:{}\n", digest("correct horse"), digest("battery staple")))
            .unwrap()
    }

    fn header(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_known_key_is_accepted_in_either_header() {
        let caller = Ok(Caller::Key("bob".to_owned()));
        for value in ["Bearer battery staple", "bearer  battery staple "] {
            assert_eq!(keys().identify(&header("authorization", value)), caller);
        }
        assert_eq!(keys().identify(&header("x-api-key", "battery staple")), caller);
    }

    #[test]
    fn a_missing_key_differs_from_an_unknown_one() {
        for (name, value) in
            [("authorization", "Basic Ym9iOng="), ("authorization", "Bearer "), ("cookie", "key=x")]
        {
            assert_eq!(keys().identify(&header(name, value)), Err(Denied::NoKey), "{value}");
        }
        assert_eq!(keys().identify(&header("x-api-key", "battery stapl")), Err(Denied::UnknownKey));
        let mut both = header("x-api-key", "battery staple");
        both.append("authorization", HeaderValue::from_static("Bearer correct horse"));
        assert_eq!(keys().identify(&both), Err(Denied::SeveralKeys));
        let digest = hex::encode(Sha256::digest("correct horse"));
        assert_eq!(
            keys().identify(&header("x-api-key", &digest)),
            Err(Denied::UnknownKey),
            "a digest is not a key"
        );
    }

    #[test]
    fn a_key_has_one_name_and_a_name_may_have_several_keys() {
        let key =
            |name: &str, key: &str| NamedDigest { name: name.to_owned(), digest: Sha256::digest(key).into() };
        let more = |keys| ServerKeys {
            keys,
            profiles: BTreeMap::from([(
                "ops".to_owned(),
                Profile { role: Role::Operator, unfinished_max: Some(2) },
            )]),
            ..ServerKeys::default()
        };
        let both = keys().with(more(vec![key("alice", "new"), key("ops", "other")])).unwrap();
        assert!(both.is_operator("ops") && !both.is_operator("alice"));
        assert_eq!(both.profile(&Caller::Key("ops".to_owned())).unfinished_max, Some(2));
        assert_eq!(both.profile(&Caller::Key("alice".to_owned())), Profile::default());
        for (text, name) in [("correct horse", "alice"), ("new", "alice"), ("other", "ops")] {
            let caller = both.identify(&header("x-api-key", text));
            assert_eq!(caller, Ok(Caller::Key(name.to_owned())));
        }
        let with = |name, text| keys().with(more(vec![key(name, text)]));
        assert_eq!(with("ops", "correct horse"), Err(ServerKeysFault::SameKey));
        assert!(with("alice", "correct horse").is_ok());
        assert_eq!(ApiKeys::default().with(more(Vec::new())), Err(ServerKeysFault::NoKeys));
        assert!(keys().with(more(Vec::new())).is_ok(), "roles for the keys of the edge");
    }

    #[test]
    fn callers_without_a_key_are_admitted_where_that_is_allowed() {
        let open = keys().with(ServerKeys { allows_anonymous: true, ..ServerKeys::default() }).unwrap();
        assert_eq!(open.identify(&HeaderMap::new()), Ok(Caller::Anonymous));
        assert_eq!(open.identify(&header("x-api-key", "guessed")), Err(Denied::UnknownKey));
        let alice = open.identify(&header("x-api-key", "correct horse"));
        assert_eq!(alice, Ok(Caller::Key("alice".to_owned())));
    }

    #[test]
    fn without_keys_any_caller_is_admitted() {
        assert_eq!(ApiKeys::default().identify(&HeaderMap::new()), Ok(Caller::Anonymous));
    }

    #[test]
    fn requests_are_counted_by_key_or_by_address() {
        let alice = Caller::Key("alice".to_owned());
        assert_eq!(rate_key(Some(&alice), Some("192.0.2.1")), "key:alice");
        for without_key in [Caller::Anonymous, Caller::Link] {
            assert_eq!(rate_key(Some(&without_key), Some("192.0.2.1")), "ip:192.0.2.1");
        }
        assert_eq!(rate_key(None, Some("2001:db8:1:2::1")), rate_key(None, Some("2001:db8:1:2:ffff::9")));
        assert_eq!(rate_key(None, Some("nonsense")), "ip:unknown");
    }
}
