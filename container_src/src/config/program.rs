//! Paths of bb, the CRS and the server's folders.

use std::{
    fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use bytesize::ByteSize;
use clap::Args;

use super::environment::Environment;
use super::setting::{Faults, Purpose, RawSetting, flag, raw_setting, words};
use crate::engine::settings::{ProgramSettings, VerifierSettings};
use edgeprove_prover::barretenberg::{
    BbProgram, Msm,
    crs::{CheckedList, Crs},
    version::{self, BB_VERSION},
};
use edgeprove_telemetry::{Supervisor, chain};

words!(Msm, "round-parallel" => Msm::RoundParallel, "legacy" => Msm::Legacy);

/// Bounds of `--spool-max`.
const SPOOL_BOUNDS: RangeInclusive<ByteSize> = ByteSize::kib(1)..=ByteSize::tib(64);

/// Flags of bb, the CRS and folders.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Program and data")]
pub struct ProgramArgs {
    /// Barretenberg executable of the pinned version. Default: `BB_PATH`, or `bb` in `PATH`, or
    /// `~/.edgeprove/bb/VERSION/bb`, where `cargo xtask setup` installs it.
    #[arg(long, env = "EDGEPROVE_BB", value_name = "FILE")]
    bb: Option<PathBuf>,

    /// Folder with the points of the CRS as bb keeps them: `bn254_g1.dat` (64 bytes each), `bn254_g1_compressed.dat`
    /// (32 bytes each) or both. Default: `CRS_PATH`, or `~/.bb-crs`. A circuit of size 2^k needs 2^k points, and bb
    /// needs at least 512.
    #[arg(long, env = "EDGEPROVE_CRS", value_name = "DIR")]
    crs: Option<PathBuf>,

    /// Folder of the cache of verification keys. Default: `edgeprove` in the user's cache folder.
    #[arg(long, env = "EDGEPROVE_CACHE_DIR", value_name = "DIR")]
    cache_dir: Option<PathBuf>,

    /// Folder of witnesses until they are proved. Only this user may enter it, and every file is overwritten and
    /// removed when its proof ends. Default: a folder in `/dev/shm`, which is in memory, or in the folder for temporary
    /// files.
    #[arg(long, env = "EDGEPROVE_SPOOL_DIR", value_name = "DIR")]
    spool_dir: Option<PathBuf>,

    /// Most bytes of all witnesses in that folder, unfinished ones included. Further ones are refused. One caller gets at
    /// most half of it. Default: one eighth of the memory of the machine or the container (64 to 512 MiB), and at least
    /// twice the largest witness that is accepted.
    #[arg(long, env = "EDGEPROVE_SPOOL_MAX", value_name = "SIZE", value_parser = raw_setting::<ByteSize>)]
    spool_max: Option<RawSetting<ByteSize>>,

    /// How bb multiplies curve points: `round-parallel` saves 10 to 25 % of a proof's time; `legacy` is the default of
    /// bb. After a crash during a proof, and after an invalid proof, the next bb process uses `legacy`.
    #[arg(long, env = "EDGEPROVE_MSM", value_name = "WAY", default_value = "round-parallel", value_parser = raw_setting::<Msm>)]
    msm: RawSetting<Msm>,
}

impl ProgramArgs {
    /// Reads the flags, checks the paths, and runs `bb --version`.
    pub async fn read(
        self,
        environment: &Environment,
        purpose: Purpose,
        faults: &mut Faults,
    ) -> Option<ProgramSettings> {
        let path = find_bb(self.bb, environment, faults);
        let cache_dir = self.cache_dir.or_else(|| default_cache(environment));
        if let Some(dir) = &cache_dir {
            check_cache(dir, faults);
        }
        let crs = find_crs(self.crs, cache_dir.as_deref(), environment, purpose, faults);
        let cache_dir = cache_dir.unwrap_or_else(|| "edgeprove-cache".into());
        let spool_dir = self.spool_dir.unwrap_or_else(|| default_spool(environment));
        let msm = faults.take("msm", self.msm);
        let spool_max = match self.spool_max {
            Some(max) => Some(faults.take_within("spool-max", max, SPOOL_BOUNDS)?.as_u64()),
            None => None,
        };
        let version = match &path {
            Some(path) => check_version(path, faults).await,
            None => None,
        };
        let (path, crs, msm, version) = (path?, crs?, msm?, version?);
        // The memory that provers may use is read elsewhere.
        let bb = BbProgram { path, crs_dir: crs.dir.clone(), msm, memory_max_bytes: u64::MAX };
        Some(ProgramSettings { bb, version, crs, cache_dir, spool_dir, spool_max_bytes: spool_max })
    }

    /// Reads what the verification of a proof needs, and runs `bb --version`. There need not be a CRS.
    pub async fn read_for_verification(
        self,
        environment: &Environment,
        faults: &mut Faults,
    ) -> Option<VerifierSettings> {
        let path = find_bb(self.bb, environment, faults);
        let msm = faults.take("msm", self.msm);
        let version = match &path {
            Some(path) => check_version(path, faults).await,
            None => None,
        };
        let spool_dir = self.spool_dir.unwrap_or_else(|| default_spool(environment));
        let (bb, msm, _) = (path?, msm?, version?);
        // The memory that bb may use is read elsewhere.
        Some(VerifierSettings { bb, msm, memory_max_bytes: u64::MAX, spool_dir })
    }
}

/// What this bb prints as its version, if that is the pinned one.
async fn check_version(path: &Path, faults: &mut Faults) -> Option<String> {
    let supervisor = Supervisor::default();
    // The version depends neither on the CRS nor on how points are multiplied.
    let program = BbProgram {
        path: path.to_owned(),
        crs_dir: PathBuf::new(),
        msm: Msm::Legacy,
        memory_max_bytes: u64::MAX,
    };
    let version = version::check(&program, &supervisor).await;
    supervisor.stop().await;
    version.map_err(|error| faults.add(format!("bb: {}; {}", chain(&error), how_to_get_bb()))).ok()
}

/// What a user without the pinned bb can do: with a checkout, and with nothing but this binary.
fn how_to_get_bb() -> String {
    if is_in_checkout() {
        return format!("run `cargo xtask setup` to install bb {BB_VERSION}, or set --bb or BB_PATH");
    }
    let folder = match (std::env::consts::ARCH, std::env::consts::OS) {
        ("aarch64", "macos") => "arm64-macos",
        (_, "macos") => "amd64-macos",
        ("aarch64", _) => "arm64-linux",
        (_, _) => "amd64-linux",
    };
    format!(
        "install bb {BB_VERSION} with `npm install @aztec/bb.js@{BB_VERSION}` and set \
         BB_PATH=node_modules/@aztec/bb.js/build/{folder}/bb, or put it into PATH"
    )
}

/// Whether the command runs in a checkout of the sources, where `cargo xtask setup` exists.
fn is_in_checkout() -> bool {
    let folder = std::env::current_dir().unwrap_or_default();
    folder.ancestors().any(|folder| folder.join("versions.toml").is_file() && folder.join("xtask").is_dir())
}

fn find_bb(flag: Option<PathBuf>, environment: &Environment, faults: &mut Faults) -> Option<PathBuf> {
    let named = flag.or_else(|| environment.bb_path.clone());
    if let Some(path) = named {
        if is_executable(&path) {
            return Some(path);
        }
        faults.add(format!("bb: {} (from --bb or BB_PATH) is not an executable file", path.display()));
        return None;
    }
    let on_path = environment.search_path.iter().map(|dir| dir.join("bb"));
    let by_setup = environment.tools().map(|tools| tools.join("bb").join(BB_VERSION).join("bb"));
    let found = on_path.chain(by_setup.clone()).find(|path| is_executable(path));
    if found.is_none() {
        let by_setup = by_setup.map(|path| format!(" nor at {}", path.display())).unwrap_or_default();
        faults.add(format!(
            "bb: not found: --bb and BB_PATH are not set, and it is neither in PATH{by_setup}; {}",
            how_to_get_bb()
        ));
    }
    found
}

fn find_crs(
    flag: Option<PathBuf>,
    cache_dir: Option<&Path>,
    environment: &Environment,
    purpose: Purpose,
    faults: &mut Faults,
) -> Option<Crs> {
    let home = || environment.home.as_ref().map(|home| home.join(".bb-crs"));
    let Some(dir) = flag.or_else(|| environment.crs_path.clone()).or_else(home) else {
        faults.add("CRS: there is no home folder to search; set --crs or CRS_PATH");
        return None;
    };
    let list = match purpose {
        Purpose::Use => CheckedList::ReadAndWrite,
        Purpose::Check => CheckedList::Read,
    };
    let opened = Crs::open(&dir, cache_dir, list);
    opened.map_err(|error| faults.add(format!("{}; {}", chain(&error), how_to_get_crs()))).ok()
}

/// What a user without a whole CRS can do: with a checkout, and with nothing but this binary.
fn how_to_get_crs() -> String {
    if is_in_checkout() {
        return "run `cargo xtask setup` to install one, or set --crs or CRS_PATH".to_owned();
    }
    format!(
        "set --crs or CRS_PATH to a folder with bn254_g1.dat or bn254_g1_compressed.dat: bb {BB_VERSION} downloads \
         them to ~/.bb-crs when it proves for the first time, if they are not there"
    )
}

/// The cache is a folder, or does not exist yet. A folder that cannot be written to only makes starts slower.
fn check_cache(dir: &Path, faults: &mut Faults) {
    if fs::metadata(dir).is_ok_and(|found| !found.is_dir()) {
        faults.add(format!("{}: {} is not a folder", flag("cache-dir"), dir.display()));
    }
}

fn default_cache(environment: &Environment) -> Option<PathBuf> {
    let cache = environment.cache_home.clone().or_else(|| Some(environment.home.as_ref()?.join(".cache")))?;
    Some(cache.join("edgeprove"))
}

fn default_spool(environment: &Environment) -> PathBuf {
    // The name contains the user's id, so that two users of one machine have separate folders.
    let name = format!("edgeprove-{}", rustix::process::geteuid().as_raw());
    let memory = Path::new("/dev/shm");
    let base = if is_writable_dir(memory) {
        memory.to_owned()
    } else {
        environment.temp_dir.clone().unwrap_or_else(|| "/tmp".into())
    };
    base.join(name)
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

fn is_writable_dir(path: &Path) -> bool {
    path.is_dir() && rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
}
