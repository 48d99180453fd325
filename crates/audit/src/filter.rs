//! Which entries of the log are wanted.

use std::fmt;

use edgeprove_job_rules::audit::{Action, Record};
use edgeprove_protocol::CircuitId;
use edgeprove_telemetry::utc_timestamp;
use serde::Deserialize;

/// The entries that have all of these members; `None` allows every value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryFilter {
    action: Option<Action>,
    actor: Option<String>,
    circuit: Option<CircuitId>,
    /// The earliest time, in the form of entries.
    since: Option<String>,
    /// The first time that is too late, in the form of entries.
    until: Option<String>,
}

/// The texts of a filter, as a query or a command line has them.
#[derive(Debug, Clone, Default)]
pub struct RawFilter {
    /// The code of an action, such as `job.cancelled`.
    pub action: Option<String>,
    /// `key:NAME`, `anonymous` or `server`.
    pub actor: Option<String>,
    /// The name of a circuit.
    pub circuit: Option<String>,
    /// The earliest time: RFC 3339.
    pub since: Option<String>,
    /// The first time that is too late: RFC 3339.
    pub until: Option<String>,
}

/// A text of a filter is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` must be {wanted}")]
pub struct FilterFault {
    /// The name of the text, such as `since`.
    pub name: &'static str,
    /// The form that it should have.
    pub wanted: String,
}

/// The members of an entry that a filter reads.
#[derive(Deserialize)]
struct Members {
    action: String,
    actor: String,
    circuit: Option<String>,
    time: String,
}

impl RawFilter {
    /// Parses the texts. Returns all errors at once.
    pub fn parse(self) -> Result<EntryFilter, Vec<FilterFault>> {
        let mut faults = Vec::new();
        let mut fault = |name, wanted: &dyn fmt::Display| {
            faults.push(FilterFault { name, wanted: wanted.to_string() });
        };
        let action = self.action.and_then(|code| {
            let action = Action::ALL.iter().find(|action| action.code() == code).copied();
            if action.is_none() {
                let codes: Vec<&str> = Action::ALL.iter().map(|action| action.code()).collect();
                fault("action", &format_args!("one of {}", codes.join(", ")));
            }
            action
        });
        let is_actor = |text: &str| {
            matches!(text, "anonymous" | "server")
                || text.strip_prefix("key:").is_some_and(|name| !name.is_empty())
        };
        let actor = self.actor.filter(|actor| {
            let is_valid = is_actor(actor);
            if !is_valid {
                fault("actor", &"key:NAME, anonymous or server");
            }
            is_valid
        });
        let circuit = self
            .circuit
            .and_then(|text| text.parse().map_err(|_| fault("circuit", &"the name of a circuit")).ok());
        let mut time = |name, text: Option<String>| {
            text.and_then(|text| {
                let time = utc_timestamp(&text);
                if time.is_none() {
                    fault(name, &"a time such as 2026-11-29T08:00:00Z");
                }
                time
            })
        };
        let (since, until) = (time("since", self.since), time("until", self.until));
        if faults.is_empty() { Ok(EntryFilter { action, actor, circuit, since, until }) } else { Err(faults) }
    }
}

impl EntryFilter {
    /// Whether it allows every entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the entry of this record has all members of the filter.
    #[must_use]
    pub fn allows(&self, record: &Record) -> bool {
        if self.is_empty() {
            return true;
        }
        // A record that was read is in canonical form and has these members; another one is not wanted.
        let Ok(members) = serde_json::from_str::<Members>(&record.entry) else { return false };
        // Times of entries all have one form and sort as text.
        self.action.is_none_or(|action| action.code() == members.action)
            && self.actor.as_ref().is_none_or(|actor| *actor == members.actor)
            && self
                .circuit
                .as_ref()
                .is_none_or(|circuit| members.circuit.as_deref() == Some(circuit.as_str()))
            && self.since.as_ref().is_none_or(|since| members.time >= *since)
            && self.until.as_ref().is_none_or(|until| members.time < *until)
    }
}

#[cfg(test)]
mod tests {
    use edgeprove_job_rules::audit::{Actor, Entry, Link};

    use super::*;

    fn record() -> Record {
        let entry = Entry {
            circuit: "range_check".parse().ok(),
            ..Entry::new(
                "2026-11-29T08:00:00.000Z".to_owned(),
                Actor::Key("alice".to_owned()),
                Action::ProofSynchronous,
            )
        };
        Record::after(Link::START, &entry)
    }

    fn allows(name: &str, value: &str) -> bool {
        let mut raw = RawFilter::default();
        let member = match name {
            "action" => &mut raw.action,
            "actor" => &mut raw.actor,
            "circuit" => &mut raw.circuit,
            "since" => &mut raw.since,
            _ => &mut raw.until,
        };
        *member = Some(value.to_owned());
        raw.parse().unwrap().allows(&record())
    }

    #[test]
    fn an_entry_needs_every_wanted_member() {
        assert!(EntryFilter::default().allows(&record()));
        for (name, value, wanted) in [
            ("action", "proof.synchronous", true),
            ("action", "job.failed", false),
            ("actor", "key:alice", true),
            ("actor", "key:bob", false),
            ("actor", "anonymous", false),
            ("circuit", "range_check", true),
            ("circuit", "range", false),
            ("since", "2026-11-29T08:00:00Z", true),
            ("since", "2026-11-29T09:00:00+01:00", true),
            ("since", "2026-11-29T08:00:00.001Z", false),
            ("until", "2026-11-29T08:00:00Z", false),
            ("until", "2026-11-29T08:00:00.001Z", true),
        ] {
            assert_eq!(allows(name, value), wanted, "{name}={value}");
        }
    }

    #[test]
    fn invalid_texts_are_reported_together() {
        let text = || Some("no such".to_owned());
        let raw = RawFilter {
            action: text(),
            actor: text(),
            circuit: Some("../x".to_owned()),
            since: text(),
            until: text(),
        };
        let names: Vec<_> = raw.parse().unwrap_err().iter().map(|fault| fault.name).collect();
        assert_eq!(names, ["action", "actor", "circuit", "since", "until"]);
    }
}
