//! The slots that a listener has for connections, and who must leave when they are all taken.
//!
//! A connection without a request in progress is idle: it is silent, has sent part of a head, or waits for its next
//! request. When every slot is taken, a new connection takes the slot of one that has been idle for [`GRACE`]: of the
//! address with the most connections, the one that has been idle longest. So a client that fills the server with silent
//! connections displaces its own. Where there is none, a few reserved slots stay for probes.

use std::{cmp::Reverse, collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use edgeprove_protocol::caller::address_account;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

/// Slots beyond the limit of connections. Only probes are answered there.
pub const RESERVED: usize = 16;
/// How long an idle connection keeps its slot in any case. A request that was just sent arrives within this time.
const GRACE: Duration = Duration::from_secs(1);

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

#[derive(Debug)]
struct Table {
    slots_max: usize,
    open: HashMap<u64, Connection>,
    of_account: HashMap<String, usize>,
    reserved: usize,
    last_id: u64,
}

#[derive(Debug)]
struct Connection {
    account: String,
    is_reserved: bool,
    /// `None` while it has a request in progress.
    idle_since: Option<Instant>,
    displaced: CancellationToken,
}

impl Slots {
    /// Slots for this many connections, and the reserved ones.
    #[must_use]
    pub fn new(slots_max: usize) -> Self {
        let table = Table {
            slots_max: slots_max.max(1),
            open: HashMap::new(),
            of_account: HashMap::new(),
            reserved: 0,
            last_id: 0,
        };
        Self { table: Arc::new(Mutex::new(table)), tracker: TaskTracker::new() }
    }

    /// A slot for a new connection from this address. `None`: every slot is taken, and the connection must wait.
    #[must_use]
    pub fn take(&self, peer: IpAddr) -> Option<Slot> {
        let mut table = self.table.lock();
        let is_reserved = !table.has_ordinary_slot() && !table.displace(false, GRACE);
        if is_reserved && table.reserved >= RESERVED && !table.displace(true, GRACE) {
            return None;
        }
        let displaced = CancellationToken::new();
        let id = table.insert(address_account(Some(peer)), is_reserved, displaced.clone());
        drop(table);
        let (table, open) = (Arc::clone(&self.table), self.tracker.token());
        Some(Slot(Arc::new(Occupied { id, table, displaced, _open: open })))
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

    /// Begins a request. `None`: the connection has just lost its slot, and the request must not be handled.
    #[must_use]
    pub fn start_request(&self) -> Option<RequestInProgress> {
        let mut table = self.0.table.lock();
        let was_reserved = table.open.get(&self.0.id)?.is_reserved;
        let is_promoted = was_reserved && (table.has_ordinary_slot() || table.displace(false, GRACE));
        table.reserved -= usize::from(is_promoted);
        let connection = table.open.get_mut(&self.0.id)?;
        connection.idle_since = None;
        connection.is_reserved = was_reserved && !is_promoted;
        let is_reserved = connection.is_reserved;
        drop(table);
        Some(RequestInProgress { slot: self.clone(), is_reserved, is_upgraded: false })
    }
}

impl RequestInProgress {
    /// Keeps the slot until the connection is closed: it was upgraded to another protocol.
    pub fn keep_slot(mut self) {
        self.is_upgraded = true;
    }
}

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        if self.is_upgraded {
            return;
        }
        if let Some(connection) = self.slot.0.table.lock().open.get_mut(&self.slot.0.id) {
            connection.idle_since = Some(Instant::now());
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

    fn insert(&mut self, account: String, is_reserved: bool, displaced: CancellationToken) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        *self.of_account.entry(account.clone()).or_default() += 1;
        self.reserved += usize::from(is_reserved);
        self.open
            .insert(id, Connection { account, is_reserved, idle_since: Some(Instant::now()), displaced });
        id
    }

    fn remove(&mut self, id: u64) -> Option<Connection> {
        let connection = self.open.remove(&id)?;
        self.reserved -= usize::from(connection.is_reserved);
        if let Some(count) = self.of_account.get_mut(&connection.account) {
            *count -= 1;
            if *count == 0 {
                self.of_account.remove(&connection.account);
            }
        }
        Some(connection)
    }

    /// Closes the connection, among the ordinary or the reserved ones that have been idle for this time, that must leave
    /// first. Returns false if there is none.
    fn displace(&mut self, reserved: bool, idle_min: Duration) -> bool {
        let idle = self.open.iter().filter(|(_, connection)| connection.is_reserved == reserved);
        let first = idle
            .filter_map(|(&id, connection)| {
                let connections_of_account = self.of_account.get(&connection.account).copied();
                let idle_since = connection.idle_since.filter(|since| since.elapsed() >= idle_min)?;
                Some((connections_of_account, Reverse(idle_since), Reverse(id)))
            })
            .max();
        let Some(connection) = first.and_then(|(_, _, Reverse(id))| self.remove(id)) else { return false };
        connection.displaced.cancel();
        true
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures_util::FutureExt as _;

    use super::*;

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
        let slots = Slots::new(4);
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
        let slots = Slots::new(2);
        let busy = [(); 2].map(|()| slots.take(address(1)).unwrap());
        let requests = busy.each_ref().map(|slot| slot.start_request().unwrap());
        tokio::time::advance(GRACE).await;
        let reserved: Vec<_> = (0..RESERVED).map(|_| slots.take(address(1)).unwrap()).collect();
        assert!(reserved[0].start_request().unwrap().is_reserved);
        assert!(!busy.iter().any(is_displaced));
        assert!(slots.take(address(2)).is_none(), "connections that were just accepted keep their slot");
        let probe = take_later(&slots, address(2)).await.unwrap();
        assert_eq!(reserved.iter().filter(|slot| is_displaced(slot)).count(), 1);
        let _all: Vec<_> = reserved.iter().chain([&probe]).filter_map(Slot::start_request).collect();
        assert!(take_later(&slots, address(3)).await.is_none(), "requests in progress take everything");
        drop(requests);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reserved_connection_moves_to_a_free_ordinary_slot() {
        let slots = Slots::new(1);
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
        let slots = Slots::new(1);
        let upgraded = slots.take(address(1)).unwrap();
        upgraded.start_request().unwrap().keep_slot();
        let other = take_later(&slots, address(2)).await.unwrap();
        assert!(other.start_request().unwrap().is_reserved);
        assert!(!is_displaced(&upgraded));
        drop((upgraded, other));
        assert!(!slots.take(address(2)).unwrap().start_request().unwrap().is_reserved);
        assert!(slots.table.lock().open.is_empty() && slots.table.lock().of_account.is_empty());
    }

    #[tokio::test]
    async fn all_closed_waits_for_the_last_connection() {
        let slots = Slots::new(3);
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
