//! The edge on this machine, under `wrangler dev`, for as long as it is held.

use std::{
    fs::File,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::Context;

use super::wrangler::{self, Wrangler};
use crate::{interrupt::go_on, process, setup::EdgeTools};

/// How often it is looked whether the edge answers.
const POLL: Duration = Duration::from_millis(100);
/// The edge itself answers this; a container may take its time.
const ANSWER: Duration = Duration::from_secs(5);

/// What the edge is started with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EdgeOptions<'a> {
    /// The port of 127.0.0.1, which nobody else listens on: see [`free_port`].
    pub(crate) port: u16,
    /// The server behind it; without one it starts containers.
    pub(crate) upstream: Option<&'a str>,
    /// Variables of the Worker.
    pub(crate) vars: &'a [(String, String)],
    /// Another configuration than `wrangler.toml`.
    pub(crate) config: Option<&'a Path>,
    /// Where wrangler writes what goes wrong. Without it, all it has to say goes to the terminal.
    pub(crate) log: Option<&'a Path>,
}

/// A running edge.
#[derive(Debug)]
pub(crate) struct Edge {
    wrangler: Wrangler,
    url: String,
    log: Option<PathBuf>,
}

/// The port, once it is certain that nobody listens on it: wrangler would quietly take another. 0 becomes a free one.
pub(crate) fn free_port(port: u16) -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("port {port} cannot be listened on; --port chooses another"))?;
    Ok(listener.local_addr()?.port())
}

/// The Worker's name. Containers are named after it: by the port, no other wrangler of this machine has the same.
pub(super) fn worker(port: u16) -> String {
    format!("edgeprove-dev-{port}")
}

impl Edge {
    /// Starts it, and waits until it answers. wrangler ends by itself when it cannot serve, so there is no limit to that
    /// but the user's patience.
    pub(crate) fn start(tools: &EdgeTools, options: EdgeOptions<'_>) -> anyhow::Result<Self> {
        let port = options.port.to_string();
        let worker = worker(options.port);
        let state = tools.paths.wrangler_scratch().join("state").join(&port);
        let mut command = wrangler::command(tools, &["dev", "--env=", "--ip", "127.0.0.1", "--port", &port]);
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
            go_on()?;
            self.check()?;
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Where it listens, without a slash at the end. wrangler itself does, and passes on what comes.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The process of wrangler, from which those of workerd descend.
    pub(crate) fn pid(&self) -> u32 {
        self.wrangler.pid()
    }

    /// An error if it ended on its own, with the end of its log where it has one.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        let outcome = self.wrangler.check();
        match &self.log {
            Some(log) => outcome.with_context(|| process::end_of_log(log)),
            None => outcome,
        }
    }

    /// Asks it to stop and waits until it has.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        self.wrangler.stop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_refused_and_zero_becomes_a_free_one() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(free_port(port).unwrap_err().to_string().contains(&port.to_string()));
        assert_ne!(free_port(0).unwrap(), 0);
    }
}
