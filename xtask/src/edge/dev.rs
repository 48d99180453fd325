//! Runs the edge on this machine, under `wrangler dev`, until Ctrl-C. At its end all processes and containers that it
//! started end too.

use std::{io::Write, path::Path, thread, time::Duration};

use anyhow::Context;
use tempfile::NamedTempFile;

use super::{
    EdgeArgs,
    docker_leftovers::Leftovers,
    local::{self, Edge, EdgeOptions, free_port},
};
use crate::{
    images, interrupt, progress,
    server::Server,
    setup::{self, Ready},
};

/// The interval at which the processes are polled.
const POLL: Duration = Duration::from_millis(100);

/// The server behind the edge.
enum Behind {
    /// Containers that the edge starts.
    Containers(Leftovers),
    /// A server that this command started.
    Own(Box<Server>),
    /// A server that runs already.
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

/// The command without `--build` and `--dry-run`.
pub(super) fn run(args: &EdgeArgs) -> anyhow::Result<()> {
    // A signal must not end this process before its children have ended.
    interrupt::watch()?;
    // Ctrl-C also reaches cargo, npm and docker. Their errors after it are not reported.
    serve(args).or_else(|error| interrupt::check().and(Err(error)))
}

fn serve(args: &EdgeArgs) -> anyhow::Result<()> {
    let reserved = free_port(args.port)?;
    let port = reserved.number();
    let ready = setup::server()?;
    // wrangler builds it too, but compiler errors are easier to read here.
    let tools = super::built()?;
    interrupt::check()?;

    let behind = behind(args, &ready, &local::worker(port))?;
    interrupt::check()?;
    let options = EdgeOptions {
        port,
        upstream: behind.url(),
        vars: &args.vars,
        config: args.config.as_deref(),
        log: None,
    };
    let mut edge = Edge::start(&tools, options)?;
    let outcome = announce(args, port, &edge, &ready, &behind).and_then(|()| watch(&mut edge, &behind));
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
        progress::warn("no Docker Engine is running: a server outside of a container is started instead");
    }
    let program = Server::build(ready, false)?;
    interrupt::check()?;
    let mut command = Server::command(&program, ready);
    command.envs(container_env(&args.vars));
    Ok(Behind::Own(Box::new(Server::start(command)?)))
}

/// The variables that the edge passes to a container.
fn container_env(vars: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> {
    vars.iter().filter_map(|(name, value)| match name.as_str() {
        "EDGE_SECRET" => Some(("EDGEPROVE_EDGE_SECRET", value.as_str())),
        name => {
            let is_forwarded =
                name == "DATABASE_URL" || name.starts_with("EDGEPROVE_") || name.starts_with("AWS_");
            is_forwarded.then_some((name, value.as_str()))
        }
    })
}

/// Shows the address, and writes it to the file that `--addr-file` names.
fn announce(args: &EdgeArgs, port: u16, edge: &Edge, ready: &Ready, behind: &Behind) -> anyhow::Result<()> {
    if let Some(file) = &args.addr_file {
        write_address(file, port)?;
    }
    let url = edge.url();
    progress::done("edge", &format!("{url}, {}", behind.describe()));
    println!("\nTo prove by hand:\n\n{}\n\nThe edge runs until Ctrl-C.", curl(url, ready, behind));
    Ok(())
}

/// Writes the address to a file as a whole, as `edgeprove serve` does. A reader never gets a part of it.
fn write_address(file: &Path, port: u16) -> anyhow::Result<()> {
    let write = || {
        let mut whole = NamedTempFile::new_in(file.parent().unwrap_or(Path::new(".")))?;
        writeln!(whole, "127.0.0.1:{port}")?;
        whole.persist(file)?;
        Ok::<_, std::io::Error>(())
    };
    write().with_context(|| format!("{} cannot be written", file.display()))
}

fn watch(edge: &mut Edge, behind: &Behind) -> anyhow::Result<()> {
    while !interrupt::is_requested() {
        edge.check()?;
        if let Behind::Own(server) = behind {
            server.check()?;
        }
        thread::sleep(POLL);
    }
    Ok(())
}

/// A shell command that proves. The image has one circuit, which needs no name.
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
    fn the_address_is_written_to_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("address");
        write_address(&file, 8787).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), "127.0.0.1:8787");
        assert!(write_address(&dir.path().join("no/address"), 1).is_err());
    }

    #[test]
    fn a_server_gets_the_environment_of_a_container() {
        let vars = [("EDGE_SECRET", "s"), ("EDGEPROVE_PROVER_QUEUE_MAX", "7"), ("MAX_INSTANCES", "2")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let env: Vec<_> = container_env(&vars).collect();
        assert_eq!(env, [("EDGEPROVE_EDGE_SECRET", "s"), ("EDGEPROVE_PROVER_QUEUE_MAX", "7")]);
    }
}
