//! Inspects processes through /proc, and suspends and kills them.
//!
//! A bb belongs to a server if its environment names the CRS folder of that server. This also finds orphans, which have
//! lost their parent, and whatever a fake bb starts.

use std::{
    fs,
    io::Read as _,
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::{eventually, try_eventually};

/// A process, as it was when it was inspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Its process number.
    pub pid: i32,
    /// The process number of its parent.
    pub parent: i32,
    /// Its state, as in /proc: `R`, `S`, `T`, `Z` and so on.
    pub state: char,
    /// The CPU time that it has used, in clock ticks.
    pub ticks: u64,
}

impl Process {
    /// Inspects a process. `None`: it does not exist.
    pub fn find(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, which is in brackets, may contain any character.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        Some(Self {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            state: fields.first()?.chars().next()?,
            ticks,
        })
    }

    /// Whether it still runs or could run.
    pub fn is_alive(self) -> bool {
        Self::find(self.pid).is_some_and(|now| now.state != 'Z' && now.state != 'X')
    }

    /// Its name; empty if it does not exist any more.
    pub fn name(self) -> String {
        fs::read_to_string(format!("/proc/{}/comm", self.pid)).unwrap_or_default().trim_end().to_owned()
    }

    /// Its resident memory in bytes; 0 if it does not exist any more.
    pub fn resident_bytes(self) -> u64 {
        memory(self.pid, "VmRSS:").unwrap_or(0)
    }

    /// Sends it a signal.
    pub fn signal(self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid) {
            // An error means that the process has ended.
            let _ = kill_process(pid, signal);
        }
    }

    /// Suspends it. Returns once it is suspended; false: it ended in the meantime.
    pub fn suspend(self) -> bool {
        self.signal(Signal::STOP);
        eventually("the process is suspended", || match Self::find(self.pid) {
            Some(Process { state: 'T', .. }) => Some(true),
            None | Some(Process { state: 'Z' | 'X', .. }) => Some(false),
            Some(_) => None,
        })
    }

    /// Lets it continue after [`Self::suspend`].
    pub fn resume(self) {
        self.signal(Signal::CONT);
    }
}

fn all() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").expect("/proc can be read").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Every live process whose environment has this folder as `CRS_PATH`.
pub fn with_crs(dir: &Path) -> Vec<Process> {
    let wanted = format!("CRS_PATH={}", dir.display());
    let has_it = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|variable| variable == wanted.as_bytes())
    };
    all().filter(has_it).filter_map(Process::find).filter(|process| process.state != 'Z').collect()
}

/// Waits until no process has this folder as `CRS_PATH`. A killed process takes a moment to disappear.
#[track_caller]
pub fn assert_none_with_crs(dir: &Path) {
    try_eventually("no process of the server is left", || match with_crs(dir) {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{left:?}")),
    });
}

/// The children of a process, including dead ones that it has not collected.
pub fn children(parent: i32) -> Vec<Process> {
    all().filter_map(Process::find).filter(|process| process.parent == parent).collect()
}

/// The highest resident memory of a process so far, in bytes.
pub fn peak_memory(pid: i32) -> u64 {
    memory(pid, "VmHWM:").expect("the process exists")
}

/// A line of a process's status, in bytes.
fn memory(pid: i32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes << 10)
}

/// Runs a command to its end. It is killed, and the test fails, if it takes longer than the limit.
#[track_caller]
pub fn run(command: &mut Command, limit: Duration) -> Output {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let stderr = thread::spawn(move || {
        let mut bytes = Vec::new();
        stderr.read_to_end(&mut bytes).map(|_| bytes).unwrap_or_default()
    });
    let stdout = thread::spawn(move || {
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).map(|_| bytes).unwrap_or_default()
    });
    let give_up = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait().expect("the child can be waited for") {
            break status;
        }
        if Instant::now() > give_up {
            child.kill().expect("the child can be killed");
            panic!("{command:?} ran longer than {} s", limit.as_secs());
        }
        thread::sleep(Duration::from_millis(2));
    };
    Output { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

/// Whether a command can be run and exits with 0.
pub fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}
