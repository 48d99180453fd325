//! Which jobs a worker takes.
//!
//! Servers that share a queue need not be alike: while a new version is rolled out, one knows a circuit that the other does
//! not. A worker takes what it can do, and leaves the rest to those who can: a job that goes to the wrong one would fail
//! although the right one is there.

use crate::job::Job;

/// A kind of work, and what a worker can do of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skill {
    /// The kind.
    pub kind: &'static str,
    /// The subjects that it can work on; `None`: whatever there is.
    pub subjects: Option<Vec<String>>,
}

impl Skill {
    /// All work of a kind.
    #[must_use]
    pub const fn all_of(kind: &'static str) -> Self {
        Self { kind, subjects: None }
    }

    /// Whether a worker with this skill takes this job.
    #[must_use]
    pub fn takes(&self, job: &Job) -> bool {
        let knows = |subjects: &Vec<String>| subjects.contains(&job.subject);
        self.kind == job.kind && self.subjects.as_ref().is_none_or(knows)
    }
}

/// Several skills as [`crate::sql::work::CLAIM`] binds them: a JSON array of pairs, each a kind and a subject, or null for
/// all subjects.
#[must_use]
pub fn pairs(skills: &[Skill]) -> String {
    let pairs = skills.iter().flat_map(|Skill { kind, subjects }| match subjects {
        None => vec![(*kind, None)],
        Some(subjects) => subjects.iter().map(|subject| (*kind, Some(subject.as_str()))).collect(),
    });
    // Texts have a JSON each.
    serde_json::to_string(&pairs.collect::<Vec<_>>()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_what_the_statement_reads() {
        let some = Skill { kind: "prove", subjects: Some(vec!["maze".to_owned(), "a\"b".to_owned()]) };
        let none = Skill { kind: "sweep", subjects: Some(Vec::new()) };
        let told = pairs(&[some, none, Skill::all_of("keygen")]);
        assert_eq!(told, r#"[["prove","maze"],["prove","a\"b"],["keygen",null]]"#);
        assert_eq!(pairs(&[]), "[]");
    }
}
