//! `BLAKE2b` with 64 bytes of output, as `b2sum` prints it (RFC 7693).
//!
//! Own code, because a `.ptau` file stores the state of a hash in the middle of its input, which no library returns. The
//! tests compare it with a library.

/// Bytes of a digest.
pub(crate) const DIGEST_BYTES: usize = 64;
/// Bytes of the state as a `.ptau` file has it.
pub(crate) const STATE_BYTES: usize = 216;

const BLOCK_BYTES: usize = 128;

const IV: [u64; 8] = [
    0x6a09_e667_f3bc_c908,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
    0x9b05_688c_2b3e_6c1f,
    0x1f83_d9ab_fb41_bd6b,
    0x5be0_cd19_137e_2179,
];

/// No key, one leaf, and 64 bytes of output.
const PARAMETERS: u64 = 0x0101_0040;

const ROUNDS: usize = 12;

const SIGMA: [[usize; 16]; 10] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
    [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
    [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
    [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
    [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
    [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
    [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
    [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
];

/// A hash whose input arrives in pieces.
#[derive(Debug, Clone)]
pub(crate) struct Blake2b {
    state: [u64; 8],
    /// Bytes that are in the state.
    compressed: u64,
    buffer: [u8; BLOCK_BYTES],
    /// Bytes in the buffer. A full buffer waits, because the last block is compressed in another way.
    filled: usize,
}

impl Blake2b {
    pub(crate) fn new() -> Self {
        let mut state = IV;
        state[0] ^= PARAMETERS;
        Self { state, compressed: 0, buffer: [0; BLOCK_BYTES], filled: 0 }
    }

    /// The digest of one input.
    pub(crate) fn digest(input: &[u8]) -> [u8; DIGEST_BYTES] {
        let mut hasher = Self::new();
        hasher.update(input);
        hasher.finish()
    }

    pub(crate) fn update(&mut self, mut input: &[u8]) {
        while !input.is_empty() {
            if self.filled == BLOCK_BYTES {
                self.compressed += BLOCK_BYTES as u64;
                compress(&mut self.state, &self.buffer, self.compressed, false);
                self.filled = 0;
            }
            let (taken, rest) = input.split_at(input.len().min(BLOCK_BYTES - self.filled));
            self.buffer[self.filled..self.filled + taken.len()].copy_from_slice(taken);
            self.filled += taken.len();
            input = rest;
        }
    }

    pub(crate) fn finish(mut self) -> [u8; DIGEST_BYTES] {
        self.buffer[self.filled..].fill(0);
        compress(&mut self.state, &self.buffer, self.compressed + self.filled as u64, true);
        let mut digest = [0; DIGEST_BYTES];
        write_words(&mut digest, &self.state);
        digest
    }

    /// The state as a `.ptau` file has it: the buffer, the state, the number of bytes in the state, and of those in the
    /// buffer.
    pub(crate) fn state(&self) -> [u8; STATE_BYTES] {
        let mut bytes = [0; STATE_BYTES];
        bytes[..self.filled].copy_from_slice(&self.buffer[..self.filled]);
        write_words(&mut bytes[BLOCK_BYTES..], &self.state);
        let counts = [self.compressed, self.filled as u64];
        write_words(&mut bytes[BLOCK_BYTES + DIGEST_BYTES..], &counts);
        bytes
    }
}

fn write_words(bytes: &mut [u8], words: &[u64]) {
    for (bytes, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *bytes = word.to_le_bytes();
    }
}

fn compress(state: &mut [u64; 8], block: &[u8; BLOCK_BYTES], counter: u64, is_last: bool) {
    let mut message = [0; 16];
    for (word, bytes) in message.iter_mut().zip(block.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    let mut v = [0; 16];
    v[..8].copy_from_slice(state);
    v[8..].copy_from_slice(&IV);
    // The upper half of the counter is zero for all inputs that exist.
    v[12] ^= counter;
    if is_last {
        v[14] = !v[14];
    }
    for round in 0..ROUNDS {
        let order = &SIGMA[round % SIGMA.len()];
        let m = |index: usize| message[order[index]];
        mix(&mut v, [0, 4, 8, 12], m(0), m(1));
        mix(&mut v, [1, 5, 9, 13], m(2), m(3));
        mix(&mut v, [2, 6, 10, 14], m(4), m(5));
        mix(&mut v, [3, 7, 11, 15], m(6), m(7));
        mix(&mut v, [0, 5, 10, 15], m(8), m(9));
        mix(&mut v, [1, 6, 11, 12], m(10), m(11));
        mix(&mut v, [2, 7, 8, 13], m(12), m(13));
        mix(&mut v, [3, 4, 9, 14], m(14), m(15));
    }
    let (low, high) = v.split_at(8);
    for (word, (low, high)) in state.iter_mut().zip(low.iter().zip(high)) {
        *word ^= low ^ high;
    }
}

#[allow(clippy::many_single_char_names, reason = "the names of RFC 7693")]
fn mix(v: &mut [u64; 16], [a, b, c, d]: [usize; 4], x: u64, y: u64) {
    v[a] = v[a].wrapping_add(v[b]).wrapping_add(x);
    v[d] = (v[d] ^ v[a]).rotate_right(32);
    v[c] = v[c].wrapping_add(v[d]);
    v[b] = (v[b] ^ v[c]).rotate_right(24);
    v[a] = v[a].wrapping_add(v[b]).wrapping_add(y);
    v[d] = (v[d] ^ v[a]).rotate_right(16);
    v[c] = v[c].wrapping_add(v[d]);
    v[b] = (v[b] ^ v[c]).rotate_right(63);
}

#[cfg(test)]
mod tests {
    use blake2::{Blake2b512, Digest as _};

    use super::*;

    #[test]
    fn digests_are_those_of_a_library() {
        let input: Vec<u8> = (0..2_000_u32).map(|index| (index % 251) as u8).collect();
        for length in (0..400).chain([1_000, 1_023, 1_024, 1_025, 2_000]) {
            let expected = Blake2b512::digest(&input[..length]);
            assert_eq!(Blake2b::digest(&input[..length])[..], expected[..], "{length}");
            let mut hasher = Blake2b::new();
            for piece in input[..length].chunks(77) {
                hasher.update(piece);
            }
            assert_eq!(hasher.finish()[..], expected[..], "{length}");
        }
    }

    #[test]
    fn the_state_has_the_buffer_and_both_counts() {
        let mut hasher = Blake2b::new();
        hasher.update(&[7; 128]);
        // A full buffer waits.
        let state = hasher.state();
        assert_eq!(state[..128], [7; 128]);
        assert_eq!(state[192..208], [[0; 8], 128_u64.to_le_bytes()].concat()[..]);
        hasher.update(&[9; 3]);
        let state = hasher.state();
        assert_eq!(state[..4], [9, 9, 9, 0]);
        assert_eq!(state[192..], [128_u64.to_le_bytes(), 3_u64.to_le_bytes(), [0; 8]].concat()[..]);
    }
}
