//! Memory and CPU time of processes, from /proc and getrusage.

use std::fs;

use anyhow::Context;
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
};

/// A child of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Child {
    pub(super) pid: u32,
    /// The number of threads that its environment allows.
    pub(super) threads: usize,
}

/// Whether this system has the statistics.
pub(super) fn is_supported() -> bool {
    peak_mib(std::process::id()).is_ok()
}

/// The peak of the resident memory of a process, in MiB.
pub(super) fn peak_mib(pid: u32) -> anyhow::Result<f64> {
    status_kib(pid, "VmHWM:")
}

/// The present resident memory of a process, in MiB.
pub(super) fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    status_kib(pid, "VmRSS:")
}

/// The anonymous resident memory of a process, in MiB: without files, which other processes may share.
pub(super) fn anonymous_mib(pid: u32) -> anyhow::Result<f64> {
    status_kib(pid, "RssAnon:")
}

/// CPU time of a process so far, user and system, in milliseconds. The system counts it in hundredths of a second.
pub(super) fn cpu_ms(pid: u32) -> anyhow::Result<f64> {
    const TICK_MS: f64 = 10.0;
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("{path} cannot be read"))?;
    // The second field is the program's name in parentheses, which may contain any character.
    let (_, fields) = stat.rsplit_once(')').with_context(|| format!("{path} is malformed"))?;
    let spent = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(spent.sum::<Result<f64, _>>().with_context(|| format!("{path} is malformed"))? * TICK_MS)
}

/// CPU time of all children of this process that have ended and were waited for, in milliseconds. It includes their
/// own children.
#[allow(clippy::cast_precision_loss, reason = "microseconds of some hours")]
pub(super) fn ended_children_cpu_ms() -> anyhow::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("the CPU time of children cannot be read")?;
    Ok((usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1000.0)
}

/// The direct children of a process.
pub(super) fn children(pid: u32) -> anyhow::Result<Vec<Child>> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc").context("there is no /proc")?.flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process that ends at this moment has no files any more.
        if field(child, "PPid:").is_ok_and(|parent| parent == pid.to_string()) {
            children.push(Child { pid: child, threads: threads(child).unwrap_or(0) });
        }
    }
    children.sort_by_key(|child| child.pid);
    Ok(children)
}

/// The descendants of a process that run a program of this name.
pub(super) fn descendants(pid: u32, program: &str) -> anyhow::Result<Vec<u32>> {
    let mut found = Vec::new();
    for Child { pid, .. } in children(pid)? {
        // As above, a process may have ended meanwhile.
        if field(pid, "Name:").is_ok_and(|name| name == program) {
            found.push(pid);
        }
        found.extend(descendants(pid, program)?);
    }
    Ok(found)
}

/// Resets the peak of a process to its present memory.
pub(super) fn reset_peak(pid: u32) -> anyhow::Result<()> {
    let path = format!("/proc/{pid}/clear_refs");
    fs::write(&path, "5").with_context(|| format!("{path} cannot be written"))
}

fn threads(pid: u32) -> Option<usize> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    environment.split(|&byte| byte == 0).find_map(|entry| {
        std::str::from_utf8(entry).ok()?.strip_prefix("HARDWARE_CONCURRENCY=")?.parse().ok()
    })
}

fn status_kib(pid: u32, name: &str) -> anyhow::Result<f64> {
    let value = field(pid, name)?;
    let kib: f64 = value.trim_end_matches(" kB").parse().with_context(|| format!("{name} {value}"))?;
    Ok(kib / 1024.0)
}

fn field(pid: u32, name: &str) -> anyhow::Result<String> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("{path} cannot be read"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    Ok(line.with_context(|| format!("{path} has no {name}"))?.trim().to_owned())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{
        io::{Read, Write},
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn a_peak_is_reset_and_grows_again() {
        let pid = std::process::id();
        let fill = || std::hint::black_box(vec![1_u8; 64 << 20]).len();
        fill();
        assert!(peak_mib(pid).unwrap() > resident_mib(pid).unwrap() + 32.0);
        reset_peak(pid).unwrap();
        assert!(peak_mib(pid).unwrap() < resident_mib(pid).unwrap() + 32.0);
        fill();
        assert!(peak_mib(pid).unwrap() > resident_mib(pid).unwrap() + 32.0);
    }

    #[test]
    fn a_child_is_found_with_its_memory_and_its_threads() {
        let mut child = Command::new("cat")
            .env("HARDWARE_CONCURRENCY", "3")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Its environment can be read once it runs, a moment after its start.
        child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let found = children(std::process::id()).unwrap();
        assert!(found.contains(&Child { pid: child.id(), threads: 3 }), "{found:?}");
        assert!(peak_mib(child.id()).unwrap() > 0.0);
        assert_eq!(descendants(std::process::id(), "cat").unwrap(), [child.id()]);
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(peak_mib(child.id()).is_err());
    }
}
