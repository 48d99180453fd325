use std::net::Ipv4Addr;

use futures_util::FutureExt as _;

use super::*;

const MILLISECOND: Duration = Duration::from_millis(1);

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

fn is_displaced(slot: &Slot) -> bool {
    slot.displaced().now_or_never().is_some()
}

/// Ends a request, and writes its response.
fn respond<T>(slot: &Slot, request: T) {
    drop(request);
    slot.responses_written();
}

/// Takes a slot when all others are older.
async fn take_later(slots: &Slots, peer: IpAddr) -> Option<Slot> {
    tokio::time::advance(GRACE).await;
    slots.take(peer)
}

#[tokio::test(start_paused = true)]
async fn the_crowd_loses_its_longest_idle_connection() {
    let slots = Slots::new(4, 2);
    let lone = slots.take(address(1)).unwrap();
    let crowd = [(); 3].map(|()| slots.take(address(2)).unwrap());
    tokio::time::advance(GRACE).await;
    // The first of the crowd is no longer the one that was idle longest.
    respond(&crowd[0], crowd[0].start_request());
    let _newcomer = take_later(&slots, address(3)).await.unwrap();
    assert_eq!(crowd.each_ref().map(is_displaced), [false, true, false]);
    assert!(!is_displaced(&lone));
    assert!(crowd[1].start_request().is_none(), "a displaced connection handles no request");
    // Two and one: the crowd is still the largest.
    let _another = take_later(&slots, address(4)).await.unwrap();
    assert_eq!(crowd.each_ref().map(is_displaced), [false, true, true]);
}

#[tokio::test(start_paused = true)]
async fn busy_connections_stay_and_probes_have_a_slot() {
    let slots = Slots::new(2, 2);
    let busy = [(); 2].map(|()| slots.take(address(1)).unwrap());
    let requests = busy.each_ref().map(|slot| slot.start_request().unwrap());
    tokio::time::advance(GRACE).await;
    let reserved: Vec<_> = (0..RESERVED).map(|_| slots.take(address(1)).unwrap()).collect();
    assert!(reserved[0].start_request().unwrap().is_reserved);
    assert!(!busy.iter().any(is_displaced));
    assert!(slots.take(address(1)).is_none(), "connections that were just accepted keep their slot");
    let probe = take_later(&slots, address(1)).await.unwrap();
    assert_eq!(reserved.iter().filter(|slot| is_displaced(slot)).count(), 1);
    let _all: Vec<_> = reserved.iter().chain([&probe]).filter_map(Slot::start_request).collect();
    assert!(take_later(&slots, address(1)).await.is_none(), "requests in progress take everything");
    drop(requests);
}

#[tokio::test(start_paused = true)]
async fn no_crowd_keeps_others_out() {
    let slots = Slots::new(4, 2);
    let crowd = [(); 4].map(|()| slots.take(address(1)).unwrap());
    let _requests = [0, 1, 2].map(|busy| crowd[busy].start_request().unwrap());
    // All were active a moment ago. The idle one leaves first, then the one whose request began last.
    let first = slots.take(address(2)).unwrap();
    assert_eq!(crowd.each_ref().map(is_displaced), [false, false, false, true]);
    tokio::time::advance(Duration::from_millis(1)).await;
    let later = crowd[1].start_request().unwrap();
    let _second = slots.take(address(3)).unwrap();
    assert_eq!(crowd.each_ref().map(is_displaced), [false, true, false, true]);
    let busy = first.start_request().unwrap();
    assert!(!busy.is_reserved);
    // Two, one and one: nobody has to leave for a second connection.
    let another = slots.take(address(2)).unwrap();
    assert!(another.start_request().unwrap().is_reserved);
    assert_eq!(crowd.iter().filter(|slot| is_displaced(slot)).count(), 2);
    drop((later, busy));
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_replaces_an_idle_one_of_its_own() {
    let slots = Slots::new(1, 2);
    let old = slots.take(address(1)).unwrap();
    // Not at once, because its request may be on its way, but for a request that has arrived.
    let new = slots.take(address(1)).unwrap();
    assert!(!is_displaced(&old));
    let request = new.start_request().unwrap();
    assert!(!request.is_reserved && is_displaced(&old));
    respond(&new, request);
    tokio::time::advance(GRACE_WITHIN_ADDRESS).await;
    let _newer = slots.take(address(1)).unwrap();
    assert!(is_displaced(&new));
}

/// Handles a request that uses its thread for a millisecond. Returns how long it waited.
async fn handle(slot: &Slot, share: Share) -> Duration {
    let start = Instant::now();
    let request = slot.start_request().unwrap();
    let mut turn = request.charge(share);
    assert!(turn.wait().await);
    turn.add(MILLISECOND);
    start.elapsed()
}

/// Handles as many requests. Returns how long they waited in all.
async fn flood(slot: &Slot, requests: usize) -> Duration {
    let mut waited = Duration::ZERO;
    for _ in 0..requests {
        waited += handle(slot, Share::Requests).await;
    }
    waited
}

#[tokio::test(start_paused = true)]
async fn only_a_flood_beside_requests_of_others_waits() {
    let slots = Slots::new(8, 2);
    let crowd = slots.take(address(1)).unwrap();
    assert_eq!(flood(&crowd, 2_000).await, Duration::ZERO, "it is alone");
    // An open connection uses no time. Neither does a response that is being sent, such as a stream of events.
    let other = slots.take(address(2)).unwrap();
    assert_eq!(handle(&other, Share::Requests).await, Duration::ZERO);
    let stream = other.start_request().unwrap();
    assert_eq!(flood(&crowd, 2_000).await, Duration::ZERO, "the others have no request");
    let in_progress = stream.charge(Share::Requests);
    assert_eq!(handle(&crowd, Share::Requests).await, Duration::ZERO, "it was alone until now");
    let waited = flood(&crowd, 1_000).await;
    assert!((990..=1_000).contains(&waited.as_millis()), "{waited:?}");
    assert_eq!(handle(&crowd, Share::Probes).await, Duration::ZERO, "probes have a share of their own");
    drop(in_progress);
    assert_eq!(flood(&crowd, 2_000).await, Duration::ZERO, "it is alone again");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_counts_as_one_of_others() {
    let slots = Slots::new(8, 2);
    let [first, second] = [1, 2].map(|last| slots.take(address(last)).unwrap());
    let of_others = second.start_request().unwrap().charge(Share::Requests);
    flood(&first, 1_000).await;
    let waiting = first.start_request().unwrap().charge(Share::Requests);
    drop(of_others);
    let waited = flood(&second, 1_000).await;
    assert!(waited > 700 * MILLISECOND, "{waited:?}");
    drop(waiting);
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_brings_no_new_share() {
    let slots = Slots::new(300, 2);
    let other = slots.take(address(9)).unwrap();
    let _in_progress = other.start_request().unwrap().charge(Share::Requests);
    let start = Instant::now();
    for _ in 0..10 {
        // Each has one request, and all of them are closed before the next ones are opened.
        let connections: Vec<_> = (0..200).map(|_| slots.take(address(1)).unwrap()).collect();
        for connection in &connections {
            handle(connection, Share::Requests).await;
        }
    }
    assert!(start.elapsed() > 1_700 * MILLISECOND, "{:?}", start.elapsed());
    // What was used is forgotten when its time has passed.
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(flood(&slots.take(address(1)).unwrap(), 200).await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_is_charged_too() {
    let slots = Slots::new(8, 2);
    let other = slots.take(address(9)).unwrap();
    let _in_progress = other.start_request().unwrap().charge(Share::Requests);
    let start = Instant::now();
    for _ in 0..100 {
        let connection = slots.take(address(1)).unwrap();
        let mut turn = connection.start_request().unwrap().charge(Share::Requests);
        assert!(turn.wait().await);
        turn.add(20 * MILLISECOND);
        // It was displaced in the middle of its request.
        slots.table.lock().remove(connection.0.id);
        drop((connection, turn));
    }
    assert!(start.elapsed() > 1_700 * MILLISECOND, "{:?}", start.elapsed());
    // One that leaves before its turn has used nothing.
    let connection = slots.take(address(1)).unwrap();
    let turns = [(); 50].map(|()| connection.start_request().unwrap().charge(Share::Requests));
    drop(turns);
    assert!(handle(&connection, Share::Requests).await <= 20 * MILLISECOND);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_keeps_its_connection() {
    let slots = Slots::new(3, 2);
    let other = slots.take(address(2)).unwrap();
    let response = other.start_request().unwrap();
    let _in_progress = response.charge(Share::Requests);
    let (busy, idle) = (slots.take(address(1)).unwrap(), slots.take(address(1)).unwrap());
    flood(&busy, 3_000).await;
    let request = busy.start_request().unwrap();
    let turn = request.charge(Share::Requests);
    let waiting = turn.wait();
    tokio::pin!(waiting);
    assert!(waiting.as_mut().now_or_never().is_none());
    tokio::time::advance(GRACE).await;
    let _newcomer = slots.take(address(1)).unwrap();
    assert_eq!([is_displaced(&busy), is_displaced(&idle)], [false, true]);
    slots.close_idle();
    assert!(!is_displaced(&busy));
    assert!(waiting.await, "it is handled at its turn");
}

#[tokio::test(start_paused = true)]
async fn a_reserved_connection_moves_to_a_free_ordinary_slot() {
    let slots = Slots::new(1, 2);
    let busy = slots.take(address(1)).unwrap();
    let request = busy.start_request().unwrap();
    let waiting = slots.take(address(2)).unwrap();
    assert!(waiting.start_request().unwrap().is_reserved);
    respond(&busy, request);
    assert!(waiting.start_request().unwrap().is_reserved, "the other may send its next request");
    tokio::time::advance(GRACE).await;
    assert!(!waiting.start_request().unwrap().is_reserved);
    assert!(is_displaced(&busy));
}

#[tokio::test(start_paused = true)]
async fn an_upgraded_connection_keeps_its_slot() {
    let slots = Slots::new(1, 2);
    let upgraded = slots.take(address(1)).unwrap();
    upgraded.start_request().unwrap().keep_slot();
    let other = take_later(&slots, address(2)).await.unwrap();
    assert!(other.start_request().unwrap().is_reserved);
    assert!(!is_displaced(&upgraded));
    drop((upgraded, other));
    assert!(!slots.take(address(2)).unwrap().start_request().unwrap().is_reserved);
    assert!(slots.table.lock().open.is_empty() && slots.table.lock().accounts.is_empty());
}

#[tokio::test]
async fn a_response_is_written_before_its_connection_closes() {
    let slots = Slots::new(1, 2);
    let slot = slots.take(address(1)).unwrap();
    drop(slot.start_request());
    slots.close_idle();
    assert!(!is_displaced(&slot), "the response is lost");
    slot.responses_written();
    slots.close_idle();
    assert!(is_displaced(&slot));
}

#[tokio::test]
async fn all_closed_waits_for_the_last_connection() {
    let slots = Slots::new(3, 2);
    let (idle, busy) = (slots.take(address(1)).unwrap(), slots.take(address(1)).unwrap());
    let request = busy.start_request();
    slots.close_idle();
    assert_eq!([is_displaced(&idle), is_displaced(&busy)], [true, false]);
    drop((idle, busy));
    assert!(slots.all_closed().now_or_never().is_none());
    drop(request);
    slots.all_closed().await;
}
