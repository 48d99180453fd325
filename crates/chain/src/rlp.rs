//! Recursive length prefix, the encoding of transactions: lists of byte strings and of lists.

/// A list that is written item by item.
#[derive(Debug, Default)]
pub(crate) struct List(Vec<u8>);

impl List {
    /// Adds a byte string.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        if let [byte @ 0..0x80] = bytes {
            self.0.push(*byte);
        } else {
            prefix(&mut self.0, 0x80, bytes.len());
            self.0.extend_from_slice(bytes);
        }
    }

    /// Adds a number: its bytes without zeros at the beginning.
    pub(crate) fn number(&mut self, number: u128) {
        let bytes = number.to_be_bytes();
        self.bytes(trimmed(&bytes));
    }

    /// Adds a number of any size, whose most significant byte is the first.
    pub(crate) fn large_number(&mut self, bytes: &[u8]) {
        self.bytes(trimmed(bytes));
    }

    /// Adds an empty list.
    pub(crate) fn empty_list(&mut self) {
        prefix(&mut self.0, 0xc0, 0);
    }

    /// The encoded list.
    pub(crate) fn finish(self) -> Vec<u8> {
        let mut list = Vec::with_capacity(self.0.len() + 9);
        prefix(&mut list, 0xc0, self.0.len());
        list.extend_from_slice(&self.0);
        list
    }
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}

/// Writes the length of what follows. Short lengths are part of the first byte.
fn prefix(to: &mut Vec<u8>, base: u8, length: usize) {
    if let Ok(short @ 0..=55) = u8::try_from(length) {
        to.push(base + short);
    } else {
        let bytes = length.to_be_bytes();
        let bytes = trimmed(&bytes);
        // A length has at most eight bytes.
        to.push(base + 55 + u8::try_from(bytes.len()).unwrap_or(8));
        to.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(write: impl FnOnce(&mut List)) -> String {
        let mut list = List::default();
        write(&mut list);
        hex::encode(list.finish())
    }

    #[test]
    fn items_are_encoded_as_in_the_specification() {
        assert_eq!(list(|_| {}), "c0");
        assert_eq!(list(|list| list.bytes(b"dog")), "c483646f67");
        assert_eq!(list(|list| list.bytes(b"")), "c180");
        assert_eq!(list(|list| list.bytes(&[0])), "c100");
        assert_eq!(list(|list| list.bytes(&[0x80])), "c28180");
        assert_eq!(list(|list| list.number(0)), "c180");
        assert_eq!(list(|list| list.number(15)), "c10f");
        assert_eq!(list(|list| list.number(1024)), "c3820400");
        assert_eq!(list(|list| list.large_number(&[0, 0, 4, 0])), "c3820400");
        assert_eq!(list(List::empty_list), "c1c0");
    }

    #[test]
    fn long_items_have_the_length_of_their_length() {
        assert!(list(|list| list.bytes(&[7; 55])).starts_with("f838b7"));
        assert!(list(|list| list.bytes(&[7; 54])).starts_with("f7b6"));
        assert!(list(|list| list.bytes(&[7; 56])).starts_with("f83ab838"));
        assert!(list(|list| list.bytes(&[7; 1024])).starts_with("f90403b90400"));
    }
}
