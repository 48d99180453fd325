//! Where jobs are stored and queued: `JOBS`.

use std::collections::BTreeSet;

use super::{DATABASE_URL, Reader, SettingFault};
use crate::{artifact_keys::ArtifactKeys, variables::trimmed};

/// The binding of the bucket with the bodies and proofs of jobs.
pub const ARTIFACTS: &str = "ARTIFACTS";
/// The binding of the Durable Object that has the queue of jobs.
pub const JOBS_QUEUE: &str = "JOBS_QUEUE";

/// The secret that encrypts bodies and proofs of jobs.
pub(super) const ARTIFACT_KEY: &str = "EDGEPROVE_ARTIFACT_KEY";
/// The server's setting for jobs that end with their container.
const EPHEMERAL_JOBS: &str = "EDGEPROVE_EPHEMERAL_JOBS";
/// The bindings that jobs at the edge need.
pub(super) const JOB_BINDINGS: [&str; 2] = [ARTIFACTS, JOBS_QUEUE];

/// Where jobs are stored and queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobsMode {
    /// In a Durable Object, with their bodies in R2. A container only proves.
    Edge,
    /// In the containers, or in the server at `UPSTREAM_URL`.
    Container,
}

/// The place of the jobs, and the keys where it is the edge. Without the setting, jobs are at the edge if everything for that is
/// there, and no setting puts them elsewhere.
pub(super) fn read(
    reader: &mut Reader<'_>,
    bound: &BTreeSet<&str>,
) -> Option<(JobsMode, Option<ArtifactKeys>)> {
    let asked = reader.read("JOBS", |text| mode(text).map(Some), || None)?;
    let is_set = |name: &str| reader.vars.get(name).is_some_and(|value| !trimmed(value).is_empty());
    let elsewhere = [DATABASE_URL, EPHEMERAL_JOBS].into_iter().find(|name| is_set(name));
    let unbound = JOB_BINDINGS.into_iter().find(|name| !bound.contains(name));
    let has_key = is_set(ARTIFACT_KEY);
    let chosen = asked.unwrap_or_else(|| {
        let has_all = unbound.is_none() && has_key && elsewhere.is_none() && !is_set("UPSTREAM_URL");
        if has_all { JobsMode::Edge } else { JobsMode::Container }
    });
    if chosen == JobsMode::Container {
        return Some((chosen, None));
    }
    let fault = unbound
        .map(SettingFault::JobsNeedBinding)
        .or(elsewhere.map(SettingFault::JobsOfContainers))
        .or((!has_key).then_some(SettingFault::JobsNeedSecret(ARTIFACT_KEY)));
    if let Some(fault) = fault {
        return reader.note("JOBS", Err(fault));
    }
    let keys = reader.read(ARTIFACT_KEY, |text| Ok(Some(ArtifactKeys::read(text)?)), || None)?;
    Some((chosen, keys))
}

fn mode(text: &str) -> Result<JobsMode, SettingFault> {
    match text {
        "edge" => Ok(JobsMode::Edge),
        "container" => Ok(JobsMode::Container),
        other => Err(SettingFault::NotJobsMode(other.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::{ARTIFACTS, JOBS_QUEUE};
    use crate::{
        settings::{JobsMode, Settings, SettingsError},
        variables::{Value, Values},
    };

    const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn with(bindings: &[&str], vars: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let bindings = bindings.iter().map(|name| ((*name).to_owned(), Value::Other));
        let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), Value::Text((*value).to_owned())));
        Settings::of_bindings(&bindings.chain(vars).collect::<Values>())
    }

    const ALL: [&str; 2] = [ARTIFACTS, JOBS_QUEUE];
    const SECRET: (&str, &str) = ("EDGEPROVE_ARTIFACT_KEY", KEY);

    #[test]
    fn jobs_are_at_the_edge_if_everything_is_there() {
        let mode = |bindings: &[&str], vars: &[(&str, &str)]| with(bindings, vars).unwrap().jobs;
        assert_eq!(mode(&ALL, &[SECRET]), JobsMode::Edge);
        assert_eq!(mode(&ALL, &[SECRET, ("JOBS", " ")]), JobsMode::Edge);
        for vars in [
            &[][..],
            &[SECRET, ("DATABASE_URL", "postgres://db.example/jobs")],
            &[SECRET, ("EDGEPROVE_EPHEMERAL_JOBS", "true")],
            &[SECRET, ("UPSTREAM_URL", "http://127.0.0.1:8080")],
            &[SECRET, ("JOBS", "container")],
        ] {
            assert_eq!(mode(&ALL, vars), JobsMode::Container, "{vars:?}");
        }
        for bindings in [&[][..], &ALL[..1], &ALL[1..]] {
            assert_eq!(mode(bindings, &[SECRET]), JobsMode::Container, "{bindings:?}");
        }
        assert_eq!(
            mode(&ALL, &[SECRET, ("JOBS", "edge"), ("UPSTREAM_URL", "http://127.0.0.1:8080")]),
            JobsMode::Edge
        );
    }

    #[test]
    fn jobs_at_the_edge_name_what_they_lack() {
        let edge = ("JOBS", "edge");
        for (bindings, vars, named) in [
            (&ALL[..1], &[edge, SECRET][..], JOBS_QUEUE),
            (&ALL[1..], &[edge, SECRET], ARTIFACTS),
            (&ALL[..], &[edge], "EDGEPROVE_ARTIFACT_KEY"),
            (&ALL[..], &[edge, ("EDGEPROVE_ARTIFACT_KEY", "hunter2")], "EDGEPROVE_ARTIFACT_KEY"),
            (&ALL[..], &[edge, SECRET, ("DATABASE_URL", "postgres://db.example/jobs")], "DATABASE_URL"),
            (&ALL[..], &[edge, SECRET, ("EDGEPROVE_EPHEMERAL_JOBS", "true")], "EDGEPROVE_EPHEMERAL_JOBS"),
            (&ALL[..], &[("JOBS", "nowhere"), SECRET], "nowhere"),
        ] {
            let error = with(bindings, vars).unwrap_err().to_string();
            assert!(error.contains(named) && !error.contains("hunter2") && !error.contains(KEY), "{error}");
        }
    }

    #[test]
    fn the_key_of_the_edge_reaches_no_container() {
        let has_key = |vars: &[(&str, &str)]| {
            let settings = with(&ALL, vars).unwrap();
            assert_eq!(settings.artifact_keys.is_some(), settings.jobs == JobsMode::Edge);
            assert!(!format!("{settings:?}").contains(KEY));
            settings.container_env.0.iter().any(|(name, _)| name == "EDGEPROVE_ARTIFACT_KEY")
        };
        assert!(!has_key(&[SECRET]));
        assert!(has_key(&[SECRET, ("JOBS", "container")]));
    }
}
