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

/// A process. Its number may belong to another one after it has ended; this still means the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessIdentity {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks after the machine did.
    started_ticks: u64,
}

impl ProcessIdentity {
    /// Whether the process runs. One that has ended and was not waited for does not.
    #[must_use]
    pub fn is_running(self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        Numbers::of(&stat)
            .is_some_and(|numbers| numbers.started_ticks == self.started_ticks && !numbers.has_ended)
    }
}

/// Resources of a process and of everything that it started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TreeUse {
    /// The processes, those that have ended and were not waited for included.
    pub members: Vec<ProcessIdentity>,
    /// Resident memory of all of them, in bytes. Memory that several share is counted for each.
    pub resident_bytes: u64,
}

impl TreeUse {
    /// Reads `/proc`: a process, its descendants, and its process group where it leads one. `None` on systems without
    /// `/proc`. It takes about 10 µs for each process of the machine.
    ///
    /// A process that left the group is not found once its parent has ended: nothing connects it with the leader then.
    #[must_use]
    pub fn of(leader: u32) -> Option<Self> {
        let mut others = Vec::new();
        for entry in fs::read_dir("/proc").ok()?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            // A process may end meanwhile.
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            others.extend(Numbers::of(&stat).map(|numbers| (pid, numbers)));
        }
        let mut last = vec![leader];
        let mut tree = Self::default();
        // Each pass finds the children of those that the last one found.
        while !last.is_empty() {
            let is_member = |(pid, numbers): &mut (u32, Numbers)| {
                last.contains(pid) || last.contains(&numbers.parent) || numbers.group == leader
            };
            let found: Vec<_> = others.extract_if(.., is_member).collect();
            let pages: u64 = found.iter().map(|(_, numbers)| numbers.resident_pages).sum();
            tree.resident_bytes += pages * rustix::param::page_size() as u64;
            tree.members.extend(found.iter().map(|(pid, Numbers { started_ticks, .. })| ProcessIdentity {
                pid: *pid,
                started_ticks: *started_ticks,
            }));
            last = found.into_iter().map(|(pid, _)| pid).collect();
        }
        Some(tree)
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
    parent: u32,
    /// Its process group.
    group: u32,
    cpu_ticks: u64,
    /// Of children that were waited for.
    children_cpu_ticks: u64,
    threads: u64,
    /// When it started, in clock ticks after the machine did.
    started_ticks: u64,
    resident_pages: u64,
    /// It has ended, and nobody has waited for it.
    has_ended: bool,
}

impl Numbers {
    fn of(stat: &str) -> Option<Self> {
        // The program name, in brackets, may contain anything. The field after it is the third.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            cpu_ticks: number(14)? + number(15)?,
            children_cpu_ticks: number(16)? + number(17)?,
            threads: number(20)?,
            started_ticks: number(22)?,
            resident_pages: number(24)?,
            has_ended: matches!(fields.first(), Some(&("Z" | "X"))),
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
        let line = "7 (a b) c) S 1 5 7 0 -1 4194560 12 0 0 0 250 50 9 9 20 0 11 0 900 8192000 640 1844674407";
        let numbers = Numbers {
            parent: 1,
            group: 5,
            cpu_ticks: 300,
            children_cpu_ticks: 18,
            threads: 11,
            started_ticks: 900,
            resident_pages: 640,
            has_ended: false,
        };
        assert_eq!(Numbers::of(line), Some(numbers));
        assert!(Numbers::of(&line.replace(" S ", " Z ")).unwrap().has_ended);
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
    fn a_tree_has_the_children_of_children() {
        if cfg!(target_os = "linux") {
            use std::{io::Read as _, process};
            let script = "sh -c 'sleep 600 & echo ready; wait' & wait";
            let mut shell = process::Command::new("sh");
            let shell = std::os::unix::process::CommandExt::process_group(&mut shell, 0);
            let mut shell = shell.args(["-c", script]).stdout(process::Stdio::piped()).spawn().unwrap();
            shell.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
            let tree = TreeUse::of(shell.id()).unwrap();
            let group = rustix::process::Pid::from_raw(shell.id().cast_signed()).unwrap();
            rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
            shell.wait().unwrap();
            assert_eq!(tree.members.len(), 3, "{tree:?}");
            // Its number is free, or belongs to another process.
            let leader = tree.members.iter().find(|member| member.pid == shell.id()).unwrap();
            assert!(!leader.is_running());
            assert!(tree.resident_bytes > 100 << 10, "{tree:?}");
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
