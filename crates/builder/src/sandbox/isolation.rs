//! Namespaces of the kernel, which the program `unshare` creates: to do so here would need unsafe code.

use std::path::{Path, PathBuf};

use super::SYSTEM_PATH;
use crate::error::ToolError;

/// The least isolation that an operator accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Required {
    /// Tools have no network.
    NoNetwork,
    /// Tools may reach the network, and processes that leave their group may outlive them, where the system refuses
    /// namespaces.
    ProcessGroup,
}

/// How tools are separated from the rest of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Namespaces inside a user namespace: no network, and no process outlives the tool. Any user can have them where the
    /// system allows user namespaces.
    UserNamespaces,
    /// The same namespaces without one for users, which only root can have.
    Namespaces,
    /// A process group only. Tools reach the network. A process that leaves the group is killed with the tool as long as
    /// it descends from it or was seen while it did; one that hides from both outlives the tool. Containers without further
    /// rights have no more.
    ProcessGroup,
}

impl Isolation {
    /// All ways, the best first.
    pub(super) const STRONGEST_FIRST: [Self; 3] =
        [Self::UserNamespaces, Self::Namespaces, Self::ProcessGroup];

    /// Whether tools have no network.
    #[must_use]
    pub const fn blocks_network(self) -> bool {
        match self {
            Self::UserNamespaces | Self::Namespaces => true,
            Self::ProcessGroup => false,
        }
    }

    /// Whether every process that a tool started ends with it, also one that left its process group.
    #[must_use]
    pub const fn ends_every_process(self) -> bool {
        self.blocks_network()
    }

    /// Whether an operator who requires this accepts it.
    pub(super) const fn satisfies(self, required: Required) -> bool {
        match required {
            Required::NoNetwork => self.blocks_network(),
            Required::ProcessGroup => true,
        }
    }

    /// Its name for logs and health documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UserNamespaces => "user_namespaces",
            Self::Namespaces => "namespaces",
            Self::ProcessGroup => "process_group",
        }
    }

    /// The arguments of `unshare`; `None`: it is not needed.
    pub(super) const fn arguments(self) -> Option<&'static [&'static str]> {
        match self {
            Self::UserNamespaces => {
                Some(&["--user", "--map-current-user", "--net", "--ipc", "--pid", "--fork", "--kill-child"])
            }
            Self::Namespaces => Some(&["--net", "--ipc", "--pid", "--fork", "--kill-child"]),
            Self::ProcessGroup => None,
        }
    }
}

/// What `unshare` prints where the system refuses namespaces, or where it is too old for the arguments. It gives all
/// failures the same exit code. Its language follows the environment, which a tool has not.
const REFUSALS: [&str; 5] = [
    "Operation not permitted",
    "Permission denied",
    "Invalid argument",
    "unrecognized option",
    "invalid option",
];

/// Whether the system refuses an isolation. Every other failure shows nothing about it: another attempt may succeed.
pub(super) fn is_refusal(error: &ToolError) -> bool {
    let ToolError::Failed { status, message, .. } = error else { return false };
    status.0.code() == Some(1) && REFUSALS.iter().any(|refusal| message.contains(refusal))
}

/// The path of `unshare`.
pub(super) fn wrapper() -> Option<PathBuf> {
    SYSTEM_PATH.split(':').map(|folder| Path::new(folder).join("unshare")).find(|path| path.is_file())
}
