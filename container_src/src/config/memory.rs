//! How much memory there is: what the machine has, or less where a control group sets a limit, as containers do.

use std::{
    fs,
    path::{Path, PathBuf},
};

const MIB: u64 = 1 << 20;

/// What provers may take where nobody says: all there is, but for what is left to the server and to its spool, which
/// may lie in memory.
#[must_use]
pub fn for_provers() -> u64 {
    let reserve = |all: u64| (all / 8).clamp(64 * MIB, 512 * MIB);
    // Where the system does not tell, nobody is made to wait for memory.
    there_is(Path::new("/")).map_or(u64::MAX, |all| all.saturating_sub(reserve(all)))
}

/// The least of what the machine has and what each control group around this process may use, in bytes. `root` is
/// where the file system begins.
fn there_is(root: &Path) -> Option<u64> {
    let machine = fs::read_to_string(root.join("proc/meminfo")).ok().and_then(|text| meminfo(&text));
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().flat_map(|line| limit_files(root, line));
    let limits = limits.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok());
    machine.into_iter().chain(limits).min()
}

fn meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The files that may hold a limit, for one line of `/proc/self/cgroup`: those of the group, and of all around it. In a
/// container the path may be the host's, and the container's own group then lies at the top.
fn limit_files(root: &Path, line: &str) -> Vec<PathBuf> {
    let mut parts = line.splitn(3, ':');
    let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
        return Vec::new();
    };
    let (top, file) = match controllers {
        "" => ("sys/fs/cgroup", "memory.max"),
        some if some.split(',').any(|name| name == "memory") => {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    let top = root.join(top);
    let within = Path::new(path.trim_start_matches('/'));
    within.ancestors().map(|group| top.join(group).join(file)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file system with these files.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    const MACHINE: (&str, &str) = ("proc/meminfo", "MemTotal:       16384000 kB\nMemFree:         1000 kB\n");

    #[test]
    fn the_narrowest_limit_counts() {
        let all = 16_384_000 << 10;
        let limit = |files: &[(&str, &str)]| there_is(root(files).path());
        assert_eq!(limit(&[]), None);
        assert_eq!(limit(&[MACHINE]), Some(all));
        let v2 = ("proc/self/cgroup", "0::/app.slice/job\n");
        let inner = ("sys/fs/cgroup/app.slice/job/memory.max", "max\n");
        let outer = ("sys/fs/cgroup/app.slice/memory.max", "1000000\n");
        assert_eq!(limit(&[MACHINE, v2, inner]), Some(all), "no limit");
        assert_eq!(limit(&[MACHINE, v2, inner, outer]), Some(1_000_000));
        let v1 = ("proc/self/cgroup", "5:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n0::/docker/1\n");
        let own = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "2000000\n");
        assert_eq!(limit(&[MACHINE, v1, own]), Some(2_000_000), "the host's path, seen from within");
        let none = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(limit(&[MACHINE, v1, none]), Some(all));
    }

    #[test]
    fn this_machine_tells() {
        if cfg!(target_os = "linux") {
            assert!((MIB..1 << 50).contains(&for_provers()));
        }
    }
}
