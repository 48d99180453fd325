//! Opens files that must be regular files: a FIFO, a socket, a device or a folder in the place of one is an error and
//! never blocks.

use std::{
    fs::{self, File, FileType, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::fs::OFlags;

/// Opens a regular file for reading.
pub fn open(path: &Path) -> io::Result<File> {
    open_with(OpenOptions::new().read(true), path)
}

/// Opens a regular file with these options, whose custom flags it sets. A symbolic link is followed.
pub fn open_with(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    open_with_flags(options, OFlags::empty(), path)
}

/// As [`open_with`], but a symbolic link is an error.
pub fn open_no_link(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    open_with_flags(options, OFlags::NOFOLLOW, path)
}

fn open_with_flags(options: &mut OpenOptions, flags: OFlags, path: &Path) -> io::Result<File> {
    // Looked at first, because to open a device may have effects. It may be exchanged until it is opened, so the open
    // file is looked at as well.
    if let Ok(found) = fs::metadata(path) {
        check(found.file_type())?;
    }
    // With this flag, a FIFO without another end is opened at once. A regular file does not know it.
    let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = options.custom_flags(flags.bits().cast_signed()).open(path)?;
    check(file.metadata()?.file_type())?;
    Ok(file)
}

/// Reads a regular file of at most `max_bytes`.
pub fn read(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let length = file.metadata()?.len();
    let mut bytes = Vec::with_capacity(usize::try_from(length.min(max_bytes)).unwrap_or_default());
    // The file may grow while it is read.
    file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        let reason = format!("it has more than {max_bytes} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    Ok(bytes)
}

/// Reads a regular file of at most `max_bytes` as UTF-8.
pub fn read_to_string(path: &Path, max_bytes: u64) -> io::Result<String> {
    String::from_utf8(read(path, max_bytes)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not text in UTF-8"))
}

/// Fails if something other than a regular file is at this path. Nothing at all is no error.
pub fn check_path(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(found) => check(found.file_type()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn check(found: FileType) -> io::Result<()> {
    if found.is_file() {
        return Ok(());
    }
    let what = if found.is_dir() {
        "a folder"
    } else if found.is_fifo() {
        "a FIFO"
    } else if found.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {what}, not a regular file")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_regular_files_are_opened_and_nothing_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        std::os::unix::fs::symlink(at("fifo"), at("link")).unwrap();
        for (path, what) in [
            (at("fifo"), "a FIFO"),
            (at("link"), "a FIFO"),
            (at("socket"), "a socket"),
            (dir.path().to_owned(), "a folder"),
            ("/dev/null".into(), "a device"),
        ] {
            let refused = |result: io::Result<()>| {
                let error = result.unwrap_err();
                assert!(error.to_string().contains(what), "{}: {error}", path.display());
            };
            refused(open(&path).map(drop));
            refused(read(&path, 100).map(drop));
            refused(open_with(OpenOptions::new().append(true).create(true), &path).map(drop));
            refused(check_path(&path));
        }
        assert!(check_path(&at("nothing")).is_ok());
        assert_eq!(open(&at("nothing")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_file_is_read_up_to_its_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "text").unwrap();
        assert_eq!(read(&path, 4).unwrap(), b"text");
        assert_eq!(read_to_string(&path, 100).unwrap(), "text");
        assert_eq!(read(&path, 3).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        fs::write(&path, [0xff]).unwrap();
        assert_eq!(read_to_string(&path, 100).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(open(&link).is_ok());
        assert!(open_no_link(OpenOptions::new().read(true), &link).is_err());
    }
}
