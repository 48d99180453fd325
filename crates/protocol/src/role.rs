//! Roles of callers.

use std::str::FromStr;

use crate::{HasProblemType, Priority, ProblemType, caller::OPERATOR_ROLE};

/// The role of a caller. From [`Self::User`] on, each role includes [`Self::User`] and the roles after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Role {
    /// May claim the jobs of all callers with their witnesses, prove them, and nothing else: a prover that pulls.
    Prover,
    /// May see the jobs of all callers, and change nothing: it requests no proofs.
    Observer,
    /// May request proofs with LOW or NORMAL priority, and see and cancel its own jobs.
    #[default]
    User,
    /// May also use HIGH priority.
    Priority,
    /// May use every priority, see, cancel and retry the jobs of all callers, upload and remove circuits, and read the audit log.
    Operator,
}

/// A text that is not a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role is one of prover, observer, user, priority, operator")]
pub struct UnknownRole;

/// The caller's role does not allow the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// It does not include this priority.
    #[error("the role `{}` allows at most priority {highest}, not {asked}", role.as_str())]
    Priority {
        /// The caller's role.
        role: Role,
        /// Its highest priority.
        highest: Priority,
        /// The requested priority.
        asked: Priority,
    },
    /// It only reads.
    #[error("the role `{}` only reads: it requests nothing that takes work", role.as_str())]
    ReadOnly {
        /// The caller's role.
        role: Role,
    },
    /// It only proves jobs.
    #[error("the role `{}` is for `edgeprove work`: it requests nothing that takes work", role.as_str())]
    OnlyPulls {
        /// The caller's role.
        role: Role,
    },
    /// The request shows the jobs of others.
    #[error("this needs the role `operator` or `observer`, and the caller has the role `{}`", role.as_str())]
    ObserversOnly {
        /// The caller's role.
        role: Role,
    },
    /// The request is for provers that pull.
    #[error("this needs a key with the role `prover`, and the caller has the role `{}`", role.as_str())]
    ProversOnly {
        /// The caller's role.
        role: Role,
    },
    /// The request is for operators only.
    #[error("this needs the role `operator`, and the caller has the role `{}`", role.as_str())]
    OperatorsOnly {
        /// The caller's role.
        role: Role,
    },
}

impl Role {
    /// Every role, in ascending order.
    pub const ALL: [Self; 5] = [Self::Prover, Self::Observer, Self::User, Self::Priority, Self::Operator];

    /// Why callers without a key cannot be provers.
    pub const PROVERS_NEED_KEYS: &str = "it gets the witnesses of all callers, so it needs a key";

    /// Its name in settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prover => "prover",
            Self::Observer => "observer",
            Self::User => "user",
            Self::Priority => "priority",
            Self::Operator => OPERATOR_ROLE,
        }
    }

    /// The highest priority that it allows; `None` if it requests nothing.
    #[must_use]
    pub const fn highest_priority(self) -> Option<Priority> {
        match self {
            Self::Prover | Self::Observer => None,
            Self::User => Some(Priority::Normal),
            Self::Priority => Some(Priority::High),
            Self::Operator => Some(Priority::Critical),
        }
    }

    /// Fails if it does not include this priority.
    pub fn may_use(self, asked: Priority) -> Result<(), Forbidden> {
        match self.highest_priority() {
            Some(highest) if asked <= highest => Ok(()),
            Some(highest) => Err(Forbidden::Priority { role: self, highest, asked }),
            None if self == Self::Prover => Err(Forbidden::OnlyPulls { role: self }),
            None => Err(Forbidden::ReadOnly { role: self }),
        }
    }

    /// Fails if it does not see the jobs of all callers.
    pub fn may_observe(self) -> Result<(), Forbidden> {
        match self {
            Self::Observer | Self::Operator => Ok(()),
            Self::Prover | Self::User | Self::Priority => Err(Forbidden::ObserversOnly { role: self }),
        }
    }

    /// Fails if it is not the role of provers that pull. Operators do not have it: whoever has it gets witnesses.
    pub fn may_pull(self) -> Result<(), Forbidden> {
        if self == Self::Prover { Ok(()) } else { Err(Forbidden::ProversOnly { role: self }) }
    }

    /// Fails if it is not the role of operators.
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

impl HasProblemType for Forbidden {
    fn kind(&self) -> ProblemType {
        ProblemType::NotAllowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_includes_the_one_before() {
        let reach = Role::ALL.map(Role::highest_priority);
        assert_eq!(
            reach,
            [None, None, Some(Priority::Normal), Some(Priority::High), Some(Priority::Critical)]
        );
        for role in Role::ALL {
            for priority in Priority::ALL {
                let is_allowed = role.highest_priority().is_some_and(|highest| priority <= highest);
                assert_eq!(role.may_use(priority).is_ok(), is_allowed);
            }
            assert_eq!(role.may_observe().is_ok(), matches!(role, Role::Observer | Role::Operator));
            assert_eq!(role.may_operate().is_ok(), role == Role::Operator);
            assert_eq!(role.may_pull().is_ok(), role == Role::Prover);
            assert_eq!(role.as_str().parse(), Ok(role));
        }
        assert_eq!("root".parse::<Role>(), Err(UnknownRole));
        assert_eq!(
            Role::User.may_use(Priority::High).unwrap_err().to_string(),
            "the role `user` allows at most priority NORMAL, not HIGH"
        );
    }
}
