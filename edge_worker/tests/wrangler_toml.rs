//! Holds `wrangler.toml` against the code: what it sets and binds, in every environment, is what the edge looks for.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a file that is not as it should be fails the test")]

use std::{any::type_name, collections::BTreeSet, fs, path::PathBuf, time::Duration};

use edgeprove_edge::{
    bindings::{PROVER, PROVER_CLASS, RATE_LIMITER},
    edge_error::EdgeError,
    prover_container_do::ProverContainer,
    settings::{NAMES, SECRETS, Settings, Vars, is_for_container},
};
use toml::{Table, Value};

/// What other environments than the top level set otherwise than by default; the file says why.
const NOT_BY_DEFAULT: [&str; 2] = ["ALLOWED_ORIGINS", "MAX_INSTANCES"];

/// What wrangler takes from the top level where an environment has none of its own. All else an environment must repeat.
const INHERITED: [&str; 1] = ["migrations"];

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
        assert!(!all.is_empty(), "production is gone");
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
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn number(value: &Value) -> u64 {
    value.as_integer().and_then(|number| number.try_into().ok()).unwrap_or_else(|| panic!("{value}"))
}

#[test]
fn every_setting_that_is_no_secret_stands_in_every_environment_and_no_other() {
    let expected: BTreeSet<&str> = NAMES.iter().copied().filter(|name| !SECRETS.contains(name)).collect();
    for environment in Environment::all() {
        let vars = environment.vars();
        let set: BTreeSet<&str> =
            vars.keys().map(String::as_str).filter(|name| !is_for_container(name)).collect();
        assert_eq!(set, expected, "{}", environment.name());
    }
}

#[test]
fn every_secret_is_told_of() {
    let file = read("wrangler.toml");
    for secret in SECRETS {
        assert!(NAMES.contains(secret), "{secret}");
        assert!(file.contains(&format!("#   wrangler secret put {secret} ")), "{secret}");
    }
}

/// Secrets and settings of the server that jobs need at Cloudflare: the file names them, and they reach the container.
#[test]
fn what_jobs_are_kept_in_is_told_of_and_reaches_the_container() {
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
        assert!(known.contains(&format!("`{name}`")), "{name} is no setting of the server");
    }
}

#[test]
fn what_is_set_is_the_default_but_for_what_the_file_explains() {
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
fn with_its_secrets_put_no_environment_leaves_a_doubt() {
    for environment in Environment::all() {
        let mut vars = environment.vars();
        vars.insert("API_KEYS".to_owned(), format!("alice:{}", "0f".repeat(32)));
        vars.insert("EDGE_SECRET".to_owned(), "0123456789abcdef".to_owned());
        let settings = Settings::read(&vars).unwrap();
        assert_eq!(settings.warnings, [""; 0], "{}", environment.name());
    }
}

#[test]
fn the_containers_own_variables_are_those_of_the_server() {
    let known = read("docs/CONFIGURATION.md");
    for environment in Environment::all() {
        for name in environment.vars().keys().filter(|name| is_for_container(name)) {
            assert!(known.contains(&format!("`{name}`")), "{}: {name}", environment.name());
            // The edge itself tells the container the secret; it is no variable.
            assert_ne!(name, "EDGEPROVE_EDGE_SECRET");
        }
    }
}

#[test]
fn bindings_and_classes_are_those_that_the_code_names() {
    assert_eq!(type_name::<ProverContainer>().rsplit("::").next(), Some(PROVER_CLASS));
    for environment in Environment::all() {
        let object = environment.only(&["durable_objects", "bindings"]);
        let bound = (text(&object["name"]), text(&object["class_name"]));
        assert_eq!(bound, (PROVER, PROVER_CLASS), "{}", environment.name());
        assert_eq!(text(&environment.only(&["containers"])["class_name"]), PROVER_CLASS);
        assert_eq!(text(&environment.only(&["ratelimits"])["name"]), RATE_LIMITER);
    }
}

#[test]
fn objects_with_containers_are_kept_in_sqlite() {
    for environment in Environment::all() {
        let migrations = environment.list(&["migrations"]);
        let new = |kind: &str| -> Vec<&str> {
            let lists = migrations.iter().filter_map(|migration| migration.get(kind)?.as_array());
            lists.flatten().map(text).collect()
        };
        assert_eq!(new("new_sqlite_classes"), [PROVER_CLASS], "{}", environment.name());
        assert_eq!(new("new_classes"), [""; 0], "{}", environment.name());
    }
}

#[test]
fn there_are_as_many_containers_as_the_edge_asks_for_and_they_may_finish_their_work() {
    for environment in Environment::all() {
        let (settings, container) = (environment.settings(), environment.only(&["containers"]));
        let max = number(&container["max_instances"]);
        assert!(max >= settings.instances.into(), "{}: {max}", environment.name());
        let grace = Duration::from_secs(number(&container["rollout_active_grace_period"]));
        assert!(grace >= settings.timeouts.prove.max(settings.timeouts.other), "{}", environment.name());
        assert!(root().join(text(&container["image"])).is_file(), "{}", environment.name());
    }
}

#[test]
fn callers_are_counted_apart_in_each_environment_and_for_as_long_as_they_are_told() {
    let told = EdgeError::rate_limited().retry_after.unwrap();
    let mut namespaces = BTreeSet::new();
    for environment in Environment::all() {
        let limiter = environment.only(&["ratelimits"]);
        let period = number(&limiter["simple"]["period"]);
        assert!([10, 60].contains(&period), "Cloudflare knows no period of {period} s");
        assert!(told >= Duration::from_secs(period), "{} s are told to wait", told.as_secs());
        assert!(number(&limiter["simple"]["limit"]) > 0);
        let namespace = text(&limiter["namespace_id"]).to_owned();
        assert!(namespaces.insert(namespace), "{} shares its counts", environment.name());
    }
}
