//! Tokens in the links of jobs: with one, anybody may read one job for some time.
//!
//! A token is the time at which it expires and an HMAC over that time and the id of the job: `EXPIRES.HMAC`. Its key is
//! derived from the key of the artifacts, so all servers that share jobs accept each other's tokens, and nothing is stored.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use edgeprove_artifacts::ArtifactStore;
use edgeprove_protocol::JobId;
use subtle::ConstantTimeEq as _;

/// How long a token is valid. A caller gets a new one whenever it reads the job.
pub const VALID_FOR: Duration = Duration::from_hours(1);
/// Makes the digests of tokens differ from every other digest of the store.
const DOMAIN: &[u8] = b"edgeprove link token v1";
/// Longest text that is parsed.
const TEXT_MAX_BYTES: usize = 80;

/// Makes and checks the tokens of links.
#[derive(Debug, Clone)]
pub struct LinkTokens {
    artifacts: Arc<ArtifactStore>,
}

impl LinkTokens {
    /// Tokens under the key of this store.
    #[must_use]
    pub fn new(artifacts: Arc<ArtifactStore>) -> Self {
        Self { artifacts }
    }

    /// A new token for a job.
    #[must_use]
    pub fn issue(&self, id: JobId) -> String {
        self.issue_at(id, SystemTime::now())
    }

    /// Whether this is a token for the job that has not expired.
    #[must_use]
    pub fn check(&self, id: JobId, token: &str) -> bool {
        self.check_at(id, token, SystemTime::now())
    }

    fn issue_at(&self, id: JobId, now: SystemTime) -> String {
        let expires = unix_seconds(now) + VALID_FOR.as_secs();
        format!("{expires}.{}", URL_SAFE_NO_PAD.encode(self.digest(id, expires)))
    }

    fn check_at(&self, id: JobId, token: &str, now: SystemTime) -> bool {
        if token.len() > TEXT_MAX_BYTES {
            return false;
        }
        let Some((expires, digest)) = token.split_once('.') else { return false };
        let (Ok(expires), Ok(digest)) = (expires.parse(), URL_SAFE_NO_PAD.decode(digest)) else {
            return false;
        };
        let is_authentic: bool = self.digest(id, expires).as_slice().ct_eq(&digest).into();
        is_authentic && unix_seconds(now) < expires
    }

    fn digest(&self, id: JobId, expires: u64) -> [u8; 32] {
        self.artifacts.fingerprint(&[DOMAIN, id.to_string().as_bytes(), &expires.to_be_bytes()])
    }
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use edgeprove_artifacts::{ArtifactKey, ArtifactSettings, KeyRing, KeySettings, LocationSettings};

    use super::*;

    fn tokens(key: &ArtifactKey) -> LinkTokens {
        let keys = KeySettings::Given(KeyRing::new(key.clone()));
        let settings = ArtifactSettings { location: LocationSettings::Temporary, keys };
        LinkTokens::new(Arc::new(ArtifactStore::open(&settings).unwrap()))
    }

    #[test]
    fn a_token_is_for_one_job_and_for_some_time() {
        let key = ArtifactKey::random().unwrap();
        let (ours, of_another_server) = (tokens(&key), tokens(&key));
        let [id, other] = [1, 2].map(|byte| JobId::new(None, [byte; 16]).unwrap());
        let now = SystemTime::now();
        let token = ours.issue_at(id, now);
        assert!(ours.check_at(id, &token, now) && of_another_server.check_at(id, &token, now));
        assert!(ours.check_at(id, &token, now + VALID_FOR - Duration::from_secs(2)));
        assert!(!ours.check_at(id, &token, now + VALID_FOR));
        assert!(!ours.check_at(other, &token, now));
        let unrelated = tokens(&ArtifactKey::random().unwrap());
        assert!(!unrelated.check_at(id, &token, now));
    }

    #[test]
    fn a_changed_token_is_invalid() {
        let tokens = tokens(&ArtifactKey::random().unwrap());
        let id = JobId::new(None, [7; 16]).unwrap();
        let token = tokens.issue(id);
        assert!(tokens.check(id, &token));
        let (expires, digest) = token.split_once('.').unwrap();
        let later = expires.parse::<u64>().unwrap() + 1;
        for wrong in [
            format!("{later}.{digest}"),
            format!("{expires}.{}", &digest[1..]),
            format!("{expires}."),
            digest.to_owned(),
            String::new(),
            "x".repeat(10_000),
        ] {
            assert!(!tokens.check(id, &wrong), "{wrong}");
        }
    }
}
