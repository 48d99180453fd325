//! The errors of settings.

use edgeprove_protocol::{headers, voucher};

use crate::{
    api_keys::KeyListFault, artifact_keys::NotKeys, cors::OriginsError, server_keys::ServerKeysFault,
    variables::FormFault,
};

/// The largest value of `MAX_INSTANCES`.
pub(super) const MAX_INSTANCES_MAX: u16 = 1000;

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
    /// The value is empty, and the setting restricts who may call.
    #[error("it is empty, which would admit everybody: give it a value, or remove it")]
    Empty,
    /// The value is not a text.
    #[error(transparent)]
    Form(#[from] FormFault),
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
    /// The value is not the URL of a server. It is not quoted: it may have a password.
    #[error("it is not the URL of a server, without a path, such as http://127.0.0.1:8080")]
    NotServerUrl,
    /// The URL has a user name or a password.
    #[error("it has a user name or a password, which the edge does not send: remove it, and use EDGE_SECRET")]
    UrlWithPassword,
    /// The secret is too short, too long, or has characters that a header cannot carry.
    #[error(
        "it must be {min} to {max} printable ASCII characters without spaces",
        min = headers::EDGE_SECRET_MIN_BYTES,
        max = headers::EDGE_SECRET_MAX_BYTES
    )]
    UnfitSecret,
    /// The secret of vouchers is too short, too long, or has other characters.
    #[error(
        "it must be {min} to {max} printable ASCII characters without spaces",
        min = voucher::SECRET_MIN_BYTES,
        max = voucher::SECRET_MAX_BYTES
    )]
    UnfitVoucherSecret,
    /// The setting is for the server alone, and the edge has its own for both.
    #[error("the container gets this value from {0}: set that instead")]
    SetBy(&'static str),
    /// The server believes the edge who the caller is only with the secret.
    #[error("it needs EDGE_SECRET: without it a container does not believe the edge who the caller is")]
    NeedsSecret,
    /// The setting differs for each container and cannot be set for all.
    #[error("each container gets its own value: remove this variable")]
    SetPerContainer,
    /// The value does not list origins.
    #[error(transparent)]
    Origins(#[from] OriginsError),
    /// The value does not list API keys.
    #[error(transparent)]
    Keys(#[from] KeyListFault),
    /// The value is not a keys file.
    #[error(transparent)]
    ServerKeys(#[from] ServerKeysFault),
    /// The value is no place of jobs.
    #[error("`{0}` is neither edge nor container")]
    NotJobsMode(String),
    /// The value is not a list of keys.
    #[error(transparent)]
    ArtifactKeys(#[from] NotKeys),
    /// Jobs at the edge need a binding that is not there.
    #[error(
        "jobs at the edge need the binding {0}: declare it in wrangler.toml, as the repository's file does"
    )]
    JobsNeedBinding(&'static str),
    /// Jobs at the edge need a secret that is not set.
    #[error("jobs at the edge need the secret {0}, such as: openssl rand -hex 32 | wrangler secret put {0}")]
    JobsNeedSecret(&'static str),
    /// A setting for jobs of the containers is set together with jobs at the edge.
    #[error("jobs are at the edge, and {0} is for jobs of the containers: remove one of the two")]
    JobsOfContainers(&'static str),
}
