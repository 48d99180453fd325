//! Runs a deployment without the upload, for each environment. A warning of wrangler is an error here, and so is a
//! Worker that is too large.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use bytesize::ByteSize;
use console::strip_ansi_codes;
use flate2::{Compression, write::GzEncoder};
use tempfile::TempDir;

use super::wrangler;
use crate::{
    images,
    process::capture,
    progress::{self, Step},
    setup::EdgeTools,
};

/// Values of `wrangler --env`. The first one is the top level of `wrangler.toml`.
const ENVIRONMENTS: [&str; 2] = ["", "production"];

/// A smaller Worker starts faster. Cloudflare's own limit is several times as high. The job queue of the edge took it beyond the goal
/// of 1,000 kB, 400 kB gzipped; nothing may take it further.
const MAX: Size = Size { plain: ByteSize::kb(1250), gzipped: ByteSize::kb(495) };

/// A replacement of `docker` that accepts every command and builds nothing.
const DOCKER_STUB: &str = "#!/bin/sh\nexec cat >/dev/null\n";

/// The size of the upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    plain: ByteSize,
    gzipped: ByteSize,
}

/// Checks every environment.
pub(super) fn run(tools: &EdgeTools) -> anyhow::Result<()> {
    super::build::run(tools)?;
    let docker = if images::docker::is_available() {
        images::for_edge()?;
        None
    } else {
        progress::warn("no Docker Engine is running: the image is not built, only the rest is checked");
        Some(DockerStub::create()?)
    };
    for environment in ENVIRONMENTS {
        check(tools, environment, docker.as_ref())?;
    }
    Ok(())
}

fn check(tools: &EdgeTools, environment: &str, docker: Option<&DockerStub>) -> anyhow::Result<()> {
    let title = if environment.is_empty() { "deployment" } else { environment };
    let step = Step::start(title, "wrangler deploy --dry-run");
    let bundle = tools.paths.wrangler_scratch().join("bundle").join(title);
    if bundle.exists() {
        fs::remove_dir_all(&bundle).with_context(|| format!("{} cannot be removed", bundle.display()))?;
    }
    let outdir = bundle.to_string_lossy();
    let environment = format!("--env={environment}");
    let mut deploy = wrangler::command(tools, &["deploy", "--dry-run", "--outdir", &outdir, &environment]);
    match docker {
        Some(docker) => drop(deploy.env("WRANGLER_DOCKER_BIN", docker.program())),
        None => wrangler::use_given_server(&mut deploy, tools)?,
    }
    let (status, output) = capture(deploy)?;
    // wrangler colours its warnings even if its output is not a terminal.
    let output = strip_ansi_codes(&output);
    if docker.is_none() {
        remove_images(&output);
    }
    if !status.success() {
        bail!("`wrangler deploy --dry-run {environment}` failed: {status}\n{output}");
    }
    if let Some(warning) = warning(&output) {
        bail!("`wrangler deploy --dry-run {environment}` warns: {warning}\n{output}");
    }
    let size = Size::of(&bundle)?;
    size.check().with_context(|| bundle.display().to_string())?;
    step.done(&format!(
        "no warning; {} to upload, {} gzipped",
        size.plain.display().si(),
        size.gzipped.display().si()
    ));
    Ok(())
}

/// The first line with a warning.
fn warning(output: &str) -> Option<&str> {
    output
        .lines()
        .map(str::trim)
        .find(|line| line.contains("[WARNING]") || line.contains("Unexpected fields"))
}

/// Removes the images that wrangler built: they are the production image under other names.
fn remove_images(output: &str) {
    for image in output.lines().filter_map(|line| line.strip_prefix("Building image ")) {
        // Removing fails for an image whose build failed.
        let _ = images::docker::query(&["image", "rm", image.trim()]);
    }
}

impl Size {
    /// The size of the files that would be uploaded, compressed together.
    fn of(bundle: &Path) -> anyhow::Result<Self> {
        let files = fs::read_dir(bundle).with_context(|| format!("{} cannot be read", bundle.display()))?;
        let mut files: Vec<PathBuf> = files.flatten().map(|file| file.path()).collect();
        // wrangler also writes a README and a source map, which are not uploaded.
        files.retain(|file| {
            file.extension().is_some_and(|extension| extension == "js" || extension == "wasm")
        });
        files.sort_unstable();
        let mut plain = 0;
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        for file in &files {
            let bytes = fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
            plain += bytes.len() as u64;
            gzip.write_all(&bytes)?;
        }
        if plain == 0 {
            bail!("{} contains nothing to upload", bundle.display());
        }
        Ok(Self { plain: ByteSize(plain), gzipped: ByteSize(gzip.finish()?.len() as u64) })
    }

    fn check(self) -> anyhow::Result<()> {
        if self.plain > MAX.plain || self.gzipped > MAX.gzipped {
            let [plain, gzipped, plain_max, gzipped_max] =
                [self.plain, self.gzipped, MAX.plain, MAX.gzipped].map(|size| size.display().si());
            bail!(
                "the Worker is too large: {plain}, {gzipped} gzipped; the maximum is {plain_max}, {gzipped_max} gzipped"
            );
        }
        Ok(())
    }
}

/// A replacement of the program `docker`, which is deleted when this is dropped.
struct DockerStub(TempDir);

impl DockerStub {
    fn create() -> anyhow::Result<Self> {
        let stub = Self(tempfile::tempdir().context("a temporary folder cannot be created")?);
        let program = stub.program();
        fs::write(&program, DOCKER_STUB)
            .and_then(|()| fs::set_permissions(&program, fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("{} cannot be written", program.display()))?;
        Ok(stub)
    }

    fn program(&self) -> PathBuf {
        self.0.path().join("docker")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_warnings_are_found() {
        let clean = "Total Upload: 248.31 KiB / gzip: 79.99 KiB\n--dry-run: exiting now.\n";
        assert_eq!(warning(clean), None);
        let warned = "▲ [WARNING] Processing wrangler.toml configuration:\n\n    - \
                      Unexpected fields found in top-level field: \"container\"\n";
        assert_eq!(warning(warned), Some("▲ [WARNING] Processing wrangler.toml configuration:"));
        assert!(warning("  - Unexpected fields found in containers field").is_some());
    }

    #[test]
    fn only_uploaded_files_count() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Size::of(dir.path()).is_err());
        fs::write(dir.path().join("index.js"), [b'a'; 1000]).unwrap();
        fs::write(dir.path().join("x.wasm"), [b'b'; 500]).unwrap();
        fs::write(dir.path().join("index.js.map"), [b'c'; 9000]).unwrap();
        fs::write(dir.path().join("README.md"), "d").unwrap();
        let size = Size::of(dir.path()).unwrap();
        assert_eq!(size.plain, ByteSize(1500));
        assert!(size.gzipped < ByteSize(100));
        assert!(size.check().is_ok());
        assert!(Size { gzipped: ByteSize(MAX.gzipped.as_u64() + 1), ..size }.check().is_err());
        assert!(Size { plain: ByteSize(MAX.plain.as_u64() + 1), ..size }.check().is_err());
    }

    #[test]
    fn the_docker_stub_accepts_a_build() {
        let docker = DockerStub::create().unwrap();
        let mut build = std::process::Command::new(docker.program());
        let (status, output) = capture({
            build.args(["build", "-f", "-", "."]);
            build
        })
        .unwrap();
        assert!(status.success() && output.is_empty());
    }
}
