//! Private files: only their owner can read them, from their first byte, and never through a symlink.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::process::geteuid;
use zeroize::Zeroizing;

use crate::display::visible;
use crate::error::{Error, ErrorKind, Result};

/// Makes the folder with mode 0700 if it is missing, and refuses one that others could use.
///
/// # Errors
/// `kind`, naming the folder: a symlink, another owner, or access for group or others.
pub(crate) fn private_folder(folder: &Path, kind: ErrorKind) -> Result<()> {
    match fs::DirBuilder::new().recursive(true).mode(0o700).create(folder) {
        // something else has its name, and `check_folder` says so
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made.map_err(|error| failed(kind, "cannot create the folder", folder, error))?,
    }
    check_folder(folder, kind)
}

/// Refuses a folder that others could read or replace files in.
pub(crate) fn check_folder(folder: &Path, kind: ErrorKind) -> Result<()> {
    let metadata = fs::symlink_metadata(folder);
    let metadata = metadata.map_err(|error| failed(kind, "cannot check the folder", folder, error))?;
    if !metadata.is_dir() {
        return Err(refused(kind, folder, "is not a folder, or is a symlink", "name the folder itself"));
    }
    check_access(&metadata, folder, kind, "700")
}

fn check_access(metadata: &fs::Metadata, path: &Path, kind: ErrorKind, private: &str) -> Result<()> {
    if metadata.uid() != geteuid().as_raw() {
        return Err(refused(
            kind,
            path,
            "belongs to another user",
            "run as its owner, or use another folder",
        ));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let problem = format!("is open to group or others (mode {mode:03o})");
        return Err(refused(kind, path, &problem, &make_private(private, path)));
    }
    Ok(())
}

/// How a person closes a path to others.
fn make_private(private: &str, path: &Path) -> String {
    chmod(private, path).unwrap_or_else(|| format!("set its mode to {private}"))
}

/// The command that gives a path a mode, for a shell. `None` for a path that is not seen as it is: what is printed would name
/// another one.
pub(crate) fn chmod(mode: &str, path: &Path) -> Option<String> {
    let text = path.to_str().filter(|text| visible(text) == *text)?;
    Some(format!("chmod {mode} {}", shell_word(text)))
}

fn shell_word(text: &str) -> String {
    let is_plain = text.chars().all(|char| char.is_ascii_alphanumeric() || "/._-+".contains(char));
    match is_plain {
        // also between quotes it would begin an option
        _ if text.starts_with('-') => shell_word(&format!("./{text}")),
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// What keeps a file or a folder from being private.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Openness {
    /// Its mode, and the one that it should have, as `chmod` takes it.
    Mode { mode: u32, private: &'static str },
    /// It belongs to another user.
    Stranger,
}

/// Looks at a path without opening it. `None`: private, or missing.
pub(crate) fn openness(path: &Path) -> Option<Openness> {
    let metadata = fs::symlink_metadata(path).ok()?;
    let mode = metadata.permissions().mode() & 0o777;
    if metadata.uid() != geteuid().as_raw() {
        return Some(Openness::Stranger);
    }
    let private = if metadata.is_dir() { "700" } else { "600" };
    (mode & 0o077 != 0).then_some(Openness::Mode { mode, private })
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
            return Err(refused(kind, path, "is below a file, not a folder", "name a folder"));
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(failed(kind, "cannot open", path, error)
                .with_hint("run as the user that owns it, or use another file"));
        }
        Err(_) if path.is_symlink() => {
            return Err(refused(kind, path, "is a symlink", "use the file itself, in a folder of its own"));
        }
        Err(error) => return Err(failed(kind, "cannot open", path, error)),
    };
    let metadata = file.metadata().map_err(|error| failed(kind, "cannot look at", path, error))?;
    if !metadata.is_file() {
        return Err(refused(kind, path, "is not a regular file", "move it away"));
    }
    check_access(&metadata, path, kind, "600")?;
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
            .ok_or_else(|| refused(kind, path, "keeps disappearing", "stop the process that removes it")),
        Err(error) => Err(failed(kind, "cannot make", path, error)),
    }
}

fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Tells whether a file is another one, or was written to: every save makes a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    length: u64,
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(metadata: &fs::Metadata) -> Self {
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        Self { inode: metadata.ino(), length: metadata.len(), changed }
    }
}

/// What lies at the path now, if anything does.
pub(crate) fn stamp(path: &Path) -> Option<Stamp> {
    fs::symlink_metadata(path).ok().as_ref().map(Stamp::of)
}

/// The content of a private file of at most `limit` bytes.
///
/// # Errors
/// `kind`; `KeyringMissing` when there is no such file.
pub(crate) fn read_private(path: &Path, kind: ErrorKind, limit: u64) -> Result<Zeroizing<Vec<u8>>> {
    read_private_stamped(path, kind, limit).map(|(content, _)| content)
}

/// The same, with the stamp of the file that was read.
pub(crate) fn read_private_stamped(
    path: &Path,
    kind: ErrorKind,
    limit: u64,
) -> Result<(Zeroizing<Vec<u8>>, Stamp)> {
    let missing = || Error::new(ErrorKind::KeyringMissing, format!("{} does not exist", path.display()));
    let file = open_private(path, kind, false)?.ok_or_else(missing)?;
    // before it is read: what is written meanwhile gives it another stamp
    let metadata = file.metadata().map_err(|error| failed(kind, "cannot look at", path, error))?;
    let mut content = Zeroizing::new(Vec::with_capacity(limit.min(64 * 1024) as usize));
    let read = file.take(limit + 1).read_to_end(&mut content);
    read.map_err(|error| failed(kind, "cannot read", path, error))?;
    match content.len() as u64 > limit {
        true => Err(refused(kind, path, "is too long", "use the right file")),
        false => Ok((content, Stamp::of(&metadata))),
    }
}

/// The path of a file beside another one: its name with something added.
pub(crate) fn beside(path: &Path, added: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(added);
    name.into()
}

/// A private file, whole and durable under a name of its own, that has not taken its place yet. It is
/// removed when it is dropped before that.
///
/// The name is always the same: only one process at a time may make one, and what a process that died
/// has left is removed by the next.
pub(crate) struct Draft {
    new: PathBuf,
    place: PathBuf,
    file: Option<File>,
}

impl Draft {
    /// # Errors
    /// `kind`. Nothing is left behind.
    pub(crate) fn write(place: &Path, content: &[u8], kind: ErrorKind) -> Result<Self> {
        let mut draft = Self { new: Self::name(place), place: place.to_owned(), file: None };
        let file =
            write_new(&draft.new, content).map_err(|error| failed(kind, "cannot save", place, error))?;
        draft.file = Some(file);
        Ok(draft)
    }

    fn name(place: &Path) -> PathBuf {
        beside(place, ".new")
    }

    /// Removes what a process that died has left.
    ///
    /// # Errors
    /// `kind`: something that is not a file has its name.
    pub(crate) fn remove_stale(place: &Path, kind: ErrorKind) -> Result<()> {
        let new = Self::name(place);
        remove_if_there(&new).map_err(|error| failed(kind, "cannot remove", &new, error))
    }

    /// Where it lies until it takes its place.
    pub(crate) fn path(&self) -> &Path {
        &self.new
    }

    /// Takes its place; what was there, if only a symlink, is gone.
    ///
    /// # Errors
    /// `kind`. What was there is still there, and nothing is left behind.
    pub(crate) fn put_in_place(mut self, kind: ErrorKind) -> Result<Stamp> {
        let cannot = |error| failed(kind, "cannot save", &self.place, error);
        fs::rename(&self.new, &self.place).map_err(cannot)?;
        let file = self.file.take().expect("a draft that exists was written");
        // the rename may have changed its time
        file.metadata().map(|metadata| Stamp::of(&metadata)).map_err(cannot)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // of no use to anybody, and the next draft removes it
            fs::remove_file(&self.new).ok();
        }
    }
}

/// Makes a private file with this content: whole and durable, or not at all.
///
/// # Errors
/// `KeyringExists` when there is a file already; else `kind`. Nothing is left behind.
pub(crate) fn write_new_private(path: &Path, content: &[u8], kind: ErrorKind) -> Result<()> {
    let new = path.with_extension(format!("new-{}", std::process::id()));
    let result = write_new(&new, content)
        .and_then(|_| Ok(renameat_with(CWD, &new, CWD, path, RenameFlags::NOREPLACE)?));
    if result.is_err() {
        // what is left of the attempt is of no use; the error below says what happened
        fs::remove_file(&new).ok();
    }
    match result {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(Error::new(ErrorKind::KeyringExists, format!("{} already exists", path.display())))
        }
        Err(error) => Err(failed(kind, "cannot save", path, error)),
        Ok(()) => sync_folder(folder_of(path), kind),
    }
}

fn write_new(new: &Path, content: &[u8]) -> io::Result<File> {
    remove_if_there(new)?; // a file of this name was left by a process that died
    let mut file = create_private(new)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    if written.is_err() {
        // what is left of the attempt is of no use; the error says what happened
        fs::remove_file(new).ok();
    }
    written.map(|()| file)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes what was renamed in a folder durable.
///
/// # Errors
/// `kind`.
pub(crate) fn sync_folder(folder: &Path, kind: ErrorKind) -> Result<()> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| failed(kind, "cannot sync the folder", folder, error))
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

    #[test]
    fn a_path_is_one_word_for_the_shell_or_has_no_command() {
        for (path, word) in [
            ("/srv/vault/keyring.json", "/srv/vault/keyring.json"),
            ("it's; here", r"'it'\''s; here'"),
            ("-R", "./-R"),
            ("- R", "'./- R'"),
        ] {
            assert_eq!(chmod("600", Path::new(path)), Some(format!("chmod 600 {word}")));
        }
        for path in ["/srv/a\nb", "/srv/\u{202e}a"] {
            assert_eq!(chmod("600", Path::new(path)), None, "{path}");
        }
    }
}
