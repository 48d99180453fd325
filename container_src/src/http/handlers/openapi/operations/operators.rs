//! For operators and their machines: records, metrics, scaling.

use edgeprove_job_rules::audit::Action;
use edgeprove_protocol::{ProblemType::*, headers, work::Scale};
use serde_json::json;

use super::{circuit, one_of, text, whole};
use crate::{
    http::handlers::openapi::{
        operation::{Operation, Tag},
        problems::{CALLER, JOB_STORE},
        schemas,
    },
    jobs::scale::PROVERS_MAX,
};

pub(super) fn operations() -> Vec<Operation> {
    let number = || json!({ "type": "integer", "minimum": 0 });
    vec![
        Operation::get("/v1/audit", "readAuditLog", Tag::Operators)
            .query("after", number(), "The number of the entry before the first one.")
            .query("limit", number(), "The number of entries. A page has at most 10,000.")
            .query("last", number(), "The number of the latest entries, instead of `after` and `limit`.")
            .query("action", one_of(Action::ALL.iter().map(|action| action.code())), "What was done.")
            .query("actor", text(), "Who did it.")
            .query("circuit", circuit(), "The circuit.")
            .query("since", text(), "The earliest time, RFC 3339.")
            .query("until", text(), "The latest time, RFC 3339.")
            .answers_with(200, "The entries, one a line.", "application/x-ndjson", |_| schemas::text())
            .with_headers(200, &[headers::AUDIT_HEAD, headers::AUDIT_NEXT])
            .problems(CALLER)
            .problems(&[AuditUnavailable]),
        Operation::get("/v1/scale", "getScale", Tag::Operators)
            .query("drain", whole(1, 86_400), "The time in which the queue should be empty, in seconds.")
            .query("min", whole(0, u64::from(PROVERS_MAX)), "The fewest provers.")
            .query("max", whole(0, u64::from(PROVERS_MAX)), "The most provers.")
            .answers::<Scale>(200, "The number of provers.")
            .problems(CALLER)
            .problems(JOB_STORE),
        Operation::get("/metrics", "getMetrics", Tag::Probes)
            .answers_with(200, "The series.", "text/plain", |_| schemas::text())
            .problems(CALLER),
    ]
}
