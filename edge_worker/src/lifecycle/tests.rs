//! The rules of a container's life, each shown on a made-up container. `docs/EDGE.md` lists them by name.

mod fake;

use futures_util::future;

use super::*;
use fake::{Fake, Manners, OPTIONS, asleep, on_jumping_clock, pass};

#[test]
fn a_request_starts_the_container_and_waits_until_it_is_ready() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        assert_eq!(lifecycle.status().state, "sleeping");
        let began = fake.now();
        assert_eq!(lifecycle.ready().await, Ok(()));
        let took = fake.now() - began;
        assert!((1000..1600).contains(&took), "{took} ms");
        assert_eq!((fake.said("start"), lifecycle.status().state.as_str()), (1, "ready"));
        assert_eq!(lifecycle.ready().await, Ok(()));
        assert_eq!(fake.said("start"), 1);
    });
}

#[test]
fn however_many_ask_at_once_it_is_started_once() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        let all = future::join_all((0..50).map(|_| lifecycle.ready())).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!((fake.said("start"), lifecycle.status().record.starts), (1, 1));
    });
    on_jumping_clock(async {
        let none = Some((Duration::from_millis(20), Exit::NoInstance("no instance".to_owned())));
        let (fake, lifecycle) = asleep(Manners { dies_after: none, ..Manners::default() });
        let all = future::join_all((0..50).map(|_| lifecycle.ready())).await;
        assert!(all.iter().all(Result::is_err));
        assert_eq!(fake.said("start"), 1, "they hear of one failure together");
    });
}

#[test]
fn a_start_goes_on_when_the_request_that_began_it_goes_away() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        drop(tokio::time::timeout(Duration::from_millis(10), lifecycle.ready()).await);
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(lifecycle.status().state, "ready");
        assert_eq!(fake.said("start"), 1);
    });
}

#[test]
fn a_container_that_never_becomes_ready_is_given_up_on_time_and_destroyed() {
    for hangs in [false, true] {
        on_jumping_clock(async {
            let never = Duration::from_hours(1);
            let (fake, lifecycle) = asleep(Manners { ready_after: never, hangs, ..Manners::default() });
            let began = fake.now();
            let failure = lifecycle.ready().await.unwrap_err();
            let took = fake.now() - began;
            assert!((60_000..60_600).contains(&took), "{took} ms");
            assert!(matches!(failure, StartFailure::NotInTime { .. }), "{failure}");
            assert_eq!((fake.said("destroy"), lifecycle.status().state.as_str()), (1, "sleeping"));
            // The next request gets a fresh one.
            *fake.0.manners.borrow_mut() = Manners::default();
            assert_eq!(lifecycle.ready().await, Ok(()));
            assert_eq!(fake.said("start"), 2);
        });
    }
}

#[test]
fn a_look_that_is_never_answered_costs_little() {
    on_jumping_clock(async {
        let (fake, lifecycle) =
            asleep(Manners { hangs: true, ready_after: Duration::ZERO, ..Manners::default() });
        let boots = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            fake.0.manners.borrow_mut().hangs = false;
        };
        let began = fake.now();
        let (ready, ()) = tokio::join!(lifecycle.ready(), boots);
        let took = fake.now() - began;
        assert!(ready.is_ok() && took < 400, "{took} ms");
    });
}

#[test]
fn one_silent_look_does_not_use_up_the_time() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners { hangs: true, ..Manners::default() });
        let wakes = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            fake.0.manners.borrow_mut().hangs = false;
        };
        let began = fake.now();
        let (ready, ()) = tokio::join!(lifecycle.ready(), wakes);
        assert_eq!(ready, Ok(()));
        assert!(fake.now() - began < 8_000);
    });
}

#[test]
fn a_container_that_dies_while_it_starts_is_started_again_but_not_for_ever() {
    on_jumping_clock(async {
        let dies = Some((Duration::from_millis(200), Exit::Code(64)));
        let (fake, lifecycle) = asleep(Manners { dies_after: dies, ..Manners::default() });
        let failure = lifecycle.ready().await.unwrap_err();
        assert_eq!(failure, StartFailure::Died { starts: 3, exit: "exit status 64".to_owned() });
        assert_eq!(fake.said("start"), 3);
        assert_eq!(lifecycle.status().record.last_exit.unwrap().0, Exit::Code(64));
    });
    on_jumping_clock(async {
        let dies = Some((Duration::from_millis(200), Exit::Code(1)));
        let (fake, lifecycle) = asleep(Manners { dies_after: dies, ..Manners::default() });
        let mends = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            fake.0.manners.borrow_mut().dies_after = None;
        };
        let (ready, ()) = tokio::join!(lifecycle.ready(), mends);
        assert_eq!((ready, fake.said("start")), (Ok(()), 2));
    });
}

#[test]
fn a_platform_without_containers_is_told_apart_whichever_way_it_says_so() {
    on_jumping_clock(async {
        let none = || "no instance".to_owned();
        let fault = Some(StartFault::NoInstance(none()));
        let (_, lifecycle) = asleep(Manners { start_fault: fault, ..Manners::default() });
        assert_eq!(lifecycle.ready().await, Err(StartFailure::NoInstance(none())));
        assert_eq!(lifecycle.status().state, "sleeping");

        let dies = Some((Duration::from_millis(20), Exit::NoInstance(none())));
        let (fake, lifecycle) = asleep(Manners { dies_after: dies, ..Manners::default() });
        assert_eq!(lifecycle.ready().await, Err(StartFailure::NoInstance(none())));
        assert_eq!(fake.said("start"), 1, "asking again at once would not help");

        let fault = Some(StartFault::Other("bad image".to_owned()));
        let (_, lifecycle) = asleep(Manners { start_fault: fault, ..Manners::default() });
        assert_eq!(lifecycle.ready().await, Err(StartFailure::Refused("bad image".to_owned())));
    });
}

#[test]
fn however_it_ended_the_next_request_gets_a_fresh_container() {
    let (gone, broken) = ("no instance".to_owned(), "container supervisor failed".to_owned());
    for exit in [Exit::Code(0), Exit::Code(139), Exit::NoInstance(gone), Exit::Lost(broken)] {
        on_jumping_clock(async {
            let (fake, lifecycle) = asleep(Manners::default());
            lifecycle.ready().await.unwrap();
            fake.die(exit.clone());
            tokio::task::yield_now().await;
            assert_eq!(lifecycle.status().state, "sleeping");
            assert_eq!(lifecycle.ready().await, Ok(()));
            assert_eq!((fake.said("start"), fake.said(&format!("ended: {exit}"))), (2, 1));
        });
    }
}

#[test]
fn who_waits_for_an_answer_hears_that_the_container_is_gone() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        lifecycle.ready().await.unwrap();
        let gone = lifecycle.gone();
        assert!(tokio::time::timeout(Duration::from_mins(1), lifecycle.gone()).await.is_err());
        fake.die(Exit::Code(137));
        assert_eq!(gone.await, Exit::Code(137));
    });
}

#[test]
fn a_crash_that_is_not_noticed_yet_is_seen_by_the_next_request() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        lifecycle.ready().await.unwrap();
        // No word of the exit comes.
        fake.0.running_since.set(None);
        assert_eq!(lifecycle.ready().await, Ok(()));
        assert_eq!(fake.said("start"), 2);
    });
}

#[test]
fn a_container_that_lost_a_request_is_looked_at_before_the_next() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        lifecycle.ready().await.unwrap();
        let probes = fake.said("probe");
        lifecycle.doubt();
        assert_eq!(lifecycle.status().state, "unknown");
        assert_eq!(lifecycle.ready().await, Ok(()));
        assert_eq!((fake.said("probe"), fake.said("start")), (probes + 1, 1));
    });
}

#[test]
fn a_container_that_shuts_down_is_waited_for_and_replaced() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        lifecycle.ready().await.unwrap();
        // The platform told it to end, and it finishes its work.
        fake.0.manners.borrow_mut().ready_after = Duration::from_hours(1);
        lifecycle.doubt();
        let ends = async {
            tokio::time::sleep(Duration::from_secs(20)).await;
            fake.0.manners.borrow_mut().ready_after = Duration::from_secs(1);
            fake.die(Exit::Code(0));
        };
        let began = fake.now();
        let (ready, ()) = tokio::join!(lifecycle.ready(), ends);
        assert_eq!((ready, fake.said("start"), fake.said("destroy")), (Ok(()), 2, 0));
        assert!(fake.now() - began < 23_000);
    });
}

#[test]
fn late_word_of_an_earlier_container_does_not_touch_the_present_one() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        lifecycle.ready().await.unwrap();
        let earlier = Rc::clone(&fake.0.exits.borrow());
        fake.0.running_since.set(None);
        lifecycle.ready().await.unwrap();
        earlier.send_replace(Some(Exit::Code(1)));
        tokio::task::yield_now().await;
        assert_eq!((fake.said("ended: exit status 1"), lifecycle.status().state.as_str()), (1, "ready"));
        lifecycle.ready().await.unwrap();
        assert_eq!(fake.said("start"), 2);
    });
}

#[test]
fn a_container_that_runs_on_after_word_of_its_end_is_watched_again() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        lifecycle.ready().await.unwrap();
        let broken = fake.0.exits.replace(Rc::default());
        broken.send_replace(Some(Exit::Lost("container supervisor failed".to_owned())));
        tokio::task::yield_now().await;
        assert_eq!(lifecycle.status().state, "unknown");
        assert_eq!(lifecycle.ready().await, Ok(()));
        let gone = lifecycle.gone();
        assert!(tokio::time::timeout(Duration::from_secs(1), lifecycle.gone()).await.is_err());
        fake.die(Exit::Code(2));
        assert_eq!((gone.await, fake.said("start")), (Exit::Code(2), 1));
    });
}

#[test]
fn it_sleeps_when_nobody_needed_it_for_long_enough_and_wakes_again() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        lifecycle.ready().await.unwrap();
        drop(lifecycle.lease());
        pass(&fake, &lifecycle, Duration::from_secs(295)).await;
        assert_eq!(lifecycle.status().state, "ready");
        drop(lifecycle.lease());
        pass(&fake, &lifecycle, Duration::from_secs(295)).await;
        assert_eq!(lifecycle.status().state, "ready", "a request begins the idle time anew");
        pass(&fake, &lifecycle, Duration::from_secs(10)).await;
        assert_eq!(lifecycle.status().state, "sleeping");
        assert_eq!((fake.said("ask to end"), fake.said("destroy")), (1, 0));
        assert_eq!(lifecycle.ready().await, Ok(()));
        assert_eq!(fake.said("start"), 2);
    });
}

#[test]
fn a_slow_start_is_not_taken_for_idleness() {
    on_jumping_clock(async {
        let fake = Fake::new(Manners { ready_after: Duration::from_secs(40), ..Manners::default() });
        let options = LifecycleOptions { sleep_after: Duration::from_secs(2), ..OPTIONS };
        let lifecycle = Lifecycle::take_over(fake.clone(), options, Record::default());
        let asked = tokio::task::spawn_local({
            let lifecycle = Rc::clone(&lifecycle);
            async move { lifecycle.ready().await }
        });
        tokio::task::yield_now().await;
        pass(&fake, &lifecycle, Duration::from_secs(30)).await;
        assert_eq!((lifecycle.status().state.as_str(), fake.said("ask to end")), ("starting", 0));
        assert_eq!(asked.await.unwrap(), Ok(()));
        assert_eq!(fake.said("start"), 1);
    });
}

#[test]
fn however_many_requests_come_one_alarm_is_set() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        lifecycle.ready().await.unwrap();
        for _ in 0..1000 {
            drop(lifecycle.lease());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(fake.said("alarm"), 1);
        pass(&fake, &lifecycle, Duration::from_mins(11)).await;
        assert_eq!((fake.said("alarm"), lifecycle.status().state.as_str()), (2, "sleeping"));
    });
}

#[test]
fn a_container_that_nobody_ever_asked_sleeps_too() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        lifecycle.ready().await.unwrap();
        pass(&fake, &lifecycle, Duration::from_mins(6)).await;
        assert_eq!(lifecycle.status().state, "sleeping");
    });
}

#[test]
fn it_stays_awake_while_a_request_is_under_way_or_the_container_works() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        lifecycle.ready().await.unwrap();
        fake.0.manners.borrow_mut().work = 1;
        pass(&fake, &lifecycle, Duration::from_hours(1)).await;
        assert_eq!(lifecycle.status().state, "ready", "a job runs without a request");
        fake.0.manners.borrow_mut().work = 0;
        pass(&fake, &lifecycle, Duration::from_mins(11)).await;
        assert_eq!(lifecycle.status().state, "sleeping");
    });
    on_jumping_clock(async {
        let fake = Fake::new(Manners::default());
        let options = LifecycleOptions { sleep_after: Duration::from_secs(10), ..OPTIONS };
        let lifecycle = Lifecycle::take_over(fake.clone(), options, Record::default());
        lifecycle.ready().await.unwrap();
        let lease = lifecycle.lease();
        pass(&fake, &lifecycle, Duration::from_mins(2)).await;
        assert_eq!((lifecycle.status().state.as_str(), lifecycle.status().in_flight), ("ready", 1));
        drop(lease);
        pass(&fake, &lifecycle, Duration::from_secs(25)).await;
        assert_eq!(lifecycle.status().state, "sleeping");
    });
}

#[test]
fn what_came_of_a_job_is_to_be_had_for_as_long_as_after_a_request() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        lifecycle.ready().await.unwrap();
        // It is over at any time between two looks, or before the first.
        for minutes in [3, 5, 14] {
            fake.0.manners.borrow_mut().work = 1;
            lifecycle.ready().await.unwrap();
            drop(lifecycle.lease());
            pass(&fake, &lifecycle, Duration::from_mins(minutes)).await;
            fake.0.manners.borrow_mut().work = 0;
            fake.0.manners.borrow_mut().rested_at = Some(tokio::time::Instant::now());
            pass(&fake, &lifecycle, OPTIONS.sleep_after.mul_f64(0.99)).await;
            assert_eq!(lifecycle.status().state, "ready", "{minutes}");
            pass(&fake, &lifecycle, OPTIONS.sleep_after).await;
            assert_eq!(lifecycle.status().state, "sleeping", "{minutes}");
        }
    });
}

#[test]
fn one_that_is_too_busy_to_say_so_is_asked_again_before_it_is_ended() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        lifecycle.ready().await.unwrap();
        let manners = |work, hangs| {
            let mut manners = fake.0.manners.borrow_mut();
            (manners.work, manners.hangs) = (work, hangs);
        };
        manners(1, true);
        pass(&fake, &lifecycle, OPTIONS.sleep_after + Duration::from_mins(9)).await;
        assert_eq!(
            lifecycle.status().state,
            "ready",
            "it was asked for something, and never said that it is done"
        );
        manners(1, false);
        pass(&fake, &lifecycle, Duration::from_hours(1)).await;
        assert_eq!(lifecycle.status().state, "ready");
        manners(1, true);
        pass(&fake, &lifecycle, Duration::from_mins(9)).await;
        assert_eq!(lifecycle.status().state, "ready", "it said that it is at work");
        pass(&fake, &lifecycle, OPTIONS.sleep_after + Duration::from_mins(2)).await;
        assert_eq!(lifecycle.status().state, "sleeping", "one that is dead is not kept");
    });
}

#[test]
fn one_that_falls_silent_with_nothing_to_do_is_not_kept_for_long() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        lifecycle.ready().await.unwrap();
        pass(&fake, &lifecycle, OPTIONS.sleep_after / 2).await;
        fake.0.manners.borrow_mut().rested_at = Some(tokio::time::Instant::now());
        // It says that it is done, and what came of its job is left there for a while.
        pass(&fake, &lifecycle, OPTIONS.sleep_after.mul_f64(0.95)).await;
        assert_eq!(lifecycle.status().state, "ready");
        fake.0.manners.borrow_mut().hangs = true;
        pass(&fake, &lifecycle, Duration::from_secs(30)).await;
        assert_eq!(lifecycle.status().state, "ready", "it was silent once");
        pass(&fake, &lifecycle, Duration::from_mins(1)).await;
        assert_eq!(lifecycle.status().state, "sleeping");
    });
}

#[test]
fn a_caller_that_vanished_unnoticed_does_not_keep_it_awake_for_ever() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        lifecycle.ready().await.unwrap();
        let forgotten = lifecycle.lease();
        pass(&fake, &lifecycle, Duration::from_mins(11)).await;
        assert_eq!((lifecycle.status().state.as_str(), lifecycle.status().in_flight), ("sleeping", 0));
        drop(forgotten);
    });
}

#[test]
fn a_socket_in_use_keeps_it_awake_and_a_silent_one_does_not() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        lifecycle.ready().await.unwrap();
        let socket = lifecycle.lease();
        for _ in 0..20 {
            pass(&fake, &lifecycle, Duration::from_mins(2)).await;
            socket.renew();
        }
        assert_eq!(lifecycle.status().state, "ready");
        pass(&fake, &lifecycle, Duration::from_mins(11)).await;
        assert_eq!(lifecycle.status().state, "sleeping");
    });
}

#[test]
fn one_that_does_not_end_when_asked_is_destroyed() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners { obeys: false, ..Manners::default() });
        lifecycle.ready().await.unwrap();
        pass(&fake, &lifecycle, Duration::from_mins(6)).await;
        assert_eq!((fake.said("ask to end"), fake.said("destroy")), (1, 1));
        assert_eq!(lifecycle.status().state, "sleeping");
    });
}

#[test]
fn a_request_that_comes_while_it_goes_to_sleep_waits_and_wakes_it() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        lifecycle.ready().await.unwrap();
        tokio::time::sleep(Duration::from_secs(301)).await;
        let alarm = tokio::task::spawn_local({
            let lifecycle = Rc::clone(&lifecycle);
            async move { lifecycle.alarm().await }
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(lifecycle.status().state, "stopping");
        assert_eq!(lifecycle.ready().await, Ok(()));
        alarm.await.unwrap();
        assert_eq!((fake.said("start"), lifecycle.status().state.as_str()), (2, "ready"));
    });
}

#[test]
fn a_request_that_comes_while_it_is_asked_whether_it_is_idle_keeps_it_awake() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        lifecycle.ready().await.unwrap();
        tokio::time::sleep(Duration::from_secs(301)).await;
        let (_lease, ()) = tokio::join!(async { lifecycle.lease() }, lifecycle.alarm());
        assert_eq!((fake.said("ask to end"), lifecycle.status().state.as_str()), (0, "ready"));
        assert!(fake.0.alarm_at.get().is_some());
    });
}

#[test]
fn an_evicted_object_takes_over_the_container_that_runs() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        lifecycle.ready().await.unwrap();
        let record = fake.kept();
        drop(lifecycle);

        let again = Lifecycle::take_over(fake.clone(), OPTIONS, record);
        assert_eq!((again.status().state.as_str(), again.status().record.starts), ("unknown", 1));
        assert_eq!(again.ready().await, Ok(()));
        assert_eq!(fake.said("start"), 1);
        fake.die(Exit::Code(2));
        tokio::task::yield_now().await;
        assert_eq!(again.status().record.last_exit.unwrap().0, Exit::Code(2), "it is watched again");
        again.ready().await.unwrap();
        pass(&fake, &again, Duration::from_mins(6)).await;
        assert_eq!(again.status().state, "sleeping", "and its idle time runs");
    });
}

#[test]
fn a_container_that_was_started_with_other_settings_is_replaced() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        lifecycle.ready().await.unwrap();
        drop(lifecycle);
        fake.0.manners.borrow_mut().settings = "second";

        let again = Lifecycle::take_over(fake.clone(), OPTIONS, fake.kept());
        assert_eq!(again.status().state, "stopping");
        assert_eq!(again.ready().await, Ok(()));
        assert_eq!((fake.said("ask to end"), fake.said("destroy"), fake.said("start")), (1, 0, 2));
        assert_eq!(
            (fake.kept().started_with.as_deref(), again.status().record.started_with),
            (Some("second"), None)
        );

        let once_more = Lifecycle::take_over(fake.clone(), OPTIONS, fake.kept());
        assert_eq!(once_more.status().state, "unknown", "it has the settings of now");
    });
}

#[test]
fn a_container_that_ended_while_its_object_was_away_is_started_anew() {
    on_jumping_clock(async {
        let record = Record { started_at: Some(1), starts: 7, ..Record::default() };
        let fake = Fake::new(Manners::default());
        let lifecycle = Lifecycle::take_over(fake.clone(), OPTIONS, record.clone());
        assert_eq!((lifecycle.status().state.as_str(), lifecycle.status().record), ("sleeping", record));
        lifecycle.alarm().await;
        assert_eq!(lifecycle.ready().await, Ok(()));
        assert_eq!((fake.said("start"), lifecycle.status().record.starts), (1, 8));
    });
}

#[test]
fn an_alarm_without_a_container_sets_no_other() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        lifecycle.alarm().await;
        assert!(fake.0.alarm_at.get().is_none() && fake.said("probe") == 0);
    });
}
