//! Responses that outlive their container, and requests that must not wake one.

use tokio::task::spawn_local;

use super::{
    super::*,
    fake::{Behaviour, OPTIONS, advance, on_simulated_clock, sleeping},
};
use crate::until_container_ends::before_end;

const GRACE: Duration = Duration::from_millis(300);

/// A stream on which the container sends nothing. It holds a lease until it ends.
fn open_stream(lifecycle: &Rc<Lifecycle<super::fake::Fake>>) {
    let (lease, ended) = (lifecycle.lease(), lifecycle.exit());
    spawn_local(async move {
        let silent = future::pending::<()>();
        drop(before_end(silent, ended, || tokio::time::sleep(GRACE)).await);
        drop(lease);
    });
}

#[test]
fn a_stream_ends_with_its_container_and_leaves_no_lease() {
    on_simulated_clock(async {
        let (fake, lifecycle) = sleeping(Behaviour::default());
        lifecycle.ready().await.unwrap();
        open_stream(&lifecycle);
        open_stream(&lifecycle);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(lifecycle.status().in_flight, 2);
        fake.end_with(ContainerExit::Code(137));
        tokio::time::sleep(2 * GRACE).await;
        assert_eq!(lifecycle.status().in_flight, 0);

        // The end of that container is none of the next one.
        lifecycle.ready().await.unwrap();
        open_stream(&lifecycle);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(lifecycle.status().in_flight, 1);
    });
}

#[test]
fn a_request_for_an_awake_container_finds_no_other() {
    on_simulated_clock(async {
        let (fake, lifecycle) = sleeping(Behaviour::default());
        assert!(!lifecycle.is_awake());
        let starting = Rc::clone(&lifecycle);
        let start = spawn_local(async move { starting.ready().await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!lifecycle.is_awake(), "it starts");
        start.await.unwrap().unwrap();
        assert!(lifecycle.is_awake());
        lifecycle.mark_unknown();
        assert!(lifecycle.is_awake(), "it runs, and the request shows the rest");
        fake.end_with(ContainerExit::Code(0));
        assert!(!lifecycle.is_awake());
        assert_eq!(fake.count("start"), 1);
    });
}

#[test]
fn questions_whether_it_is_awake_do_not_keep_it_awake() {
    on_simulated_clock(async {
        let (fake, lifecycle) = sleeping(Behaviour::default());
        lifecycle.ready().await.unwrap();
        let until = OPTIONS.sleep_after + Duration::from_secs(30);
        for _ in 0..until.as_secs() {
            let _ = lifecycle.is_awake();
            advance(&fake, &lifecycle, Duration::from_secs(1)).await;
        }
        assert_eq!((lifecycle.is_awake(), fake.count("start")), (false, 1));
    });
}
