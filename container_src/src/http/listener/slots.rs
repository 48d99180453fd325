//! The slots that a listener has for connections, and who must leave when they are all taken.
//!
//! A connection without a request in progress, whose last response was written, is idle: it is silent, has sent part of a
//! head, or waits for its next request. When every slot is taken, a new connection takes the slot of another one, the first of these that there is:
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

/// A request in progress. While it exists, and until its response is written, the connection keeps its slot.
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
    /// It has been idle since then.
    Idle(Instant),
    /// It has had a request in progress since then.
    Busy(Instant),
    /// The request that began then has its whole response, which is not written yet. It counts as in progress.
    Answered(Instant),
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

    /// Every byte of the responses so far was written.
    pub fn responses_written(&self) {
        if let Some(connection) = self.0.table.lock().open.get_mut(&self.0.id)
            && matches!(connection.state, State::Answered(_))
        {
            connection.state = State::Idle(Instant::now());
        }
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
        connection.state = State::Busy(Instant::now());
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
        if let Some(connection) = self.slot.0.table.lock().open.get_mut(&self.slot.0.id)
            && let State::Busy(since) = connection.state
        {
            connection.state = State::Answered(since);
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
        self.open.insert(id, Connection { account, is_reserved, state: State::Idle(now), displaced });
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
                State::Idle(since) => (Some(since), None),
                State::Busy(since) | State::Answered(since) => (None, Some(since)),
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
    /// How long it has been idle; `None` while it has a request in progress or a response to write.
    fn idle_for(&self) -> Option<Duration> {
        match self.state {
            State::Idle(since) => Some(since.elapsed()),
            State::Busy(_) | State::Answered(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
