//! The files of this host: for nobody but their owner.

use std::path::Path;

use crate::doctor::Host;
use crate::doctor::finding::{Area, Finding, Mend, Severity};
use crate::keyring::private_file::{self, Openness};

pub(super) fn look(host: &Host<'_>) -> Vec<Finding> {
    let keyring = host.router.keyring.path();
    let mut places = vec![
        (keyring.to_owned(), "keyring_open", "the keyring"),
        (private_file::beside(keyring, ".previous"), "keyring_open", "the keyring before the last change"),
        (private_file::folder_of(keyring).to_owned(), "keyring_open", "the folder of the keyring"),
    ];
    if let Some(local) = &host.router.local {
        let files = ["", "-wal", "-shm", "-journal"].map(|suffix| private_file::beside(local.path(), suffix));
        places.extend(files.map(|file| (file, "local_file_open", "the local file")));
        let folder = private_file::folder_of(local.path()).to_owned();
        if places.iter().all(|(path, ..)| *path != folder) {
            places.push((folder, "local_file_open", "the folder of the local file"));
        }
    }
    places.into_iter().filter_map(|(path, id, what)| open_to_others(&path, id, what)).collect()
}

fn open_to_others(path: &Path, id: &'static str, what: &str) -> Option<Finding> {
    let (problem, mend) = match private_file::openness(path)? {
        Openness::Mode { mode, private } => (
            format!("is open to group or others (mode {mode:03o})"),
            Mend::Command(format!("chmod {private} {}", shell_word(path))),
        ),
        Openness::Stranger => (
            "belongs to another user".to_owned(),
            Mend::Advice(
                "run as its owner, or move it to a folder of this user and make that one private".to_owned(),
            ),
        ),
    };
    let meaning =
        format!("{what} {problem}: a vault that starts refuses it, and others may have copied it meanwhile");
    Some(Finding::new(
        (Area::Operation, Severity::Critical, id),
        format!("file {}", path.display()),
        meaning,
        mend,
    ))
}

/// As one word for the shell.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = text.chars().all(|char| char.is_ascii_alphanumeric() || "/._-+".contains(char));
    match is_plain && !text.starts_with('-') {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_paths_are_one_word_for_the_shell() {
        assert_eq!(shell_word(Path::new("/srv/vault/keyring.json")), "/srv/vault/keyring.json");
        assert_eq!(shell_word(Path::new("it's; here")), r"'it'\''s; here'");
    }
}
