//! The content of an entry.

use edgeprove_protocol::{CircuitId, JobId, ProblemType};
use serde::{Serialize, Serializer};

use crate::lease::LeaseToken;

/// Who acted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Actor {
    /// The holder of the key of this name, or whom the edge gave this name.
    Key(String),
    /// A caller without a key.
    Anonymous,
    /// The server by itself.
    Server,
}

impl Serialize for Actor {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Key(name) => to.collect_str(&format_args!("key:{name}")),
            Self::Anonymous => to.serialize_str("anonymous"),
            Self::Server => to.serialize_str("server"),
        }
    }
}

macro_rules! actions {
    ($($(#[$doc:meta])* $variant:ident = $code:literal;)+) => {
        /// An action. Codes never change once released.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
        pub enum Action {
            $($(#[$doc])* #[serde(rename = $code)] $variant,)+
        }

        impl Action {
            /// Every action, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its code.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }
        }
    };
}

actions! {
    /// A server was started.
    ServerStarted = "server.started";
    /// A server stopped on request.
    ServerStopped = "server.stopped";
    /// A crash cut off the end of the log, which was set aside.
    LogMended = "log.repaired";
    /// An operator had moved the log away, and the chain continues in a new file.
    LogRotated = "log.rotated";
    /// The keys file was read again.
    KeysChanged = "keys.changed";
    /// A new version of the keys file was rejected: it is invalid.
    KeysRejected = "keys.rejected";
    /// A request was refused: its key is missing, unknown or not allowed to do this.
    KeyRefused = "key.refused";
    /// A proof was requested, and the caller waited for it.
    ProofSynchronous = "proof.synchronous";
    /// A job was accepted.
    JobSubmitted = "job.accepted";
    /// A worker started a job.
    JobStarted = "job.started";
    /// An attempt at a job failed or was released, and the job is queued again.
    JobRetried = "job.retried";
    /// A job was completed.
    JobCompleted = "job.completed";
    /// The result of a job was returned to a caller.
    JobFetched = "job.fetched";
    /// A job failed.
    JobFailed = "job.failed";
    /// A caller cancelled a job that a worker was running: the worker has yet to stop.
    JobCancelRequested = "job.cancel_requested";
    /// A job was cancelled.
    JobCancelled = "job.cancelled";
    /// An operator queued a failed job again.
    JobRequeued = "job.requeued";
    /// A job's result was deleted.
    JobExpired = "job.expired";
    /// The holder of a key minted a voucher for a page.
    VoucherMinted = "voucher.minted";
    /// An operator uploaded a circuit, which passed every check.
    CircuitUploaded = "circuit.uploaded";
    /// An operator removed a circuit that was built or uploaded.
    CircuitRemoved = "circuit.removed";
    /// The contracts of a circuit were deployed.
    CircuitDeployed = "circuit.deployed";
    /// A server of a caller was notified that a job has finished.
    WebhookDelivered = "webhook.delivered";
    /// A server of a caller could not be notified that a job has finished, and no further attempt is made.
    WebhookGivenUp = "webhook.given_up";
}

/// The outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Success.
    Ok,
    /// The caller left before the answer.
    Abandoned,
    /// It failed with this problem.
    Failed(ProblemType),
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(match self {
            Self::Ok => "ok",
            Self::Abandoned => "abandoned",
            Self::Failed(problem) => problem.code(),
        })
    }
}

/// Who did what, when and with which outcome. Members that do not apply are left out.
// In the order of the alphabet: this is how the canonical form writes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The action.
    pub action: Action,
    /// The actor.
    pub actor: Actor,
    /// Which attempt at the job, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The circuit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit: Option<CircuitId>,
    /// The contract that was deployed, as CAIP-10 writes an account: `eip155:CHAIN:0xADDRESS`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contract: Option<String>,
    /// The job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
    /// The kind of the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_kind: Option<String>,
    /// The token of the lease under which a worker did it: two claims of a job never have the same.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "token")]
    pub lease_token: Option<LeaseToken>,
    /// The outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The owner of the job, if another actor acted on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Actor>,
    /// The request it belongs to, as in the log. 1 to 128 characters of `A-Z a-z 0-9 - _ . :`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// When, by the clock of the server that did it: RFC 3339 in UTC with milliseconds.
    pub time: String,
    /// How many requests of the same actor with the same outcome this entry stands for, if more than one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// The id of the voucher with which a page acted for the actor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voucher: Option<String>,
    /// The server that did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
}

#[expect(clippy::ref_option, reason = "serde hands the member over like this")]
fn token<S: Serializer>(token: &Option<LeaseToken>, to: S) -> Result<S::Ok, S::Error> {
    token.map(|LeaseToken(number)| number).serialize(to)
}

impl Entry {
    /// An entry with its action, actor and time only.
    #[must_use]
    pub fn new(time: String, actor: Actor, action: Action) -> Self {
        Self {
            action,
            actor,
            attempt: None,
            circuit: None,
            contract: None,
            job_id: None,
            job_kind: None,
            lease_token: None,
            outcome: None,
            owner: None,
            request_id: None,
            time,
            times: None,
            voucher: None,
            worker: None,
        }
    }

    /// The form that is hashed and stored: JSON as RFC 8785 writes it. Its members are sorted, there is no white space, and
    /// all values are texts and whole numbers below 2^53.
    #[must_use]
    pub fn canonical(&self) -> String {
        // Texts and numbers are always JSON.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};

    use super::*;

    fn full() -> Entry {
        Entry {
            attempt: Some(2),
            circuit: "range_check".parse().ok(),
            contract: Some("eip155:1:0x00000000219ab540356cBB839Cbe05303d7705Fa".to_owned()),
            job_id: "c3-7c2d3f7e-0b7a-4c55-9d2f-5c1f3a0e9b11".parse().ok(),
            job_kind: Some("prove".to_owned()),
            lease_token: Some(LeaseToken(7)),
            outcome: Some(Outcome::Failed(ProblemType::ProofTimeout)),
            owner: Some(Actor::Anonymous),
            request_id: Some("r-1".to_owned()),
            times: Some(3),
            voucher: Some("v-1".to_owned()),
            worker: Some("prover-0".to_owned()),
            ..Entry::new(
                "2026-11-21T09:43:23.731Z".to_owned(),
                Actor::Key("alice".to_owned()),
                Action::JobFailed,
            )
        }
    }

    #[test]
    fn its_members_are_written_in_the_order_of_the_alphabet() {
        assert_eq!(
            full().canonical(),
            "{\"action\":\"job.failed\",\"actor\":\"key:alice\",\"attempt\":2,\"circuit\":\"range_check\",\
             \"contract\":\"eip155:1:0x00000000219ab540356cBB839Cbe05303d7705Fa\",\
             \"job_id\":\"c3-7c2d3f7e-0b7a-4c55-9d2f-5c1f3a0e9b11\",\"job_kind\":\"prove\",\"lease_token\":7,\"outcome\":\"proof_timeout\",\
             \"owner\":\"anonymous\",\"request_id\":\"r-1\",\"time\":\"2026-11-21T09:43:23.731Z\",\"times\":3,\"voucher\":\"v-1\",\"worker\":\"prover-0\"}"
        );
        let members: Map<String, Value> = serde_json::from_str(&full().canonical()).unwrap();
        assert!(members.keys().is_sorted());
    }

    #[test]
    fn what_does_not_apply_is_left_out() {
        let entry = Entry::new(String::new(), Actor::Anonymous, Action::ServerStarted);
        assert_eq!(entry.canonical(), r#"{"action":"server.started","actor":"anonymous","time":""}"#);
    }

    #[test]
    fn every_action_is_written_as_its_code() {
        for &action in Action::ALL {
            assert_eq!(serde_json::to_string(&action).unwrap(), format!("\"{}\"", action.code()));
        }
    }
}
