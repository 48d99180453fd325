//! Compares all views of the queue with the model.

use std::collections::BTreeMap;

use edgeprove_protocol::JobStatus;

use crate::{
    model::{KINDS, Model, OWNERS, SUBJECTS, sorted, without_seq},
    queue::Queue,
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

/// Compares lists for all filters, in pages of two jobs.
pub(crate) async fn compare_lists(queue: &mut Queue, model: &Model) {
    let statuses = [None, Some(JobStatus::Queued), Some(JobStatus::Completed)];
    let subjects = [None, Some(SUBJECTS[0])];
    let filters = [None, Some(KINDS[0])].into_iter().flat_map(|kind| {
        statuses.into_iter().flat_map(move |status| subjects.map(move |subject| (kind, status, subject)))
    });
    let filters: Vec<_> = filters.collect();
    for (owner, filter) in
        OWNERS.into_iter().flat_map(|owner| filters.iter().map(move |&filter| (owner, filter)))
    {
        let (mut listed, mut before) = (Vec::new(), None);
        loop {
            let page = queue.list(owner, filter, before, 2).await;
            listed.extend(page.iter().map(|job| job.id));
            before = page.last().map(|job| job.seq);
            if page.len() < 2 {
                break;
            }
        }
        let (kind, status, subject) = filter;
        let of_owner = model.jobs.values().rev().filter(|job| job.owner == owner);
        let expected = of_owner.filter(|job| {
            kind.is_none_or(|kind| kind == job.kind)
                && status.is_none_or(|status| status == job.status)
                && subject.is_none_or(|subject| subject == job.subject)
        });
        assert_eq!(listed, expected.map(|job| job.id).collect::<Vec<_>>());
    }
}
