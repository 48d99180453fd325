//! Ends a tool with everything that it started.

use std::{io, process::ExitStatus, sync::Arc, time::Duration};

use edgeprove_prover::child_process::{ChildProcess, Ended};
use edgeprove_telemetry::process::{ProcessIdentity, TreeUse};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};
use tokio::time::{Instant, sleep, timeout_at};

/// The longest time that killed processes take to end. One that waits for a broken disk could take for ever.
const LIMIT: Duration = Duration::from_secs(10);

const PAUSE: Duration = Duration::from_millis(5);

/// How often processes are looked for until no new one is found. A tool that starts them faster than they are stopped is
/// killed all the same.
const PASSES_MAX: usize = 100;

/// The processes of a tool that were seen while it ran. They are ended also if they have left its process group and their
/// parents have ended.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen(Arc<Mutex<Vec<ProcessIdentity>>>);

impl Seen {
    /// Adds processes, and forgets those that have ended. Returns whether one was not there before.
    pub(super) fn add(&self, members: &[ProcessIdentity]) -> bool {
        let mut seen = self.0.lock();
        let has_new = members.iter().any(|member| !seen.contains(member));
        seen.retain(|member| !members.contains(member) && member.is_running());
        seen.extend(members);
        has_new
    }

    /// Kills what runs. Returns the number of processes that still ran.
    fn kill(&self, leader: Pid) -> usize {
        let leader_id = leader.as_raw_nonzero().get().cast_unsigned();
        // A process that starts another one while this looks for them would hide it by its own end. A stopped one cannot.
        let find_new = || self.add(&TreeUse::of(leader_id).unwrap_or_default().members);
        find_new();
        for _ in 0..PASSES_MAX {
            self.signal(leader, Signal::STOP);
            if !find_new() {
                break;
            }
        }
        let running = self.signal(leader, Signal::KILL);
        for member in self.0.lock().iter() {
            if member.pid != leader_id
                && let Some(pid) = Pid::from_raw(member.pid.cast_signed())
                && !member.is_running()
            {
                // The first process of a container gets the orphans of a tool. Nobody else waits for them.
                let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
            }
        }
        running
    }

    /// Sends a signal to what runs. Returns the number of processes that were seen and run.
    fn signal(&self, leader: Pid, signal: Signal) -> usize {
        let seen = self.0.lock();
        let running: Vec<_> = seen.iter().filter(|member| member.is_running()).collect();
        // A process that has ended meanwhile needs no signal.
        let _ = kill_process_group(leader, signal);
        for member in &running {
            let _ = Pid::from_raw(member.pid.cast_signed()).map(|pid| kill_process(pid, signal));
        }
        running.len()
    }
}

/// Kills a tool, its process group, its descendants, and everything else of it that was seen. Waits until all have ended,
/// and reaps the tool. Processes that still run after the limit are logged.
pub(super) async fn end(child: &mut ChildProcess, seen: &Seen) -> io::Result<ExitStatus> {
    let deadline = Instant::now() + LIMIT;
    // The number belongs to the tool until it is reaped.
    if let Some(leader) = child.pid().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
        loop {
            let members = seen.clone();
            let killed = tokio::task::spawn_blocking(move || members.kill(leader)).await;
            // A runtime that stops runs no more of them: the child is killed below.
            let running = killed.unwrap_or(0);
            if running == 0 {
                break;
            }
            if Instant::now() >= deadline {
                tracing::error!(processes = running, "processes of a tool still run after they were killed");
                break;
            }
            sleep(PAUSE).await;
        }
    }
    match timeout_at(deadline + LIMIT, child.kill()).await {
        Ok(Ok(Ended::InGrace(status) | Ended::Killed(status))) => Ok(status),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "it does not end although it was killed")),
    }
}
