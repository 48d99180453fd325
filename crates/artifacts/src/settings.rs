//! Settings of the store: location and keys.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use zeroize::Zeroizing;

use crate::encryption_keys::KeyRing;

/// Location and keys of artifacts.
#[derive(Debug, Clone)]
pub struct ArtifactSettings {
    /// The location.
    pub location: LocationSettings,
    /// The keys.
    pub keys: KeySettings,
}

/// The location of artifacts.
#[derive(Debug, Clone)]
pub enum LocationSettings {
    /// A folder.
    Folder(PathBuf),
    /// A bucket.
    Bucket(BucketSettings),
    /// A new folder that is removed with the store.
    Temporary,
}

/// The keys of artifacts: from the settings, from the data folder, or both. With both, the keys of the settings come
/// first, and the key of the data folder decrypts what it encrypted before.
#[derive(Debug, Clone)]
pub enum KeySettings {
    /// The keys of the settings.
    Given(KeyRing),
    /// The keys of the settings, and the key in this file if it exists.
    GivenAndFile(KeyRing, PathBuf),
    /// The key in this file, which is created if it does not exist.
    File(PathBuf),
    /// A random key in memory: the artifacts cannot be read after the store is dropped.
    Random,
}

/// A bucket, its credentials and its time limits.
#[derive(Debug, Clone)]
pub struct BucketSettings {
    /// The bucket's name.
    pub bucket: String,
    /// Prefix of the objects' names, without a slash at either end; may be empty.
    pub prefix: String,
    /// Endpoint, region, credentials and the like.
    pub options: BucketOptions,
    /// Time limits and retries.
    pub retry: RetryPolicy,
}

/// The variables `AWS_…` with their values. `Debug` prints the names only.
#[derive(Clone, Default)]
pub struct BucketOptions(BTreeMap<String, Zeroizing<String>>);

impl BucketOptions {
    /// Every option with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for BucketOptions {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(options: I) -> Self {
        Self(options.into_iter().map(|(name, value)| (name.into(), Zeroizing::new(value.into()))).collect())
    }
}

impl fmt::Debug for BucketOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Time limits and retries of requests to a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Longest wait for a connection.
    pub connect: Duration,
    /// Longest time without progress within a request. A part of an upload must be sent within it.
    pub silence: Duration,
    /// Longest time for a call without content, such as a delete, all tries together.
    pub brief: Duration,
    /// Longest time for an upload or a download, all tries together.
    pub transfer: Duration,
    /// Number of retries of a request.
    pub retries: usize,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            silence: Duration::from_secs(20),
            brief: Duration::from_secs(15),
            transfer: Duration::from_mins(2),
            retries: 3,
        }
    }
}
