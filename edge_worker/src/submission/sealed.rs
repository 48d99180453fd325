//! The head of a body that a caller sealed for a container (docs/SEALING.md). The edge cannot open it. It checks what a container can
//! not check when the job runs: that the body is fresh, and that it did not arrive before.

use edgeprove_protocol::ProblemType;
use sha2::{Digest as _, Sha256};

use crate::{jobs_do::protocol::SEALED_PREFIX, refusal::Refusal};

const MAGIC: &[u8] = b"EPSB";
/// Where the time is: after magic, version, suite and the id of the key.
const TIME_AT: usize = 4 + 1 + 6 + 8;
const ENCAPSULATED_AT: usize = TIME_AT + 8;
/// Bytes of the head.
pub const HEAD_BYTES: u32 = 59;
/// How far the time of a body may be from that of its arrival, in milliseconds.
const WINDOW_MS: u64 = 120_000;

/// Checks the head of a sealed body that arrives now. Returns the name of its mark.
pub fn check(head: &[u8], now_ms: u64) -> Result<String, Refusal> {
    let invalid = || Refusal::new(ProblemType::SealedBodyInvalid, "the body does not begin as a sealed body");
    let head = head.get(..HEAD_BYTES as usize).filter(|head| head.starts_with(MAGIC)).ok_or_else(invalid)?;
    let time: [u8; 8] = head[TIME_AT..ENCAPSULATED_AT].try_into().map_err(|_| invalid())?;
    let difference_ms = u64::from_be_bytes(time).abs_diff(now_ms);
    if difference_ms > WINDOW_MS {
        let detail = format!(
            "the body was sealed {} s before or after its arrival; at most {} s are allowed",
            difference_ms / 1000,
            WINDOW_MS / 1000
        );
        return Err(Refusal::new(ProblemType::SealedAtWrongTime, detail));
    }
    // Each body has an encapsulated key of its own.
    Ok(format!("{SEALED_PREFIX}{}", hex::encode(Sha256::digest(&head[ENCAPSULATED_AT..]))))
}

/// The refusal of a body that arrived before.
#[must_use]
pub fn replayed() -> Refusal {
    Refusal::new(
        ProblemType::SealedBodyReplayed,
        "this sealed body arrived before: seal it again for each request",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_764_547_200_000;

    fn head(time_ms: u64, encapsulated: u8) -> Vec<u8> {
        [b"EPSB\x01\x00\x20\x00\x01\x00\x02", &[7; 8][..], &time_ms.to_be_bytes(), &[encapsulated; 32]]
            .concat()
    }

    #[test]
    fn a_sealed_body_must_be_fresh() {
        for time in [NOW, NOW - 120_000, NOW + 120_000] {
            assert!(check(&head(time, 1), NOW).is_ok(), "{time}");
        }
        for time in [NOW - 120_001, NOW + 120_001, 0, u64::MAX] {
            assert_eq!(
                check(&head(time, 1), NOW).unwrap_err().kind,
                ProblemType::SealedAtWrongTime,
                "{time}"
            );
        }
        let whole = head(NOW, 1);
        for other in [&whole[..58], b"", &[0x1f; 80]] {
            assert_eq!(check(other, NOW).unwrap_err().kind, ProblemType::SealedBodyInvalid);
        }
    }

    #[test]
    fn each_body_has_a_mark_of_its_own() {
        let mark = |encapsulated| check(&head(NOW, encapsulated), NOW).unwrap();
        assert_eq!(mark(1), mark(1));
        assert_ne!(mark(1), mark(2));
        assert!(mark(1).starts_with(SEALED_PREFIX));
    }
}
