//! Variables named `EDGEPROVE_…` that nothing reads, with the name that was probably meant.
//!
//! They are reported and are no error: platforms set variables by the name of a service, such as Kubernetes'
//! `EDGEPROVE_SERVICE_HOST`.

use std::{collections::BTreeSet, fmt};

use clap::{Arg, Command};

use super::environment::EnvironmentVariables;

const PREFIX: &str = "EDGEPROVE_";
/// Variables of no flag.
const WITHOUT_FLAG: [&str; 1] = ["EDGEPROVE_HOME"];
/// A suggestion differs by at most this many characters.
const DISTANCE_MAX: usize = 3;

/// A variable that nothing reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misspelt {
    /// Its name.
    pub name: String,
    /// The most similar name of a setting, if one is similar enough.
    pub meant: Option<String>,
}

impl fmt::Display for Misspelt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is no setting and has no effect", self.name)?;
        self.meant.iter().try_for_each(|meant| write!(f, ": did you mean {meant}?"))
    }
}

/// The variables that no flag of this command or of its subcommands has.
#[must_use]
pub fn find(variables: &EnvironmentVariables, command: &Command) -> Vec<Misspelt> {
    let mut known: BTreeSet<String> = WITHOUT_FLAG.map(str::to_owned).into();
    collect(command, &mut known);
    let unknown = variables
        .names()
        .filter(|name| name.starts_with(PREFIX) && !known.contains(*name) && !is_of_a_platform(name));
    unknown.map(|name| Misspelt { name: name.to_owned(), meant: nearest(name, &known) }).collect()
}

fn collect(command: &Command, known: &mut BTreeSet<String>) {
    let own = command.get_arguments().filter_map(Arg::get_env);
    known.extend(own.map(|name| name.to_string_lossy().into_owned()));
    command.get_subcommands().for_each(|command| collect(command, known));
}

/// Whether Kubernetes sets it for a service with the name `edgeprove`.
fn is_of_a_platform(name: &str) -> bool {
    let rest = name.strip_prefix(PREFIX).unwrap_or_default();
    rest == "PORT" || rest.starts_with("PORT_") || rest.starts_with("SERVICE_")
}

fn nearest(name: &str, known: &BTreeSet<String>) -> Option<String> {
    let distances = known.iter().map(|known| (distance(name, known), known));
    let (_, nearest) = distances.filter(|(distance, _)| *distance <= DISTANCE_MAX).min()?;
    Some(nearest.clone())
}

/// The number of characters to add, remove or replace (Levenshtein's distance).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, to) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_variable_gets_a_suggestion() {
        let command = Command::new("test")
            .subcommand(Command::new("serve").arg(Arg::new("cores").long("cores").env("EDGEPROVE_CORES")));
        let variables = [
            ("EDGEPROVE_CORE", "2"),
            ("EDGEPROVE_CORES", "2"),
            ("EDGEPROVE_HOME", "/"),
            ("EDGEPROVE_SOMETHING_ELSE", "1"),
            ("EDGEPROVE_SERVICE_HOST", "10.0.0.1"),
            ("EDGEPROVE_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ("CORES", "2"),
        ];
        let found = find(&variables.into_iter().collect(), &command);
        let found: Vec<_> = found.iter().map(|found| (found.name.as_str(), found.meant.as_deref())).collect();
        assert_eq!(found, [("EDGEPROVE_CORE", Some("EDGEPROVE_CORES")), ("EDGEPROVE_SOMETHING_ELSE", None)]);
    }

    #[test]
    fn distances_count_single_characters() {
        for (a, b, wanted) in [("", "", 0), ("abc", "", 3), ("core", "cores", 1), ("listen", "lisetn", 2)] {
            assert_eq!((distance(a, b), distance(b, a)), (wanted, wanted), "{a} {b}");
        }
    }
}
