//! Which jobs a worker takes.
//!
//! Servers that share a queue need not be alike: while a new version is rolled out, one knows a circuit that the other
//! does not, or knows another one by the same name. A worker takes what it can do as it was meant, and leaves the rest to
//! those who can: a job that goes to the wrong one would fail although the right one is there.

use crate::job::Job;

/// A kind of work, and what a worker can do of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    /// The kind.
    pub kind: &'static str,
    /// What it can work on; `None`: whatever there is.
    pub subjects: Option<Vec<Subject>>,
}

/// What jobs work on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject {
    /// Its name, as [`Job::subject`].
    pub name: String,
    /// Which one of that name, as [`Job::version`].
    pub version: String,
}

impl Capability {
    /// All work of a kind.
    #[must_use]
    pub const fn all_of(kind: &'static str) -> Self {
        Self { kind, subjects: None }
    }

    /// Whether a worker with this capability takes this job.
    #[must_use]
    pub fn takes(&self, job: &Job) -> bool {
        let is_it = |Subject { name, version }: &Subject| (name, version) == (&job.subject, &job.version);
        self.kind == job.kind && self.subjects.as_ref().is_none_or(|subjects| subjects.iter().any(is_it))
    }
}

/// Several capabilities as [`crate::sql::work::CLAIM`] binds them: a JSON array of kind, subject and version, the latter two null
/// for whatever there is.
#[must_use]
pub fn json(capabilities: &[Capability]) -> String {
    let mut parts = Vec::new();
    for Capability { kind, subjects } in capabilities {
        match subjects {
            None => parts.push((kind, None, None)),
            Some(subjects) => {
                parts.extend(subjects.iter().map(|of| (kind, Some(&of.name), Some(&of.version))));
            }
        }
    }
    // Texts have a JSON each.
    serde_json::to_string(&parts).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skills_are_as_the_statement_reads_them() {
        let subject =
            |name: &str, version: &str| Subject { name: name.to_owned(), version: version.to_owned() };
        let some =
            Capability { kind: "prove", subjects: Some(vec![subject("maze", "1"), subject("a\"b", "2")]) };
        let none = Capability { kind: "sweep", subjects: Some(Vec::new()) };
        let told = json(&[some, none, Capability::all_of("keygen")]);
        assert_eq!(told, r#"[["prove","maze","1"],["prove","a\"b","2"],["keygen",null,null]]"#);
        assert_eq!(json(&[]), "[]");
    }
}
