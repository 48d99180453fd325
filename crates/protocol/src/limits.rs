//! Default limits that server, edge and clients share. The server's settings can lower or raise them.

/// Maximum size of an upload (a gzipped witness), in bytes.
pub const UPLOAD_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Maximum size of a decompressed witness, in bytes.
pub const DECOMPRESSED_MAX_BYTES: u64 = 1024 * 1024 * 1024;
/// Maximum ratio of decompressed to compressed bytes, checked once [`COMPRESSION_RATIO_FLOOR_BYTES`] are decompressed.
/// DEFLATE cannot exceed 1,032; a real witness of field elements stays far below 200.
pub const COMPRESSION_RATIO_MAX: u64 = 200;
/// Decompressed bytes below which the ratio is not checked: a small witness full of zeros does no harm.
pub const COMPRESSION_RATIO_FLOOR_BYTES: u64 = 1024 * 1024;
/// Maximum pause between two pieces of an upload, in milliseconds.
pub const UPLOAD_IDLE_MS: u64 = 15_000;
/// Maximum duration of one proof, in milliseconds.
pub const PROVE_TIMEOUT_MS: u64 = 90_000;
/// Maximum duration of one request, in milliseconds.
pub const REQUEST_TIMEOUT_MS: u64 = 120_000;
/// Maximum length of the `X-Public-Inputs` header, in bytes. Longer public inputs are only in the JSON answer.
pub const PUBLIC_INPUTS_HEADER_MAX: usize = 4096;
