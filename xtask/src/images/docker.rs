//! The Docker Engine, spoken to through its own command-line client.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, anyhow};
use duct::cmd;

use crate::process;

/// Longest time for a question that the engine answers from what it knows.
const ANSWER: Duration = Duration::from_secs(30);
/// Longest time to fetch a base image.
const PULL: Duration = Duration::from_mins(15);

/// Put into every image that was imported here, so that nobody takes it for the one whose name it bears.
const STAND_IN_LABEL: &str = "LABEL edgeprove.stand-in=true";

/// One image to build.
#[derive(Debug)]
pub(super) struct BuildOrder<'a> {
    pub(super) dockerfile: PathBuf,
    pub(super) context: &'a Path,
    pub(super) tag: &'a str,
    pub(super) platform: Option<&'a str>,
    pub(super) build_args: &'a [(&'a str, String)],
    pub(super) labels: &'a [(&'a str, String)],
}

/// Asks the engine what it builds for of its own accord, as `linux/amd64`, and makes sure that it can.
pub(super) fn platform() -> anyhow::Result<String> {
    let platform = query(&["version", "--format", "{{.Server.Os}}/{{.Server.Arch}}"])
        .context("no Docker Engine answers: start one, or run `.ci/docker`, which brings one up")?;
    query(&["buildx", "version"])
        .context("docker has no buildx, without which it cannot build these images: install docker-buildx")?;
    Ok(platform.trim().to_owned())
}

/// Whether there is an engine at all.
pub(crate) fn is_available() -> bool {
    query(&["version", "--format", "{{.Server.Version}}"]).is_ok()
}

/// Whether the engine has the image already.
pub(super) fn has_image(image: &str) -> bool {
    query(&["image", "inspect", image]).is_ok()
}

/// Fetches an image from wherever the engine is set up to look.
pub(super) fn pull(image: &str) -> anyhow::Result<()> {
    process::read("docker", &["pull", "--quiet", image], PULL).map(drop)
}

/// Makes an image of one layer of a folder that holds a root file system.
pub(super) fn import(root: &Path, left_out: &[&str], image: &str) -> anyhow::Result<()> {
    let mut archive = vec!["--create".to_owned(), "--one-file-system".to_owned()];
    archive.extend(left_out.iter().map(|path| format!("--exclude={path}")));
    archive.extend(["--directory".to_owned(), root.display().to_string(), ".".to_owned()]);
    let import =
        cmd!("docker", "import", "--change", "CMD [\"bash\"]", "--change", STAND_IN_LABEL, "-", image);
    let outcome = cmd("tar", archive).pipe(import).stdout_null().run();
    if let Err(error) = outcome {
        // Half an archive is an image to the engine, and would be taken for a whole one the next time.
        let _ = query(&["image", "rm", image]);
        return Err(anyhow!(error).context(format!("{} cannot be imported as {image}", root.display())));
    }
    Ok(())
}

/// Builds an image; what the builder says goes to the terminal.
pub(super) fn build(order: &BuildOrder<'_>) -> anyhow::Result<()> {
    let mut build = Command::new("docker");
    build.args(["buildx", "build", "--load", "--tag", order.tag]).arg("--file").arg(&order.dockerfile);
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

/// An image as a tar archive.
pub(super) fn save(image: &str) -> anyhow::Result<duct::ReaderHandle> {
    cmd!("docker", "save", image).stdin_null().reader().with_context(|| format!("{image} cannot be saved"))
}

/// Asks what the engine answers from what it knows.
pub(crate) fn query(arguments: &[&str]) -> anyhow::Result<String> {
    process::read("docker", arguments, ANSWER)
}
