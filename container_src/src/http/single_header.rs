//! Headers that a request may have once.
//!
//! A proxy or a runtime joins two headers of one name to one value with a comma. None of these headers has a valid value
//! with a comma, so a request with two is refused with or without a proxy.

use edgeprove_protocol::ProblemType;
use http::HeaderMap;

use super::api_error::ApiError;

/// The text of a header, if the request has it.
pub fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ApiError> {
    let mut values = headers.get_all(name).into_iter().map(|value| value.to_str().unwrap_or("\u{fffd}"));
    match (values.next(), values.next()) {
        (text, None) => Ok(text),
        (_, Some(_)) => Err(ApiError::new(ProblemType::InvalidRequest, format!("send {name} only once"))),
    }
}
