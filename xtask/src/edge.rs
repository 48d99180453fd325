//! `cargo xtask edge`: the edge, built, checked and run as Cloudflare would.
//!
//! - [`build`]: Rust to the module that wrangler deploys; `wrangler.toml` calls this, whoever calls wrangler.
//! - [`dry_run`]: all of a deployment but the upload.
//! - [`local`]: the edge on this machine; [`dev`]: with what is to be in front of, until Ctrl-C.
//!
//! [`wrangler`] and [`leftovers`] serve them.

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
/// Containers need a Docker Engine. Where none runs, a server is started without one and the edge is put in front of it.
#[derive(Debug, clap::Args)]
pub(crate) struct EdgeArgs {
    /// Compile only, into `edge_worker/build`. What is up to date is left as it is.
    #[arg(long, conflicts_with_all = ["dry_run", "addr_file", "upstream", "without_container", "vars", "config"])]
    build: bool,
    /// Do all that a deployment does but the upload, for each environment, and check sizes and warnings.
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
    /// Put the edge in front of a server without a container, also where a Docker Engine runs.
    #[arg(long, conflicts_with = "upstream")]
    without_container: bool,
    /// Run what this file configures instead of `wrangler.toml`.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set a variable of the Worker; may be repeated. `wrangler.toml` tells which there are.
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

/// Builds the edge, and gives what it runs with.
pub(crate) fn built() -> anyhow::Result<EdgeTools> {
    let tools = setup::edge()?;
    build::run(&tools)?;
    Ok(tools)
}

fn variable(text: &str) -> anyhow::Result<(String, String)> {
    let (name, value) = text.split_once('=').context("it has no `=`")?;
    // wrangler takes names and values apart at the first colon.
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    ensure!(!name.is_empty() && name.chars().all(is_name), "`{name}` is no name of a variable");
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_have_names_and_any_value() {
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(variable("A_1=b=c:d").unwrap(), set("A_1", "b=c:d"));
        assert_eq!(variable("A=").unwrap(), set("A", ""));
        for wrong in ["A", "=b", "A:B=c", "A B=c"] {
            assert!(variable(wrong).is_err(), "{wrong}");
        }
    }
}
