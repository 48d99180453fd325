//! The private keys of deployments that wait for a worker of this server.
//!
//! A key is in memory only. A worker takes it, and drops it when the attempt ends. A key whose job has ended elsewhere, or
//! that waited too long, is dropped too. So only a server that received a request for the deployment can run it, and after its
//! end nobody can: the deployment fails, and its caller sends the request again.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};

use edgeprove_chain::{Address, DeployerKey};
use edgeprove_job_rules::{capability::Subject, queue_position::QueuedJob};
use edgeprove_outbound::RemoteUrl;
use edgeprove_protocol::{HasProblemType, ProblemType};
use parking_lot::Mutex;

/// The most keys that wait in memory.
const KEYS_MAX: usize = 16;
/// How long a key waits for a worker.
pub const HELD_MAX: Duration = Duration::from_mins(30);
/// One of so many workers may be busy with deployments, which mostly wait for blocks while proofs wait for workers.
const WORKERS_PER_DEPLOYMENT: usize = 4;

/// Everything that a deployment needs and no database may have.
#[derive(Debug)]
pub struct HeldKey {
    /// The key.
    pub key: DeployerKey,
    /// The node. Its URL may have a key too.
    pub node: RemoteUrl,
    /// The chain.
    pub chain_id: u64,
    /// The subject of the job. Its version is that of this job alone.
    pub subject: Subject,
}

/// There are as many keys in memory as may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{KEYS_MAX} deployments wait on this server already")]
pub struct TooManyKeys;

impl HasProblemType for TooManyKeys {
    fn kind(&self) -> ProblemType {
        ProblemType::TooManyDeployments
    }
}

/// The keys. Clones share them.
#[derive(Debug, Clone)]
pub struct HeldKeys(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    /// The most deployments that run at the same time.
    running_max: usize,
    /// By the version of their jobs.
    waiting: BTreeMap<String, (HeldKey, Instant)>,
    /// The accounts of running deployments. Two with one account would take each other's nonces.
    busy: BTreeSet<(u64, Address)>,
    /// Jobs of servers that ended, and when they were seen first.
    strays: BTreeMap<String, (Subject, Instant)>,
    /// Those of them that no server can run.
    lost: Vec<Subject>,
}

/// What a worker gets for a job.
#[derive(Debug)]
pub enum Taken {
    /// The key. The account is in use until the guard is dropped.
    Key(Box<HeldKey>, Busy),
    /// Another deployment uses the account, or as many deployments run as may.
    Later,
    /// This server does not have the key.
    Gone,
}

/// An account that is in use.
#[derive(Debug)]
pub struct Busy {
    keys: HeldKeys,
    account: (u64, Address),
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.keys.0.lock().busy.remove(&self.account);
    }
}

impl HeldKey {
    fn account(&self) -> (u64, Address) {
        (self.chain_id, self.key.address())
    }
}

impl Inner {
    /// Whether a deployment by this account may start.
    fn may_start(&self, account: &(u64, Address)) -> bool {
        self.busy.len() < self.running_max && !self.busy.contains(account)
    }
}

impl HeldKeys {
    /// No keys, on a server with so many workers.
    #[must_use]
    pub fn new(workers: NonZeroUsize) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            running_max: (workers.get() / WORKERS_PER_DEPLOYMENT).max(1),
            waiting: BTreeMap::new(),
            busy: BTreeSet::new(),
            strays: BTreeMap::new(),
            lost: Vec::new(),
        })))
    }

    /// Holds a key until a worker takes it.
    pub fn hold(&self, key: HeldKey) -> Result<(), TooManyKeys> {
        let mut inner = self.0.lock();
        if inner.waiting.len() >= KEYS_MAX && !inner.waiting.contains_key(&key.subject.version) {
            return Err(TooManyKeys);
        }
        inner.waiting.insert(key.subject.version.clone(), (key, Instant::now()));
        Ok(())
    }

    /// Whether the key of the job with this version waits.
    #[must_use]
    pub fn holds(&self, version: &str) -> bool {
        self.0.lock().waiting.contains_key(version)
    }

    /// Drops the key of the job with this version.
    pub fn forget(&self, version: &str) {
        self.0.lock().waiting.remove(version);
    }

    /// Takes the key of the job with this version.
    #[must_use]
    pub fn take(&self, version: &str) -> Taken {
        let mut inner = self.0.lock();
        let Some(account) = inner.waiting.get(version).map(|(key, _)| key.account()) else {
            return Taken::Gone;
        };
        if !inner.may_start(&account) {
            return Taken::Later;
        }
        inner.busy.insert(account);
        match inner.waiting.remove(version) {
            Some((key, _)) => Taken::Key(Box::new(key), Busy { keys: self.clone(), account }),
            None => Taken::Gone,
        }
    }

    /// The jobs that workers of this server take: those whose keys it has, and those that nobody can run any more, which
    /// they end.
    #[must_use]
    pub fn subjects(&self) -> Vec<Subject> {
        let inner = self.0.lock();
        let waiting = inner.waiting.values().map(|(key, _)| key);
        let free = waiting.filter(|key| inner.may_start(&key.account())).map(|key| &key.subject);
        // A key may have arrived for a job that nobody could run.
        let lost = inner.lost.iter().filter(|subject| !inner.waiting.contains_key(&subject.version));
        free.chain(lost).cloned().collect()
    }

    /// The versions of the jobs whose keys wait.
    #[must_use]
    pub fn versions(&self) -> Vec<String> {
        self.0.lock().waiting.keys().cloned().collect()
    }

    /// Drops keys that waited too long.
    pub fn expire(&self) {
        let now = Instant::now();
        self.0.lock().waiting.retain(|_, (_, since)| now.saturating_duration_since(*since) < HELD_MAX);
    }

    /// Compares the queue with the keys, and finds jobs that nobody can run. A job of which another server may have the key is
    /// one of them only after the time that a key may wait.
    pub fn compare<'a>(&self, queued: impl Iterator<Item = &'a QueuedJob>, has_other_servers: bool) {
        let mut inner = self.0.lock();
        let now = Instant::now();
        let mut strays = BTreeMap::new();
        for QueuedJob { subject, version, .. } in queued {
            if !inner.waiting.contains_key(version) {
                let since = inner.strays.get(version).map_or(now, |(_, since)| *since);
                let subject = Subject { name: subject.clone(), version: version.clone() };
                strays.insert(version.clone(), (subject, since));
            }
        }
        let wait = if has_other_servers { HELD_MAX } else { Duration::ZERO };
        let is_lost = |since: Instant| now.saturating_duration_since(since) >= wait;
        inner.lost = strays
            .values()
            .filter(|(_, since)| is_lost(*since))
            .map(|(subject, _)| subject.clone())
            .collect();
        inner.strays = strays;
    }
}

#[cfg(test)]
mod tests {
    use edgeprove_outbound::AllowedHosts;

    use super::*;

    fn key(number: u32, version: &str) -> HeldKey {
        let nodes = AllowedHosts(vec!["rpc.example".parse().unwrap()]);
        HeldKey {
            key: DeployerKey::parse(&format!("{number:064x}")).unwrap(),
            node: nodes.admit("https://rpc.example/s3cr3t").unwrap(),
            chain_id: 1,
            subject: Subject { name: "range".to_owned(), version: version.to_owned() },
        }
    }

    /// The keys of a server with this number of workers.
    fn server(workers: usize) -> HeldKeys {
        HeldKeys::new(NonZeroUsize::new(workers).unwrap())
    }

    fn versions(keys: &HeldKeys) -> Vec<String> {
        keys.subjects().into_iter().map(|subject| subject.version).collect()
    }

    #[test]
    fn one_deployment_uses_an_account_at_a_time() {
        let keys = server(8);
        for (number, version) in [(1, "a"), (1, "b"), (2, "c")] {
            keys.hold(key(number, version)).unwrap();
        }
        let Taken::Key(_, busy) = keys.take("a") else { panic!("it waits") };
        assert_eq!(versions(&keys), ["c"]);
        assert!(matches!(keys.take("b"), Taken::Later));
        assert!(matches!(keys.take("a"), Taken::Gone), "a key is used once");
        drop(busy);
        assert_eq!(versions(&keys), ["b", "c"]);
        keys.forget("b");
        assert!(matches!(keys.take("b"), Taken::Gone));
    }

    #[test]
    fn deployments_leave_most_workers_free() {
        for (workers, running_max) in [(1, 1), (4, 1), (7, 1), (8, 2)] {
            let (keys, mut running) = (server(workers), Vec::new());
            for number in 1..=3 {
                keys.hold(key(number, &number.to_string())).unwrap();
            }
            while let Some(version) = versions(&keys).first() {
                let Taken::Key(_, busy) = keys.take(version) else { panic!("it is offered") };
                running.push(busy);
            }
            assert_eq!(running.len(), running_max, "{workers}");
            assert!(matches!(keys.take("3"), Taken::Later), "a worker may have seen it before");
            running.pop();
            assert!(keys.holds("3") && versions(&keys).contains(&"3".to_owned()));
        }
    }

    #[test]
    fn the_number_of_keys_is_bounded_and_none_is_shown() {
        let keys = server(4);
        for number in 1..=16 {
            keys.hold(key(number, &number.to_string())).unwrap();
        }
        assert_eq!(keys.hold(key(17, "17")), Err(TooManyKeys));
        assert_eq!(keys.hold(key(16, "16")), Ok(()), "it is the same job");
        let shown = format!("{keys:?}");
        assert!(!shown.contains("s3cr3t") && !shown.contains("0000000001"), "{shown}");
    }

    #[test]
    fn jobs_of_ended_servers_are_found() {
        let keys = server(4);
        keys.hold(key(1, "a")).unwrap();
        let queued = ["a", "b"].map(|version| QueuedJob {
            id: edgeprove_protocol::JobId::new(None, [7; 16]).unwrap(),
            kind: "deploy".to_owned(),
            subject: "range".to_owned(),
            version: version.to_owned(),
        });
        // Another server may have the key of the second job.
        keys.compare(queued.iter(), true);
        assert_eq!(versions(&keys), ["a"]);
        keys.compare(queued.iter(), false);
        assert_eq!(versions(&keys), ["a", "b"]);
        // Its caller sends the key again.
        keys.hold(key(2, "b")).unwrap();
        assert_eq!(versions(&keys), ["a", "b"]);
        assert!(matches!(keys.take("b"), Taken::Key(..)));
        keys.compare(queued[..1].iter(), false);
        assert_eq!(versions(&keys), ["a"]);
    }
}
