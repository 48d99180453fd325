//! Checks `docs/EDGE.md` against the code: its table of endpoints, its settings, its errors; and the tests that
//! `docs/EDGE_COUNTERPARTS.md` names.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a wrong document fails the test")]

use std::{collections::BTreeSet, fs, path::Path};

use edgeprove_edge::settings::NAMES;
use edgeprove_protocol::{
    ProblemType,
    endpoints::{self, EdgeAction, Method},
};

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn document() -> String {
    fs::read_to_string(root().join("docs/EDGE.md")).unwrap()
}

/// The texts between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_table_of_endpoints_is_that_of_the_code() {
    let document = document();
    let rows: Vec<&str> = document.lines().filter(|line| line.starts_with("| `")).collect();
    let mut documented = BTreeSet::new();
    for endpoint in endpoints::at_edge() {
        let row = rows
            .iter()
            .find(|row| {
                let call = quoted(row.split('|').nth(1).unwrap());
                call.contains(&endpoint.path) && call.contains(&endpoint.method.as_str())
            })
            .unwrap_or_else(|| panic!("{:?} {} is missing", endpoint.method, endpoint.path));
        let (method, action) = (endpoint.method, endpoint.edge);
        assert!(method != Method::Get || row.contains("`HEAD`"), "{row}");
        assert_eq!(matches!(action, EdgeAction::Forward(_)), row.ends_with("| yes |"), "{row}");
        if matches!(action, EdgeAction::Forward(_)) {
            let is_long = endpoint.class.has_long_limit();
            let limit = if is_long { "`PROVE_REQUEST_TIMEOUT`" } else { "`OTHER_REQUEST_TIMEOUT`" };
            assert!(row.contains(limit), "{row}");
        }
        documented.insert(*row);
    }
    let calls = rows.iter().filter(|row| quoted(row.split('|').nth(1).unwrap()).contains(&"GET"));
    for row in calls {
        assert!(documented.contains(row), "no endpoint has the row {row}");
    }
    for hidden in endpoints::ALL.iter().filter(|endpoint| !endpoint.is_at_edge()) {
        assert!(document.contains(&format!("`{}`", hidden.path)), "{} is not mentioned", hidden.path);
    }
}

#[test]
fn the_table_of_settings_has_every_setting() {
    let document = document();
    for name in NAMES {
        let row = document.lines().find(|line| line.starts_with(&format!("| `{name}`")));
        assert!(row.is_some(), "{name} has no row");
    }
}

#[test]
fn the_table_of_errors_has_the_codes_and_statuses_of_the_code() {
    let document = document();
    let (_, section) = document.split_once("### Errors of the edge").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| 4") || line.starts_with("| 5"));
    let mut codes = 0;
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        for (status, code) in cells[1].split(", ").zip(quoted(cells[2])) {
            let kind = ProblemType::ALL.iter().find(|kind| kind.code() == code);
            let kind = kind.unwrap_or_else(|| panic!("{code} is not a code"));
            assert_eq!(kind.status().to_string(), status, "{row}");
            codes += 1;
        }
    }
    assert_eq!(codes, 21);
}

#[test]
fn every_test_that_the_document_names_exists() {
    let document = fs::read_to_string(root().join("docs/EDGE_COUNTERPARTS.md")).unwrap();
    let is_test = |text: &&str| text.contains('_') && text.split("::").all(is_path_segment);
    let mut count = 0;
    for path in quoted(&document).into_iter().filter(is_test) {
        let segments: Vec<&str> = path.split("::").collect();
        let file = match *segments.as_slice() {
            [_] => "edge_worker/src/lifecycle/tests.rs".to_owned(),
            [module, "tests", _] => tests_of(module),
            [module, _] => format!("e2e/tests/containers/{module}.rs"),
            _ => panic!("`{path}` is not a test"),
        };
        let source = fs::read_to_string(root().join(&file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let test = segments.last().unwrap();
        assert!(source.contains(&format!("fn {test}(")), "{file} has no test `{test}`");
        count += 1;
    }
    assert!(count > 30, "only {count} tests were found");
}

/// The file with the tests of a module: the module itself, or a file of its own.
fn tests_of(module: &str) -> String {
    let own = format!("edge_worker/src/{module}/tests.rs");
    if root().join(&own).is_file() { own } else { format!("edge_worker/src/{module}.rs") }
}

fn is_path_segment(segment: &str) -> bool {
    !segment.is_empty()
        && segment.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}
