//! Settings of a deployment: `[vars]` and secrets. They are read once, and all errors are reported together.
//!
//! Variables and secrets of the server ([`is_for_container`]) are not read here. They become the environment of the
//! container.

use std::{collections::BTreeMap, fmt, time::Duration};

use bytesize::ByteSize;
use edgeprove_protocol::{endpoints::Class, headers, limits};
use http::Uri;
use sha2::{Digest as _, Sha256};

use crate::{
    api_keys::{ApiKeys, KeyListFault},
    cors::{Origins, OriginsError},
    lifecycle::LifecycleOptions,
};

/// Variables and secrets by name. Empty ones count as not set.
pub type Vars = BTreeMap<String, String>;

/// Prefixes of the container's own variables: the server's settings, and those of a bucket.
const CONTAINER_PREFIXES: [&str; 2] = ["EDGEPROVE_", "AWS_"];
/// The container's variable for the database that containers share.
const DATABASE_URL: &str = "DATABASE_URL";
/// The server's setting that each container gets from its own object: its number.
pub const INSTANCE_NUMBER: &str = "EDGEPROVE_INSTANCE_NUMBER";
/// The server's setting for the storage of witnesses and proofs of jobs.
const ARTIFACTS: &str = "EDGEPROVE_ARTIFACTS";
/// The server's setting for the secret that edge and server share.
const SERVER_EDGE_SECRET: &str = "EDGEPROVE_EDGE_SECRET";

/// Every setting of the edge itself.
pub const NAMES: &[&str] = &[
    "ALLOWED_ORIGINS",
    "ALLOW_CREDENTIALS",
    "API_KEYS",
    "CONTAINER_INTERNET",
    "EDGE_SECRET",
    "MAX_INSTANCES",
    "OTHER_REQUEST_TIMEOUT",
    "PROVE_REQUEST_TIMEOUT",
    "SLEEP_AFTER",
    "START_TIMEOUT",
    "STOP_TIMEOUT",
    "UPLOAD_MAX",
    "UPSTREAM_URL",
];

/// Those of them that are secrets. No file has them.
pub const SECRETS: &[&str] = &["API_KEYS", "EDGE_SECRET"];

/// How much longer than its time limit a request can keep its container awake.
const LEASE_MARGIN: Duration = Duration::from_secs(30);

/// Whether a variable is passed to the container.
#[must_use]
pub fn is_for_container(name: &str) -> bool {
    name == DATABASE_URL || CONTAINER_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The settings of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The origins whose pages may call.
    pub origins: Origins,
    /// The API keys. Without any, every caller is admitted.
    pub keys: ApiKeys,
    /// The largest number of containers.
    pub max_instances: u16,
    /// The largest body, in bytes.
    pub upload_max_bytes: u64,
    /// The time limits of requests.
    pub timeouts: Timeouts,
    /// The times of a container's lifecycle.
    pub lifecycle: LifecycleOptions,
    /// The server that replaces the containers, if there is one. It has no path.
    pub upstream: Option<Uri>,
    /// The secret that edge and server share.
    pub secret: Option<Secret>,
    /// Whether containers can reach the internet.
    pub container_internet: bool,
    /// The environment of the containers.
    pub container_env: ContainerEnv,
    /// Settings that are valid but probably not intended.
    pub warnings: Vec<String>,
}

/// Time limits of requests, a cold start included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a request that computes a proof.
    pub prove: Duration,
    /// For every other request.
    pub other: Duration,
}

impl Timeouts {
    /// The time limit of a class of endpoints.
    #[must_use]
    pub fn of(&self, class: Class) -> Duration {
        match class {
            Class::Proof => self.prove,
            Class::Info | Class::JobList | Class::Job | Class::Operator | Class::Probe => self.other,
        }
    }
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text, for the header of a request.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Variables of the container by name. Their values are never shown, because the edge's secret is among them.
#[derive(Clone, PartialEq, Eq)]
pub struct ContainerEnv(pub Vec<(String, String)>);

impl fmt::Debug for ContainerEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// Every invalid setting of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", join(.0))]
pub struct SettingsError(pub Vec<InvalidSetting>);

fn join(invalid: &[InvalidSetting]) -> String {
    invalid.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// One invalid setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {fault}")]
pub struct InvalidSetting {
    /// Its name.
    pub name: String,
    /// The error in its value.
    pub fault: SettingFault,
}

/// An error in the value of a setting. No secret is quoted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingFault {
    /// The value is not a boolean.
    #[error("`{0}` is neither true nor false")]
    NotBoolean(String),
    /// The value is not a duration, or it is zero.
    #[error("`{0}` is not a duration such as 30s or 5m")]
    NotDuration(String),
    /// The value is not a size.
    #[error("`{0}` is not a size such as 64MiB")]
    NotSize(String),
    /// The value is not a number of containers.
    #[error("`{0}` is not a number of containers from 1 to {max}", max = MAX_INSTANCES_MAX)]
    NotContainerCount(String),
    /// The value is not the URL of a server.
    #[error("`{0}` is not the URL of a server such as http://127.0.0.1:8080")]
    NotServerUrl(String),
    /// The secret is too short, too long, or has characters that a header cannot carry.
    #[error(
        "it must be {min} to {max} printable ASCII characters without spaces",
        min = headers::EDGE_SECRET_MIN_BYTES,
        max = headers::EDGE_SECRET_MAX_BYTES
    )]
    UnfitSecret,
    /// The setting differs for each container and cannot be set for all.
    #[error("each container gets its own value: remove this variable")]
    SetPerContainer,
    /// The value does not list origins.
    #[error(transparent)]
    Origins(#[from] OriginsError),
    /// The value does not list API keys.
    #[error(transparent)]
    Keys(#[from] KeyListFault),
}

/// The largest value of `MAX_INSTANCES`.
const MAX_INSTANCES_MAX: u16 = 1000;

impl Settings {
    /// Reads the variables.
    pub fn read(vars: &Vars) -> Result<Self, SettingsError> {
        let mut reader = Reader { vars, invalid: Vec::new() };
        let origins = reader.read("ALLOWED_ORIGINS", |text| Ok(Origins::parse(text)?), Origins::any);
        let credentials = reader.read("ALLOW_CREDENTIALS", boolean, || false);
        let origins = origins.and_then(|origins| {
            let allowed = origins.with_credentials(credentials?);
            reader.note("ALLOW_CREDENTIALS", allowed.map_err(SettingFault::from))
        });
        let keys = reader.read("API_KEYS", |text| Ok(ApiKeys::parse(text)?), ApiKeys::default);
        let secret = reader.read("EDGE_SECRET", |text| edge_secret(text).map(Some), || None);
        let max_instances = reader.read("MAX_INSTANCES", container_count, || 1);
        let upload_max = reader.read("UPLOAD_MAX", size, || limits::UPLOAD_MAX_BYTES);
        let prove_default = || Duration::from_millis(limits::REQUEST_TIMEOUT_MS);
        let prove = reader.read("PROVE_REQUEST_TIMEOUT", duration, prove_default);
        let other = reader.read("OTHER_REQUEST_TIMEOUT", duration, || Duration::from_secs(30));
        let sleep_after = reader.read("SLEEP_AFTER", duration, || Duration::from_mins(5));
        let start_timeout = reader.read("START_TIMEOUT", duration, || Duration::from_mins(1));
        let stop_timeout = reader.read("STOP_TIMEOUT", duration, || Duration::from_secs(15));
        let container_internet = reader.read("CONTAINER_INTERNET", boolean, || false);
        let upstream = reader.read("UPSTREAM_URL", |text| server_url(text).map(Some), || None);
        reader.read(INSTANCE_NUMBER, |_| Err::<(), _>(SettingFault::SetPerContainer), || ());
        let Reader { invalid, .. } = reader;
        let settings = (|| {
            Some(Self {
                origins: origins?,
                keys: keys?,
                max_instances: max_instances?,
                upload_max_bytes: upload_max?,
                timeouts: Timeouts { prove: prove?, other: other? },
                lifecycle: LifecycleOptions {
                    sleep_after: sleep_after?,
                    start_timeout: start_timeout?,
                    stop_timeout: stop_timeout?,
                    lease_max: prove?.max(other?) + LEASE_MARGIN,
                },
                container_internet: container_internet?,
                upstream: upstream?,
                secret: secret?,
                container_env: container_env(vars),
                warnings: Vec::new(),
            })
        })();
        match settings {
            Some(settings) if invalid.is_empty() => {
                let warnings = settings.find_warnings(vars);
                Ok(Self { warnings, ..settings })
            }
            Some(_) | None => Err(SettingsError(invalid)),
        }
    }

    /// Whether each container has jobs of its own that the others do not know.
    #[must_use]
    pub fn has_separate_jobs(&self) -> bool {
        self.upstream.is_none() && self.max_instances > 1 && self.container_var(DATABASE_URL).is_none()
    }

    fn container_var(&self, name: &str) -> Option<&str> {
        let mut vars = self.container_env.0.iter();
        vars.find_map(|(own, value)| (own == name).then_some(value.as_str()))
    }

    /// A digest of all settings that a container is started with, as 16 hexadecimal digits.
    #[must_use]
    pub fn container_fingerprint(&self) -> String {
        let mut digest = Sha256::new();
        digest.update([u8::from(self.container_internet)]);
        for text in self.container_env.0.iter().flat_map(|(name, value)| [name, value]) {
            digest.update(text.len().to_le_bytes());
            digest.update(text);
        }
        hex::encode(&digest.finalize()[..8])
    }

    fn find_warnings(&self, vars: &Vars) -> Vec<String> {
        let mut warnings = Vec::new();
        let has_containers = self.upstream.is_none();
        if self.keys.is_empty() {
            warnings.push("API_KEYS is not set: any caller may prove".to_owned());
        }
        if self.secret.is_none() && !has_containers {
            warnings.push(
                "EDGE_SECRET is not set: the server at UPSTREAM_URL cannot distinguish the edge from other callers"
                    .to_owned(),
            );
        }
        let has_database = self.container_var(DATABASE_URL).is_some();
        let has_bucket = self.container_var(ARTIFACTS).is_some_and(|url| url.starts_with("s3://"));
        if has_containers && !self.container_internet {
            for (name, is_set) in [(DATABASE_URL, has_database), (ARTIFACTS, has_bucket)] {
                if is_set {
                    warnings.push(format!(
                        "{name} is set and CONTAINER_INTERNET is not true: no container can reach it"
                    ));
                }
            }
        }
        if has_containers && has_database && !has_bucket {
            warnings.push(format!(
                "{DATABASE_URL} is set and {ARTIFACTS} is not a bucket: a container cannot read the witnesses that \
                 another one accepted"
            ));
        }
        let unknown = vars.keys().filter(|name| !NAMES.contains(&name.as_str()) && !is_for_container(name));
        warnings.extend(unknown.map(|name| format!("{name} is not a setting of the edge")));
        warnings
    }
}

/// The environment of the containers.
fn container_env(vars: &Vars) -> ContainerEnv {
    let own = vars.iter().filter(|(name, value)| is_for_container(name) && !value.is_empty());
    let mut env: Vec<_> = own.map(|(name, value)| (name.clone(), value.clone())).collect();
    if let Some(secret) = vars.get("EDGE_SECRET").filter(|secret| !secret.is_empty()) {
        env.push((SERVER_EDGE_SECRET.to_owned(), secret.clone()));
    }
    ContainerEnv(env)
}

struct Reader<'a> {
    vars: &'a Vars,
    invalid: Vec<InvalidSetting>,
}

impl Reader<'_> {
    /// The value of a variable, or its default if it is not set. An invalid one is noted and is `None`.
    fn read<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, SettingFault>,
        default: impl FnOnce() -> T,
    ) -> Option<T> {
        match self.vars.get(name).map(|text| text.trim()).filter(|text| !text.is_empty()) {
            Some(text) => self.note(name, parse(text)),
            None => Some(default()),
        }
    }

    fn note<T>(&mut self, name: &str, outcome: Result<T, SettingFault>) -> Option<T> {
        let note = |fault| self.invalid.push(InvalidSetting { name: name.to_owned(), fault });
        outcome.map_err(note).ok()
    }
}

fn boolean(text: &str) -> Result<bool, SettingFault> {
    text.parse().map_err(|_| SettingFault::NotBoolean(text.to_owned()))
}

fn duration(text: &str) -> Result<Duration, SettingFault> {
    let duration = humantime::parse_duration(text).ok().filter(|time| !time.is_zero());
    duration.ok_or_else(|| SettingFault::NotDuration(text.to_owned()))
}

fn size(text: &str) -> Result<u64, SettingFault> {
    let size = text.parse::<ByteSize>().map_err(|_| SettingFault::NotSize(text.to_owned()))?;
    Ok(size.as_u64())
}

fn container_count(text: &str) -> Result<u16, SettingFault> {
    let count = text.parse().ok().filter(|count| (1..=MAX_INSTANCES_MAX).contains(count));
    count.ok_or_else(|| SettingFault::NotContainerCount(text.to_owned()))
}

fn edge_secret(text: &str) -> Result<Secret, SettingFault> {
    let is_fit = headers::is_acceptable_edge_secret(text.as_bytes());
    if is_fit { Ok(Secret(text.to_owned())) } else { Err(SettingFault::UnfitSecret) }
}

fn server_url(text: &str) -> Result<Uri, SettingFault> {
    let not_a_server = || SettingFault::NotServerUrl(text.to_owned());
    let uri: Uri = text.parse().map_err(|_| not_a_server())?;
    let is_server = matches!(uri.scheme_str(), Some("http" | "https"))
        && uri.authority().is_some()
        && uri.path() == "/"
        && uri.query().is_none();
    if is_server { Ok(uri) } else { Err(not_a_server()) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The settings for these variables.
    pub(crate) fn settings(pairs: &[(&str, &str)]) -> Settings {
        Settings::read(&vars(pairs)).unwrap()
    }

    fn vars(pairs: &[(&str, &str)]) -> Vars {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_setting_has_a_default() {
        let settings = Settings::read(&vars(&[("ALLOWED_ORIGINS", " ")])).unwrap();
        assert_eq!(settings.max_instances, 1);
        assert_eq!(settings.timeouts.prove, Duration::from_mins(2));
        assert_eq!(settings.lifecycle.sleep_after, Duration::from_mins(5));
        assert_eq!(settings.upload_max_bytes, 64 << 20);
        assert_eq!(settings.warnings, ["API_KEYS is not set: any caller may prove"]);
        assert!(
            settings.upstream.is_none() && settings.secret.is_none() && settings.container_env.0.is_empty()
        );
    }

    #[test]
    fn all_errors_name_their_variable_and_quote_no_secret() {
        let error = Settings::read(&vars(&[
            ("ALLOWED_ORIGINS", "https://a.example/path"),
            ("API_KEYS", "alice"),
            ("EDGE_SECRET", "too short"),
            ("MAX_INSTANCES", "0"),
            ("SLEEP_AFTER", "soon"),
            ("UPLOAD_MAX", "much"),
            ("UPSTREAM_URL", "127.0.0.1:8080"),
            ("ALLOW_CREDENTIALS", "maybe"),
        ]))
        .unwrap_err();
        let message = error.to_string();
        for name in [
            "ALLOWED_ORIGINS",
            "API_KEYS",
            "EDGE_SECRET",
            "MAX_INSTANCES",
            "SLEEP_AFTER",
            "UPLOAD_MAX",
            "UPSTREAM_URL",
            "ALLOW_CREDENTIALS",
        ] {
            assert_eq!(error.0.iter().filter(|invalid| invalid.name == name).count(), 1, "{message}");
        }
        assert!(!message.contains("too short") && !message.contains("alice"), "{message}");
    }

    #[test]
    fn credentials_for_any_origin_are_refused() {
        let error = Settings::read(&vars(&[("ALLOW_CREDENTIALS", "true")])).unwrap_err();
        assert!(error.to_string().starts_with("ALLOW_CREDENTIALS: "), "{error}");
        let named = vars(&[("ALLOW_CREDENTIALS", "true"), ("ALLOWED_ORIGINS", "https://a.example")]);
        assert!(Settings::read(&named).is_ok());
    }

    #[test]
    fn a_container_gets_its_variables_and_the_secret() {
        let settings = Settings::read(&vars(&[
            ("EDGEPROVE_PROVER_QUEUE_MAX", "7"),
            ("EDGEPROVE_WIDTH", ""),
            ("EDGE_SECRET", "0123456789abcdef"),
            ("ALOWED_ORIGINS", "https://a.example"),
        ]))
        .unwrap();
        assert_eq!(
            settings.container_env.0,
            [
                ("EDGEPROVE_PROVER_QUEUE_MAX".to_owned(), "7".to_owned()),
                ("EDGEPROVE_EDGE_SECRET".to_owned(), "0123456789abcdef".to_owned()),
            ]
        );
        assert!(settings.warnings.contains(&"ALOWED_ORIGINS is not a setting of the edge".to_owned()));
        let shown = format!("{settings:?}");
        assert!(
            !shown.contains("0123456789abcdef") && shown.contains("EDGEPROVE_PROVER_QUEUE_MAX"),
            "{shown}"
        );
    }

    #[test]
    fn storage_of_jobs_that_is_out_of_reach_is_a_warning() {
        let shared = [
            ("API_KEYS", "alice:0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"),
            ("DATABASE_URL", "postgres://u:hidden@db.example/jobs"),
            ("AWS_ENDPOINT", "https://r2.example"),
            ("EDGEPROVE_ARTIFACTS", "s3://bucket/jobs"),
            ("EDGEPROVE_ARTIFACT_KEY", "0f"),
            ("MAX_INSTANCES", "3"),
        ];
        let with = |more: &[(&str, &str)]| Settings::read(&vars(&[&shared[..], more].concat())).unwrap();
        let settings = with(&[("CONTAINER_INTERNET", "true")]);
        let names: Vec<_> = settings.container_env.0.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["AWS_ENDPOINT", "DATABASE_URL", "EDGEPROVE_ARTIFACTS", "EDGEPROVE_ARTIFACT_KEY"]);
        assert_eq!(settings.warnings, [""; 0]);
        assert!(!format!("{settings:?}").contains("hidden"));
        let warnings = with(&[]).warnings.join("\n");
        assert!(warnings.contains("DATABASE_URL") && warnings.contains("EDGEPROVE_ARTIFACTS"), "{warnings}");
        let warnings = with(&[("CONTAINER_INTERNET", "true"), ("EDGEPROVE_ARTIFACTS", "/jobs")]).warnings;
        assert!(warnings.len() == 1 && warnings[0].contains("not a bucket"), "{warnings:?}");
    }

    #[test]
    fn containers_without_a_database_have_separate_jobs() {
        let has_separate_jobs = |pairs: &[_]| settings(pairs).has_separate_jobs();
        assert!(!has_separate_jobs(&[]), "one container has all jobs");
        assert!(has_separate_jobs(&[("MAX_INSTANCES", "2")]));
        assert!(!has_separate_jobs(&[
            ("MAX_INSTANCES", "2"),
            ("DATABASE_URL", "postgres://db.example/jobs")
        ]));
        assert!(!has_separate_jobs(&[("MAX_INSTANCES", "2"), ("UPSTREAM_URL", "http://127.0.0.1:8080")]));
    }

    #[test]
    fn one_number_for_all_containers_is_an_error() {
        let error = Settings::read(&vars(&[("EDGEPROVE_INSTANCE_NUMBER", "3")])).unwrap_err();
        assert!(error.to_string().starts_with("EDGEPROVE_INSTANCE_NUMBER: "), "{error}");
    }

    #[test]
    fn only_settings_of_the_container_change_its_fingerprint() {
        let with = |queue, secret, other| {
            let vars = vars(&[("EDGEPROVE_PROVER_QUEUE_MAX", queue), ("EDGE_SECRET", secret), other]);
            Settings::read(&vars).unwrap().container_fingerprint()
        };
        let secret = "0123456789abcdef";
        let fingerprint = with("7", secret, ("SLEEP_AFTER", "5m"));
        assert_eq!(fingerprint, with("7", secret, ("SLEEP_AFTER", "1m")));
        for changed in [
            with("77", secret, ("SLEEP_AFTER", "5m")),
            with("7", "fedcba9876543210", ("SLEEP_AFTER", "5m")),
            with("7", secret, ("CONTAINER_INTERNET", "true")),
            with("7", secret, ("EDGEPROVE_WIDTH", "wide")),
        ] {
            assert_ne!(changed, fingerprint);
        }
        assert!(fingerprint.len() == 16 && !fingerprint.contains(secret));
    }
}
