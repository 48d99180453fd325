//! What all requests of one isolate share: the settings and the state of the containers.

use std::{cell::RefCell, rc::Rc};

use worker::{Env, console_warn};

use crate::{bindings, container_pool::Pool, edge_error::EdgeError, settings::Settings};

#[derive(Default)]
struct Isolate {
    settings: Option<Rc<Settings>>,
    pool: Pool,
}

thread_local! {
    static ISOLATE: RefCell<Isolate> = RefCell::default();
}

/// The settings. They are read, and their warnings logged, at the first request of the isolate. Invalid ones are read
/// again by the next request: the Secrets Store may respond then.
pub async fn settings(env: &Env) -> Result<Rc<Settings>, EdgeError> {
    if let Some(settings) = ISOLATE.with_borrow(|isolate| isolate.settings.clone()) {
        return Ok(settings);
    }
    // Each of the first requests reads them by itself: a request must not wait for the I/O of another.
    let settings = Rc::new(bindings::settings(env).await?);
    Ok(ISOLATE.with_borrow_mut(|isolate| {
        let settings = isolate.settings.get_or_insert_with(|| {
            for warning in &settings.warnings {
                console_warn!("{warning}");
            }
            settings
        });
        Rc::clone(settings)
    }))
}

/// Uses the pool of containers. `use_pool` must not wait for anything.
pub fn with_pool<T>(use_pool: impl FnOnce(&mut Pool) -> T) -> T {
    ISOLATE.with_borrow_mut(|isolate| use_pool(&mut isolate.pool))
}
