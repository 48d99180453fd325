//! The delays between attempts: exponential backoff with full jitter.
//!
//! Full jitter means that the delay is random between zero and the ceiling. Jobs that failed together for the same reason are
//! then retried at different times.

use std::time::Duration;

/// Default of the maximum number of attempts.
pub const MAX_ATTEMPTS: u32 = 3;

/// The delays between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The ceiling after the first attempt. It doubles with each further one.
    pub base: Duration,
    /// The maximum of the ceiling.
    pub cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_millis(500), cap: Duration::from_secs(30) }
    }
}

impl Backoff {
    /// The longest delay after this many attempts.
    #[must_use]
    pub fn ceiling(self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1);
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.cap)
    }

    /// The delay after this many attempts. `random` is uniform over all its values.
    #[must_use]
    pub fn delay(self, attempts: u32, random: u64) -> Duration {
        let ceiling_ms = self.ceiling(attempts).as_millis();
        let delay_ms = (ceiling_ms.saturating_mul(u128::from(random))) >> u64::BITS;
        Duration::from_millis(u64::try_from(delay_ms).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ceiling_doubles_up_to_the_cap() {
        let ceilings = [0, 1, 2, 3, 7, 8, 33, u32::MAX].map(|attempts| Backoff::default().ceiling(attempts));
        let expected = [500, 500, 1_000, 2_000, 30_000, 30_000, 30_000, 30_000].map(Duration::from_millis);
        assert_eq!(ceilings, expected);
    }

    #[test]
    fn delays_use_the_whole_range() {
        let backoff = Backoff::default();
        assert_eq!(backoff.delay(2, 0), Duration::ZERO);
        assert_eq!(backoff.delay(2, u64::MAX / 2 + 1), Duration::from_millis(500));
        assert_eq!(backoff.delay(2, u64::MAX), Duration::from_millis(999));
    }

    proptest! {
        #[test]
        fn a_delay_never_exceeds_its_ceiling(base: u32, cap: u32, attempts: u32, random: u64) {
            let backoff = Backoff { base: Duration::from_millis(base.into()), cap: Duration::from_millis(cap.into()) };
            prop_assert!(backoff.delay(attempts, random) <= backoff.ceiling(attempts));
            prop_assert!(backoff.ceiling(attempts) <= backoff.cap);
        }
    }
}
