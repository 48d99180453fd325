//! Provides the base images of the Dockerfiles.
//!
//! They are pulled if possible. A machine that reaches package registries but no image registry builds replacements
//! under the same names: Debian with debootstrap, and on top of it this machine's own Rust toolchain. The replacements
//! trust the same certificates as this machine, because it may reach the registries through a proxy. Pulled images are
//! not changed.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};

use super::docker::{self, BuildOrder};
use crate::{process, progress::Step};

/// The image that the development image runs on, and the base of the other stages.
const DEBIAN: &str = "debian:trixie-slim";
const DEBIAN_SUITE: &str = "trixie";

/// The image with the compiler.
const RUST: &str = "rust:1.95-slim-trixie";
const RUST_RELEASE: &str = "1.95.";

/// The limit to bootstrap a Debian. It takes half a minute with a fast mirror.
const BOOTSTRAP: Duration = Duration::from_mins(15);
/// The limit for a query of the compiler.
const ANSWER: Duration = Duration::from_secs(30);

/// The file with the certificates that Debian's programs trust.
const TRUSTED: &str = "etc/ssl/certs/ca-certificates.crt";
/// A file that `update-ca-certificates` adds to them. A build runs it when it installs the package ca-certificates.
const TRUSTED_LOCALLY: &str = "usr/local/share/ca-certificates/this-machine.crt";

/// Files of a bootstrapped Debian that its slim image does not have, or that differ from machine to machine.
const EXCLUDED: [&str; 8] = [
    "./dev/*",
    "./etc/hostname",
    "./etc/resolv.conf",
    "./usr/share/info",
    "./usr/share/locale",
    "./usr/share/man",
    "./var/cache/apt/*",
    "./var/lib/apt/lists/*",
];

/// The replacement of [`RUST`], on top of [`DEBIAN`]. Its build context is the toolchain's folder.
const RUST_DOCKERFILE: &str = r"
FROM debian:trixie-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
ENV CARGO_HOME=/usr/local/cargo \
    PATH=/usr/local/cargo/bin:/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
COPY bin/cargo bin/rustc /usr/local/rust/bin/
COPY lib/*.so* /usr/local/rust/lib/
ARG HOST
COPY lib/rustlib/$HOST /usr/local/rust/lib/rustlib/$HOST
";

/// Ensures that the Docker Engine has every base image of the Dockerfiles.
pub(super) fn provide() -> anyhow::Result<()> {
    provide_one(DEBIAN, build_debian)?;
    provide_one(RUST, build_rust)
}

fn provide_one(image: &str, build: fn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    if docker::has_image(image) {
        return Ok(());
    }
    let step = Step::start(image, "pulling");
    let Err(unreachable) = docker::pull(image) else {
        step.done("pulled");
        return Ok(());
    };
    step.set_activity("cannot be pulled; building a replacement from this machine's packages and toolchain");
    build()
        .with_context(|| format!("{unreachable:#}"))
        .with_context(|| format!("{image} can neither be pulled nor built here"))?;
    step.done("built here");
    Ok(())
}

fn build_debian() -> anyhow::Result<()> {
    let root = tempfile::tempdir().context("a temporary folder cannot be created")?;
    let folder = root.path().to_string_lossy();
    process::read("debootstrap", &["--variant=minbase", DEBIAN_SUITE, &folder], BOOTSTRAP)
        .context("install debootstrap and run this command as root, because debootstrap builds the image")?;
    trust_as_this_machine(root.path())?;
    docker::import(root.path(), &EXCLUDED, DEBIAN)
}

fn trust_as_this_machine(root: &Path) -> anyhow::Result<()> {
    let bundle = env::var_os("SSL_CERT_FILE").map_or_else(|| Path::new("/").join(TRUSTED), PathBuf::from);
    if !bundle.exists() {
        return Ok(());
    }
    for path in [TRUSTED, TRUSTED_LOCALLY] {
        let path = root.join(path);
        let folder = path.parent().unwrap_or(root);
        fs::create_dir_all(folder)
            .and_then(|()| fs::copy(&bundle, &path))
            .with_context(|| format!("{} cannot be copied to {}", bundle.display(), path.display()))?;
    }
    Ok(())
}

fn build_rust() -> anyhow::Result<()> {
    let rustc = |arguments: &[&str]| process::read("rustc", arguments, ANSWER);
    let about = rustc(&["--version", "--verbose"])?;
    let field = |name: &str| about.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let (release, host) = (field("release: "), field("host: "));
    if !release.starts_with(RUST_RELEASE) {
        bail!("this machine's Rust is {release}, but the image needs {RUST_RELEASE}x");
    }
    let toolchain = rustc(&["--print", "sysroot"])?;

    let scratch = tempfile::tempdir().context("a temporary folder cannot be created")?;
    let dockerfile = scratch.path().join("Dockerfile");
    fs::write(&dockerfile, RUST_DOCKERFILE).context("the temporary folder cannot be written")?;
    docker::build(&BuildOrder {
        dockerfile,
        stage: None,
        context: Path::new(toolchain.trim()),
        tag: RUST,
        platform: None,
        build_args: &[("HOST", host.to_owned())],
        labels: &[],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCKERFILE: &str = include_str!("../../../Dockerfile");
    const DOCKERFILE_DEV: &str = include_str!("../../../Dockerfile.dev");

    /// The stages of a Dockerfile: what each starts from by default, its name, and its text.
    fn stages(file: &str) -> Vec<(String, &str, &str)> {
        let default = |name: &str| {
            let argument = format!("ARG {name}=");
            file.lines().find_map(|line| line.strip_prefix(&argument)).unwrap_or_default()
        };
        let stage = |text| {
            let line: &str = str::lines(text).next().unwrap_or_default();
            let mut words = line.split_whitespace().filter(|word| !word.starts_with("--"));
            let base = words.next().unwrap_or_default();
            let base = match base.split_once('$') {
                Some((begin, argument)) => format!("{begin}{}", default(argument)),
                None => base.to_owned(),
            };
            (base, words.nth(1).unwrap_or_default(), text)
        };
        file.split("\nFROM ").skip(1).map(stage).collect()
    }

    #[test]
    fn all_base_images_can_be_built_here() {
        for file in [DOCKERFILE, DOCKERFILE_DEV, RUST_DOCKERFILE] {
            let stages = stages(file);
            assert!(!stages.is_empty());
            for (base, _, _) in &stages {
                let known = [DEBIAN, RUST, "scratch"].contains(&base.as_str())
                    || stages.iter().any(|(_, name, _)| name == base);
                assert!(known, "a Dockerfile starts from {base}, which is not built here");
            }
        }
    }

    #[test]
    fn both_images_have_the_same_tools_stage() {
        let tools = |file| {
            let stages = stages(file);
            let (_, _, text) = stages.iter().find(|(_, name, _)| *name == "tools").unwrap();
            text.split("\n# ----").next().unwrap().to_owned()
        };
        assert_eq!(tools(DOCKERFILE), tools(DOCKERFILE_DEV));
    }

    #[test]
    fn the_rust_image_has_the_release_of_its_name() {
        assert!(RUST.starts_with(&format!("rust:{RUST_RELEASE}")[..RUST_RELEASE.len() + 4]));
        assert!(RUST.ends_with(DEBIAN_SUITE) && DEBIAN.contains(DEBIAN_SUITE));
    }
}
