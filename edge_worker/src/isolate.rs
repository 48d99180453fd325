//! What all requests of one isolate share: the settings and the state of the containers.

use std::{cell::RefCell, rc::Rc};

use worker::{Env, console_warn};

use crate::{
    bindings,
    container_pool::Pool,
    edge_error::EdgeError,
    settings::{Settings, SettingsError},
};

#[derive(Default)]
struct Isolate {
    settings: Option<Result<Rc<Settings>, SettingsError>>,
    pool: Pool,
}

thread_local! {
    static ISOLATE: RefCell<Isolate> = RefCell::default();
}

/// The settings. They are read, and their warnings logged, at the first request of the isolate.
pub fn settings(env: &Env) -> Result<Rc<Settings>, EdgeError> {
    ISOLATE.with_borrow_mut(|isolate| {
        let settings = isolate.settings.get_or_insert_with(|| {
            let settings = Settings::read(&bindings::vars(env))?;
            for warning in &settings.warnings {
                console_warn!("{warning}");
            }
            Ok(Rc::new(settings))
        });
        settings.clone().map_err(EdgeError::from)
    })
}

/// Uses the pool of containers. `use_pool` must not wait for anything.
pub fn with_pool<T>(use_pool: impl FnOnce(&mut Pool) -> T) -> T {
    ISOLATE.with_borrow_mut(|isolate| use_pool(&mut isolate.pool))
}
