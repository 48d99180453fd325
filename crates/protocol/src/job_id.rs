//! The id of a job.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid, Variant};

/// The id of a job: a random UUID. Where only one container has the job's state, the container's number comes first, so
/// that the edge can route without a lookup.
///
/// `c3-7c2d3f7e-…` belongs to container 3; any server answers for `7c2d3f7e-…`. An id has one spelling: lower case, no
/// leading zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId {
    instance: Option<u16>,
    random: Uuid,
}

/// The text is not a job id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a job id is a random UUID in lower case, such as 7c2d3f7e-…, or c3-7c2d3f7e-… for a job of container 3"
)]
pub struct InvalidJobId;

impl JobId {
    /// Highest number of a container. The edge reads four digits.
    pub const INSTANCE_MAX: u16 = 9999;

    /// Builds an id from random bytes. `instance` is the number of the container that alone has the job's state, at most
    /// [`Self::INSTANCE_MAX`].
    pub fn new(instance: Option<u16>, random: [u8; 16]) -> Result<Self, InvalidJobId> {
        if instance.is_some_and(|number| number > Self::INSTANCE_MAX) {
            return Err(InvalidJobId);
        }
        Ok(Self { instance, random: Builder::from_random_bytes(random).into_uuid() })
    }

    /// The number of the container that alone has the job's state.
    #[must_use]
    pub const fn instance(self) -> Option<u16> {
        self.instance
    }
}

impl FromStr for JobId {
    type Err = InvalidJobId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (instance, random) = match text.strip_prefix('c').and_then(|rest| rest.split_once('-')) {
            // A UUID's own first dash comes after eight digits, so the two forms cannot be mistaken for each other.
            Some((number, random)) if number.len() <= 4 => {
                (Some(number.parse().map_err(|_| InvalidJobId)?), random)
            }
            _ => (None, text),
        };
        let random = Uuid::try_parse(random).map_err(|_| InvalidJobId)?;
        let id = Self { instance, random };
        let is_random = random.get_version_num() == 4 && random.get_variant() == Variant::RFC4122;
        if is_random && id.to_string() == text { Ok(id) } else { Err(InvalidJobId) }
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(number) = self.instance {
            write!(f, "c{number}-")?;
        }
        self.random.as_hyphenated().fmt(f)
    }
}

impl TryFrom<String> for JobId {
    type Error = InvalidJobId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A UUID whose first group could be taken for a container's number.
    const RANDOM: &str = "c1234567-89ab-4def-8123-456789abcdef";

    /// Without keys the id is all that protects a job.
    #[test]
    fn all_bits_that_can_be_random_are() {
        let [zeros, ones] = [0, 0xff].map(|byte| JobId::new(None, [byte; 16]).unwrap().random.as_u128());
        assert_eq!((zeros ^ ones).count_ones(), 122);
    }

    #[test]
    fn it_names_the_container_that_owns_it() {
        for instance in [None, Some(0), Some(3), Some(JobId::INSTANCE_MAX)] {
            let id = JobId::new(instance, [0xc1; 16]).unwrap();
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(id.instance(), instance);
        }
        assert_eq!(JobId::new(Some(JobId::INSTANCE_MAX + 1), [0; 16]), Err(InvalidJobId));
        assert_eq!(RANDOM.parse::<JobId>().unwrap().instance(), None);
        assert_eq!(format!("c12-{RANDOM}").parse::<JobId>().unwrap().instance(), Some(12));
    }

    #[test]
    fn a_job_has_one_spelling() {
        let (upper, simple) = (RANDOM.to_uppercase(), RANDOM.replace('-', ""));
        let (braced, urn) = (format!("{{{RANDOM}}}"), format!("urn:uuid:{RANDOM}"));
        let homes =
            ["c03-", "c-", "c+3-", "c10000-", "c99999-", "3-", "C3-"].map(|home| format!("{home}{RANDOM}"));
        let other_version = RANDOM.replace("-4def-", "-7def-");
        let mut bad = vec!["", "c3-", "../x", &upper, &simple, &braced, &urn, &other_version];
        bad.extend(homes.iter().map(String::as_str));
        for text in bad {
            assert_eq!(text.parse::<JobId>(), Err(InvalidJobId), "{text:?}");
        }
        assert!(serde_json::from_str::<JobId>(&format!("\"{RANDOM}\"")).is_ok());
        assert!(serde_json::from_str::<JobId>("\"job\"").is_err());
    }
}
