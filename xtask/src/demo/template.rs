//! A circuit from a template: the server builds it, and proves with it.

use std::time::Instant;

use anyhow::bail;

use crate::{
    progress,
    range_circuit::{self, inputs},
    server::Server,
};

/// Builds the circuit in a language, proves 123, and shows that 99 has no proof.
pub(super) fn build_and_prove(server: &Server, language: &str) -> anyhow::Result<()> {
    let started = Instant::now();
    let entry = range_circuit::build(server, language)?;
    let built = started.elapsed();
    let path = format!("/api/prove/{}", entry.id);
    let (status, answer) = server.post_json(&path, &inputs("123"))?;
    if status != 200 || answer["verified"] != true {
        bail!("123 was not proved: {answer}");
    }
    let (status, refused) = server.post_json(&path, &inputs("99"))?;
    if status != 422 || refused["code"] != "witness_unsatisfied" {
        bail!("99 is out of range and was not refused: {refused}");
    }
    let what = format!(
        "rangeCheck from 100 to 500 built in {:.1} s; 123 proved and verified, 99 refused",
        built.as_secs_f64()
    );
    progress::done(&format!("template, {language}"), &what);
    Ok(())
}
