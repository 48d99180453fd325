//! `cargo xtask edge`: builds, checks and runs the edge as Cloudflare does.
//!
//! - [`build`]: compiles Rust to the module that wrangler deploys. `wrangler.toml` names this command, so every call of
//!   wrangler uses it.
//! - [`dry_run`]: runs a deployment without the upload.
//! - [`local`]: runs the edge on this machine. [`dev`]: runs it with containers or a server behind it, until Ctrl-C.
//! - [`wrangler`]: calls wrangler. [`docker_leftovers`]: removes the containers and images that wrangler leaves.

mod build;
mod dev;
mod docker_leftovers;
mod dry_run;
mod local;
mod wrangler;

use std::path::PathBuf;

use anyhow::{Context, ensure};

use crate::setup::{self, EdgeTools};

pub(crate) use build::WORKER_ENV;
pub(crate) use local::{Edge, EdgeOptions, free_port};

/// Builds the edge and runs it on this machine until Ctrl-C.
///
/// Containers need a Docker Engine. Without one, the command starts a server outside of a container and puts the edge
/// in front of it.
#[derive(Debug, clap::Args)]
pub(crate) struct EdgeArgs {
    /// Only compile, into `edge_worker/build`. Results that are up to date do not change.
    #[arg(long, conflicts_with_all = ["dry_run", "addr_file", "upstream", "without_container", "vars", "config"])]
    build: bool,
    /// Run a deployment without the upload, for each environment, and check sizes and warnings.
    #[arg(long, conflicts_with_all = ["addr_file", "upstream", "without_container", "vars", "config"])]
    dry_run: bool,
    /// Listen on this port of 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 8787, value_name = "PORT")]
    port: u16,
    /// Write the address to this file once the edge answers.
    #[arg(long, value_name = "FILE")]
    addr_file: Option<PathBuf>,
    /// Put the edge in front of this server instead of containers.
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Put the edge in front of a server outside of a container, even if a Docker Engine is running.
    #[arg(long, conflicts_with = "upstream")]
    without_container: bool,
    /// Use this file instead of `wrangler.toml`.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set a variable of the Worker; may be repeated. `wrangler.toml` lists them.
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = variable)]
    vars: Vec<(String, String)>,
}

/// The command.
pub(crate) fn run(args: &EdgeArgs) -> anyhow::Result<()> {
    if args.build {
        built().map(drop)
    } else if args.dry_run {
        dry_run::run(&setup::edge()?)
    } else {
        dev::run(args)
    }
}

/// Builds the edge, and returns its tools.
pub(crate) fn built() -> anyhow::Result<EdgeTools> {
    let tools = setup::edge()?;
    build::run(&tools)?;
    Ok(tools)
}

fn variable(text: &str) -> anyhow::Result<(String, String)> {
    let (name, value) = text.split_once('=').context("`=` is missing")?;
    // wrangler separates name and value at the first colon.
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    ensure!(!name.is_empty() && name.chars().all(is_name), "`{name}` is not a valid name of a variable");
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_has_a_valid_name_and_any_value() {
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(variable("A_1=b=c:d").unwrap(), set("A_1", "b=c:d"));
        assert_eq!(variable("A=").unwrap(), set("A", ""));
        for wrong in ["A", "=b", "A:B=c", "A B=c"] {
            assert!(variable(wrong).is_err(), "{wrong}");
        }
    }
}
