//! Holds `docs/CONFIGURATION.md` against the flags there are. `EDGEPROVE_BLESS=1` writes it anew.

use std::fmt::Write;

use clap::{Arg, Command, CommandFactory};

use super::Cli;

const DOC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/CONFIGURATION.md");
const MARK: &str =
    "<!-- The tables below are written by a test: EDGEPROVE_BLESS=1 cargo test -p edgeprove docs -->\n";

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
fn the_docs_list_every_flag_as_it_is() {
    let mut cli = Cli::command();
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

#[test]
fn every_flag_of_serve_has_a_twin_in_the_environment() {
    let mut cli = Cli::command();
    cli.build();
    for arg in cli.find_subcommand("serve").unwrap().get_arguments().filter(|arg| arg.get_id() != "help") {
        let twin = match arg.get_long().unwrap() {
            // What everybody calls it.
            "database-url" => "DATABASE_URL".to_owned(),
            name => format!("EDGEPROVE_{}", name.to_uppercase().replace('-', "_")),
        };
        assert_eq!(arg.get_env().and_then(|env| env.to_str()), Some(twin.as_str()));
    }
}
