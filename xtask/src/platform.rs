//! The platforms that bb is published for.

use std::env::consts::{ARCH, OS};

use anyhow::anyhow;
use serde::Deserialize;

/// An operating system and an architecture, named as Docker names the architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Platform {
    LinuxAmd64,
    LinuxArm64,
    MacosAmd64,
    MacosArm64,
}

impl Platform {
    /// The platform this program runs on.
    pub(crate) fn host() -> anyhow::Result<Self> {
        match (OS, ARCH) {
            ("linux", "x86_64") => Ok(Self::LinuxAmd64),
            ("linux", "aarch64") => Ok(Self::LinuxArm64),
            ("macos", "x86_64") => Ok(Self::MacosAmd64),
            ("macos", "aarch64") => Ok(Self::MacosArm64),
            _ => Err(anyhow!("bb is not published for {OS} on {ARCH}; use the container image instead")),
        }
    }

    /// The folder in the npm package that contains this platform's binary.
    pub(crate) const fn npm_folder(self) -> &'static str {
        match self {
            Self::LinuxAmd64 => "amd64-linux",
            Self::LinuxArm64 => "arm64-linux",
            Self::MacosAmd64 => "amd64-macos",
            Self::MacosArm64 => "arm64-macos",
        }
    }
}
