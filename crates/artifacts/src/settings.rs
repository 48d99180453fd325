//! Where artefacts are kept and under which keys; the room `config` fills it in.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use zeroize::Zeroizing;

use super::keys::KeyRing;

/// Where artefacts are kept and under which keys.
#[derive(Debug, Clone)]
pub struct ArtifactSettings {
    /// Where.
    pub place: PlaceSettings,
    /// Under which keys.
    pub keys: KeySettings,
}

/// Where artefacts are kept.
#[derive(Debug, Clone)]
pub enum PlaceSettings {
    /// In a folder.
    Folder(PathBuf),
    /// In a bucket.
    Bucket(BucketSettings),
    /// In a folder that goes with the store.
    Scratch,
}

/// The keys of artefacts: those that are given, that of the data folder, or both. With both, those that are given come
/// first, and the other still decrypts what it encrypted before.
#[derive(Debug, Clone)]
pub enum KeySettings {
    /// Those that are given.
    Given(KeyRing),
    /// Those that are given, and the one in this file if there is one.
    GivenOr(KeyRing, PathBuf),
    /// The one in this file, which is made if need be.
    Own(PathBuf),
    /// One that nobody else ever has: what it encrypts is lost with the store.
    New,
}

/// A bucket and how to reach it.
#[derive(Debug, Clone)]
pub struct BucketSettings {
    /// Its name.
    pub bucket: String,
    /// What the artefacts' names begin with, without slashes at the ends; may be empty.
    pub prefix: String,
    /// Endpoint, region, credentials and the like.
    pub options: BucketOptions,
    /// How long it is waited for.
    pub patience: RetryPolicy,
}

/// The variables `AWS_…` with their values, which are shown nowhere.
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

/// How long a bucket is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Longest wait for a connection.
    pub connect: Duration,
    /// Longest silence within a request. A part of an upload must be through in this time.
    pub silence: Duration,
    /// Longest time for a call that moves no content, all tries together.
    pub brief: Duration,
    /// Longest time for an upload or a download, all tries together.
    pub transfer: Duration,
    /// How often a request is tried again.
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
