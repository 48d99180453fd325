//! What a caller may do.

use std::str::FromStr;

use edgeprove_protocol::{HasProblemType, Priority, ProblemType};

/// What a caller may do; each role may do all that those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Role {
    /// Ask for proofs, LOW or NORMAL, and look after its own jobs.
    #[default]
    User,
    /// Ask for proofs up to HIGH.
    Priority,
    /// Ask for proofs of any priority, see everybody's jobs, statistics and the audit log.
    Operator,
}

/// A text that names no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role is one of user, priority, operator")]
pub struct UnknownRole;

/// The caller's role does not reach so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// To this priority.
    #[error("the role `{}` may ask for {} at most, and not for {asked}", role.as_str(), role.highest_priority())]
    Priority {
        /// The caller's role.
        role: Role,
        /// What was asked for.
        asked: Priority,
    },
    /// To what operators do.
    #[error("this is for the role `operator`, and the caller's is `{}`", role.as_str())]
    OperatorsOnly {
        /// The caller's role.
        role: Role,
    },
}

impl Role {
    /// Every role, the humblest first.
    pub const ALL: [Self; 3] = [Self::User, Self::Priority, Self::Operator];

    /// Its name, as it is set.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Priority => "priority",
            Self::Operator => "operator",
        }
    }

    /// The most urgent that it may ask for.
    #[must_use]
    pub const fn highest_priority(self) -> Priority {
        match self {
            Self::User => Priority::Normal,
            Self::Priority => Priority::High,
            Self::Operator => Priority::Critical,
        }
    }

    /// Whether it may ask for this priority.
    pub fn may_use(self, asked: Priority) -> Result<(), Forbidden> {
        if asked <= self.highest_priority() { Ok(()) } else { Err(Forbidden::Priority { role: self, asked }) }
    }

    /// Whether it may do what operators do.
    pub fn may_operate(self) -> Result<(), Forbidden> {
        if self == Self::Operator { Ok(()) } else { Err(Forbidden::OperatorsOnly { role: self }) }
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(UnknownRole)
    }
}

/// How often somebody may ask: a bucket of `burst` turns that fills by `per_minute`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Turns a minute, at least 1.
    pub per_minute: u32,
    /// Turns at once after a pause, at least 1.
    pub burst: u32,
}

/// How much a caller may ask for. What is `None` is not bounded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests.
    pub rate: Option<Rate>,
    /// Proofs a day, by UTC.
    pub proofs_per_day: Option<u32>,
    /// Proofs at a time, at work or waiting.
    pub unfinished_max: Option<u32>,
}

impl HasProblemType for Forbidden {
    fn kind(&self) -> ProblemType {
        ProblemType::NotAllowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_reaches_further_than_the_one_before() {
        let reach = Role::ALL.map(Role::highest_priority);
        assert_eq!(reach, [Priority::Normal, Priority::High, Priority::Critical]);
        for role in Role::ALL {
            for priority in Priority::ALL {
                assert_eq!(role.may_use(priority).is_ok(), priority <= role.highest_priority());
            }
            assert_eq!(role.may_operate().is_ok(), role == Role::Operator);
            assert_eq!(role.as_str().parse(), Ok(role));
        }
        assert_eq!("root".parse::<Role>(), Err(UnknownRole));
        assert_eq!(
            Role::User.may_use(Priority::High).unwrap_err().to_string(),
            "the role `user` may ask for NORMAL at most, and not for HIGH"
        );
    }
}
