use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::*;
use crate::keyring::file::tests::{at_once, raw, saved};
use crate::keyring::keys::KeyState;
use crate::keyring::life::Grace;
use crate::keyring::material::Material;
use crate::keyring::wrapping::{
    Passphrase, ProviderFuture, RawKey, Wrapping, WrappingKey, WrappingKeyProvider,
};

fn new() -> (TempDir, Keyring) {
    let folder = tempfile::tempdir().unwrap();
    let file = saved(folder.path());
    (folder, file)
}

/// The name and the content of everything beside the keyring.
fn files(file: &Keyring) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(private_file::folder_of(file.path().unwrap()))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut files: Vec<_> =
        entries.map(|path| (name(&path), fs::read(&path).unwrap_or_else(|_| b"no file".to_vec()))).collect();
    files.sort();
    files
}

fn names(file: &Keyring) -> Vec<String> {
    files(file).into_iter().map(|(name, _)| name).collect()
}

const BOTH_AND_LOCK: [&str; 3] = ["keyring.json", "keyring.json.lock", "keyring.json.previous"];

fn opened(path: &Path, provider: &RawKey) -> Result<RootKeys> {
    let disk = read(path)?;
    format::unseal(&disk.outer, &at_once(provider.open(&disk.outer.header.wrapping))?)
}

fn primary(file: &Keyring) -> KeyId {
    file.current().primary().0
}

/// A keyring whose first key is retired.
fn rotated() -> (TempDir, Keyring, KeyId) {
    let (folder, file) = new();
    let old = primary(&file);
    let id = at_once(file.add_key()).unwrap().id;
    at_once(file.promote_key(id)).unwrap();
    (folder, file, old)
}

#[test]
fn a_change_is_on_disk_in_memory_and_in_every_clone_and_the_file_before_stays() {
    let (_folder, file) = new();
    let clone = file.clone();
    let before = fs::read(file.path().unwrap()).unwrap();
    let added = at_once(file.add_key()).unwrap();
    assert_eq!(added.state, KeyState::Pending);
    assert_eq!(names(&file), BOTH_AND_LOCK);
    assert_eq!(fs::read(previous(file.path().unwrap())).unwrap(), before);
    for name in BOTH_AND_LOCK {
        let path = file.path().unwrap().with_file_name(name);
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    let promoted = at_once(clone.promote_key(added.id)).unwrap();
    assert_eq!((promoted.id, promoted.state), (added.id, KeyState::Primary));
    assert_eq!(primary(&file), added.id);
    assert_eq!(at_once(Keyring::open(file.path().unwrap(), &raw(1))).unwrap().keys(), file.keys());
    assert_eq!(opened(&previous(file.path().unwrap()), &raw(1)).unwrap().generation, 2);

    let second = at_once(file.add_key()).unwrap().id;
    assert_eq!(at_once(file.retire_key(second)).unwrap().state, KeyState::Retired);
    let states: Vec<_> = file.keys().into_iter().map(|key| key.state).collect();
    assert_eq!(states, [KeyState::Retired, KeyState::Primary, KeyState::Retired]);
}

#[test]
fn what_is_so_already_or_refused_writes_nothing() {
    let (_folder, file, old) = rotated();
    let (before, stamp) = (files(&file), private_file::stamp(file.path().unwrap()));
    at_once(file.promote_key(primary(&file))).unwrap();
    at_once(file.retire_key(old)).unwrap();
    assert_eq!(at_once(file.promote_key(old)).unwrap_err().kind(), ErrorKind::KeyState);
    assert_eq!(at_once(file.retire_key(primary(&file))).unwrap_err().kind(), ErrorKind::KeyState);
    assert_eq!(at_once(file.retire_key(KeyId(7))).unwrap_err().kind(), ErrorKind::UnknownKey);
    assert_eq!(at_once(file.destroy_key(old, Grace::Wait)).unwrap_err().kind(), ErrorKind::KeyState);
    assert_eq!((files(&file), private_file::stamp(file.path().unwrap())), (before, stamp));
}

#[test]
fn a_destroyed_key_is_in_neither_file() {
    let (_folder, file, old) = rotated();
    let fingerprint = file.keys()[0].fingerprint.clone();
    assert!(opened(&previous(file.path().unwrap()), &raw(1)).unwrap().get(old).unwrap().material.is_some());
    let destroyed = at_once(file.destroy_key(old, Grace::Waive)).unwrap();
    assert_eq!((destroyed.state, destroyed.fingerprint), (KeyState::Destroyed, fingerprint));
    assert_eq!(names(&file), BOTH_AND_LOCK);
    for path in [file.path().unwrap().to_owned(), previous(file.path().unwrap())] {
        let keys = opened(&path, &raw(1)).unwrap();
        assert!(keys.get(old).unwrap().material.is_none());
        assert_eq!(keys.openable(), [primary(&file)]);
    }
    assert!(file.current().opener(old).is_err());
}

#[test]
fn a_second_destroy_wipes_what_the_first_one_left_behind() {
    let (_folder, file, old) = rotated();
    let before = fs::read(file.path().unwrap()).unwrap();
    at_once(file.destroy_key(old, Grace::Waive)).unwrap();
    let draft = private_file::beside(file.path().unwrap(), ".new");
    let outside = file.path().unwrap().with_file_name("outside");
    let holding_the_key = || fs::write(previous(file.path().unwrap()), &before).unwrap();
    let damaged = || fs::write(previous(file.path().unwrap()), b"{}").unwrap();
    let planted = || {
        fs::remove_file(previous(file.path().unwrap())).unwrap();
        fs::write(&outside, &before).unwrap();
        symlink(&outside, previous(file.path().unwrap())).unwrap();
    };
    for leave in [&holding_the_key as &dyn Fn(), &damaged, &planted] {
        leave();
        fs::write(&draft, &before).unwrap();
        at_once(file.destroy_key(old, Grace::Wait)).unwrap();
        assert_eq!(
            fs::read(previous(file.path().unwrap())).unwrap(),
            fs::read(file.path().unwrap()).unwrap()
        );
        assert!(previous(file.path().unwrap()).symlink_metadata().unwrap().is_file() && !draft.exists());
    }
    assert_eq!(fs::read(&outside).unwrap(), before, "what a symlink names is not touched");

    fs::remove_file(&outside).unwrap();
    at_once(file.add_key()).unwrap();
    let (files_before, kept) = (files(&file), private_file::stamp(&previous(file.path().unwrap())));
    at_once(file.destroy_key(old, Grace::Wait)).unwrap();
    assert_eq!(
        (files(&file), private_file::stamp(&previous(file.path().unwrap()))),
        (files_before, kept),
        "what is clean stays"
    );
    fs::remove_file(previous(file.path().unwrap())).unwrap();
    at_once(file.destroy_key(old, Grace::Wait)).unwrap();
    assert!(!previous(file.path().unwrap()).exists());
}

#[test]
fn whoever_dies_between_the_renames_of_a_destroy_does_it_again() {
    let (_folder, file, old) = rotated();
    let before = fs::read(file.path().unwrap()).unwrap();
    at_once(file.destroy_key(old, Grace::Waive)).unwrap();
    // the previous file has taken its place already, the file itself has not
    fs::rename(file.path().unwrap(), private_file::beside(file.path().unwrap(), ".new")).unwrap();
    fs::write(file.path().unwrap(), &before).unwrap();
    fs::set_permissions(file.path().unwrap(), fs::Permissions::from_mode(0o600)).unwrap();
    let next = at_once(Keyring::open(file.path().unwrap(), &raw(1))).unwrap();
    at_once(next.destroy_key(old, Grace::Waive)).unwrap();
    assert_eq!(names(&next), BOTH_AND_LOCK);
    let path = next.path().unwrap();
    for path in [path.to_owned(), previous(path)] {
        assert!(opened(&path, &raw(1)).unwrap().get(old).unwrap().material.is_none());
    }
}

#[tokio::test]
async fn a_rewrap_leaves_nothing_that_the_old_secret_opens_and_this_process_goes_on() {
    let (_folder, file, _) = rotated();
    let (keys, clone) = (file.keys(), file.clone());
    at_once(file.rewrap(&raw(2))).unwrap();
    assert_eq!(names(&file), BOTH_AND_LOCK);
    for path in [file.path().unwrap().to_owned(), previous(file.path().unwrap())] {
        assert_eq!(opened(&path, &raw(1)).unwrap_err().kind(), ErrorKind::KeyringLocked);
        assert_eq!(opened(&path, &raw(2)).unwrap().keys().len(), 2);
    }
    assert_eq!(at_once(Keyring::open(file.path().unwrap(), &raw(2))).unwrap().keys(), keys);
    let added = at_once(clone.add_key()).unwrap().id;
    at_once(file.promote_key(added)).unwrap();

    file.rewrap(&Passphrase::new("correct horse battery")).await.unwrap();
    at_once(clone.add_key()).unwrap();
    let opened =
        Keyring::open(file.path().unwrap(), &Passphrase::new("correct horse battery")).await.unwrap();
    assert_eq!(opened.keys(), file.keys());
    assert_eq!(file.keys().len(), 4);
}

/// Gives a key, and another one when it is asked to open.
struct Forgetful;

impl WrappingKeyProvider for Forgetful {
    fn create(&self) -> ProviderFuture<'_, (Wrapping, WrappingKey)> {
        Box::pin(async { Ok((Wrapping::Raw {}, WrappingKey::new([7; 32]))) })
    }

    fn open<'a>(&'a self, _: &'a Wrapping) -> ProviderFuture<'a, WrappingKey> {
        Box::pin(async { Ok(WrappingKey::new([8; 32])) })
    }
}

#[test]
fn a_rewrap_that_nobody_could_open_is_not_saved() {
    let (_folder, file, _) = rotated();
    let before = files(&file);
    let error = at_once(file.rewrap(&Forgetful)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyringLocked);
    assert!(
        error.to_string().contains("cannot be read back") && error.hint().contains("nothing was changed")
    );
    assert_eq!(at_once(file.rewrap(&Passphrase::new("short"))).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(files(&file), before);
    at_once(file.add_key()).unwrap();
}

#[test]
fn of_two_at_once_one_is_busy_and_changes_nothing() {
    let (_folder, file) = new();
    let other = at_once(Keyring::open(file.path().unwrap(), &raw(1))).unwrap();
    let lock = Lock::take(file.path().unwrap()).unwrap();
    let before = files(&file);
    for changed in [
        at_once(other.add_key()).map(drop),
        at_once(other.rewrap(&raw(2))),
        at_once(file.retire_key(KeyId(1))).map(drop),
    ] {
        let error = changed.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert!(error.to_string().contains("another process is changing the keyring"), "{error}");
    }
    assert_eq!(files(&file), before);
    drop(lock);
    at_once(other.add_key()).unwrap();
}

#[test]
fn many_at_once_lose_no_key() {
    let (_folder, file) = new();
    let path = file.path().unwrap();
    let add = || {
        let file = at_once(Keyring::open(path, &raw(1))).unwrap();
        (0..5).filter_map(|_| at_once(file.add_key()).ok().map(|key| key.id)).collect::<Vec<_>>()
    };
    let added: Vec<KeyId> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(add)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(!added.is_empty());
    let keys = opened(path, &raw(1)).unwrap();
    assert_eq!(keys.generation, 1 + added.len() as u64);
    assert!(added.iter().all(|id| keys.opener(*id).is_ok()));
}

#[test]
fn a_change_starts_from_the_file_and_never_goes_back() {
    let (_folder, file) = new();
    let first = fs::read(file.path().unwrap()).unwrap();
    let other = at_once(Keyring::open(file.path().unwrap(), &raw(1))).unwrap();
    let theirs = at_once(other.add_key()).unwrap().id;
    // what another process added is there, and nothing to do still takes it up
    at_once(file.promote_key(primary(&file))).unwrap();
    assert!(file.current().get(theirs).is_some());
    let ours = at_once(file.add_key()).unwrap().id;
    at_once(other.promote_key(ours)).unwrap();
    assert_eq!(other.keys().len(), 3);

    fs::write(file.path().unwrap(), &first).unwrap();
    let before = files(&file);
    let error = at_once(file.add_key()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyringRolledBack);
    assert!(error.to_string().contains("went back to generation 1; generation 3 is in memory"), "{error}");
    fs::write(file.path().unwrap(), b"{}").unwrap();
    assert_eq!(at_once(file.add_key()).unwrap_err().kind(), ErrorKind::KeyringFile);
    fs::write(file.path().unwrap(), &first).unwrap();
    assert_eq!(files(&file), before);
}

#[test]
fn a_file_that_was_wrapped_anew_elsewhere_is_not_changed() {
    let (_folder, file) = new();
    at_once(at_once(Keyring::open(file.path().unwrap(), &raw(1))).unwrap().rewrap(&raw(2))).unwrap();
    let before = files(&file);
    let error = at_once(file.add_key()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyringLocked);
    assert!(error.hint().contains("new passphrase"), "{}", error.hint());
    assert_eq!(files(&file), before);
}

#[test]
fn a_file_that_changes_while_the_new_one_is_written_is_left_alone() {
    let (_folder, file) = new();
    let other = at_once(Keyring::open(file.path().unwrap(), &raw(1))).unwrap();
    let keys = files(&file);
    let (path, text) = (file.path().unwrap(), fs::read(file.path().unwrap()).unwrap());
    let error = file
        .change_file(path, |found, wrapped| {
            // somebody who takes no lock
            fs::write(path, &text).unwrap();
            let keys = found.add(KeyId(5), Material::random()?, 0)?;
            Ok(KeyringChange::Save(NextGeneration::new(wrapped, keys)))
        })
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyringFile);
    assert!(error.to_string().contains("changed on disk meanwhile; nothing was saved"), "{error}");
    let left: Vec<_> = files(&file).into_iter().filter(|(name, _)| !name.ends_with(".lock")).collect();
    assert_eq!(left, keys);
    at_once(other.add_key()).unwrap();
}

#[test]
fn a_missing_keyring_is_not_made_and_gets_no_lock() {
    let (_folder, file) = new();
    fs::remove_file(file.path().unwrap()).unwrap();
    assert_eq!(at_once(file.add_key()).unwrap_err().kind(), ErrorKind::KeyringMissing);
    assert!(names(&file).is_empty());
}

#[test]
fn what_is_planted_is_refused_or_replaced_and_never_followed() {
    let (folder, file) = new();
    let outside = folder.path().join("outside");
    fs::write(&outside, b"precious").unwrap();
    let lock = private_file::beside(file.path().unwrap(), ".lock");
    symlink(&outside, &lock).unwrap();
    assert!(at_once(file.add_key()).unwrap_err().to_string().contains("is a symlink"));
    fs::remove_file(&lock).unwrap();
    fs::write(&lock, b"").unwrap();
    fs::set_permissions(&lock, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(at_once(file.add_key()).unwrap_err().to_string().contains("is open to group or others"));
    fs::remove_file(&lock).unwrap();

    // files and links in the way of the new file and of the previous one are replaced
    for name in [".new", ".previous", ".previous.new"] {
        let path = private_file::beside(file.path().unwrap(), name);
        fs::remove_file(&path).ok();
        symlink(&outside, &path).unwrap();
    }
    at_once(file.add_key()).unwrap();
    assert_eq!(names(&file), BOTH_AND_LOCK);
    assert!(previous(file.path().unwrap()).symlink_metadata().unwrap().is_file());
    assert_eq!(fs::read(&outside).unwrap(), b"precious");

    // folders are not
    for name in [".new", ".previous", ".previous.new"] {
        let path = private_file::beside(file.path().unwrap(), name);
        fs::remove_file(&path).ok();
        fs::create_dir(&path).unwrap();
        let before = files(&file);
        assert_eq!(at_once(file.add_key()).unwrap_err().kind(), ErrorKind::KeyringFile, "{name}");
        assert_eq!(files(&file), before, "{name}");
        fs::remove_dir(&path).unwrap();
        at_once(file.add_key()).unwrap();
    }

    let home = private_file::folder_of(file.path().unwrap());
    fs::set_permissions(home, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(at_once(file.add_key()).unwrap_err().hint().starts_with("chmod 700"));
}

const MOUNTED: &str = "RETELL_VAULT_TEST_KEYRING_MOUNT";
const CHILD: &str = "keyring::change_file::tests::child_on_a_small_disk";

/// As a child of the test below: fails to change a keyring on a full disk and on a read-only one. By
/// itself it does nothing.
#[test]
fn child_on_a_small_disk() {
    let Some(mount) = std::env::var_os(MOUNTED).map(PathBuf::from) else { return };
    let file = saved(&mount);
    at_once(file.add_key()).unwrap();
    let old = primary(&file);
    let new = at_once(file.add_key()).unwrap().id;
    at_once(file.promote_key(new)).unwrap();

    let filler = mount.join("filler");
    fs::write(&filler, vec![0; 1 << 20]).unwrap_err();
    let mut full = 0;
    loop {
        let before = files(&file);
        let destroyed = at_once(file.destroy_key(old, Grace::Waive));
        let Err(error) = destroyed else { break };
        assert_eq!(error.kind(), ErrorKind::KeyringFile);
        assert!(error.to_string().contains("no storage space"), "{error}");
        assert!(error.hint().contains("nothing was changed; check free space"));
        assert_eq!(files(&file), before);
        assert!(file.current().opener(old).is_ok());
        full += 1;
        // room for one page more
        let filled = fs::metadata(&filler).unwrap().len();
        fs::File::options().write(true).open(&filler).unwrap().set_len(filled - 4096).unwrap();
    }
    assert!(full > 1, "neither the first nor the second file found the disk full");
    assert_eq!(names(&file), BOTH_AND_LOCK);
    assert!(opened(&previous(file.path().unwrap()), &raw(1)).unwrap().opener(old).is_err());

    let remounted = Command::new("mount").args(["-o", "remount,ro"]).arg(&mount).status().unwrap();
    assert!(remounted.success());
    let before = files(&file);
    let error = at_once(file.add_key()).unwrap_err();
    assert!(error.to_string().contains("read-only"), "{error}");
    assert!(error.hint().contains("nothing was changed"), "{}", error.hint());
    assert_eq!(files(&file), before);
    println!("\nsmall disk: done");
}

#[test]
fn a_full_disk_and_a_read_only_one_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // in a mount name space of its own, which vanishes with the child
    let script = "mount -t tmpfs -o size=64k,mode=700 none \"$1\" || exit 77\n\
                  exec \"$2\" --exact \"$3\" --nocapture --test-threads=1";
    let mut child = Command::new("unshare");
    child.args(["-m", "sh", "-c", script, "sh"]).arg(folder.path());
    child.arg(std::env::current_exe().unwrap()).arg(CHILD).env(MOUNTED, folder.path());
    let output = match child.stdin(Stdio::null()).output() {
        Ok(output) if !output.stdout.is_empty() => output,
        _ => return eprintln!("skipped, no mount"),
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("small disk: done"), "{said} {}", String::from_utf8_lossy(&output.stderr));
}
