//! API keys: which callers are admitted, and under which name their requests are counted.

pub use edgeprove_protocol::caller::{Denied, KeyListFault};
use edgeprove_protocol::caller::{NamedDigest, address_account, find_key, parse_keys, presented_key};
use http::{HeaderMap, HeaderValue};
use sha2::{Digest as _, Sha256};

/// The API keys, as digests: a reader of the settings cannot use them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiKeys(Vec<NamedDigest>);

/// The caller of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// The holder of a key of this name.
    Key(String),
    /// A caller of a service without keys.
    Anonymous,
}

impl ApiKeys {
    /// Reads a list of keys as [`parse_keys`] does.
    pub fn parse(text: &str) -> Result<Self, KeyListFault> {
        parse_keys(text).map(Self)
    }

    /// Whether no keys are set, so that any caller is admitted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Finds the caller by the key in the request's headers.
    pub fn identify(&self, headers: &HeaderMap) -> Result<Caller, Denied> {
        if self.0.is_empty() {
            return Ok(Caller::Anonymous);
        }
        let presented =
            presented_key(|name| headers.get(name).map(HeaderValue::as_bytes)).ok_or(Denied::NoKey)?;
        let digest: [u8; 32] = Sha256::digest(presented).into();
        find_key(&self.0, &digest).map(|key| Caller::Key(key.name.clone())).ok_or(Denied::UnknownKey)
    }
}

/// The name under which requests are counted: the caller's key, or else its address.
#[must_use]
pub fn rate_key(caller: Option<&Caller>, client_ip: Option<&str>) -> String {
    match caller {
        Some(Caller::Key(name)) => format!("key:{name}"),
        Some(Caller::Anonymous) | None => address_account(client_ip.and_then(|ip| ip.parse().ok())),
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
        let digest = hex::encode(Sha256::digest("correct horse"));
        assert_eq!(
            keys().identify(&header("x-api-key", &digest)),
            Err(Denied::UnknownKey),
            "a digest is not a key"
        );
    }

    #[test]
    fn without_keys_any_caller_is_admitted() {
        assert_eq!(ApiKeys::default().identify(&HeaderMap::new()), Ok(Caller::Anonymous));
    }

    #[test]
    fn requests_are_counted_by_key_or_by_address() {
        let alice = Caller::Key("alice".to_owned());
        assert_eq!(rate_key(Some(&alice), Some("192.0.2.1")), "key:alice");
        assert_eq!(rate_key(Some(&Caller::Anonymous), Some("192.0.2.1")), "ip:192.0.2.1");
        assert_eq!(rate_key(None, Some("2001:db8:1:2::1")), rate_key(None, Some("2001:db8:1:2:ffff::9")));
        assert_eq!(rate_key(None, Some("nonsense")), "ip:unknown");
    }
}
