//! The preferences of a request.

use edgeprove_protocol::headers;
pub use edgeprove_protocol::prefer::Preferences;
use http::HeaderMap;

/// The preferences in every `Prefer` header.
#[must_use]
pub fn preferences(headers: &HeaderMap) -> Preferences {
    Preferences::of(headers.get_all(headers::PREFER).into_iter().filter_map(|value| value.to_str().ok()))
}
