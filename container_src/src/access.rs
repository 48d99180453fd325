//! Who calls, and what it may do.
//!
//! Keys come from the environment, from a file, or both; a file is read again when it changes ([`watch`]). Where none is
//! set, anybody may call. Behind an edge, which has asked for keys itself, the caller is whom the edge names. How much one
//! caller may ask for is counted here, in memory: each server counts by itself, and a restart forgets.
//!
//! - [`role`]: what a caller may do.
//! - [`keys`]: whose key is whose, and how keys are written down.
//! - [`ledger`]: how much each caller has asked for.
//! - [`watch`]: keys that change while the server runs.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use edgeprove_job_rules::audit::Actor;
pub use edgeprove_protocol::caller::Denied;
use edgeprove_protocol::{HasProblemType, Priority, ProblemType, caller::address_account};

pub mod keys;
pub mod ledger;
pub mod role;
pub mod watch;

use keys::{KeyDigest, KeyRing, Profile};
use ledger::{Ledger, Moment};
pub use role::{Forbidden, Limits, Rate, Role};

/// What the owners of jobs who have a key begin with; the key's name follows.
pub const HOLDER: &str = "key:";
/// The owner of the jobs of all who have none.
pub const ANONYMOUS: &str = "anonymous";

/// Whom a request is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    name: Option<String>,
    profile: Profile,
    account: String,
}

/// How a request says whom it is from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Credential {
    /// Not at all.
    #[default]
    None,
    /// By a key.
    Key(KeyDigest),
    /// The edge says so, which is believed.
    NamedByTheEdge(String),
}

/// The caller has asked for too much.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// Too many requests in a short time.
    #[error("no more than {} requests a minute, {} at once", rate.per_minute, rate.burst)]
    Rate {
        /// What it may.
        rate: Rate,
        /// When it may again.
        retry_after: Duration,
    },
    /// Too many proofs at a time.
    #[error("no more than {max} proofs at a time, which are at work or wait")]
    Unfinished {
        /// What it may.
        max: u32,
    },
    /// Too many proofs on one day.
    #[error("no more than {per_day} proofs a day; the day ends at midnight UTC")]
    Quota {
        /// What it may.
        per_day: u32,
        /// When it may again.
        retry_after: Duration,
    },
}

/// What a proof is counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Somebody waits for it: it counts as unfinished until its [`Grant`] is dropped.
    Waited,
    /// A job of the queue, which counts unfinished ones itself, by [`Limits::unfinished_max`].
    Queued,
}

/// The right to one proof. Dropped, it gives back what it took of the day's quota, unless it was [spent](Self::spend).
#[derive(Debug)]
pub struct Grant {
    ledger: Arc<Mutex<Ledger>>,
    account: String,
    work: Work,
    day: i64,
    spent: bool,
}

/// Who may do what. Clones share keys and counts.
#[derive(Debug, Clone)]
pub struct Access(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    keys: RwLock<Arc<KeyRing>>,
    /// Why the newest version of the keys was not taken.
    fault: Mutex<Option<String>>,
    ledger: Arc<Mutex<Ledger>>,
}

impl Access {
    /// Access by these keys.
    #[must_use]
    pub fn new(keys: KeyRing) -> Self {
        Self(Arc::new(Inner {
            keys: RwLock::new(Arc::new(keys)),
            fault: Mutex::new(None),
            ledger: Arc::default(),
        }))
    }

    /// The keys as they are now.
    #[must_use]
    pub fn keys(&self) -> Arc<KeyRing> {
        Arc::clone(&self.0.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes other keys from now on. What callers have asked for so far still counts.
    fn replace(&self, keys: KeyRing) {
        *self.0.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }

    /// Why the newest version of the keys was not taken; `None` when it was.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        locked(&self.0.fault).clone()
    }

    /// Whom a request is from. `address` is that of the client, as far as it is known.
    pub fn identify(&self, credential: Credential, address: Option<IpAddr>) -> Result<Caller, Denied> {
        let keys = self.keys();
        let named = |name: String, profile: &Profile| Caller {
            account: format!("key:{name}"),
            profile: profile.clone(),
            name: Some(name),
        };
        match credential {
            Credential::NamedByTheEdge(name) => {
                let profile = keys.profile(&name).unwrap_or(keys.anonymous());
                Ok(named(name, profile))
            }
            Credential::None | Credential::Key(_) if !keys.are_set() => Ok(Caller {
                name: None,
                profile: keys.anonymous().clone(),
                account: address_account(address),
            }),
            Credential::None => Err(Denied::NoKey),
            Credential::Key(digest) => {
                let (name, profile) = keys.holder(&digest).ok_or(Denied::UnknownKey)?;
                Ok(named(name.to_owned(), profile))
            }
        }
    }

    /// Counts a request that was denied, against the address it came from: guessing is slowed down as well.
    pub fn count_denied(&self, address: Option<IpAddr>) -> Result<(), Excess> {
        let keys = self.keys();
        let rate = keys.anonymous().limits.rate;
        locked(&self.0.ledger).take_turn(&address_account(address), rate, Moment::now())
    }

    /// Counts a request that asks for no proof.
    pub fn count(&self, caller: &Caller) -> Result<(), Excess> {
        let rate = caller.profile.limits.rate;
        locked(&self.0.ledger).take_turn(&caller.account, rate, Moment::now())
    }

    /// Counts a request for a proof, and keeps one of the day's quota for it.
    pub fn admit(&self, caller: &Caller, work: Work) -> Result<Grant, Excess> {
        let now = Moment::now();
        let limits = &caller.profile.limits;
        let mut ledger = locked(&self.0.ledger);
        ledger.take_turn(&caller.account, limits.rate, now)?;
        let account = ledger.reserve(&caller.account, limits, work, now)?;
        drop(ledger);
        Ok(Grant { ledger: Arc::clone(&self.0.ledger), account, work, day: now.day, spent: false })
    }
}

impl Caller {
    /// Its name; `None` for somebody without a key.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whose its jobs are: `key:NAME`, or `anonymous` for all without a key together.
    #[must_use]
    pub fn owner(&self) -> String {
        self.name.as_ref().map_or_else(|| ANONYMOUS.to_owned(), |name| format!("{HOLDER}{name}"))
    }

    /// Whom its proofs are remembered for: by its name, or by the address of somebody without a key.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.account
    }

    /// Whether it may see and call off a job of this owner.
    #[must_use]
    pub fn may_see(&self, owner: &str) -> bool {
        self.may_operate().is_ok() || self.owner() == owner
    }

    /// What the audit log calls it.
    #[must_use]
    pub fn actor(&self) -> Actor {
        self.name.clone().map_or(Actor::Anonymous, Actor::Key)
    }

    /// What it may do.
    #[must_use]
    pub fn role(&self) -> Role {
        self.profile.role
    }

    /// How much it may ask for.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.profile.limits
    }

    /// Whether it may ask for this priority.
    pub fn may_use(&self, priority: Priority) -> Result<(), Forbidden> {
        self.role().may_use(priority)
    }

    /// Whether it may do what operators do.
    pub fn may_operate(&self) -> Result<(), Forbidden> {
        self.role().may_operate()
    }
}

/// What the audit log calls the owner of a job, as [`Caller::owner`] names it.
#[must_use]
pub fn actor(owner: &str) -> Actor {
    owner.strip_prefix(HOLDER).map_or(Actor::Anonymous, |name| Actor::Key(name.to_owned()))
}

impl Grant {
    /// The proof was made, or the job taken in: the quota is used.
    pub fn spend(mut self) {
        self.spent = true;
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        locked(&self.ledger).release(&self.account, self.work, self.day, self.spent);
    }
}

/// A panic while counting leaves counts that are still counts.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HasProblemType for Excess {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Rate { .. } | Self::Unfinished { .. } => ProblemType::RateLimited,
            Self::Quota { .. } => ProblemType::QuotaExceeded,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Rate { retry_after, .. } | Self::Quota { retry_after, .. } => Some(*retry_after),
            Self::Unfinished { .. } => Some(Duration::from_secs(1)),
        }
    }
}

#[cfg(test)]
mod tests;
