//! Ends child processes: waits, kills the process group, reaps, and reports how the child ended.

use std::{io, process::ExitStatus, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Child;

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Ended {
    /// By itself, within the grace period.
    InGrace(ExitStatus),
    /// By SIGKILL to its whole process group.
    Killed(ExitStatus),
}

/// Waits for a child that was asked to end, for example by closing its standard input. Kills its process group after
/// the grace period.
pub(super) async fn end(child: &mut Child, grace: Duration) -> io::Result<Ended> {
    match tokio::time::timeout(grace, child.wait()).await {
        Ok(status) => status.map(Ended::InGrace),
        Err(_) => kill(child).await,
    }
}

/// Kills a child's whole process group and reaps the child.
pub(super) async fn kill(child: &mut Child) -> io::Result<Ended> {
    // `id` is `None` once the child was reaped, so the number still belongs to the child. The child leads a process
    // group of its own.
    if let Some(group) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
        match kill_process_group(group, Signal::KILL) {
            // A group that is gone has ended: the wait below reaps the child.
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    child.wait().await.map(Ended::Killed)
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt, process::Stdio};

    use tokio::process::Command;

    use super::*;

    fn shell(script: &str) -> Child {
        Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap()
    }

    #[tokio::test]
    async fn a_child_that_ends_in_time_is_not_killed() {
        let mut child = shell("exit 3");
        let ended = end(&mut child, Duration::from_mins(2)).await.unwrap();
        assert!(matches!(ended, Ended::InGrace(status) if status.code() == Some(3)));
    }

    #[tokio::test]
    async fn a_stubborn_child_and_its_own_child_are_killed() {
        use tokio::io::AsyncReadExt;
        let mut child = shell("trap '' TERM; sleep 600 & echo $!; wait");
        let mut line = [0; 16];
        let read = child.stdout.as_mut().unwrap().read(&mut line).await.unwrap();
        let grandchild: i32 = std::str::from_utf8(&line[..read]).unwrap().trim().parse().unwrap();
        let ended = end(&mut child, Duration::from_millis(50)).await.unwrap();
        assert!(matches!(ended, Ended::Killed(status) if status.signal() == Some(9)));
        // The kernel ends a killed process within moments, but a busy machine may take longer: up to two minutes.
        for _ in 0..6_000 {
            let stat = std::fs::read_to_string(format!("/proc/{grandchild}/stat")).unwrap_or_default();
            // Without an init that reaps, the grandchild may stay a zombie; it no longer runs.
            if stat.is_empty() || stat.contains(") Z ") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        unreachable!("the grandchild still runs");
    }
}
