//! Settings of the HTTP side, of uploads and of the shutdown.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use bytesize::ByteSize;
use clap::Args;
use edgeprove_protocol::{headers, limits};
use http::{HeaderValue, Uri};

use super::faults::{Faults, RawSetting, Setting, raw_setting};
use crate::http::{edge_secret::EdgeSecret, state::HttpOptions};
use edgeprove_engine::witness::intake::IntakeLimits;

/// An origin of a page, or `*`.
#[derive(Debug, Clone)]
struct Origin(HeaderValue);

impl Setting for Origin {
    fn read(text: &str) -> Result<Self, String> {
        let wanted = || "an origin such as https://app.example, without a path, or *".to_owned();
        let is_origin = text.parse::<Uri>().is_ok_and(|uri| {
            uri.scheme().is_some() && uri.authority().is_some() && uri.path() == "/" && !text.ends_with('/')
        });
        if text != "*" && !is_origin {
            return Err(wanted());
        }
        HeaderValue::from_str(text).map(Self).map_err(|_| wanted())
    }
}

impl Setting for EdgeSecret {
    const SECRET: bool = true;

    fn read(text: &str) -> Result<Self, String> {
        let wanted = || {
            format!(
                "a secret of {} to {} printable ASCII characters without spaces",
                headers::EDGE_SECRET_MIN_BYTES,
                headers::EDGE_SECRET_MAX_BYTES
            )
        };
        Self::new(text).ok_or_else(wanted)
    }
}

/// Flags of the HTTP side.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Server")]
pub struct ServerArgs {
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, env = "EDGEPROVE_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:8080", value_parser = raw_setting::<SocketAddr>)]
    listen: RawSetting<SocketAddr>,

    /// A file that the address is written to once it is known.
    #[arg(long, env = "EDGEPROVE_ADDR_FILE", value_name = "FILE")]
    addr_file: Option<PathBuf>,

    /// Pages of this origin may call: `https://app.example`, or `*` for any. Several are separated by commas. Without
    /// it no page of another origin may.
    #[arg(long, env = "EDGEPROVE_CORS_ORIGIN", value_name = "ORIGIN", value_delimiter = ',', value_parser = raw_setting::<Origin>)]
    cors_origin: Vec<RawSetting<Origin>>,

    /// A secret that this server shares with the edge, such as `openssl rand -hex 32` makes. Requests must bear it as
    /// `X-Edge-Secret`, or are answered by 403; `/livez`, `/readyz` and `/metrics` stay open. Give it by the environment: a
    /// command line can be read by others on the machine.
    #[arg(long, env = "EDGEPROVE_EDGE_SECRET", hide_env_values = true, value_name = "SECRET", allow_hyphen_values = true, value_parser = raw_setting::<EdgeSecret>)]
    edge_secret: Option<RawSetting<EdgeSecret>>,

    /// Longest time for one request that proves, upload and wait included; then 504.
    #[arg(long, env = "EDGEPROVE_REQUEST_TIMEOUT", value_name = "TIME", default_value = "120s", value_parser = raw_setting::<Duration>)]
    request_timeout: RawSetting<Duration>,

    /// Most connections at a time.
    #[arg(long, env = "EDGEPROVE_CONNECTIONS", value_name = "N", default_value = "1024", value_parser = raw_setting::<usize>)]
    connections: RawSetting<usize>,

    /// Largest upload.
    #[arg(long, env = "EDGEPROVE_UPLOAD_MAX", value_name = "SIZE", default_value = "64MiB", value_parser = raw_setting::<ByteSize>)]
    upload_max: RawSetting<ByteSize>,

    /// Largest inflated witness. What a circuit's own witnesses can have is a bound besides.
    #[arg(long, env = "EDGEPROVE_DECOMPRESSED_MAX", value_name = "SIZE", default_value = "1GiB", value_parser = raw_setting::<ByteSize>)]
    decompressed_max: RawSetting<ByteSize>,

    /// Most that an upload may inflate by, as a ratio, once it has given more than 1 MiB.
    #[arg(long, env = "EDGEPROVE_RATIO_MAX", value_name = "N", default_value = "200", value_parser = raw_setting::<u64>)]
    ratio_max: RawSetting<u64>,

    /// Longest silence within an upload; then 408.
    #[arg(long, env = "EDGEPROVE_UPLOAD_IDLE", value_name = "TIME", default_value = "15s", value_parser = raw_setting::<Duration>)]
    upload_idle: RawSetting<Duration>,

    /// Proofs that are remembered, in memory, for callers who ask for the same again; 0 remembers none.
    #[arg(long, env = "EDGEPROVE_PROOF_CACHE", value_name = "N", default_value = "50", value_parser = raw_setting::<usize>)]
    proof_cache: RawSetting<usize>,

    /// After SIGTERM or SIGINT, how long requests at work may take to finish. Set it below the time after which the
    /// platform kills: `docker stop` waits 10 s unless told otherwise.
    #[arg(long, env = "EDGEPROVE_DRAIN", value_name = "TIME", default_value = "100s", value_parser = raw_setting::<Duration>)]
    drain: RawSetting<Duration>,
}

/// Settings of the HTTP side.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// A file that the address is written to.
    pub addr_file: Option<PathBuf>,
    /// Most connections at a time.
    pub connections_max: usize,
    /// How long requests may take to finish at shutdown.
    pub drain: Duration,
    /// How many proofs are remembered.
    pub cached_proofs: usize,
    /// What requests need to know.
    pub http: HttpOptions,
}

impl ServerArgs {
    /// Reads the flags.
    pub fn read(self, faults: &mut Faults) -> Option<ServerSettings> {
        let listen = faults.take("listen", self.listen);
        let origins = faults.take_all("cors-origin", self.cors_origin);
        let cors_origins = origins.into_iter().map(|origin| origin.0).collect();
        let edge_secret = self.edge_secret.and_then(|secret| faults.take("edge-secret", secret));
        let request_timeout = faults.take("request-timeout", self.request_timeout);
        let connections_max = faults.take_at_least("connections", self.connections, &1);
        let upload_max = faults.take("upload-max", self.upload_max);
        let inflated_max = faults.take("decompressed-max", self.decompressed_max);
        let ratio_max = faults.take_at_least("ratio-max", self.ratio_max, &1);
        let idle = faults.take("upload-idle", self.upload_idle);
        let drain = faults.take("drain", self.drain);
        let cached_proofs = faults.take("proof-cache", self.proof_cache);
        Some(ServerSettings {
            listen: listen?,
            addr_file: self.addr_file,
            connections_max: connections_max?,
            drain: drain?,
            cached_proofs: cached_proofs?,
            http: HttpOptions {
                prove_request_timeout: request_timeout?,
                other_request_timeout: Duration::from_secs(30),
                cors_origins,
                edge_secret,
                intake: IntakeLimits {
                    upload_max_bytes: upload_max?.as_u64(),
                    decompressed_max_bytes: inflated_max?.as_u64(),
                    ratio_max: ratio_max?,
                    ratio_floor_bytes: limits::COMPRESSION_RATIO_FLOOR_BYTES,
                    idle: idle?,
                },
            },
        })
    }
}
