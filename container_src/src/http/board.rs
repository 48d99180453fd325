//! The board for all its viewers: its sections are computed once, about every second, while somebody watches, and a section
//! is sent when it changed. Nothing is computed without a viewer.
//!
//! - [`sections`]: computes the sections.

mod sections;

use std::{sync::Arc, time::Duration};

use edgeprove_protocol::board::BoardCaller;
use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use self::sections::Composer;
use super::state::AppState;
use crate::{
    access::{Caller, api_keys::KeyRing},
    http::caller::Identity,
    jobs::watch_permits::{WatchLimits, WatchPermit, WatchPermits},
};

/// The pause between two updates.
const TICK: Duration = Duration::from_secs(1);
/// The most viewers of a server without jobs. With jobs they count among the streams of all events.
const VIEWERS_MAX: u32 = 64;

/// The board of this server.
#[derive(Debug)]
pub struct Board {
    published: watch::Sender<Arc<Published>>,
    /// Whether a task computes the sections.
    is_running: Mutex<bool>,
    permits: WatchPermits,
}

/// The sections as they were sent last.
#[derive(Debug, Default, Clone)]
struct Published {
    /// The highest version of a section.
    version: u64,
    sections: Vec<Section>,
}

#[derive(Debug, Clone)]
struct Section {
    name: &'static str,
    /// It rises when the section changes.
    version: u64,
    json: Arc<str>,
}

/// The board for one viewer.
pub struct BoardStream {
    app: AppState,
    identity: Identity,
    /// The right is checked again when the keys change.
    keys: watch::Receiver<Arc<KeyRing>>,
    watcher: watch::Receiver<Arc<Published>>,
    /// The version of what the viewer has.
    seen: u64,
    /// The section of the caller that the viewer has.
    caller: Option<String>,
    stop: CancellationToken,
    _permit: WatchPermit,
}

/// An event: the sections that changed, as a JSON object.
#[derive(Debug)]
pub struct BoardEvent {
    /// The version that the viewer has after it.
    pub version: u64,
    /// The sections.
    pub sections: String,
}

impl Default for Board {
    fn default() -> Self {
        let permits = WatchPermits::new(WatchLimits { per_caller_max: None, max: VIEWERS_MAX });
        Self { published: watch::Sender::default(), is_running: Mutex::new(false), permits }
    }
}

impl Board {
    /// The permits of viewers where there are no jobs.
    #[must_use]
    pub fn permits(&self) -> &WatchPermits {
        &self.permits
    }

    /// The number of viewers.
    #[must_use]
    pub fn viewers(&self) -> usize {
        self.published.receiver_count()
    }

    /// Whether nobody watches, so that the task ends. A viewer that comes at this moment starts it again.
    fn ends_without_viewers(&self) -> bool {
        let mut is_running = self.is_running.lock();
        if self.viewers() > 0 {
            return false;
        }
        *is_running = false;
        // Nobody gets what will be old when somebody comes.
        self.published.send_replace(Arc::default());
        true
    }
}

impl BoardStream {
    /// The board for a viewer, from now on.
    #[must_use]
    pub fn new(app: &AppState, identity: Identity, permit: WatchPermit) -> Self {
        let stop = app.lifecycle.supervisor.stop_token().clone();
        // Before the task is looked for, so that it does not end at this moment.
        let watcher = app.board.published.subscribe();
        let mut is_running = app.board.is_running.lock();
        if !std::mem::replace(&mut *is_running, true) {
            app.lifecycle.supervisor.spawn("compute the board", publish(Arc::clone(app)));
        }
        drop(is_running);
        let keys = app.access.key_changes();
        let app = Arc::clone(app);
        Self { app, identity, keys, watcher, seen: 0, caller: None, stop, _permit: permit }
    }

    /// The next event; `None` when the server stops or the key was withdrawn. Dropping the future loses no event.
    pub async fn next(&mut self) -> Option<BoardEvent> {
        loop {
            let published = Arc::clone(&self.watcher.borrow_and_update());
            let caller = self.caller_section()?;
            let is_new_caller = self.caller.as_ref() != Some(&caller);
            if published.version > self.seen || (is_new_caller && published.version > 0) {
                let changed = published.sections.iter().filter(|section| section.version > self.seen);
                let mut parts: Vec<_> =
                    changed.map(|section| format!("\"{}\":{}", section.name, section.json)).collect();
                if is_new_caller {
                    parts.push(format!("\"caller\":{caller}"));
                    self.caller = Some(caller);
                }
                self.seen = published.version;
                return Some(BoardEvent {
                    version: published.version,
                    sections: format!("{{{}}}", parts.join(",")),
                });
            }
            tokio::select! {
                changed = self.watcher.changed() => changed.ok()?,
                Ok(()) = self.keys.changed() => {}
                () = self.stop.cancelled() => return None,
            }
        }
    }

    /// What the viewer may see now; `None` if its key was withdrawn.
    fn caller_section(&self) -> Option<String> {
        let Identity { credential, address, .. } = &self.identity;
        let caller: Caller = self.app.access.identify(credential.clone(), *address).ok()?;
        let section = BoardCaller {
            name: caller.name().map(str::to_owned),
            role: caller.role().as_str().to_owned(),
            sees_all_jobs: caller.may_observe().is_ok(),
            may_operate: caller.may_operate().is_ok(),
        };
        serde_json::to_string(&section).ok()
    }
}

/// Computes the sections until nobody watches, or the server stops.
async fn publish(app: AppState) {
    let stop = app.lifecycle.supervisor.stop_token().clone();
    let mut composer = Composer::default();
    let mut tick = interval(TICK);
    // After a slow database the next update comes a second later, and not at once.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.cancelled() => return,
        }
        if app.board.ends_without_viewers() {
            return;
        }
        let Some(sections) = stop.run_until_cancelled(composer.compose(&app)).await else { return };
        app.board.published.send_if_modified(|published| published.update(sections));
    }
}

impl Published {
    /// Replaces the sections that changed. Returns whether there is one.
    fn updated(&self, sections: Vec<(&'static str, String)>) -> Option<Self> {
        let version = self.version + 1;
        let mut next = self.clone();
        for (name, json) in sections {
            match next.sections.iter_mut().find(|section| section.name == name) {
                Some(section) if *section.json == *json => {}
                Some(section) => *section = Section { name, version, json: json.into() },
                None => next.sections.push(Section { name, version, json: json.into() }),
            }
        }
        let has_changed = next.sections.iter().any(|section| section.version == version);
        next.version = version;
        has_changed.then_some(next)
    }
}

/// Sections that are shared by all viewers.
trait Update {
    fn update(&mut self, sections: Vec<(&'static str, String)>) -> bool;
}

impl Update for Arc<Published> {
    fn update(&mut self, sections: Vec<(&'static str, String)>) -> bool {
        match self.updated(sections) {
            Some(next) => {
                *self = Arc::new(next);
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sections_that_changed_get_a_new_version() {
        let mut published = Arc::<Published>::default();
        let sections = |jobs: &str| vec![("jobs", jobs.to_owned()), ("cache", "{}".to_owned())];
        assert!(published.update(sections("1")));
        assert!(!published.update(sections("1")));
        assert!(published.update(sections("2")));
        let versions: Vec<_> = published.sections.iter().map(|section| section.version).collect();
        assert_eq!((published.version, versions), (2, vec![2, 1]));
    }
}
