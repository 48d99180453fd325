//! Collects everything that is wrong with the settings, so that it is told at once.

use std::{fmt, time::Duration};

use bytesize::ByteSize;

/// The text of a flag together with what it means, or why it means nothing.
#[derive(Debug, Clone)]
pub struct RawSetting<T> {
    /// `None` where it must not be shown.
    text: Option<String>,
    value: Result<T, String>,
}

/// A parser for clap that never fails; [`Faults::take`] reports what it could not read.
#[allow(clippy::must_use_candidate, reason = "clap calls it")]
pub fn raw_setting<T>(text: &str) -> Result<RawSetting<T>, std::convert::Infallible>
where
    T: Setting,
{
    Ok(RawSetting { text: (!T::SECRET).then(|| text.to_owned()), value: T::read(text) })
}

/// Something that can be set by a text.
pub trait Setting: Sized {
    /// Whether the text must never be shown, not even in a fault. Then [`Self::read`] must not quote it either.
    const SECRET: bool = false;

    /// Its value, or what it should have looked like.
    fn read(text: &str) -> Result<Self, String>;
}

impl Setting for Duration {
    fn read(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text).map_err(|_| "a duration such as 90s or 2m".to_owned())
    }
}

impl Setting for ByteSize {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "a size such as 64MiB".to_owned())
    }
}

impl Setting for u64 {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "a whole number".to_owned())
    }
}

impl Setting for usize {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "a whole number".to_owned())
    }
}

impl Setting for f64 {
    fn read(text: &str) -> Result<Self, String> {
        let number = text.parse().ok().filter(|number: &f64| number.is_finite());
        number.ok_or_else(|| "a number such as 1.5".to_owned())
    }
}

impl Setting for std::net::SocketAddr {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "an address and a port such as 127.0.0.1:8080".to_owned())
    }
}

/// What is wrong with the settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults(Vec<String>);

/// Settings that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError(Vec<String>);

impl Faults {
    /// Notes a fault.
    pub fn add(&mut self, fault: impl Into<String>) {
        self.0.push(fault.into());
    }

    /// The value of a flag, or its fault and `None`. `name` is the flag without its dashes.
    pub fn take<T>(&mut self, name: &str, setting: RawSetting<T>) -> Option<T> {
        match setting.value {
            Ok(value) => Some(value),
            Err(wanted) => {
                let given =
                    setting.text.map_or_else(|| "what it is set to".to_owned(), |text| format!("`{text}`"));
                self.add(format!("{}: {given} is not {wanted}", flag(name)));
                None
            }
        }
    }

    /// The value of a flag that must not be below a minimum.
    pub fn take_at_least<T>(&mut self, name: &str, setting: RawSetting<T>, min: &T) -> Option<T>
    where
        T: PartialOrd + fmt::Display,
    {
        let value = self.take(name, setting)?;
        if value < *min {
            self.add(format!("{}: {value} is below {min}", flag(name)));
            return None;
        }
        Some(value)
    }

    /// The values of a list of flags. Empty items, as a comma too many gives, count for nothing.
    pub fn take_all<T>(&mut self, name: &str, settings: Vec<RawSetting<T>>) -> Vec<T> {
        let named = settings.into_iter().filter(|setting| setting.text.as_deref() != Some(""));
        named.filter_map(|setting| self.take(name, setting)).collect()
    }

    /// The value of an outcome, or its error as a fault and `None`.
    pub fn keep<T, E: std::error::Error>(&mut self, outcome: Result<T, E>) -> Option<T> {
        outcome.map_err(|error| self.add(edgeprove_telemetry::chain(&error))).ok()
    }

    /// The finished settings, if there were no faults.
    pub fn finish<T>(self, settings: Option<T>) -> Result<T, ConfigError> {
        match settings {
            Some(settings) if self.0.is_empty() => Ok(settings),
            _ => Err(ConfigError(self.0)),
        }
    }
}

fn flag(name: &str) -> String {
    format!("--{name} (EDGEPROVE_{})", name.to_ascii_uppercase().replace('-', "_"))
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the configuration has {} fault{}:",
            self.0.len(),
            if self.0.len() == 1 { "" } else { "s" }
        )?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  - {fault}"))
    }
}

/// A setting with a fixed set of words.
macro_rules! words {
    ($type:ty, $($word:literal => $value:expr),+ $(,)?) => {
        impl $crate::config::faults::Setting for $type {
            fn read(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok($value),)+
                    _ => Err(format!("one of {}", [$($word),+].join(", "))),
                }
            }
        }
    };
}
pub(crate) use words;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_told_with_its_flag_and_its_variable() {
        let mut faults = Faults::default();
        let Ok(size) = raw_setting::<ByteSize>("much");
        assert_eq!(faults.take("upload-max", size), None);
        let Ok(count) = raw_setting::<u64>("0");
        assert_eq!(faults.take_at_least("prover-queue-max", count, &1), None);
        let Ok(time) = raw_setting::<Duration>("2m");
        assert_eq!(faults.take("prove-timeout", time), Some(Duration::from_mins(2)));
        let told = faults.finish(Some(())).unwrap_err().to_string();
        assert_eq!(
            told,
            "the configuration has 2 faults:\n  \
             - --upload-max (EDGEPROVE_UPLOAD_MAX): `much` is not a size such as 64MiB\n  \
             - --prover-queue-max (EDGEPROVE_PROVER_QUEUE_MAX): 0 is below 1"
        );
    }

    #[test]
    fn a_secret_is_shown_nowhere() {
        #[derive(Debug)]
        struct Hidden;

        impl Setting for Hidden {
            const SECRET: bool = true;

            fn read(_: &str) -> Result<Self, String> {
                Err("a longer one".to_owned())
            }
        }

        let mut faults = Faults::default();
        let Ok(secret) = raw_setting::<Hidden>("hunter2");
        assert!(!format!("{secret:?}").contains("hunter2"));
        assert!(faults.take("edge-secret", secret).is_none());
        assert_eq!(
            faults.finish(Some(())).unwrap_err().to_string(),
            "the configuration has 1 fault:\n  \
             - --edge-secret (EDGEPROVE_EDGE_SECRET): what it is set to is not a longer one"
        );
    }
}
