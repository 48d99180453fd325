//! What the deployment is told by `[vars]` and secrets: read once, every fault told at once.
//!
//! Variables and secrets that the server knows ([`is_for_container`]) are not for the edge: they become the container's
//! environment as they are.

use std::{collections::BTreeMap, fmt, time::Duration};

use bytesize::ByteSize;
use edgeprove_protocol::{headers, limits};
use http::Uri;
use sha2::{Digest as _, Sha256};

use crate::{access::ApiKeys, cors::Origins, lifecycle::LifecycleOptions};

/// Variables and secrets by name. Empty ones count as not set.
pub type Vars = BTreeMap<String, String>;

/// What the names of the container's own variables begin with: the server's settings, and those of a bucket.
const CONTAINER_PREFIXES: [&str; 2] = ["EDGEPROVE_", "AWS_"];
/// Another of them: the database that containers share.
const DATABASE_URL: &str = "DATABASE_URL";
/// Of the server's settings the one that each container gets from its own object.
const INSTANCE_NUMBER: &str = "EDGEPROVE_INSTANCE_NUMBER";
/// Where the server keeps witnesses and proofs of jobs.
const ARTIFACTS: &str = "EDGEPROVE_ARTIFACTS";

/// Every variable that the edge itself understands.
pub const NAMES: &[&str] = &[
    "ALLOWED_ORIGINS",
    "ALLOW_CREDENTIALS",
    "API_KEYS",
    "CONTAINER_INTERNET",
    "EDGE_SECRET",
    "MAX_INSTANCES",
    "PROVE_TIMEOUT",
    "REQUEST_TIMEOUT",
    "SLEEP_AFTER",
    "START_TIMEOUT",
    "STOP_TIMEOUT",
    "UPLOAD_MAX",
    "UPSTREAM_URL",
];

/// Those of them that are secrets: they stand in no file.
pub const SECRETS: &[&str] = &["API_KEYS", "EDGE_SECRET"];

/// What a request may outlast its time limit by before the container is let go all the same.
const LEASE_MARGIN: Duration = Duration::from_secs(30);

/// Whether a variable is passed on to the container.
#[must_use]
pub fn is_for_container(name: &str) -> bool {
    name == DATABASE_URL || CONTAINER_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The settings of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whose pages may call.
    pub origins: Origins,
    /// Who may call; anybody where it is empty.
    pub keys: ApiKeys,
    /// How many containers there are at most.
    pub instances: u16,
    /// Largest body, in bytes.
    pub upload_max_bytes: u64,
    /// How long requests may take.
    pub timeouts: Timeouts,
    /// When containers start and sleep.
    pub lifecycle: LifecycleOptions,
    /// A server that stands in for the containers; without a path.
    pub upstream: Option<Uri>,
    /// What proves to the container that a request comes from the edge.
    pub secret: Option<Secret>,
    /// Whether the container may reach the internet.
    pub container_internet: bool,
    /// The container's environment.
    pub container_env: ContainerEnv,
    /// What works but is unlikely to be meant.
    pub warnings: Vec<String>,
}

/// How long requests may take, a cold start included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// A request that proves.
    pub prove: Duration,
    /// Any other.
    pub other: Duration,
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text, for the header it goes into.
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

/// Variables of the container by name. Values are never shown: the edge's secret is among them.
#[derive(Clone, PartialEq, Eq)]
pub struct ContainerEnv(pub Vec<(String, String)>);

impl fmt::Debug for ContainerEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// Settings that cannot be used: one line for each fault, each naming its variable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct SettingsError(pub Vec<String>);

impl Settings {
    /// Reads the variables.
    pub fn read(vars: &Vars) -> Result<Self, SettingsError> {
        let mut reader = Reader { vars, faults: Vec::new() };
        let origins = reader.take("ALLOWED_ORIGINS", Origins::parse, Origins::any);
        let credentials = reader.take("ALLOW_CREDENTIALS", boolean, || false);
        let origins = origins.and_then(|origins| {
            let allowed = origins.with_credentials(credentials?);
            reader.keep("ALLOW_CREDENTIALS", allowed)
        });
        let keys = reader.take("API_KEYS", ApiKeys::parse, ApiKeys::default);
        let secret = reader.take("EDGE_SECRET", |text| edge_secret(text).map(Some), || None);
        let instances = reader.take("MAX_INSTANCES", instances, || 1);
        let upload_max = reader.take("UPLOAD_MAX", size, || limits::UPLOAD_MAX_BYTES);
        let prove =
            reader.take("PROVE_TIMEOUT", duration, || Duration::from_millis(limits::REQUEST_TIMEOUT_MS));
        let other = reader.take("REQUEST_TIMEOUT", duration, || Duration::from_secs(30));
        let sleep_after = reader.take("SLEEP_AFTER", duration, || Duration::from_mins(5));
        let start_timeout = reader.take("START_TIMEOUT", duration, || Duration::from_mins(1));
        let stop_timeout = reader.take("STOP_TIMEOUT", duration, || Duration::from_secs(15));
        let container_internet = reader.take("CONTAINER_INTERNET", boolean, || false);
        let upstream = reader.take("UPSTREAM_URL", |text| upstream_url(text).map(Some), || None);
        reader.take(
            INSTANCE_NUMBER,
            |_| Err::<(), _>("each container gets its own: take it out".to_owned()),
            || (),
        );
        let Reader { faults, .. } = reader;
        let settings = (|| {
            Some(Self {
                origins: origins?,
                keys: keys?,
                instances: instances?,
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
            Some(settings) if faults.is_empty() => {
                let warnings = settings.doubts(vars);
                Ok(Self { warnings, ..settings })
            }
            _ => Err(SettingsError(faults)),
        }
    }

    /// Whether each container keeps jobs of its own, which the others know nothing of.
    #[must_use]
    pub fn jobs_are_scattered(&self) -> bool {
        self.upstream.is_none() && self.instances > 1 && self.container_var(DATABASE_URL).is_none()
    }

    fn container_var(&self, name: &str) -> Option<&str> {
        let mut vars = self.container_env.0.iter();
        vars.find_map(|(own, value)| (own == name).then_some(value.as_str()))
    }

    /// Stands for all that a container is started with, and gives nothing of it away: 16 hexadecimal digits.
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

    fn doubts(&self, vars: &Vars) -> Vec<String> {
        let mut doubts = Vec::new();
        if self.keys.is_empty() {
            doubts.push("API_KEYS is not set: anybody may prove".to_owned());
        }
        if self.secret.is_none() && self.upstream.is_some() {
            doubts.push(
                "EDGE_SECRET is not set: the server at UPSTREAM_URL cannot tell the edge from others"
                    .to_owned(),
            );
        }
        let database = self.container_var(DATABASE_URL).is_some();
        let bucket = self.container_var(ARTIFACTS).is_some_and(|place| place.starts_with("s3://"));
        if self.upstream.is_none() && !self.container_internet {
            for (name, _) in [(DATABASE_URL, database), (ARTIFACTS, bucket)].iter().filter(|(_, is)| *is) {
                doubts
                    .push(format!("{name} is set and CONTAINER_INTERNET is not: no container can reach it"));
            }
        }
        if self.upstream.is_none() && database && !bucket {
            doubts.push(format!(
                "{DATABASE_URL} is set and {ARTIFACTS} is no bucket: what one container takes in, the others cannot read"
            ));
        }
        let unknown = vars.keys().filter(|name| !NAMES.contains(&name.as_str()) && !is_for_container(name));
        doubts.extend(unknown.map(|name| format!("{name} is not a setting of the edge")));
        doubts
    }
}

/// What the container is to find in its environment.
fn container_env(vars: &Vars) -> ContainerEnv {
    let own = vars.iter().filter(|(name, value)| is_for_container(name) && !value.is_empty());
    let mut env: Vec<_> = own.map(|(name, value)| (name.clone(), value.clone())).collect();
    if let Some(secret) = vars.get("EDGE_SECRET").filter(|secret| !secret.is_empty()) {
        env.push(("EDGEPROVE_EDGE_SECRET".to_owned(), secret.clone()));
    }
    ContainerEnv(env)
}

struct Reader<'a> {
    vars: &'a Vars,
    faults: Vec<String>,
}

impl Reader<'_> {
    /// The value of a variable, its default where it is not set, or `None` and a fault.
    fn take<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
        default: impl FnOnce() -> T,
    ) -> Option<T> {
        match self.vars.get(name).map(|text| text.trim()).filter(|text| !text.is_empty()) {
            Some(text) => self.keep(name, parse(text)),
            None => Some(default()),
        }
    }

    fn keep<T>(&mut self, name: &str, outcome: Result<T, String>) -> Option<T> {
        outcome.map_err(|wanted| self.faults.push(format!("{name}: {wanted}"))).ok()
    }
}

fn boolean(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("`{text}` is neither true nor false"))
}

fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err(format!("`{text}` is not a duration such as 30s or 5m")),
    }
}

fn size(text: &str) -> Result<u64, String> {
    let size = text.parse::<ByteSize>().map_err(|_| format!("`{text}` is not a size such as 64MiB"))?;
    Ok(size.as_u64())
}

fn instances(text: &str) -> Result<u16, String> {
    let count = text.parse().ok().filter(|count| (1..=1000).contains(count));
    count.ok_or_else(|| format!("`{text}` is not a number of containers from 1 to 1000"))
}

/// The secret is never quoted.
fn edge_secret(text: &str) -> Result<Secret, String> {
    if headers::is_acceptable_edge_secret(text.as_bytes()) {
        return Ok(Secret(text.to_owned()));
    }
    let (min, max) = (headers::EDGE_SECRET_MIN_BYTES, headers::EDGE_SECRET_MAX_BYTES);
    Err(format!("it must be {min} to {max} printable ASCII characters without spaces"))
}

fn upstream_url(text: &str) -> Result<Uri, String> {
    let wanted = || format!("`{text}` is not a server such as http://127.0.0.1:8080");
    let uri: Uri = text.parse().map_err(|_| wanted())?;
    let is_server = matches!(uri.scheme_str(), Some("http" | "https"))
        && uri.authority().is_some()
        && uri.path() == "/"
        && uri.query().is_none();
    if is_server { Ok(uri) } else { Err(wanted()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> Vars {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn nothing_need_be_set() {
        let settings = Settings::read(&vars(&[("ALLOWED_ORIGINS", " ")])).unwrap();
        assert_eq!(settings.instances, 1);
        assert_eq!(settings.timeouts.prove, Duration::from_mins(2));
        assert_eq!(settings.lifecycle.sleep_after, Duration::from_mins(5));
        assert_eq!(settings.upload_max_bytes, 64 << 20);
        assert_eq!(settings.warnings, ["API_KEYS is not set: anybody may prove"]);
        assert!(
            settings.upstream.is_none() && settings.secret.is_none() && settings.container_env.0.is_empty()
        );
    }

    #[test]
    fn every_fault_is_told_with_its_variable_and_no_secret_is_quoted() {
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
        let told = error.to_string();
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
            assert_eq!(
                error.0.iter().filter(|fault| fault.starts_with(&format!("{name}: "))).count(),
                1,
                "{told}"
            );
        }
        assert!(!told.contains("too short") && !told.contains("alice"), "{told}");
    }

    #[test]
    fn credentials_for_any_origin_are_refused() {
        let error = Settings::read(&vars(&[("ALLOW_CREDENTIALS", "true")])).unwrap_err();
        assert!(error.to_string().starts_with("ALLOW_CREDENTIALS: "), "{error}");
        let named = vars(&[("ALLOW_CREDENTIALS", "true"), ("ALLOWED_ORIGINS", "https://a.example")]);
        assert!(Settings::read(&named).is_ok());
    }

    #[test]
    fn the_container_gets_its_own_variables_and_the_secret() {
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
    fn what_jobs_are_kept_in_reaches_the_container_and_is_doubted_where_it_cannot_be_reached() {
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
        let doubts = with(&[]).warnings.join("\n");
        assert!(doubts.contains("DATABASE_URL") && doubts.contains("EDGEPROVE_ARTIFACTS"), "{doubts}");
        let doubts = with(&[("CONTAINER_INTERNET", "true"), ("EDGEPROVE_ARTIFACTS", "/jobs")]).warnings;
        assert!(doubts.len() == 1 && doubts[0].contains("no bucket"), "{doubts:?}");
    }

    #[test]
    fn jobs_are_scattered_where_several_containers_share_no_database() {
        let scattered = |pairs: &[_]| Settings::read(&vars(pairs)).unwrap().jobs_are_scattered();
        assert!(!scattered(&[]), "one container keeps them all");
        assert!(scattered(&[("MAX_INSTANCES", "2")]));
        assert!(!scattered(&[("MAX_INSTANCES", "2"), ("DATABASE_URL", "postgres://db.example/jobs")]));
        assert!(!scattered(&[("MAX_INSTANCES", "2"), ("UPSTREAM_URL", "http://127.0.0.1:8080")]));
    }

    #[test]
    fn one_number_for_all_containers_is_a_fault() {
        let error = Settings::read(&vars(&[("EDGEPROVE_INSTANCE_NUMBER", "3")])).unwrap_err();
        assert!(error.to_string().starts_with("EDGEPROVE_INSTANCE_NUMBER: "), "{error}");
    }

    #[test]
    fn only_what_reaches_the_container_changes_its_fingerprint() {
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
