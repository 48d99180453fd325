//! What a sealed body is bound to. Client and server compute it independently, from the request.

use crate::format::BOUND_BYTES;

/// Makes the `info` of a sealed body differ from that of every other use of HPKE.
const LABEL: &[u8] = b"edgeprove sealed body v1";

/// The parts of a request that a sealed body belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Binding {
    /// The media type of what is sealed, exactly as the request names it.
    pub content: String,
    /// The circuit in the path or the query; empty if the request names none there.
    pub circuit: String,
    /// The target in the query; empty if it has none.
    pub target: String,
    /// SHA-256 of the key that the request has; `None` for a request without a key.
    pub credential: Option<[u8; 32]>,
}

impl Binding {
    /// The `info` of HPKE for a body with this head: label, head, and each part with its length in two bytes.
    #[must_use]
    pub fn info(&self, bound_head: &[u8; BOUND_BYTES]) -> Vec<u8> {
        let mut info = [LABEL, bound_head].concat();
        let credential = self.credential.as_ref().map_or(&[][..], <[u8; 32]>::as_slice);
        for part in [self.content.as_bytes(), self.circuit.as_bytes(), self.target.as_bytes(), credential] {
            // Names and headers are far shorter.
            let length = u16::try_from(part.len()).unwrap_or(u16::MAX);
            info.extend(length.to_be_bytes());
            info.extend(&part[..usize::from(length)]);
        }
        info
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_cannot_take_the_place_of_another() {
        let of = |circuit: &str, target: &str| {
            let binding =
                Binding { circuit: circuit.to_owned(), target: target.to_owned(), ..Binding::default() };
            binding.info(&[0; BOUND_BYTES])
        };
        assert_ne!(of("ab", ""), of("a", "b"));
        assert_ne!(of("ab", ""), of("", "ab"));
        let anonymous = Binding::default();
        let named = Binding { credential: Some([0; 32]), ..Binding::default() };
        assert_ne!(anonymous.info(&[0; BOUND_BYTES]), named.info(&[0; BOUND_BYTES]));
        assert_ne!(anonymous.info(&[0; BOUND_BYTES]), anonymous.info(&[1; BOUND_BYTES]));
    }
}
