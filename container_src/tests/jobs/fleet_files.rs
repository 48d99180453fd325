//! What the Helm chart and the compose file describe, started as processes: servers on one PostgreSQL and one bucket, provers that
//! pull from them, a builder. Names, addresses and secrets are those of the files, as far as a process can have them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use edgeprove_protocol::{JobId, JobStatus};
use edgeprove_testkit::{
    TestServer,
    client::Request,
    postgres::Cluster,
    processes,
    puller::TestPuller,
    s3::{BUCKET, S3Server},
    samples, skipped,
    wait::{self, LONG_LIMIT, within},
};
use http::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::DataFolder;

/// What a program is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    arguments: Vec<String>,
    variables: BTreeMap<String, String>,
}

/// The keys of callers.
const KEYS: [(&str, &str); 4] = [
    ("prover", "the key of the provers"),
    ("observer", "the key of the autoscaler"),
    ("operator", "who runs it all"),
    ("user", "a common caller"),
];

/// Such keys as a server gets them: on one line, for files of variables.
fn keys() -> String {
    let line = |(role, key)| {
        format!(r#"{role} = {{ sha256 = ["{}"], role = "{role}" }}"#, hex::encode(Sha256::digest(key)))
    };
    format!("keys = {{ {} }}", KEYS.map(line).join(", "))
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The standard output of a program that must succeed.
#[track_caller]
fn output(mut command: Command) -> String {
    let output = processes::run(&mut command, wait::LIMIT);
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The documents of a YAML file.
#[track_caller]
fn documents(yaml: &Path) -> Vec<Value> {
    let script =
        "import json, sys, yaml\nprint(json.dumps([d for d in yaml.safe_load_all(open(sys.argv[1])) if d]))";
    let mut python = Command::new(skipped::tools_of_the_chart().join("python"));
    python.args(["-c", script]).arg(yaml);
    serde_json::from_str(&output(python)).unwrap()
}

/// The objects of the chart with these values.
#[track_caller]
fn chart(values: &[&str]) -> Vec<Value> {
    let mut helm = Command::new(skipped::tools_of_the_chart().join("helm"));
    helm.env_clear().args(["template", "prod", "--namespace", "proving"]);
    helm.arg(repository().join("deploy/helm/edgeprove"));
    for value in values {
        helm.args(["--set", value]);
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("objects.yaml");
    std::fs::write(&file, output(helm)).unwrap();
    documents(&file)
}

#[track_caller]
fn object<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let mut found =
        objects.iter().filter(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.next().unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// The container of a Deployment, with the secrets that its pods may read.
#[track_caller]
fn container(deployment: &Value, secrets: &BTreeMap<&str, BTreeMap<String, String>>) -> Part {
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["enableServiceLinks"], false, "services would set variables with our prefix");
    let container = &pod["containers"][0];
    let mut variables = BTreeMap::new();
    for from in container["envFrom"].as_array().into_iter().flatten() {
        variables.extend(secrets[from["secretRef"]["name"].as_str().unwrap()].clone());
    }
    for variable in container["env"].as_array().unwrap() {
        let value = match &variable["valueFrom"] {
            Value::Null => variable["value"].as_str().unwrap().to_owned(),
            from if from["fieldRef"]["fieldPath"] == "metadata.name" => "prod-edgeprove-prover-x".to_owned(),
            from => {
                let [name, key] =
                    ["name", "key"].map(|member| from["secretKeyRef"][member].as_str().unwrap());
                secrets[name][key].clone()
            }
        };
        let name = variable["name"].as_str().unwrap().to_owned();
        assert_eq!(variables.insert(name.clone(), value), None, "{name} is set twice");
    }
    let arguments = container["args"].as_array().into_iter().flatten();
    Part { arguments: arguments.map(|word| word.as_str().unwrap().to_owned()).collect(), variables }
}

/// Whether a selector finds a pod of this Deployment.
fn selects(selector: &Value, deployment: &Value) -> bool {
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    let selector = selector.as_object().unwrap();
    !selector.is_empty() && selector.iter().all(|(name, value)| labels[name] == *value)
}

/// The secret of the servers.
fn server_secret() -> BTreeMap<String, String> {
    let random = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    let mut secret: BTreeMap<_, _> = ["ARTIFACT_KEY", "SEALING_SECRET", "RECEIPT_SECRET", "VOUCHER_SECRET"]
        .map(|name| (format!("EDGEPROVE_{name}"), random.to_owned()))
        .into();
    secret.insert("EDGEPROVE_KEYS".to_owned(), keys());
    secret.insert("DATABASE_URL".to_owned(), String::new());
    secret
}

/// PostgreSQL, a bucket, and a folder for what the images have on their disk.
struct Machine {
    cluster: Cluster,
    bucket: S3Server,
    folder: DataFolder,
}

impl Machine {
    /// `None`: this machine has no PostgreSQL or no tools of the chart, and the test is recorded as skipped.
    fn new() -> Option<Self> {
        if skipped::lacks_tools_of_the_chart() {
            return None;
        }
        Some(Self { cluster: Cluster::start()?, bucket: S3Server::start(), folder: DataFolder::new() })
    }

    /// Where database and bucket are on this machine, in place of the addresses of the files.
    fn place(&self, part: &Part) -> Vec<(String, String)> {
        let mut variables = part.variables.clone();
        assert!(variables.contains_key("DATABASE_URL"), "{variables:?}");
        variables.insert("DATABASE_URL".to_owned(), self.cluster.url());
        let artifacts = variables.get_mut("EDGEPROVE_ARTIFACTS").unwrap();
        let prefix = artifacts.strip_prefix("s3://").unwrap().split_once('/').unwrap().1.to_owned();
        *artifacts = format!("s3://{BUCKET}/{prefix}");
        variables.extend(self.bucket.environment());
        // As in the image, where this folder has no volume.
        variables.insert("EDGEPROVE_DATA".to_owned(), self.folder.path("data").display().to_string());
        variables.into_iter().collect()
    }

    #[track_caller]
    fn start_server(&self, part: &Part) -> TestServer {
        assert!(part.arguments.is_empty(), "{part:?}");
        let server = TestServer::start(|settings| settings.environment = self.place(part));
        server.wait_until_ready();
        assert_no_unknown_variable(&server.log_lines());
        server
    }

    #[track_caller]
    fn start_builder(&self, part: &Part) -> TestServer {
        TestServer::start(|settings| {
            settings.environment = self.place(part);
            // As in the image of the builder.
            settings.flag("--toolchain", &repository().join("circuit").display());
            settings.flag("--builder-isolation", "process-group");
            settings.environment.push(("PATH".to_owned(), std::env::var("PATH").unwrap()));
        })
    }
}

/// Starts a prover of a server, in place of the address of the files.
#[track_caller]
fn start_prover(part: &Part, server: &TestServer) -> TestPuller {
    assert_eq!(part.arguments, ["work"]);
    let private = ["DATABASE_URL", "EDGEPROVE_ARTIFACT_KEY", "EDGEPROVE_KEYS", "AWS_SECRET_ACCESS_KEY"];
    assert!(private.iter().all(|name| !part.variables.contains_key(*name)), "{part:?}");
    let key = &part.variables["EDGEPROVE_CLIENT_KEY"];
    let prover = TestPuller::start(&format!("http://{}", server.address()), key, |settings| {
        settings.environment = part.variables.clone().into_iter().collect();
        settings.flag("--probe-listen", "127.0.0.1:0");
    });
    prover.wait_until_claiming();
    assert_no_unknown_variable(&prover.log_lines());
    prover
}

#[track_caller]
fn assert_no_unknown_variable(log: &[Value]) {
    let is_variable = |name: &Value| name.as_str().is_some_and(|name| name.starts_with("EDGEPROVE_"));
    let about_variables = log.iter().filter(|line| line["level"] == "WARN" && is_variable(&line["name"]));
    assert_eq!(about_variables.collect::<Vec<_>>(), Vec::<&Value>::new());
}

fn as_role(role: &str, request: Request) -> Request {
    let key = KEYS.iter().find(|(known, _)| *known == role).unwrap().1;
    request.header("x-api-key", key)
}

/// Submits jobs to the servers in turns, and checks the proofs that other servers return.
#[track_caller]
fn assert_proves(servers: &[TestServer], jobs: usize) {
    let sample = samples::range_check();
    let submit = |number: usize| {
        let server = &servers[number % servers.len()];
        as_role("user", server.submission(sample)).send().assert_accepted().id
    };
    let jobs: Vec<JobId> = (0..jobs).map(submit).collect();
    for (number, id) in jobs.iter().enumerate() {
        let server = &servers[(number + 1) % servers.len()];
        let get = |path: &str| as_role("user", server.request(Method::GET, path)).send();
        let job = within(LONG_LIMIT, "the job has finished", || {
            Some(get(&format!("/v1/proofs/{id}")).job()).filter(|job| job.status.is_finished())
        });
        assert_eq!(job.status, JobStatus::Completed, "{job:?}");
        get(&format!("/v1/proofs/{id}/proof"))
            .assert_proves(sample, edgeprove_protocol::Target::NoirRecursive);
    }
}

#[test]
fn what_the_chart_describes_proves_and_builds() {
    let Some(machine) = Machine::new() else { return };
    let objects = chart(&[
        "artifacts.url=s3://a-bucket/jobs",
        "builder.enabled=true",
        "autoscaling.enabled=true",
        "autoscaling.max=7",
    ]);
    let [server, prover, builder] = ["server", "prover", "builder"]
        .map(|part| object(&objects, "Deployment", &format!("prod-edgeprove-{part}")));
    let key = |role: &str| {
        let (_, key) = KEYS.iter().find(|(known, _)| *known == role).unwrap();
        BTreeMap::from([("key".to_owned(), (*key).to_owned())])
    };
    let secrets = BTreeMap::from([
        ("edgeprove-server", server_secret()),
        ("edgeprove-prover", key("prover")),
        ("edgeprove-scale", key("observer")),
    ]);

    // Names lead where they should.
    let service = object(&objects, "Service", "prod-edgeprove-server");
    assert!(selects(&service["spec"]["selector"], server) && !selects(&service["spec"]["selector"], prover));
    let part = container(prover, &secrets);
    assert_eq!(part.variables["EDGEPROVE_FROM"], "http://prod-edgeprove-server:8080");
    for (deployment, name) in [(server, "server"), (prover, "prover"), (builder, "builder")] {
        let policy = object(&objects, "NetworkPolicy", &format!("prod-edgeprove-{name}"));
        assert!(selects(&policy["spec"]["podSelector"]["matchLabels"], deployment), "{policy}");
        assert!(selects(&deployment["spec"]["selector"]["matchLabels"], deployment), "{deployment}");
    }

    let replicas = server["spec"]["replicas"].as_u64().unwrap();
    let servers: Vec<_> = (0..replicas).map(|_| machine.start_server(&container(server, &secrets))).collect();
    let provers: Vec<_> = servers.iter().map(|server| start_prover(&part, server)).collect();
    assert_proves(&servers, 8);
    assert_eq!(provers.iter().map(TestPuller::started).sum::<usize>(), 8, "servers have proved jobs");

    // The autoscaler learns the number of provers at the address and by the member of the chart.
    let scaled = object(&objects, "ScaledObject", "prod-edgeprove-prover");
    assert_eq!(scaled["spec"]["scaleTargetRef"]["name"], prover["metadata"]["name"]);
    let trigger = &scaled["spec"]["triggers"][0]["metadata"];
    let url = trigger["url"].as_str().unwrap();
    let path = url.strip_prefix("http://prod-edgeprove-server.proving.svc:8080").unwrap();
    let key = &secrets["edgeprove-scale"]["key"];
    let ask = servers[0].request(Method::GET, path).header("authorization", &format!("Bearer {key}"));
    let scale = ask.send();
    assert_eq!(scale.status, 200, "{}", String::from_utf8_lossy(&scale.body));
    let scale = scale.json();
    assert_eq!((&scale[trigger["valueLocation"].as_str().unwrap()], &scale["max"]), (&json!(1), &json!(7)));

    let builders = [machine.start_builder(&container(builder, &secrets))];
    let range = json!({"templateName": "rangeCheck", "language": "noir", "params": {"min": 100, "max": 500}});
    let asked = as_role("operator", servers[0].json_request("/v1/circuits", range.to_string())).send();
    assert_eq!(asked.status, 202, "{}", String::from_utf8_lossy(&asked.body));
    let id = asked.json()["id"].as_str().unwrap().to_owned();
    within(LONG_LIMIT, "the circuit is built, and the other server has it", || {
        let get = servers[1].request(Method::GET, &format!("/v1/circuits/{id}"));
        let circuit = as_role("user", get).send().json();
        assert_ne!(circuit["status"], "failed", "{circuit}");
        (circuit["status"] == "ready").then_some(())
    });
    assert!(!machine.folder.path("data").exists(), "a pod would write to a disk that ends with it");
    drop(provers);
    builders.into_iter().chain(servers).for_each(TestServer::finish);
}

/// The value of a variable in the compose file, with the secrets in it.
fn with_secrets(value: &str, secrets: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').unwrap();
        let name = name.split(':').next().unwrap();
        text.push_str(before);
        text.push_str(secrets.get(name).unwrap_or_else(|| panic!("./secrets prints no {name}")));
        rest = after;
    }
    text + rest
}

#[test]
fn what_the_compose_file_describes_proves() {
    let Some(machine) = Machine::new() else { return };
    if skipped::lacks_program("openssl") {
        return;
    }
    let folder = repository().join("deploy/compose");
    let compose = documents(&folder.join("compose.yaml")).remove(0);
    let printed = processes::run(&mut Command::new(folder.join("secrets")), wait::LIMIT);
    assert!(printed.status.success());
    let lines = String::from_utf8(printed.stdout).unwrap();
    let split = |line: &str| {
        let (name, value) = line.split_once('=').unwrap();
        (name.to_owned(), value.trim_matches('\'').to_owned())
    };
    let secrets: BTreeMap<_, _> = lines.lines().map(split).collect();
    let hints = String::from_utf8(printed.stderr).unwrap();
    let user = hints.lines().find_map(|line| line.strip_prefix("key of a user: ")).unwrap();

    let part = |name: &str| {
        let service = &compose["services"][name];
        let variables = service["environment"].as_object().unwrap();
        let variables = variables
            .iter()
            .map(|(name, value)| (name.clone(), with_secrets(value.as_str().expect("a text"), &secrets)));
        let command = service["command"].as_array().into_iter().flatten();
        Part {
            arguments: command.map(|word| word.as_str().unwrap().to_owned()).collect(),
            variables: variables.collect(),
        }
    };
    let server = machine.start_server(&part("server"));
    let prover = part("prover");
    assert_eq!(prover.variables["EDGEPROVE_FROM"], "http://server:8080");
    let replicas = compose["services"]["prover"]["deploy"]["replicas"].as_u64().unwrap();
    let provers: Vec<_> = (0..replicas).map(|_| start_prover(&prover, &server)).collect();
    let sample = samples::range_check();
    for _ in 0..4 {
        let job = server.submission(sample).header("x-api-key", user).send().assert_accepted().id;
        let get = |path: &str| server.request(Method::GET, path).header("x-api-key", user).send();
        within(LONG_LIMIT, "the job is proved", || {
            let job = get(&format!("/v1/proofs/{job}")).job();
            assert!(!matches!(job.status, JobStatus::Failed | JobStatus::Cancelled), "{job:?}");
            (job.status == JobStatus::Completed).then_some(())
        });
        get(&format!("/v1/proofs/{job}/proof")).assert_proof_of(sample);
    }
    drop(provers);
    server.finish();
}
