//! An edge on this machine, under `wrangler dev`, which ends when it is dropped.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::Context;
use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket, sockopt::set_socket_reuseaddr};

use super::wrangler::{self, Wrangler};
use crate::{interrupt, process, setup::EdgeTools};

/// The interval at which the edge is polled during its start.
const POLL: Duration = Duration::from_millis(100);
/// The edge itself answers this request, without a container.
const ANSWER: Duration = Duration::from_secs(5);

/// The options of an edge.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EdgeOptions<'a> {
    /// The port of 127.0.0.1. No other process may listen on it: see [`free_port`].
    pub(crate) port: u16,
    /// The server behind the edge. Without one the edge starts containers.
    pub(crate) upstream: Option<&'a str>,
    /// Variables of the Worker.
    pub(crate) vars: &'a [(String, String)],
    /// A configuration file other than `wrangler.toml`.
    pub(crate) config: Option<&'a Path>,
    /// The file for wrangler's warnings and errors. Without it all output goes to the terminal.
    pub(crate) log: Option<&'a Path>,
}

/// A running edge.
#[derive(Debug)]
pub(crate) struct Edge {
    wrangler: Wrangler,
    url: String,
    log: Option<PathBuf>,
}

/// A port of 127.0.0.1 that no process listens on.
///
/// On Linux the kernel gives it to no other program that asks for a free port, until this value is dropped: wrangler
/// opens it only after a build. A listener that sets `SO_REUSEADDR`, as workerd does, may still open it. On macOS two
/// sockets cannot share a port that way, so there the port is only checked.
#[derive(Debug)]
pub(crate) struct FreePort {
    number: u16,
    _reservation: Option<OwnedFd>,
}

impl FreePort {
    /// Its number.
    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}

/// Checks that no process listens on the port, because wrangler would use another one without a warning. 0 becomes a
/// free port.
pub(crate) fn free_port(port: u16) -> anyhow::Result<FreePort> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("port {port} is not available; choose another with --port"))?;
    let listens_on = listener.local_addr()?.port();
    drop(listener);
    if !cfg!(target_os = "linux") {
        return Ok(FreePort { number: listens_on, _reservation: None });
    }
    // 0 again, so that the kernel chooses and reserves in one step.
    let reservation = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    set_socket_reuseaddr(&reservation, true)?;
    bind(&reservation, &SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    let address: SocketAddr = getsockname(&reservation)?.try_into()?;
    Ok(FreePort { number: address.port(), _reservation: Some(reservation) })
}

/// The Worker's name. Containers get it too. It contains the port, so that no other wrangler on this machine has the
/// same name.
pub(super) fn worker(port: u16) -> String {
    format!("edgeprove-dev-{port}")
}

impl Edge {
    /// Starts the edge, and waits until it answers. There is no time limit: wrangler ends by itself if it cannot serve.
    pub(crate) fn start(tools: &EdgeTools, options: EdgeOptions<'_>) -> anyhow::Result<Self> {
        let port = options.port.to_string();
        let worker = worker(options.port);
        let state = tools.paths.wrangler_scratch().join("state").join(&port);
        let mut command = wrangler::command(tools, &["dev", "--env=", "--ip", "127.0.0.1", "--port", &port]);
        wrangler::use_given_server(&mut command, tools)?;
        command.args(["--name", &worker, "--inspector-port", "0", "--show-interactive-dev-session=false"]);
        command.arg("--persist-to").arg(state);
        for (name, value) in options.vars {
            command.args(["--var", &format!("{name}:{value}")]);
        }
        if let Some(config) = options.config {
            command.arg("--config").arg(config);
        }
        if let Some(url) = options.upstream {
            command.args(["--enable-containers=false", "--var", &format!("UPSTREAM_URL:{url}")]);
        }
        if let Some(log) = options.log {
            let file = File::create(log).with_context(|| format!("{} cannot be written", log.display()))?;
            command.stdout(file.try_clone()?).stderr(file).args(["--log-level", "warn"]);
        }
        let mut edge = Self {
            wrangler: Wrangler::start(command)?,
            url: format!("http://127.0.0.1:{port}"),
            log: options.log.map(Path::to_owned),
        };
        edge.wait_until_ready()?;
        Ok(edge)
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(ANSWER))
            .http_status_as_error(false)
            .build()
            .into();
        while agent.get(format!("{}/edge/health", self.url)).call().is_err() {
            interrupt::check()?;
            self.check()?;
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// The address, without a slash at the end. wrangler listens there and forwards requests to the Worker.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The id of wrangler's process. The workerd processes are its descendants.
    pub(crate) fn pid(&self) -> u32 {
        self.wrangler.pid()
    }

    /// Returns an error, with the end of the log if there is one, if wrangler has ended by itself.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        let outcome = self.wrangler.check();
        match &self.log {
            Some(log) => outcome.with_context(|| process::end_of_log(log)),
            None => outcome,
        }
    }

    /// Stops it and waits until it has ended.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        self.wrangler.stop()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn a_used_port_is_an_error_and_zero_becomes_a_free_one() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(free_port(port).unwrap_err().to_string().contains(&port.to_string()));
        assert_ne!(free_port(0).unwrap().number(), 0);
    }

    #[test]
    fn a_free_port_stays_free_for_wrangler() {
        let port = free_port(0).unwrap();
        assert!(
            free_port(port.number()).is_ok(),
            "another command may have reserved it for the same wrangler"
        );
        let address = (Ipv4Addr::LOCALHOST, port.number());
        assert!(TcpStream::connect(address).is_err(), "nothing listens yet");
        let wrangler = TcpListener::bind(address).unwrap();
        TcpStream::connect(address).unwrap();
        drop(wrangler);
    }
}
