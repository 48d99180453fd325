//! Default limits that server, edge and clients share. The server's settings can lower or raise them.

/// Maximum size of an upload (a gzipped witness), in bytes.
pub const UPLOAD_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Maximum size of the JSON with the inputs of a circuit, in bytes.
pub const INPUTS_MAX_BYTES: u64 = 8 * 1024 * 1024;
/// Maximum size of all files of an uploaded circuit together, in bytes. Circuits of about this size can be loaded at once.
pub const CIRCUIT_UPLOAD_MAX_BYTES: u64 = 256 * 1024 * 1024;
/// Maximum size of a decompressed witness, in bytes.
pub const DECOMPRESSED_MAX_BYTES: u64 = 1024 * 1024 * 1024;
/// Maximum ratio of decompressed to compressed bytes, checked once [`COMPRESSION_RATIO_FLOOR_BYTES`] are decompressed.
/// DEFLATE cannot exceed 1,032; a real witness of field elements stays far below 200.
pub const COMPRESSION_RATIO_MAX: u64 = 200;
/// Decompressed bytes below which the ratio is not checked: a small witness full of zeros does no harm.
pub const COMPRESSION_RATIO_FLOOR_BYTES: u64 = 1024 * 1024;
/// Bytes that a gzip stream may add to what it compresses, beside an eighth of it: its header, and blocks without data.
pub const COMPRESSION_OVERHEAD_MAX_BYTES: u64 = 1024 * 1024 + 128 * 1024;
/// Maximum pause between two pieces of an upload, in milliseconds.
pub const UPLOAD_IDLE_MS: u64 = 15_000;
/// Maximum duration of one proof, in milliseconds.
pub const PROVE_TIMEOUT_MS: u64 = 90_000;
/// Maximum duration of one request, in milliseconds.
pub const REQUEST_TIMEOUT_MS: u64 = 120_000;
/// Maximum length of the `X-Public-Inputs` header, in bytes. Longer public inputs are only in the JSON answer.
pub const PUBLIC_INPUTS_HEADER_MAX: usize = 4096;

/// Maximum size of a gzip stream that decompresses to this many bytes. A stream without compression adds five bytes to
/// each 64 KiB, so any compressor stays far below.
#[must_use]
pub const fn compressed_max_bytes(decompressed_bytes: u64) -> u64 {
    decompressed_bytes.saturating_add(decompressed_bytes / 8).saturating_add(COMPRESSION_OVERHEAD_MAX_BYTES)
}
