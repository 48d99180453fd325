//! Messages of JavaScript exceptions.

use wasm_bindgen::{JsCast as _, JsValue};
use worker::js_sys;

/// The message of an exception.
#[must_use]
pub fn message(exception: &JsValue) -> String {
    let error = exception.dyn_ref::<js_sys::Error>().map(|error| String::from(error.message()));
    error.or_else(|| exception.as_string()).unwrap_or_else(|| format!("{exception:?}"))
}
