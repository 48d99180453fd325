//! Warns of queued jobs that no worker of this server takes. Such jobs wait for another server, or for ever.

use std::collections::BTreeMap;

use edgeprove_job_rules::{
    capability::{Capability, Subject},
    queue_position::QueuedJob,
};

use crate::{queue_types::QueueError, sql_queue::SqlQueue};

/// Logs a warning for each kind and subject of queued jobs that these capabilities do not cover.
pub async fn warn_unclaimable_jobs(queue: &SqlQueue, capabilities: &[Capability]) -> Result<(), QueueError> {
    for ((kind, Subject { name: subject, version }), jobs) in
        unclaimable(&queue.queued(u32::MAX).await?, capabilities)
    {
        tracing::warn!(
            kind,
            subject,
            version,
            jobs,
            "queued jobs wait for another server: this one does not have their subject in this version"
        );
    }
    Ok(())
}

fn unclaimable(queued: &[QueuedJob], capabilities: &[Capability]) -> BTreeMap<(String, Subject), usize> {
    let mut counts = BTreeMap::new();
    for QueuedJob { kind, subject, version, .. } in queued {
        let subject = Subject { name: subject.clone(), version: version.clone() };
        let is_covered =
            capabilities.iter().any(|capability| capability.covers(kind, &subject.name, &subject.version));
        if !is_covered {
            *counts.entry((kind.clone(), subject)).or_default() += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use edgeprove_protocol::JobId;

    use super::*;

    #[test]
    fn jobs_without_a_capability_are_counted() {
        let queued = |kind: &str, version: &str| QueuedJob {
            id: JobId::new(None, [1; 16]).unwrap(),
            kind: kind.to_owned(),
            subject: "maze".to_owned(),
            version: version.to_owned(),
        };
        let subject = |version: &str| Subject { name: "maze".to_owned(), version: version.to_owned() };
        let capability = Capability { kind: "prove", subjects: Some(vec![subject("1")]) };
        let queue = [queued("prove", "1"), queued("prove", "2"), queued("prove", "2"), queued("noop", "1")];
        let expected = [(("noop".to_owned(), subject("1")), 1), (("prove".to_owned(), subject("2")), 2)];
        assert_eq!(unclaimable(&queue, &[capability]), BTreeMap::from(expected));
        assert_eq!(unclaimable(&queue[3..], &[Capability::all_of("noop")]), BTreeMap::new());
    }
}
