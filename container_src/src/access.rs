//! Identifies callers, and decides what each may do and how much.
//!
//! Keys come from the environment, from a file, or both. The file is read again when it changes. Without keys, or where the
//! file allows it, callers need no key. Behind an edge, which checks keys itself, the caller is the one that the edge names. Requests and proofs
//! of each caller are counted in memory: each server counts by itself, and a restart resets the counts.
//!
//! - [`vouchers`]: tokens with which pages prove on behalf of a key.
//! - [`voucher_uses`]: how often each was used.
//! - [`sealed_arrivals`]: which sealed bodies have arrived at servers that share them.
//! - [`api_keys_reload`]: the file of keys, read again when it changes.
//! - [`api_keys`]: the holders of keys, and the format of the file.
//! - [`usage_counters`]: requests and proofs of each caller.
//! - [`remaining_quota`]: what is left of a caller's limits.
//! - [`role`]: roles and limits.

use std::{borrow::Cow, io, net::IpAddr, sync::Arc, time::Duration};

use edgeprove_audit::Audit;
use edgeprove_job_rules::audit::{Action, Actor};
pub use edgeprove_protocol::caller::Denied;
use edgeprove_protocol::{
    CircuitId, HasProblemType, Priority, ProblemType, Voucher,
    caller::address_account,
    voucher::{InvalidVoucher, VoucherRefusal},
};
use edgeprove_telemetry::Supervisor;
use parking_lot::Mutex;
use tokio::sync::watch;

pub mod api_keys;
pub mod api_keys_reload;
pub mod remaining_quota;
pub mod role;
pub mod sealed_arrivals;
pub mod usage_counters;
pub mod voucher_uses;
pub mod vouchers;

use api_keys::{KeyDigest, KeyRing, Profile};
use api_keys_reload::{KeysChange, KeysFile};
use remaining_quota::Allowance;
pub use role::{Forbidden, Limits, Rate, Role};
use usage_counters::{LINK, Moment, Reservation, UsageCounters};
use voucher_uses::now_s;
use vouchers::VoucherSettings;

/// Prefix of the owner of a job whose caller has a key. The key's name follows.
pub const HOLDER: &str = "key:";
/// The owner of the jobs of all callers without a key.
pub const ANONYMOUS: &str = "anonymous";

/// Settings of access.
#[derive(Debug, Clone)]
pub struct AccessSettings {
    /// The keys at the start.
    pub keys: KeyRing,
    /// The file that is read again when it changes.
    pub keys_file: Option<KeysFile>,
    /// Vouchers.
    pub vouchers: VoucherSettings,
}

/// The sender of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    name: Option<String>,
    profile: Profile,
    account: String,
    voucher: Option<CallersVoucher>,
}

/// The voucher with which a page acts for a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
struct CallersVoucher {
    voucher: Arc<Voucher>,
    /// The tenant of cached proofs: the time that a proof takes must not show one page what another one proved.
    tenant: String,
}

/// How a request identifies its sender.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Credential {
    /// Not at all.
    #[default]
    None,
    /// By a key.
    Key(KeyDigest),
    /// By the edge, which has checked the key.
    NamedByTheEdge(String),
    /// By a voucher whose signature was checked.
    Voucher {
        /// The voucher.
        voucher: Arc<Voucher>,
        /// Whether the edge has checked that its API key is still valid.
        is_from_edge: bool,
    },
}

/// The caller has exceeded a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// Too many requests in a short time.
    #[error("at most {} requests per minute, {} at once", rate.per_minute, rate.burst)]
    Rate {
        /// The limit.
        rate: Rate,
        /// Time until the next request is accepted.
        retry_after: Duration,
    },
    /// Too many new vouchers in a short time.
    #[error("at most {} new vouchers per minute and API key, {} at once", rate.per_minute, rate.burst)]
    Vouchers {
        /// The limit.
        rate: Rate,
        /// Time until the next voucher can be minted.
        retry_after: Duration,
    },
    /// Too many unfinished proofs.
    #[error("at most {max} unfinished proofs, running or waiting")]
    Unfinished {
        /// The limit.
        max: u32,
    },
    /// Too many proofs on one day.
    #[error("at most {per_day} proofs per day; the day ends at midnight UTC")]
    Quota {
        /// The limit.
        per_day: u32,
        /// Time until midnight UTC.
        retry_after: Duration,
    },
}

/// How a proof is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A caller waits for it: it counts as unfinished until its [`Grant`] is dropped.
    Waited,
    /// A job of the queue, which itself counts unfinished jobs against [`Limits::unfinished_max`].
    Queued,
}

/// The right to one proof. Dropping it returns the proof to the day's quota, unless it was [spent](Self::spend).
#[derive(Debug)]
pub struct Grant {
    counters: Arc<Mutex<UsageCounters>>,
    reservation: Option<Reservation>,
    work: Work,
    day: i64,
    spent: bool,
}

/// A spent proof of the day's quota, which can be returned.
#[derive(Debug)]
pub struct SpentProof {
    counters: Arc<Mutex<UsageCounters>>,
    reservation: Reservation,
    day: i64,
}

/// Keys, roles, limits and counts. Clones share them.
#[derive(Debug, Clone)]
pub struct Access(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    keys: watch::Sender<Arc<KeyRing>>,
    /// Why the newest version of the keys file was rejected.
    fault: Mutex<Option<String>>,
    counters: Arc<Mutex<UsageCounters>>,
}

impl Access {
    /// Access with the keys of these settings. A task reads the keys file again when it changes or when SIGHUP arrives,
    /// and records each change in the audit log. Fails if SIGHUP cannot be caught.
    pub fn open(settings: &AccessSettings, audit: &Audit, supervisor: &Supervisor) -> io::Result<Self> {
        let access = Self::new(settings.keys.clone());
        if let Some(file) = settings.keys_file.clone() {
            let hangups = api_keys_reload::hangups()?;
            let (watched, audit, stop) = (access.clone(), audit.clone(), supervisor.stop_token().clone());
            supervisor.spawn("keys", async move {
                let on_change = |change| {
                    let action = match change {
                        KeysChange::Replaced => Action::KeysChanged,
                        KeysChange::Rejected => Action::KeysRejected,
                    };
                    audit.note(audit.entry(Actor::Server, action));
                };
                api_keys_reload::watch(watched, file, hangups, stop, on_change).await;
            });
        }
        Ok(access)
    }

    /// Logs a warning where callers need no key. `is_protected` is true where only the edge or this machine can call.
    pub fn warn_if_open(&self, is_protected: bool) {
        let keys = self.keys();
        if !keys.accepts_anonymous() {
            return;
        }
        if !is_protected {
            tracing::warn!("callers need no API key: anybody who can reach this server may request proofs");
        }
        if keys.anonymous().role == Role::Operator {
            tracing::warn!("callers without a key have the role `operator`");
        }
    }

    /// Access with these keys, which do not change.
    #[must_use]
    pub fn new(keys: KeyRing) -> Self {
        Self(Arc::new(Inner {
            keys: watch::Sender::new(Arc::new(keys)),
            fault: Mutex::new(None),
            counters: Arc::default(),
        }))
    }

    /// The current keys.
    #[must_use]
    pub fn keys(&self) -> Arc<KeyRing> {
        Arc::clone(&self.0.keys.borrow())
    }

    /// Receives the keys when they are replaced, for whoever acts for a caller over a longer time.
    #[must_use]
    pub fn key_changes(&self) -> watch::Receiver<Arc<KeyRing>> {
        self.0.keys.subscribe()
    }

    /// Replaces the keys. The counts of callers stay.
    fn replace(&self, keys: KeyRing) {
        self.0.keys.send_replace(Arc::new(keys));
    }

    /// Why the newest version of the keys file was rejected; `None` if it was not.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.0.fault.lock().clone()
    }

    /// Identifies the sender of a request. `address` is the client's, if it is known.
    pub fn identify(&self, credential: Credential, address: Option<IpAddr>) -> Result<Caller, Denied> {
        let keys = self.keys();
        let named = |name: String, profile: &Profile| Caller {
            account: format!("key:{name}"),
            profile: profile.clone(),
            name: Some(name),
            voucher: None,
        };
        match credential {
            Credential::NamedByTheEdge(name) => {
                let profile = keys.profile(&name).unwrap_or(keys.anonymous());
                Ok(named(name, profile))
            }
            Credential::None if keys.accepts_anonymous() => Ok(anonymous(&keys, address)),
            Credential::None => Err(Denied::NoKey),
            // Nobody has a key, so that none is wrong.
            Credential::Key(_) if keys.is_empty() => Ok(anonymous(&keys, address)),
            Credential::Key(digest) => {
                let (name, profile) = keys.holder(&digest).ok_or(Denied::UnknownKey)?;
                Ok(named(name.to_owned(), profile))
            }
            Credential::Voucher { voucher, is_from_edge } => {
                let Voucher { holder, key, expires_s, .. } = &*voucher;
                if now_s() >= *expires_s {
                    return Err(InvalidVoucher::Expired.into());
                }
                if !is_from_edge && !keys.has_key(holder, *key) {
                    return Err(InvalidVoucher::Withdrawn.into());
                }
                let caller = named(holder.clone(), keys.profile(holder).unwrap_or(keys.anonymous()));
                let tenant = format!("{} {}", caller.account, voucher.scope());
                Ok(Caller { voucher: Some(CallersVoucher { voucher, tenant }), ..caller })
            }
        }
    }

    /// The caller with this name, for whoever may act for it without its key. `None` if its key was withdrawn;
    /// `names_by_edge`: the edge has the keys, so that names need no entry here.
    #[must_use]
    pub fn named(&self, name: &str, names_by_edge: bool) -> Option<Caller> {
        if !names_by_edge && self.keys().profile(name).is_none() {
            return None;
        }
        self.identify(Credential::NamedByTheEdge(name.to_owned()), None).ok()
    }

    /// Counts a request without a valid key against its address, which slows down guessing.
    pub fn count_denied(&self, address: Option<IpAddr>) -> Result<(), Excess> {
        let keys = self.keys();
        let rate = keys.anonymous().limits.rate;
        self.0.counters.lock().count_request(&address_account(address), rate, Moment::now())
    }

    /// What is left of each limit of a caller. It has none for a caller without limits.
    #[must_use]
    pub fn allowances(&self, caller: &Caller) -> Vec<Allowance> {
        let limits = &caller.profile.limits;
        if *limits == Limits::default() {
            return Vec::new();
        }
        self.0.counters.lock().allowances(&caller.account, limits, Moment::now())
    }

    /// Counts a request that is not for a proof.
    pub fn count(&self, caller: &Caller) -> Result<(), Excess> {
        let rate = caller.profile.limits.rate;
        self.0.counters.lock().count_request(&caller.account, rate, Moment::now())
    }

    /// Counts a request with the token of a job's link. It has the rate of the job's owner, for each job and address of its
    /// own: whoever has the token must not use up the owner's rate.
    pub fn count_link(&self, owner: &Caller, job: &str, address: Option<IpAddr>) -> Result<(), Excess> {
        let account = format!("{LINK}{job}:{}", address_account(address));
        let rate = owner.profile.limits.rate;
        self.0.counters.lock().count_request(&account, rate, Moment::now())
    }

    /// Counts a new voucher of a caller.
    pub fn count_voucher(&self, caller: &Caller, rate: Rate) -> Result<(), Excess> {
        let account = format!("vouchers of {}", caller.account);
        let counted = self.0.counters.lock().count_request(&account, Some(rate), Moment::now());
        counted.map_err(|excess| match excess {
            Excess::Rate { rate, retry_after } => Excess::Vouchers { rate, retry_after },
            other => other,
        })
    }

    /// Counts a request for a proof, and reserves one proof of the day's quota.
    pub fn admit(&self, caller: &Caller, work: Work) -> Result<Grant, Excess> {
        let now = Moment::now();
        let limits = &caller.profile.limits;
        let mut counters = self.0.counters.lock();
        counters.count_request(&caller.account, limits.rate, now)?;
        let reservation = Some(counters.reserve(&caller.account, limits, work, now)?);
        drop(counters);
        Ok(Grant { counters: Arc::clone(&self.0.counters), reservation, work, day: now.day, spent: false })
    }
}

/// The owner of the jobs of a key.
#[must_use]
pub fn owner_of_key(name: &str) -> String {
    format!("{HOLDER}{name}")
}

impl Caller {
    /// The key's name; `None` for a caller without a key.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The owner of its jobs: `key:NAME`, or `anonymous` for all callers without a key.
    #[must_use]
    pub fn owner(&self) -> String {
        self.name.as_deref().map_or_else(|| ANONYMOUS.to_owned(), owner_of_key)
    }

    /// The tenant of its cached proofs: the key's name, or the address of a caller without a key. Pages have tenants of their
    /// own.
    #[must_use]
    pub fn tenant(&self) -> &str {
        self.voucher.as_ref().map_or(&self.account, |page| &page.tenant)
    }

    /// The voucher with which it acts; `None` for the holder of the key itself.
    #[must_use]
    pub fn voucher(&self) -> Option<&Arc<Voucher>> {
        self.voucher.as_ref().map(|page| &page.voucher)
    }

    /// Fails if its voucher is not for this circuit.
    pub fn check_circuit(&self, circuit: &CircuitId) -> Result<(), VoucherRefusal> {
        self.voucher().map_or(Ok(()), |voucher| voucher.check_circuit(circuit))
    }

    /// The account of its turns and of its shares of queues: the key's name, or the address. IPv6 addresses share it by their
    /// first 48 bits, because one caller can have that many.
    #[must_use]
    pub fn share_account(&self) -> Cow<'_, str> {
        share_account(&self.account)
    }

    /// Whether it may change a job of this owner, and fetch its proof.
    #[must_use]
    pub fn may_use_job(&self, owner: &str) -> bool {
        self.may_operate().is_ok() || self.owner() == owner
    }

    /// Whether it may see a job of this owner.
    #[must_use]
    pub fn may_see(&self, owner: &str) -> bool {
        self.may_observe().is_ok() || self.owner() == owner
    }

    /// Its name in the audit log.
    #[must_use]
    pub fn actor(&self) -> Actor {
        self.name.clone().map_or(Actor::Anonymous, Actor::Key)
    }

    /// Its role. A page is never more than a user, whoever minted its voucher.
    #[must_use]
    pub fn role(&self) -> Role {
        if self.voucher.is_some() { Role::User } else { self.profile.role }
    }

    /// Its limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.profile.limits
    }

    /// Fails if the role of its key does not include this priority.
    pub fn may_use(&self, priority: Priority) -> Result<(), Forbidden> {
        self.profile.role.may_use(priority)
    }

    /// Fails if it does not see the jobs of all callers.
    pub fn may_observe(&self) -> Result<(), Forbidden> {
        self.role().may_observe()
    }

    /// Fails if it is no prover that pulls. Such a caller has a key.
    pub fn may_pull(&self) -> Result<(), Forbidden> {
        self.role().may_pull()
    }

    /// Fails if it is not an operator.
    pub fn may_operate(&self) -> Result<(), Forbidden> {
        self.role().may_operate()
    }
}

/// The account of the shares of a caller with this account: see [`Caller::share_account`].
#[must_use]
pub fn share_account(account: &str) -> Cow<'_, str> {
    let bits = account.strip_prefix("ip:").and_then(|bits| u64::from_str_radix(bits, 16).ok());
    bits.map_or(Cow::Borrowed(account), |bits| Cow::Owned(format!("ip:{:x}/48", bits >> 16)))
}

fn anonymous(keys: &KeyRing, address: Option<IpAddr>) -> Caller {
    let (profile, account) = (keys.anonymous().clone(), address_account(address));
    Caller { name: None, profile, account, voucher: None }
}

/// The name in the audit log of a job's owner, as [`Caller::owner`] returns it.
#[must_use]
pub fn actor(owner: &str) -> Actor {
    owner.strip_prefix(HOLDER).map_or(Actor::Anonymous, |name| Actor::Key(name.to_owned()))
}

impl Grant {
    /// Uses up the quota: the proof was returned.
    pub fn spend(mut self) {
        self.spent = true;
    }

    /// Uses up the quota: the job was accepted. Its proof can still be returned, if there is none in the end.
    #[must_use]
    pub fn spend_on_job(mut self) -> Option<SpentProof> {
        self.spent = true;
        if let Some(reservation) = &self.reservation {
            self.counters.lock().release(reservation, self.work, self.day, true);
        }
        let (counters, day) = (Arc::clone(&self.counters), self.day);
        self.reservation.take().map(|reservation| SpentProof { counters, reservation, day })
    }
}

impl SpentProof {
    /// Returns the proof to the quota of the day on which it was spent.
    pub fn return_to_quota(self) {
        self.counters.lock().return_proof(&self.reservation, self.day);
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if let Some(reservation) = &self.reservation {
            self.counters.lock().release(reservation, self.work, self.day, self.spent);
        }
    }
}

impl HasProblemType for Excess {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Rate { .. } | Self::Vouchers { .. } | Self::Unfinished { .. } => ProblemType::RateLimited,
            Self::Quota { .. } => ProblemType::QuotaExceeded,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Rate { retry_after, .. }
            | Self::Vouchers { retry_after, .. }
            | Self::Quota { retry_after, .. } => Some(*retry_after),
            Self::Unfinished { .. } => Some(Duration::from_secs(1)),
        }
    }
}

#[cfg(test)]
mod tests;
