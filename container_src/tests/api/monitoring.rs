//! The dashboard and the alerts in `deploy/`, against a real server, and loaded into a real Prometheus.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use edgeprove_protocol::{ProblemType, Target::NoirRecursive};
use edgeprove_testkit::{
    client::Request, processes, reserved_port::ReservedPort, skipped, wait::try_eventually,
};
use http::Method;
use serde_json::Value;

use crate::{
    jobs::JobServer,
    metrics::Metrics,
    support::{Response, eventually, samples},
};

/// Checks and tests of some kilobytes take well below a second.
const PROMTOOL_LIMIT: Duration = Duration::from_mins(1);

/// A file of the repository.
#[track_caller]
fn text(name: &str) -> String {
    let path = path(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn path(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(name)
}

fn rules() -> String {
    text("deploy/prometheus/edgeprove.rules.yaml")
}

/// The names of the alerts, in their order.
fn alerts() -> Vec<String> {
    let text = rules();
    let names = text.lines().filter_map(|line| line.trim_start().strip_prefix("- alert: "));
    names.map(str::to_owned).collect()
}

fn dashboard() -> Value {
    serde_json::from_str(&text("deploy/grafana/edgeprove.json")).unwrap()
}

/// The queries of the dashboard, with values for its variables, and the names of what they find.
fn targets() -> Vec<(String, String)> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let texts = targets.map(|target| ["expr", "legendFormat"].map(|member| target[member].as_str().unwrap()));
    let with_values = |query: &str| query.replace("$__rate_interval", "5m").replace("$instance", ".*");
    texts.map(|[query, legend]| (with_values(query), legend.to_owned())).collect()
}

fn dashboard_queries() -> Vec<String> {
    targets().into_iter().map(|(query, _)| query).collect()
}

/// The words that begin like the name of a series. Names of histograms have no suffix.
fn series_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = words.filter(|word| word.starts_with("edgeprove_") && !word.ends_with('_'));
    names.map(|name| name.strip_suffix("_bucket").unwrap_or(name).to_owned()).collect()
}

/// The labels that queries compare with fixed values, as `name` and `label="value"`.
fn selected(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for part in text.split("edgeprove_").skip(1) {
        let end = part.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(part.len());
        let (name, rest) = part.split_at(end);
        let Some((labels, _)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) else {
            continue;
        };
        for label in labels.split(',') {
            let (label, values) = label.split_once('=').unwrap();
            let label = label.trim_end_matches('!');
            for value in values.trim_start_matches('~').trim_matches('"').split('|') {
                if label != "instance" {
                    found.push((format!("edgeprove_{name}"), format!("{label}=\"{value}\"")));
                }
            }
        }
    }
    found
}

#[test]
fn dashboard_and_alerts_are_about_series_of_the_server() {
    let jobs = JobServer::start(|_| ());
    let metrics = Metrics::fetch(&jobs.server);
    let queries = dashboard_queries().join("\n");
    let shown = series_in(&queries);
    let known: BTreeSet<String> = metrics.kinds.keys().cloned().collect();
    assert_eq!(shown, known, "the dashboard shows each series, and no other");
    let watched = series_in(&rules());
    assert!(watched.len() > 10 && watched.is_subset(&known), "{:?}", watched.difference(&known));
    let labels = [selected(&queries), selected(&rules())].concat();
    assert!(labels.len() > 20, "{labels:?}");
    for (name, label) in labels {
        let is_exposed = |line: &str| line.starts_with(&format!("{name}{{")) && line.contains(&label);
        assert!(metrics.text.lines().any(is_exposed), "{name} has no {label}");
    }
    jobs.server.finish();
}

/// What Grafana would show as an empty, doubled or hidden panel.
#[test]
fn the_panels_of_the_dashboard_are_complete() {
    let dashboard = dashboard();
    let variables: BTreeSet<_> = dashboard["templating"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert_eq!(variables, BTreeSet::from(["datasource", "instance"]));
    assert!(dashboard["schemaVersion"].as_u64() >= Some(36), "data sources are objects since 36");
    let (mut ids, mut titles, mut cells) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title} has the id of another panel");
        let [left, top, width, height] =
            ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(width > 0 && height > 0 && left + width <= 24, "{title} is not within the grid");
        for column in left..left + width {
            for row in top..top + height {
                assert!(cells.insert((column, row)), "{title} covers another panel");
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(titles.insert(title), "two panels are called {title}");
        assert!(["stat", "timeseries"].contains(&panel["type"].as_str().unwrap()), "{title}");
        assert!(
            panel["description"].as_str().is_some_and(|text| text.len() > 10),
            "{title} is not described"
        );
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let units = ["short", "percentunit", "s", "ops", "reqps", "bytes", "Bps"];
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap();
        assert!(units.contains(&unit), "{title} has the unit {unit}");
        let mut letters = BTreeSet::new();
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title} has no query");
        for target in targets {
            assert!(
                letters.insert(target["refId"].as_str().unwrap()),
                "{title} has two queries of one letter"
            );
            assert!(target["legendFormat"].as_str().is_some_and(|legend| !legend.is_empty()), "{title}");
            assert_uses_variables(target["expr"].as_str().unwrap());
        }
    }
    assert!(titles.len() > 20);
}

/// A query is about the chosen servers, and uses no variable that the dashboard lacks.
#[track_caller]
fn assert_uses_variables(query: &str) {
    let of_servers = query.matches("instance=~\"$instance\"").count();
    assert_eq!(query.matches("edgeprove_").count(), of_servers, "{query} ignores the choice of servers");
    for variable in query.split('$').skip(1) {
        let is_known = variable.starts_with("__rate_interval") || variable.starts_with("instance\"");
        assert!(is_known, "{query} uses an unknown variable");
    }
}

#[test]
fn each_alert_is_documented_and_tested() {
    let (alerts, tests, docs) =
        (alerts(), text("deploy/prometheus/edgeprove.rules.test.yaml"), text("docs/OPERATIONS.md"));
    let (_, section) = docs.split_once("\n## Alerts\n").unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `Edgeprove")?.split_once('`'));
    let documented: Vec<String> = rows.map(|(name, _)| format!("Edgeprove{name}")).collect();
    assert_eq!(documented, alerts, "docs/OPERATIONS.md lists the alerts in their order");
    assert_eq!(alerts.len(), alerts.iter().collect::<BTreeSet<_>>().len(), "{alerts:?}");
    for alert in alerts {
        assert!(
            tests.contains(&format!("alertname: {alert}, exp_alerts: []")),
            "{alert} is not tested at rest"
        );
        assert!(tests.contains(&format!("alertname: {alert}\n        exp_alerts:\n")), "{alert} never fires");
    }
}

/// A Prometheus that scrapes one server every second.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
    _port: ReservedPort,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    #[track_caller]
    fn start(server: SocketAddr) -> Self {
        let folder = tempfile::Builder::new().prefix("edgeprove-prometheus-").tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        fs::write(file("edgeprove.rules.yaml"), rules()).unwrap();
        let config = text("deploy/prometheus/prometheus.yaml");
        assert!(config.contains("127.0.0.1:8080") && config.contains("interval: 15s"));
        let config =
            config.replace("127.0.0.1:8080", &server.to_string()).replace("interval: 15s", "interval: 1s");
        fs::write(file("prometheus.yaml"), config).unwrap();
        let (port, log) = (ReservedPort::new(), file("log"));
        let option = |name: &str, path: &str| format!("--{name}={}", file(path).display());
        let child = Command::new("prometheus")
            .args([option("config.file", "prometheus.yaml"), option("storage.tsdb.path", "data")])
            .arg(format!("--web.listen-address={}", port.address()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let address = port.address();
        let started = Self { child, address, log, _port: port, _folder: folder };
        eventually("Prometheus is ready", || started.get("/-/ready").filter(|answer| answer.status == 200));
        started
    }

    fn get(&self, path: &str) -> Option<Response> {
        Request::new(self.address, Method::GET, path).try_send().ok()
    }

    /// The result of a request to its API.
    fn api(&self, path: &str) -> Result<Value, String> {
        let answer = self.get(path).ok_or("no answer")?;
        let document = answer.json();
        if document["status"] == "success" { Ok(document["data"].clone()) } else { Err(document.to_string()) }
    }

    fn query(&self, query: &str) -> Result<Value, String> {
        let mut path = "/api/v1/query?query=".to_owned();
        for byte in query.bytes() {
            if byte.is_ascii_alphanumeric() {
                path.push(char::from(byte));
            } else {
                write!(path, "%{byte:02X}").unwrap();
            }
        }
        Ok(self.api(&path)?["result"].clone())
    }
}

/// Whether each line of a result has the labels that its name in the legend is made of.
fn lines_have_names(found: &[Value], legend: &str) -> Result<(), String> {
    for label in legend.split("{{").skip(1).filter_map(|rest| rest.split_once("}}")).map(|(label, _)| label) {
        if let Some(line) = found.iter().find(|line| line["metric"][label].as_str().is_none_or(str::is_empty))
        {
            return Err(format!("a line of {legend} has no {label}: {line}"));
        }
    }
    Ok(())
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("prometheus: {}", fs::read_to_string(&self.log).unwrap_or_default());
        }
        // An error means that the process has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn promtool(arguments: &[&str]) {
    let mut command = Command::new("promtool");
    let output =
        processes::run(command.args(arguments).current_dir(path("deploy/prometheus")), PROMTOOL_LIMIT);
    let output_text =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "promtool {arguments:?}: {output_text}");
}

#[test]
#[ignore = "needs Prometheus: cargo xtask test --heavy"]
fn promtool_accepts_the_alerts_and_their_tests() {
    if skipped::lacks_program("promtool") {
        return;
    }
    promtool(&["check", "rules", "edgeprove.rules.yaml"]);
    promtool(&["check", "config", "prometheus.yaml"]);
    promtool(&["test", "rules", "edgeprove.rules.test.yaml"]);
}

#[test]
#[ignore = "needs Prometheus: cargo xtask test --heavy"]
fn a_prometheus_finds_every_series_of_dashboard_and_alerts() {
    if skipped::lacks_program("prometheus") {
        return;
    }
    let jobs = JobServer::start(|_| ());
    let range = samples::range_check();
    jobs.server.prove(&range.witness).assert_proves(range, NoirRecursive);
    jobs.wait_until_finished(&jobs.submit(&range.witness));
    jobs.server.get("/no/such/path").assert_refused(ProblemType::NotFound);
    let prometheus = Prometheus::start(jobs.server.address());

    let wanted = series_in(&[dashboard_queries().concat(), rules()].concat());
    try_eventually("Prometheus has every series", || {
        let names = prometheus.api("/api/v1/label/__name__/values")?;
        let names = series_in(&names.to_string());
        let missing: Vec<_> = wanted.difference(&names).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} are missing")) }
    });
    // Every panel has data, apart from those that show a thing only when there is one, and each line of it has a name.
    for (query, legend) in targets() {
        prometheus.query(&query).unwrap_or_else(|error| panic!("{query}: {error}"));
        let of_all = query.replace(" > 0", "");
        try_eventually("the query has data", || match prometheus.query(&of_all)? {
            Value::Array(found) if !found.is_empty() => lines_have_names(&found, &legend),
            other => Err(format!("{of_all}: {other}")),
        });
    }
    // Queries that have a value on a server that is well, also after a few seconds.
    for query in ["edgeprove_ready", "sum(edgeprove_circuits{status=\"ready\"})", "up{job=\"edgeprove\"}"] {
        try_eventually("the query has a value", || match prometheus.query(query)?[0]["value"][1].as_str() {
            Some("1") => Ok(()),
            other => Err(format!("{query}: {other:?}")),
        });
    }
    let rules = try_eventually("every alert was evaluated", || {
        let groups = prometheus.api("/api/v1/rules")?;
        let rules = groups["groups"][0]["rules"].as_array().cloned().unwrap_or_default();
        if rules.iter().all(|rule| rule["health"] == "ok") { Ok(rules) } else { Err(groups.to_string()) }
    });
    let names: Vec<String> = rules.iter().map(|rule| rule["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, alerts());
    // Not the disk of the machine: it may really be full.
    let firing: Vec<_> =
        rules.iter().filter(|rule| rule["state"] == "firing").map(|rule| &rule["name"]).collect();
    assert!(firing.iter().all(|name| *name == "EdgeproveDiskFull"), "{firing:?}");
    jobs.server.finish();
}
