//! The rules of a container's lifecycle, each tested on a simulated container. `docs/EDGE.md` lists these tests.

mod fake;
mod streams;

use futures_util::future;

use super::*;
use fake::{Behaviour, Fake, OPTIONS, advance, on_simulated_clock, sleeping};

#[test]
fn a_request_starts_the_container_and_waits_until_ready() {
    on_simulated_clock(async {
        let (fake, lifecycle) = sleeping(Behaviour::default());
        assert_eq!(lifecycle.status().state, ContainerState::Sleeping);
        let began = fake.now();
        assert_eq!(lifecycle.ready().await, Ok(()));
        let took = fake.now() - began;
        assert!((1000..1600).contains(&took), "{took} ms");
        assert_eq!((fake.count("start"), lifecycle.status().state), (1, ContainerState::Ready));
        assert_eq!(lifecycle.ready().await, Ok(()));
        assert_eq!(fake.count("start"), 1);
    });
}

#[test]
fn many_requests_at_once_start_it_once() {
    on_simulated_clock(async {
        let (fake, lifecycle) = sleeping(Behaviour::default());
        let all = future::join_all((0..50).map(|_| lifecycle.ready())).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!((fake.count("start"), lifecycle.status().record.starts), (1, 1));
    });
    on_simulated_clock(async {
        let no_instance =
            Some((Duration::from_millis(20), ContainerExit::NoInstance("no instance".to_owned())));
        let (fake, lifecycle) = sleeping(Behaviour { exits_after: no_instance, ..Behaviour::default() });
        let all = future::join_all((0..50).map(|_| lifecycle.ready())).await;
        assert!(all.iter().all(Result::is_err));
        assert_eq!(fake.count("start"), 1, "all of them get the one failure");
    });
}

#[test]
fn a_start_goes_on_when_its_request_ends() {
    on_simulated_clock(async {
        let (fake, lifecycle) = sleeping(Behaviour::default());
        drop(tokio::time::timeout(Duration::from_millis(10), lifecycle.ready()).await);
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(lifecycle.status().state, ContainerState::Ready);
        assert_eq!(fake.count("start"), 1);
    });
}

#[test]
fn a_container_that_is_not_ready_in_time_is_destroyed() {
    for hangs in [false, true] {
        on_simulated_clock(async {
            let never = Duration::from_hours(1);
            let (fake, lifecycle) = sleeping(Behaviour { ready_after: never, hangs, ..Behaviour::default() });
            let began = fake.now();
            let failure = lifecycle.ready().await.unwrap_err();
            let took = fake.now() - began;
            assert!((60_000..60_600).contains(&took), "{took} ms");
            assert!(matches!(failure, StartFailure::TimedOut { .. }), "{failure}");
            assert_eq!((fake.count("destroy"), lifecycle.status().state), (1, ContainerState::Sleeping));
            // The next request starts a new one.
            *fake.0.behaviour.borrow_mut() = Behaviour::default();
            assert_eq!(lifecycle.ready().await, Ok(()));
            assert_eq!(fake.count("start"), 2);
        });
    }
}

#[test]
fn a_probe_without_response_costs_little_time() {
    on_simulated_clock(async {
        let (fake, lifecycle) =
            sleeping(Behaviour { hangs: true, ready_after: Duration::ZERO, ..Behaviour::default() });
        let boot = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            fake.0.behaviour.borrow_mut().hangs = false;
        };
        let began = fake.now();
        let (ready, ()) = tokio::join!(lifecycle.ready(), boot);
        let took = fake.now() - began;
        assert!(ready.is_ok() && took < 400, "{took} ms");
    });
}

#[test]
fn one_silent_probe_does_not_use_up_the_time_limit() {
    on_simulated_clock(async {
        let (fake, lifecycle) = sleeping(Behaviour { hangs: true, ..Behaviour::default() });
        let recovery = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            fake.0.behaviour.borrow_mut().hangs = false;
        };
        let began = fake.now();
        let (ready, ()) = tokio::join!(lifecycle.ready(), recovery);
        assert_eq!(ready, Ok(()));
        assert!(fake.now() - began < 8_000);
    });
}

#[test]
fn a_container_that_ends_at_its_start_is_started_3_times() {
    on_simulated_clock(async {
        let exits = Some((Duration::from_millis(200), ContainerExit::Code(64)));
        let (fake, lifecycle) = sleeping(Behaviour { exits_after: exits, ..Behaviour::default() });
        let failure = lifecycle.ready().await.unwrap_err();
        assert_eq!(failure, StartFailure::Exited { starts: 3, exit: Some(ContainerExit::Code(64)) });
        assert_eq!(fake.count("start"), 3);
        assert_eq!(lifecycle.status().record.last_exit.unwrap().exit, ContainerExit::Code(64));
    });
    on_simulated_clock(async {
        let exits = Some((Duration::from_millis(200), ContainerExit::Code(1)));
        let (fake, lifecycle) = sleeping(Behaviour { exits_after: exits, ..Behaviour::default() });
        let recovery = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            fake.0.behaviour.borrow_mut().exits_after = None;
        };
        let (ready, ()) = tokio::join!(lifecycle.ready(), recovery);
        assert_eq!((ready, fake.count("start")), (Ok(()), 2));
    });
}

#[test]
fn a_lack_of_containers_differs_from_other_failures() {
    on_simulated_clock(async {
        let none = || "no instance".to_owned();
        let error = Some(StartError::NoInstance(none()));
        let (_, lifecycle) = sleeping(Behaviour { start_error: error, ..Behaviour::default() });
        assert_eq!(lifecycle.ready().await, Err(StartFailure::NoInstance { message: none() }));
        assert_eq!(lifecycle.status().state, ContainerState::Sleeping);

        let exits = Some((Duration::from_millis(20), ContainerExit::NoInstance(none())));
        let (fake, lifecycle) = sleeping(Behaviour { exits_after: exits, ..Behaviour::default() });
        assert_eq!(lifecycle.ready().await, Err(StartFailure::NoInstance { message: none() }));
        assert_eq!(fake.count("start"), 1, "a second start at once would fail, too");

        let error = Some(StartError::Refused("bad image".to_owned()));
        let (_, lifecycle) = sleeping(Behaviour { start_error: error, ..Behaviour::default() });
        assert_eq!(lifecycle.ready().await, Err(StartFailure::Refused { message: "bad image".to_owned() }));
    });
}

#[test]
fn after_any_exit_the_next_request_starts_a_container() {
    let (none, broken) = ("no instance".to_owned(), "container supervisor failed".to_owned());
    for exit in [
        ContainerExit::Code(0),
        ContainerExit::Code(139),
        ContainerExit::NoInstance(none),
        ContainerExit::Lost(broken),
    ] {
        on_simulated_clock(async {
            let (fake, lifecycle) = sleeping(Behaviour::default());
            lifecycle.ready().await.unwrap();
            fake.end_with(exit.clone());
            tokio::task::yield_now().await;
            assert_eq!(lifecycle.status().state, ContainerState::Sleeping);
            assert_eq!(lifecycle.ready().await, Ok(()));
            assert_eq!((fake.count("start"), fake.count(&format!("ended: {exit}"))), (2, 1));
        });
    }
}

#[test]
fn a_request_that_waits_is_notified_of_the_exit() {
    on_simulated_clock(async {
        let (fake, lifecycle) = sleeping(Behaviour::default());
        lifecycle.ready().await.unwrap();
        let exit = lifecycle.exit();
        assert!(tokio::time::timeout(Duration::from_mins(1), lifecycle.exit()).await.is_err());
        fake.end_with(ContainerExit::Code(137));
        assert_eq!(exit.await, ContainerExit::Code(137));
    });
}

#[test]
fn the_next_request_notices_an_unreported_crash() {
    on_simulated_clock(async {
        let (fake, lifecycle) = sleeping(Behaviour::default());
        lifecycle.ready().await.unwrap();
        // The platform reports no exit.
        fake.0.running_since.set(None);
        assert_eq!(lifecycle.ready().await, Ok(()));
        assert_eq!(fake.count("start"), 2);
    });
}

#[test]
fn after_a_failed_request_the_container_is_probed() {
    on_simulated_clock(async {
        let (fake, lifecycle) = sleeping(Behaviour::default());
        lifecycle.ready().await.unwrap();
        let probes = fake.count("probe");
        lifecycle.mark_unknown();
        assert_eq!(lifecycle.status().state, ContainerState::Unknown);
        assert_eq!(lifecycle.ready().await, Ok(()));
        assert_eq!((fake.count("probe"), fake.count("start")), (probes + 1, 1));
    });
}

#[test]
fn a_request_waits_for_a_shutdown_and_a_new_container() {
    on_simulated_clock(async {
        let (fake, lifecycle) = sleeping(Behaviour::default());
        lifecycle.ready().await.unwrap();
        // The platform sent SIGTERM, and the container finishes its work.
        fake.0.behaviour.borrow_mut().ready_after = Duration::from_hours(1);
        lifecycle.mark_unknown();
        let shutdown = async {
            tokio::time::sleep(Duration::from_secs(20)).await;
            fake.0.behaviour.borrow_mut().ready_after = Duration::from_secs(1);
            fake.end_with(ContainerExit::Code(0));
        };
        let began = fake.now();
        let (ready, ()) = tokio::join!(lifecycle.ready(), shutdown);
        assert_eq!((ready, fake.count("start"), fake.count("destroy")), (Ok(()), 2, 0));
        assert!(fake.now() - began < 23_000);
    });
}

#[test]
fn a_late_exit_of_an_earlier_container_changes_nothing() {
    on_simulated_clock(async {
        let (fake, lifecycle) = sleeping(Behaviour::default());
        lifecycle.ready().await.unwrap();
        let earlier = Rc::clone(&fake.0.exits.borrow());
        fake.0.running_since.set(None);
        lifecycle.ready().await.unwrap();
        earlier.send_replace(Some(ContainerExit::Code(1)));
        tokio::task::yield_now().await;
        assert_eq!(
            (fake.count("ended: exit status 1"), lifecycle.status().state),
            (1, ContainerState::Ready)
        );
        lifecycle.ready().await.unwrap();
        assert_eq!(fake.count("start"), 2);
    });
}

#[test]
fn a_container_that_runs_after_a_reported_end_is_watched() {
    on_simulated_clock(async {
        let (fake, lifecycle) = sleeping(Behaviour::default());
        lifecycle.ready().await.unwrap();
        let broken = fake.0.exits.replace(Rc::default());
        broken.send_replace(Some(ContainerExit::Lost("container supervisor failed".to_owned())));
        tokio::task::yield_now().await;
        assert_eq!(lifecycle.status().state, ContainerState::Unknown);
        assert_eq!(lifecycle.ready().await, Ok(()));
        let exit = lifecycle.exit();
        assert!(tokio::time::timeout(Duration::from_secs(1), lifecycle.exit()).await.is_err());
        fake.end_with(ContainerExit::Code(2));
        assert_eq!((exit.await, fake.count("start")), (ContainerExit::Code(2), 1));
    });
}

#[test]
fn it_sleeps_after_the_idle_time_and_wakes_again() {
    on_simulated_clock(async {
        let (fake, lifecycle) = sleeping(Behaviour::default());
        lifecycle.ready().await.unwrap();
        drop(lifecycle.lease());
        advance(&fake, &lifecycle, Duration::from_secs(295)).await;
        assert_eq!(lifecycle.status().state, ContainerState::Ready);
        drop(lifecycle.lease());
        advance(&fake, &lifecycle, Duration::from_secs(295)).await;
        assert_eq!(lifecycle.status().state, ContainerState::Ready, "a request restarts the idle time");
        advance(&fake, &lifecycle, Duration::from_secs(10)).await;
        assert_eq!(lifecycle.status().state, ContainerState::Sleeping);
        assert_eq!((fake.count("request stop"), fake.count("destroy")), (1, 0));
        assert_eq!(lifecycle.ready().await, Ok(()));
        assert_eq!(fake.count("start"), 2);
    });
}

#[test]
fn a_slow_start_is_not_idleness() {
    on_simulated_clock(async {
        let fake = Fake::new(Behaviour { ready_after: Duration::from_secs(40), ..Behaviour::default() });
        let options = LifecycleOptions { sleep_after: Duration::from_secs(2), ..OPTIONS };
        let lifecycle = Lifecycle::take_over(fake.clone(), options, Record::default());
        let request = tokio::task::spawn_local({
            let lifecycle = Rc::clone(&lifecycle);
            async move { lifecycle.ready().await }
        });
        tokio::task::yield_now().await;
        advance(&fake, &lifecycle, Duration::from_secs(30)).await;
        assert_eq!((lifecycle.status().state, fake.count("request stop")), (ContainerState::Starting, 0));
        assert_eq!(request.await.unwrap(), Ok(()));
        assert_eq!(fake.count("start"), 1);
    });
}

#[test]
fn many_requests_set_one_alarm() {
    on_simulated_clock(async {
        let (fake, lifecycle) = sleeping(Behaviour::default());
        lifecycle.ready().await.unwrap();
        for _ in 0..1000 {
            drop(lifecycle.lease());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(fake.count("alarm"), 1);
        advance(&fake, &lifecycle, Duration::from_mins(11)).await;
        assert_eq!((fake.count("alarm"), lifecycle.status().state), (2, ContainerState::Sleeping));
    });
}

#[test]
fn a_container_without_any_request_sleeps_too() {
    on_simulated_clock(async {
        let (fake, lifecycle) = sleeping(Behaviour::default());
        lifecycle.ready().await.unwrap();
        advance(&fake, &lifecycle, Duration::from_mins(6)).await;
        assert_eq!(lifecycle.status().state, ContainerState::Sleeping);
    });
}

#[test]
fn it_stays_awake_during_requests_and_jobs() {
    on_simulated_clock(async {
        let (fake, lifecycle) = sleeping(Behaviour::default());
        lifecycle.ready().await.unwrap();
        fake.0.behaviour.borrow_mut().work = 1;
        advance(&fake, &lifecycle, Duration::from_hours(1)).await;
        assert_eq!(lifecycle.status().state, ContainerState::Ready, "a job runs without a request");
        fake.0.behaviour.borrow_mut().work = 0;
        advance(&fake, &lifecycle, Duration::from_mins(11)).await;
        assert_eq!(lifecycle.status().state, ContainerState::Sleeping);
    });
    on_simulated_clock(async {
        let fake = Fake::new(Behaviour::default());
        let options = LifecycleOptions { sleep_after: Duration::from_secs(10), ..OPTIONS };
        let lifecycle = Lifecycle::take_over(fake.clone(), options, Record::default());
        lifecycle.ready().await.unwrap();
        let lease = lifecycle.lease();
        advance(&fake, &lifecycle, Duration::from_mins(2)).await;
        assert_eq!((lifecycle.status().state, lifecycle.status().in_flight), (ContainerState::Ready, 1));
        drop(lease);
        advance(&fake, &lifecycle, Duration::from_secs(25)).await;
        assert_eq!(lifecycle.status().state, ContainerState::Sleeping);
    });
}

#[test]
fn a_job_result_stays_available_for_the_idle_time() {
    on_simulated_clock(async {
        let (fake, lifecycle) = sleeping(Behaviour::default());
        lifecycle.ready().await.unwrap();
        // The job finishes at any time between two probes, or before the first one.
        for minutes in [3, 5, 14] {
            fake.0.behaviour.borrow_mut().work = 1;
            lifecycle.ready().await.unwrap();
            drop(lifecycle.lease());
            advance(&fake, &lifecycle, Duration::from_mins(minutes)).await;
            fake.0.behaviour.borrow_mut().work = 0;
            fake.0.behaviour.borrow_mut().idle_since = Some(tokio::time::Instant::now());
            advance(&fake, &lifecycle, OPTIONS.sleep_after.mul_f64(0.99)).await;
            assert_eq!(lifecycle.status().state, ContainerState::Ready, "{minutes}");
            advance(&fake, &lifecycle, OPTIONS.sleep_after).await;
            assert_eq!(lifecycle.status().state, ContainerState::Sleeping, "{minutes}");
        }
    });
}

#[test]
fn a_container_too_busy_to_respond_is_probed_again() {
    on_simulated_clock(async {
        let (fake, lifecycle) = sleeping(Behaviour::default());
        lifecycle.ready().await.unwrap();
        let behaviour = |work, hangs| {
            let mut behaviour = fake.0.behaviour.borrow_mut();
            (behaviour.work, behaviour.hangs) = (work, hangs);
        };
        behaviour(1, true);
        advance(&fake, &lifecycle, OPTIONS.sleep_after + Duration::from_mins(9)).await;
        assert_eq!(
            lifecycle.status().state,
            ContainerState::Ready,
            "it got a request and never reported that it is done"
        );
        behaviour(1, false);
        advance(&fake, &lifecycle, Duration::from_hours(1)).await;
        assert_eq!(lifecycle.status().state, ContainerState::Ready);
        behaviour(1, true);
        advance(&fake, &lifecycle, Duration::from_mins(9)).await;
        assert_eq!(lifecycle.status().state, ContainerState::Ready, "it reported work");
        advance(&fake, &lifecycle, OPTIONS.sleep_after + Duration::from_mins(2)).await;
        assert_eq!(lifecycle.status().state, ContainerState::Sleeping, "a dead container is stopped");
    });
}

#[test]
fn a_silent_container_without_work_is_stopped_soon() {
    on_simulated_clock(async {
        let (fake, lifecycle) = sleeping(Behaviour::default());
        lifecycle.ready().await.unwrap();
        advance(&fake, &lifecycle, OPTIONS.sleep_after / 2).await;
        fake.0.behaviour.borrow_mut().idle_since = Some(tokio::time::Instant::now());
        // It reports no work, and the result of its job stays available for a while.
        advance(&fake, &lifecycle, OPTIONS.sleep_after.mul_f64(0.95)).await;
        assert_eq!(lifecycle.status().state, ContainerState::Ready);
        fake.0.behaviour.borrow_mut().hangs = true;
        advance(&fake, &lifecycle, Duration::from_secs(30)).await;
        assert_eq!(lifecycle.status().state, ContainerState::Ready, "it was silent once only");
        advance(&fake, &lifecycle, Duration::from_mins(1)).await;
        assert_eq!(lifecycle.status().state, ContainerState::Sleeping);
    });
}

#[test]
fn a_lost_caller_does_not_keep_it_awake_forever() {
    on_simulated_clock(async {
        let (fake, lifecycle) = sleeping(Behaviour::default());
        lifecycle.ready().await.unwrap();
        let lost = lifecycle.lease();
        advance(&fake, &lifecycle, Duration::from_mins(11)).await;
        assert_eq!((lifecycle.status().state, lifecycle.status().in_flight), (ContainerState::Sleeping, 0));
        drop(lost);
    });
}

#[test]
fn a_socket_in_use_keeps_it_awake_and_a_silent_one_not() {
    on_simulated_clock(async {
        let (fake, lifecycle) = sleeping(Behaviour::default());
        lifecycle.ready().await.unwrap();
        let socket = lifecycle.lease();
        for _ in 0..20 {
            advance(&fake, &lifecycle, Duration::from_mins(2)).await;
            socket.renew();
        }
        assert_eq!(lifecycle.status().state, ContainerState::Ready);
        advance(&fake, &lifecycle, Duration::from_mins(11)).await;
        assert_eq!(lifecycle.status().state, ContainerState::Sleeping);
    });
}

#[test]
fn a_container_that_ignores_sigterm_is_destroyed() {
    on_simulated_clock(async {
        let (fake, lifecycle) = sleeping(Behaviour { obeys: false, ..Behaviour::default() });
        lifecycle.ready().await.unwrap();
        advance(&fake, &lifecycle, Duration::from_mins(6)).await;
        assert_eq!((fake.count("request stop"), fake.count("destroy")), (1, 1));
        assert_eq!(lifecycle.status().state, ContainerState::Sleeping);
    });
}

#[test]
fn a_request_during_a_stop_waits_and_starts_it_again() {
    on_simulated_clock(async {
        let (fake, lifecycle) = sleeping(Behaviour::default());
        lifecycle.ready().await.unwrap();
        tokio::time::sleep(Duration::from_secs(301)).await;
        let alarm = tokio::task::spawn_local({
            let lifecycle = Rc::clone(&lifecycle);
            async move { lifecycle.alarm().await }
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(lifecycle.status().state, ContainerState::Stopping);
        assert_eq!(lifecycle.ready().await, Ok(()));
        alarm.await.unwrap();
        assert_eq!((fake.count("start"), lifecycle.status().state), (2, ContainerState::Ready));
    });
}

#[test]
fn a_request_during_the_idle_probe_keeps_it_awake() {
    on_simulated_clock(async {
        let (fake, lifecycle) = sleeping(Behaviour::default());
        lifecycle.ready().await.unwrap();
        tokio::time::sleep(Duration::from_secs(301)).await;
        let (_lease, ()) = tokio::join!(async { lifecycle.lease() }, lifecycle.alarm());
        assert_eq!((fake.count("request stop"), lifecycle.status().state), (0, ContainerState::Ready));
        assert!(fake.0.alarm_at.get().is_some());
    });
}

#[test]
fn an_evicted_object_takes_over_a_running_container() {
    on_simulated_clock(async {
        let (fake, lifecycle) = sleeping(Behaviour::default());
        lifecycle.ready().await.unwrap();
        let record = fake.stored();
        drop(lifecycle);

        let again = Lifecycle::take_over(fake.clone(), OPTIONS, record);
        assert_eq!((again.status().state, again.status().record.starts), (ContainerState::Unknown, 1));
        assert_eq!(again.ready().await, Ok(()));
        assert_eq!(fake.count("start"), 1);
        fake.end_with(ContainerExit::Code(2));
        tokio::task::yield_now().await;
        assert_eq!(
            again.status().record.last_exit.unwrap().exit,
            ContainerExit::Code(2),
            "it is watched again"
        );
        again.ready().await.unwrap();
        advance(&fake, &again, Duration::from_mins(6)).await;
        assert_eq!(again.status().state, ContainerState::Sleeping, "its idle time runs");
    });
}

#[test]
fn a_container_with_other_settings_is_replaced() {
    on_simulated_clock(async {
        let (fake, lifecycle) = sleeping(Behaviour::default());
        lifecycle.ready().await.unwrap();
        drop(lifecycle);
        fake.0.behaviour.borrow_mut().settings = "second";

        let again = Lifecycle::take_over(fake.clone(), OPTIONS, fake.stored());
        assert_eq!(again.status().state, ContainerState::Stopping);
        assert_eq!(again.ready().await, Ok(()));
        assert_eq!((fake.count("request stop"), fake.count("destroy"), fake.count("start")), (1, 0, 2));
        assert_eq!(
            (fake.stored().started_with.as_deref(), again.status().record.started_with),
            (Some("second"), None)
        );

        let once_more = Lifecycle::take_over(fake.clone(), OPTIONS, fake.stored());
        assert_eq!(once_more.status().state, ContainerState::Unknown, "it has the present settings");
    });
}

#[test]
fn a_container_that_ended_unobserved_is_started_again() {
    on_simulated_clock(async {
        let record = Record { started_at: Some(1), starts: 7, ..Record::default() };
        let fake = Fake::new(Behaviour::default());
        let lifecycle = Lifecycle::take_over(fake.clone(), OPTIONS, record.clone());
        assert_eq!((lifecycle.status().state, lifecycle.status().record), (ContainerState::Sleeping, record));
        lifecycle.alarm().await;
        assert_eq!(lifecycle.ready().await, Ok(()));
        assert_eq!((fake.count("start"), lifecycle.status().record.starts), (1, 8));
    });
}

#[test]
fn an_alarm_without_a_container_sets_no_further_one() {
    on_simulated_clock(async {
        let (fake, lifecycle) = sleeping(Behaviour::default());
        lifecycle.alarm().await;
        assert!(fake.0.alarm_at.get().is_none() && fake.count("probe") == 0);
    });
}
