//! The environment variables: read once, in one place.
//!
//! Production takes a copy of the process environment when it starts; tests pass a map and never change the process
//! environment. Flags get the values of their variables from here too.
//!
//! An empty variable counts as unset, because images and compose files define many that nobody fills in. A secret is
//! the exception: an empty one would disable a protection, so it is an error.

use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    path::PathBuf,
};

use clap::{Arg, Command};
use edgeprove_artifacts::BucketOptions;

/// A variable that is set in Cloudflare's containers, whose disk is new with every start.
const CLOUDFLARE: &str = "CLOUDFLARE_APPLICATION_ID";

/// A copy of environment variables.
#[derive(Debug, Clone, Default)]
pub struct EnvironmentVariables(BTreeMap<OsString, OsString>);

impl EnvironmentVariables {
    /// Copies the environment of this process.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self(env::vars_os().collect())
    }

    /// The value of a variable, which may be empty; `None` if it is unset.
    #[must_use]
    pub fn get(&self, name: impl AsRef<OsStr>) -> Option<&OsStr> {
        self.0.get(name.as_ref()).map(OsString::as_os_str)
    }

    /// The names of all variables. Those that are not UTF-8 are left out: no setting has such a name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().filter_map(|name| name.to_str())
    }

    /// The value of a variable that is neither unset nor empty, as a path.
    fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }
}

impl<N: Into<OsString>, V: Into<OsString>> FromIterator<(N, V)> for EnvironmentVariables {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// The variables that are read beside those of flags.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `BB_PATH`.
    pub bb_path: Option<PathBuf>,
    /// `CRS_PATH`.
    pub crs_path: Option<PathBuf>,
    /// The folders of `PATH`.
    pub search_path: Vec<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `EDGEPROVE_HOME`: the tools of `cargo xtask setup`, where they are not in `~/.edgeprove`.
    pub edgeprove_home: Option<PathBuf>,
    /// `XDG_DATA_HOME`.
    pub data_home: Option<PathBuf>,
    /// `XDG_CACHE_HOME`.
    pub cache_home: Option<PathBuf>,
    /// `TMPDIR`.
    pub temp_dir: Option<PathBuf>,
    /// `AWS_…`, which every S3 client reads.
    pub aws: BucketOptions,
    /// Whether the server runs in a container of Cloudflare.
    pub is_cloudflare: bool,
}

impl Environment {
    /// Reads these variables.
    #[must_use]
    pub fn new(variables: &EnvironmentVariables) -> Self {
        let text = |(name, value): (&OsString, &OsString)| {
            Some((name.to_str()?.to_owned(), value.to_str()?.to_owned()))
        };
        Self {
            bb_path: variables.path("BB_PATH"),
            crs_path: variables.path("CRS_PATH"),
            search_path: variables.get("PATH").into_iter().flat_map(env::split_paths).collect(),
            home: variables.path("HOME"),
            edgeprove_home: variables.path("EDGEPROVE_HOME"),
            data_home: variables.path("XDG_DATA_HOME"),
            cache_home: variables.path("XDG_CACHE_HOME"),
            temp_dir: variables.path("TMPDIR"),
            aws: variables
                .0
                .iter()
                .filter_map(text)
                .filter(|(name, value)| name.starts_with("AWS_") && !value.is_empty())
                .collect(),
            is_cloudflare: variables.get(CLOUDFLARE).is_some(),
        }
    }

    /// The folder of the tools of `cargo xtask setup`.
    #[must_use]
    pub fn tools(&self) -> Option<PathBuf> {
        self.edgeprove_home.clone().or_else(|| Some(self.home.as_ref()?.join(".edgeprove")))
    }
}

/// A command whose flags ignore the environment. Their help still names the variables.
#[must_use]
pub fn without_variables(command: Command) -> Command {
    let name_variable = |flag: Arg| {
        let Some(variable) = flag.get_env().map(|name| name.to_string_lossy().into_owned()) else {
            return flag;
        };
        let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
        flag.env(None::<&str>).help(format!("{help} [env: {variable}]"))
    };
    command.mut_args(name_variable).mut_subcommands(without_variables)
}

/// The variables of a command's flags whose values are not UTF-8, in the order of the flags.
#[must_use]
pub fn variables_not_utf8(command: &Command, variables: &EnvironmentVariables) -> Vec<String> {
    let is_invalid = |name: &&OsStr| variables.get(name).is_some_and(|value| value.to_str().is_none());
    let own = command.get_arguments().filter_map(Arg::get_env).filter(is_invalid);
    let own = own.map(|name| name.to_string_lossy().into_owned());
    own.chain(command.get_subcommands().flat_map(|command| variables_not_utf8(command, variables))).collect()
}

/// A command whose flags take their defaults from these variables.
#[must_use]
pub fn with_variables(command: Command, variables: &EnvironmentVariables) -> Command {
    let set_default = |flag: Arg| {
        let is_secret = flag.is_hide_env_values_set();
        let value = flag.get_env().and_then(|name| variables.get(name));
        let value = value.filter(|value| is_secret || !value.is_empty()).map(ToOwned::to_owned);
        let flag = flag.env(None::<&str>);
        match value {
            Some(value) => flag.default_value(value),
            None => flag,
        }
    };
    command.mut_args(set_default).mut_subcommands(|subcommand| with_variables(subcommand, variables))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Flags {
        #[arg(long, env = "TEST_ITEMS", value_delimiter = ',')]
        items: Vec<String>,
        #[arg(long, env = "TEST_SECRET", hide_env_values = true)]
        secret: Option<String>,
        #[arg(long, env = "TEST_LIMIT", default_value = "5")]
        limit: u8,
        #[arg(long, env = "TEST_SWITCH")]
        switch: bool,
    }

    fn parse(words: &[&str], variables: &[(&str, &str)]) -> Flags {
        use clap::{CommandFactory as _, FromArgMatches as _};
        let variables = variables.iter().copied().collect();
        let command = with_variables(Flags::command(), &variables);
        Flags::from_arg_matches(&command.get_matches_from([&["test"], words].concat())).unwrap()
    }

    #[test]
    fn a_flag_overrides_its_variable() {
        let variables = [("TEST_ITEMS", "a,b"), ("TEST_LIMIT", "7"), ("TEST_SWITCH", "true")];
        let flags = parse(&[], &variables);
        assert_eq!((flags.items.len(), flags.limit, flags.switch), (2, 7, true));
        let flags = parse(&["--items", "c", "--limit", "9"], &variables);
        assert_eq!((flags.items.concat().as_str(), flags.limit), ("c", 9));
    }

    #[test]
    fn an_empty_variable_is_unset_unless_it_is_a_secret() {
        let flags = parse(&[], &[("TEST_ITEMS", ""), ("TEST_LIMIT", ""), ("TEST_SECRET", "")]);
        assert_eq!((flags.items.len(), flags.limit, flags.secret.as_deref()), (0, 5, Some("")));
        assert_eq!(parse(&[], &[]).secret, None);
    }

    #[test]
    fn help_names_the_variable_and_never_its_value() {
        use clap::CommandFactory as _;
        let help = without_variables(Flags::command()).render_help().to_string();
        assert!(help.contains("[env: TEST_LIMIT] [default: 5]"), "{help}");
    }

    #[test]
    fn variables_without_a_flag_are_read() {
        let variables = [("BB_PATH", ""), ("PATH", "/a:/b"), ("HOME", "/home/x"), ("AWS_REGION", "auto")];
        let environment = Environment::new(&variables.into_iter().collect());
        assert_eq!((environment.bb_path.as_ref(), environment.search_path.len()), (None, 2));
        assert_eq!(environment.tools(), Some("/home/x/.edgeprove".into()));
        assert_eq!(environment.aws.iter().collect::<Vec<_>>(), [("AWS_REGION", "auto")]);
    }
}
