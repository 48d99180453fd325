//! Compares all views of the queue with the model.

use std::collections::BTreeMap;

use edgeprove_job_rules::job::Job;
use edgeprove_protocol::{JobStatus, Priority};

use crate::{
    model::{KINDS, Model, OWNERS, SUBJECTS, sorted, without_seq},
    queue::{Listing, Queue},
};

/// Compares everything but lists.
pub(crate) async fn compare(queue: &mut Queue, model: &Model) {
    let waiting = model.queued();
    let order: Vec<_> = waiting.iter().map(|job| job.id).collect();
    assert_eq!(queue.queued().await, order);
    for job in model.jobs.values() {
        let position = order.iter().position(|id| *id == job.id);
        let ahead = position.map(|position| {
            let mut ahead = BTreeMap::new();
            for other in &waiting[..position] {
                let sort = (other.kind.clone(), other.subject.clone(), other.version.clone());
                *ahead.entry(sort).or_insert(0) += 1;
            }
            let each = ahead.into_iter();
            each.map(|((kind, subject, version), jobs)| (kind, subject, version, jobs)).collect()
        });
        assert_eq!(queue.ahead(job.id).await.map(sorted), ahead);
        assert_eq!(queue.get(job.id).await.map(without_seq), Some(without_seq(job.clone())));
    }
    let waiting = model.queued().into_iter().map(|job| job.run_at.0).filter(|at| *at > model.now.0);
    assert_eq!(queue.next_due(model.now).await, waiting.min());

    for account in OWNERS.map(|owner| format!("key:{owner}")) {
        assert_eq!(queue.load(&account).await, model.load(&account), "{account}");
    }

    let (mut counts, mut oldest) = (BTreeMap::new(), BTreeMap::new());
    for job in model.jobs.values() {
        let level = i64::from(job.priority.level());
        *counts.entry((job.kind.clone(), job.status.as_str(), level)).or_insert(0) += 1;
        if job.status == JobStatus::Queued {
            let since = oldest.entry(level).or_insert(i64::MAX);
            *since = job.enqueued_at.0.min(*since);
        }
    }
    let shown = queue.counts().await;
    let shown: BTreeMap<_, _> =
        shown.into_iter().map(|(kind, status, level, jobs)| ((kind, status.as_str(), level), jobs)).collect();
    assert_eq!(shown, counts);
    assert_eq!(queue.oldest_queued().await, Vec::from_iter(oldest));

    let named = model.jobs.values().flat_map(|job| job.input.iter().chain(&job.result).cloned());
    assert_eq!(sorted(queue.named_artifacts().await), sorted(named.collect()));
    for (kind, subject) in KINDS.iter().flat_map(|kind| SUBJECTS.map(|subject| (*kind, subject))) {
        let such = model.jobs.values().rev().filter(|job| job.kind == kind && job.subject == subject);
        let completed = such.filter(|job| job.status == JobStatus::Completed).map(|job| job.id);
        assert_eq!(queue.completed(kind, subject).await, completed.collect::<Vec<_>>());
    }
}

/// Compares lists for many filters, in pages of two jobs and in both orders.
pub(crate) async fn compare_lists(queue: &mut Queue, model: &Model) {
    let some_id = model.jobs.values().next().map(|job| format!("{}%", &job.id.to_string()[..3]));
    let unfinished = [JobStatus::Queued, JobStatus::Running];
    let any = Listing::default();
    let filters = [
        any,
        Listing { kind: Some(KINDS[0]), ..any },
        Listing { statuses: &[JobStatus::Completed], subject: Some(SUBJECTS[0]), ..any },
        Listing { statuses: &unfinished, kind: Some(KINDS[1]), ..any },
        Listing { id_pattern: some_id.as_deref(), ..any },
        Listing { from: Some(model.now.0 - 5_000), ..any },
        Listing { until: Some(model.now.0 - 5_000), statuses: &unfinished, ..any },
        Listing { outcome: Some("worker 1"), ..any },
        Listing { priority: Some(Priority::High), ..any },
    ];
    let owners = OWNERS.map(Some).into_iter().chain([None]);
    for listing in owners.flat_map(|owner| filters.map(|filter| Listing { owner, limit: 2, ..filter })) {
        let expected: Vec<_> = model.jobs.values().filter(|job| is_listed(job, &listing)).collect();
        let mut expected: Vec<_> = expected.into_iter().map(|job| job.id).collect();
        assert_eq!(queue.count_listed(&listing).await, i64::try_from(expected.len()).unwrap(), "{listing:?}");
        for oldest_first in [true, false] {
            let mut page_of = Listing { oldest_first, ..listing };
            let mut listed = Vec::new();
            loop {
                let page = queue.list(&page_of).await;
                listed.extend(page.iter().map(|job| job.id));
                page_of.position = page.last().map(|job| job.seq);
                if page.len() < 2 {
                    break;
                }
            }
            assert_eq!(listed, expected, "{page_of:?}");
            expected.reverse();
        }
    }
}

fn is_listed(job: &Job, listing: &Listing<'_>) -> bool {
    let id = job.id.to_string();
    listing.owner.is_none_or(|owner| owner == job.owner)
        && listing.kind.is_none_or(|kind| kind == job.kind)
        && (listing.statuses.is_empty() || listing.statuses.contains(&job.status))
        && listing.subject.is_none_or(|subject| subject == job.subject)
        && listing.id_pattern.is_none_or(|pattern| id.starts_with(pattern.trim_end_matches('%')))
        && listing.from.is_none_or(|from| job.enqueued_at.0 >= from)
        && listing.until.is_none_or(|until| job.enqueued_at.0 <= until)
        && listing
            .outcome
            .is_none_or(|text| job.outcome.as_ref().is_some_and(|outcome| outcome.contains(text)))
        && listing.priority.is_none_or(|priority| priority == job.priority)
}
