//! Location and keys of artifacts: the witnesses and proofs of jobs.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{
    environment::Environment,
    setting::{Faults, RawSetting, Setting, raw_setting},
};
use edgeprove_artifacts::{
    ArtifactSettings, BucketSettings, KeyRing, KeySettings, LocationSettings, RetryPolicy,
};

/// Default folder of artifacts in the data folder.
const FOLDER: &str = "artifacts";
/// Key file in the data folder.
const KEY_FILE: &str = "artifact.key";

/// A folder, or a bucket with the prefix of its objects' names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Location {
    Folder(PathBuf),
    Bucket { name: String, prefix: String },
}

impl Setting for Location {
    fn read(text: &str) -> Result<Self, String> {
        let wanted = || "a folder, or a bucket such as s3://my-bucket/my-prefix".to_owned();
        match text.split_once("://") {
            None if !text.is_empty() => Ok(Self::Folder(text.into())),
            Some(("file", path)) if path.starts_with('/') => Ok(Self::Folder(path.into())),
            Some(("s3", rest)) => {
                let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
                let is_valid =
                    is_bucket_name(name) && (prefix.is_empty() || prefix.split('/').all(is_segment));
                let location = || Self::Bucket { name: name.to_owned(), prefix: prefix.to_owned() };
                is_valid.then(location).ok_or_else(wanted)
            }
            _ => Err(wanted()),
        }
    }
}

/// The rule of S3 for bucket names.
fn is_bucket_name(name: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let is_outer = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (3..=63).contains(&name.len())
        && name.chars().all(is_inner)
        && name.starts_with(is_outer)
        && name.ends_with(is_outer)
}

/// Whether a part of a prefix has only characters that need no escaping, and is neither `.` nor `..`.
fn is_segment(segment: &str) -> bool {
    !segment.is_empty()
        && segment.chars().all(|c| c.is_ascii_alphanumeric() || "-_.=".contains(c))
        && segment.chars().any(|c| c != '.')
}

impl Setting for KeyRing {
    const SECRET: bool = true;

    fn read(text: &str) -> Result<Self, String> {
        Self::read(text).ok_or_else(|| {
            "a key of 32 bytes in hex or base64, for example from `openssl rand -hex 32`, or several separated by commas"
                .to_owned()
        })
    }
}

/// Flags of artifacts.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Jobs")]
pub struct ArtifactArgs {
    /// Location of the encrypted witnesses and proofs of jobs: a folder, or a bucket `s3://BUCKET/PREFIX` that several
    /// servers can share. Endpoint, region and credentials of a bucket are the usual `AWS_…` variables. Default:
    /// `artifacts` in the data folder.
    #[arg(long, env = "EDGEPROVE_ARTIFACTS", value_name = "URL", value_parser = raw_setting::<Location>)]
    artifacts: Option<RawSetting<Location>>,

    /// Key that encrypts artifacts: 32 bytes in hex or base64, for example from `openssl rand -hex 32`. Of several
    /// keys, separated by commas, the first encrypts and all decrypt. A bucket requires a key. Default for a folder:
    /// `artifact.key` in the data folder, which the server creates. Use the environment variable, because other users
    /// of the machine can read a command line.
    #[arg(long, env = "EDGEPROVE_ARTIFACT_KEY", hide_env_values = true, value_name = "KEYS", allow_hyphen_values = true, value_parser = raw_setting::<KeyRing>)]
    artifact_key: Option<RawSetting<KeyRing>>,
}

impl ArtifactArgs {
    /// Reads the flags. Without a location, artifacts are in a temporary folder if they `may_be_lost`; else the
    /// settings are `Some(None)`, because nothing can be stored.
    pub fn read(
        self,
        data: Option<&Path>,
        may_be_lost: bool,
        environment: &Environment,
        faults: &mut Faults,
    ) -> Option<Option<ArtifactSettings>> {
        let named = self.artifacts.map(|location| faults.take("artifacts", location));
        let given = self.artifact_key.map(|key| faults.take("artifact-key", key));
        let (named, given) = (valid(named)?, valid(given)?);
        let Some(location) = named.or_else(|| Some(Location::Folder(data?.join(FOLDER)))) else {
            return Some(may_be_lost.then_some(ArtifactSettings {
                location: LocationSettings::Temporary,
                keys: KeySettings::Random,
            }));
        };
        let keys = match (given, data.map(|data| data.join(KEY_FILE)), &location) {
            (Some(keys), _, Location::Bucket { .. }) | (Some(keys), None, Location::Folder(_)) => {
                KeySettings::Given(keys)
            }
            (Some(keys), Some(file), Location::Folder(_)) => KeySettings::GivenAndFile(keys, file),
            (None, Some(file), Location::Folder(_)) => KeySettings::File(file),
            (None, None, Location::Folder(_)) => {
                faults.add(
                    "--artifacts (EDGEPROVE_ARTIFACTS): a folder needs a key: set EDGEPROVE_ARTIFACT_KEY, \
                     for example to the output of `openssl rand -hex 32`, or --data (EDGEPROVE_DATA), where the server \
                     creates a key",
                );
                return None;
            }
            (None, _, Location::Bucket { .. }) => {
                faults.add(
                    "--artifacts (EDGEPROVE_ARTIFACTS): a bucket needs a key that all its servers share: set \
                     EDGEPROVE_ARTIFACT_KEY, for example to the output of `openssl rand -hex 32`",
                );
                return None;
            }
        };
        let location = match location {
            Location::Folder(path) => LocationSettings::Folder(path),
            Location::Bucket { name, prefix } => LocationSettings::Bucket(BucketSettings {
                bucket: name,
                prefix,
                options: environment.aws.clone(),
                retry: RetryPolicy::default(),
            }),
        };
        Some(Some(ArtifactSettings { location, keys }))
    }
}

/// `Some(None)` for a flag that is not given, `None` for an invalid one.
#[expect(clippy::option_option, reason = "the outer option is about errors, the inner one about the flag")]
fn valid<T>(flag: Option<Option<T>>) -> Option<Option<T>> {
    match flag {
        None => Some(None),
        Some(None) => None,
        Some(Some(value)) => Some(Some(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";

    fn read(
        artifacts: Option<&str>,
        key: Option<&str>,
        data: Option<&str>,
    ) -> Result<Option<ArtifactSettings>, String> {
        fn flag<T: Setting>(text: Option<&str>) -> Option<RawSetting<T>> {
            text.and_then(|text| raw_setting(text).ok())
        }
        let args = ArtifactArgs { artifacts: flag(artifacts), artifact_key: flag(key) };
        let mut faults = Faults::default();
        let settings = args.read(data.map(Path::new), false, &Environment::default(), &mut faults);
        faults.finish(settings).map_err(|error| error.to_string())
    }

    #[test]
    fn without_a_location_nothing_can_be_stored() {
        assert!(read(None, None, None).unwrap().is_none());
        assert!(read(None, Some(KEY), None).unwrap().is_none());
    }

    #[test]
    fn the_data_folder_contains_artifacts_and_key() {
        let settings = read(None, None, Some("/data")).unwrap().unwrap();
        assert!(
            matches!(settings.location, LocationSettings::Folder(path) if path == Path::new("/data/artifacts"))
        );
        assert!(matches!(settings.keys, KeySettings::File(path) if path == Path::new("/data/artifact.key")));
        let settings = read(Some("file:///mnt/a"), Some(KEY), Some("/data")).unwrap().unwrap();
        assert!(matches!(settings.location, LocationSettings::Folder(path) if path == Path::new("/mnt/a")));
        assert!(
            matches!(settings.keys, KeySettings::GivenAndFile(_, path) if path == Path::new("/data/artifact.key"))
        );
        let settings = read(Some("relative/a"), Some(KEY), None).unwrap().unwrap();
        assert!(
            matches!(settings.location, LocationSettings::Folder(path) if path == Path::new("relative/a"))
        );
        assert!(matches!(settings.keys, KeySettings::Given(_)));
    }

    #[test]
    fn a_bucket_has_a_name_and_an_optional_prefix() {
        for (url, wanted) in [
            ("s3://my-bucket", ("my-bucket", "")),
            ("s3://my-bucket/", ("my-bucket", "")),
            ("s3://a.b-c9/edgeprove/v1/", ("a.b-c9", "edgeprove/v1")),
        ] {
            let LocationSettings::Bucket(bucket) =
                read(Some(url), Some(KEY), Some("/data")).unwrap().unwrap().location
            else {
                panic!("{url} is a bucket");
            };
            assert_eq!((bucket.bucket.as_str(), bucket.prefix.as_str()), wanted);
        }
    }

    #[test]
    fn errors_never_show_the_key() {
        for url in [
            "",
            "s3://",
            "s3://B",
            "s3://ab",
            "s3://-ab",
            "s3://my-bucket//a",
            "s3://my-bucket/a/../b",
            "gs://my-bucket",
            "file://host/a",
        ] {
            let message = read(Some(url), Some(KEY), Some("/data")).unwrap_err();
            assert!(
                message.contains("--artifacts") && message.contains("s3://my-bucket/my-prefix"),
                "{url}: {message}"
            );
        }
        let message = read(Some("s3://my-bucket"), None, Some("/data")).unwrap_err();
        assert!(message.contains("a bucket needs a key that all its servers share"), "{message}");
        let message = read(Some("/mnt/a"), None, None).unwrap_err();
        assert!(message.contains("a folder needs a key") && message.contains("--data"), "{message}");
        for key in ["", "hunter2", &KEY[2..], &format!("{KEY},")] {
            let message = read(Some("gs://x"), Some(key), None).unwrap_err();
            assert!(message.contains("2 errors") && message.contains("EDGEPROVE_ARTIFACT_KEY"), "{message}");
            assert!(key.is_empty() || !message.contains(key), "{message}");
        }
    }
}
