//! The position of a queued job: how many jobs of which sort are ahead of it.

use edgeprove_protocol::JobId;

/// A queued job, as far as its position matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedJob {
    /// Its id.
    pub id: JobId,
    /// The name of its job kind.
    pub kind: String,
    /// Its subject within the kind, such as the name of a circuit.
    pub subject: String,
    /// The version of the subject.
    pub version: String,
}

/// A number of queued jobs that have the same kind and the same subject, and so take about the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobGroup {
    /// The name of their job kind.
    pub kind: String,
    /// Their subject within the kind.
    pub subject: String,
    /// The number of jobs.
    pub jobs: u64,
}

/// The position of a job in the queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueuePosition {
    /// The jobs ahead of it, in the order of each group's first job.
    pub ahead: Vec<JobGroup>,
}

impl QueuePosition {
    /// The position as a number: 1 for the job that is claimed next.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.ahead.iter().map(|group| group.jobs).sum::<u64>() + 1
    }
}

/// Finds the positions of the wanted jobs in one pass over the queue, which is given in the order of work. Only jobs that
/// `counts` accepts are ahead of others: those that no worker takes delay nobody.
pub fn positions(
    queue: &[QueuedJob],
    counts: impl Fn(&QueuedJob) -> bool,
    is_wanted: impl Fn(JobId) -> bool,
) -> impl Iterator<Item = (&QueuedJob, QueuePosition)> {
    let mut ahead = Vec::<JobGroup>::new();
    queue.iter().filter_map(move |queued| {
        let position = is_wanted(queued.id).then(|| QueuePosition { ahead: ahead.clone() });
        let is_alike =
            |group: &&mut JobGroup| (&group.kind, &group.subject) == (&queued.kind, &queued.subject);
        match ahead.iter_mut().find(is_alike) {
            _ if !counts(queued) => {}
            Some(group) => group.jobs += 1,
            None => {
                ahead.push(JobGroup { kind: queued.kind.clone(), subject: queued.subject.clone(), jobs: 1 });
            }
        }
        position.map(|position| (queued, position))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_of_one_subject_form_one_group() {
        let id = |byte| JobId::new(None, [byte; 16]).unwrap();
        let queued = |byte, subject: &str| QueuedJob {
            id: id(byte),
            kind: "prove".to_owned(),
            subject: subject.to_owned(),
            version: "1".to_owned(),
        };
        let queue = [queued(1, "maze"), queued(2, "tree"), queued(3, "maze"), queued(4, "tree")];
        let found: Vec<_> =
            positions(&queue, |_| true, |wanted| wanted == id(1) || wanted == id(4)).collect();
        let group =
            |subject: &str, jobs| JobGroup { kind: "prove".to_owned(), subject: subject.to_owned(), jobs };
        let first = QueuePosition { ahead: vec![] };
        let last = QueuePosition { ahead: vec![group("maze", 2), group("tree", 1)] };
        assert_eq!((first.number(), last.number()), (1, 4));
        assert_eq!(found, [(&queue[0], first), (&queue[3], last)]);
        let some: Vec<_> = positions(&queue, |job| job.subject == "tree", |wanted| wanted == id(4)).collect();
        assert_eq!(some, [(&queue[3], QueuePosition { ahead: vec![group("tree", 1)] })]);
    }
}
