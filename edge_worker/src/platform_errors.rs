//! The meaning of the error messages of Cloudflare's container runtime. No other module knows their wording.
//!
//! Only two facts are read from a message, because the platform reports them in no other way: that the account has no
//! free container, and, on older runtimes, the exit status.

use crate::lifecycle::{ContainerExit, StartError};

/// Parts of the messages for "no free container". Source: version 0.3.7 of the npm package `@cloudflare/containers`,
/// which searches for them.
const NO_INSTANCE: [&str; 2] = [
    "there is no container instance that can be provided to this durable object",
    "you are requesting too many containers per second",
];

/// Why a start failed.
#[must_use]
pub fn start_error(message: &str) -> StartError {
    if is_no_instance(message) {
        StartError::NoInstance(message.to_owned())
    } else {
        StartError::Refused(message.to_owned())
    }
}

/// How a container ended, from the error of its monitor. `code` is the error's `exitCode`, which newer runtimes set.
#[must_use]
pub fn exit(message: &str, code: Option<i32>) -> ContainerExit {
    let code_in_message = || message.rsplit_once(':').and_then(|(_, number)| number.trim().parse().ok());
    match code.or_else(code_in_message) {
        Some(code) => ContainerExit::Code(code),
        None if is_no_instance(message) => ContainerExit::NoInstance(message.to_owned()),
        None => ContainerExit::Lost(message.to_owned()),
    }
}

fn is_no_instance(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    NO_INSTANCE.iter().any(|part| message.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_has_the_status_of_its_error_or_message() {
        assert_eq!(exit("container exited with unexpected exit code: 64", None), ContainerExit::Code(64));
        assert_eq!(exit("runtime signalled the container to exit: 137", None), ContainerExit::Code(137));
        assert_eq!(exit("Error: anything", Some(2)), ContainerExit::Code(2));
        let lost = "Network connection lost.";
        assert_eq!(exit(lost, None), ContainerExit::Lost(lost.to_owned()));
    }

    #[test]
    fn a_lack_of_containers_is_recognised() {
        for message in [
            "There is no Container instance that can be provided to this Durable Object",
            "Error: You are requesting too many containers per second.",
        ] {
            assert!(matches!(start_error(message), StartError::NoInstance(_)), "{message}");
            assert!(matches!(exit(message, None), ContainerExit::NoInstance(_)), "{message}");
        }
        assert!(matches!(start_error("bad image"), StartError::Refused(_)));
    }
}
