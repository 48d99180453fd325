//! Checks that no other user can exchange or change a folder or a file that this process relies on.
//!
//! Who may write to a folder may rename what is in it, whoever owns that. A path is therefore as safe as the least safe
//! folder on the way to it. This user and root are trusted, and so is a group that root chose or that is this user's own.
//! A volume that Kubernetes made for this pod is open to nobody but the pod's containers, whatever its mode.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fs::{self, File, Metadata, Permissions},
    io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{StatVfsMountFlags, statvfs},
    process::geteuid,
};

use crate::{folder_of, pod_volume};

/// The id of the user who may do anything in any case.
const ROOT: u32 = 0;
/// Most symbolic links on the way to a path, as in Linux.
const LINKS_MAX: usize = 40;
/// The bits of a mode by which others than the owner read, write or execute.
const OTHERS: u32 = 0o077;
/// The bits of a mode by which others than the owner write.
const OTHERS_WRITE: u32 = 0o022;

/// Why another user could exchange or change what is at a path.
#[derive(Debug, thiserror::Error)]
pub enum UntrustedPath {
    /// Another user owns it.
    #[error(
        "{} is owned by the user {owner}, who could exchange or change what the server stores or reads there: choose \
         another place, or run chown on it",
        path.display()
    )]
    Owner {
        /// The folder, file or symbolic link.
        path: PathBuf,
        /// The user's id.
        owner: u32,
    },
    /// Other users may write to it.
    #[error(
        "{} has mode {mode:o}, with which other users could exchange or change what the server stores or reads there: \
         choose another place, or run chmod go-w on it",
        path.display()
    )]
    Writable {
        /// The folder or file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It cannot be inspected.
    #[error("{} cannot be inspected", path.display())]
    Inspect {
        /// The path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// Checks every folder on the way to a path, also behind symbolic links, but not what is at the path itself. The way may
/// end early: who creates the rest of it does so in a folder that was checked. Blocking.
pub fn check_parents(path: &Path) -> Result<(), UntrustedPath> {
    let check = |path: &Path, found: &Metadata| {
        // In a folder that is open to all, another user may own the link.
        if found.is_symlink() { check_owner(path, found) } else { check_folder(path, found) }
    };
    walk(path, check).map(drop)
}

/// How others could exchange or change what is at a path that the server only reads: every fault of the file or folder, of
/// the folders on the way to it, and of symbolic links. Empty where nothing is there. Nobody can change what is on a file
/// system that is mounted read-only, such as a file that a container gets. Blocking.
#[must_use]
pub fn input_faults(path: &Path) -> Vec<UntrustedPath> {
    let mut faults = Vec::new();
    let mut note = |path: &Path, found: &Metadata| {
        // The link itself is where its folder is.
        let mounted = if found.is_symlink() { folder_of(path) } else { path };
        if is_read_only(mounted) {
            return;
        }
        faults.extend(check_owner(path, found).err());
        let others_may_change =
            if found.is_dir() { others_may_rename(path, found) } else { others_may_write(found) };
        if others_may_change && !found.is_symlink() {
            faults.push(writable(path, found));
        }
    };
    let end = walk(path, |path, found| {
        note(path, found);
        Ok(())
    });
    // Whoever reads a path that cannot be inspected gets a better error than this function could return.
    if let Ok(Some(end)) = end
        && let Ok(found) = fs::symlink_metadata(&end)
    {
        note(&end, &found);
    }
    faults
}

/// As [`input_faults`], but returns the first fault as an error.
pub fn check_input(path: &Path) -> Result<(), UntrustedPath> {
    input_faults(path).into_iter().next().map_or(Ok(()), Err)
}

/// Calls `check` with every folder and symbolic link on the way to a path. Returns the path behind all links; `None` if
/// nothing is there.
fn walk(
    path: &Path,
    mut check: impl FnMut(&Path, &Metadata) -> Result<(), UntrustedPath>,
) -> Result<Option<PathBuf>, UntrustedPath> {
    let path = std::path::absolute(path).map_err(inspect(path))?;
    let (mut folder, mut links) = (PathBuf::from("/"), 0);
    let mut left = names(&path);
    while let Some(name) = left.pop_front() {
        if name == ".." {
            folder.pop();
            continue;
        }
        let found = match fs::symlink_metadata(&folder) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(inspect(&folder)(error)),
        };
        if !found.is_dir() {
            // Whoever uses the path gets a better error than this function could return.
            return Ok(None);
        }
        check(&folder, &found)?;
        let entry = folder.join(&name);
        match fs::symlink_metadata(&entry) {
            Ok(found) if found.is_symlink() => {
                check(&entry, &found)?;
                links += 1;
                if links > LINKS_MAX {
                    return Err(inspect(&path)(io::Error::other("too many symbolic links")));
                }
                let target = fs::read_link(&entry).map_err(inspect(&entry))?;
                if target.is_absolute() {
                    folder = PathBuf::from("/");
                }
                for name in names(&target).into_iter().rev() {
                    left.push_front(name);
                }
            }
            Ok(_) => folder = entry,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(inspect(&entry)(error)),
        }
    }
    Ok(Some(folder))
}

/// Checks that this user or root owns a folder, and that no other user may rename what is in it.
pub fn check_folder(path: &Path, found: &Metadata) -> Result<(), UntrustedPath> {
    check_owner(path, found)?;
    if others_may_rename(path, found) {
        return Err(writable(path, found));
    }
    Ok(())
}

/// Fails where [`close_file`] and [`close_file_for_writing`] would fail, and changes nothing.
pub fn check_file(path: &Path, found: &Metadata) -> Result<(), UntrustedPath> {
    check_owner(path, found)?;
    if !is_own(found) && others_may_write(found) {
        return Err(writable(path, found));
    }
    Ok(())
}

/// Checks that this user or root owns an open file, and closes it to other users if it is this user's. Fails if others may
/// write to it still.
pub fn close_file(path: &Path, file: &File) -> Result<(), UntrustedPath> {
    restrict_file(path, file, OTHERS)
}

/// As [`close_file`], but others may go on to read the file if they could before.
pub fn close_file_for_writing(path: &Path, file: &File) -> Result<(), UntrustedPath> {
    restrict_file(path, file, OTHERS_WRITE)
}

fn restrict_file(path: &Path, file: &File, withdrawn: u32) -> Result<(), UntrustedPath> {
    let found = file.metadata().map_err(inspect(path))?;
    check_file(path, &found)?;
    let mode = found.mode() & 0o7777;
    if is_own(&found) && mode & withdrawn != 0 {
        let closed = file.set_permissions(Permissions::from_mode(mode & !withdrawn));
        closed.map_err(inspect(path))?;
        tracing::warn!(path = %path.display(), mode = format!("{mode:o}"), "other users could use a private file; closed it");
    }
    Ok(())
}

fn is_own(found: &Metadata) -> bool {
    found.uid() == geteuid().as_raw()
}

/// Whether the file system was mounted read-only here.
fn is_read_only(path: &Path) -> bool {
    statvfs(path).is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY))
}

fn writable(path: &Path, found: &Metadata) -> UntrustedPath {
    UntrustedPath::Writable { path: path.to_owned(), mode: found.mode() & 0o7777 }
}

fn check_owner(path: &Path, found: &Metadata) -> Result<(), UntrustedPath> {
    let owner = found.uid();
    if owner == ROOT || owner == geteuid().as_raw() || is_unknown(owner) {
        return Ok(());
    }
    Err(UntrustedPath::Owner { path: path.to_owned(), owner })
}

/// Whether others may rename the entries of a folder. In a sticky folder, only their owners may.
fn others_may_rename(path: &Path, folder: &Metadata) -> bool {
    folder.mode() & 0o1000 == 0 && others_may_write(folder) && !pod_volume::is_mounted_at(path)
}

/// Whether users other than this one and root may write. A group that root gave its folder to is root's choice, and many
/// systems give each user a group of the same number.
fn others_may_write(found: &Metadata) -> bool {
    let is_own_group = found.uid() == ROOT || found.gid() == ROOT || found.gid() == geteuid().as_raw();
    found.mode() & 0o002 != 0 || (found.mode() & 0o020 != 0 && !is_own_group)
}

/// Whether this is the id that the kernel shows for every user outside this process's user namespace. Root may be one of
/// them, and nobody in the namespace can be.
fn is_unknown(owner: u32) -> bool {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let overflow = read("/proc/sys/kernel/overflowuid").trim().parse();
    overflow.is_ok_and(|overflow: u32| overflow == owner) && {
        let map = read("/proc/self/uid_map");
        let mut ids = map.split_ascii_whitespace().filter_map(|id| id.parse::<u64>().ok());
        // In the first namespace all ids are mapped: from 0, to 0, four billion of them.
        !map.is_empty() && ids.nth(2) != Some(u64::from(u32::MAX))
    }
}

fn names(path: &Path) -> VecDeque<OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.collect()
}

fn inspect(path: &Path) -> impl FnOnce(io::Error) -> UntrustedPath {
    let path = path.to_owned();
    move |source| UntrustedPath::Inspect { path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    /// Gives a path to another user, if this user may do so.
    fn give_away(path: &Path) -> bool {
        std::os::unix::fs::lchown(path, Some(1234), None).is_ok()
    }

    #[test]
    fn every_folder_on_the_way_counts() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::create_dir_all(at("a/b/c")).unwrap();
        symlink(at("a/b"), at("link")).unwrap();
        symlink("link/../b/c", at("second")).unwrap();
        let ways = ["a/b/c/new/folder", "a/b/c/file", "link/c/file", "second/file", "a/../link/c/file"];
        for way in ways {
            check_parents(&at(way)).unwrap();
        }
        for (mode, is_safe) in [(0o777, false), (0o1777, true), (0o702, false), (0o755, true)] {
            set_mode(&at("a/b"), mode);
            for way in ways {
                let checked = check_parents(&at(way));
                assert_eq!(checked.is_ok(), is_safe, "{way} {mode:o}: {checked:?}");
            }
            // What is at the path itself does not count.
            check_parents(&at("a/b")).unwrap();
        }
        if !give_away(&at("a/b")) {
            return;
        }
        for way in ways {
            let refused = check_parents(&at(way)).unwrap_err();
            assert!(matches!(&refused, UntrustedPath::Owner { owner: 1234, .. }), "{way}: {refused}");
            assert!(refused.to_string().contains("a/b"), "{refused}");
        }
        check_parents(&at("a/file")).unwrap();
    }

    #[test]
    fn a_link_of_another_user_is_not_followed() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::create_dir(at("folder")).unwrap();
        symlink(at("folder"), at("link")).unwrap();
        symlink("loop", at("loop")).unwrap();
        set_mode(home.path(), 0o1777);
        check_parents(&at("link/file")).unwrap();
        assert!(matches!(check_parents(&at("loop/file")), Err(UntrustedPath::Inspect { .. })));
        if give_away(&at("link")) {
            let refused = check_parents(&at("link/file")).unwrap_err();
            assert!(matches!(refused, UntrustedPath::Owner { owner: 1234, .. }), "{refused}");
        }
    }

    #[test]
    fn a_file_is_closed_to_others_or_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        let file = File::create(&path).unwrap();
        let mode = || fs::metadata(&path).unwrap().mode() & 0o7777;
        set_mode(&path, 0o666);
        close_file_for_writing(&path, &file).unwrap();
        assert_eq!(mode(), 0o644);
        close_file(&path, &file).unwrap();
        assert_eq!(mode(), 0o600);
        let found = || fs::metadata(&path).unwrap();
        set_mode(&path, 0o666);
        check_file(&path, &found()).unwrap();
        assert_eq!(mode(), 0o666);
        if give_away(&path) {
            let refused = close_file(&path, &file).unwrap_err();
            assert!(matches!(refused, UntrustedPath::Owner { owner: 1234, .. }), "{refused}");
            let examined = check_file(&path, &found()).unwrap_err();
            assert_eq!(examined.to_string(), refused.to_string());
        }
    }

    #[test]
    fn every_fault_of_a_file_that_is_read_is_found() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        let faults = |name: &str| -> Vec<PathBuf> {
            let path = |fault| match fault {
                UntrustedPath::Owner { path, .. }
                | UntrustedPath::Writable { path, .. }
                | UntrustedPath::Inspect { path, .. } => path,
            };
            input_faults(&at(name)).into_iter().map(path).collect()
        };
        fs::create_dir(at("folder")).unwrap();
        File::create(at("folder/file")).unwrap();
        symlink(at("folder/file"), at("link")).unwrap();
        set_mode(&at("folder/file"), 0o644);
        for name in ["folder", "folder/file", "link", "folder/missing", "missing/file", "folder/file/below"] {
            assert!(faults(name).is_empty(), "{name}: {:?}", faults(name));
        }
        set_mode(&at("folder"), 0o777);
        set_mode(&at("folder/file"), 0o646);
        for name in ["folder/file", "link"] {
            assert_eq!(faults(name), [at("folder"), at("folder/file")], "{name}");
        }
        assert_eq!(faults("folder"), [at("folder")]);
        set_mode(&at("folder"), 0o1777);
        set_mode(&at("folder/file"), 0o444);
        assert!(faults("link").is_empty());
        if give_away(&at("folder/file")) && give_away(&at("link")) {
            assert_eq!(faults("link"), [at("link"), at("folder/file")]);
            let refused = check_input(&at("link")).unwrap_err();
            assert!(matches!(refused, UntrustedPath::Owner { owner: 1234, .. }), "{refused}");
        }
    }
}
