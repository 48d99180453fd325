//! Resources that processes use, as the kernel counts them: of this process, and the memory of any other.

use std::{
    fs::{self, File},
    io::Read as _,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Resources that this process uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProcessUse {
    /// CPU time, in seconds.
    pub cpu_seconds: f64,
    /// CPU time of the child processes that have ended, in seconds.
    pub children_cpu_seconds: f64,
    /// Resident memory, in bytes.
    pub resident_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Open files and sockets.
    pub open_files: u64,
    /// Most files and sockets that may be open; `None` where there is no limit.
    pub open_files_max: Option<u64>,
}

impl ProcessUse {
    /// Reads `/proc`. `None` on systems without it.
    #[must_use]
    pub fn now() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let numbers = Numbers::of(&stat)?;
        let open_files = fs::read_dir("/proc/self/fd").ok()?.count();
        Some(Self {
            cpu_seconds: seconds(numbers.cpu_ticks),
            children_cpu_seconds: seconds(numbers.children_cpu_ticks),
            resident_bytes: numbers.resident_pages * rustix::param::page_size() as u64,
            threads: numbers.threads,
            // Listing the folder opens one more.
            open_files: open_files.saturating_sub(1) as u64,
            open_files_max: getrlimit(Resource::Nofile).current,
        })
    }
}

/// Disables core dumps of this process and of every child that it starts from now on: a core would hold witnesses. A
/// failure is logged.
pub fn disable_core_dumps() {
    // Children inherit the limit. A program that collects cores, such as systemd-coredump, respects it as well.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let limited = setrlimit(Resource::Core, none);
    // Other processes of this user can no longer read this one's memory either. A child gets this back when it starts.
    #[cfg(target_os = "linux")]
    let limited =
        limited.and(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable));
    if let Err(error) = limited {
        tracing::warn!(%error, "core dumps could not be disabled: a core of a crash would hold witnesses");
    }
}

/// Memory of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessStatus {
    /// Resident memory, in bytes.
    pub resident_bytes: u64,
    /// Largest resident memory since the start or since [`reset_peak_memory`], in bytes.
    pub peak_bytes: u64,
}

impl ProcessStatus {
    /// Reads `/proc/PID/status`. `None` on systems without it, and once the process has ended.
    #[must_use]
    pub fn read(pid: u32) -> Option<Self> {
        // Files of `/proc` have no size, so that a growing buffer would read them in many small pieces.
        let mut status = String::with_capacity(4096);
        File::open(format!("/proc/{pid}/status")).ok()?.read_to_string(&mut status).ok()?;
        Self::parse(&status)
    }

    fn parse(status: &str) -> Option<Self> {
        let bytes = |name| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
        };
        let resident_bytes = bytes("VmRSS:")?;
        // The kernel updates the peak from time to time only.
        let peak_bytes = bytes("VmHWM:")?.max(resident_bytes);
        Some(Self { resident_bytes, peak_bytes })
    }
}

/// Makes the kernel count a process's peak memory from now on. Returns whether it does. It takes about 10 µs.
#[must_use]
pub fn reset_peak_memory(pid: u32) -> bool {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").is_ok()
}

/// CPU time that a process has used so far, in seconds. `None` on systems without `/proc`, and once it was waited for.
#[must_use]
pub fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Numbers::of(&stat).map(|numbers| seconds(numbers.cpu_ticks))
}

/// Numbers of a line of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Numbers {
    cpu_ticks: u64,
    /// Of children that were waited for.
    children_cpu_ticks: u64,
    threads: u64,
    resident_pages: u64,
}

impl Numbers {
    fn of(stat: &str) -> Option<Self> {
        // The program name, in brackets, may contain anything. The field after it is the third.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: number(14)? + number(15)?,
            children_cpu_ticks: number(16)? + number(17)?,
            threads: number(20)?,
            resident_pages: number(24)?,
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "a CPU time of 2^52 ticks is a million years")]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / rustix::param::clock_ticks_per_second().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernel_is_read() {
        let line = "7 (a b) c) S 1 7 7 0 -1 4194560 12 0 0 0 250 50 9 9 20 0 11 0 900 8192000 640 1844674407";
        let numbers = Numbers { cpu_ticks: 300, children_cpu_ticks: 18, threads: 11, resident_pages: 640 };
        assert_eq!(Numbers::of(line), Some(numbers));
        assert_eq!(Numbers::of("7 (bb) S 1"), None);
        assert!(seconds(300) > 0.0);
    }

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        let status = "Name:\tbb\nVmPeak:\t  200 kB\nVmHWM:\t      64 kB\nVmRSS:\t      48 kB\nThreads:\t3\n";
        let memory = ProcessStatus { resident_bytes: 48 << 10, peak_bytes: 64 << 10 };
        assert_eq!(ProcessStatus::parse(status), Some(memory));
        assert_eq!(ProcessStatus::parse("Name:\tbb\nState:\tZ (zombie)\n"), None);
        if cfg!(target_os = "linux") {
            let own = ProcessStatus::read(std::process::id()).unwrap();
            assert!(own.resident_bytes > 1 << 20 && own.peak_bytes >= own.resident_bytes, "{own:?}");
        }
    }

    #[test]
    fn this_process_uses_something() {
        if cfg!(target_os = "linux") {
            let now = ProcessUse::now().unwrap();
            assert!(now.resident_bytes > 1 << 20 && now.threads > 0 && now.open_files > 2, "{now:?}");
            assert!(now.open_files_max.is_none_or(|max| max > now.open_files));
        }
    }
}
