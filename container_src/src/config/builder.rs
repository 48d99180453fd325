//! What this server does, and the compilers of circuits.

use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use clap::Args;
use edgeprove_builder::Required;
use edgeprove_circuit_store::Bounds;
use edgeprove_outbound::{AllowedHost, AllowedHosts, allowed_hosts::InvalidHost};

use super::{
    environment::Environment,
    setting::{Faults, RawSetting, Setting, flag, raw_setting, words},
};
use crate::circuits::{Roles, toolchain::BuilderSettings};

/// Highest value of `--built-circuits`.
const CIRCUITS_MAX: u32 = 100_000;
/// Bounds of `--built-circuits-size`.
const SIZE_BOUNDS: std::ops::RangeInclusive<ByteSize> = ByteSize::mib(1)..=ByteSize::tib(64);

/// What a server can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// It proves.
    Prover,
    /// It builds circuits.
    Builder,
    /// It does neither: its jobs are for others.
    Server,
}

words!(Role, "prover" => Role::Prover, "builder" => Role::Builder, "server" => Role::Server);
words!(Required, "namespaces" => Required::NoNetwork, "process-group" => Required::ProcessGroup);

impl Setting for AllowedHost {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: InvalidHost| error.to_string())
    }
}

/// Flags of roles and of circuits that are built.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Circuits from templates")]
pub struct BuilderArgs {
    /// What this server does with jobs: `prover` proves, `builder` builds circuits from templates, and `server` alone does neither:
    /// other servers, or provers with `edgeprove work`, do. Default: `prover`, and with `--toolchain` both. Requests that wait
    /// for their proof are served in any case.
    #[arg(long, env = "EDGEPROVE_ROLES", value_name = "ROLE,...", value_delimiter = ',', value_parser = raw_setting::<Role>)]
    roles: Vec<RawSetting<Role>>,

    /// Folder with the compilers of Noir and circom: `circuit/` of a checkout, after `cargo xtask setup --only
    /// circuits,circom`. They need Node.js in `PATH`. Without it no circuits are built.
    #[arg(long, env = "EDGEPROVE_TOOLCHAIN", value_name = "DIR")]
    toolchain: Option<PathBuf>,

    /// Powers of tau from which the keys of circom circuits are made: a .ptau file of `edgeprove ptau`. The digest of the file
    /// is part of a circuit's identity, so servers that share circuits need the same file. Default: none, and this server
    /// alone makes each key.
    #[arg(long, env = "EDGEPROVE_POWERS", value_name = "FILE")]
    powers: Option<PathBuf>,

    /// How the compilers must be separated from the system: `namespaces` without network, or `process-group`. Containers without
    /// further rights have no namespaces: there a compiler reaches the network, and what it starts may outlive it.
    #[arg(long, env = "EDGEPROVE_BUILDER_ISOLATION", value_name = "WAY", default_value = "namespaces", value_parser = raw_setting::<Required>)]
    builder_isolation: RawSetting<Required>,

    /// Most circuits that were built or uploaded and are stored. Further ones are refused.
    #[arg(long, env = "EDGEPROVE_BUILT_CIRCUITS", value_name = "N", default_value = "1000", value_parser = raw_setting::<u32>)]
    built_circuits: RawSetting<u32>,

    /// Largest size of the files of all circuits that were built or uploaded and are stored. Further ones are refused.
    #[arg(long, env = "EDGEPROVE_BUILT_CIRCUITS_SIZE", value_name = "SIZE", default_value = "4GiB", value_parser = raw_setting::<ByteSize>)]
    built_circuits_size: RawSetting<ByteSize>,

    /// Ethereum nodes by which operators may have contracts of circuits deployed, such as `rpc.example` (port 443) or
    /// `127.0.0.1:8545`; several are separated by commas. A listed node may be internal. `*` is every host with a public
    /// address, over HTTPS. Default: none, and nothing is deployed.
    #[arg(long, env = "EDGEPROVE_DEPLOY_RPC", value_name = "HOST[:PORT],...", value_delimiter = ',', value_parser = raw_setting::<AllowedHost>)]
    deploy_rpc: Vec<RawSetting<AllowedHost>>,
}

/// What a server does with jobs, and what it builds circuits with.
#[derive(Debug, Clone)]
pub struct WorkSettings {
    /// Whether it runs proof jobs.
    pub proves: bool,
    /// What it builds circuits with; `None`: it builds none.
    pub builder: Option<BuilderSettings>,
    /// The powers of tau of keys of circom's circuits.
    pub powers: Option<PathBuf>,
    /// How many circuits are stored.
    pub bounds: Bounds,
    /// The Ethereum nodes by which contracts may be deployed.
    pub deploy_nodes: AllowedHosts,
}

impl WorkSettings {
    /// What the server does.
    #[must_use]
    pub const fn roles(&self) -> Roles {
        Roles { proves: self.proves, builds: self.builder.is_some() }
    }
}

impl BuilderArgs {
    /// Reads the flags. `cache_dir` is where the folder of builds is created.
    pub fn read(
        self,
        environment: &Environment,
        cache_dir: Option<&Path>,
        faults: &mut Faults,
    ) -> Option<WorkSettings> {
        let named: Vec<_> = self.roles.into_iter().map(|role| faults.take("roles", role)).collect();
        let circuits = faults.take_within("built-circuits", self.built_circuits, 1..=CIRCUITS_MAX);
        let isolation = faults.take("builder-isolation", self.builder_isolation);
        let size = faults.take_within("built-circuits-size", self.built_circuits_size, SIZE_BOUNDS);
        let deploy_nodes = AllowedHosts(faults.take_all("deploy-rpc", self.deploy_rpc));
        let named: Vec<Role> = named.into_iter().collect::<Option<_>>()?;
        let has = |role| named.contains(&role);
        if has(Role::Builder) && self.toolchain.is_none() {
            faults.add(format!("{}=builder needs {}", flag("roles"), flag("toolchain")));
            return None;
        }
        let builds = named.is_empty() || has(Role::Builder);
        let builder = match self.toolchain.filter(|_| builds) {
            Some(folder) => Some(builder_settings(&folder, environment, (cache_dir?, isolation?), faults)?),
            None => None,
        };
        let bounds = Bounds { circuits_max: circuits?, bytes_max: size?.as_u64() };
        let (proves, powers) = (named.is_empty() || has(Role::Prover), self.powers);
        Some(WorkSettings { proves, builder, powers, bounds, deploy_nodes })
    }
}

fn builder_settings(
    folder: &Path,
    environment: &Environment,
    (cache_dir, isolation): (&Path, Required),
    faults: &mut Faults,
) -> Option<BuilderSettings> {
    let programs = environment.search_path.iter().filter(|path| path.is_absolute());
    let node = programs.map(|path| path.join("node")).find(|program| program.is_file());
    if node.is_none() {
        faults.add(format!("{} needs Node.js: there is no `node` in PATH", flag("toolchain")));
    }
    let folder = std::path::absolute(folder).ok().filter(|folder| folder.is_dir());
    if folder.is_none() {
        faults.add(format!("{} is not a folder", flag("toolchain")));
    }
    let (node, compilers) = (node?, folder?);
    Some(BuilderSettings { node, compilers, folder: cache_dir.join("builds"), isolation })
}
