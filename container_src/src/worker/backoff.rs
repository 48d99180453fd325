//! The pauses after failures: each longer than the one before, and random, so that provers do not come back all at once.

use std::time::Duration;

use uuid::Uuid;

/// The first pause.
const FIRST: Duration = Duration::from_millis(250);
/// The longest pause that this prover chooses: a server that was started again must hear of its leases before they end.
const LONGEST: Duration = Duration::from_secs(4);
/// The longest pause that a server may demand.
const DEMANDED_MAX: Duration = Duration::from_mins(1);

/// The state of the pauses.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// The next pause is the first one again.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Waits.
    pub async fn pause(&mut self) {
        self.pause_after(None).await;
    }

    /// Waits, and at least as long as the server demands.
    pub async fn pause_after(&mut self, demanded: Option<Duration>) {
        tokio::time::sleep(self.take(demanded, random())).await;
    }

    /// The next pause: half of it is random. `fraction` is from 0 to 1.
    fn take(&mut self, demanded: Option<Duration>, fraction: f64) -> Duration {
        let own = self.next.mul_f64(0.5 + fraction / 2.0);
        self.next = (self.next * 2).min(LONGEST);
        let demanded = demanded.unwrap_or_default().min(DEMANDED_MAX);
        own.max(demanded.mul_f64(1.0 + fraction / 4.0))
    }
}

/// A random number from 0 to 1.
fn random() -> f64 {
    let (bits, _) = Uuid::new_v4().as_u64_pair();
    let bits = u32::try_from(bits & 0xffff_ffff).unwrap_or_default();
    f64::from(bits) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_are_random() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..8).map(|_| backoff.take(None, 1.0).as_millis()).collect();
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 4000, 4000, 4000]);
        assert_eq!(backoff.take(None, 0.0), LONGEST / 2);
        backoff.reset();
        assert_eq!(backoff.take(None, 1.0), FIRST);
    }

    #[test]
    fn a_server_may_demand_a_longer_pause() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.take(Some(Duration::from_secs(8)), 0.0), Duration::from_secs(8));
        assert_eq!(backoff.take(Some(Duration::from_secs(8)), 1.0), Duration::from_secs(10));
        assert_eq!(backoff.take(Some(Duration::MAX), 0.0), DEMANDED_MAX);
    }

    #[test]
    fn random_numbers_are_fractions() {
        assert!((0..100).map(|_| random()).all(|number| (0.0..=1.0).contains(&number)));
    }
}
