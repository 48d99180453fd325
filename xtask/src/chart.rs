//! `cargo xtask chart`: renders the Helm chart with each file of its folder `ci`, and compares the objects with the schemas of
//! Kubernetes.
//!
//! Helm's own program renders. The tests of the server find it in `target/chart`, and start what the objects describe.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

use crate::{
    paths::{Overrides, Paths},
    process, python,
};

/// Renders and checks the Helm chart.
#[derive(Debug, clap::Args)]
pub(crate) struct ChartArgs {}

/// The chart.
const CHART: &str = "deploy/helm/edgeprove";
/// The oldest release of Kubernetes that the chart supports, as in its `Chart.yaml`, and the newest with a schema.
const KUBERNETES: [&str; 2] = ["1.27", "1.37"];

/// The command.
pub(crate) fn run(_: &ChartArgs) -> anyhow::Result<()> {
    let paths = Paths::find(&Overrides::default())?;
    let lock = paths.root.join("deploy/helm/requirements.txt");
    let Some(python) = python::environment_of(&paths, "chart", &lock)? else { bail!("{}", python::MISSING) };
    let helm = python.with_file_name("helm");
    let chart = paths.root.join(CHART);
    for values in values(&chart)? {
        let rendered = check(&helm, &python, &chart, &values)?;
        eprintln!("  chart: {} objects with {}", rendered.objects, name(&values));
        for kind in rendered.without_schema {
            eprintln!("         {kind} is an object of an operator, of which there is no schema");
        }
    }
    Ok(())
}

/// The files with values.
fn values(chart: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let folder = chart.join("ci");
    let entries = fs::read_dir(&folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    files.sort();
    if files.is_empty() {
        bail!("{} has no values", folder.display());
    }
    Ok(files)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What a file of values leads to.
struct Rendered {
    objects: usize,
    without_schema: Vec<String>,
}

fn check(helm: &Path, python: &Path, chart: &Path, values: &Path) -> anyhow::Result<Rendered> {
    let command = |arguments: &[&str]| {
        let mut command = Command::new(helm);
        command.args(arguments).arg(chart).arg("--values").arg(values);
        // Settings of a cluster must not change the result.
        command.env_clear();
        command
    };
    output(command(&["lint", "--strict"]))?;
    let objects = output(command(&["template", "release", "--namespace", "proving"]))?;
    let folder = tempfile::tempdir().context("a temporary folder cannot be created")?;
    let file = folder.path().join(name(values));
    fs::write(&file, &objects).with_context(|| format!("{} cannot be written", file.display()))?;
    let mut without_schema = Vec::new();
    for version in KUBERNETES {
        let mut validate = Command::new(python.with_file_name("kubernetes-validate"));
        validate.args(["--strict", "--kubernetes-version", version]).arg(&file);
        let report = output(validate)?;
        without_schema = report.lines().filter_map(kind_without_schema).collect();
    }
    let objects = objects.lines().filter(|line| line.starts_with("kind: ")).count();
    Ok(Rendered { objects, without_schema })
}

/// The kind that a line reports as one without a schema.
fn kind_without_schema(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("find schema for kind ")?;
    rest.split(' ').next().map(str::to_owned)
}

/// The output of a command, which must succeed.
fn output(command: Command) -> anyhow::Result<String> {
    let shown = format!("{command:?}");
    let (status, output) = process::capture(command)?;
    if !status.success() {
        bail!("{shown} failed:\n{output}");
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::repository_root;

    #[test]
    fn the_chart_supports_the_oldest_release_that_is_checked() {
        let text = fs::read_to_string(repository_root().join(CHART).join("Chart.yaml")).unwrap();
        assert!(text.contains(&format!("kubeVersion: \">={}.0-0\"", KUBERNETES[0])), "{text}");
        let version = env!("CARGO_PKG_VERSION");
        for line in [format!("version: {version}"), format!("appVersion: \"{version}\"")] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }

    #[test]
    fn kinds_of_operators_are_named() {
        let line = "WARN /tmp/x Couldn't find schema for kind ScaledObject with api version keda.sh/v1alpha1 for kubernetes";
        assert_eq!(kind_without_schema(line).as_deref(), Some("ScaledObject"));
        assert_eq!(kind_without_schema("INFO /tmp/x passed for resource service/a"), None);
    }
}
