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

/// The circuit that was asked for, where a smaller one of its family was proved instead.
pub const FALLBACK_FROM: &str = "x-fallback-from";
/// `hit` where the proof had been made before.
pub const PROOF_CACHE: &str = "x-proof-cache";

/// How urgent a request is, as [`crate::Priority`] writes it.
pub const PRIORITY: &str = "x-priority";
/// The caller's own name for a request, so that the same one again makes no second job.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// For how many seconds from now the caller has use for the proof, such as `30` or `2.5`.
pub const DEADLINE: &str = "x-deadline";
/// Whether and how long the caller waits: `respond-async`, `wait=SECONDS` (RFC 7240).
pub const PREFER: &str = "prefer";

/// Proves that a request comes from the edge: the secret that edge and server share. Never passed on to a caller.
pub const EDGE_SECRET: &str = "x-edge-secret";
/// The caller's address as the edge saw it. Believed only beside [`EDGE_SECRET`].
pub const CLIENT_IP: &str = "x-client-ip";
/// The name of the API key that the caller presented to the edge. Believed only beside [`EDGE_SECRET`].
pub const AUTHENTICATED_USER: &str = "x-authenticated-user";
/// An API key, for callers who do not send it as `Authorization: Bearer`.
pub const API_KEY: &str = "x-api-key";
/// Where the audit log ends: `SEQ:HASH`.
pub const AUDIT_HEAD: &str = "x-audit-head";
/// How busy the server is, as [`crate::Load`] writes it. The edge reads it and takes it away.
pub const PROVER_LOAD: &str = "x-prover-load";

/// What pages of other origins may read of an answer.
pub const READ_BY_PAGES: [&str; 11] = [
    REQUEST_ID,
    CIRCUIT_ID,
    VK_HASH,
    PUBLIC_INPUTS,
    VERIFIED,
    FALLBACK_FROM,
    PROOF_CACHE,
    "location",
    "preference-applied",
    "retry-after",
    "server-timing",
];
/// What pages of other origins may say with a request.
pub const SAID_BY_PAGES: [&str; 12] = [
    "accept",
    "authorization",
    "cache-control",
    "content-encoding",
    "content-type",
    "last-event-id",
    API_KEY,
    DEADLINE,
    IDEMPOTENCY_KEY,
    PREFER,
    PRIORITY,
    REQUEST_ID,
];

/// Shortest secret that edge and server may share: fewer characters could be guessed.
pub const EDGE_SECRET_MIN_BYTES: usize = 16;
/// Longest secret that edge and server may share: it has to fit into the head of every request.
pub const EDGE_SECRET_MAX_BYTES: usize = 256;
/// Longest name of an API key.
pub const USER_MAX_BYTES: usize = 64;
/// Longest request id that is taken over from a caller; a longer one is replaced by an id of the server's own.
pub const REQUEST_ID_MAX_BYTES: usize = 128;

/// Whether a caller's request id may enter logs and headers as it is: 1 to [`REQUEST_ID_MAX_BYTES`] characters
/// of `A-Z a-z 0-9 - _ . :`, so that it can neither break a log line nor smuggle a header.
#[must_use]
pub fn is_acceptable_request_id(id: &[u8]) -> bool {
    (1..=REQUEST_ID_MAX_BYTES).contains(&id.len())
        && id.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
}

/// Whether edge and server may share this secret: [`EDGE_SECRET_MIN_BYTES`] to [`EDGE_SECRET_MAX_BYTES`] printable ASCII
/// characters without spaces, so that it arrives in a header as it was sent.
#[must_use]
pub fn is_acceptable_edge_secret(secret: &[u8]) -> bool {
    (EDGE_SECRET_MIN_BYTES..=EDGE_SECRET_MAX_BYTES).contains(&secret.len())
        && secret.iter().all(u8::is_ascii_graphic)
}

/// Whether this may be the name of an API key, and so enter logs and headers as it is: 1 to [`USER_MAX_BYTES`] characters
/// of `A-Z a-z 0-9 - _ .`.
#[must_use]
pub fn is_acceptable_user(name: &[u8]) -> bool {
    (1..=USER_MAX_BYTES).contains(&name.len())
        && name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
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

    #[test]
    fn secrets_that_could_be_guessed_or_would_not_arrive_are_refused() {
        let (shortest, longest) = ("s".repeat(EDGE_SECRET_MIN_BYTES), "s".repeat(EDGE_SECRET_MAX_BYTES));
        for good in ["-fX9/q+wB3=~!#'\"", &shortest, &longest] {
            assert!(is_acceptable_edge_secret(good.as_bytes()), "{good}");
        }
        let longer = format!("{longest}s");
        for bad in
            ["", &shortest[1..], &longer, "with a space in it", "0123456789abcdef\n", "0123456789abcdefé"]
        {
            assert!(!is_acceptable_edge_secret(bad.as_bytes()), "{bad:?}");
        }
    }

    #[test]
    fn names_that_could_break_a_log_line_are_refused() {
        let longest = "n".repeat(USER_MAX_BYTES);
        for good in ["a", "Alice_2.dev-x", &longest] {
            assert!(is_acceptable_user(good.as_bytes()), "{good}");
        }
        for bad in ["", "a b", "a:b", "a\n", "é", &format!("{longest}n")] {
            assert!(!is_acceptable_user(bad.as_bytes()), "{bad:?}");
        }
    }
}
