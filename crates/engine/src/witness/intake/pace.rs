//! The minimum speed of an upload: a client that sends a byte now and then holds a connection and a file for little work.

use std::time::Duration;

use tokio::time::Instant;

/// Fewest bytes per second, on average after the first pause that is allowed. A modem of 1990 sends more, and a witness of a
/// megabyte still has a quarter of an hour.
const BYTES_PER_SECOND: u64 = 1024;

/// The speed of a body that arrives.
#[derive(Debug)]
pub struct Pace {
    started: Instant,
    last: Instant,
    idle: Duration,
    /// The bytes that arrived.
    pub received: u64,
}

/// The body arrives below the minimum speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooSlow;

impl Pace {
    /// A body that begins now. It may be silent for `idle`, and needs no minimum speed until then.
    #[must_use]
    pub fn new(idle: Duration) -> Self {
        let now = Instant::now();
        Self { started: now, last: now, idle, received: 0 }
    }

    /// Counts bytes that arrive now.
    pub fn receive(&mut self, bytes: usize) -> Result<(), TooSlow> {
        self.last = Instant::now();
        self.received += bytes as u64;
        self.check()
    }

    /// Leaves out a time in which the reader of the body was busy, and read nothing.
    pub fn leave_out(&mut self, busy: Duration) {
        self.started += busy;
        self.last += busy;
    }

    /// Whether the bytes that arrived last came in time.
    pub fn check(&self) -> Result<(), TooSlow> {
        let measured = (self.last - self.started).saturating_sub(self.idle);
        if self.received < measured.as_secs().saturating_mul(BYTES_PER_SECOND) {
            Err(TooSlow)
        } else {
            Ok(())
        }
    }

    /// When the body has been silent for too long, if nothing arrives until then.
    #[must_use]
    pub fn silent_at(&self) -> Instant {
        self.last + self.idle
    }

    /// The time since the beginning, in whole seconds.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        (self.last - self.started).as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_a_body_below_the_minimum_is_too_slow() {
        let wait = |seconds| tokio::time::advance(Duration::from_secs(seconds));
        let mut pace = Pace::new(Duration::from_secs(15));
        for _ in 0..15 {
            wait(1).await;
            assert_eq!(pace.receive(1), Ok(()), "the first seconds are free");
        }
        // A fast body has done its part for as many seconds as it has kibibytes.
        assert_eq!(pace.receive(10 * 1024), Ok(()));
        wait(10).await;
        assert_eq!(pace.receive(1), Ok(()));
        wait(1).await;
        assert_eq!(pace.receive(1), Err(TooSlow));
        assert_eq!((pace.received, pace.seconds()), (15 + 10 * 1024 + 2, 26));
        assert_eq!(pace.receive(2 * 1024), Ok(()), "exactly the minimum");
        assert_eq!(pace.silent_at() - Instant::now(), Duration::from_secs(15));
    }
}
