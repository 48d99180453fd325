//! `docs/ERRORS.md` lists every problem type, with the status and the advice that the code has.

use edgeprove_protocol::ProblemType;

#[test]
fn every_problem_type_is_documented_as_it_is() {
    let doc = include_str!("../../docs/ERRORS.md");
    let rows: Vec<&str> = doc.lines().filter(|line| line.starts_with("| ") && line.contains('`')).collect();
    for &kind in ProblemType::ALL {
        let head = format!("| {} | `{}` | ", kind.status(), kind.code());
        let tail = if kind.retryable() { " | yes |" } else { " | no |" };
        let row = rows.iter().find(|row| row.starts_with(&head));
        assert!(row.is_some_and(|row| row.ends_with(tail)), "no row in docs/ERRORS.md: {head}…{tail}");
    }
    assert_eq!(rows.len(), ProblemType::ALL.len(), "a row in docs/ERRORS.md stands for no problem type");
}
