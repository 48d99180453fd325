//! workerd, the runtime of deployed Workers, with two Workers: the edge, and a bare one that only forwards requests.
//!
//! The time that the bare Worker adds is the runtime's own.

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

/// A workerd with both Workers, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Workers {
    child: Child,
    /// workerd runs until this is closed.
    stdin: Option<ChildStdin>,
    urls: Urls,
}

/// The addresses of the Workers, without a slash at the end.
#[derive(Debug, Deserialize)]
pub(super) struct Urls {
    pub(super) edge: String,
    pub(super) bare: String,
}

impl Workers {
    /// Starts both in front of a server. Errors are written to the log.
    pub(super) fn start(tools: &EdgeTools, upstream: &str, log: &Path) -> anyhow::Result<Self> {
        let config = tools.paths.root.join("wrangler.toml");
        let config =
            fs::read_to_string(&config).with_context(|| format!("{} cannot be read", config.display()))?;
        let config: toml::Table = config.parse()?;
        let built = tools.paths.edge_dir().join("build");
        let arguments = json!({ "wrangler": config, "built": built, "upstream": upstream });
        let host = tools.paths.root.join("xtask/src/bench/workerd/host.mjs");
        let file = File::create(log).with_context(|| format!("{} cannot be written", log.display()))?;
        let mut child = Command::new("node")
            .arg(host)
            .arg(arguments.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .context("Node.js cannot be started")?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().context("Node.js has no stdout")?);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let Ok(urls) = serde_json::from_str(&line) else {
            drop(stdin);
            let status = child.wait()?;
            bail!("workerd could not be started, {status}\n{}", process::end_of_log(log));
        };
        Ok(Self { child, stdin, urls })
    }

    /// The addresses of the Workers.
    pub(super) fn urls(&self) -> &Urls {
        &self.urls
    }

    /// Ends workerd. Returns an error if it had ended by itself.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("workerd ended by itself, {status}");
        }
        self.end()
    }

    fn end(&mut self) -> anyhow::Result<()> {
        drop(self.stdin.take());
        self.child.wait().map(drop).context("Node.js cannot be waited for")
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // Drop cannot return an error.
        let _ = self.end();
    }
}
