//! The addresses that have connections or requests, and the time that their requests used.
//!
//! An account stays until its share of the time is like a new one, also without connections: nobody gets a new share by a
//! new connection.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::time_share::{Charged, TimeShare};

/// Most accounts without connections. Each of them used time that has not passed yet, so there are rarely more than a few.
const DEPARTED_MAX: usize = 1024;

/// Half of the time is for the requests of one account.
const PARTS: u32 = 2;
/// A tenth of the time is for its probes, so that they do not wait for its other requests.
const PROBE_PARTS: u32 = 10;

/// What a request is charged to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// The account's share for probes.
    Probes,
    /// Its share for all other requests.
    Requests,
}

/// A request that was charged in advance.
#[derive(Debug)]
#[must_use]
pub(super) struct ChargedRequest {
    share: Share,
    charged: Charged,
    /// When the request may be handled.
    pub(super) turn: Instant,
}

/// The accounts of one listener.
#[derive(Debug)]
pub(super) struct Accounts {
    threads: u32,
    /// Those with connections or requests.
    present: HashMap<Arc<str>, Account>,
    /// Those without, which are ahead of their time.
    departed: HashMap<Arc<str>, Account>,
    /// Requests of all accounts.
    requests: usize,
}

#[derive(Debug)]
struct Account {
    connections: usize,
    /// Requests that wait for their turn or are being handled. A response that is being sent does not count.
    requests: usize,
    time_share: TimeShare,
    probe_share: TimeShare,
}

impl Accounts {
    /// No account yet, on a server with this many threads.
    pub(super) fn new(threads: usize) -> Self {
        let threads = u32::try_from(threads).unwrap_or(u32::MAX);
        Self { threads, present: HashMap::new(), departed: HashMap::new(), requests: 0 }
    }

    pub(super) fn connections_of(&self, account: &str) -> usize {
        self.present.get(account).map_or(0, |account| account.connections)
    }

    pub(super) fn add_connection(&mut self, account: &Arc<str>, now: Instant) {
        self.forget_settled(now);
        self.entry(account, now).connections += 1;
    }

    pub(super) fn remove_connection(&mut self, account: &Arc<str>, now: Instant) {
        if let Some(found) = self.present.get_mut(account) {
            found.connections -= 1;
            self.leave(account, now);
        }
    }

    /// Charges a request.
    pub(super) fn start_request(&mut self, account: &Arc<str>, share: Share, now: Instant) -> ChargedRequest {
        let others = self.requests;
        let account = self.entry(account, now);
        let is_alone = others == account.requests;
        account.requests += 1;
        let (turn, charged) = account.share(share).charge(now, is_alone);
        self.requests += 1;
        ChargedRequest { share, charged, turn }
    }

    /// Corrects the charge of a request by the time that it used; `None` if it was not handled.
    pub(super) fn end_request(
        &mut self,
        account: &Arc<str>,
        request: &ChargedRequest,
        used: Option<Duration>,
        now: Instant,
    ) {
        let Some(found) = self.present.get_mut(account) else { return };
        let is_alone = self.requests == found.requests;
        found.share(request.share).correct(request.charged, used, self.threads, (now, is_alone));
        found.requests -= 1;
        self.requests -= 1;
        self.leave(account, now);
    }

    fn entry(&mut self, account: &Arc<str>, now: Instant) -> &mut Account {
        let departed = &mut self.departed;
        let known = || departed.remove(account).unwrap_or_else(|| Account::new(now));
        self.present.entry(Arc::clone(account)).or_insert_with(known)
    }

    /// Removes the account if it has neither connections nor requests. If it is ahead of its time, that is remembered.
    fn leave(&mut self, account: &Arc<str>, now: Instant) {
        let is_over = |found: &Account| found.connections == 0 && found.requests == 0;
        if !self.present.get(account).is_some_and(is_over) {
            return;
        }
        if let Some((account, found)) = self.present.remove_entry(account) {
            self.departed.insert(account, found);
        }
        self.forget_settled(now);
        if self.departed.len() > DEPARTED_MAX {
            let least = self.departed.iter().min_by_key(|(_, account)| account.used_until());
            let least = least.map(|(account, _)| Arc::clone(account));
            least.and_then(|account| self.departed.remove(&account));
        }
    }

    /// Forgets accounts without connections whose shares are like new ones.
    fn forget_settled(&mut self, now: Instant) {
        self.departed.retain(|_, account| account.used_until() > now);
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.present.is_empty() && self.departed.is_empty() && self.requests == 0
    }
}

impl Account {
    fn new(now: Instant) -> Self {
        let (time_share, probe_share) = (TimeShare::new(PARTS, now), TimeShare::new(PROBE_PARTS, now));
        Self { connections: 0, requests: 0, time_share, probe_share }
    }

    fn share(&mut self, share: Share) -> &mut TimeShare {
        match share {
            Share::Probes => &mut self.probe_share,
            Share::Requests => &mut self.time_share,
        }
    }

    fn used_until(&self) -> Instant {
        self.time_share.used_until().max(self.probe_share.used_until())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn accounts_without_connections_are_bounded() {
        let mut accounts = Accounts::new(2);
        let now = Instant::now() + Duration::from_hours(1);
        let visit = |accounts: &mut Accounts, name: String, used: Duration| {
            let account = Arc::from(name);
            accounts.add_connection(&account, now);
            let request = accounts.start_request(&account, Share::Requests, now);
            accounts.remove_connection(&account, now);
            accounts.end_request(&account, &request, Some(used), now);
        };
        visit(&mut accounts, "busy".to_owned(), 2 * MILLISECOND);
        for number in 0..2 * DEPARTED_MAX {
            visit(&mut accounts, format!("number {number}"), MILLISECOND);
        }
        assert_eq!(accounts.departed.len(), DEPARTED_MAX);
        assert!(accounts.departed.contains_key("busy"), "the one that is furthest ahead stays");
        assert!(accounts.present.is_empty());
        // When their time has passed, the next connection removes them.
        accounts.add_connection(&Arc::from("other"), now + 2 * MILLISECOND);
        assert!(accounts.departed.is_empty());
    }

    #[tokio::test]
    async fn probes_and_other_requests_have_shares_of_their_own() {
        let mut accounts = Accounts::new(2);
        let now = Instant::now() + Duration::from_hours(1);
        let (other, account) = (Arc::from("other"), Arc::from("account"));
        let _in_progress = accounts.start_request(&other, Share::Requests, now);
        let mut last_turn = |share, requests| {
            let mut turn = now;
            for _ in 0..requests {
                let request = accounts.start_request(&account, share, now);
                turn = request.turn;
                accounts.end_request(&account, &request, Some(MILLISECOND), now);
            }
            turn - now
        };
        assert!(last_turn(Share::Requests, 1_000) > 700 * MILLISECOND);
        // A tenth of two threads' time is a fifth of one thread's.
        assert_eq!(last_turn(Share::Probes, 50), Duration::ZERO);
        assert!(last_turn(Share::Probes, 100) > 450 * MILLISECOND, "a flood of probes waits");
    }
}
