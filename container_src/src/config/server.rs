//! Settings of HTTP, uploads and shutdown.

use std::{
    io,
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytesize::ByteSize;
use clap::Args;
use edgeprove_files::{folder_of, regular_file, writable_folder};
use edgeprove_protocol::{Origin, headers, limits};
use edgeprove_sealing::KeySource;
use http::HeaderValue;
use tokio::net::TcpSocket;

use super::setting::{Faults, Purpose, RawSetting, Setting, TIMEOUTS, WAITS, flag, raw_setting};
use super::{receipts::ReceiptArgs, sealing::SealingArgs};
use crate::http::{
    edge_secret::EdgeSecret,
    host_names::{HostName, HostNames},
    local_prover::LocalProver,
    state::{HttpOptions, PageOptions},
};
use edgeprove_engine::witness::intake::IntakeLimits;

/// Bounds of `--stream-keep-alive`: clients far away need some time to respond.
const KEEP_ALIVE_BOUNDS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);
/// Highest value of `--connections`. Each takes a file descriptor and some memory.
const CONNECTIONS_MAX: usize = 100_000;
/// Bounds of `--upload-max`. A shorter gzip stream cannot be a witness.
const UPLOAD_BOUNDS: RangeInclusive<ByteSize> = ByteSize::b(64)..=ByteSize::gib(16);
/// Bounds of `--decompressed-max`.
const DECOMPRESSED_BOUNDS: RangeInclusive<ByteSize> = ByteSize::b(64)..=ByteSize::gib(256);
/// Highest value of `--ratio-max`, which DEFLATE cannot exceed.
const RATIO_MAX: u64 = 1_032;
/// Highest value of `--proof-cache`. A proof has some 16 KiB.
const CACHED_PROOFS_MAX: usize = 100_000;

/// An origin of a page, or `*`.
#[derive(Debug, Clone)]
struct AllowedOrigin(HeaderValue);

impl Setting for AllowedOrigin {
    fn read(text: &str) -> Result<Self, String> {
        let wanted = || "an origin such as https://app.example, without a path, or *".to_owned();
        if text == "*" {
            return Ok(Self(HeaderValue::from_static("*")));
        }
        let origin = text.parse::<Origin>().map_err(|_| wanted())?;
        HeaderValue::try_from(origin.as_str()).map(Self).map_err(|_| wanted())
    }
}

impl Setting for HostName {
    fn read(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| "a host name such as prove.example, without scheme, port and path, or *".to_owned())
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

/// Flags of HTTP, uploads and shutdown.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Server")]
pub struct ServerArgs {
    /// Address to listen on. Port 0 selects a free port.
    #[arg(long, env = "EDGEPROVE_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:8080", value_parser = raw_setting::<SocketAddr>)]
    listen: RawSetting<SocketAddr>,

    /// File to which the server writes its address when it listens.
    #[arg(long, env = "EDGEPROVE_ADDR_FILE", value_name = "FILE")]
    addr_file: Option<PathBuf>,

    /// Second address, where only `/livez`, `/readyz` and `/metrics` are answered, for example in a network of operators.
    /// They are answered at `--listen` too.
    #[arg(long, env = "EDGEPROVE_PROBE_LISTEN", value_name = "ADDR", value_parser = raw_setting::<SocketAddr>)]
    probe_listen: Option<RawSetting<SocketAddr>>,

    /// Origin whose pages may call: `https://app.example`, or `*` for every origin. Several are separated by commas.
    /// Default: the server's own. Requests that a page of another origin makes a browser send are refused with 403.
    #[arg(long, env = "EDGEPROVE_CORS_ORIGIN", value_name = "ORIGIN", value_delimiter = ',', value_parser = raw_setting::<AllowedOrigin>)]
    cors_origin: Vec<RawSetting<AllowedOrigin>>,

    /// Name under which clients reach the server, such as `prove.example`; several are separated by commas. Requests for
    /// another `Host` are refused with 403, except `/livez`, `/readyz` and `/metrics`. `localhost` and loopback addresses
    /// are always allowed. `*` allows every name. Default: only those where the server listens on a loopback address, else
    /// every name.
    #[arg(long, env = "EDGEPROVE_ALLOWED_HOST", value_name = "NAME", value_delimiter = ',', value_parser = raw_setting::<HostName>)]
    allowed_host: Vec<RawSetting<HostName>>,

    /// Interval of pings and comments in a silent event stream. A WebSocket whose client does not respond to a ping
    /// within that time is closed.
    #[arg(long, env = "EDGEPROVE_STREAM_KEEP_ALIVE", value_name = "TIME", default_value = "15s", value_parser = raw_setting::<Duration>)]
    stream_keep_alive: RawSetting<Duration>,

    /// Secret that this server shares with the edge, for example from `openssl rand -hex 32`. Requests without it in
    /// `X-Edge-Secret` are refused with 403, except `/livez`, `/readyz` and `/metrics`. Use the environment variable,
    /// because other users of the machine can read a command line.
    #[arg(long, env = "EDGEPROVE_EDGE_SECRET", hide_env_values = true, value_name = "SECRET", allow_hyphen_values = true, value_parser = raw_setting::<EdgeSecret>)]
    edge_secret: Option<RawSetting<EdgeSecret>>,

    /// Longest time for a request that proves or asks for a circuit, including upload and wait. After it, the answer is 504.
    #[arg(long, env = "EDGEPROVE_REQUEST_TIMEOUT", value_name = "TIME", default_value = "120s", value_parser = raw_setting::<Duration>)]
    request_timeout: RawSetting<Duration>,

    /// Most connections at the same time. A new connection beyond them takes the place of an idle one, of the address with
    /// the most connections, or of one of an address with more connections than its own. Where there is neither, only probes
    /// are answered on it.
    #[arg(long, env = "EDGEPROVE_CONNECTIONS", value_name = "N", default_value = "1024", value_parser = raw_setting::<usize>)]
    connections: RawSetting<usize>,

    /// Most requests of one caller at the same time, including uploads, waits and streams of events. Further ones get 429.
    /// A caller is a key, or an address without a key.
    #[arg(long, env = "EDGEPROVE_REQUESTS_PER_CALLER", value_name = "N", default_value = "256", value_parser = raw_setting::<usize>)]
    requests_per_caller: RawSetting<usize>,

    /// Largest upload.
    #[arg(long, env = "EDGEPROVE_UPLOAD_MAX", value_name = "SIZE", default_value = "64MiB", value_parser = raw_setting::<ByteSize>)]
    upload_max: RawSetting<ByteSize>,

    /// Largest decompressed witness. The size that witnesses of a circuit can have is a limit too.
    #[arg(long, env = "EDGEPROVE_DECOMPRESSED_MAX", value_name = "SIZE", default_value = "1GiB", value_parser = raw_setting::<ByteSize>)]
    decompressed_max: RawSetting<ByteSize>,

    /// Largest ratio of decompressed to compressed size of an upload. It applies above 1 MiB of decompressed bytes.
    #[arg(long, env = "EDGEPROVE_RATIO_MAX", value_name = "N", default_value = "200", value_parser = raw_setting::<u64>)]
    ratio_max: RawSetting<u64>,

    /// Longest time without data during an upload. From then on, it also needs 1 KiB per second on average. Otherwise the answer
    /// is 408.
    #[arg(long, env = "EDGEPROVE_UPLOAD_IDLE", value_name = "TIME", default_value = "15s", value_parser = raw_setting::<Duration>)]
    upload_idle: RawSetting<Duration>,

    /// Whether browsers get a page at `/`, on which circuits are proved and jobs are watched: on or off. Other clients get the
    /// list of endpoints in any case.
    #[arg(long, env = "EDGEPROVE_PAGE", value_name = "ON|OFF", default_value = "on", value_parser = raw_setting::<bool>)]
    page: RawSetting<bool>,

    /// Folder with what the page needs to compute witnesses, prove and verify in the browser; `cargo xtask demo` makes one. With
    /// it, the programs of configured circuits of Noir are for everybody, without source and debug information. Default: the page
    /// proves at the server only.
    #[arg(long, env = "EDGEPROVE_PAGE_LOCAL", value_name = "DIR")]
    page_local: Option<PathBuf>,

    /// Proofs in the cache, which answers a caller's repeated request from memory. 0 disables it.
    #[arg(long, env = "EDGEPROVE_PROOF_CACHE", value_name = "N", default_value = "50", value_parser = raw_setting::<usize>)]
    proof_cache: RawSetting<usize>,

    /// Time to finish running requests after SIGTERM or SIGINT. Set it below the time after which the platform kills
    /// the process: 10 s by default for `docker stop`.
    #[arg(long, env = "EDGEPROVE_DRAIN", value_name = "TIME", default_value = "100s", value_parser = raw_setting::<Duration>)]
    drain: RawSetting<Duration>,

    // The last, because their headings would be those of the flags after them.
    #[command(flatten)]
    sealing: SealingArgs,

    #[command(flatten)]
    receipts: ReceiptArgs,
}

/// Settings of HTTP, uploads and shutdown.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The second address, for probes only.
    pub probe_listen: Option<SocketAddr>,
    /// The file to which the address is written.
    pub addr_file: Option<PathBuf>,
    /// Most connections at the same time.
    pub connections_max: usize,
    /// The time to finish running requests at shutdown.
    pub drain: Duration,
    /// The number of proofs in the cache.
    pub cached_proofs: usize,
    /// Where the keys of sealed bodies come from; `None`: nothing sealed is accepted.
    pub sealing: Option<KeySource>,
    /// Where the keys of receipts come from; `None`: none are signed.
    pub receipts: Option<KeySource>,
    /// Settings that request handlers use.
    pub http: HttpOptions,
}

/// Binds the address and releases it. No connection is accepted meanwhile: the socket does not listen.
fn try_address(address: SocketAddr) -> io::Result<()> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // As the listener does: connections of an earlier server do not block the port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)
}

/// Whether another socket listens on this address now.
#[must_use]
pub fn is_in_use(address: SocketAddr) -> bool {
    try_address(address).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

/// The address file is no other thing than a file, and its folder exists and is writable.
fn check_address_file(file: &Path, faults: &mut Faults) {
    let name = flag("addr-file");
    let folder = folder_of(file);
    if !folder.is_dir() {
        let (file, folder) = (file.display(), folder.display());
        faults.add(format!("{name}: cannot write {file}: there is no folder {folder}"));
        return;
    }
    let checked = regular_file::check_path(file).and_then(|()| writable_folder::check(folder));
    if let Err(error) = checked {
        faults.add(format!("{name}: cannot write {}: {error}", file.display()));
    }
}

impl ServerArgs {
    /// Reads the flags. The ports must be free, and the address file must be writable. An address that is in use is no
    /// error for [`Purpose::Check`], because it may be the server that these settings belong to.
    pub fn read(self, purpose: Purpose, faults: &mut Faults) -> Option<ServerSettings> {
        let listen = faults.take("listen", self.listen);
        let probe_listen = self.probe_listen.map(|address| faults.take("probe-listen", address));
        for (name, address) in [("listen", listen), ("probe-listen", probe_listen.flatten())] {
            if let Some(address) = address
                && let Err(error) = try_address(address)
                && (purpose == Purpose::Use || error.kind() != io::ErrorKind::AddrInUse)
            {
                faults.add(format!("{}: cannot listen on {address}: {error}", flag(name)));
            }
        }
        if let Some(file) = &self.addr_file {
            check_address_file(file, faults);
        }
        let origins = faults.take_all("cors-origin", self.cors_origin);
        let cors_origins = origins.into_iter().map(|origin| origin.0).collect();
        let host_names = faults.take_all("allowed-host", self.allowed_host);
        let stream_keep_alive =
            faults.take_within("stream-keep-alive", self.stream_keep_alive, KEEP_ALIVE_BOUNDS);
        let edge_secret = self.edge_secret.and_then(|secret| faults.take("edge-secret", secret));
        let request_timeout = faults.take_within("request-timeout", self.request_timeout, TIMEOUTS);
        let connections_max = faults.take_within("connections", self.connections, 1..=CONNECTIONS_MAX);
        let requests_per_caller =
            faults.take_within("requests-per-caller", self.requests_per_caller, 1..=CONNECTIONS_MAX);
        let upload_max = faults.take_within("upload-max", self.upload_max, UPLOAD_BOUNDS);
        let decompressed_max =
            faults.take_within("decompressed-max", self.decompressed_max, DECOMPRESSED_BOUNDS);
        let ratio_max = faults.take_within("ratio-max", self.ratio_max, 1..=RATIO_MAX);
        let idle = faults.take_within("upload-idle", self.upload_idle, TIMEOUTS);
        let drain = faults.take_within("drain", self.drain, WAITS);
        let cached_proofs = faults.take_within("proof-cache", self.proof_cache, 0..=CACHED_PROOFS_MAX);
        let page = faults.take("page", self.page);
        let local =
            self.page_local.filter(|dir| !dir.as_os_str().is_empty()).map(|dir| LocalProver::open(&dir));
        let local_prover = local.and_then(|opened| faults.ok(opened)).map(Arc::new);
        let sealing = self.sealing.read(faults);
        let receipts = self.receipts.read(faults);
        Some(ServerSettings {
            listen: listen?,
            probe_listen: probe_listen.flatten(),
            addr_file: self.addr_file,
            connections_max: connections_max?,
            drain: drain?,
            cached_proofs: cached_proofs?,
            sealing: sealing?,
            receipts: receipts?,
            http: HttpOptions {
                prove_request_timeout: request_timeout?,
                other_request_timeout: Duration::from_secs(30),
                cors_origins,
                host_names: HostNames::new(host_names, listen?.ip()),
                stream_keep_alive: stream_keep_alive?,
                edge_secret,
                requests_per_caller: requests_per_caller?,
                intake: IntakeLimits {
                    upload_max_bytes: upload_max?.as_u64(),
                    decompressed_max_bytes: decompressed_max?.as_u64(),
                    ratio_max: ratio_max?,
                    ratio_floor_bytes: limits::COMPRESSION_RATIO_FLOOR_BYTES,
                    idle: idle?,
                },
                page: PageOptions { is_on: page?, local_prover },
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_read_in_any_form_and_a_star_is_any_origin() {
        for (written, sent) in [("*", "*"), ("https://[0:0::1]:443", "https://[::1]")] {
            assert_eq!(AllowedOrigin::read(written).unwrap().0, sent, "{written}");
        }
        for bad in ["", "app.example", "https://app.example/", "https://*.app.example", "*,*"] {
            assert!(AllowedOrigin::read(bad).is_err(), "{bad}");
        }
    }
}
