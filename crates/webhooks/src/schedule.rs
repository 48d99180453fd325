//! When a failed attempt is repeated: with growing delays, for some fifteen hours.

use std::time::Duration;

/// The delays after the first, second and further attempts. None follows the attempt after the last delay.
const DELAYS: [Duration; 10] = [
    Duration::from_secs(2),
    Duration::from_secs(10),
    Duration::from_mins(1),
    Duration::from_mins(5),
    Duration::from_mins(15),
    Duration::from_mins(30),
    Duration::from_hours(1),
    Duration::from_hours(2),
    Duration::from_hours(4),
    Duration::from_hours(8),
];
/// The longest delay that a server may ask for.
const ASKED_MAX: Duration = Duration::from_hours(1);
/// The longest delay of all, rounded up.
pub(crate) const DELAY_MAX: Duration = Duration::from_hours(11);

/// The delay after this many attempts; `None` if no further one is made. `asked` is what the server asked for, and `random`
/// is uniform over all its values: servers that failed at the same moment are not called at the same moment again.
pub(crate) fn delay(attempts: u32, asked: Option<Duration>, random: u64) -> Option<Duration> {
    let index = usize::try_from(attempts.saturating_sub(1)).ok()?;
    let delay = DELAYS.get(index)?.max(&asked.unwrap_or_default().min(ASKED_MAX)).as_millis();
    // Up to a quarter longer.
    let longer = ((delay / 4) * u128::from(random)) >> u64::BITS;
    Some(Duration::from_millis(u64::try_from(delay + longer).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_for_hours_and_end() {
        let all: Vec<_> = (1..).map_while(|attempts| delay(attempts, None, 0)).collect();
        assert!(all.is_sorted() && all.len() == 10, "{all:?}");
        let sum: Duration = all.iter().sum();
        assert!(Duration::from_hours(12) < sum && sum < Duration::from_hours(24), "{sum:?}");
        let longest = delay(10, Some(Duration::MAX), u64::MAX).unwrap();
        assert!(longest <= DELAY_MAX && longest > all[9], "{longest:?}");
        assert_eq!(delay(u32::MAX, None, 0), None);
    }

    #[test]
    fn a_server_may_ask_for_a_longer_delay() {
        let asked = |seconds| delay(1, Some(Duration::from_secs(seconds)), 0).unwrap();
        assert_eq!(asked(0), Duration::from_secs(2));
        assert_eq!(asked(30), Duration::from_secs(30));
        assert_eq!(asked(1_000_000), ASKED_MAX);
    }
}
