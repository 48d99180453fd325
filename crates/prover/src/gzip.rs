//! gzip for readers that insist on it.

use std::io::{self, Read};

use flate2::{Compression, read::GzEncoder};

/// A gzip stream of stored blocks, which costs no more than a copy.
pub fn stored(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut gzipped = Vec::with_capacity(bytes.len() + bytes.len() / 1000 + 32);
    GzEncoder::new(bytes, Compression::none()).read_to_end(&mut gzipped)?;
    Ok(gzipped)
}
