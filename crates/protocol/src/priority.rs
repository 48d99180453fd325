//! The priority of a proof.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The priority of a proof or job. Written in upper case, read in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum Priority {
    /// For work that nobody waits for.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Before normal work.
    High,
    /// Before all other work.
    Critical,
}

/// The text is not the name of a priority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown priority; it is one of LOW, NORMAL, HIGH, CRITICAL")]
pub struct UnknownPriority;

impl Priority {
    /// Every priority, the least urgent first.
    pub const ALL: [Self; 4] = [Self::Low, Self::Normal, Self::High, Self::Critical];

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "LOW",
            Self::Normal => "NORMAL",
            Self::High => "HIGH",
            Self::Critical => "CRITICAL",
        }
    }

    /// Its rank: 0 for [`Self::Low`] to 3 for [`Self::Critical`].
    #[must_use]
    pub const fn level(self) -> u8 {
        match self {
            Self::Low => 0,
            Self::Normal => 1,
            Self::High => 2,
            Self::Critical => 3,
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Priority {
    type Err = UnknownPriority;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|priority| priority.as_str().eq_ignore_ascii_case(text))
            .ok_or(UnknownPriority)
    }
}

impl TryFrom<String> for Priority {
    type Error = UnknownPriority;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Priority> for &'static str {
    fn from(priority: Priority) -> Self {
        priority.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_in_any_case() {
        for priority in Priority::ALL {
            assert_eq!(priority.as_str().parse(), Ok(priority));
            assert_eq!(priority.as_str().to_lowercase().parse(), Ok(priority));
            assert_eq!(serde_json::to_string(&priority).unwrap(), format!("\"{priority}\""));
        }
        assert_eq!(serde_json::from_str::<Priority>("\"Critical\"").unwrap(), Priority::Critical);
        for bad in ["", "URGENT", "3"] {
            assert_eq!(bad.parse::<Priority>(), Err(UnknownPriority), "{bad:?}");
        }
    }

    #[test]
    fn levels_rise_with_urgency() {
        assert!(Priority::ALL.is_sorted());
        assert!(Priority::ALL.into_iter().zip(0..).all(|(priority, level)| priority.level() == level));
    }
}
