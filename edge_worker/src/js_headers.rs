//! Conversion of headers between JavaScript and Rust.

use http::{HeaderMap, HeaderName, HeaderValue};
use wasm_bindgen::JsValue;

/// Copies JavaScript headers. A value that is not text is left out: it could not be forwarded either.
#[must_use]
pub fn from_js(headers: &web_sys::Headers) -> HeaderMap {
    let headers = worker::Headers(headers.clone());
    let pairs = headers.entries().filter_map(|(name, value)| {
        Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
    });
    pairs.collect()
}

/// Copies headers to JavaScript. A value that is not text is left out.
pub fn to_js(headers: &HeaderMap) -> Result<web_sys::Headers, JsValue> {
    let js = web_sys::Headers::new()?;
    for (name, value) in headers {
        if let Ok(value) = value.to_str() {
            js.append(name.as_str(), value)?;
        }
    }
    Ok(js)
}
