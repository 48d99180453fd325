//! What Cloudflare's runtime says of containers, in the one place that knows its wording.
//!
//! Only two things are told apart by their words, because nothing else tells them: that the account has no container to
//! spare, and the exit status of one that ended. All else is judged by what can be seen, such as whether it runs.

use crate::lifecycle::{Exit, StartFault};

/// Parts of what the runtime says when it has no container to spare. Source: version 0.3.7 of the npm package
/// `@cloudflare/containers`, which looks for them.
const NO_INSTANCE: [&str; 2] = [
    "there is no container instance that can be provided to this durable object",
    "you are requesting too many containers per second",
];

/// Why a start failed.
#[must_use]
pub fn start_fault(words: &str) -> StartFault {
    if is_no_instance(words) {
        StartFault::NoInstance(words.to_owned())
    } else {
        StartFault::Other(words.to_owned())
    }
}

/// How a container ended, by what its monitor was rejected with. `code` is the error's `exitCode`, which newer runtimes
/// set.
#[must_use]
pub fn exit(words: &str, code: Option<i32>) -> Exit {
    let told = || words.rsplit_once(':').and_then(|(_, number)| number.trim().parse().ok());
    match code.or_else(told) {
        Some(code) => Exit::Code(code),
        None if is_no_instance(words) => Exit::NoInstance(words.to_owned()),
        None => Exit::Lost(words.to_owned()),
    }
}

fn is_no_instance(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    NO_INSTANCE.iter().any(|part| words.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits_are_told_by_their_status() {
        assert_eq!(exit("container exited with unexpected exit code: 64", None), Exit::Code(64));
        assert_eq!(exit("runtime signalled the container to exit: 137", None), Exit::Code(137));
        assert_eq!(exit("Error: anything", Some(2)), Exit::Code(2));
        assert_eq!(exit("Network connection lost.", None), Exit::Lost("Network connection lost.".to_owned()));
    }

    #[test]
    fn want_of_containers_is_told_apart() {
        for words in [
            "There is no Container instance that can be provided to this Durable Object",
            "Error: You are requesting too many containers per second.",
        ] {
            assert!(matches!(start_fault(words), StartFault::NoInstance(_)), "{words}");
            assert!(matches!(exit(words, None), Exit::NoInstance(_)), "{words}");
        }
        assert!(matches!(start_fault("bad image"), StartFault::Other(_)));
    }
}
