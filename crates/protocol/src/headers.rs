//! Names of Edgeprove's own headers, in lower case as HTTP/2 requires, and rules for their values.

/// The id of a request: the same in the edge's log, the server's log and the answer.
pub const REQUEST_ID: &str = "x-request-id";
/// The circuit that was proved.
pub const CIRCUIT_ID: &str = "x-circuit-id";
/// Hash of the verification key, as bb computes it: `0x` and 64 hexadecimal digits.
pub const VK_HASH: &str = "x-vk-hash";
/// SHA-256 of the proof's bytes: `0x` and 64 hexadecimal digits.
pub const PROOF_HASH: &str = "x-proof-hash";
/// Public inputs: `0x`-prefixed 32-byte fields separated by commas. Left out when longer than
/// [`crate::limits::PUBLIC_INPUTS_HEADER_MAX`].
pub const PUBLIC_INPUTS: &str = "x-public-inputs";
/// The receipt of a proof whose answer is not JSON: see [`crate::receipt`].
pub const RECEIPT: &str = "x-receipt";
/// Whether the server verified the proof before it returned it: `true` or `false`.
pub const VERIFIED: &str = "x-verified";

/// The circuit that the request named, where a smaller circuit of its family was proved instead.
pub const FALLBACK_FROM: &str = "x-fallback-from";
/// `hit` where the proof came from the proof cache.
pub const PROOF_CACHE: &str = "x-proof-cache";

/// How urgent a request is, as [`crate::Priority`] writes it.
pub const PRIORITY: &str = "x-priority";
/// The caller's own key for a request: the same request under the same key is the same job.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Seconds from now after which the caller has no use for the proof, such as `30` or `2.5`.
pub const DEADLINE: &str = "x-deadline";
/// The longest time for a proof in seconds, such as `30` or `2.5`. The server has a maximum.
pub const TIMEOUT: &str = "x-timeout";
/// The maximum number of attempts at a job, from 1. The server has a maximum.
pub const MAX_ATTEMPTS: &str = "x-max-attempts";
/// A URL of the caller to which the server sends a request when the job has finished.
pub const CALLBACK_URL: &str = "x-callback-url";
/// Whether and how long the caller waits: `respond-async`, `wait=SECONDS` (RFC 7240).
pub const PREFER: &str = "prefer";
/// The preferences that the server followed (RFC 7240).
pub const PREFERENCE_APPLIED: &str = "preference-applied";

/// The secret that edge and server share. It shows that a request comes from the edge, and never reaches a caller.
pub const EDGE_SECRET: &str = "x-edge-secret";
/// The caller's address as the edge saw it. Ignored without a valid [`EDGE_SECRET`].
pub const CLIENT_IP: &str = "x-client-ip";
/// The name of the API key that the caller sent to the edge. Ignored without a valid [`EDGE_SECRET`].
pub const AUTHENTICATED_USER: &str = "x-authenticated-user";
/// `1` where the edge admitted a caller without a key only because the request has the token of a job's link, which only
/// the server can check. Such a caller may do nothing else. Ignored without a valid [`EDGE_SECRET`].
pub const LINK_ONLY: &str = "x-link-only";
/// SHA-256 of the key that the caller sent to the edge, 64 hexadecimal digits: what the caller sealed is bound to it. Ignored
/// without a valid [`EDGE_SECRET`] by a server with keys.
pub const CREDENTIAL_DIGEST: &str = "x-credential-digest";
/// When a sealed body arrived at the edge, in milliseconds since 1970. The edge stored it for a job, and has checked its time and
/// that it did not arrive before. Ignored without a valid [`EDGE_SECRET`].
pub const SEALED_ARRIVAL: &str = "x-sealed-arrival";
/// A few bytes of a digest of the API key that the caller sent to the edge, as [`crate::voucher::KeyFingerprint`] writes them.
/// Ignored without a valid [`EDGE_SECRET`].
pub const KEY_FINGERPRINT: &str = "x-key-fingerprint";
/// The voucher that the caller sent to the edge, which has checked it. Ignored without a valid [`EDGE_SECRET`].
pub const VOUCHER: &str = "x-voucher";
/// An API key, for callers who do not send it as `Authorization: Bearer`.
pub const API_KEY: &str = "x-api-key";
/// The lease of a prover that pulls, in its requests for a witness.
pub const LEASE: &str = "x-lease";
/// Head of the audit log: `SEQ:HASH` of its last entry.
pub const AUDIT_HEAD: &str = "x-audit-head";
/// The number of the audit entry after which the next page starts. Missing where the page ends with the log.
pub const AUDIT_NEXT: &str = "x-audit-next";
/// Load of the server, as [`crate::Load`] writes it. The edge reads and removes it.
pub const PROVER_LOAD: &str = "x-prover-load";

/// Answer headers that pages of other origins may read (`Access-Control-Expose-Headers`).
pub const EXPOSED_TO_PAGES: [&str; 15] = [
    REQUEST_ID,
    CIRCUIT_ID,
    VK_HASH,
    PROOF_HASH,
    PUBLIC_INPUTS,
    RECEIPT,
    VERIFIED,
    FALLBACK_FROM,
    PROOF_CACHE,
    "location",
    PREFERENCE_APPLIED,
    "ratelimit",
    "ratelimit-policy",
    "retry-after",
    "server-timing",
];
/// Request headers that pages of other origins may send (`Access-Control-Allow-Headers`). Pages with tracing add
/// `traceparent` and its companions to every request.
pub const ALLOWED_FROM_PAGES: [&str; 19] = [
    "accept",
    "authorization",
    "baggage",
    "cache-control",
    "content-encoding",
    "content-type",
    "last-event-id",
    "sentry-trace",
    "traceparent",
    "tracestate",
    API_KEY,
    CALLBACK_URL,
    DEADLINE,
    IDEMPOTENCY_KEY,
    MAX_ATTEMPTS,
    PREFER,
    PRIORITY,
    REQUEST_ID,
    TIMEOUT,
];

/// Minimum length of the edge secret: a shorter one could be guessed.
pub const EDGE_SECRET_MIN_BYTES: usize = 16;
/// Maximum length of the edge secret: it must fit into the head of every request.
pub const EDGE_SECRET_MAX_BYTES: usize = 256;
/// Maximum length of an API key's name.
pub const USER_MAX_BYTES: usize = 64;
/// Maximum length of an [`IDEMPOTENCY_KEY`].
pub const IDEMPOTENCY_KEY_MAX_BYTES: usize = 255;
/// The reason why a value is no [`IDEMPOTENCY_KEY`].
pub const UNFIT_IDEMPOTENCY_KEY: &str = "Idempotency-Key: send one key of 1 to 255 printable ASCII characters without a comma; \
                                         two keys could arrive as one with a comma";
/// Maximum length of a request id from a caller. The server replaces a longer one by an id of its own.
pub const REQUEST_ID_MAX_BYTES: usize = 128;

/// Whether a caller's request id may be used in logs and headers: 1 to [`REQUEST_ID_MAX_BYTES`] characters of
/// `A-Z a-z 0-9 - _ . :`. Others could break a log line or inject a header.
#[must_use]
pub fn is_acceptable_request_id(id: &[u8]) -> bool {
    (1..=REQUEST_ID_MAX_BYTES).contains(&id.len())
        && id.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
}

/// Whether this can be an [`IDEMPOTENCY_KEY`]: 1 to [`IDEMPOTENCY_KEY_MAX_BYTES`] printable ASCII characters without a
/// comma. Proxies and runtimes join two headers of one name with a comma, so two keys would look like one.
#[must_use]
pub fn is_acceptable_idempotency_key(key: &[u8]) -> bool {
    (1..=IDEMPOTENCY_KEY_MAX_BYTES).contains(&key.len())
        && key.iter().all(|b| (b.is_ascii_graphic() || *b == b' ') && *b != b',')
}

/// Whether this can be the edge secret: [`EDGE_SECRET_MIN_BYTES`] to [`EDGE_SECRET_MAX_BYTES`] printable ASCII
/// characters without spaces. Others would not arrive unchanged in a header.
#[must_use]
pub fn is_acceptable_edge_secret(secret: &[u8]) -> bool {
    (EDGE_SECRET_MIN_BYTES..=EDGE_SECRET_MAX_BYTES).contains(&secret.len())
        && secret.iter().all(u8::is_ascii_graphic)
}

/// Whether this can be the name of an API key, which appears in logs and headers: 1 to [`USER_MAX_BYTES`] characters of
/// `A-Z a-z 0-9 - _ .`.
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
    fn idempotency_keys_that_may_be_two_are_refused() {
        let longest = "k".repeat(IDEMPOTENCY_KEY_MAX_BYTES);
        for good in ["a", "order 7", "{\"order\":7}", &longest] {
            assert!(is_acceptable_idempotency_key(good.as_bytes()), "{good}");
        }
        for bad in ["", "a, a", "a,b", ",", "\u{e4}", "a\tb", &format!("{longest}k")] {
            assert!(!is_acceptable_idempotency_key(bad.as_bytes()), "{bad:?}");
        }
    }

    #[test]
    fn weak_or_unsendable_secrets_are_refused() {
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
