//! The Docker Engine, through its command-line client.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, anyhow};
use duct::cmd;

use crate::process;

/// The limit for a query that the engine answers without network or build.
const ANSWER: Duration = Duration::from_secs(30);
/// The limit to pull a base image.
const PULL: Duration = Duration::from_mins(15);

/// The label of every image that was built here under the name of a published one.
const REPLACEMENT_LABEL: &str = "LABEL edgeprove.base-image=local";

/// One image to build.
#[derive(Debug)]
pub(super) struct BuildOrder<'a> {
    pub(super) dockerfile: PathBuf,
    /// The stage of the Dockerfile; `None` is the last one.
    pub(super) stage: Option<&'a str>,
    pub(super) context: &'a Path,
    pub(super) tag: &'a str,
    pub(super) platform: Option<&'a str>,
    pub(super) build_args: &'a [(&'a str, String)],
    pub(super) labels: &'a [(&'a str, String)],
}

/// Returns the engine's default platform, for example `linux/amd64`. An error if it cannot build images.
pub(super) fn platform() -> anyhow::Result<String> {
    let platform = query(&["version", "--format", "{{.Server.Os}}/{{.Server.Arch}}"])
        .context("no Docker Engine is running: start one, or run `.ci/docker`, which starts one")?;
    query(&["buildx", "version"])
        .context("docker cannot build these images without buildx: install docker-buildx")?;
    Ok(platform.trim().to_owned())
}

/// Whether an engine is running.
pub(crate) fn is_available() -> bool {
    query(&["version", "--format", "{{.Server.Version}}"]).is_ok()
}

/// Whether the engine has an image.
pub(super) fn has_image(image: &str) -> bool {
    query(&["image", "inspect", image]).is_ok()
}

/// Pulls an image from the registry that the engine is configured for.
pub(super) fn pull(image: &str) -> anyhow::Result<()> {
    process::read("docker", &["pull", "--quiet", image], PULL).map(drop)
}

/// Imports a folder with a root file system as an image of one layer.
pub(super) fn import(root: &Path, excluded: &[&str], image: &str) -> anyhow::Result<()> {
    let mut archive = vec!["--create".to_owned(), "--one-file-system".to_owned()];
    archive.extend(excluded.iter().map(|path| format!("--exclude={path}")));
    archive.extend(["--directory".to_owned(), root.display().to_string(), ".".to_owned()]);
    let import =
        cmd!("docker", "import", "--change", "CMD [\"bash\"]", "--change", REPLACEMENT_LABEL, "-", image);
    let outcome = cmd("tar", archive).pipe(import).stdout_null().run();
    if let Err(error) = outcome {
        // The engine also imports an incomplete archive, which must not be used the next time.
        let _ = query(&["image", "rm", image]);
        return Err(anyhow!(error).context(format!("{} cannot be imported as {image}", root.display())));
    }
    Ok(())
}

/// Builds an image. The builder's output goes to the terminal.
pub(super) fn build(order: &BuildOrder<'_>) -> anyhow::Result<()> {
    let mut build = Command::new("docker");
    build.args(["buildx", "build", "--load", "--tag", order.tag]).arg("--file").arg(&order.dockerfile);
    if let Some(stage) = order.stage {
        build.args(["--target", stage]);
    }
    if let Some(platform) = order.platform {
        build.args(["--platform", platform]);
    }
    for (name, value) in order.build_args {
        build.args(["--build-arg", &format!("{name}={value}")]);
    }
    for (name, value) in order.labels {
        build.args(["--label", &format!("{name}={value}")]);
    }
    process::run(build.arg(order.context).stdin(Stdio::null()))
}

/// Reads an image as a tar archive.
pub(super) fn save(image: &str) -> anyhow::Result<duct::ReaderHandle> {
    cmd!("docker", "save", image).stdin_null().reader().with_context(|| format!("{image} cannot be saved"))
}

/// Runs a docker command that needs neither network nor build, and returns its output.
pub(crate) fn query(arguments: &[&str]) -> anyhow::Result<String> {
    process::read("docker", arguments, ANSWER)
}
