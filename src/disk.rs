//! Private files: only their owner can read them, from their first byte, and never through a symlink.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::process::geteuid;
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};

/// Makes the folder with mode 0700 if it is missing, and refuses one that others could use.
///
/// # Errors
/// `kind`, naming the folder: a symlink, another owner, or access for group or others.
pub(crate) fn private_folder(folder: &Path, kind: ErrorKind) -> Result<()> {
    match fs::DirBuilder::new().recursive(true).mode(0o700).create(folder) {
        // something else has its name, and `check_folder` says so
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made.map_err(|error| failed(kind, "cannot make the folder", folder, error))?,
    }
    check_folder(folder, kind)
}

/// Refuses a folder that others could read or replace files in.
pub(crate) fn check_folder(folder: &Path, kind: ErrorKind) -> Result<()> {
    let metadata = fs::symlink_metadata(folder);
    let metadata = metadata.map_err(|error| failed(kind, "cannot look at the folder", folder, error))?;
    if !metadata.is_dir() {
        return Err(refused(kind, folder, "is not a folder, or is a symlink", "name the folder itself"));
    }
    check_access(&metadata, folder, kind, "chmod 700")
}

fn check_access(metadata: &fs::Metadata, path: &Path, kind: ErrorKind, mend: &str) -> Result<()> {
    if metadata.uid() != geteuid().as_raw() {
        return Err(refused(
            kind,
            path,
            "belongs to another user",
            "run as its owner, or name another place",
        ));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let problem = format!("is open to group or others (mode {mode:03o})");
        return Err(refused(kind, path, &problem, &format!("{mend} {}", path.display())));
    }
    Ok(())
}

/// Opens an existing private file.
///
/// # Errors
/// `kind`: a symlink, not a file, another owner, or access for group or others. `None` when it is missing.
pub(crate) fn open_private(path: &Path, kind: ErrorKind, write: bool) -> Result<Option<File>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let opened = OpenOptions::new().read(true).write(write).custom_flags(flags).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(refused(kind, path, "lies below a file, not a folder", "name a folder"));
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(failed(kind, "cannot open", path, error)
                .with_hint("run as the user that it belongs to, or name another place"));
        }
        Err(_) if path.is_symlink() => {
            return Err(refused(kind, path, "is a symlink", "name the file itself, in a folder of its own"));
        }
        Err(error) => return Err(failed(kind, "cannot open", path, error)),
    };
    let metadata = file.metadata().map_err(|error| failed(kind, "cannot look at", path, error))?;
    if !metadata.is_file() {
        return Err(refused(kind, path, "is not a regular file", "move it away"));
    }
    check_access(&metadata, path, kind, "chmod 600")?;
    Ok(Some(file))
}

/// Makes sure that a private file is there, empty when it is new.
pub(crate) fn ensure_private(path: &Path, kind: ErrorKind) -> Result<File> {
    if let Some(file) = open_private(path, kind, true)? {
        return Ok(file);
    }
    match create_private(path) {
        Ok(file) => Ok(file),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => open_private(path, kind, true)?
            .ok_or_else(|| refused(kind, path, "comes and goes", "stop what removes it")),
        Err(error) => Err(failed(kind, "cannot make", path, error)),
    }
}

fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// The content of a private file of at most `limit` bytes.
///
/// # Errors
/// `kind`; `KeyringMissing` when there is no such file.
pub(crate) fn read_private(path: &Path, kind: ErrorKind, limit: u64) -> Result<Zeroizing<Vec<u8>>> {
    let missing = || Error::new(ErrorKind::KeyringMissing, format!("{} does not exist", path.display()));
    let file = open_private(path, kind, false)?.ok_or_else(missing)?;
    let mut content = Zeroizing::new(Vec::with_capacity(limit.min(64 * 1024) as usize));
    let read = file.take(limit + 1).read_to_end(&mut content);
    read.map_err(|error| failed(kind, "cannot read", path, error))?;
    match content.len() as u64 > limit {
        true => Err(refused(kind, path, "is too long", "name the right file")),
        false => Ok(content),
    }
}

/// Makes a private file with this content: whole and durable, or not at all.
///
/// # Errors
/// `KeyringExists` when there is a file already; else `kind`. Nothing is left behind.
pub(crate) fn write_new_private(path: &Path, content: &[u8], kind: ErrorKind) -> Result<()> {
    let new = path.with_extension(format!("new-{}", std::process::id()));
    let result = write_new(&new, content)
        .and_then(|()| Ok(renameat_with(CWD, &new, CWD, path, RenameFlags::NOREPLACE)?));
    if result.is_err() {
        // what is left of the attempt is of no use; the error below says what happened
        fs::remove_file(&new).ok();
    }
    match result {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(Error::new(ErrorKind::KeyringExists, format!("{} exists already", path.display())))
        }
        Err(error) => Err(failed(kind, "cannot save", path, error)),
        Ok(()) => sync_folder(folder_of(path)).map_err(|error| failed(kind, "cannot save", path, error)),
    }
}

fn write_new(new: &Path, content: &[u8]) -> io::Result<()> {
    match fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {} // a file of this name was left by a process that died
    }
    let mut file = create_private(new)?;
    file.write_all(content)?;
    file.sync_all()
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The folder that a file lies in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

fn failed(kind: ErrorKind, what: &str, path: &Path, error: io::Error) -> Error {
    Error::new(kind, format!("{what} {}: {}", path.display(), error.kind())).with_source(error)
}

fn refused(kind: ErrorKind, path: &Path, problem: &str, hint: &str) -> Error {
    Error::new(kind, format!("{} {problem}", path.display())).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: ErrorKind = ErrorKind::KeyringFile;

    #[test]
    fn folders_open_to_others_and_symlinks_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("vault");
        private_folder(&folder, KIND).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);

        let link = home.path().join("link");
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        assert_eq!(check_folder(&link, KIND).unwrap_err().kind(), KIND);

        for mode in [0o750, 0o701, 0o770, 0o702] {
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
            let error = private_folder(&folder, KIND).unwrap_err();
            assert!(error.hint().starts_with("chmod 700"), "{mode:o}");
        }
    }

    #[test]
    fn files_are_private_from_the_start_and_planted_ones_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        ensure_private(&path, KIND).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(ensure_private(&path, KIND).is_err());

        let link = home.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(ensure_private(&link, KIND).is_err());
        assert!(ensure_private(home.path(), KIND).is_err());
    }

    #[test]
    fn a_new_file_never_takes_the_place_of_another() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("keyring.json");
        write_new_private(&path, b"one", KIND).unwrap();
        let error = write_new_private(&path, b"two", KIND).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::KeyringExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }
}
