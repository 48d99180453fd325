//! The edge in the runtime that it is deployed to, and a Worker that only passes on what comes: what that adds is the
//! runtime's own.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::json;

use crate::{process, setup::EdgeTools};

/// Both of them, for as long as this is held.
#[derive(Debug)]
pub(super) struct Workers {
    child: Child,
    /// They run until it is closed.
    stdin: Option<ChildStdin>,
    urls: Urls,
}

/// Where they answer.
#[derive(Debug, Deserialize)]
pub(super) struct Urls {
    pub(super) edge: String,
    pub(super) bare: String,
}

impl Workers {
    /// Starts both in front of a server. What goes wrong is written to the log.
    pub(super) fn start(tools: &EdgeTools, upstream: &str, log: &Path) -> anyhow::Result<Self> {
        let config = tools.paths.root.join("wrangler.toml");
        let config =
            fs::read_to_string(&config).with_context(|| format!("{} cannot be read", config.display()))?;
        let config: toml::Table = config.parse()?;
        let built = tools.paths.edge_dir().join("build");
        let told = json!({ "wrangler": config, "built": built, "upstream": upstream });
        let host = tools.paths.root.join("xtask/src/bench/workerd/host.mjs");
        let file = File::create(log).with_context(|| format!("{} cannot be written", log.display()))?;
        let mut child = Command::new("node")
            .arg(host)
            .arg(told.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .context("node cannot be started")?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().context("node has no stdout")?);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let Ok(urls) = serde_json::from_str(&line) else {
            drop(stdin);
            let status = child.wait()?;
            bail!("workerd was not started, {status}\n{}", process::end_of_log(log));
        };
        Ok(Self { child, stdin, urls })
    }

    /// Without a slash at their end.
    pub(super) fn urls(&self) -> &Urls {
        &self.urls
    }

    /// Ends them, and says if they had ended on their own.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("workerd ended by itself, {status}");
        }
        self.end()
    }

    fn end(&mut self) -> anyhow::Result<()> {
        drop(self.stdin.take());
        self.child.wait().map(drop).context("node was lost")
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // On the way out of an error there is nobody left to tell.
        let _ = self.end();
    }
}
