//! Where bb, the CRS and the server's own folders are.

use std::{
    env,
    path::{Path, PathBuf},
};

use clap::Args;

use super::faults::{Faults, RawSetting, raw_setting, words};
use edgeprove_artifacts::BucketOptions;
use edgeprove_prover::barretenberg::{BbProgram, Msm, crs::Crs, version::BB_VERSION};

words!(Msm, "round-parallel" => Msm::RoundParallel, "legacy" => Msm::Legacy);

/// Where things are in this process's environment. Tests put their own in its place.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `BB_PATH`.
    pub bb_path: Option<PathBuf>,
    /// `CRS_PATH`.
    pub crs_path: Option<PathBuf>,
    /// `PATH`.
    pub search_path: Vec<PathBuf>,
    /// The user's home.
    pub home: Option<PathBuf>,
    /// Where `cargo xtask setup` keeps its tools, where it is not `~/.edgeprove`.
    pub edgeprove_home: Option<PathBuf>,
    /// `XDG_CACHE_HOME`.
    pub cache_home: Option<PathBuf>,
    /// `AWS_…`, which every program that uses a bucket reads.
    pub aws: BucketOptions,
}

impl Environment {
    /// Those of this process.
    #[must_use]
    pub fn of_this_process() -> Self {
        let path = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self {
            bb_path: path("BB_PATH"),
            crs_path: path("CRS_PATH"),
            search_path: env::var_os("PATH").iter().flat_map(env::split_paths).collect(),
            home: path("HOME"),
            edgeprove_home: path("EDGEPROVE_HOME"),
            cache_home: path("XDG_CACHE_HOME"),
            aws: env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .filter(|(name, value)| name.starts_with("AWS_") && !value.is_empty())
                .collect(),
        }
    }

    fn tools(&self) -> Option<PathBuf> {
        self.edgeprove_home.clone().or_else(|| Some(self.home.as_ref()?.join(".edgeprove")))
    }
}

/// Flags of the program and its data.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Program and data")]
pub struct ProgramArgs {
    /// The Barretenberg executable. Else `BB_PATH`, else `bb` on the PATH, else the one that `cargo xtask setup` got.
    #[arg(long, env = "EDGEPROVE_BB", value_name = "FILE")]
    bb: Option<PathBuf>,

    /// The folder with `bn254_g1.dat` and `bn254_g2.dat`. Else `CRS_PATH`, else `~/.bb-crs`. A circuit of 2^k rows
    /// needs 2^k + 1 points of 64 bytes.
    #[arg(long, env = "EDGEPROVE_CRS", value_name = "DIR")]
    crs: Option<PathBuf>,

    /// Where verification keys are kept between starts. Else `edgeprove` in the user's cache folder.
    #[arg(long, env = "EDGEPROVE_CACHE_DIR", value_name = "DIR")]
    cache_dir: Option<PathBuf>,

    /// Where uploads are kept until they are proved. Only this server may enter it; every file is overwritten and
    /// removed as soon as its request ends. Else in `/dev/shm`, which is memory, else in the folder for temporary
    /// files.
    #[arg(long, env = "EDGEPROVE_SPOOL_DIR", value_name = "DIR")]
    spool_dir: Option<PathBuf>,

    /// How bb multiplies curve points: `round-parallel` saves 10 to 25 % of each proof; `legacy` is bb's own default while
    /// the other matures. After a crash at work, and after a proof that does not verify, the next bb uses `legacy`.
    #[arg(long, env = "EDGEPROVE_MSM", value_name = "WAY", default_value = "round-parallel", value_parser = raw_setting::<Msm>)]
    msm: RawSetting<Msm>,
}

/// The program and its data.
#[derive(Debug, Clone)]
pub struct ProgramSettings {
    /// bb.
    pub bb: BbProgram,
    /// The CRS.
    pub crs: Crs,
    /// The folder of kept keys.
    pub cache_dir: PathBuf,
    /// The folder of uploads.
    pub spool_dir: PathBuf,
}

impl ProgramArgs {
    /// Reads the flags and looks at what they name.
    pub fn read(self, around: &Environment, faults: &mut Faults) -> Option<ProgramSettings> {
        let path = find_bb(self.bb, around, faults);
        let crs = find_crs(self.crs, around, faults);
        let cache_dir =
            self.cache_dir.or_else(|| default_cache(around)).unwrap_or_else(|| "edgeprove-cache".into());
        let spool_dir = self.spool_dir.unwrap_or_else(default_spool);
        let msm = faults.take("msm", self.msm);
        let (path, crs, msm) = (path?, crs?, msm?);
        let bb = BbProgram { path, crs_dir: crs.dir.clone(), msm };
        Some(ProgramSettings { bb, crs, cache_dir, spool_dir })
    }
}

fn find_bb(flag: Option<PathBuf>, around: &Environment, faults: &mut Faults) -> Option<PathBuf> {
    let named = flag.or_else(|| around.bb_path.clone());
    if let Some(path) = named {
        if is_executable(&path) {
            return Some(path);
        }
        faults.add(format!("bb: {} (from --bb or BB_PATH) is not an executable file", path.display()));
        return None;
    }
    let on_path = around.search_path.iter().map(|dir| dir.join("bb"));
    let by_setup = around.tools().map(|tools| tools.join("bb").join(BB_VERSION).join("bb"));
    let found = on_path.chain(by_setup).find(|path| is_executable(path));
    if found.is_none() {
        faults.add(format!(
            "bb: there is none on the PATH; run `cargo xtask setup` to get bb {BB_VERSION}, or name it by --bb or BB_PATH"
        ));
    }
    found
}

fn find_crs(flag: Option<PathBuf>, around: &Environment, faults: &mut Faults) -> Option<Crs> {
    let home = || around.home.as_ref().map(|home| home.join(".bb-crs"));
    let Some(dir) = flag.or_else(|| around.crs_path.clone()).or_else(home) else {
        faults.add("the CRS: there is no home folder to look in; name its folder by --crs or CRS_PATH");
        return None;
    };
    faults.keep(Crs::open(&dir))
}

fn default_cache(around: &Environment) -> Option<PathBuf> {
    let cache = around.cache_home.clone().or_else(|| Some(around.home.as_ref()?.join(".cache")))?;
    Some(cache.join("edgeprove"))
}

fn default_spool() -> PathBuf {
    // Named by user, so that two users of one machine do not meet in one folder.
    let name = format!("edgeprove-{}", rustix::process::geteuid().as_raw());
    let memory = Path::new("/dev/shm");
    let base = if is_writable_dir(memory) { memory.to_owned() } else { env::temp_dir() };
    base.join(name)
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

fn is_writable_dir(path: &Path) -> bool {
    path.is_dir() && rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
}
