//! Checks `wrangler.toml` against the code: every environment has the settings and bindings that the edge reads.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a wrong file fails the test")]

use std::{any::type_name, collections::BTreeSet, fs, path::PathBuf, time::Duration};

use edgeprove_edge::{
    bindings::{ARTIFACTS, JOBS_CLASS, JOBS_QUEUE, PAGE_FILES, PROVER, PROVER_CLASS, RATE_LIMITER},
    edge_error::EdgeError,
    jobs_do::object::JobsDo,
    prover_container_do::ProverContainer,
    settings::{NAMES, SECRETS, Settings, is_for_container},
    variables::Vars,
};
use toml::{Table, Value};

/// Settings of other environments than the top level that are not the defaults. The file explains them.
const NOT_BY_DEFAULT: [&str; 2] = ["ALLOWED_ORIGINS", "MAX_INSTANCES"];

/// What an environment inherits from the top level. It must repeat everything else.
const INHERITED: [&str; 2] = ["assets", "migrations"];

/// The file's top level, or a table under `env`.
struct Environment {
    /// `None` for the top level.
    name: Option<String>,
    table: Table,
}

impl Environment {
    fn all() -> Vec<Self> {
        let top: Table = read("wrangler.toml").parse().unwrap();
        let mut all = Vec::new();
        for (name, table) in top["env"].as_table().unwrap() {
            let mut table = table.as_table().unwrap().clone();
            for name in INHERITED {
                table.entry(name).or_insert_with(|| top[name].clone());
            }
            all.push(Self { name: Some(name.clone()), table });
        }
        assert!(!all.is_empty(), "there is no production environment");
        all.push(Self { name: None, table: top });
        all
    }

    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("the top level")
    }

    fn vars(&self) -> Vars {
        let vars = self.table["vars"].as_table().unwrap().iter();
        vars.map(|(name, value)| (name.clone(), text(value).to_owned())).collect()
    }

    fn settings(&self) -> Settings {
        Settings::read(&self.vars()).unwrap_or_else(|error| panic!("{}: {error}", self.name()))
    }

    /// The tables of a list, such as `[[containers]]`.
    fn list(&self, path: &[&str]) -> Vec<&Table> {
        let none = || panic!("{} has no {}", self.name(), path.join("."));
        let first = self.table.get(path[0]).unwrap_or_else(none);
        let list = path[1..].iter().fold(first, |value, name| value.get(name).unwrap_or_else(none));
        list.as_array().unwrap().iter().map(|entry| entry.as_table().unwrap()).collect()
    }

    fn only(&self, path: &[&str]) -> &Table {
        let list = self.list(path);
        assert_eq!(list.len(), 1, "{}: {}", self.name(), path.join("."));
        list[0]
    }
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is not a text"))
}

fn number(value: &Value) -> u64 {
    value.as_integer().and_then(|number| number.try_into().ok()).unwrap_or_else(|| panic!("{value}"))
}

#[test]
fn every_environment_has_exactly_the_settings_of_the_edge() {
    let expected: BTreeSet<&str> = NAMES.iter().copied().filter(|name| !SECRETS.contains(name)).collect();
    for environment in Environment::all() {
        let vars = environment.vars();
        let set: BTreeSet<&str> =
            vars.keys().map(String::as_str).filter(|name| !is_for_container(name)).collect();
        assert_eq!(set, expected, "{}", environment.name());
    }
}

#[test]
fn the_file_explains_every_secret() {
    let file = read("wrangler.toml");
    for secret in SECRETS {
        assert!(NAMES.contains(secret), "{secret}");
        assert!(file.contains(&format!("#   wrangler secret put {secret} ")), "{secret}");
    }
}

/// The file names the secrets and settings of the server that jobs need, and they reach the container.
#[test]
fn the_settings_of_the_job_storage_reach_the_container() {
    let (file, known) = (read("wrangler.toml"), read("docs/CONFIGURATION.md"));
    for secret in ["DATABASE_URL", "EDGEPROVE_ARTIFACT_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        assert!(file.contains(&format!("#   wrangler secret put {secret} ")), "{secret}");
        assert!(is_for_container(secret), "{secret}");
    }
    for setting in ["EDGEPROVE_ARTIFACTS", "AWS_ENDPOINT_URL", "AWS_REGION", "EDGEPROVE_EPHEMERAL_JOBS"] {
        assert!(file.contains(&format!("# {setting} = ")), "{setting}");
        assert!(is_for_container(setting), "{setting}");
    }
    for name in ["DATABASE_URL", "EDGEPROVE_ARTIFACTS", "EDGEPROVE_ARTIFACT_KEY", "EDGEPROVE_EPHEMERAL_JOBS"]
    {
        assert!(known.contains(&format!("`{name}`")), "{name} is not a setting of the server");
    }
}

#[test]
fn the_secrets_of_keys_reach_the_container() {
    let (file, known) = (read("wrangler.toml"), read("docs/CONFIGURATION.md"));
    for secret in ["EDGEPROVE_SEALING_SECRET", "EDGEPROVE_RECEIPT_SECRET"] {
        assert!(file.contains(&format!("#   wrangler secret put {secret} ")) && is_for_container(secret));
        assert!(known.contains(&format!("`{secret}`")), "{secret} is not a setting of the server");
    }
}

#[test]
fn every_setting_is_the_default_or_explained() {
    for environment in Environment::all() {
        let mut set = environment.vars();
        let mut unset = set.clone();
        unset.retain(|name, _| is_for_container(name));
        if environment.name.is_some() {
            set.retain(|name, _| !NOT_BY_DEFAULT.contains(&name.as_str()));
        }
        assert_eq!(Settings::read(&set), Settings::read(&unset), "{}", environment.name());
    }
}

#[test]
fn with_its_secrets_no_environment_has_a_warning() {
    for environment in Environment::all() {
        let mut vars = environment.vars();
        vars.insert("API_KEYS".to_owned(), format!("alice:{}", "0f".repeat(32)));
        vars.insert("EDGE_SECRET".to_owned(), "0123456789abcdef".to_owned());
        vars.insert("EDGEPROVE_SEALING_SECRET".to_owned(), "0f".repeat(32));
        vars.insert("EDGEPROVE_RECEIPT_SECRET".to_owned(), "f0".repeat(32));
        let settings = Settings::read(&vars).unwrap();
        assert_eq!(settings.warnings, [""; 0], "{}", environment.name());
    }
}

#[test]
fn variables_of_the_container_are_settings_of_the_server() {
    let known = read("docs/CONFIGURATION.md");
    for environment in Environment::all() {
        for name in environment.vars().keys().filter(|name| is_for_container(name)) {
            assert!(known.contains(&format!("`{name}`")), "{}: {name}", environment.name());
            // The container gets the secret from EDGE_SECRET.
            assert_ne!(name, "EDGEPROVE_EDGE_SECRET");
        }
    }
}

#[test]
fn bindings_and_classes_are_those_of_the_code() {
    assert_eq!(type_name::<ProverContainer>().rsplit("::").next(), Some(PROVER_CLASS));
    assert_eq!(type_name::<JobsDo>().rsplit("::").next(), Some(JOBS_CLASS));
    for environment in Environment::all() {
        let objects = environment.list(&["durable_objects", "bindings"]).into_iter();
        let bound: Vec<_> =
            objects.map(|object| (text(&object["name"]), text(&object["class_name"]))).collect();
        let expected = [(PROVER, PROVER_CLASS), (JOBS_QUEUE, JOBS_CLASS)];
        assert_eq!(bound, expected, "{}", environment.name());
        assert_eq!(text(&environment.only(&["containers"])["class_name"]), PROVER_CLASS);
        assert_eq!(text(&environment.only(&["ratelimits"])["name"]), RATE_LIMITER);
        assert_eq!(text(&environment.only(&["r2_buckets"])["binding"]), ARTIFACTS);
        let assets = environment.table["assets"].as_table().unwrap();
        assert_eq!(
            (text(&assets["binding"]), &assets["run_worker_first"]),
            (PAGE_FILES, &Value::Boolean(true))
        );
        assert!(root().join(text(&assets["directory"])).join("index.html").is_file());
    }
}

#[test]
fn objects_with_containers_use_sqlite_storage() {
    for environment in Environment::all() {
        let migrations = environment.list(&["migrations"]);
        let new = |kind: &str| -> Vec<&str> {
            let lists = migrations.iter().filter_map(|migration| migration.get(kind)?.as_array());
            lists.flatten().map(text).collect()
        };
        assert_eq!(new("new_sqlite_classes"), [PROVER_CLASS, JOBS_CLASS], "{}", environment.name());
        assert_eq!(new("new_classes"), [""; 0], "{}", environment.name());
    }
}

#[test]
fn there_are_enough_containers_and_rollouts_wait_for_requests() {
    for environment in Environment::all() {
        let (settings, container) = (environment.settings(), environment.only(&["containers"]));
        let max = number(&container["max_instances"]);
        assert!(max >= settings.max_instances.into(), "{}: {max}", environment.name());
        let grace = Duration::from_secs(number(&container["rollout_active_grace_period"]));
        assert!(grace >= settings.timeouts.prove.max(settings.timeouts.other), "{}", environment.name());
        assert!(root().join(text(&container["image"])).is_file(), "{}", environment.name());
    }
}

#[test]
fn each_environment_counts_its_callers_separately() {
    let retry_after = EdgeError::RateLimited.retry_after().unwrap();
    let mut namespaces = BTreeSet::new();
    for environment in Environment::all() {
        let limiter = environment.only(&["ratelimits"]);
        let period = number(&limiter["simple"]["period"]);
        assert!([10, 60].contains(&period), "Cloudflare has no period of {period} s");
        assert!(retry_after >= Duration::from_secs(period), "{retry_after:?} is shorter than the period");
        assert!(number(&limiter["simple"]["limit"]) > 0);
        let namespace = text(&limiter["namespace_id"]).to_owned();
        assert!(namespaces.insert(namespace), "{} shares its counts with another", environment.name());
    }
}
