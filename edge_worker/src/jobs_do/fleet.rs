//! Which container gets the next job, and when another one is woken.
//!
//! A job goes to an awake container with a free core. A sleeping container costs nothing, so one is woken only if the jobs that
//! wait now would keep the awake ones busy for longer than it takes to wake it. A container gets jobs when it is ready: if it
//! cannot be started, no attempt at a job is lost.

use std::time::Duration;

use edgeprove_protocol::Load;

/// How long a reported load is used.
const LOAD_TTL: Duration = Duration::from_secs(5);
/// How long a container that could not be reached or woken gets no jobs, at first. It doubles with each further failure.
const FAILED_FOR: Duration = Duration::from_secs(2);
/// The longest such time.
const FAILED_MAX: Duration = Duration::from_mins(1);
/// The time to wake a container, before one was measured.
const WAKING_TIME: Duration = Duration::from_secs(5);
/// Cores of a container that has not reported its load.
const UNKNOWN_CORES: u32 = 1;

/// The containers, as the object of the jobs knows them. Times are milliseconds of one clock.
#[derive(Debug)]
pub struct Fleet {
    containers: Vec<Container>,
    /// How long a container stays awake without a request; `None` where it never sleeps.
    awake_for: Option<Duration>,
    waking_time: Duration,
}

#[derive(Debug, Clone)]
struct Container {
    state: State,
    /// Jobs that the object sent to it.
    jobs: u32,
    /// Requests of others, and when they were reported.
    others: (u32, u64),
    cores: u32,
    used_at: u64,
    /// It takes no jobs before this time.
    paused_until: u64,
    failures: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Asleep,
    Waking { since: u64 },
    Awake,
}

impl Fleet {
    /// The containers of a deployment, all asleep.
    #[must_use]
    pub fn of_containers(number: u16, awake_for: Duration) -> Self {
        Self::new(number, Some(awake_for))
    }

    /// One server that never sleeps. It counts as asleep until it was found ready, at first and after a failure.
    #[must_use]
    pub fn of_server() -> Self {
        Self::new(1, None)
    }

    fn new(number: u16, awake_for: Option<Duration>) -> Self {
        let container = Container {
            state: State::Asleep,
            jobs: 0,
            others: (0, 0),
            cores: UNKNOWN_CORES,
            used_at: 0,
            paused_until: 0,
            failures: 0,
        };
        let containers = vec![container; number.max(1).into()];
        Self { containers, awake_for, waking_time: WAKING_TIME }
    }

    /// The number of jobs that can run at the same time on the awake containers, at least 1.
    #[must_use]
    pub fn workers(&self) -> usize {
        let awake = self.containers.iter().filter(|container| container.state == State::Awake);
        usize::try_from(awake.map(|container| container.cores).sum::<u32>()).unwrap_or(1).max(1)
    }

    /// The number of jobs that were sent to containers.
    #[must_use]
    pub fn jobs(&self) -> u32 {
        self.containers.iter().map(|container| container.jobs).sum()
    }

    /// Whether a container is being woken.
    #[must_use]
    pub fn is_waking(&self) -> bool {
        self.containers.iter().any(|container| matches!(container.state, State::Waking { .. }))
    }

    /// The container for a job that starts now: the one with the smallest share of busy cores; `None` if none has a free core.
    pub fn free(&mut self, now: u64) -> Option<u16> {
        if let Some(awake_for) = self.awake_for {
            for container in &mut self.containers {
                let is_idle = container.jobs == 0 && has_passed(container.used_at, now, awake_for);
                if container.state == State::Awake && is_idle {
                    container.state = State::Asleep;
                }
            }
        }
        let free = self.containers.iter().zip(0..).filter(|(container, _)| container.has_free_core(now));
        let share = |of: &Container, other: &Container| u64::from(of.busy(now)) * u64::from(other.cores);
        free.min_by(|(a, _), (b, _)| share(a, b).cmp(&share(b, a))).map(|(_, instance)| instance)
    }

    /// The container to wake, where no container has a free core and jobs wait. `backlog` is the expected time until the awake
    /// containers have finished these jobs, if it is known. The container counts as being woken.
    pub fn wake(&mut self, backlog: Option<Duration>, now: u64) -> Option<u16> {
        if self.is_waking() {
            return None;
        }
        let has_awake = self.containers.iter().any(|container| container.is_usable(now));
        if has_awake && backlog.is_some_and(|backlog| backlog <= self.waking_time) {
            return None;
        }
        let is_asleep =
            |container: &Container| container.state == State::Asleep && container.paused_until <= now;
        let at = self.containers.iter().position(is_asleep)?;
        self.containers[at].state = State::Waking { since: now };
        u16::try_from(at).ok()
    }

    /// Notes that a job was sent to a container.
    pub fn assigned(&mut self, instance: u16, now: u64) {
        if let Some(container) = self.at(instance) {
            container.jobs += 1;
            container.used_at = now;
        }
    }

    /// Notes that a container is ready after it was woken, with its load if it reported one.
    pub fn woken(&mut self, instance: u16, load: Option<Load>, now: u64) {
        let Some(container) = self.at(instance) else { return };
        let since = if let State::Waking { since } = container.state { Some(since) } else { None };
        (container.state, container.used_at, container.failures) = (State::Awake, now, 0);
        if let Some(load) = load {
            container.note(load, 0, now);
        }
        if let Some(since) = since {
            self.waking_time = Duration::from_millis(now.saturating_sub(since));
        }
    }

    /// Notes that a job at a container has ended, with the load that its response reported.
    pub fn responded(&mut self, instance: u16, load: Option<Load>, now: u64) {
        let Some(container) = self.at(instance) else { return };
        if let Some(load) = load {
            container.note(load, container.jobs, now);
        }
        container.jobs = container.jobs.saturating_sub(1);
        (container.state, container.used_at, container.failures) = (State::Awake, now, 0);
    }

    /// Notes that a container took no job, and will not for a time.
    pub fn refused(&mut self, instance: u16, pause: Duration, now: u64) {
        let Some(container) = self.at(instance) else { return };
        container.jobs = container.jobs.saturating_sub(1);
        container.paused_until = container.paused_until.max(now.saturating_add(millis(pause)));
    }

    /// Notes that a container could not be woken, or did not respond. `had_job` is whether a job was sent to it.
    pub fn failed(&mut self, instance: u16, had_job: bool, now: u64) {
        let Some(container) = self.at(instance) else { return };
        if had_job {
            container.jobs = container.jobs.saturating_sub(1);
        }
        container.state = State::Asleep;
        container.failures = container.failures.saturating_add(1);
        let doublings = container.failures.saturating_sub(1).min(16);
        let pause = FAILED_FOR.saturating_mul(1 << doublings).min(FAILED_MAX);
        container.paused_until = now.saturating_add(millis(pause));
    }

    /// The time at which a container that takes no jobs now may take some again; `None` if none is paused.
    #[must_use]
    pub fn paused_until(&self, now: u64) -> Option<u64> {
        self.containers.iter().map(|container| container.paused_until).filter(|until| *until > now).min()
    }

    fn at(&mut self, instance: u16) -> Option<&mut Container> {
        self.containers.get_mut(usize::from(instance))
    }
}

impl Container {
    fn is_usable(&self, now: u64) -> bool {
        self.state == State::Awake && self.paused_until <= now
    }

    fn busy(&self, now: u64) -> u32 {
        let (others, at) = self.others;
        let others = if has_passed(at, now, LOAD_TTL) { 0 } else { others };
        self.jobs.saturating_add(others)
    }

    fn has_free_core(&self, now: u64) -> bool {
        self.is_usable(now) && self.busy(now) < self.cores
    }

    /// Notes a load that includes `own` jobs of the object.
    fn note(&mut self, load: Load, own: u32, now: u64) {
        let all = load.running.saturating_add(load.waiting);
        self.others = (all.saturating_sub(own), now);
        self.cores = load.cores.max(1);
    }
}

fn has_passed(since: u64, now: u64, time: Duration) -> bool {
    u128::from(now.saturating_sub(since)) >= time.as_millis()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AWAKE: Duration = Duration::from_mins(5);
    const LONG: Option<Duration> = Some(Duration::from_mins(1));
    const SHORT: Option<Duration> = Some(Duration::from_secs(1));

    fn load(running: u32, cores: u32) -> Load {
        Load { running, waiting: 0, cores }
    }

    #[test]
    fn a_sleeping_container_is_woken_before_it_gets_a_job() {
        let mut fleet = Fleet::of_containers(3, AWAKE);
        assert_eq!((fleet.free(0), fleet.wake(None, 0)), (None, Some(0)));
        assert_eq!(fleet.wake(LONG, 10), None, "one is woken at a time");
        fleet.woken(0, Some(load(0, 2)), 100);
        for _ in 0..2 {
            assert_eq!(fleet.free(100), Some(0));
            fleet.assigned(0, 100);
        }
        assert_eq!((fleet.workers(), fleet.jobs(), fleet.free(100)), (2, 2, None));
        // Waking took 0.1 s, which a backlog of a second is worth.
        assert_eq!(fleet.wake(SHORT, 100), Some(1));
    }

    #[test]
    fn a_backlog_that_is_soon_done_wakes_nobody() {
        let mut fleet = Fleet::of_containers(2, AWAKE);
        assert_eq!(fleet.wake(SHORT, 0), Some(0), "without an awake one, no backlog is ever done");
        fleet.woken(0, Some(load(0, 1)), 4_000);
        fleet.assigned(0, 4_000);
        assert_eq!(fleet.wake(SHORT, 4_000), None);
        assert_eq!(fleet.wake(LONG, 4_000), Some(1));
    }

    #[test]
    fn the_least_busy_container_gets_the_job() {
        let mut fleet = Fleet::of_containers(2, AWAKE);
        for (instance, running) in [(0, 1), (1, 0)] {
            assert_eq!(fleet.wake(LONG, 0), Some(instance));
            fleet.woken(instance, Some(load(running, 3)), 0);
        }
        assert_eq!(fleet.free(0), Some(1));
        fleet.assigned(1, 0);
        fleet.assigned(1, 0);
        assert_eq!(fleet.free(0), Some(0));
        // The load that a response reports includes the object's own jobs.
        fleet.responded(1, Some(load(2, 3)), 10);
        fleet.responded(1, Some(load(1, 3)), 10);
        assert_eq!(fleet.free(10), Some(1));
        // The requests of others are forgotten after a while.
        let mut fleet = Fleet::of_server();
        fleet.wake(None, 0);
        fleet.woken(0, Some(load(3, 2)), 0);
        assert_eq!((fleet.free(4_999), fleet.free(5_000)), (None, Some(0)));
    }

    #[test]
    fn a_container_that_fails_pauses_longer_each_time() {
        for mut fleet in [Fleet::of_containers(1, AWAKE), Fleet::of_server()] {
            let mut now = 0;
            for pause in [2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000] {
                assert_eq!(fleet.wake(None, now), Some(0));
                fleet.failed(0, false, now);
                assert_eq!(fleet.wake(None, now), None);
                assert_eq!(fleet.paused_until(now), Some(now + pause));
                now += pause;
            }
            assert_eq!(fleet.wake(None, now), Some(0));
            fleet.woken(0, None, now);
            assert_eq!(fleet.free(now), Some(0));
        }
    }

    #[test]
    fn a_refused_job_pauses_its_container() {
        let mut fleet = Fleet::of_server();
        fleet.wake(None, 0);
        fleet.woken(0, None, 0);
        fleet.assigned(0, 0);
        fleet.refused(0, Duration::from_secs(1), 0);
        assert_eq!((fleet.free(999), fleet.jobs(), fleet.free(1_000)), (None, 0, Some(0)));
        fleet.assigned(0, 1_000);
        fleet.failed(0, true, 1_000);
        assert_eq!((fleet.jobs(), fleet.free(9_000), fleet.wake(None, 9_000)), (0, None, Some(0)));
    }

    #[test]
    fn an_idle_container_is_asleep_after_its_time() {
        let mut fleet = Fleet::of_containers(1, AWAKE);
        fleet.wake(None, 0);
        fleet.woken(0, None, 0);
        assert_eq!((fleet.free(299_999), fleet.free(300_000)), (Some(0), None));
        assert_eq!(fleet.wake(None, 300_000), Some(0));
    }
}
