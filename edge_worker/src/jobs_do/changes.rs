//! Reports changes of jobs to the streams that show them, within one object.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::{Rc, Weak},
    task::{Poll, Waker},
};

use edgeprove_protocol::JobId;

/// Most streams of one object.
pub const STREAMS_MAX: usize = 2_000;
/// Most streams of one account.
pub const STREAMS_PER_OWNER_MAX: usize = 64;

/// Who waits for changes of which jobs.
#[derive(Debug, Default)]
pub struct Changes {
    /// The jobs that are followed. There are at most [`STREAMS_MAX`].
    jobs: RefCell<Vec<(JobId, Weak<Channel>)>>,
    /// The owners of streams, and the number of each.
    streams: RefCell<Vec<(String, usize)>>,
}

/// The changes of one job.
#[derive(Debug, Default)]
struct Channel {
    version: Cell<u64>,
    wakers: RefCell<Vec<Waker>>,
}

/// The right to follow a job, until it is dropped.
#[derive(Debug)]
pub struct Follower {
    changes: Rc<Changes>,
    job: JobId,
    owner: String,
    channel: Rc<Channel>,
    seen: Cell<u64>,
}

impl Changes {
    /// Starts to follow a job; `None` if there are too many streams, in all or of this owner.
    #[must_use]
    pub fn follow(self: &Rc<Self>, job: JobId, owner: &str) -> Option<Follower> {
        let mut streams = self.streams.borrow_mut();
        if streams.iter().map(|(_, number)| *number).sum::<usize>() >= STREAMS_MAX {
            return None;
        }
        match streams.iter_mut().find(|(other, _)| other == owner) {
            Some((_, own)) if *own >= STREAMS_PER_OWNER_MAX => return None,
            Some((_, own)) => *own += 1,
            None => streams.push((owner.to_owned(), 1)),
        }
        drop(streams);
        let channel = self.channel(job).unwrap_or_else(|| {
            let channel = Rc::<Channel>::default();
            self.jobs.borrow_mut().push((job, Rc::downgrade(&channel)));
            channel
        });
        let seen = Cell::new(channel.version.get());
        Some(Follower { changes: Rc::clone(self), job, owner: owner.to_owned(), channel, seen })
    }

    fn channel(&self, job: JobId) -> Option<Rc<Channel>> {
        self.jobs.borrow().iter().find(|(other, _)| *other == job)?.1.upgrade()
    }

    /// Reports a change of a job.
    pub fn report(&self, job: JobId) {
        let Some(channel) = self.channel(job) else { return };
        channel.version.set(channel.version.get().wrapping_add(1));
        for waker in channel.wakers.take() {
            waker.wake();
        }
    }

    /// The number of jobs that are followed.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.jobs.borrow().len()
    }
}

impl Follower {
    /// Waits for the next change since the last call.
    pub async fn changed(&self) {
        poll_fn(|context| {
            let version = self.channel.version.get();
            if self.seen.replace(version) != version {
                return Poll::Ready(());
            }
            let mut wakers = self.channel.wakers.borrow_mut();
            // A future that was dropped leaves its waker here, so that the same stream can have several.
            wakers.retain(|waker| !waker.will_wake(context.waker()));
            wakers.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut streams = self.changes.streams.borrow_mut();
        if let Some(at) = streams.iter().position(|(owner, _)| *owner == self.owner) {
            streams[at].1 = streams[at].1.saturating_sub(1);
            if streams[at].1 == 0 {
                streams.swap_remove(at);
            }
        }
        drop(streams);
        if Rc::strong_count(&self.channel) == 1 {
            self.changes.jobs.borrow_mut().retain(|(job, _)| *job != self.job);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn job(byte: u8) -> JobId {
        JobId::new(None, [byte; 16]).unwrap()
    }

    #[test]
    fn each_follower_sees_each_change_once() {
        let changes = Rc::<Changes>::default();
        let followers = [1, 1, 2].map(|byte| changes.follow(job(byte), "alice").unwrap());
        assert_eq!(changes.watched(), 2);
        changes.report(job(1));
        changes.report(job(3));
        let seen = || followers.each_ref().map(|follower| follower.changed().now_or_never().is_some());
        assert_eq!(seen(), [true, true, false]);
        assert_eq!(seen(), [false, false, false]);
        drop(followers);
        assert_eq!((changes.watched(), changes.streams.borrow().len()), (0, 0));
    }

    #[test]
    fn streams_are_bounded_by_owner_and_in_all() {
        let changes = Rc::<Changes>::default();
        let mut held: Vec<_> =
            (0..STREAMS_PER_OWNER_MAX).map(|_| changes.follow(job(1), "alice").unwrap()).collect();
        assert!(changes.follow(job(1), "alice").is_none());
        held.pop();
        assert!(changes.follow(job(2), "alice").is_some());
        for owner in 0..STREAMS_MAX {
            held.extend(changes.follow(job(3), &owner.to_string()));
        }
        assert_eq!(held.len(), STREAMS_MAX);
        assert!(changes.follow(job(3), "bob").is_none());
    }
}
