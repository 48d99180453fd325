//! All of a deployment but the upload, for each environment: what wrangler would warn of is an error here, and so is a
//! Worker that has grown too large.

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

/// As `wrangler --env` takes them; the first is the file's top level.
const ENVIRONMENTS: [&str; 2] = ["", "production"];

/// A Worker starts the faster the smaller it is. Cloudflare itself refuses it only at a multiple of this.
const MAX: Size = Size { plain: ByteSize::mb(1), gzipped: ByteSize::kb(400) };

/// Answers to whatever wrangler asks of Docker, and builds nothing.
const NO_DOCKER: &str = "#!/bin/sh\nexec cat >/dev/null\n";

/// What is uploaded.
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
        progress::caution(
            "no Docker Engine answers: the image is taken for built, and only the rest is checked",
        );
        Some(StandIn::make()?)
    };
    for environment in ENVIRONMENTS {
        check(tools, environment, docker.as_ref())?;
    }
    Ok(())
}

fn check(tools: &EdgeTools, environment: &str, docker: Option<&StandIn>) -> anyhow::Result<()> {
    let title = if environment.is_empty() { "deployment" } else { environment };
    let step = Step::begin(title, "wrangler deploy --dry-run");
    let bundle = tools.paths.wrangler_scratch().join("bundle").join(title);
    if bundle.exists() {
        fs::remove_dir_all(&bundle).with_context(|| format!("{} cannot be removed", bundle.display()))?;
    }
    let outdir = bundle.to_string_lossy();
    let environment = format!("--env={environment}");
    let mut deploy = wrangler::command(tools, &["deploy", "--dry-run", "--outdir", &outdir, &environment]);
    if let Some(docker) = docker {
        deploy.env("WRANGLER_DOCKER_BIN", docker.program());
    }
    let (status, said) = capture(deploy)?;
    // wrangler paints its warnings also where nobody looks.
    let said = strip_ansi_codes(&said);
    if docker.is_none() {
        remove_images(&said);
    }
    if !status.success() {
        bail!("`wrangler deploy --dry-run {environment}` failed: {status}\n{said}");
    }
    if let Some(warning) = warning(&said) {
        bail!("`wrangler deploy --dry-run {environment}` warns: {warning}\n{said}");
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

/// The first line that warns.
fn warning(said: &str) -> Option<&str> {
    said.lines().map(str::trim).find(|line| line.contains("[WARNING]") || line.contains("Unexpected fields"))
}

/// The images that wrangler had built are the production image under names of its own.
fn remove_images(said: &str) {
    for image in said.lines().filter_map(|line| line.strip_prefix("Building image ")) {
        // One that was not built after all cannot be removed.
        let _ = images::docker::query(&["image", "rm", image.trim()]);
    }
}

impl Size {
    /// Of what would be uploaded, compressed as a whole.
    fn of(bundle: &Path) -> anyhow::Result<Self> {
        let files = fs::read_dir(bundle).with_context(|| format!("{} cannot be read", bundle.display()))?;
        let mut files: Vec<PathBuf> = files.flatten().map(|file| file.path()).collect();
        // wrangler puts a word of its own and a map of the source beside it.
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
            bail!("{} has nothing to upload", bundle.display());
        }
        Ok(Self { plain: ByteSize(plain), gzipped: ByteSize(gzip.finish()?.len() as u64) })
    }

    fn check(self) -> anyhow::Result<()> {
        if self.plain > MAX.plain || self.gzipped > MAX.gzipped {
            let [plain, gzipped, plain_max, gzipped_max] =
                [self.plain, self.gzipped, MAX.plain, MAX.gzipped].map(|size| size.display().si());
            bail!(
                "the Worker has {plain}, {gzipped} gzipped, and is to have at most {plain_max} and {gzipped_max}"
            );
        }
        Ok(())
    }
}

/// A program in the place of `docker`, for as long as this lives.
struct StandIn(TempDir);

impl StandIn {
    fn make() -> anyhow::Result<Self> {
        let stand_in = Self(tempfile::tempdir().context("no temporary folder can be made")?);
        let program = stand_in.program();
        fs::write(&program, NO_DOCKER)
            .and_then(|()| fs::set_permissions(&program, fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("{} cannot be written", program.display()))?;
        Ok(stand_in)
    }

    fn program(&self) -> PathBuf {
        self.0.path().join("docker")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_found_and_nothing_else() {
        let clean = "Total Upload: 248.31 KiB / gzip: 79.99 KiB\n--dry-run: exiting now.\n";
        assert_eq!(warning(clean), None);
        let warned = "▲ [WARNING] Processing wrangler.toml configuration:\n\n    - \
                      Unexpected fields found in top-level field: \"container\"\n";
        assert_eq!(warning(warned), Some("▲ [WARNING] Processing wrangler.toml configuration:"));
        assert!(warning("  - Unexpected fields found in containers field").is_some());
    }

    #[test]
    fn only_what_is_uploaded_counts() {
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
        assert!(Size { gzipped: ByteSize::kb(401), ..size }.check().is_err());
        assert!(Size { plain: ByteSize(ByteSize::mb(1).as_u64() + 1), ..size }.check().is_err());
    }

    #[test]
    fn the_stand_in_for_docker_takes_what_it_is_given() {
        let docker = StandIn::make().unwrap();
        let mut build = std::process::Command::new(docker.program());
        let (status, said) = capture({
            build.args(["build", "-f", "-", "."]);
            build
        })
        .unwrap();
        assert!(status.success() && said.is_empty());
    }
}
