//! The rows of a report, as a Markdown table and as JSON.

use std::fmt;

use serde::Serialize;

use super::{
    fixture::Workload,
    machine::Machine,
    sampling::{self, Summary},
};

/// A unit of measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Unit {
    /// One number divided by another of the same unit.
    Ratio,
    Milliseconds,
    Mebibytes,
    Kibibytes,
    ProofsPerSecond,
    JobsPerSecond,
}

/// A quantity that was measured several times.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Figure {
    pub(super) name: String,
    pub(super) unit: Unit,
    pub(super) summary: Summary,
    pub(super) samples: Vec<f64>,
}

/// The goal of a row.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Row {
    /// The measured quantity.
    pub(super) what: String,
    /// The circuit that it is measured with, if the row belongs to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) circuit: Option<String>,
    #[serde(flatten)]
    pub(super) outcome: Outcome,
}

/// The result of a row.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub(super) enum Outcome {
    Measured {
        figure: Figure,
        goal: Option<Goal>,
        /// The figures that this one is computed from, or that explain it.
        from: Vec<Figure>,
    },
    /// This machine cannot measure it.
    Skipped { why: String },
    /// The measurement failed.
    Failed { why: String },
}

/// All rows, and the machine that measured them.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    pub(super) machine: Machine,
    pub(super) rounds: usize,
    pub(super) rows: Vec<Row>,
}

impl Figure {
    pub(super) fn new(name: impl Into<String>, unit: Unit, samples: Vec<f64>) -> Self {
        Self { name: name.into(), unit, summary: Summary::of(&samples), samples }
    }

    /// The ratio of a figure to its baseline, round by round.
    pub(super) fn ratio(over: &Self, base: &Self) -> Self {
        let name = format!("{} / {}", over.name, base.name);
        Self::new(name, Unit::Ratio, sampling::ratios(&over.samples, &base.samples))
    }
}

impl Goal {
    /// Whether a value reaches the goal.
    pub(super) fn is_reached_by(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }
}

impl Row {
    /// A row without a goal.
    pub(super) fn without_goal(what: impl Into<String>, figure: Figure, from: Vec<Figure>) -> Self {
        Self::new(what, Outcome::Measured { figure, goal: None, from })
    }

    /// A row with a goal.
    pub(super) fn with_goal(what: impl Into<String>, figure: Figure, goal: Goal, from: Vec<Figure>) -> Self {
        Self::new(what, Outcome::Measured { figure, goal: Some(goal), from })
    }

    pub(super) fn skipped(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(what, Outcome::Skipped { why: why.into() })
    }

    pub(super) fn failed(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(what, Outcome::Failed { why: why.into() })
    }

    fn new(what: impl Into<String>, outcome: Outcome) -> Self {
        Self { what: what.into(), circuit: None, outcome }
    }

    /// The same row, for one circuit.
    pub(super) fn of(self, workload: &Workload) -> Self {
        self.with_circuit(format!("{}, {} gates", workload.name, workload.gates))
    }

    /// The same row, for the circuit or circuits of this name.
    pub(super) fn with_circuit(self, circuit: String) -> Self {
        Self { circuit: Some(circuit), ..self }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ratio => "",
            Self::Milliseconds => " ms",
            Self::Mebibytes => " MiB",
            Self::Kibibytes => " KiB",
            Self::ProofsPerSecond | Self::JobsPerSecond => " /s",
        })
    }
}

impl Unit {
    /// A value with the digits that are significant for the unit.
    fn show(self, value: f64) -> String {
        match self {
            Self::Ratio => format!("{value:.3}"),
            Self::ProofsPerSecond => format!("{value:.2}"),
            Self::JobsPerSecond => format!("{value:.0}"),
            Self::Milliseconds | Self::Mebibytes | Self::Kibibytes if value.abs() < 10.0 => {
                format!("{value:.2}")
            }
            Self::Milliseconds | Self::Mebibytes | Self::Kibibytes => format!("{value:.1}"),
        }
    }
}

impl Figure {
    /// Median and unit.
    pub(super) fn median(&self) -> String {
        format!("{}{}", self.unit.show(self.summary.median), self.unit)
    }

    fn spread(&self) -> String {
        format!("{} to {}", self.unit.show(self.summary.min), self.unit.show(self.summary.max))
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(bound) => write!(f, "≤ {bound}"),
            Self::AtLeast(bound) => write!(f, "≥ {bound}"),
        }
    }
}

impl Report {
    /// A report in which rows that measure the same quantity follow each other.
    pub(super) fn new(machine: Machine, rounds: usize, mut rows: Vec<Row>) -> Self {
        let order: Vec<String> = rows.iter().map(|row| row.what.clone()).collect();
        rows.sort_by_key(|row| order.iter().position(|what| *what == row.what));
        Self { machine, rounds, rows }
    }
}

/// The rows as a Markdown table, which is also readable on a terminal.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["what", "circuit", "median", "min to max", "goal", "reached", "from (medians)"]
            .map(str::to_owned);
        let lines: Vec<[String; 7]> = std::iter::once(head).chain(self.rows.iter().map(cells)).collect();
        let widths: [usize; 7] =
            std::array::from_fn(|i| lines.iter().map(|line| line[i].chars().count()).max().unwrap_or(0));
        for (number, line) in lines.iter().enumerate() {
            write_line(f, line, widths)?;
            if number == 0 {
                write_line(f, &widths.map(|width| "-".repeat(width)), widths)?;
            }
        }
        Ok(())
    }
}

fn write_line(f: &mut fmt::Formatter<'_>, line: &[String; 7], widths: [usize; 7]) -> fmt::Result {
    for (cell, width) in line.iter().zip(widths) {
        write!(f, "| {cell:<width$} ")?;
    }
    writeln!(f, "|")
}

fn cells(row: &Row) -> [String; 7] {
    let head = [row.what.clone(), row.circuit.clone().unwrap_or_default()];
    let tail = match &row.outcome {
        Outcome::Measured { figure, goal, from } => {
            let reached =
                goal.map(|goal| if goal.is_reached_by(figure.summary.median) { "yes" } else { "no" });
            let from: Vec<_> = from.iter().map(|f| format!("{} {}", f.name, f.median())).collect();
            [
                figure.median(),
                figure.spread(),
                goal.map(|goal| goal.to_string()).unwrap_or_default(),
                reached.unwrap_or_default().to_owned(),
                from.join(", "),
            ]
        }
        Outcome::Skipped { why } => reason("skipped", why),
        Outcome::Failed { why } => reason("failed", why),
    };
    let [what, circuit] = head;
    let [median, spread, goal, reached, from] = tail;
    [what, circuit, median, spread, goal, reached, from]
}

/// The cells of a row without a measurement. A table's row is one line.
fn reason(outcome: &str, why: &str) -> [String; 5] {
    let why = why.lines().next().unwrap_or_default();
    [outcome, "", "", "", why].map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_decides_whether_a_goal_is_reached() {
        let figure = Figure::new("a", Unit::Ratio, vec![0.5, 0.9, 2.0]);
        let row = |goal| cells(&Row::with_goal("x", figure.clone(), goal, vec![]));
        assert_eq!(row(Goal::AtMost(0.9))[2..6], ["0.900", "0.500 to 2.000", "≤ 0.9", "yes"]);
        assert_eq!(row(Goal::AtMost(0.89))[5], "no");
        assert_eq!(row(Goal::AtLeast(0.95))[4..6], ["≥ 0.95", "no"]);
        assert_eq!(cells(&Row::without_goal("x", figure, vec![]))[4..6], ["", ""]);
    }

    #[test]
    fn json_contains_the_outcome_and_the_goal() {
        let skipped = serde_json::to_value(Row::skipped("x", "y")).unwrap();
        assert_eq!(skipped, serde_json::json!({"what": "x", "outcome": "skipped", "why": "y"}));
        let figure = Figure::new("a", Unit::Milliseconds, vec![1.0]);
        let held = serde_json::to_value(Row::with_goal("x", figure, Goal::AtMost(5.0), vec![])).unwrap();
        assert_eq!(held["goal"], serde_json::json!({"at_most": 5.0}));
        assert_eq!(held["figure"]["unit"], "milliseconds");
    }
}
