//! What wrangler leaves with the Docker Engine: containers when it is killed, and the name of its image in any case.

use std::collections::BTreeSet;

use crate::images::docker;

/// Under this name wrangler has the image of our one class of containers built, with another tag each time.
const IMAGE: &str = "cloudflare-dev/provercontainer";

/// Knows what is ours, and removes it when it goes.
#[derive(Debug)]
pub(super) struct Leftovers {
    /// What the names of our containers begin with.
    containers: String,
    /// Images of others, or of an earlier time.
    images_before: BTreeSet<String>,
}

impl Leftovers {
    /// Before wrangler is started for a Worker of this name, which nobody else uses. What an earlier one of the name
    /// left is removed.
    pub(super) fn of(worker: &str) -> anyhow::Result<Self> {
        let images_before = images()?;
        let leftovers = Self { containers: format!("workerd-{worker}-"), images_before };
        leftovers.remove_containers()?;
        Ok(leftovers)
    }

    /// Once wrangler has ended.
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
        // After `remove` there is nothing left to do; on the way out of an error there is nobody left to tell.
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
