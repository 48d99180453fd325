//! Every test that a document names as evidence exists.
//!
//! In a table whose last column has the head "shown by", each name in backquotes is one of a test.

use std::{collections::BTreeSet, path::Path};

use super::{
    Outcome,
    files::{self, TextFile},
};

/// The head of the column with names of tests.
const HEAD: &str = "shown by";

/// The check.
pub(super) fn check(root: &Path) -> anyhow::Result<Outcome> {
    let files = files::texts(root)?;
    let tests: BTreeSet<&str> = files.iter().filter(|file| is(file, "rs")).flat_map(functions).collect();
    let missing = |file: &TextFile| {
        let names = named(&file.text).filter(|(_, name)| !tests.contains(name));
        let missing = names.map(|(line, name)| {
            format!("{}:{line} names the test `{name}`, which does not exist", file.name)
        });
        missing.collect::<Vec<_>>()
    };
    let missing: Vec<_> = files.iter().filter(|file| is(file, "md")).flat_map(missing).collect();
    files::passed_unless(&missing)
}

fn is(file: &TextFile, extension: &str) -> bool {
    Path::new(&file.name).extension().is_some_and(|found| found == extension)
}

/// The functions without parameters, as tests are.
fn functions(file: &TextFile) -> impl Iterator<Item = &str> {
    let after = file.text.split("fn ").skip(1);
    after.filter_map(|text| text.split_once("() {").map(|(name, _)| name))
}

/// The named tests with their lines, from 1.
fn named(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_inside = false;
    let rows = text.lines().enumerate().filter_map(move |(index, line)| {
        let last = line
            .trim_end()
            .strip_suffix('|')
            .and_then(|row| row.rsplit_once('|'))
            .map(|(_, cell)| cell.trim());
        is_inside = last.is_some_and(|cell| is_inside || cell == HEAD);
        last.filter(|_| is_inside).map(|cell| (index + 1, cell))
    });
    rows.flat_map(|(line, cell)| cell.split('`').skip(1).step_by(2).map(move |name| (line, name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_in_the_column_of_tests_count() {
        let text = "| `a` | shown by |\n|---|---|\n| `b` | `c`, `d` |\n\n| what | `e` |\n| `f` | `g` |\n";
        assert_eq!(named(text).collect::<Vec<_>>(), [(3, "c"), (3, "d")]);
    }

    #[test]
    fn tests_are_functions_without_parameters() {
        let text = "#[test]\nfn one() {}\nasync fn two() {\n}\nfn three(a: u8) {}\nfn four() -> u8 { 4 }\n";
        let file = TextFile { name: "a.rs".to_owned(), text: text.to_owned() };
        assert_eq!(functions(&file).collect::<Vec<_>>(), ["one", "two"]);
    }
}
