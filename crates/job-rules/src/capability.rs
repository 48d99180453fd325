//! Capabilities: the jobs that a worker takes.
//!
//! Servers that share a queue can differ: while a new version is rolled out, one server has a subject, such as a circuit, that
//! another does not have, or has another version of it. A worker takes only jobs whose subject and version it has, and
//! leaves the others to the other servers. Otherwise a job would fail on one server although another could run it.

use crate::job::Job;

/// A job kind, and the subjects of it that a worker has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    /// The name of the job kind.
    pub kind: &'static str,
    /// The subjects; `None` means any.
    pub subjects: Option<Vec<Subject>>,
}

/// The subject of jobs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject {
    /// Its name, as [`Job::subject`].
    pub name: String,
    /// Its version, as [`Job::version`].
    pub version: String,
}

impl Capability {
    /// All jobs of a kind.
    #[must_use]
    pub const fn all_of(kind: &'static str) -> Self {
        Self { kind, subjects: None }
    }

    /// Whether a worker with this capability takes this job.
    #[must_use]
    pub fn takes(&self, job: &Job) -> bool {
        self.covers(&job.kind, &job.subject, &job.version)
    }

    /// Whether a worker with this capability takes jobs of this kind, subject and version.
    #[must_use]
    pub fn covers(&self, kind: &str, subject: &str, version: &str) -> bool {
        let is_it = |of: &Subject| of.name == subject && of.version == version;
        self.kind == kind && self.subjects.as_ref().is_none_or(|subjects| subjects.iter().any(is_it))
    }
}

/// Several capabilities as [`crate::sql::work::CLAIM`] binds them: a JSON array of `[kind, subject, version]`, the latter two
/// `null` for any.
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
    serde_json::json!(parts).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_have_the_form_of_the_statement() {
        let subject =
            |name: &str, version: &str| Subject { name: name.to_owned(), version: version.to_owned() };
        let some =
            Capability { kind: "prove", subjects: Some(vec![subject("maze", "1"), subject("a\"b", "2")]) };
        let none = Capability { kind: "sweep", subjects: Some(Vec::new()) };
        let text = json(&[some, none, Capability::all_of("keygen")]);
        assert_eq!(text, r#"[["prove","maze","1"],["prove","a\"b","2"],["keygen",null,null]]"#);
        assert_eq!(json(&[]), "[]");
    }
}
