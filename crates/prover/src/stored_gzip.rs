//! gzip without compression, for readers that accept nothing but gzip.

use std::io::{self, Read};

use flate2::{Compression, read::GzEncoder};

/// Wraps bytes in a gzip stream of stored blocks. It takes about as long as a copy.
pub fn store_in_gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut gzipped = Vec::with_capacity(bytes.len() + bytes.len() / 1000 + 32);
    GzEncoder::new(bytes, Compression::none()).read_to_end(&mut gzipped)?;
    Ok(gzipped)
}

#[cfg(test)]
mod tests {
    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn stored_bytes_come_back() {
        let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        let gzipped = store_in_gzip(&bytes).unwrap();
        assert!(gzipped.len() > bytes.len(), "nothing is compressed");
        let mut back = Vec::new();
        GzDecoder::new(gzipped.as_slice()).read_to_end(&mut back).unwrap();
        assert_eq!(back, bytes);
    }
}
