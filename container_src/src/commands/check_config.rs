//! `edgeprove check-config`: checks the settings and files of `serve`, and prints what it would use.

use std::{io::Write as _, process::ExitCode};

use clap::{Arg, ArgMatches, Command, parser::ValueSource};
use edgeprove_artifacts::LocationSettings;
use edgeprove_telemetry::{chain, one_line};

use super::{
    exit_status::{self, Failure, other},
    serve::ServeArgs,
    start_checks,
};
use crate::config::{
    EnvironmentVariables, Purpose, ServeSettings,
    environment::{Environment, with_variables},
    misspelt_variables::Misspelt,
    server::is_in_use,
};

/// Checks the settings and prints them: a line for each flag, then what follows from them.
#[must_use]
pub fn run(
    args: ServeArgs,
    environment: &Environment,
    misspelt: &[Misspelt],
    flags: &[FlagValue],
) -> ExitCode {
    exit_status::run(async {
        let settings = args.read(environment, misspelt, Purpose::Check).await?;
        print(flags, &settings, misspelt).map_err(other)?;
        Ok::<_, Failure>(ExitCode::SUCCESS)
    })
}

/// A flag with the value that it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagValue {
    flag: String,
    value: Option<String>,
    source: &'static str,
}

/// The values of the flags of this command. Secrets are replaced by `(secret)`.
#[must_use]
pub fn flag_values(
    command: &Command,
    matches: &ArgMatches,
    variables: &EnvironmentVariables,
) -> Vec<FlagValue> {
    let flags = command.get_arguments().filter(|flag| flag.get_long().is_some_and(|name| name != "help"));
    flags.map(|flag| flag_value(flag, matches, variables)).collect()
}

fn flag_value(flag: &Arg, matches: &ArgMatches, variables: &EnvironmentVariables) -> FlagValue {
    let id = flag.get_id().as_str();
    let is_secret = flag.is_hide_env_values_set();
    let value = if flag.get_action().takes_values() {
        let values =
            matches.get_raw(id).map(|values| values.map(|value| value.to_string_lossy()).collect::<Vec<_>>());
        values.filter(|values| !values.is_empty()).map(|values| values.join(","))
    } else {
        let value = flag
            .get_env()
            .and_then(|name| variables.get(name))
            .map(|value| value.to_string_lossy().into_owned());
        let is_given = matches.value_source(id) == Some(ValueSource::CommandLine);
        Some(if is_given { "true".to_owned() } else { value.unwrap_or_else(|| "false".to_owned()) })
    };
    let is_variable =
        flag.get_env().and_then(|name| variables.get(name)).is_some_and(|value| !value.is_empty());
    let source = match matches.value_source(id) {
        Some(ValueSource::CommandLine) => "command line",
        _ if is_variable => "environment",
        _ => "default",
    };
    FlagValue {
        flag: format!("--{}", flag.get_long().unwrap_or_default()),
        value: value.map(|value| if is_secret { "(secret)".to_owned() } else { value }),
        source,
    }
}

/// The command with its flags, and what the words of this process give them.
#[must_use]
pub fn parsed(
    command: Command,
    words: &[std::ffi::OsString],
    variables: &EnvironmentVariables,
) -> Vec<FlagValue> {
    let name = "check-config";
    let described = command.find_subcommand(name).cloned();
    let matches = with_variables(command, variables).try_get_matches_from(words).ok();
    let matches = matches.as_ref().and_then(|matches| matches.subcommand_matches(name));
    match (described, matches) {
        (Some(described), Some(matches)) => flag_values(&described, matches, variables),
        _ => Vec::new(),
    }
}

fn print(flags: &[FlagValue], settings: &ServeSettings, misspelt: &[Misspelt]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for FlagValue { flag, value, source } in flags {
        writeln!(out, "{flag}: {} ({source})", one_line(value.as_deref().unwrap_or("not set")))?;
    }
    writeln!(out, "\nwhat follows:")?;
    for (name, value) in facts(settings) {
        writeln!(out, "{name}: {}", one_line(&value))?;
    }
    for variable in misspelt {
        writeln!(out, "warning: {variable}")?;
    }
    for fault in start_checks::input_warnings(settings) {
        writeln!(out, "warning: {}", one_line(&fault))?;
    }
    for address in [Some(settings.server.listen), settings.server.probe_listen].into_iter().flatten() {
        if is_in_use(address) {
            writeln!(out, "note: {address} is in use at the moment, as it is while the server itself runs")?;
        }
    }
    if let Ok(jobs) = &settings.jobs
        && let Err(error) = start_checks::examine(jobs)
    {
        let error = chain(&error);
        writeln!(
            out,
            "warning: jobs will be disabled, because the default data folder cannot be used: {error}"
        )?;
    }
    if settings.circuits.sources.is_empty() {
        writeln!(out, "warning: there is no circuit, so nothing can be proved: set --circuit or --circuits")?;
    }
    writeln!(out, "the configuration is valid")
}

fn facts(settings: &ServeSettings) -> Vec<(&'static str, String)> {
    let ServeSettings { server, access, audit, circuits, engine, jobs, work, .. } = settings;
    let (program, scheduler) = (&engine.program, &engine.proving.scheduler);
    let mut facts = vec![
        ("listens on", server.listen.to_string()),
        ("bb", format!("{}, version {}", program.bb.path.display(), program.version)),
        ("CRS", format!("{}, {} points", program.crs.dir.display(), program.crs.points)),
        ("keys cache", program.cache_dir.display().to_string()),
        ("spool", program.spool_dir.display().to_string()),
        ("cores", scheduler.cores.to_string()),
        (
            "memory of provers",
            scheduler.memory_limit_bytes().map_or_else(|| "unlimited".to_owned(), mebibytes),
        ),
    ];
    for source in &circuits.sources {
        let is_default = circuits.default.as_ref() == Some(&source.id) || circuits.sources.len() == 1;
        let role = if is_default { ", the default" } else { "" };
        facts.push(("circuit", format!("{}: {}, {}{role}", source.id, source.path.display(), source.target)));
    }
    if let Some(powers) = &work.powers {
        facts.push(("powers of tau", powers.display().to_string()));
    }
    let keys = access.keys.len();
    facts.push((
        "API keys",
        if keys == 0 { "none: callers need no key".to_owned() } else { keys.to_string() },
    ));
    facts.push((
        "audit log",
        audit.as_ref().map_or_else(|| "none".to_owned(), |audit| audit.file.display().to_string()),
    ));
    match jobs {
        Ok(jobs) => {
            let artifacts = match &jobs.artifacts.location {
                LocationSettings::Folder(folder) => folder.display().to_string(),
                LocationSettings::Bucket(bucket) => format!("s3://{}/{}", bucket.bucket, bucket.prefix),
                LocationSettings::Temporary => "a temporary folder".to_owned(),
            };
            facts.push(("jobs", format!("in {}, artifacts in {artifacts}", jobs.database)));
        }
        Err(reason) => facts.push(("jobs", reason.to_string())),
    }
    facts
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::{super::cli, *};

    #[test]
    fn values_are_shown_with_their_source_and_without_secrets() {
        let variables: EnvironmentVariables =
            [("EDGEPROVE_CORES", "3"), ("EDGEPROVE_EDGE_SECRET", "0123456789abcdef")].into_iter().collect();
        let words =
            ["edgeprove", "check-config", "--drain", "9s", "--circuit", "a.json", "--circuit", "b.json"];
        let flags = parsed(cli(), &words.map(Into::into), &variables);
        let shown = |flag: &str| {
            let found = flags.iter().find(|found| found.flag == flag).unwrap();
            (found.value.as_deref(), found.source)
        };
        assert_eq!(shown("--cores"), (Some("3"), "environment"));
        assert_eq!(shown("--drain"), (Some("9s"), "command line"));
        assert_eq!(shown("--circuit"), (Some("a.json,b.json"), "command line"));
        assert_eq!(shown("--upload-max"), (Some("64MiB"), "default"));
        assert_eq!(shown("--edge-secret"), (Some("(secret)"), "environment"));
        assert_eq!(shown("--audit"), (None, "default"));
        assert_eq!(shown("--ephemeral-jobs"), (Some("false"), "default"));
    }
}
