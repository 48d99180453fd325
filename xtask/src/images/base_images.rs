//! The images that the Dockerfiles start from.
//!
//! They are pulled where that is possible. A machine that reaches package registries but no registry of images makes
//! stand-ins under the same names: Debian by debootstrap, and on top of it this machine's own Rust toolchain. The
//! stand-ins also trust whatever this machine trusts, since its way to the registries may lead through a proxy of
//! its own; a pulled image is left as it is.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};

use super::docker::{self, BuildOrder};
use crate::{process, progress::Step};

/// The Debian that everything runs on.
const DEBIAN: &str = "debian:trixie-slim";
const DEBIAN_SUITE: &str = "trixie";

/// The Rust that everything is built by.
const RUST: &str = "rust:1.95-slim-trixie";
const RUST_RELEASE: &str = "1.95.";

/// Longest time to bootstrap a Debian; it takes half a minute where the packages come fast.
const BOOTSTRAP: Duration = Duration::from_mins(15);
/// Longest time for a question to the compiler.
const ANSWER: Duration = Duration::from_secs(30);

/// Where Debian's programs look for the certificates they trust.
const TRUSTED: &str = "etc/ssl/certs/ca-certificates.crt";
/// Where `update-ca-certificates` looks for more, which it runs when a build installs Debian's own.
const TRUSTED_LOCALLY: &str = "usr/local/share/ca-certificates/this-machine.crt";

/// What a bootstrapped Debian has that its slim image has not, or that differs from machine to machine.
const LEFT_OUT: [&str; 8] = [
    "./dev/*",
    "./etc/hostname",
    "./etc/resolv.conf",
    "./usr/share/info",
    "./usr/share/locale",
    "./usr/share/man",
    "./var/cache/apt/*",
    "./var/lib/apt/lists/*",
];

/// What the stand-in for [`RUST`] has that [`DEBIAN`] has not. Its build context is the toolchain's folder.
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

/// Sees to it that the engine has every image the Dockerfiles start from.
pub(super) fn provide() -> anyhow::Result<()> {
    provide_one(DEBIAN, make_debian)?;
    provide_one(RUST, make_rust)
}

fn provide_one(image: &str, make: fn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    if docker::has_image(image) {
        return Ok(());
    }
    let step = Step::begin(image, "pulling");
    let Err(unreachable) = docker::pull(image) else {
        step.done("pulled");
        return Ok(());
    };
    step.now("cannot be pulled; making a stand-in from this machine's packages and toolchain");
    make()
        .with_context(|| format!("{unreachable:#}"))
        .with_context(|| format!("{image} can neither be pulled nor made here"))?;
    step.done("made here");
    Ok(())
}

fn make_debian() -> anyhow::Result<()> {
    let root = tempfile::tempdir().context("there is no temporary folder")?;
    let folder = root.path().to_string_lossy();
    process::read("debootstrap", &["--variant=minbase", DEBIAN_SUITE, &folder], BOOTSTRAP)
        .context("debootstrap, which is to be installed and run as root, makes it")?;
    trust_as_this_machine(root.path())?;
    docker::import(root.path(), &LEFT_OUT, DEBIAN)
}

fn trust_as_this_machine(root: &Path) -> anyhow::Result<()> {
    let bundle = env::var_os("SSL_CERT_FILE").map_or_else(|| Path::new("/").join(TRUSTED), PathBuf::from);
    if !bundle.exists() {
        return Ok(());
    }
    for place in [TRUSTED, TRUSTED_LOCALLY] {
        let place = root.join(place);
        let folder = place.parent().unwrap_or(root);
        fs::create_dir_all(folder)
            .and_then(|()| fs::copy(&bundle, &place))
            .with_context(|| format!("{} cannot be copied to {}", bundle.display(), place.display()))?;
    }
    Ok(())
}

fn make_rust() -> anyhow::Result<()> {
    let rustc = |arguments: &[&str]| process::read("rustc", arguments, ANSWER);
    let about = rustc(&["--version", "--verbose"])?;
    let field = |name: &str| about.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let (release, host) = (field("release: "), field("host: "));
    if !release.starts_with(RUST_RELEASE) {
        bail!("this machine's Rust is {release}, and the image is to have {RUST_RELEASE}x");
    }
    let toolchain = rustc(&["--print", "sysroot"])?;

    let scratch = tempfile::tempdir().context("there is no temporary folder")?;
    let dockerfile = scratch.path().join("Dockerfile");
    fs::write(&dockerfile, RUST_DOCKERFILE).context("the temporary folder cannot be written")?;
    docker::build(&BuildOrder {
        dockerfile,
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

    /// The stages of a Dockerfile: what each starts from, its name, and its text.
    fn stages(file: &str) -> Vec<(&str, &str, &str)> {
        let stage = |text| {
            let line: &str = str::lines(text).next().unwrap_or_default();
            let mut words = line.split_whitespace().filter(|word| !word.starts_with("--"));
            (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default(), text)
        };
        file.split("\nFROM ").skip(1).map(stage).collect()
    }

    #[test]
    fn the_dockerfiles_start_from_what_can_be_made_here() {
        for file in [DOCKERFILE, DOCKERFILE_DEV, RUST_DOCKERFILE] {
            let stages = stages(file);
            assert!(!stages.is_empty());
            for (base, _, _) in &stages {
                let known = [DEBIAN, RUST, "scratch"].contains(base)
                    || stages.iter().any(|(_, name, _)| name == base);
                assert!(known, "{base} is named by a Dockerfile and by nothing that makes it");
            }
        }
    }

    #[test]
    fn both_images_share_one_stage_of_tools() {
        let tools = |file| {
            let (_, _, text) = *stages(file).iter().find(|(_, name, _)| *name == "tools").unwrap();
            text.split("\n# ----").next().unwrap().to_owned()
        };
        assert_eq!(tools(DOCKERFILE), tools(DOCKERFILE_DEV));
    }

    #[test]
    fn the_stand_in_for_rust_is_of_the_release_its_name_says() {
        assert!(RUST.starts_with(&format!("rust:{RUST_RELEASE}")[..RUST_RELEASE.len() + 4]));
        assert!(RUST.ends_with(DEBIAN_SUITE) && DEBIAN.contains(DEBIAN_SUITE));
    }
}
