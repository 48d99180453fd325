//! What was found, and how to fix it.

use std::io::{self, Write};

use edgeprove_telemetry::one_line;
use serde::Serialize;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// As it should be.
    Ok,
    /// It was not examined.
    Skipped,
    /// It works, and should be changed.
    Warning,
    /// It prevents proofs, or makes them worthless.
    Fault,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was examined: a word that does not change.
    check: &'static str,
    severity: Severity,
    /// What was found.
    detail: String,
    /// How to fix it.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

/// All findings, in the order in which they were made.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    findings: Vec<Finding>,
}

impl Report {
    /// Adds what is as it should be.
    pub(super) fn ok(&mut self, check: &'static str, detail: impl Into<String>) {
        self.add(check, Severity::Ok, detail.into(), None);
    }

    /// Adds what was not examined, and how it can be.
    pub(super) fn skipped(&mut self, check: &'static str, detail: impl Into<String>, fix: impl Into<String>) {
        self.add(check, Severity::Skipped, detail.into(), Some(fix.into()));
    }

    /// Adds what works and should be changed.
    pub(super) fn warning(&mut self, check: &'static str, detail: impl Into<String>, fix: impl Into<String>) {
        self.add(check, Severity::Warning, detail.into(), Some(fix.into()));
    }

    /// Adds what prevents proofs.
    pub(super) fn fault(&mut self, check: &'static str, detail: impl Into<String>, fix: impl Into<String>) {
        self.add(check, Severity::Fault, detail.into(), Some(fix.into()));
    }

    fn add(&mut self, check: &'static str, severity: Severity, detail: String, fix: Option<String>) {
        self.findings.push(Finding { check, severity, detail, fix });
    }

    /// Whether anything prevents proofs.
    pub(super) fn has_faults(&self) -> bool {
        self.count(Severity::Fault) > 0
    }

    fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// A line for each finding, the remedy below it, and the number of faults and warnings at the end.
    pub(super) fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        for Finding { check, severity, detail, fix } in &self.findings {
            let word = match severity {
                Severity::Ok => "ok",
                Severity::Skipped => "skipped",
                Severity::Warning => "warning",
                Severity::Fault => "FAULT",
            };
            // The text of a server may have anything in it.
            writeln!(out, "{word:<8}{check}: {}", one_line(detail))?;
            if let Some(fix) = fix {
                writeln!(out, "        → {}", one_line(fix))?;
            }
        }
        let (faults, warnings) = (self.count(Severity::Fault), self.count(Severity::Warning));
        writeln!(out, "{}, {}", counted(faults, "fault"), counted(warnings, "warning"))
    }

    /// The same as JSON.
    pub(super) fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        let (faults, warnings) = (self.count(Severity::Fault), self.count(Severity::Warning));
        let report = serde_json::json!({ "faults": faults, "warnings": warnings, "findings": self.findings });
        writeln!(out, "{report:#}")
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_and_its_remedy_another() {
        let mut report = Report::default();
        report.ok("bb", "version 5");
        assert!(!report.has_faults());
        report.warning("clock", "a\nb", "c");
        report.fault("crs", "too small", "get a larger one");
        let mut text = Vec::new();
        report.write_text(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text.lines().count(), 6, "{text}");
        assert!(text.contains("FAULT   crs: too small\n        → get a larger one\n"), "{text}");
        assert!(text.ends_with("1 fault, 1 warning\n") && report.has_faults(), "{text}");
    }

    #[test]
    fn json_has_every_finding() {
        let mut report = Report::default();
        report.skipped("proof", "no sample", "give --inputs");
        let mut json = Vec::new();
        report.write_json(&mut json).unwrap();
        let finding = serde_json::json!({
            "check": "proof", "severity": "skipped", "detail": "no sample", "fix": "give --inputs"
        });
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json, serde_json::json!({ "faults": 0, "warnings": 0, "findings": [finding] }));
    }
}
