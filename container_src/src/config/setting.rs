//! Values of flags, and the errors in them: all errors are collected and reported in one message.

use std::{fmt, ops::RangeInclusive, time::Duration};

use bytesize::ByteSize;

/// A flag's text with its value, or with the form that it should have had.
#[derive(Debug, Clone)]
pub struct RawSetting<T> {
    /// `None` for a secret, which must not be shown.
    text: Option<String>,
    value: Result<T, String>,
}

/// A parser for clap that never fails. [`Faults::take`] reports an invalid text.
#[allow(clippy::must_use_candidate, reason = "clap calls it")]
pub fn raw_setting<T>(text: &str) -> Result<RawSetting<T>, std::convert::Infallible>
where
    T: Setting,
{
    Ok(RawSetting { text: (!T::SECRET).then(|| text.to_owned()), value: T::read(text) })
}

/// A type that a flag can have.
pub trait Setting: Sized {
    /// Whether the text is a secret that no error may show. [`Self::read`] must not quote it either.
    const SECRET: bool = false;

    /// Parses a text. The error is the expected form, such as `a size such as 64MiB`.
    fn read(text: &str) -> Result<Self, String>;
}

impl Setting for Duration {
    fn read(text: &str) -> Result<Self, String> {
        let time = humantime::parse_duration(text).ok().filter(|_| has_unit(text));
        time.ok_or_else(|| "a time with its unit, such as 90s or 2m".to_owned())
    }
}

impl Setting for ByteSize {
    fn read(text: &str) -> Result<Self, String> {
        let size = text.parse().ok().filter(|_| has_unit(text));
        size.ok_or_else(|| "a size with its unit, such as 64MiB or 100B".to_owned())
    }
}

/// Whether a time or a size names its unit. Without one, 90 could be seconds or milliseconds, bytes or megabytes.
fn has_unit(text: &str) -> bool {
    text.chars().any(char::is_alphabetic)
}

impl Setting for bool {
    fn read(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err("a boolean: 1, true, yes or on; or 0, false, no or off".to_owned()),
        }
    }
}

impl Setting for u16 {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "a whole number up to 65535".to_owned())
    }
}

impl Setting for u32 {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "a whole number".to_owned())
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

/// A value that has bounds, as errors show it.
pub trait Bounded: PartialOrd {
    /// The value in words.
    fn shown(&self) -> String;
}

impl Bounded for Duration {
    fn shown(&self) -> String {
        humantime::format_duration(*self).to_string()
    }
}

/// Implements [`Bounded`] for types that show themselves.
macro_rules! bounded {
    ($($type:ty),+) => { $(impl Bounded for $type {
        fn shown(&self) -> String {
            self.to_string()
        }
    })+ };
}
bounded!(ByteSize, u32, u64, usize, f64);

/// The purpose for which the settings are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The command uses them.
    Use,
    /// The command only checks them: it writes nothing, and a server with the same settings may run.
    Check,
}

/// The bounds of times in which a request, a proof or a connection must end.
pub const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(1)..=DAY;
/// The bounds of times that may be zero.
pub const WAITS: RangeInclusive<Duration> = Duration::ZERO..=DAY;
/// The bounds of times for which something is stored.
pub const STORAGE_TIMES: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(366 * 24);

const DAY: Duration = Duration::from_hours(24);

/// Collects the errors in the settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults(Vec<String>);

/// The settings are invalid. Its text is one line per error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError(Vec<String>);

impl ConfigError {
    /// Settings with this one error.
    #[must_use]
    pub fn new(error: String) -> Self {
        Self(vec![error])
    }

    /// Every error.
    #[must_use]
    pub fn faults(&self) -> &[String] {
        &self.0
    }
}

impl Faults {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds an error.
    pub fn add(&mut self, fault: impl Into<String>) {
        self.0.push(fault.into());
    }

    /// The value of a flag. If its text is invalid, adds an error and returns `None`. `name` is the flag without
    /// dashes.
    pub fn take<T>(&mut self, name: &str, setting: RawSetting<T>) -> Option<T> {
        self.take_named(&flag(name), setting)
    }

    /// The same for a flag without a variable: an error shows `name` as it is.
    pub fn take_named<T>(&mut self, name: &str, setting: RawSetting<T>) -> Option<T> {
        match setting.value {
            Ok(value) => Some(value),
            Err(wanted) => {
                let given = setting.text.map_or_else(|| "its value".to_owned(), |text| format!("`{text}`"));
                self.add(format!("{name}: {given} is not {wanted}"));
                None
            }
        }
    }

    /// The value of a flag with bounds.
    pub fn take_within<T: Bounded>(
        &mut self,
        name: &str,
        setting: RawSetting<T>,
        bounds: RangeInclusive<T>,
    ) -> Option<T> {
        let value = self.take(name, setting)?;
        let (min, max) = bounds.into_inner();
        let bound = if value < min {
            format!("at least {}", min.shown())
        } else if value > max {
            format!("at most {}", max.shown())
        } else {
            return Some(value);
        };
        self.add(format!("{} must be {bound} (got {})", flag(name), value.shown()));
        None
    }

    /// The values of a flag with several values. Empty items are ignored: an additional comma is harmless.
    pub fn take_all<T>(&mut self, name: &str, settings: Vec<RawSetting<T>>) -> Vec<T> {
        let given = settings.into_iter().filter(|setting| setting.text.as_deref() != Some(""));
        given.filter_map(|setting| self.take(name, setting)).collect()
    }

    /// The value of a result. If it is an error, adds that and returns `None`.
    pub fn ok<T, E: std::error::Error>(&mut self, outcome: Result<T, E>) -> Option<T> {
        outcome.map_err(|error| self.add(edgeprove_telemetry::chain(&error))).ok()
    }

    /// Returns the settings if no error was added.
    pub fn finish<T>(self, settings: Option<T>) -> Result<T, ConfigError> {
        match settings {
            Some(settings) if self.0.is_empty() => Ok(settings),
            _ => Err(ConfigError(self.0)),
        }
    }
}

/// The environment variable of a flag of `edgeprove serve`.
#[must_use]
pub fn variable(flag: &str) -> String {
    match flag {
        // The name that many other programs use.
        "database-url" => "DATABASE_URL".to_owned(),
        // The value is a secret, which comes from the environment; `--keys` is another name of `--keys-file`.
        "keys-toml" => "EDGEPROVE_KEYS".to_owned(),
        flag => format!("EDGEPROVE_{}", flag.to_ascii_uppercase().replace('-', "_")),
    }
}

/// A flag with its variable, as errors name it.
#[must_use]
pub fn flag(name: &str) -> String {
    format!("--{name} ({})", variable(name))
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "invalid configuration ({count} error{}):", if count == 1 { "" } else { "s" })?;
        // A value or a file name may have line feeds, and would look like another error.
        self.0.iter().try_for_each(|error| write!(f, "\n  - {}", edgeprove_telemetry::one_line(error)))
    }
}

/// Implements [`Setting`] for a type with a fixed set of words.
macro_rules! words {
    ($type:ty, $($word:literal => $value:expr),+ $(,)?) => {
        impl $crate::config::setting::Setting for $type {
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
    fn errors_name_flag_and_variable() {
        let mut faults = Faults::default();
        let Ok(size) = raw_setting::<ByteSize>("much");
        assert_eq!(faults.take("upload-max", size), None);
        let Ok(count) = raw_setting::<u64>("0");
        assert_eq!(faults.take_within("prover-queue-max", count, 1..=9), None);
        let Ok(time) = raw_setting::<Duration>("2m");
        assert_eq!(faults.take("prove-timeout", time), Some(Duration::from_mins(2)));
        let message = faults.finish(Some(())).unwrap_err().to_string();
        assert_eq!(
            message,
            "invalid configuration (2 errors):\n  \
             - --upload-max (EDGEPROVE_UPLOAD_MAX): `much` is not a size with its unit, such as 64MiB or 100B\n  \
             - --prover-queue-max (EDGEPROVE_PROVER_QUEUE_MAX) must be at least 1 (got 0)"
        );
    }

    #[test]
    fn times_and_sizes_have_units_and_bounds() {
        fn fault<T: Bounded + Setting>(text: &str, bounds: RangeInclusive<T>) -> Option<String> {
            let mut faults = Faults::default();
            let Ok(setting) = raw_setting::<T>(text);
            let value = faults.take_within("lease", setting, bounds);
            assert_eq!(value.is_some(), faults.0.is_empty());
            faults.0.pop()
        }
        let time = |text| fault::<Duration>(text, TIMEOUTS).unwrap_or_default();
        assert_eq!((time("1ms"), time("24h"), time("1m 30s")), Default::default());
        assert!(time("90").contains("with its unit"), "{}", time("90"));
        assert!(time("0s").ends_with("must be at least 1ms (got 0s)"), "{}", time("0s"));
        assert!(time("2days").ends_with("must be at most 1day (got 2days)"), "{}", time("2days"));
        assert_ne!(time("500000000000y"), "");
        let size = |text| fault(text, ByteSize::kib(1)..=ByteSize::mib(1)).unwrap_or_default();
        assert_eq!(size("1KiB"), "");
        assert!(size("2000").contains("with its unit"), "{}", size("2000"));
        assert!(size("10B").contains("at least 1.0 KiB (got 10 B)"), "{}", size("10B"));
        let count = |text| fault(text, 1..=1024_usize).unwrap_or_default();
        assert!(count("18446744073709551615").contains("at most 1024"));
        assert!(count("18446744073709551616").contains("a whole number"));
    }

    #[test]
    fn flags_are_named_with_the_variable_they_have() {
        assert_eq!(flag("database-url"), "--database-url (DATABASE_URL)");
        assert_eq!(flag("audit-sync"), "--audit-sync (EDGEPROVE_AUDIT_SYNC)");
        let Ok(number) = raw_setting::<u64>("x");
        let mut faults = Faults::default();
        assert_eq!(faults.take_named("--after", number), None);
        assert_eq!(faults.0, ["--after: `x` is not a whole number"]);
    }

    #[test]
    fn booleans_have_the_usual_spellings() {
        for (texts, value) in [(["1", "true", "YES", "on"], true), (["0", "False", "no", "off"], false)] {
            for text in texts {
                assert_eq!(bool::read(text), Ok(value), "{text}");
            }
        }
        assert!(bool::read("perhaps").is_err() && bool::read("").is_err());
    }

    #[test]
    fn a_secret_is_never_shown() {
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
            "invalid configuration (1 error):\n  \
             - --edge-secret (EDGEPROVE_EDGE_SECRET): its value is not a longer one"
        );
    }
}
