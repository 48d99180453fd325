//! The load that a server reports with every answer. The edge chooses the less loaded container by it.

use std::{fmt, str::FromStr};

/// The load of a server, written as `running=1, waiting=0, cores=2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Proofs that are running.
    pub running: u32,
    /// Requests that wait for a prover.
    pub waiting: u32,
    /// Cores that proofs may use.
    pub cores: u32,
}

/// The text is not a [`Load`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a load has the form `running=1, waiting=0, cores=2`")]
pub struct LoadError;

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "running={}, waiting={}, cores={}", self.running, self.waiting, self.cores)
    }
}

impl FromStr for Load {
    type Err = LoadError;

    /// Reads members in any order and ignores unknown ones: an older edge must understand a newer server. All three known
    /// members are required.
    fn from_str(text: &str) -> Result<Self, LoadError> {
        let (mut running, mut waiting, mut cores) = (None, None, None);
        for part in text.split(',') {
            let (name, value) = part.split_once('=').ok_or(LoadError)?;
            let member = match name.trim() {
                "running" => &mut running,
                "waiting" => &mut waiting,
                "cores" => &mut cores,
                _ => continue,
            };
            *member = Some(value.trim().parse().map_err(|_| LoadError)?);
        }
        Ok(Self {
            running: running.ok_or(LoadError)?,
            waiting: waiting.ok_or(LoadError)?,
            cores: cores.ok_or(LoadError)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_members_are_ignored() {
        let load = Load { running: 1, waiting: 20, cores: 4 };
        assert_eq!(load.to_string().parse(), Ok(load));
        assert_eq!("cores=4,jobs=9, waiting=20,running=1".parse(), Ok(load));
    }

    #[test]
    fn malformed_loads_are_refused() {
        for text in ["", "running=1", "running=1, waiting=0, cores=-2", "running, waiting=0, cores=2"] {
            assert_eq!(text.parse::<Load>(), Err(LoadError), "{text:?}");
        }
    }
}
