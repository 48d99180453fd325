//! The slots that a listener has for connections, and who must leave when they are all taken.
//!
//! A connection without a request in progress is idle: it is silent, has sent part of a head, or waits for its next
//! request. When every slot is taken, a new connection takes the slot of another one, the first of these that there is:
//!
//! 1. One that has been idle for [`GRACE`]: of the address with the most connections, the one that has been idle longest.
//! 2. One of an address that has more connections than the newcomer's: an idle one, or else the one whose request began
//!    last. Whatever a client does on its connections, it cannot keep others out.
//! 3. An idle one of the newcomer's own address.
//!
//! Where there is none, a few reserved slots stay for probes. Without those the new connection waits, beside the loop that
//! accepts others, or is closed.
//!
//! IPv6 addresses with the same first 48 bits count as one address, because one caller can have that many.
//!
//! A request is in progress from its head to the end of its response. It waits for its turn where its address uses more than
//! its share of the time ([`time_share`](super::time_share)).

use std::{
    cmp::Reverse,
    collections::HashMap,
    future::poll_fn,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant as ThreadTime},
};

use edgeprove_protocol::caller::address_account;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFutureOwned},
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

use super::accounts::{Accounts, ChargedRequest, Share};
use crate::access::share_account;

/// Slots beyond the limit of connections. Only probes are answered there.
pub const RESERVED: usize = 16;
/// How long an idle connection keeps its slot in any case. A request that was just sent arrives within this time.
const GRACE: Duration = Duration::from_secs(1);
/// How long an idle connection keeps its slot from a new one of the same address.
const GRACE_WITHIN_ADDRESS: Duration = Duration::from_millis(100);

/// The slots of one listener. Clones share them.
#[derive(Debug, Clone)]
pub struct Slots {
    table: Arc<Mutex<Table>>,
    tracker: TaskTracker,
}

/// The slot of one connection. It is free again when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Slot(Arc<Occupied>);

#[derive(Debug)]
struct Occupied {
    id: u64,
    account: Arc<str>,
    table: Arc<Mutex<Table>>,
    /// Cancelled when another connection takes the slot.
    displaced: CancellationToken,
    _open: TaskTrackerToken,
}

/// A request in progress. While it exists, the connection keeps its slot.
#[derive(Debug)]
pub struct RequestInProgress {
    slot: Slot,
    /// Whether the connection has one of the reserved slots, where only probes are answered.
    pub is_reserved: bool,
    is_upgraded: bool,
}

/// The turn of a request in the time of its address. The address is charged for what the request uses, also if its client
/// leaves.
#[derive(Debug)]
pub struct Turn {
    slot: Slot,
    request: ChargedRequest,
    /// For how long it used its thread; `None` before it is handled.
    used: Option<Duration>,
}

#[derive(Debug)]
struct Table {
    slots_max: usize,
    open: HashMap<u64, Connection>,
    accounts: Accounts,
    reserved: usize,
    last_id: u64,
}

#[derive(Debug)]
struct Connection {
    account: Arc<str>,
    is_reserved: bool,
    state: State,
    displaced: CancellationToken,
}

#[derive(Debug, Clone, Copy)]
enum State {
    IdleSince(Instant),
    /// It has a request in progress.
    BusySince(Instant),
}

impl Slots {
    /// Slots for this many connections, and the reserved ones, on a server with this many threads.
    #[must_use]
    pub fn new(slots_max: usize, threads: usize) -> Self {
        let table = Table {
            slots_max: slots_max.max(1),
            open: HashMap::new(),
            accounts: Accounts::new(threads),
            reserved: 0,
            last_id: 0,
        };
        Self { table: Arc::new(Mutex::new(table)), tracker: TaskTracker::new() }
    }

    /// A slot for a new connection from this address. `None`: none can be had now.
    #[must_use]
    pub fn take(&self, peer: IpAddr) -> Option<Slot> {
        let account: Arc<str> = share_account(&address_account(Some(peer))).into();
        let mut table = self.table.lock();
        let is_reserved =
            !table.has_ordinary_slot() && !table.free_slot_for(&account, false, GRACE_WITHIN_ADDRESS);
        if is_reserved
            && table.reserved >= RESERVED
            && !table.free_slot_for(&account, true, GRACE_WITHIN_ADDRESS)
        {
            return None;
        }
        let displaced = CancellationToken::new();
        let id = table.insert(Arc::clone(&account), is_reserved, displaced.clone());
        drop(table);
        let (table, open) = (Arc::clone(&self.table), self.tracker.token());
        Some(Slot(Arc::new(Occupied { id, account, table, displaced, _open: open })))
    }

    /// Closes a connection that has been idle for some time, to get a file descriptor back.
    pub fn close_one_idle(&self) {
        let mut table = self.table.lock();
        let _ = table.displace(false, GRACE) || table.displace(true, GRACE);
    }

    /// Closes every idle connection.
    pub fn close_idle(&self) {
        let mut table = self.table.lock();
        while table.displace(false, Duration::ZERO) || table.displace(true, Duration::ZERO) {}
    }

    /// Waits until no connection is left. No new one may be accepted meanwhile.
    pub async fn all_closed(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

impl Slot {
    /// Waits until another connection takes the slot.
    pub async fn displaced(&self) {
        self.0.displaced.cancelled().await;
    }

    /// As [`Self::displaced`], without a borrow.
    pub fn until_displaced(&self) -> WaitForCancellationFutureOwned {
        self.0.displaced.clone().cancelled_owned()
    }

    /// Begins a request. `None`: the connection has just lost its slot, and the request must not be handled.
    #[must_use]
    pub fn start_request(&self) -> Option<RequestInProgress> {
        let mut table = self.0.table.lock();
        let was_reserved = table.open.get(&self.0.id)?.is_reserved;
        // A request is worth more than a connection of the same address that has sent none yet.
        let is_promoted = was_reserved
            && (table.has_ordinary_slot() || table.free_slot_for(&self.0.account, false, Duration::ZERO));
        table.reserved -= usize::from(is_promoted);
        let connection = table.open.get_mut(&self.0.id)?;
        connection.state = State::BusySince(Instant::now());
        connection.is_reserved = was_reserved && !is_promoted;
        let is_reserved = connection.is_reserved;
        drop(table);
        Some(RequestInProgress { slot: self.clone(), is_reserved, is_upgraded: false })
    }
}

impl RequestInProgress {
    /// Charges the request to its address.
    #[must_use]
    pub fn charge(&self, share: Share) -> Turn {
        let slot = self.slot.clone();
        let request = slot.0.table.lock().accounts.start_request(&slot.0.account, share, Instant::now());
        Turn { slot, request, used: None }
    }

    /// Keeps the slot until the connection is closed: it was upgraded to another protocol.
    pub fn keep_slot(mut self) {
        self.is_upgraded = true;
    }
}

impl Turn {
    /// Waits until it is the turn of the request. Without requests of other addresses there is no wait. Returns false if the
    /// connection has lost its slot meanwhile, and the request must not be handled.
    #[must_use]
    pub async fn wait(&self) -> bool {
        if self.request.turn > Instant::now() {
            tokio::time::sleep_until(self.request.turn).await;
        } else {
            // Without a pause, connections with one request after the other keep the runtime from noticing for seconds that
            // others have data. A timer that has passed would cost up to a millisecond.
            tokio::task::yield_now().await;
        }
        !self.slot.0.displaced.is_cancelled()
    }

    /// Handles the request, and charges the time in which it uses its thread.
    pub async fn handle<T>(mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        poll_fn(|context| {
            let began = ThreadTime::now();
            let polled = work.as_mut().poll(context);
            self.add(began.elapsed());
            polled
        })
        .await
    }

    fn add(&mut self, used: Duration) {
        *self.used.get_or_insert_default() += used;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Occupied { account, table, .. } = &*self.slot.0;
        table.lock().accounts.end_request(account, &self.request, self.used, Instant::now());
    }
}

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        if self.is_upgraded {
            return;
        }
        if let Some(connection) = self.slot.0.table.lock().open.get_mut(&self.slot.0.id) {
            connection.state = State::IdleSince(Instant::now());
        }
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        self.table.lock().remove(self.id);
    }
}

impl Table {
    fn has_ordinary_slot(&self) -> bool {
        self.open.len() - self.reserved < self.slots_max
    }

    fn insert(&mut self, account: Arc<str>, is_reserved: bool, displaced: CancellationToken) -> u64 {
        self.last_id += 1;
        let (id, now) = (self.last_id, Instant::now());
        self.accounts.add_connection(&account, now);
        self.reserved += usize::from(is_reserved);
        self.open.insert(id, Connection { account, is_reserved, state: State::IdleSince(now), displaced });
        id
    }

    fn remove(&mut self, id: u64) -> Option<Connection> {
        let connection = self.open.remove(&id)?;
        self.reserved -= usize::from(connection.is_reserved);
        self.accounts.remove_connection(&connection.account, Instant::now());
        Some(connection)
    }

    /// Closes the connection that must leave for another one of this account, among the ordinary or the reserved ones; one of
    /// the same account must have been idle for this time. Returns false if there is none.
    fn free_slot_for(&mut self, account: &str, reserved: bool, own_idle_min: Duration) -> bool {
        self.displace(reserved, GRACE)
            || self.displace_of_larger(account, reserved)
            || self.displace_if(reserved, |_, connection| {
                let idle = connection.idle_for().filter(|&idle| idle >= own_idle_min);
                idle.filter(|_| *connection.account == *account)
            })
    }

    /// Closes the connection, among the ordinary or the reserved ones that have been idle for this time, that must leave
    /// first. Returns false if there is none.
    fn displace(&mut self, reserved: bool, idle_min: Duration) -> bool {
        self.displace_if(reserved, |table, connection| {
            let idle = connection.idle_for().filter(|&idle| idle >= idle_min)?;
            Some((table.accounts.connections_of(&connection.account), idle))
        })
    }

    /// Closes a connection of the largest account that still has as many as this one when both have changed by one: an idle
    /// one, or else the one whose request began last.
    fn displace_of_larger(&mut self, account: &str, reserved: bool) -> bool {
        let own = self.accounts.connections_of(account);
        self.displace_if(reserved, |table, connection| {
            let connections = table.accounts.connections_of(&connection.account);
            let (idle_since, busy_since) = match connection.state {
                State::IdleSince(since) => (Some(since), None),
                State::BusySince(since) => (None, Some(since)),
            };
            let order = (connections, idle_since.is_some(), Reverse(idle_since), busy_since);
            (connections > own + 1).then_some(order)
        })
    }

    /// Closes the connection with the highest order among the ordinary or the reserved ones that have one. Returns false if
    /// there is none.
    fn displace_if<T: Ord>(
        &mut self,
        reserved: bool,
        order: impl Fn(&Self, &Connection) -> Option<T>,
    ) -> bool {
        let among = self.open.iter().filter(|(_, connection)| connection.is_reserved == reserved);
        let first = among.filter_map(|(&id, connection)| Some((order(self, connection)?, Reverse(id)))).max();
        let Some(connection) = first.and_then(|(_, Reverse(id))| self.remove(id)) else { return false };
        connection.displaced.cancel();
        true
    }
}

impl Connection {
    /// How long it has been idle; `None` while it has a request in progress.
    fn idle_for(&self) -> Option<Duration> {
        match self.state {
            State::IdleSince(since) => Some(since.elapsed()),
            State::BusySince(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
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
        drop(crowd[0].start_request());
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
        assert!(!new.start_request().unwrap().is_reserved);
        assert!(is_displaced(&old));
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
        drop(request);
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
}
