//! What waits for a container ends with it. A connection alone may not show that the container is gone.

use std::pin::pin;

use futures_util::future::{Either, select};

/// The outcome of some work, or how the container ended before it.
///
/// After the end the work has a moment left, until `grace` completes: the last bytes may still be on their way.
pub async fn before_end<T, E, G: Future>(
    work: impl Future<Output = T>,
    end: impl Future<Output = E>,
    grace: impl FnOnce() -> G,
) -> Result<T, E> {
    let mut work = pin!(work);
    let ended = match select(work.as_mut(), pin!(end)).await {
        Either::Left((outcome, _)) => return Ok(outcome),
        Either::Right((ended, _)) => ended,
    };
    match select(work, pin!(grace())).await {
        Either::Left((outcome, _)) => Ok(outcome),
        Either::Right(_) => Err(ended),
    }
}

#[cfg(test)]
mod tests {
    use std::{future, time::Duration};

    use tokio::time::{Instant, sleep};

    use super::*;

    const GRACE: Duration = Duration::from_millis(300);

    fn on_simulated_clock<T>(test: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(test)
    }

    async fn after(ms: u64) -> u64 {
        sleep(Duration::from_millis(ms)).await;
        ms
    }

    #[test]
    fn work_that_waits_for_a_container_ends_with_it() {
        on_simulated_clock(async {
            let began = Instant::now();
            let silent = future::pending::<()>();
            assert_eq!(before_end(silent, after(1000), || sleep(GRACE)).await, Err(1000));
            assert_eq!(began.elapsed(), Duration::from_millis(1300));
        });
    }

    #[test]
    fn work_that_completes_first_or_in_the_grace_is_returned() {
        on_simulated_clock(async {
            assert_eq!(before_end(after(10), future::pending::<()>(), || sleep(GRACE)).await, Ok(10));
            assert_eq!(before_end(after(1200), after(1000), || sleep(GRACE)).await, Ok(1200));
            assert_eq!(before_end(after(1400), after(1000), || sleep(GRACE)).await, Err(1000));
        });
    }
}
