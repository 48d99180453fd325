//! Decompresses gzip, and wipes what it decompressed from its own memory afterwards.

use std::{
    io::{self, Read},
    sync::LazyLock,
};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use zeroize::Zeroizing;

/// The largest window that a gzip stream may use, as a power of two.
pub const WINDOW_BITS: u8 = 15;
/// Compressed bytes that are read ahead.
const INPUT_BYTES: usize = 16 * 1024;
/// Twice the largest window.
static ZEROS: [u8; 2 << WINDOW_BITS] = [0; 2 << WINDOW_BITS];

/// Zeros as a stream of DEFLATE.
static COMPRESSED_ZEROS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut compressed = Vec::with_capacity(4096);
    // It compresses to some hundred bytes. If it ever failed, windows would not be wiped, and a test would fail.
    let _ = Compress::new(Compression::best(), false).compress_vec(
        &ZEROS,
        &mut compressed,
        FlushCompress::Finish,
    );
    compressed
});

/// Overwrites the window of a decoder, in which the last 32 KiB that it decompressed remain. The decoder cannot be used
/// afterwards.
pub fn wipe_window(stream: &mut Decompress) {
    // The decoder offers no access to its window, but it keeps the window's memory and fills it again.
    stream.reset(false);
    let mut output = [0; 4096];
    let mut left = COMPRESSED_ZEROS.as_slice();
    loop {
        let (read, written) = (stream.total_in(), stream.total_out());
        let status = stream.decompress(left, &mut output, FlushDecompress::None);
        let used = usize::try_from(stream.total_in() - read).unwrap_or(left.len());
        left = &left[used.min(left.len())..];
        let is_stuck = used == 0 && stream.total_out() == written;
        if !matches!(status, Ok(Status::Ok)) || is_stuck {
            return;
        }
    }
}

/// A reader that decompresses one gzip stream. Reading fails where the stream is damaged or ends too early.
pub struct Gunzip<R> {
    source: R,
    stream: Decompress,
    input: Zeroizing<Vec<u8>>,
    /// The part of `input` that was not decompressed yet.
    left: std::ops::Range<usize>,
    has_ended: bool,
}

impl<R: Read> Gunzip<R> {
    /// A reader of this stream.
    pub fn new(source: R) -> Self {
        Self {
            source,
            stream: Decompress::new_gzip(WINDOW_BITS),
            input: Zeroizing::new(vec![0; INPUT_BYTES]),
            left: 0..0,
            has_ended: false,
        }
    }
}

impl<R: Read> Read for Gunzip<R> {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        while !self.has_ended && !output.is_empty() {
            if self.left.is_empty() {
                self.left = 0..self.source.read(&mut self.input)?;
            }
            let is_at_end = self.left.is_empty();
            let (read, written) = (self.stream.total_in(), self.stream.total_out());
            let input = &self.input[self.left.clone()];
            let status = self
                .stream
                .decompress(input, output, FlushDecompress::None)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            self.left.start += usize::try_from(self.stream.total_in() - read).unwrap_or(self.left.len());
            self.has_ended = status == Status::StreamEnd;
            match usize::try_from(self.stream.total_out() - written) {
                Ok(0) if is_at_end && !self.has_ended => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(0) => {}
                Ok(bytes) => return Ok(bytes),
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(0)
    }
}

impl<R> Drop for Gunzip<R> {
    fn drop(&mut self) {
        wipe_window(&mut self.stream);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn content(length: u32) -> Vec<u8> {
        (0..length).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
    }

    #[test]
    fn a_stream_is_read_to_its_end_and_damage_is_an_error() {
        for length in [0, 1, 50_000] {
            let (plain, mut read) = (content(length), Vec::new());
            let compressed = gzip(&plain);
            Gunzip::new(compressed.as_slice()).read_to_end(&mut read).unwrap();
            assert!(read == plain, "{length}");
            let cut = &compressed[..compressed.len() - 1];
            let error = Gunzip::new(cut).read_to_end(&mut Vec::new()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            let mut damaged = compressed;
            let last = damaged.len() - 6;
            damaged[last] ^= 1;
            let error = Gunzip::new(damaged.as_slice()).read_to_end(&mut Vec::new()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn the_window_is_overwritten() {
        let mut stream = Decompress::new_gzip(WINDOW_BITS);
        let mut output = vec![0; 4096];
        stream.decompress(&gzip(&content(20_000)), &mut output, FlushDecompress::None).unwrap();
        wipe_window(&mut stream);
        assert_eq!(stream.total_out(), ZEROS.len() as u64, "more than the window was written");
    }
}
