//! Whether a folder outlives the container that the server runs in.
//!
//! In a container only a volume does. A folder of the container's own file system or in memory is lost with it.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

#[cfg(target_os = "linux")]
use rustix::fs::{AtFlags, StatxFlags};

/// File systems of containers.
const LAYERED: [&str; 3] = ["overlay", "fuse-overlayfs", "aufs"];

/// Whether the server runs in a container. `is_cloudflare`: whether it is a container of Cloudflare, which this module
/// cannot detect by itself.
pub(super) fn is_in_container(is_cloudflare: bool) -> bool {
    // A file such as /.dockerenv proves nothing: virtual machines are made from images that contain it.
    std::process::id() == 1
        || fs::read_to_string("/proc/mounts").is_ok_and(|mounts| is_layered(&mounts))
        || is_cloudflare
}

/// Whether the server runs in a container and the folder is lost with that container.
pub(super) fn is_lost_with_container(folder: &Path, is_cloudflare: bool) -> bool {
    let existing = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    is_in_container(is_cloudflare)
        && (mount_id(existing) == mount_id(Path::new("/")) || is_in_memory(existing))
}

/// Identifies the mount of a path. The device is not enough, because a volume may be on the device of the root.
#[cfg(target_os = "linux")]
fn mount_id(path: &Path) -> Option<u64> {
    let found = rustix::fs::statx(rustix::fs::CWD, path, AtFlags::empty(), StatxFlags::MNT_ID).ok()?;
    // Kernels before 5.8 do not report it.
    let is_reported = found.stx_mask & StatxFlags::MNT_ID.bits() != 0;
    is_reported.then_some(found.stx_mnt_id).or_else(|| fs::metadata(path).map(|found| found.dev()).ok())
}

#[cfg(not(target_os = "linux"))]
fn mount_id(path: &Path) -> Option<u64> {
    fs::metadata(path).map(|found| found.dev()).ok()
}

/// Whether a folder that exists is on a file system in memory.
#[cfg(target_os = "linux")]
pub(crate) fn is_in_memory(path: &Path) -> bool {
    const TMPFS: u32 = 0x0102_1994;
    rustix::fs::statfs(path).is_ok_and(|found| u32::try_from(found.f_type) == Ok(TMPFS))
}

/// Whether a folder that exists is on a file system in memory.
#[cfg(not(target_os = "linux"))]
pub(crate) fn is_in_memory(_path: &Path) -> bool {
    false
}

/// Whether the root file system consists of an image's layers and a temporary layer on top.
fn is_layered(mounts: &str) -> bool {
    mounts.lines().any(|mount| {
        let mut fields = mount.split(' ').skip(1);
        fields.next() == Some("/") && fields.next().is_some_and(|kind| LAYERED.contains(&kind))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_of_a_container_is_layered() {
        let proc = "proc /proc proc rw 0 0\n";
        assert!(is_layered(&format!("{proc}overlay / overlay rw,lowerdir=/a:/b 0 0\n")));
        assert!(!is_layered(&format!(
            "{proc}/dev/vda / ext4 rw 0 0\noverlay /var/lib/docker/x overlay rw 0 0\n"
        )));
        assert!(!is_layered(""));
    }
}
