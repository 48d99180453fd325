//! Recognizes volumes that Kubernetes makes for one pod (`emptyDir`).
//!
//! kubelet gives such a folder the mode 777, because any user of the pod's containers may have to write there. The folders
//! above it on the node are closed to all users but root. So nobody reaches it but the containers of the pod that mount it,
//! and its mode opens it to nobody else (docs/decisions/0011).
//!
//! The mounts of this process show such a volume. Only root can change them.

use std::{
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt as _,
    path::{Component, Path, PathBuf},
};

/// The folders of a pod's volumes on the node: `/var/lib/kubelet/pods/ID/volumes/kubernetes.io~empty-dir/NAME`.
const ON_DISK: [&str; 2] = ["volumes", "kubernetes.io~empty-dir"];
/// The file that every container of a pod gets from kubelet, and its name on the node.
const HOSTS: (&str, &str) = ("/etc/hosts", "etc-hosts");

/// Whether a folder is the place where a volume of this pod is mounted. Blocking.
pub(crate) fn is_mounted_at(folder: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    folder.canonicalize().is_ok_and(|folder| is_volume(&mounts, &folder))
}

/// A line of `mountinfo`.
struct Mount {
    /// What is mounted: a path within its file system.
    root: PathBuf,
    /// Where it is mounted.
    point: PathBuf,
    file_system: String,
}

fn is_volume(mounts: &str, folder: &Path) -> bool {
    let mounts: Vec<Mount> = mounts.lines().filter_map(Mount::parse).collect();
    // A later mount hides an earlier one at the same place.
    let Some(mount) = mounts.iter().rfind(|mount| mount.point == folder) else { return false };
    // A volume in memory is a file system of its own, and shows nothing of its pod. A part of such a file system may be
    // the node's.
    let is_in_memory = || mount.file_system == "tmpfs" && mount.root == Path::new("/");
    mount.is_volume_on_disk() || is_in_memory() && mounts.iter().any(Mount::is_hosts_of_pod)
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (path(fields.next()?), path(fields.next()?));
        let file_system = file_system.split(' ').next()?.to_owned();
        Some(Self { root, point, file_system })
    }

    fn is_volume_on_disk(&self) -> bool {
        let names: Vec<_> = self.root.components().collect();
        names.windows(3).any(|names| ON_DISK.iter().zip(names).all(|(name, found)| is_name(*found, name)))
    }

    fn is_hosts_of_pod(&self) -> bool {
        let (point, name) = HOSTS;
        self.point == Path::new(point)
            && self.root.components().next_back().is_some_and(|found| is_name(found, name))
    }
}

fn is_name(component: Component<'_>, name: &str) -> bool {
    matches!(component, Component::Normal(found) if found == name)
}

/// A path as the kernel writes it: a space is `\040`.
fn path(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let octal =
            after.get(..3).and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        match octal {
            Some(escaped) if byte == b'\\' => {
                bytes.push(escaped);
                rest = &after[3..];
            }
            Some(_) | None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "/var/lib/kubelet/pods/0a1b2c3d-0000-4000-8000-000000000000";

    fn mounts(more: &[String]) -> String {
        let always = [
            "531 530 0:52 / / rw,relatime master:1 - overlay overlay rw,lowerdir=/x".to_owned(),
            "540 531 0:5 / /proc rw,nosuid - proc proc rw".to_owned(),
        ];
        always.iter().chain(more).cloned().collect::<Vec<_>>().join("\n")
    }

    fn on_disk(root: &str, point: &str) -> String {
        format!("550 531 8:1 {root} {point} rw,relatime - ext4 /dev/sda1 rw,discard")
    }

    fn in_memory(root: &str, point: &str) -> String {
        format!("551 531 0:48 {root} {point} rw,relatime - tmpfs tmpfs rw,size=1048576k")
    }

    fn hosts() -> String {
        on_disk(&format!("{POD}/etc-hosts"), "/etc/hosts")
    }

    #[test]
    fn a_volume_on_the_disk_of_the_node_is_recognized_by_its_folder() {
        let volume = format!("{POD}/volumes/kubernetes.io~empty-dir/spool");
        for root in [&volume, &format!("{volume}/part"), "/pods/1/volumes/kubernetes.io~empty-dir/spool"] {
            let text = mounts(&[on_disk(root, "/spool")]);
            assert!(is_volume(&text, Path::new("/spool")), "{root}");
            // A folder in it is judged by its own mode.
            assert!(!is_volume(&text, Path::new("/spool/below")) && !is_volume(&text, Path::new("/")));
        }
        for root in [
            "/srv/data",
            "/",
            &format!("{POD}/volumes/kubernetes.io~empty-dir"),
            &format!("{POD}/volumes/kubernetes.io~local-volume/spool"),
            "/home/user/kubernetes.io~empty-dir/volumes/spool",
        ] {
            let text = mounts(&[on_disk(root, "/spool"), hosts()]);
            assert!(!is_volume(&text, Path::new("/spool")), "{root}");
        }
    }

    #[test]
    fn a_volume_in_memory_counts_in_a_pod_only() {
        let volume = in_memory("/", "/spool");
        let is_volume = |lines: &[String]| is_volume(&mounts(lines), Path::new("/spool"));
        assert!(is_volume(&[volume.clone(), hosts()]));
        assert!(!is_volume(std::slice::from_ref(&volume)), "another machine's tmpfs may be shared");
        let of_docker = on_disk("/var/lib/docker/containers/1/hosts", "/etc/hosts");
        assert!(!is_volume(&[volume, of_docker]));
        assert!(!is_volume(&[in_memory("/part", "/spool"), hosts()]), "it may be a part of the node's");
    }

    #[test]
    fn the_last_mount_at_a_place_counts() {
        let volume = on_disk(&format!("{POD}/volumes/kubernetes.io~empty-dir/spool"), "/spool");
        let other = on_disk("/srv/shared", "/spool");
        assert!(!is_volume(&mounts(&[volume.clone(), other.clone()]), Path::new("/spool")));
        assert!(is_volume(&mounts(&[other, volume]), Path::new("/spool")));
    }

    #[test]
    fn escaped_characters_of_a_path_are_read() {
        assert_eq!(path("/a\\040b\\134c\\011"), Path::new("/a b\\c\t"));
        assert_eq!(path("/a\\04"), Path::new("/a\\04"));
        assert_eq!(path("/\\999"), Path::new("/\\999"));
        let text = mounts(&[on_disk("/pods/1/volumes/kubernetes.io~empty-dir/x", "/my\\040spool")]);
        assert!(is_volume(&text, Path::new("/my spool")));
        assert!(!is_volume("no line of mounts\n1 2 3 - \n", Path::new("/")));
    }
}
