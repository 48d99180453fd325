//! Memory limits and out-of-memory kills of the control groups that this process is in.
//!
//! Both versions of control groups are read, because containers and hosts use either.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The control groups around a process, as far as they limit its memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryCgroups(Vec<Group>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    folder: PathBuf,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl MemoryCgroups {
    /// Finds the control groups of this process. `root` is the root of the file system, `/` except in tests.
    #[must_use]
    pub fn of_this_process(root: &Path) -> Self {
        let list = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
        Self(list.lines().flat_map(|line| groups(root, line)).collect())
    }

    /// Returns the smallest limit of all groups, in bytes; `None` if there is no limit.
    #[must_use]
    pub fn limit_bytes(&self) -> Option<u64> {
        let limit = |group: &Group| {
            let file = match group.version {
                Version::One => "memory.limit_in_bytes",
                Version::Two => "memory.max",
            };
            fs::read_to_string(group.folder.join(file)).ok()?.trim().parse().ok()
        };
        self.0.iter().filter_map(limit).min()
    }

    /// Returns how many processes of the innermost group the kernel has killed because memory ran out; `None` if the
    /// kernel does not count them. The number never falls.
    #[must_use]
    pub fn oom_kills(&self) -> Option<u64> {
        let kills = |group: &Group| {
            let file = match group.version {
                Version::One => "memory.oom_control",
                Version::Two => "memory.events",
            };
            let text = fs::read_to_string(group.folder.join(file)).ok()?;
            text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
        };
        self.0.iter().find_map(kills)
    }
}

/// The group of one line of `/proc/self/cgroup` and the groups around it, innermost first. In a container the path may
/// be the host's. The container's own group is then the topmost folder.
fn groups(root: &Path, line: &str) -> Vec<Group> {
    let mut parts = line.splitn(3, ':');
    let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
        return Vec::new();
    };
    let (top, version) = match controllers {
        "" => ("sys/fs/cgroup", Version::Two),
        list if list.split(',').any(|name| name == "memory") => ("sys/fs/cgroup/memory", Version::One),
        _ => return Vec::new(),
    };
    let top = root.join(top);
    let path = Path::new(path.trim_start_matches('/'));
    path.ancestors().map(|group| Group { folder: top.join(group), version }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Control groups in a file system with these files.
    fn cgroups(files: &[(&str, &str)]) -> (tempfile::TempDir, MemoryCgroups) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let cgroups = MemoryCgroups::of_this_process(dir.path());
        (dir, cgroups)
    }

    const V2: (&str, &str) = ("proc/self/cgroup", "0::/app.slice/job\n");
    const V1: (&str, &str) =
        ("proc/self/cgroup", "5:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n0::/docker/1\n");

    #[test]
    fn the_smallest_limit_counts() {
        let limit = |files: &[(&str, &str)]| {
            let (_dir, cgroups) = cgroups(files);
            cgroups.limit_bytes()
        };
        assert_eq!(limit(&[]), None);
        let inner = ("sys/fs/cgroup/app.slice/job/memory.max", "max\n");
        let outer = ("sys/fs/cgroup/app.slice/memory.max", "1000000\n");
        assert_eq!(limit(&[V2, inner]), None);
        assert_eq!(limit(&[V2, inner, outer]), Some(1_000_000));
        let own = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "2000000\n");
        assert_eq!(limit(&[V1, own]), Some(2_000_000), "the path is the host's");
    }

    #[test]
    fn the_innermost_group_counts_kills() {
        let kills = |files: &[(&str, &str)]| {
            let (_dir, cgroups) = cgroups(files);
            cgroups.oom_kills()
        };
        assert_eq!(kills(&[V2]), None);
        let events = "low 0\nhigh 0\nmax 12\noom 4\noom_kill 3\noom_group_kill 0\n";
        let inner = ("sys/fs/cgroup/app.slice/job/memory.events", events);
        let outer = ("sys/fs/cgroup/app.slice/memory.events", "oom 9\noom_kill 9\n");
        assert_eq!(kills(&[V2, outer, inner]), Some(3));
        let control = "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n";
        assert_eq!(kills(&[V1, ("sys/fs/cgroup/memory/memory.oom_control", control)]), Some(2));
    }
}
