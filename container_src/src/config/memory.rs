//! The available memory: that of the machine, or the smaller limit of a control group, as in containers.

use std::{fs, path::Path};

use edgeprove_prover::cgroup::MemoryCgroups;

const MIB: u64 = 1 << 20;

/// Default of `--memory-max` in bytes: the available memory minus a reserve for the server and its spool, which may be
/// in memory.
#[must_use]
pub fn for_provers() -> u64 {
    // If the system does not report it, proofs never wait for memory.
    available(Path::new("/")).map_or(u64::MAX, |all| all.saturating_sub(reserve(all)))
}

/// Default of `--spool-max` in bytes, where one upload may have `upload_max_bytes`: the memory that is reserved for the
/// server, but enough for one caller to upload that much, who gets half of it.
#[must_use]
pub fn for_spool(upload_max_bytes: u64) -> u64 {
    available(Path::new("/")).map_or(512 * MIB, reserve).max(upload_max_bytes.saturating_mul(2))
}

/// The part of the memory that provers do not use.
fn reserve(all: u64) -> u64 {
    (all / 8).clamp(64 * MIB, 512 * MIB)
}

/// The smaller of the machine's memory and the limit of this process's control groups, in bytes. `root` is the root of
/// the file system.
fn available(root: &Path) -> Option<u64> {
    let machine = fs::read_to_string(root.join("proc/meminfo")).ok().and_then(|text| meminfo(&text));
    let limit = MemoryCgroups::of_this_process(root).limit_bytes();
    machine.into_iter().chain(limit).min()
}

fn meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_of_machine_and_limit_counts() {
        let available_with = |files: &[(&str, &str)]| {
            let dir = tempfile::tempdir().unwrap();
            for (path, text) in files {
                let path = dir.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            available(dir.path())
        };
        let machine = ("proc/meminfo", "MemTotal:       16384000 kB\nMemFree:         1000 kB\n");
        let group = ("proc/self/cgroup", "0::/job\n");
        assert_eq!(available_with(&[]), None);
        assert_eq!(available_with(&[machine]), Some(16_384_000 << 10));
        let limit = ("sys/fs/cgroup/job/memory.max", "1000000\n");
        assert_eq!(available_with(&[machine, group, limit]), Some(1_000_000));
        // Version 1 of control groups reports a number larger than any memory where there is no limit.
        let group = ("proc/self/cgroup", "4:memory:/job\n");
        let no_limit = ("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(available_with(&[machine, group, no_limit]), Some(16_384_000 << 10));
    }

    #[test]
    fn this_machine_reports_its_memory() {
        if cfg!(target_os = "linux") {
            assert!((MIB..1 << 50).contains(&for_provers()));
        }
    }
}
