//! Removes what wrangler leaves in the Docker Engine: its image, and containers if it was killed.

use std::collections::BTreeSet;

use crate::images::docker;

/// wrangler builds the image of our container class under this name, with another tag each time.
const IMAGE: &str = "cloudflare-dev/provercontainer";

/// The containers and images of one wrangler, which are removed when this is dropped.
#[derive(Debug)]
pub(super) struct Leftovers {
    /// The prefix of the containers' names.
    containers: String,
    /// Images that existed before.
    images_before: BTreeSet<String>,
}

impl Leftovers {
    /// Call this before wrangler starts a Worker of this name, which no other wrangler uses. Containers of an earlier
    /// Worker with this name are removed.
    pub(super) fn of(worker: &str) -> anyhow::Result<Self> {
        let images_before = images()?;
        let leftovers = Self { containers: format!("workerd-{worker}-"), images_before };
        leftovers.remove_containers()?;
        Ok(leftovers)
    }

    /// Removes them. Call this after wrangler has ended.
    pub(super) fn remove(&self) -> anyhow::Result<()> {
        self.remove_containers()?;
        self.remove_images()
    }

    fn remove_containers(&self) -> anyhow::Result<()> {
        let filter = format!("name=^{}", self.containers);
        let ours = docker::query(&["ps", "--all", "--quiet", "--filter", &filter])?;
        remove(&["rm", "--force"], ours.split_whitespace())
    }

    fn remove_images(&self) -> anyhow::Result<()> {
        let now = images()?;
        remove(&["image", "rm"], now.difference(&self.images_before).map(String::as_str))
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        // After `remove` this does nothing. Drop cannot return an error.
        let _ = self.remove();
    }
}

fn images() -> anyhow::Result<BTreeSet<String>> {
    let images = docker::query(&["image", "ls", "--format", "{{.Repository}}:{{.Tag}}", IMAGE])?;
    Ok(images.split_whitespace().map(str::to_owned).collect())
}

fn remove<'a>(command: &[&'a str], what: impl Iterator<Item = &'a str>) -> anyhow::Result<()> {
    let what: Vec<_> = what.collect();
    if what.is_empty() { Ok(()) } else { docker::query(&[command, &what].concat()).map(drop) }
}
