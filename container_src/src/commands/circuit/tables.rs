//! Circuits as people read them.

use std::fmt::Write as _;

use edgeprove_protocol::answer::{
    CircuitEntry, CircuitFile, CircuitOrigin, CircuitStatus, CircuitVerifier, DeploymentEntry, PowersOfTau,
};
use serde_json::Value;

/// One line for each circuit, under a line with the names of the columns.
pub(super) fn list(entries: &[CircuitEntry]) -> String {
    let mut rows = vec![["ID", "ORIGIN", "STATUS", "TARGET", "SIZE"].map(str::to_owned)];
    rows.extend(entries.iter().map(|entry| {
        let size = entry.circuit_size.map_or_else(|| "-".to_owned(), |size| size.to_string());
        [
            entry.id.to_string(),
            origin(entry.origin).to_owned(),
            status(entry.status).to_owned(),
            entry.target.as_str().to_owned(),
            size,
        ]
    }));
    let mut widths = [0; 5];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// One circuit, a line for each fact.
pub(super) fn details(entry: &CircuitEntry, inputs: &Value, deployments: &[DeploymentEntry]) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            // Writing to a text cannot fail.
            let _ = writeln!(text, "{:<13}{}", format!("{name}:"), edgeprove_telemetry::one_line(value));
        }
    };
    line("id", entry.id.as_str());
    line("origin", origin(entry.origin));
    line("status", status(entry.status));
    if let Some(error) = &entry.error {
        line("error", &error.detail);
    }
    line("target", entry.target.as_str());
    line("targets", &entry.targets.iter().map(|target| target.as_str()).collect::<Vec<_>>().join(", "));
    line("gates", &entry.gates.map(|gates| gates.to_string()).unwrap_or_default());
    line("size", &entry.circuit_size.map(|size| size.to_string()).unwrap_or_default());
    line("key hash", entry.vk_hash.as_deref().unwrap_or_default());
    if let Some(CircuitVerifier { flavor, gas, error, .. }) = &entry.verifier {
        let gas = gas.map(|gas| format!("{} gas to deploy, {} to verify", gas.deploy, gas.verify));
        let state = gas.or_else(|| error.clone()).unwrap_or_default();
        line("verifier", &format!("{flavor}, {state}"));
    }
    let mut files: &[CircuitFile] = &[];
    if let Some(built) = &entry.built {
        line("template", &built.template_name);
        line("language", &built.language);
        line("params", &Value::Object(built.params.clone()).to_string());
        line("trust", built.trust.as_deref().unwrap_or_default());
        if let Some(PowersOfTau { origin, digest, power }) =
            built.setup.as_ref().and_then(|setup| setup.powers.as_ref())
        {
            line("powers", &format!("{origin}, power {power}, BLAKE2b {digest}"));
        }
        line("published", built.published_at.as_deref().unwrap_or_default());
        files = &built.artifacts;
    }
    if let Some(uploaded) = &entry.uploaded {
        line("name", &uploaded.name);
        line("language", &uploaded.language);
        line("trust", uploaded.trust.as_deref().unwrap_or_default());
        line("sample", if uploaded.sample_proved { "proved" } else { "none" });
        line("published", &uploaded.published_at);
        files = &uploaded.artifacts;
    }
    for input in inputs.as_array().into_iter().flatten() {
        let member = |name: &str| input[name].as_str().unwrap_or_default();
        line("input", &format!("{} ({}) {}", member("name"), member("visibility"), input["type"]));
    }
    for DeploymentEntry { chain_id, address, deployer, .. } in deployments {
        let place = address.as_deref().unwrap_or("not there yet, or failed");
        line("deployed", &format!("chain {chain_id}: {place}, by {deployer}"));
    }
    for file in files {
        line("file", &format!("{} ({} bytes, sha256 {})", file.path, file.bytes, file.sha256));
    }
    text
}

const fn origin(origin: CircuitOrigin) -> &'static str {
    match origin {
        CircuitOrigin::Configured => "configured",
        CircuitOrigin::Built => "built",
        CircuitOrigin::Uploaded => "uploaded",
    }
}

const fn status(status: CircuitStatus) -> &'static str {
    match status {
        CircuitStatus::Pending => "pending",
        CircuitStatus::Loading => "loading",
        CircuitStatus::Ready => "ready",
        CircuitStatus::Failed => "failed",
    }
}

#[cfg(test)]
mod tests {
    use edgeprove_protocol::answer::ContractGas;
    use serde_json::json;

    use super::*;

    fn entry(id: &str) -> CircuitEntry {
        serde_json::from_value(json!({
            "id": id, "status": "ready", "target": "groth16", "targets": ["groth16"], "gates": 3, "circuit_size": 8,
            "vk_hash": "0x1", "vk": null, "origin": "uploaded",
            "uploaded": { "name": "a\nb", "language": "circom", "hash": "00", "trust": "unknown", "sample_proved": true,
                          "published_at": "now", "artifacts": [] },
        }))
        .unwrap()
    }

    #[test]
    fn columns_are_aligned() {
        let mut pending = entry("b");
        (pending.status, pending.circuit_size) = (CircuitStatus::Pending, None);
        assert_eq!(
            list(&[entry("a-long-name"), pending]),
            "ID           ORIGIN    STATUS   TARGET   SIZE\n\
             a-long-name  uploaded  ready    groth16  8\n\
             b            uploaded  pending  groth16  -\n"
        );
    }

    #[test]
    fn a_fact_is_one_line() {
        let inputs = json!([{"name": "in", "visibility": "private", "type": {"kind": "field"}}]);
        let mut entry = entry("a");
        entry.verifier = Some(CircuitVerifier {
            flavor: "groth16".to_owned(),
            audited: false,
            gas: Some(ContractGas { deploy: 5, verify: 3 }),
            error: None,
        });
        let deployments = json!([{"circuit": "a", "chain_id": 7, "deployer": "0x2", "status": "deployed",
                                  "address": "0x1", "contracts": []}]);
        let text = details(&entry, &inputs, &serde_json::from_value::<Vec<_>>(deployments).unwrap());
        for line in [
            "id:          a",
            "trust:       unknown",
            "sample:      proved",
            "verifier:    groth16, 5 gas to deploy, 3 to verify",
            "deployed:    chain 7: 0x1, by 0x2",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}: {text}");
        }
        assert!(text.contains("input:       in (private) {\"kind\":\"field\"}"), "{text}");
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with("name:")).collect();
        assert!(lines.len() == 1 && lines[0].contains('b'), "{text}");
    }
}
