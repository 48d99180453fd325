//! Bounds that server, edge and clients must agree on. Each is a default; the server's own settings may lower it.

/// Largest upload of a gzipped witness, in bytes.
pub const UPLOAD_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Largest inflated witness, in bytes.
pub const INFLATED_MAX_BYTES: u64 = 1024 * 1024 * 1024;
/// Most that an upload may inflate by once [`INFLATE_RATIO_FLOOR_BYTES`] have come out of it. DEFLATE itself
/// cannot exceed 1,032; an honest witness of field elements stays far below 200.
pub const INFLATE_RATIO_MAX: u64 = 200;
/// Inflated bytes below which the ratio is not looked at: a small witness full of zeros is no bomb.
pub const INFLATE_RATIO_FLOOR_BYTES: u64 = 1024 * 1024;
/// Longest silence between two pieces of an upload, in milliseconds.
pub const UPLOAD_IDLE_MS: u64 = 15_000;
/// Longest time for one proof, in milliseconds.
pub const PROVE_TIMEOUT_MS: u64 = 90_000;
/// Longest time for one whole request, in milliseconds.
pub const REQUEST_TIMEOUT_MS: u64 = 120_000;
/// Public inputs longer than this many bytes of header value are left to the JSON answer.
pub const PUBLIC_INPUTS_HEADER_MAX: usize = 4096;
