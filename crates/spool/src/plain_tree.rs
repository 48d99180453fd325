//! Removes a folder whose files hold no secrets, without overwriting them.
//!
//! A program may have worked in the folder that does not wish it to be removed: it closed folders, made links to files
//! elsewhere, or nested folders deeper than a path or a stack could be.

use std::{
    ffi::{CString, OsStr},
    fs::{File, Permissions},
    io,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::Path,
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, renameat, statat, unlinkat},
    io::Errno,
};
use uuid::Uuid;

/// Removes a folder and everything in it. No link is followed. A failure does not keep the rest from being removed; the
/// first one is returned.
///
/// Folders are moved up before they are emptied, so that neither a path nor the stack grows with their depth.
pub(crate) fn remove(top: &Path) -> io::Result<()> {
    let folder = open_writable(CWD, top.as_os_str())?;
    let mut waiting = Vec::new();
    let mut result = empty(&folder, &folder, &mut waiting);
    while let Some(name) = waiting.pop() {
        let name = OsStr::from_bytes(name.as_bytes());
        let removed = open_writable(&folder, name)
            .and_then(|inner| empty(&inner, &folder, &mut waiting))
            .and(unlinkat(&folder, name, AtFlags::REMOVEDIR).map_err(io::Error::from));
        result = result.and(removed);
    }
    drop(folder);
    result.and(unlinkat(CWD, top, AtFlags::REMOVEDIR).map_err(io::Error::from))
}

/// Removes the files of a folder, and moves its folders to the top, where they wait.
fn empty(folder: &File, top: &File, waiting: &mut Vec<CString>) -> io::Result<()> {
    let mut result = Ok(());
    for entry in Dir::read_from(folder)? {
        let moved = entry.map_err(io::Error::from).and_then(|entry| {
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                return Ok(());
            }
            let found = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
                return Ok(unlinkat(folder, name, AtFlags::empty())?);
            }
            // A folder that is closed cannot be moved.
            drop(open_writable(folder, OsStr::from_bytes(name.to_bytes()))?);
            let new_name = CString::new(Uuid::new_v4().to_string())?;
            renameat(folder, name, top, &new_name)?;
            waiting.push(new_name);
            Ok(())
        });
        result = result.and(moved);
    }
    result
}

/// Opens a folder, and lets its owner change it. A link is an error.
pub(crate) fn open_writable(parent: impl std::os::fd::AsFd, name: &OsStr) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = |flags| openat(&parent, name, flags, Mode::empty()).map(File::from);
    let folder = match open(flags) {
        #[cfg(target_os = "linux")]
        Err(Errno::ACCESS) => {
            use std::os::fd::AsRawFd as _;
            // A closed folder can be named and not read. Its descriptor names it whatever its entry is by then.
            let named = open(OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC)?;
            let path = format!("/proc/self/fd/{}", named.as_raw_fd());
            std::fs::set_permissions(path, Permissions::from_mode(0o700))?;
            open(flags)?
        }
        opened => opened?,
    };
    folder.set_permissions(Permissions::from_mode(0o700))?;
    Ok(folder)
}
