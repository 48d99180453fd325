//! Who may call, and in whose name requests are counted.

pub use edgeprove_protocol::caller::Denied;
use edgeprove_protocol::caller::{NamedDigest, address_account, parse_keys, presented_key};
use http::{HeaderMap, HeaderValue};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The keys that may call, as digests: whoever reads the settings cannot call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiKeys(Vec<NamedDigest>);

/// In whose name a request comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// The holder of a key of this name.
    Key(String),
    /// Anybody: no keys are set.
    Anonymous,
}

impl ApiKeys {
    /// Reads a list of keys as [`parse_keys`] does.
    pub fn parse(text: &str) -> Result<Self, String> {
        parse_keys(text).map(Self).map_err(|fault| fault.to_string())
    }

    /// Whether anybody may call.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose key a request bears.
    pub fn identify(&self, asked: &HeaderMap) -> Result<Caller, Denied> {
        if self.0.is_empty() {
            return Ok(Caller::Anonymous);
        }
        let presented =
            presented_key(|name| asked.get(name).map(HeaderValue::as_bytes)).ok_or(Denied::NoKey)?;
        let digest: [u8; 32] = Sha256::digest(presented).into();
        // Every key is looked at, and every byte: how long it takes tells nothing.
        let mut found = None;
        for key in &self.0 {
            if bool::from(key.digest.ct_eq(&digest)) {
                found = Some(key);
            }
        }
        found.map(|key| Caller::Key(key.name.clone())).ok_or(Denied::UnknownKey)
    }
}

/// What a request is counted under: the caller's key, or else its address.
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

    fn asked(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_known_key_is_found_either_way_it_is_sent() {
        let caller = Ok(Caller::Key("bob".to_owned()));
        for value in ["Bearer battery staple", "bearer  battery staple "] {
            assert_eq!(keys().identify(&asked("authorization", value)), caller);
        }
        assert_eq!(keys().identify(&asked("x-api-key", "battery staple")), caller);
    }

    #[test]
    fn no_key_and_a_wrong_one_are_told_apart() {
        for (name, value) in
            [("authorization", "Basic Ym9iOng="), ("authorization", "Bearer "), ("cookie", "key=x")]
        {
            assert_eq!(keys().identify(&asked(name, value)), Err(Denied::NoKey), "{value}");
        }
        assert_eq!(keys().identify(&asked("x-api-key", "battery stapl")), Err(Denied::UnknownKey));
        let digest = hex::encode(Sha256::digest("correct horse"));
        assert_eq!(
            keys().identify(&asked("x-api-key", &digest)),
            Err(Denied::UnknownKey),
            "a digest is no key"
        );
    }

    #[test]
    fn without_keys_anybody_may_call() {
        assert_eq!(ApiKeys::default().identify(&HeaderMap::new()), Ok(Caller::Anonymous));
    }

    #[test]
    fn requests_are_counted_by_key_or_else_by_address() {
        let alice = Caller::Key("alice".to_owned());
        assert_eq!(rate_key(Some(&alice), Some("192.0.2.1")), "key:alice");
        assert_eq!(rate_key(Some(&Caller::Anonymous), Some("192.0.2.1")), "ip:192.0.2.1");
        assert_eq!(rate_key(None, Some("2001:db8:1:2::1")), rate_key(None, Some("2001:db8:1:2:ffff::9")));
        assert_eq!(rate_key(None, Some("nonsense")), "ip:unknown");
    }
}
