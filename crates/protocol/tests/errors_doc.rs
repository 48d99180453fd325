//! The table of `docs/ERRORS.md` is generated from the problem types. `EDGEPROVE_BLESS=1` writes it again.

#![allow(clippy::unwrap_used, reason = "a document that cannot be read fails the test")]

use std::{env, fmt::Write as _, fs};

use edgeprove_protocol::ProblemType;

const DOC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ERRORS.md");
const BEGIN: &str = "<!-- generated from crates/protocol/src/problem/table.rs by \
     `EDGEPROVE_BLESS=1 cargo test -p edgeprove-protocol` -->\n";
const END: &str = "<!-- end -->";

fn table() -> String {
    let mut table = String::from(
        "| status | code | meaning | severity | retry | smaller circuit | what to do |\n|---|---|---|---|---|---|---|\n",
    );
    for &kind in ProblemType::ALL {
        let word = |holds: bool, word: &'static str| if holds { word } else { "–" };
        writeln!(
            table,
            "| {} | `{}` | {} | {} | {} | {} | {} |",
            kind.status(),
            kind.code(),
            kind.meaning(),
            kind.severity().as_str(),
            word(kind.retryable(), "later"),
            word(kind.fallback(), "may help"),
            kind.advice(),
        )
        .unwrap();
    }
    table
}

#[test]
fn every_documented_code_exists() {
    let doc = fs::read_to_string(DOC).unwrap();
    let section = doc.split("## Names of the TypeScript pipeline").nth(1).unwrap();
    let (mut names, mut codes) = (0, 0);
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let mut quoted = row.split('`').skip(1).step_by(2);
        assert!(
            quoted.next().unwrap().bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'),
            "{row}"
        );
        names += 1;
        for code in quoted {
            assert!(ProblemType::from_code(code).is_some(), "{code}");
            codes += 1;
        }
    }
    assert!(names == 15 && codes > names, "{names} names, {codes} codes");
}

#[test]
fn the_error_table_matches_the_problem_types() {
    let doc = fs::read_to_string(DOC).unwrap();
    let (head, rest) = doc.split_once(BEGIN).unwrap();
    let (written, tail) = rest.split_once(END).unwrap();
    let table = table();
    if env::var_os("EDGEPROVE_BLESS").is_some() {
        fs::write(DOC, format!("{head}{BEGIN}{table}{END}{tail}")).unwrap();
    } else {
        assert_eq!(written, table, "run it with EDGEPROVE_BLESS=1");
    }
}
