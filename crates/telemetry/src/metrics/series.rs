//! What a series is, and the one way to tell it something.

use std::time::Duration;

use metrics::{Label, SharedString};

/// What kind of a series it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// How often a duration was within which bounds.
    Histogram,
}

/// One series: its name, and the labels that each of its values has.
#[derive(Debug)]
pub struct Series {
    /// Its name on the wire.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it says, in a sentence.
    pub help: &'static str,
}

/// The values of a series' labels, in the order of [`Series::labels`].
pub(super) type Values<const N: usize> = [SharedString; N];

/// A label's value that does not outlive the call.
pub(super) fn text(value: &str) -> SharedString {
    SharedString::from(value.to_owned())
}

impl Series {
    /// Tells readers what it is.
    pub(super) fn describe(&self) {
        let (name, help) = (self.name, self.help.trim());
        match self.kind {
            Kind::Counter => metrics::describe_counter!(name, help),
            Kind::Gauge => metrics::describe_gauge!(name, help),
            Kind::Histogram => metrics::describe_histogram!(name, help),
        }
    }

    fn labels<const N: usize>(&self, values: Values<N>) -> Vec<Label> {
        debug_assert_eq!(self.labels.len(), N, "{}", self.name);
        self.labels.iter().zip(values).map(|(&name, value)| Label::new(name, value)).collect()
    }

    /// Adds to a counter.
    pub(super) fn add<const N: usize>(&self, by: u64, values: Values<N>) {
        debug_assert_eq!(self.kind, Kind::Counter, "{}", self.name);
        metrics::counter!(self.name, self.labels(values)).increment(by);
    }

    /// Sets a counter that is counted elsewhere.
    pub(super) fn is_now<const N: usize>(&self, count: u64, values: Values<N>) {
        debug_assert_eq!(self.kind, Kind::Counter, "{}", self.name);
        metrics::counter!(self.name, self.labels(values)).absolute(count);
    }

    /// Sets a gauge.
    #[expect(clippy::cast_precision_loss, reason = "beyond 2^52 nobody looks at the last digit")]
    pub(super) fn set<const N: usize>(&self, value: u64, values: Values<N>) {
        self.set_s(value as f64, values);
    }

    /// Sets a gauge of seconds.
    pub(super) fn set_s<const N: usize>(&self, value: f64, values: Values<N>) {
        debug_assert_eq!(self.kind, Kind::Gauge, "{}", self.name);
        metrics::gauge!(self.name, self.labels(values)).set(value);
    }

    /// Adds a duration to a histogram.
    pub(super) fn record<const N: usize>(&self, duration: Duration, values: Values<N>) {
        self.record_s(duration.as_secs_f64(), values);
    }

    /// Adds a duration in seconds to a histogram.
    pub(super) fn record_s<const N: usize>(&self, seconds: f64, values: Values<N>) {
        debug_assert_eq!(self.kind, Kind::Histogram, "{}", self.name);
        metrics::histogram!(self.name, self.labels(values)).record(seconds);
    }
}

/// Writes down series, each once: its sentence, its kind, its name and its labels.
macro_rules! series {
    ($(#[doc = $help:literal] $series:ident = $kind:ident $name:literal [$($label:literal),*];)+) => {
        $(
            #[doc = $help]
            const $series: Series =
                Series { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };
        )+
        /// Every series of this room.
        pub const SERIES: &[Series] = &[$($series),+];
    };
}
pub(super) use series;
