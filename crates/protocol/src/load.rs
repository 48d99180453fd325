//! How busy a server is: what it tells the edge with every answer, so that the edge can choose the idler one.

use std::{fmt, str::FromStr};

/// How busy a server is, written as `running=1, waiting=0, cores=2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Proofs at work.
    pub running: u32,
    /// Requests that wait for a prover.
    pub waiting: u32,
    /// Cores that proofs may use.
    pub cores: u32,
}

/// A text that is no [`Load`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a load is written as `running=1, waiting=0, cores=2`")]
pub struct LoadError;

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "running={}, waiting={}, cores={}", self.running, self.waiting, self.cores)
    }
}

impl FromStr for Load {
    type Err = LoadError;

    /// Members may come in any order, and ones that are not known are passed over: an older edge must understand a
    /// newer server. The three that are known must be there.
    fn from_str(text: &str) -> Result<Self, LoadError> {
        let (mut running, mut waiting, mut cores) = (None, None, None);
        for member in text.split(',') {
            let (name, value) = member.split_once('=').ok_or(LoadError)?;
            let place = match name.trim() {
                "running" => &mut running,
                "waiting" => &mut waiting,
                "cores" => &mut cores,
                _ => continue,
            };
            *place = Some(value.trim().parse().map_err(|_| LoadError)?);
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
    fn it_survives_a_round_trip_and_members_of_a_later_version() {
        let load = Load { running: 1, waiting: 20, cores: 4 };
        assert_eq!(load.to_string().parse(), Ok(load));
        assert_eq!("cores=4,jobs=9, waiting=20,running=1".parse(), Ok(load));
    }

    #[test]
    fn what_is_no_load_is_refused() {
        for text in ["", "running=1", "running=1, waiting=0, cores=-2", "running, waiting=0, cores=2"] {
            assert_eq!(text.parse::<Load>(), Err(LoadError), "{text:?}");
        }
    }
}
