//! Looks at processes through /proc, and stops and kills them.
//!
//! bb belongs to a server if its environment names the server's own CRS folder: that holds for orphans as well, which
//! have lost their parent, and for whatever a program in bb's place starts.

use std::{
    fs,
    io::Read as _,
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::eventually;

/// A process that lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// As in /proc: `R`, `S`, `T`, `Z` and so on.
    pub state: char,
    /// CPU time it has used, in clock ticks.
    pub ticks: u64,
}

impl Process {
    /// `None` once it is gone.
    pub fn look(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in brackets, may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        Some(Self {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            state: fields.first()?.chars().next()?,
            ticks,
        })
    }

    /// Whether it runs or could run.
    pub fn lives(self) -> bool {
        Self::look(self.pid).is_some_and(|now| now.state != 'Z' && now.state != 'X')
    }

    /// What it is called; empty once it is gone.
    pub fn name(self) -> String {
        fs::read_to_string(format!("/proc/{}/comm", self.pid)).unwrap_or_default().trim_end().to_owned()
    }

    /// Memory that it has resident, in bytes; none once it is gone.
    pub fn resident_bytes(self) -> u64 {
        memory(self.pid, "VmRSS:").unwrap_or(0)
    }

    /// Sends it a signal.
    pub fn signal(self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid) {
            // One that is gone needs no signal.
            let _ = kill_process(pid, signal);
        }
    }

    /// Stops it and waits until it has stopped; `false` if it died of something else meanwhile.
    pub fn freeze(self) -> bool {
        self.signal(Signal::STOP);
        eventually("a process stops", || match Self::look(self.pid) {
            Some(Process { state: 'T', .. }) => Some(true),
            None | Some(Process { state: 'Z' | 'X', .. }) => Some(false),
            Some(_) => None,
        })
    }
}

fn all() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").expect("/proc can be read").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Every live process whose environment says `CRS_PATH` is this folder.
pub fn with_crs(dir: &Path) -> Vec<Process> {
    let mark = format!("CRS_PATH={}", dir.display());
    let marked = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|variable| variable == mark.as_bytes())
    };
    all().filter(marked).filter_map(Process::look).filter(|process| process.state != 'Z').collect()
}

/// The children of a process, dead ones that nobody has collected included.
pub fn children(parent: i32) -> Vec<Process> {
    all().filter_map(Process::look).filter(|process| process.parent == parent).collect()
}

/// The most memory a process has had resident at any moment, in bytes.
pub fn peak_memory(pid: i32) -> u64 {
    memory(pid, "VmHWM:").expect("the process lives")
}

/// A line of a process's status, in bytes.
fn memory(pid: i32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes << 10)
}

/// Runs a command to its end, killing it after a while.
#[track_caller]
pub fn run(command: &mut Command, limit: Duration) -> Output {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let drain = thread::spawn(move || {
        let mut bytes = Vec::new();
        stderr.read_to_end(&mut bytes).map(|_| bytes).unwrap_or_default()
    });
    let output = thread::spawn(move || {
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).map(|_| bytes).unwrap_or_default()
    });
    let give_up = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait().expect("it can be waited for") {
            break status;
        }
        if Instant::now() > give_up {
            child.kill().expect("it can be killed");
            panic!("{command:?} ran longer than {} s", limit.as_secs());
        }
        thread::sleep(Duration::from_millis(2));
    };
    Output { status, stdout: output.join().unwrap(), stderr: drain.join().unwrap() }
}

/// Whether a command can be run and ends with 0.
pub fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}
