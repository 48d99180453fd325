//! Where witnesses and proofs of jobs are kept, and under which keys.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{
    faults::{Faults, RawSetting, Setting, raw_setting},
    program::Environment,
};
use edgeprove_artifacts::{
    ArtifactSettings, BucketSettings, KeyRing, KeySettings, LocationSettings, RetryPolicy,
};

/// Where in the data folder the artefacts are, unless they are elsewhere.
const FOLDER: &str = "artifacts";
/// Where in the data folder their key is, unless one is given.
const KEY_FILE: &str = "artifact.key";

/// A folder, or a bucket with what names in it begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Folder(PathBuf),
    Bucket { name: String, prefix: String },
}

impl Setting for Place {
    fn read(text: &str) -> Result<Self, String> {
        let wanted = || "a folder, or a bucket such as s3://my-bucket/my-prefix".to_owned();
        match text.split_once("://") {
            None if !text.is_empty() => Ok(Self::Folder(text.into())),
            Some(("file", path)) if path.starts_with('/') => Ok(Self::Folder(path.into())),
            Some(("s3", rest)) => {
                let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
                let right = is_bucket_name(name) && (prefix.is_empty() || prefix.split('/').all(is_segment));
                let place = || Self::Bucket { name: name.to_owned(), prefix: prefix.to_owned() };
                right.then(place).ok_or_else(wanted)
            }
            _ => Err(wanted()),
        }
    }
}

/// As S3 wants it.
fn is_bucket_name(name: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let is_outer = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (3..=63).contains(&name.len())
        && name.chars().all(is_inner)
        && name.starts_with(is_outer)
        && name.ends_with(is_outer)
}

/// Letters, digits and marks that need no escaping anywhere; no `.` and no `..`.
fn is_segment(segment: &str) -> bool {
    !segment.is_empty()
        && segment.chars().all(|c| c.is_ascii_alphanumeric() || "-_.=".contains(c))
        && segment.chars().any(|c| c != '.')
}

impl Setting for KeyRing {
    const SECRET: bool = true;

    fn read(text: &str) -> Result<Self, String> {
        Self::read(text).ok_or_else(|| {
            "a key of 32 bytes in hex or base64, such as `openssl rand -hex 32` makes, or several separated by commas"
                .to_owned()
        })
    }
}

/// Flags of the artefacts.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Jobs")]
pub struct ArtifactArgs {
    /// Where witnesses and proofs of jobs are kept, encrypted: a folder, or a bucket as `s3://BUCKET/PREFIX`, which
    /// several servers can share and whose endpoint, region and credentials are the usual `AWS_…` variables. Else
    /// `artifacts` in the data folder.
    #[arg(long, env = "EDGEPROVE_ARTIFACTS", value_name = "URL", value_parser = raw_setting::<Place>)]
    artifacts: Option<RawSetting<Place>>,

    /// The key that artefacts are encrypted under: 32 bytes in hex or base64, such as `openssl rand -hex 32` makes. Of
    /// several, separated by commas, the first encrypts and all decrypt. A bucket needs one; for a folder the server
    /// else makes one of its own, `artifact.key` in the data folder. Give it by the environment: a command line can be
    /// read by others on the machine.
    #[arg(long, env = "EDGEPROVE_ARTIFACT_KEY", hide_env_values = true, value_name = "KEYS", allow_hyphen_values = true, value_parser = raw_setting::<KeyRing>)]
    artifact_key: Option<RawSetting<KeyRing>>,
}

impl ArtifactArgs {
    /// Reads the flags. Where no place is named, artefacts have one that goes with the server if they `may_be_lost`; else
    /// `Some(None)`, and nothing can be kept.
    pub fn read(
        self,
        data: Option<&Path>,
        may_be_lost: bool,
        around: &Environment,
        faults: &mut Faults,
    ) -> Option<Option<ArtifactSettings>> {
        let named = self.artifacts.map(|place| faults.take("artifacts", place));
        let given = self.artifact_key.map(|key| faults.take("artifact-key", key));
        let (named, given) = (transposed(named)?, transposed(given)?);
        let Some(place) = named.or_else(|| Some(Place::Folder(data?.join(FOLDER)))) else {
            return Some(
                may_be_lost
                    .then_some(ArtifactSettings { location: LocationSettings::Temporary, keys: KeySettings::Random }),
            );
        };
        let keys = match (given, data.map(|data| data.join(KEY_FILE)), &place) {
            (Some(keys), _, Place::Bucket { .. }) | (Some(keys), None, Place::Folder(_)) => {
                KeySettings::Given(keys)
            }
            (Some(keys), Some(own), Place::Folder(_)) => KeySettings::GivenAndFile(keys, own),
            (None, Some(own), Place::Folder(_)) => KeySettings::File(own),
            (None, None, Place::Folder(_)) => {
                faults.add(
                    "--artifacts (EDGEPROVE_ARTIFACTS): a folder needs a key: set EDGEPROVE_ARTIFACT_KEY, such as \
                     `openssl rand -hex 32` makes, or --data (EDGEPROVE_DATA), where the server keeps one of its own",
                );
                return None;
            }
            (None, _, Place::Bucket { .. }) => {
                faults.add(
                    "--artifacts (EDGEPROVE_ARTIFACTS): a bucket needs a key that all its servers share: set \
                     EDGEPROVE_ARTIFACT_KEY, such as `openssl rand -hex 32` makes",
                );
                return None;
            }
        };
        let place = match place {
            Place::Folder(path) => LocationSettings::Folder(path),
            Place::Bucket { name, prefix } => LocationSettings::Bucket(BucketSettings {
                bucket: name,
                prefix,
                options: around.aws.clone(),
                retry: RetryPolicy::default(),
            }),
        };
        Some(Some(ArtifactSettings { location: place, keys }))
    }
}

/// A flag that is not given is none; one that is given and has a fault is a fault.
#[expect(clippy::option_option, reason = "the outer one tells of faults, the inner one of the flag")]
fn transposed<T>(flag: Option<Option<T>>) -> Option<Option<T>> {
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
    fn nothing_is_kept_where_no_place_is_named() {
        assert!(read(None, None, None).unwrap().is_none());
        assert!(read(None, Some(KEY), None).unwrap().is_none());
    }

    #[test]
    fn the_data_folder_holds_artefacts_and_key() {
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
        assert!(matches!(settings.location, LocationSettings::Folder(path) if path == Path::new("relative/a")));
        assert!(matches!(settings.keys, KeySettings::Given(_)));
    }

    #[test]
    fn a_bucket_has_a_name_and_perhaps_a_prefix() {
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
    fn what_is_wrong_is_told_without_the_key() {
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
            let told = read(Some(url), Some(KEY), Some("/data")).unwrap_err();
            assert!(
                told.contains("--artifacts") && told.contains("s3://my-bucket/my-prefix"),
                "{url}: {told}"
            );
        }
        let told = read(Some("s3://my-bucket"), None, Some("/data")).unwrap_err();
        assert!(told.contains("a bucket needs a key that all its servers share"), "{told}");
        let told = read(Some("/mnt/a"), None, None).unwrap_err();
        assert!(told.contains("a folder needs a key") && told.contains("--data"), "{told}");
        for key in ["", "hunter2", &KEY[2..], &format!("{KEY},")] {
            let told = read(Some("gs://x"), Some(key), None).unwrap_err();
            assert!(told.contains("2 faults") && told.contains("EDGEPROVE_ARTIFACT_KEY"), "{told}");
            assert!(key.is_empty() || !told.contains(key), "{told}");
        }
    }
}
