//! `edgeprove healthcheck`: checks that a running server is ready. The images contain no curl.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    process::ExitCode,
    time::Duration,
};

use clap::Args;

use super::exit_status::{self, Failure, other};
use crate::config::{Faults, RawSetting, raw_setting};

/// Longest wait for each step of the exchange.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Flags of `edgeprove healthcheck`.
#[derive(Debug, Args)]
pub struct HealthcheckArgs {
    /// Address of the server.
    #[arg(long, env = "EDGEPROVE_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:8080", value_parser = raw_setting::<SocketAddr>)]
    listen: RawSetting<SocketAddr>,
}

/// The server is not ready.
#[derive(Debug, thiserror::Error)]
#[error("{address} answered: {status_line}")]
struct NotReady {
    address: SocketAddr,
    status_line: String,
}

/// Returns status 0 if the server is ready.
#[must_use]
pub fn run(args: &HealthcheckArgs) -> ExitCode {
    exit_status::run(async {
        let mut faults = Faults::default();
        let address = faults.take("listen", args.listen.clone());
        let address = reachable(faults.finish(address)?);
        let status_line = request_readiness(address).map_err(other)?;
        if status_line.split(' ').nth(1) == Some("200") {
            return Ok::<_, Failure>(ExitCode::SUCCESS);
        }
        Err(other(NotReady { address, status_line }))
    })
}

/// The address to connect to: a server that listens on all addresses is reached on the loopback address.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// Sends one request and returns the first line of the answer. An HTTP client would be far larger.
fn request_readiness(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(
        format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut answer = String::new();
    stream.take(16 << 10).read_to_string(&mut answer)?;
    Ok(answer.lines().next().unwrap_or("nothing").to_owned())
}
