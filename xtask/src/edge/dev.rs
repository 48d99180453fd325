//! The edge on this machine, under `wrangler dev`, until Ctrl-C. All that was started is ended then, containers
//! included.

use std::{io::Write, path::Path, thread, time::Duration};

use anyhow::Context;
use tempfile::NamedTempFile;

use super::{
    EdgeArgs,
    docker_leftovers::Leftovers,
    local::{self, Edge, EdgeOptions, free_port},
};
use crate::{
    images,
    interrupt::{self, go_on},
    progress,
    server::Server,
    setup::{self, Ready},
};

/// How often it is looked whether something happened.
const POLL: Duration = Duration::from_millis(100);

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
    // wrangler has it built too; here its complaints are easier to read.
    let tools = super::built()?;
    go_on()?;

    let behind = behind(args, &ready, &local::worker(port))?;
    go_on()?;
    let options = EdgeOptions {
        port,
        upstream: behind.url(),
        vars: &args.vars,
        config: args.config.as_deref(),
        log: None,
    };
    let mut edge = Edge::start(&tools, options)?;
    let outcome = tell(args, port, &edge, &ready, &behind).and_then(|()| watch(&mut edge, &behind));
    edge.stop()?;
    outcome?;
    match behind {
        Behind::Containers(leftovers) => leftovers.remove(),
        Behind::Own(server) => server.stop(),
        Behind::Given(_) => Ok(()),
    }
}

fn behind(args: &EdgeArgs, ready: &Ready, worker: &str) -> anyhow::Result<Behind> {
    if let Some(url) = &args.upstream {
        return Ok(Behind::Given(url.clone()));
    }
    if !args.without_container {
        if images::docker::is_available() {
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
        name => {
            let is_passed_on =
                name == "DATABASE_URL" || name.starts_with("EDGEPROVE_") || name.starts_with("AWS_");
            is_passed_on.then_some((name, value.as_str()))
        }
    })
}

/// Says where it is, to whoever waits for it.
fn tell(args: &EdgeArgs, port: u16, edge: &Edge, ready: &Ready, behind: &Behind) -> anyhow::Result<()> {
    if let Some(file) = &args.addr_file {
        announce(file, port)?;
    }
    let url = edge.url();
    progress::done("edge", &format!("{url}, {}", behind.describe()));
    println!("\nTo prove by hand:\n\n{}\n\nThe edge runs until Ctrl-C.", curl(url, ready, behind));
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

fn watch(edge: &mut Edge, behind: &Behind) -> anyhow::Result<()> {
    while !interrupt::came() {
        edge.check()?;
        if let Behind::Own(server) = behind {
            server.check()?;
        }
        thread::sleep(POLL);
    }
    Ok(())
}

/// A command that proves, to be pasted into a shell. The image has one circuit, which needs no name.
fn curl(url: &str, ready: &Ready, behind: &Behind) -> String {
    let witness = ready.paths.circuits.join("range_check.gz");
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
    fn the_address_is_told_as_a_server_tells_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("address");
        announce(&file, 8787).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), "127.0.0.1:8787");
        assert!(announce(&dir.path().join("no/address"), 1).is_err());
    }

    #[test]
    fn a_server_in_the_place_of_a_container_gets_what_a_container_would() {
        let vars = [("EDGE_SECRET", "s"), ("EDGEPROVE_PROVER_QUEUE_MAX", "7"), ("MAX_INSTANCES", "2")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let env: Vec<_> = container_env(&vars).collect();
        assert_eq!(env, [("EDGEPROVE_EDGE_SECRET", "s"), ("EDGEPROVE_PROVER_QUEUE_MAX", "7")]);
    }
}
