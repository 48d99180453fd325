//! `cargo xtask images`: builds both container images, and says how large they are.
//!
//! `docker build .` alone does the same where base images can be pulled. This command adds what such a build cannot:
//! base images made on this machine where no registry of images answers, the labels that name the pinned versions,
//! and the measured size of every layer.

mod base_images;
pub(crate) mod docker;
mod layer_sizes;

use std::{path::Path, time::Duration};

use anyhow::bail;
use bytesize::ByteSize;

use crate::{paths::repository_root, process, versions::Versions};
use docker::BuildOrder;
use layer_sizes::Layer;

/// Where Cloudflare runs containers.
const CLOUDFLARE: &str = "linux/amd64";

/// Builds the production image, the development image, or both.
#[derive(Debug, clap::Args)]
pub(crate) struct ImagesArgs {
    /// Build this image only.
    #[arg(long, value_enum)]
    only: Option<Image>,
    /// How many points of the CRS the images carry, 64 bytes each; a circuit of N rows needs N + 1.
    ///
    /// Where only package registries answer there are 4097 to be had, and the build says so.
    #[arg(long, default_value_t = 32_769, value_name = "N")]
    crs_points: u32,
    /// The platform to build for, instead of the engine's own. Another architecture needs an emulator that is
    /// registered in the kernel, and base images that can be pulled.
    #[arg(long, value_name = "linux/ARCH")]
    platform: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Image {
    /// `Dockerfile`: small, optimised, nothing in it but what runs.
    Production,
    /// `Dockerfile.dev`: builds fast, has debug symbols and a shell.
    Development,
}

impl Image {
    const ALL: [Self; 2] = [Self::Production, Self::Development];

    fn dockerfile(self) -> &'static str {
        match self {
            Self::Production => "Dockerfile",
            Self::Development => "Dockerfile.dev",
        }
    }

    fn tag(self) -> &'static str {
        match self {
            Self::Production => "edgeprove:latest",
            Self::Development => "edgeprove:dev",
        }
    }

    /// The most that may be on the wire, without the CRS.
    fn size_max(self) -> Option<ByteSize> {
        match self {
            Self::Production => Some(ByteSize::mb(45)),
            Self::Development => None,
        }
    }
}

/// Builds what was asked for and prints its size, layer by layer.
pub(crate) fn run(args: &ImagesArgs) -> anyhow::Result<()> {
    let root = repository_root();
    let labels = labels(&root, &Versions::load(&root)?);
    provide_bases(args.platform.as_deref())?;
    let images = args.only.map_or_else(|| Image::ALL.to_vec(), |image| vec![image]);
    for image in images {
        docker::build(&BuildOrder {
            dockerfile: root.join(image.dockerfile()),
            context: &root,
            tag: image.tag(),
            platform: args.platform.as_deref(),
            build_args: &[("CRS_POINTS", args.crs_points.to_string())],
            labels: &labels,
        })?;
        let layers = layer_sizes::measure(image.tag())?;
        print_sizes(image, &layers);
        check_size(image, &layers)?;
    }
    Ok(())
}

/// Builds the production image as wrangler will have it built, so that wrangler finds every step of it done: what
/// wrangler starts cannot be watched or interrupted, and knows nothing of stand-ins.
pub(crate) fn for_edge() -> anyhow::Result<()> {
    let root = repository_root();
    provide_bases(Some(CLOUDFLARE))?;
    docker::build(&BuildOrder {
        dockerfile: root.join(Image::Production.dockerfile()),
        context: &root,
        tag: "edgeprove:edge",
        platform: Some(CLOUDFLARE),
        build_args: &[],
        labels: &[],
    })
}

/// Stand-ins have this machine's architecture; for another the engine is left to pull what it needs.
fn provide_bases(platform: Option<&str>) -> anyhow::Result<()> {
    let own_platform = docker::platform()?;
    if platform.is_none_or(|platform| platform == own_platform) { base_images::provide() } else { Ok(()) }
}

/// What tells a finished image from another. `docker build .` has no way to know these.
fn labels(root: &Path, versions: &Versions) -> Vec<(&'static str, String)> {
    let mut labels = vec![
        ("org.opencontainers.image.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("edgeprove.bb.version", versions.bb.version.clone()),
        ("edgeprove.noir.version", versions.noir.version.clone()),
    ];
    // A source archive has no revision, and its image then names none.
    let place = root.to_string_lossy();
    let describe = ["-C", &place, "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"];
    if let Ok(revision) = process::read("git", &describe, Duration::from_secs(30)) {
        labels.push(("org.opencontainers.image.revision", revision.trim().to_owned()));
    }
    labels
}

/// Compressed size with and without the layer of the CRS, whose size is the user's choice.
fn sizes(layers: &[Layer]) -> (ByteSize, ByteSize) {
    let sum =
        |layers: &mut dyn Iterator<Item = &Layer>| ByteSize(layers.map(|l| l.compressed.as_u64()).sum());
    (sum(&mut layers.iter()), sum(&mut layers.iter().filter(|layer| !layer.made_by.contains("/opt/crs"))))
}

fn print_sizes(image: Image, layers: &[Layer]) {
    let (whole, without_crs) = sizes(layers);
    println!(
        "\n{}: {} compressed, {} without the CRS",
        image.tag(),
        whole.display().si(),
        without_crs.display().si()
    );
    for Layer { made_by, unpacked, compressed } in layers {
        let made_by: String =
            made_by.split(" # buildkit").next().unwrap_or_default().chars().take(80).collect();
        let (unpacked, compressed) =
            (unpacked.display().si().to_string(), compressed.display().si().to_string());
        println!("{compressed:>10} of {unpacked:>10}  {made_by}");
    }
}

fn check_size(image: Image, layers: &[Layer]) -> anyhow::Result<()> {
    let (_, without_crs) = sizes(layers);
    match image.size_max() {
        Some(max) if without_crs > max => {
            bail!("{} is to be at most {} without the CRS", image.tag(), max.display().si())
        }
        _ => Ok(()),
    }
}
