//! The edge on this machine, under `wrangler dev`, until Ctrl-C. All that was started is ended then, containers
//! included.

use std::{
    io::Write,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    thread,
    time::Duration,
};

use anyhow::Context;
use tempfile::NamedTempFile;

use super::{
    EdgeArgs, build,
    leftovers::Leftovers,
    wrangler::{self, Wrangler},
};
use crate::{
    images,
    interrupt::{self, go_on},
    progress,
    server::Server,
    setup::{self, EdgeTools, Ready},
};

/// How often it is looked whether something happened.
const POLL: Duration = Duration::from_millis(100);
/// The edge itself answers this; a container may take its time.
const ANSWER: Duration = Duration::from_secs(5);

/// What the edge stands in front of.
enum Behind {
    /// Containers that it starts itself.
    Containers(Leftovers),
    /// A server that we started.
    Own(Box<Server>),
    /// A server that is there.
    Given(String),
}

impl Behind {
    fn url(&self) -> Option<&str> {
        match self {
            Self::Containers(_) => None,
            Self::Own(server) => Some(server.url()),
            Self::Given(url) => Some(url),
        }
    }

    fn describe(&self) -> String {
        self.url().map_or_else(|| "in front of containers".to_owned(), |url| format!("in front of {url}"))
    }
}

/// Runs it.
pub(super) fn run(args: &EdgeArgs) -> anyhow::Result<()> {
    // There will be processes to wait for, so a signal must not end this one on the spot.
    interrupt::watch()?;
    // Ctrl-C reaches cargo, npm and docker too, and what they then complain of is nobody's concern.
    serve(args).or_else(|error| go_on().and(Err(error)))
}

fn serve(args: &EdgeArgs) -> anyhow::Result<()> {
    let port = free_port(args.port)?;
    let ready = setup::server()?;
    let tools = setup::edge()?;
    go_on()?;
    // wrangler has it built too; here its complaints are easier to read.
    build::run(&tools)?;
    go_on()?;

    // Containers are named after the Worker: by the port, no other wrangler of this machine has the same.
    let worker = format!("edgeprove-dev-{port}");
    let behind = behind(args, &ready, &worker)?;
    go_on()?;
    let mut wrangler = start(args, &tools, &behind, &worker, port)?;
    let url = format!("http://127.0.0.1:{port}");
    let outcome = wait_until_ready(&mut wrangler, &url).and_then(|()| {
        if let Some(file) = &args.addr_file {
            announce(file, port)?;
        }
        progress::done("edge", &format!("{url}, {}", behind.describe()));
        println!("\nTo prove by hand:\n\n{}\n\nThe edge runs until Ctrl-C.", curl(&url, &ready, &behind));
        watch(&mut wrangler, &behind)
    });
    wrangler.stop()?;
    outcome?;
    match behind {
        Behind::Containers(leftovers) => leftovers.remove(),
        Behind::Own(server) => server.stop(),
        Behind::Given(_) => Ok(()),
    }
}

/// The port, once it is certain that nobody listens on it: wrangler would quietly take another.
fn free_port(port: u16) -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("port {port} cannot be listened on; --port chooses another"))?;
    Ok(listener.local_addr()?.port())
}

fn behind(args: &EdgeArgs, ready: &Ready, worker: &str) -> anyhow::Result<Behind> {
    if let Some(url) = &args.upstream {
        return Ok(Behind::Given(url.clone()));
    }
    if !args.without_container {
        if images::engine::answers() {
            images::for_edge()?;
            return Ok(Behind::Containers(Leftovers::of(worker)?));
        }
        progress::caution("no Docker Engine answers: the edge gets a server without a container");
    }
    let program = Server::build(ready, false)?;
    go_on()?;
    let mut command = Server::command(&program, ready);
    command.envs(container_env(&args.vars));
    Ok(Behind::Own(Box::new(Server::start(command)?)))
}

/// What the edge would put into a container's environment.
fn container_env(vars: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> {
    vars.iter().filter_map(|(name, value)| match name.as_str() {
        "EDGE_SECRET" => Some(("EDGEPROVE_EDGE_SECRET", value.as_str())),
        name => name.starts_with("EDGEPROVE_").then_some((name, value.as_str())),
    })
}

fn start(
    args: &EdgeArgs,
    tools: &EdgeTools,
    behind: &Behind,
    worker: &str,
    port: u16,
) -> anyhow::Result<Wrangler> {
    let port_text = port.to_string();
    let state = tools.places.wrangler_scratch().join("state").join(&port_text);
    let mut command = wrangler::command(tools, &["dev", "--env=", "--ip", "127.0.0.1", "--port", &port_text]);
    command.args(["--name", worker, "--inspector-port", "0", "--show-interactive-dev-session=false"]);
    command.arg("--persist-to").arg(state);
    for (name, value) in &args.vars {
        command.args(["--var", &format!("{name}:{value}")]);
    }
    if let Some(url) = behind.url() {
        command.args(["--enable-containers=false", "--var", &format!("UPSTREAM_URL:{url}")]);
    }
    Wrangler::start(command)
}

/// wrangler ends by itself when it cannot serve, so there is no limit here but the user's patience.
fn wait_until_ready(wrangler: &mut Wrangler, url: &str) -> anyhow::Result<()> {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().timeout_global(Some(ANSWER)).http_status_as_error(false).build().into();
    while agent.get(format!("{url}/edge/health")).call().is_err() {
        go_on()?;
        wrangler.check()?;
        thread::sleep(POLL);
    }
    Ok(())
}

/// Puts the address into a file in one piece, as `edgeprove serve` does: whoever waits for it never reads half of it.
fn announce(file: &Path, port: u16) -> anyhow::Result<()> {
    let write = || {
        let mut whole = NamedTempFile::new_in(file.parent().unwrap_or(Path::new(".")))?;
        writeln!(whole, "127.0.0.1:{port}")?;
        whole.persist(file)?;
        Ok::<_, std::io::Error>(())
    };
    write().with_context(|| format!("{} cannot be written", file.display()))
}

fn watch(wrangler: &mut Wrangler, behind: &Behind) -> anyhow::Result<()> {
    while !interrupt::came() {
        wrangler.check()?;
        if let Behind::Own(server) = behind {
            server.check()?;
        }
        thread::sleep(POLL);
    }
    Ok(())
}

/// A command that proves, to be pasted into a shell. The image has one circuit, which needs no name.
fn curl(url: &str, ready: &Ready, behind: &Behind) -> String {
    let witness = ready.places.circuits.join("range_check.gz");
    let path = if matches!(behind, Behind::Containers(_)) { "/api/prove" } else { "/api/prove/range_check" };
    format!(
        "curl --data-binary @{} -H 'Content-Type: application/gzip' -H 'Accept: application/json' \\\n     {url}{path}",
        witness.display()
    )
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

    #[test]
    fn the_address_is_told_as_a_server_tells_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("address");
        announce(&file, 8787).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), "127.0.0.1:8787");
        assert!(announce(&dir.path().join("no/address"), 1).is_err());
    }

    #[test]
    fn a_server_in_the_place_of_a_container_gets_what_a_container_would() {
        let vars = [("EDGE_SECRET", "s"), ("EDGEPROVE_QUEUE", "7"), ("MAX_INSTANCES", "2")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let env: Vec<_> = container_env(&vars).collect();
        assert_eq!(env, [("EDGEPROVE_EDGE_SECRET", "s"), ("EDGEPROVE_QUEUE", "7")]);
    }
}
