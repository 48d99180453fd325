//! Header names of Edgeprove's own, in the lower case that HTTP/2 wants.

/// Follows a request from the edge into the container's log and back to the caller.
pub const REQUEST_ID: &str = "x-request-id";
/// The circuit a proof was made for.
pub const CIRCUIT_ID: &str = "x-circuit-id";
/// bb's hash of the verification key the proof verifies under, 64 hexadecimal digits.
pub const VK_HASH: &str = "x-vk-hash";
/// Public inputs as `0x`-prefixed 32-byte fields separated by commas; left out where they would not fit
/// [`crate::limits::PUBLIC_INPUTS_HEADER_MAX`].
pub const PUBLIC_INPUTS: &str = "x-public-inputs";
/// Whether the server verified the proof before it answered: `true` or `false`.
pub const VERIFIED: &str = "x-verified";

/// Longest request id that is taken over from a caller; a longer one is replaced by an id of the server's own.
pub const REQUEST_ID_MAX_BYTES: usize = 128;

/// Whether a caller's request id may enter logs and headers as it is: 1 to [`REQUEST_ID_MAX_BYTES`] characters
/// of `A-Z a-z 0-9 - _ . :`, so that it can neither break a log line nor smuggle a header.
#[must_use]
pub fn is_acceptable_request_id(id: &[u8]) -> bool {
    (1..=REQUEST_ID_MAX_BYTES).contains(&id.len())
        && id.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_that_could_break_a_log_line_are_refused() {
        for good in ["a", "4f1c-22", "trace:1.2_3"] {
            assert!(is_acceptable_request_id(good.as_bytes()), "{good}");
        }
        let long = "x".repeat(REQUEST_ID_MAX_BYTES + 1);
        for bad in ["", "a b", "a\nb", "\"", "é", long.as_str()] {
            assert!(!is_acceptable_request_id(bad.as_bytes()), "{bad:?}");
        }
    }
}
