//! Compares `docs/CONFIGURATION.md` with the flags. `EDGEPROVE_BLESS=1` writes the document.

use std::{collections::BTreeSet, fmt::Write};

use clap::{Arg, Command};

use edgeprove_prover::barretenberg::version::{BB_VERSION, NOIR_VERSION};

use crate::config::{
    EnvironmentVariables, environment::without_variables, misspelt_variables, setting::variable,
};

const DOC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/CONFIGURATION.md");
const MARK: &str =
    "<!-- A test writes the tables below: EDGEPROVE_BLESS=1 cargo test -p edgeprove docs -->\n";

fn row(arg: &Arg) -> String {
    let is_switch = !arg.get_action().takes_values();
    let values = if is_switch { String::new() } else { arg.get_value_names().unwrap_or_default().join(" ") };
    let env = arg.get_env().map(|env| env.to_string_lossy().into_owned()).unwrap_or_default();
    let default: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default().replace('|', "\\|");
    let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
    let default = if is_switch { String::new() } else { default.join(",") };
    let flag = format!("--{} {}", arg.get_long().unwrap_or_default(), values.replace('|', "/"));
    format!("| {} | {} | {} | {help} |\n", code(flag.trim()), code(&env), code(&default))
}

fn tables(serve: &Command) -> String {
    let mut doc = String::new();
    let mut heading = None;
    for arg in serve.get_arguments().filter(|arg| arg.get_env().is_some()) {
        if arg.get_help_heading() != heading {
            heading = arg.get_help_heading();
            let head = "| flag | environment | default | |\n|---|---|---|---|";
            writeln!(doc, "\n## {}\n\n{head}", heading.unwrap_or("Other")).unwrap();
        }
        doc.push_str(&row(arg));
    }
    doc
}

#[test]
fn the_docs_list_every_flag_of_serve() {
    let mut cli = super::cli();
    cli.build();
    let serve = cli.find_subcommand("serve").unwrap();
    let doc = std::fs::read_to_string(DOC).unwrap();
    let prose = doc.split(MARK).next().unwrap();
    let right = format!("{prose}{MARK}{}", tables(serve));
    if std::env::var_os("EDGEPROVE_BLESS").is_some() {
        std::fs::write(DOC, &right).unwrap();
    } else {
        assert!(
            doc == right,
            "docs/CONFIGURATION.md is out of date: run EDGEPROVE_BLESS=1 cargo test -p edgeprove docs"
        );
    }
}

/// The documents that a user follows to the letter name the pinned versions.
#[test]
fn the_readme_names_the_pinned_versions() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    for named in [
        format!("noirup -v {NOIR_VERSION}"),
        format!("@noir-lang/noir_js@{NOIR_VERSION}"),
        format!("@aztec/bb.js@{BB_VERSION}"),
    ] {
        assert!(readme.contains(&named), "{named}");
    }
}

/// The variables in the documents are settings, or those that the documents name as no flag's.
#[test]
fn the_docs_name_no_variable_that_nothing_reads() {
    let cli = super::cli();
    let documents = [
        "README.md",
        "deploy/systemd/edgeprove.service",
        "deploy/systemd/environment",
        "deploy/systemd/edgeprove-work.service",
        "deploy/systemd/work",
        "docs/WORKERS.md",
        "docs/OPERATIONS.md",
        "docs/CONFIGURATION.md",
        "docs/ACCESS.md",
        "docs/AUDIT.md",
        "docs/QUICKSTART.md",
    ];
    for file in documents {
        let text = std::fs::read_to_string(format!("{}/../{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let words = text.split(|c: char| !c.is_ascii_uppercase() && c != '_');
        let named = words.filter(|word| word.starts_with("EDGEPROVE_") && !word.ends_with('_'));
        let named: EnvironmentVariables = named.map(|name| (name, "")).collect();
        let unknown = misspelt_variables::find(&named, &cli);
        let unknown: Vec<_> = unknown.iter().filter(|found| found.name != "EDGEPROVE_BLESS").collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}

fn command(name: &str) -> Command {
    let mut cli = super::cli();
    cli.build();
    cli.find_subcommand(name).unwrap().clone()
}

/// Flags that have no variable.
fn without_variable(command: &Command) -> Vec<&str> {
    let flags = command.get_arguments().filter(|flag| flag.get_id() != "help" && flag.get_env().is_none());
    flags.filter_map(Arg::get_long).collect()
}

#[test]
fn every_flag_of_serve_has_the_variable_of_its_name() {
    for flag in command("serve").get_arguments().filter(|flag| flag.get_id() != "help") {
        let name = variable(flag.get_long().unwrap());
        assert_eq!(flag.get_env().and_then(|env| env.to_str()), Some(name.as_str()));
    }
}

#[test]
fn the_flags_without_a_variable_are_few() {
    for (name, flags) in [
        ("serve", &[][..]),
        ("check-config", &[]),
        ("warm", &[]),
        ("work", &[]),
        ("healthcheck", &[]),
        ("prove", &["witness", "inputs", "out"]),
        ("witness", &["circuit", "inputs", "output"]),
        ("verify", &["proof", "public-inputs", "vk", "target"]),
    ] {
        assert_eq!(without_variable(&command(name)), flags, "{name}");
    }
    let audit = command("audit");
    assert_eq!(without_variable(audit.find_subcommand("verify").unwrap()), ["anchor"]);
    assert_eq!(
        without_variable(audit.find_subcommand("export").unwrap()),
        ["after", "limit", "last", "action", "actor", "circuit", "since", "until"]
    );
    assert_eq!(without_variable(command("keys").find_subcommand("new").unwrap()), ["role"]);
    let circuit = command("circuit");
    for (name, flags) in [
        ("add", &["program", "r1cs", "wasm", "zkey", "sym", "input", "trust", "json", "data"][..]),
        ("list", &["json", "data"]),
        ("show", &["json", "data"]),
        ("build", &["language", "param", "wait", "json", "data"]),
        ("rm", &["data"]),
    ] {
        assert_eq!(without_variable(circuit.find_subcommand(name).unwrap()), flags, "{name}");
    }
}

#[test]
fn the_groups_of_each_command_are_those_of_the_docs() {
    let groups = |name: &str| {
        let command = command(name);
        let shown = command.get_arguments().filter(|flag| !flag.is_hide_set());
        let headings: BTreeSet<_> = shown.filter_map(Arg::get_help_heading).collect();
        headings.into_iter().collect::<Vec<_>>().join(", ")
    };
    assert_eq!(groups("prove"), "Circuits, Log, Program and data, Proving");
    assert_eq!(groups("warm"), groups("prove"));
    assert_eq!(groups("verify"), "Log, Program and data");
}

#[test]
fn help_shows_the_flags_of_its_own_command_only() {
    let help = |name: &str| without_variables(command(name)).render_long_help().to_string();
    for name in ["prove", "verify", "warm"] {
        for flag in
            ["--prover-queue-max", "--prover-queue-wait", "--recycle-proofs", "--width", "--listen", "--data"]
        {
            assert!(!help(name).contains(flag), "{name} {flag}");
        }
    }
    assert!(help("prove").contains("--prove-timeout") && !help("verify").contains("--prove-timeout"));
    assert!(help("prove").contains("--crs") && help("warm").contains("--cache-dir"));
    assert!(help("verify").contains("--bb") && !help("verify").contains("--crs"));
    assert!(help("serve").contains("--prover-queue-max"));
}

#[test]
fn help_of_prove_is_not_about_http() {
    let help = without_variables(command("prove")).render_long_help().to_string();
    // Long lines are wrapped.
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for word in
        ["HTTP", "POST", "Retry-After", "408", "429", "503", "504", "upload", "request", "server", "caller"]
    {
        assert!(!help.contains(word), "{word}: {help}");
    }
    assert!(help.contains("[env: EDGEPROVE_CIRCUIT]"), "{help}");
}
