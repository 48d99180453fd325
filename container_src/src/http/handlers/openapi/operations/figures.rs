//! Figures: the queue, durations, estimates.

use edgeprove_protocol::{
    ProblemType::*,
    statistics::{CostEstimate, Stats},
};

use super::{circuit, whole};
use crate::http::handlers::{
    job_counts::QueueCounts,
    openapi::{
        operation::{Operation, Tag},
        problems::{CALLER, CIRCUIT, JOB_STORE},
        schemas,
    },
};

pub(super) fn operations() -> Vec<Operation> {
    let container = || whole(0, 9999);
    vec![
        Operation::get("/v1/queue", "countJobs", Tag::Figures)
            .query("container", container(), "The container, behind an edge.")
            .answers::<QueueCounts>(200, "The counts.")
            .problems(CALLER)
            .problems(JOB_STORE),
        Operation::get("/v1/stats", "getStats", Tag::Figures)
            .query("container", container(), "The container, behind an edge.")
            .answers::<Stats>(200, "The figures.")
            .problems(CALLER),
        Operation::get("/v1/estimate", "estimateProof", Tag::Figures)
            .query("circuit", circuit(), "The circuit.")
            .answers::<CostEstimate>(200, "The estimate.")
            .problems(CALLER)
            .problems(CIRCUIT)
            .problems(JOB_STORE)
            .problems(&[NotReady]),
        Operation::get("/v1/board/events", "followBoard", Tag::Figures)
            .query("container", container(), "The container, behind an edge.")
            .answers_with(
                200,
                "The sections of the board, as server-sent events.",
                "text/event-stream",
                |_| schemas::events(),
            )
            .problems(CALLER)
            .problems(&[TooManyWatchers, NotReady]),
    ]
}
