//! Conversion of headers between JavaScript and Rust.

use http::{HeaderMap, HeaderName, HeaderValue};
use wasm_bindgen::JsValue;

/// A header whose value has control characters, with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfitHeader(pub String);

/// Copies JavaScript headers. Values beyond ASCII are copied as they are. One with control characters cannot be
/// forwarded and is an error.
pub fn read(headers: &web_sys::Headers) -> Result<HeaderMap, UnfitHeader> {
    worker::Headers(headers.clone()).entries().map(|(name, value)| pair(name, value)).collect()
}

/// Copies the JavaScript headers of a server, which never have control characters.
#[must_use]
pub fn from_js(headers: &web_sys::Headers) -> HeaderMap {
    let headers = worker::Headers(headers.clone());
    headers.entries().filter_map(|(name, value)| pair(name, value).ok()).collect()
}

fn pair(name: String, value: String) -> Result<(HeaderName, HeaderValue), UnfitHeader> {
    match (HeaderName::try_from(&name), HeaderValue::try_from(value)) {
        (Ok(name), Ok(value)) => Ok((name, value)),
        (Ok(_), Err(_)) | (Err(_), _) => Err(UnfitHeader(name)),
    }
}

/// Copies headers to JavaScript.
pub fn to_js(headers: &HeaderMap) -> Result<web_sys::Headers, JsValue> {
    let js = web_sys::Headers::new()?;
    for (name, value) in headers {
        // Every value is a text in UTF-8: it came from a text of JavaScript or of Rust.
        js.append(name.as_str(), &String::from_utf8_lossy(value.as_bytes()))?;
    }
    Ok(js)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_beyond_ascii_is_forwarded_and_control_characters_are_not() {
        let read = |value: &str| pair("idempotency-key".to_owned(), value.to_owned());
        for good in ["order-1", "bestellung-\u{fc}", "\u{fffd}", "a\tb"] {
            assert_eq!(read(good).unwrap().1.as_bytes(), good.as_bytes());
        }
        for bad in ["a\u{1}b", "a\u{7f}", "a\nb"] {
            assert_eq!(read(bad), Err(UnfitHeader("idempotency-key".to_owned())), "{bad:?}");
        }
    }
}
