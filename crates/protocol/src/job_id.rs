//! The name of a job.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid, Variant};

/// The name of a job: a random UUID, and before it the number of the container that owns the job where its state is
/// there and nowhere else, so that the edge finds the owner without asking anyone.
///
/// `c3-7c2d3f7e-…` is with container 3, `7c2d3f7e-…` with whoever is asked. A job has one spelling: lower case, no
/// leading zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId {
    home: Option<u16>,
    random: Uuid,
}

/// A text that cannot name a job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a job's id is a random UUID in lower case, with the number of its container before it: c3-7c2d3f7e-…"
)]
pub struct InvalidJobId;

impl JobId {
    /// Highest number of a container: the edge reads four digits.
    pub const HOME_MAX: u16 = 9999;

    /// The job named by these random bytes. `home` is the container that alone keeps its state, if one does; a number
    /// above [`Self::HOME_MAX`] is no container's.
    pub fn new(home: Option<u16>, random: [u8; 16]) -> Result<Self, InvalidJobId> {
        if home.is_some_and(|number| number > Self::HOME_MAX) {
            return Err(InvalidJobId);
        }
        Ok(Self { home, random: Builder::from_random_bytes(random).into_uuid() })
    }

    /// The container that alone keeps the job's state.
    #[must_use]
    pub const fn home(self) -> Option<u16> {
        self.home
    }
}

impl FromStr for JobId {
    type Err = InvalidJobId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (home, random) = match text.strip_prefix('c').and_then(|rest| rest.split_once('-')) {
            // A UUID's own first dash comes after eight digits, so the two forms cannot be mistaken for each other.
            Some((number, random)) if number.len() <= 4 => {
                (Some(number.parse().map_err(|_| InvalidJobId)?), random)
            }
            _ => (None, text),
        };
        let random = Uuid::try_parse(random).map_err(|_| InvalidJobId)?;
        let id = Self { home, random };
        let is_random = random.get_version_num() == 4 && random.get_variant() == Variant::RFC4122;
        if is_random && id.to_string() == text { Ok(id) } else { Err(InvalidJobId) }
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(number) = self.home {
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

    #[test]
    fn it_carries_its_home() {
        for home in [None, Some(0), Some(3), Some(JobId::HOME_MAX)] {
            let id = JobId::new(home, [0xc1; 16]).unwrap();
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(id.home(), home);
        }
        assert_eq!(JobId::new(Some(JobId::HOME_MAX + 1), [0; 16]), Err(InvalidJobId));
        assert_eq!(RANDOM.parse::<JobId>().unwrap().home(), None);
        assert_eq!(format!("c12-{RANDOM}").parse::<JobId>().unwrap().home(), Some(12));
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
