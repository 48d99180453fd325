//! The definition of a series, and how its values are recorded.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use metrics::{Label, SharedString};
use parking_lot::Mutex;

/// Counters of seconds, by name. The crate `metrics` has counters of whole numbers only.
static SECONDS: Mutex<BTreeMap<&str, (&Series, f64)>> = Mutex::new(BTreeMap::new());

/// The kind of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A count that only rises.
    Counter,
    /// A value that rises and falls.
    Gauge,
    /// Durations, counted by bucket.
    Histogram,
}

/// One series: its name, and the labels that each of its values has.
#[derive(Debug)]
pub struct Series {
    /// The name on the wire.
    pub name: &'static str,
    /// The kind.
    pub kind: Kind,
    /// The names of the labels.
    pub labels: &'static [&'static str],
    /// What is measured, in one sentence.
    pub help: &'static str,
}

/// The values of a series' labels, in the order of [`Series::labels`].
pub(super) type Values<const N: usize> = [SharedString; N];

/// A label's value that is not static.
pub(super) fn text(value: &str) -> SharedString {
    SharedString::from(value.to_owned())
}

impl Series {
    /// Adds its help text to the exposition.
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

    /// Sets a counter to a count that is maintained elsewhere.
    pub(super) fn set_count<const N: usize>(&self, count: u64, values: Values<N>) {
        debug_assert_eq!(self.kind, Kind::Counter, "{}", self.name);
        metrics::counter!(self.name, self.labels(values)).absolute(count);
    }

    /// Raises a counter of seconds to a total that is maintained elsewhere. A smaller total changes nothing: two readings
    /// of a process that ends meanwhile may contradict each other, and a counter that falls counts as a restart.
    pub(super) fn raise_seconds(&'static self, total: f64) {
        debug_assert_eq!(self.kind, Kind::Counter, "{}", self.name);
        let mut counters = SECONDS.lock();
        let (_, current) = counters.entry(self.name).or_insert((self, 0.0));
        *current = current.max(total);
    }

    /// Makes a histogram with no value in it.
    pub(super) fn declare_histogram<const N: usize>(&self, values: Values<N>) {
        debug_assert_eq!(self.kind, Kind::Histogram, "{}", self.name);
        let _ = metrics::histogram!(self.name, self.labels(values));
    }

    /// Sets a gauge.
    #[expect(clippy::cast_precision_loss, reason = "the last digit of a value above 2^52 does not matter")]
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
        debug_assert_eq!(self.kind, Kind::Histogram, "{}", self.name);
        metrics::histogram!(self.name, self.labels(values)).record(duration.as_secs_f64());
    }
}

/// Adds the counters of seconds to an exposition.
pub(super) fn render_seconds(exposition: &mut String) {
    for (name, (series, total)) in SECONDS.lock().iter() {
        // Writing to a string cannot fail.
        let _ = writeln!(
            exposition,
            "# HELP {name} {}\n# TYPE {name} counter\n{name} {total}\n",
            series.help.trim()
        );
    }
}

/// Defines series, each in one entry: help text, kind, name and labels.
macro_rules! series {
    ($($(#[doc = $help:literal])+ $series:ident = $kind:ident $name:literal [$($label:literal),*];)+) => {
        $(
            $(#[doc = $help])+
            static $series: Series =
                Series { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: concat!($($help),+) };
        )+
        /// Every series of this module.
        pub static SERIES: &[&Series] = &[$(&$series),+];
    };
}
pub(super) use series;
