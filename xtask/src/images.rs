//! `cargo xtask images`: builds the container images, and prints their sizes.
//!
//! `docker build .` builds the same image if the base images can be pulled. This command adds base images that are
//! built on this machine if no image registry is reachable, labels with the pinned versions, and the size of every
//! layer.

mod base_images;
pub(crate) mod docker;
mod layer_sizes;

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use bytesize::ByteSize;

use crate::{paths::repository_root, process, versions::Versions};
use docker::BuildOrder;
use layer_sizes::Layer;

/// The platform of Cloudflare's containers.
const CLOUDFLARE: &str = "linux/amd64";

/// The image of a program that is put into the images.
const GIVEN_SERVER: &str = "edgeprove-server:given";
/// Names such a program: [`ImagesArgs::server`].
const SERVER_ENV: &str = "EDGEPROVE_IMAGE_SERVER";

/// Builds the production image, the image that also builds circuits, and the development image.
#[derive(Debug, clap::Args)]
pub(crate) struct ImagesArgs {
    /// Build this image only.
    #[arg(long, value_enum)]
    only: Option<Image>,
    /// The number of CRS points in the images, 64 bytes each. A circuit of size N needs N.
    ///
    /// If only package registries are reachable, the images get 4097 points, with a warning.
    #[arg(long, default_value_t = 32_769, value_name = "N")]
    crs_points: u32,
    /// Put this program into the images instead of compiling it there. It must run on Debian 13. This is for tests, which
    /// have compiled the program already; the size of the images is then not checked.
    #[arg(long, env = SERVER_ENV, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Put `noir_js`, `bb.js` and points of the CRS into the images of the server, so that their page can prove in the browser. The
    /// size of the images is then not checked.
    #[arg(long)]
    page_local: bool,
    /// The platform to build for, instead of the Docker Engine's own. Another architecture needs an emulator that is
    /// registered in the kernel, and base images that can be pulled.
    #[arg(long, value_name = "linux/ARCH")]
    platform: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Image {
    /// `Dockerfile`: small and optimised, without a shell.
    Production,
    /// `Dockerfile`, stage `builder`: the production image with Node.js and the compilers of circuits.
    Builder,
    /// `Dockerfile.dev`: builds fast, has debug symbols and a shell.
    Development,
}

impl Image {
    const ALL: [Self; 3] = [Self::Production, Self::Builder, Self::Development];

    fn dockerfile(self) -> &'static str {
        match self {
            Self::Production | Self::Builder => "Dockerfile",
            Self::Development => "Dockerfile.dev",
        }
    }

    fn stage(self) -> Option<&'static str> {
        match self {
            Self::Builder => Some("builder"),
            Self::Production | Self::Development => None,
        }
    }

    fn tag(self) -> &'static str {
        match self {
            Self::Production => "edgeprove:latest",
            Self::Builder => "edgeprove:builder",
            Self::Development => "edgeprove:dev",
        }
    }

    /// The largest compressed size without the CRS.
    fn size_max(self) -> Option<ByteSize> {
        match self {
            Self::Production => Some(ByteSize::mb(45)),
            Self::Builder | Self::Development => None,
        }
    }
}

/// The command.
pub(crate) fn run(args: &ImagesArgs) -> anyhow::Result<()> {
    let root = repository_root();
    let labels = labels(&root, &Versions::load(&root)?);
    provide_bases(args.platform.as_deref())?;
    let images = args.only.map_or_else(|| Image::ALL.to_vec(), |image| vec![image]);
    for image in images {
        let mut build_args = vec![("CRS_POINTS", args.crs_points.to_string())];
        build_args.extend(given_server(args.server.as_deref())?);
        if args.page_local {
            build_args.push(("PAGE_LOCAL", "with".to_owned()));
        }
        docker::build(&BuildOrder {
            dockerfile: root.join(image.dockerfile()),
            stage: image.stage(),
            context: &root,
            tag: image.tag(),
            platform: args.platform.as_deref(),
            build_args: &build_args,
            labels: &labels,
        })?;
        let layers = layer_sizes::measure(image.tag())?;
        print_sizes(image, &layers);
        if args.server.is_none() && !args.page_local {
            check_size(image, &layers)?;
        }
    }
    Ok(())
}

/// Builds the production image with the options of wrangler, so that wrangler finds every step in the build cache.
///
/// A build that wrangler starts shows no progress, cannot be interrupted, and does not build base images.
pub(crate) fn for_edge() -> anyhow::Result<()> {
    let root = repository_root();
    provide_bases(Some(CLOUDFLARE))?;
    let server = given_server_in_environment();
    docker::build(&BuildOrder {
        dockerfile: root.join(Image::Production.dockerfile()),
        stage: Image::Production.stage(),
        context: &root,
        tag: "edgeprove:edge",
        platform: Some(CLOUDFLARE),
        build_args: given_server(server.as_deref())?.as_slice(),
        labels: &[],
    })
}

/// The program in the environment that is put into the images.
fn given_server_in_environment() -> Option<PathBuf> {
    env::var_os(SERVER_ENV).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// The build argument that wrangler must give to `docker build`, as [`for_edge`] does.
pub(crate) fn argument_for_wrangler() -> Option<String> {
    given_server_in_environment().map(|_| format!("SERVER={GIVEN_SERVER}"))
}

/// The build argument for a program that is put into the images.
fn given_server(program: Option<&Path>) -> anyhow::Result<Option<(&'static str, String)>> {
    let Some(program) = program else { return Ok(None) };
    import_server(program)?;
    Ok(Some(("SERVER", GIVEN_SERVER.to_owned())))
}

/// Makes an image of a program, where the Dockerfiles look for that of their stage `server`.
fn import_server(program: &Path) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("a temporary folder cannot be created")?;
    let results = folder.path().join("out");
    fs::create_dir(&results)?;
    fs::copy(program, results.join("edgeprove"))
        .with_context(|| format!("{} cannot be copied", program.display()))?;
    docker::import(folder.path(), &[], GIVEN_SERVER)
}

/// Base images built here have this machine's architecture. For another one the Docker Engine pulls them.
fn provide_bases(platform: Option<&str>) -> anyhow::Result<()> {
    let own_platform = docker::platform()?;
    if platform.is_none_or(|platform| platform == own_platform) { base_images::provide() } else { Ok(()) }
}

/// Labels that identify an image. `docker build .` cannot compute them.
fn labels(root: &Path, versions: &Versions) -> Vec<(&'static str, String)> {
    let mut labels = vec![
        ("org.opencontainers.image.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("edgeprove.bb.version", versions.bb.version.clone()),
        ("edgeprove.noir.version", versions.noir.version.clone()),
    ];
    // A source archive has no git revision, so its image has no such label.
    let root = root.to_string_lossy();
    let describe = ["-C", &root, "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"];
    if let Ok(revision) = process::read("git", &describe, Duration::from_secs(30)) {
        labels.push(("org.opencontainers.image.revision", revision.trim().to_owned()));
    }
    labels
}

/// The compressed size with and without the layer of the CRS, whose size the user chooses.
fn sizes(layers: &[Layer]) -> (ByteSize, ByteSize) {
    let sum =
        |layers: &mut dyn Iterator<Item = &Layer>| ByteSize(layers.map(|l| l.compressed.as_u64()).sum());
    (sum(&mut layers.iter()), sum(&mut layers.iter().filter(|layer| !layer.instruction.contains("/opt/crs"))))
}

fn print_sizes(image: Image, layers: &[Layer]) {
    let (whole, without_crs) = sizes(layers);
    println!(
        "\n{}: {} compressed, {} without the CRS",
        image.tag(),
        whole.display().si(),
        without_crs.display().si()
    );
    for Layer { instruction, unpacked, compressed } in layers {
        let instruction: String =
            instruction.split(" # buildkit").next().unwrap_or_default().chars().take(80).collect();
        let (unpacked, compressed) =
            (unpacked.display().si().to_string(), compressed.display().si().to_string());
        println!("{compressed:>10} of {unpacked:>10}  {instruction}");
    }
}

fn check_size(image: Image, layers: &[Layer]) -> anyhow::Result<()> {
    let (_, without_crs) = sizes(layers);
    match image.size_max() {
        Some(max) if without_crs > max => {
            bail!("{} is larger than {} without the CRS", image.tag(), max.display().si())
        }
        _ => Ok(()),
    }
}
