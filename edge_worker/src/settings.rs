//! Settings of a deployment: `[vars]` and secrets. They are read once, and all errors are reported together.
//!
//! Variables and secrets of the server ([`is_for_container`]) are not read here. They become the environment of the
//! container.

mod faults;
mod jobs;

use std::{collections::BTreeSet, fmt, time::Duration};

use bytesize::ByteSize;
use edgeprove_protocol::{endpoints::Class, headers, limits, origin::split_port, voucher::VoucherSecret};
use http::Uri;
use sha2::{Digest as _, Sha256};

use crate::{
    api_keys::ApiKeys,
    artifact_keys::ArtifactKeys,
    cors::Origins,
    lifecycle::LifecycleOptions,
    server_keys::{self, ServerKeys},
    variables::{FormFault, Value, Values, Vars, trimmed},
};
use faults::MAX_INSTANCES_MAX;
pub use faults::{InvalidSetting, SettingFault, SettingsError};
use jobs::{ARTIFACT_KEY, JOB_BINDINGS};
pub use jobs::{ARTIFACTS, JOBS_QUEUE, JobsMode};

/// Prefixes of the container's own variables: the server's settings, and those of a bucket.
const CONTAINER_PREFIXES: [&str; 2] = ["EDGEPROVE_", "AWS_"];
/// The container's variable for the database that containers share.
const DATABASE_URL: &str = "DATABASE_URL";
/// The server's setting that each container gets from its own object: its number.
pub const INSTANCE_NUMBER: &str = "EDGEPROVE_INSTANCE_NUMBER";
/// The server's setting for the default circuit: the path of its file.
const SERVER_CIRCUIT: &str = "EDGEPROVE_CIRCUIT";
/// The server's setting for the storage of witnesses and proofs of jobs.
const SERVER_ARTIFACTS: &str = "EDGEPROVE_ARTIFACTS";
/// The server's setting for the secret that edge and server share.
const SERVER_EDGE_SECRET: &str = "EDGEPROVE_EDGE_SECRET";
/// The server's setting for keys with roles and limits. The edge admits these keys, too.
pub const SERVER_KEYS: &str = "EDGEPROVE_KEYS";
/// The server's setting for the secret that signs vouchers. The edge checks vouchers with it, too.
const VOUCHER_SECRET: &str = "EDGEPROVE_VOUCHER_SECRET";

/// The server's setting for sealed bodies. Its secret and the file of it begin in the same way.
const SEALING: &str = "EDGEPROVE_SEALING";
/// The server's setting for the secret from which containers derive the same keys.
const SEALING_SECRET: &str = "EDGEPROVE_SEALING_SECRET";
/// The server's setting for receipts.
const RECEIPTS: &str = "EDGEPROVE_RECEIPTS";
/// The server's setting for the secret from which containers derive the same keys of receipts.
const RECEIPT_SECRET: &str = "EDGEPROVE_RECEIPT_SECRET";
/// The beginning of all settings of receipts.
const RECEIPT_PREFIX: &str = "EDGEPROVE_RECEIPT";

/// Every setting of the edge itself.
pub const NAMES: &[&str] = &[
    "ALLOWED_ORIGINS",
    "ALLOW_CREDENTIALS",
    "API_KEYS",
    "CONTAINER_INTERNET",
    "EDGE_SECRET",
    "JOBS",
    "MAX_INSTANCES",
    "OTHER_REQUEST_TIMEOUT",
    "PAGE",
    "PROVE_REQUEST_TIMEOUT",
    "SLEEP_AFTER",
    "START_TIMEOUT",
    "STOP_TIMEOUT",
    "UPLOAD_MAX",
    "UPSTREAM_URL",
];

/// Those of them that are secrets. No file has them.
pub const SECRETS: &[&str] = &["API_KEYS", "EDGE_SECRET"];

/// Settings whose value may be a list in `wrangler.toml`.
const LISTS: [&str; 2] = ["ALLOWED_ORIGINS", "API_KEYS"];

/// Settings that restrict who may call. An empty value is an error: it would admit everybody.
const RESTRICTIONS: [&str; 4] = ["ALLOWED_ORIGINS", "API_KEYS", "EDGE_SECRET", SERVER_KEYS];

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
    /// The secret that signs vouchers. Without it no vouchers are accepted.
    pub voucher_secret: Option<VoucherSecret>,
    /// Where jobs are stored and queued.
    pub jobs: JobsMode,
    /// The keys that encrypt bodies and proofs of jobs at the edge. They are set if [`Self::jobs`] is [`JobsMode::Edge`].
    pub artifact_keys: Option<ArtifactKeys>,
    /// Whether containers can reach the internet.
    pub container_internet: bool,
    /// Whether browsers get the page.
    pub page: bool,
    /// The environment of the containers.
    pub container_env: ContainerEnv,
    /// Settings that are valid but probably not intended.
    pub warnings: Vec<String>,
}

/// Time limits of requests, a cold start included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a request that computes a proof or uploads a circuit.
    pub prove: Duration,
    /// For every other request.
    pub other: Duration,
}

impl Timeouts {
    /// The time limit of a class of endpoints.
    #[must_use]
    pub fn of(&self, class: Class) -> Duration {
        if class.has_long_limit() { self.prove } else { self.other }
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

/// Whether a name is a setting of the edge or of its containers.
#[must_use]
pub fn is_setting(name: &str) -> bool {
    NAMES.contains(&name) || is_for_container(name)
}

impl Settings {
    /// Reads the bindings of the Worker.
    pub fn of_bindings(values: &Values) -> Result<Self, SettingsError> {
        let (mut vars, mut invalid) = (Vars::new(), Vec::new());
        for (name, value) in values {
            match value.text(LISTS.contains(&name.as_str())) {
                Ok(text) => drop(vars.insert(name.clone(), text)),
                Err(fault) if is_setting(name) => {
                    invalid.push(InvalidSetting { name: name.clone(), fault: fault.into() });
                }
                // It has no effect, which a warning reports.
                Err(FormFault::List | FormFault::Nested) => drop(vars.insert(name.clone(), String::new())),
                // A binding of the platform.
                Err(FormFault::Other | FormFault::UnreadableSecret) => {}
            }
        }
        let is_bound = |name: &&str| values.get(*name) == Some(&Value::Other);
        Self::read_with(&vars, invalid, &JOB_BINDINGS.into_iter().filter(is_bound).collect())
    }

    /// Reads the variables of a deployment with all bindings.
    pub fn read(vars: &Vars) -> Result<Self, SettingsError> {
        Self::read_with(vars, Vec::new(), &JOB_BINDINGS.into())
    }

    /// Reads the variables, where others are invalid already. `bound` has the bindings that jobs at the edge need and that are
    /// there.
    fn read_with(
        vars: &Vars,
        invalid: Vec<InvalidSetting>,
        bound: &BTreeSet<&str>,
    ) -> Result<Self, SettingsError> {
        let mut reader = Reader { vars, invalid };
        let origins = reader.read("ALLOWED_ORIGINS", |text| Ok(Origins::parse(text)?), Origins::any);
        let credentials = reader.read("ALLOW_CREDENTIALS", boolean, || false);
        let origins = origins.and_then(|origins| {
            let allowed = origins.with_credentials(credentials?);
            reader.note("ALLOW_CREDENTIALS", allowed.map_err(SettingFault::from))
        });
        let keys = reader.read("API_KEYS", api_keys, ApiKeys::default);
        let secret = reader.read("EDGE_SECRET", |text| edge_secret(text).map(Some), || None);
        let lacks_secret = secret == Some(None);
        let server_keys = reader.read(SERVER_KEYS, |text| server_keys(text, lacks_secret), || None);
        let vouchers = reader.read(VOUCHER_SECRET, |text| voucher_secret(text, lacks_secret), || None);
        let keys = keys.and_then(|keys| match server_keys? {
            Some(more) => reader.note(SERVER_KEYS, keys.with(more).map_err(SettingFault::from)),
            None => Some(keys),
        });
        let max_instances = reader.read("MAX_INSTANCES", container_count, || 1);
        let upload_max = reader.read("UPLOAD_MAX", size, || limits::UPLOAD_MAX_BYTES);
        let prove_default = || Duration::from_millis(limits::REQUEST_TIMEOUT_MS);
        let prove = reader.read("PROVE_REQUEST_TIMEOUT", duration, prove_default);
        let other = reader.read("OTHER_REQUEST_TIMEOUT", duration, || Duration::from_secs(30));
        let sleep_after = reader.read("SLEEP_AFTER", duration, || Duration::from_mins(5));
        let start_timeout = reader.read("START_TIMEOUT", duration, || Duration::from_mins(1));
        let stop_timeout = reader.read("STOP_TIMEOUT", duration, || Duration::from_secs(15));
        let container_internet = reader.read("CONTAINER_INTERNET", boolean, || false);
        let page = reader.read("PAGE", boolean, || true);
        let upstream = reader.read("UPSTREAM_URL", |text| server_url(text).map(Some), || None);
        let (jobs, artifact_keys) = jobs::read(&mut reader, bound).unzip();
        reader.read(INSTANCE_NUMBER, |_| Err::<(), _>(SettingFault::SetPerContainer), || ());
        reader.read(SERVER_EDGE_SECRET, |_| Err::<(), _>(SettingFault::SetBy("EDGE_SECRET")), || ());
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
                page: page?,
                upstream: upstream?,
                secret: secret?,
                voucher_secret: vouchers?,
                jobs: jobs?,
                artifact_keys: artifact_keys?,
                container_env: container_env(vars, max_instances?, jobs?),
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
        self.jobs == JobsMode::Container
            && self.upstream.is_none()
            && self.max_instances > 1
            && self.container_var(DATABASE_URL).is_none()
    }

    /// The name of the circuit that containers prove if a request names none, where it is not that of their image.
    #[must_use]
    pub fn default_circuit(&self) -> Option<&str> {
        let file = self.container_var(SERVER_CIRCUIT)?;
        let name = file.rsplit('/').next()?;
        Some(name.strip_suffix(".json").unwrap_or(name))
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
        let has_bucket = self.container_var(SERVER_ARTIFACTS).is_some_and(|url| url.starts_with("s3://"));
        if has_containers && !self.container_internet {
            for (name, is_set) in [(DATABASE_URL, has_database), (SERVER_ARTIFACTS, has_bucket)] {
                if is_set {
                    warnings.push(format!(
                        "{name} is set and CONTAINER_INTERNET is not true: no container can reach it"
                    ));
                }
            }
        }
        if has_containers && has_database && !has_bucket {
            warnings.push(format!(
                "{DATABASE_URL} is set and {SERVER_ARTIFACTS} is not a bucket: a container cannot read the witnesses that \
                 another one accepted"
            ));
        }
        if has_containers && self.max_instances > 1 && self.container_var(SEALING_SECRET).is_none() {
            warnings.push(format!(
                "{SEALING_SECRET} is not set: several containers have no common key, so callers can seal nothing"
            ));
        }
        if has_containers && self.max_instances > 1 && lacks_receipt_secret(vars) {
            warnings.push(format!(
                "{RECEIPT_SECRET} is not set: several containers have no common key, so proofs have no receipts"
            ));
        }
        let unknown = vars.keys().filter(|name| !NAMES.contains(&name.as_str()) && !is_for_container(name));
        warnings.extend(unknown.map(|name| format!("{name} is not a setting of the edge")));
        warnings
    }
}

/// Whether receipts are wanted, and several containers would have no common key.
fn lacks_receipt_secret(vars: &Vars) -> bool {
    let value = |name: &str| vars.get(name).map(|value| trimmed(value)).filter(|value| !value.is_empty());
    let is_off = value(RECEIPTS).is_some_and(|value| value == "false" || value == "off");
    !is_off && value(RECEIPT_SECRET).is_none()
}

/// The environment of the containers. Its values are trimmed as those of the edge are, so that both have one secret.
///
/// Several containers without a common secret seal nothing: a client would get the key of one and reach another. They sign no
/// receipts either: the key of one cannot be fetched from another. Where the edge has the jobs, only the edge needs the key of
/// their bodies.
fn container_env(vars: &Vars, containers: u16, jobs: JobsMode) -> ContainerEnv {
    let mut set =
        vars.iter().map(|(name, value)| (name, trimmed(value))).filter(|(_, value)| !value.is_empty());
    let mut env: Vec<_> = set
        .clone()
        .filter(|(name, _)| is_for_container(name) && !(jobs == JobsMode::Edge && *name == ARTIFACT_KEY))
        .map(|(name, value)| (name.clone(), value.to_owned()))
        .collect();
    let secret = set.find(|(name, _)| *name == "EDGE_SECRET");
    env.extend(secret.map(|(_, secret)| (SERVER_EDGE_SECRET.to_owned(), secret.to_owned())));
    if containers > 1 && !env.iter().any(|(name, _)| name.starts_with(SEALING)) {
        env.push((SEALING.to_owned(), "false".to_owned()));
    }
    if containers > 1 && !env.iter().any(|(name, _)| name.starts_with(RECEIPT_PREFIX)) {
        env.push((RECEIPTS.to_owned(), "false".to_owned()));
    }
    ContainerEnv(env)
}

struct Reader<'a> {
    vars: &'a Vars,
    invalid: Vec<InvalidSetting>,
}

impl Reader<'_> {
    /// The value of a variable, or its default if it is not set. An invalid one is noted and is `None`.
    ///
    /// An empty variable counts as not set, unless it is one of the [`RESTRICTIONS`].
    fn read<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, SettingFault>,
        default: impl FnOnce() -> T,
    ) -> Option<T> {
        match self.vars.get(name).map(|text| trimmed(text)) {
            Some("") if RESTRICTIONS.contains(&name) => self.note(name, Err(SettingFault::Empty)),
            Some("") | None => Some(default()),
            Some(text) => self.note(name, parse(text)),
        }
    }

    fn note<T>(&mut self, name: &str, outcome: Result<T, SettingFault>) -> Option<T> {
        let note = |fault| self.invalid.push(InvalidSetting { name: name.to_owned(), fault });
        outcome.map_err(note).ok()
    }
}

fn boolean(text: &str) -> Result<bool, SettingFault> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => Ok(true),
        "false" | "no" | "0" => Ok(false),
        _ => Err(SettingFault::NotBoolean(text.to_owned())),
    }
}

fn duration(text: &str) -> Result<Duration, SettingFault> {
    let duration = humantime::parse_duration(text).ok().filter(|time| !time.is_zero());
    duration.ok_or_else(|| SettingFault::NotDuration(text.to_owned()))
}

fn size(text: &str) -> Result<u64, SettingFault> {
    let size = text.parse::<ByteSize>().ok().map(|size| size.as_u64()).filter(|bytes| *bytes > 0);
    size.ok_or_else(|| SettingFault::NotSize(text.to_owned()))
}

fn container_count(text: &str) -> Result<u16, SettingFault> {
    let count = text.parse().ok().filter(|count| (1..=MAX_INSTANCES_MAX).contains(count));
    count.ok_or_else(|| SettingFault::NotContainerCount(text.to_owned()))
}

fn api_keys(text: &str) -> Result<ApiKeys, SettingFault> {
    let keys = ApiKeys::parse(text)?;
    // A list of commas alone.
    if keys.is_empty() { Err(SettingFault::Empty) } else { Ok(keys) }
}

fn server_keys(text: &str, lacks_secret: bool) -> Result<Option<ServerKeys>, SettingFault> {
    if lacks_secret {
        return Err(SettingFault::NeedsSecret);
    }
    Ok(Some(server_keys::parse(text)?))
}

fn voucher_secret(text: &str, lacks_secret: bool) -> Result<Option<VoucherSecret>, SettingFault> {
    if lacks_secret {
        return Err(SettingFault::NeedsSecret);
    }
    VoucherSecret::new(text).map(Some).ok_or(SettingFault::UnfitVoucherSecret)
}

fn edge_secret(text: &str) -> Result<Secret, SettingFault> {
    let is_fit = headers::is_acceptable_edge_secret(text.as_bytes());
    if is_fit { Ok(Secret(text.to_owned())) } else { Err(SettingFault::UnfitSecret) }
}

fn server_url(text: &str) -> Result<Uri, SettingFault> {
    if text.contains('@') {
        return Err(SettingFault::UrlWithPassword);
    }
    let uri: Uri = text.parse().map_err(|_| SettingFault::NotServerUrl)?;
    let is_server = matches!(uri.scheme_str(), Some("http" | "https"))
        && uri.authority().is_some_and(|authority| split_port(authority.as_str()).is_ok())
        && uri.path() == "/"
        && uri.query().is_none()
        && !text.contains('#');
    if is_server { Ok(uri) } else { Err(SettingFault::NotServerUrl) }
}

#[cfg(test)]
pub(crate) mod tests;
