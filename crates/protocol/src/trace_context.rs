//! The trace that a request belongs to: the header `traceparent` of W3C Trace Context.
//!
//! The ids only join log lines. They are checked before they enter one, and decide nothing.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The header.
pub const TRACEPARENT: &str = "traceparent";

/// The ids of a valid `traceparent`: lower-case hexadecimal digits.
///
/// ```
/// use edgeprove_protocol::TraceContext;
///
/// let trace: TraceContext = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse()?;
/// assert_eq!(trace.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
/// assert_eq!(trace.span_id(), "00f067aa0ba902b7");
/// # Ok::<(), edgeprove_protocol::trace_context::InvalidTraceparent>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TraceContext(String);

/// A text that is no `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a traceparent has the form 00-TRACE_ID-SPAN_ID-FLAGS, with 32, 16 and 2 lower-case hexadecimal digits"
)]
pub struct InvalidTraceparent;

/// Where the parts are: `VERSION-TRACE_ID-SPAN_ID-FLAGS`.
const TRACE_ID: std::ops::Range<usize> = 3..35;
const SPAN_ID: std::ops::Range<usize> = 36..52;
const LENGTH: usize = 55;

impl TraceContext {
    /// The id of the whole trace: 32 digits.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        &self.0[TRACE_ID]
    }

    /// The id of the caller's span: 16 digits.
    #[must_use]
    pub fn span_id(&self) -> &str {
        &self.0[SPAN_ID]
    }
}

impl FromStr for TraceContext {
    type Err = InvalidTraceparent;

    fn from_str(text: &str) -> Result<Self, InvalidTraceparent> {
        let parts: Vec<&str> = text.split('-').collect();
        let [version, trace_id, span_id, flags, more @ ..] = parts.as_slice() else {
            return Err(InvalidTraceparent);
        };
        let is_hex = |text: &str, digits: usize| {
            text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_set = |id: &str| id.bytes().any(|byte| byte != b'0');
        let is_valid = is_hex(version, 2)
            && is_hex(trace_id, TRACE_ID.len())
            && is_hex(span_id, SPAN_ID.len())
            && is_hex(flags, 2)
            && is_set(trace_id)
            && is_set(span_id)
            // A later version may add parts.
            && *version != "ff"
            && (*version != "00" || more.is_empty());
        if is_valid { Ok(Self(text[..LENGTH].to_owned())) } else { Err(InvalidTraceparent) }
    }
}

impl TryFrom<String> for TraceContext {
    type Error = InvalidTraceparent;

    fn try_from(text: String) -> Result<Self, InvalidTraceparent> {
        text.parse()
    }
}

impl From<TraceContext> for String {
    fn from(trace: TraceContext) -> Self {
        trace.0
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_valid_traceparent_is_read() {
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let parse = |text: String| text.parse::<TraceContext>();
        for good in [format!("00-{trace}-{span}-01"), format!("cc-{trace}-{span}-00-what-comes")] {
            let read = parse(good).unwrap();
            assert_eq!((read.trace_id(), read.span_id()), (trace, span));
            assert_eq!(read.to_string().len(), LENGTH);
        }
        for bad in [
            String::new(),
            format!("00-{trace}-{span}"),
            format!("00-{trace}-{span}-01-more"),
            format!("ff-{trace}-{span}-01"),
            format!("00-{}-{span}-01", "0".repeat(32)),
            format!("00-{trace}-{}-01", "0".repeat(16)),
            format!("00-{}-{span}-01", trace.to_uppercase()),
            format!("00-{trace}\n-{span}-01"),
            format!("0é-{trace}-{span}-01"),
            format!("00-{trace}-{span}-1"),
        ] {
            assert_eq!(parse(bad.clone()), Err(InvalidTraceparent), "{bad}");
        }
    }
}
