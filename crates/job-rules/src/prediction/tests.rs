use proptest::prelude::*;

use super::*;

fn ms(number: u64) -> Duration {
    Duration::from_millis(number)
}

fn history(durations_ms: impl IntoIterator<Item = u64>) -> History {
    durations_ms.into_iter().map(ms).collect()
}

fn always(took_ms: u64) -> Estimate {
    Estimate { expected: ms(took_ms), low: ms(took_ms), high: ms(took_ms), confidence: 1.0 }
}

fn workers(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap()
}

#[test]
fn of_nothing_nothing_is_known() {
    assert_eq!(History::default().estimate(), None);
}

#[test]
fn outliers_do_not_move_it() {
    let even: Vec<u64> = (0..60).map(|at| 1_000 + at % 7).collect();
    let calm = history(even.clone()).estimate().unwrap();
    let outliers = [3_600_000, 0, 90_000, 90_000];
    let shaken = history(even.into_iter().chain(outliers)).estimate().unwrap();
    assert!(shaken.expected.abs_diff(calm.expected) <= ms(2), "{shaken:?} against {calm:?}");
    assert!(shaken.high.abs_diff(calm.high) <= ms(10), "{shaken:?} against {calm:?}");
}

#[test]
fn the_interval_narrows_and_confidence_rises_with_samples() {
    let estimates = [1, 4, 16, 64].map(|samples| history([1_000].repeat(samples)).estimate().unwrap());
    assert!(
        estimates.is_sorted_by(|less, more| less.high > more.high && less.low < more.low),
        "{estimates:?}"
    );
    assert!(estimates.is_sorted_by(|less, more| less.confidence < more.confidence), "{estimates:?}");
    assert_eq!(estimates[0].high, ms(1_800));
    assert!(estimates[0].confidence < 0.2 && estimates[3].confidence > 0.9, "{estimates:?}");
}

#[test]
fn unsteady_work_is_predicted_with_less_confidence() {
    let steady = history((0..64).map(|_| 1_000)).estimate().unwrap();
    let unsteady = history((0..64).map(|at| 200 + at * 25)).estimate().unwrap();
    assert!(unsteady.confidence < steady.confidence - 0.2, "{unsteady:?} against {steady:?}");
    assert!(unsteady.high.abs_diff(unsteady.low) > steady.high.abs_diff(steady.low) * 3);
}

#[test]
fn a_changed_machine_is_learnt_of() {
    let slower = [1_000].repeat(WINDOW).into_iter().chain([3_000].repeat(WINDOW / 2 + 1));
    assert_eq!(history(slower).estimate().unwrap().expected, ms(3_000));
}

#[test]
fn an_overdue_job_never_has_zero_time_left() {
    let estimate = history([1_000].repeat(64)).estimate().unwrap();
    assert_eq!(estimate.remaining(ms(400)).expected, ms(600));
    for elapsed in [1_001, 1_100, 5_000, 60_000] {
        let left = estimate.remaining(ms(elapsed));
        assert!(left.expected > Duration::ZERO && left.expected <= left.high, "{elapsed}: {left:?}");
        assert!(left.confidence < estimate.confidence);
    }
}

#[test]
fn an_estimate_is_read_back_as_it_was_written() {
    let estimate = Estimate { expected: ms(1_500), low: ms(6), high: ms(2_994), confidence: 0.125 };
    assert_eq!(Estimate::decode(&estimate.encode()), Some(estimate));
    for wrong in ["", "1 2 3", "1 2 x 0.5"] {
        assert_eq!(Estimate::decode(wrong), None, "{wrong}");
    }
}

fn each(estimate: Estimate) -> Waiting {
    Waiting { estimate, jobs: 1 }
}

#[test]
fn the_wait_is_that_for_the_worker_who_is_free_first() {
    let idle = wait(workers(2), &[], &[]);
    assert_eq!(idle, Estimate::NOTHING);
    let one_busy = [Underway { estimate: always(1_000), elapsed: ms(300) }];
    assert_eq!(wait(workers(2), &one_busy, &[]).expected, Duration::ZERO);
    assert_eq!(wait(workers(1), &one_busy, &[]).expected, ms(700));
    // The first ahead goes to the idle worker until 500, the second to the same until 600, before the busy one is free.
    assert_eq!(wait(workers(2), &one_busy, &[each(always(500)), each(always(100))]).expected, ms(600));
    let three_busy = [100, 200, 300].map(|took| Underway { estimate: always(took), elapsed: Duration::ZERO });
    assert_eq!(wait(workers(1), &three_busy, &[]).expected, ms(300), "two of them are to go");
}

#[test]
fn only_what_certainly_comes_too_late_is_refused() {
    let estimate = history([1_000].repeat(64)).estimate().unwrap();
    assert!(!estimate.exceeds(ms(990)), "{estimate:?}");
    assert!(estimate.exceeds(ms(500)), "{estimate:?}");
    assert!(!history([1_000]).estimate().unwrap().exceeds(ms(500)), "one sample proves little");
}

#[test]
fn seconds_to_wait_are_whole_and_not_none() {
    for (expected_ms, seconds) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (90_000, 90)] {
        assert_eq!(always(expected_ms).retry_after_s(), seconds, "{expected_ms}");
    }
}

proptest! {
    #[test]
    fn estimates_are_in_order(took in prop::collection::vec(0_u64..10_000_000, 1..200), elapsed in 0_u64..20_000_000) {
        let estimate = history(took.iter().copied()).estimate().unwrap();
        let window = &took[took.len().saturating_sub(WINDOW)..];
        prop_assert!(estimate.low <= estimate.expected && estimate.expected <= estimate.high);
        prop_assert!((0.0..=1.0).contains(&estimate.confidence));
        let (least, most) = (window.iter().min().unwrap(), window.iter().max().unwrap());
        prop_assert!((*least..=*most + 1).contains(&u64::try_from(estimate.expected.as_millis()).unwrap()));
        let left = estimate.remaining(ms(elapsed));
        prop_assert!(left.expected <= left.high, "{left:?}");
        let later = estimate.remaining(ms(elapsed + elapsed / 3 + 1));
        prop_assert!(later.expected <= left.expected && later.high <= left.high, "{left:?}, then {later:?}");
    }

    #[test]
    fn more_workers_never_mean_a_longer_wait(ahead in prop::collection::vec(0_u64..1_000_000, 0..50), number in 1_usize..8) {
        // Of work in a fixed order that the first idle worker takes, this holds for the time at which the next begins.
        let ahead: Vec<_> = ahead.into_iter().map(always).map(each).collect();
        let fewer = wait(workers(number), &[], &ahead);
        let more = wait(workers(number + 1), &[], &ahead);
        prop_assert!(more.expected <= fewer.expected);
        prop_assert!(fewer.low <= fewer.expected && fewer.expected <= fewer.high);
    }

    #[test]
    fn jobs_of_a_sort_wait_as_long_together_as_one_by_one(
        busy in prop::collection::vec(1_u64..5_000, 0..6),
        ahead in prop::collection::vec((1_u64..500, 0_u64..60), 0..5),
        number in 1_usize..6,
    ) {
        let underway: Vec<_> =
            busy.into_iter().map(|took| Underway { estimate: always(took), elapsed: Duration::ZERO }).collect();
        let together: Vec<_> =
            ahead.iter().map(|&(took, jobs)| Waiting { estimate: always(took), jobs }).collect();
        let one_by_one: Vec<_> = together
            .iter()
            .flat_map(|waiting| (0..waiting.jobs).map(|_| each(waiting.estimate)))
            .collect();
        let together = wait(workers(number), &underway, &together);
        let one_by_one = wait(workers(number), &underway, &one_by_one);
        prop_assert_eq!(together.expected, one_by_one.expected);
    }
}
