//! What an empty variable of the environment means: nothing. Images and compose files set many that nobody fills in.

use std::env;

use clap::{Arg, Command};

/// A command line whose flags take empty variables for unset ones. A secret is the exception: an empty one is a mistake
/// that would leave a door open, and so a fault.
#[must_use]
pub fn without_empty_variables(command: Command) -> Command {
    let is_unset = |flag: &Arg| {
        let is_secret = flag.is_hide_env_values_set();
        !is_secret && flag.get_env().and_then(env::var_os).is_some_and(|value| value.is_empty())
    };
    command
        .mut_args(|flag| if is_unset(&flag) { flag.env(None::<&str>) } else { flag })
        .mut_subcommands(without_empty_variables)
}
