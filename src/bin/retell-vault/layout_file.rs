//! The layout of a command: the layout file with the options applied. Also writes that file.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;

use retell_vault::Layout;

use crate::args::global::Global;
use crate::args::layout::LayoutOption;
use crate::failure::Failure;
use crate::input;

const HEADING: &str = "# The layout of retell-vault, described in docs/LAYOUT.md\n";

/// The layout of a command.
pub fn layout(global: &Global) -> Result<Layout, Failure> {
    let layout = written(global)?.unwrap_or_default();
    global.layout.options()?.iter().try_fold(layout, |layout, option| option.apply(layout))
}

/// The layout of a command that opens the vault. A file that is named must not write what the layout of the home writes.
pub fn for_vault(global: &Global) -> Result<Layout, Failure> {
    let (named, of_home) = (written(global)?, global.layout_of_home());
    if let (Some(named), Some(at_home)) = (named, read(&of_home)?) {
        at_home.check_beside(&named).map_err(|error| {
            let hint = "edit the layout of the home, or use another home for another layout (--home)";
            Failure::from(error).about(&of_home.display().to_string()).with_hint(hint)
        })?;
    }
    layout(global)
}

/// The layout of the layout file. `None`: there is none, and none was named.
pub fn written(global: &Global) -> Result<Option<Layout>, Failure> {
    let layout = read(&global.layout_file())?;
    match (&layout, global.layout.named_file()) {
        (None, Some(path)) => Err(Failure::new(
            format!("the layout file {} does not exist", path.display()),
            "name an existing file with --layout or RETELL_VAULT_LAYOUT; `retell-vault layout write` creates one",
        )),
        _ => Ok(layout),
    }
}

/// The layout of a file, if the file exists.
pub fn read(path: &Path) -> Result<Option<Layout>, Failure> {
    let Some(text) = input::layout(path)? else { return Ok(None) };
    let layout = Layout::from_toml(&text);
    layout.map(Some).map_err(|error| Failure::from(error).about(&path.display().to_string()))
}

/// The first option that contradicts a layout.
pub fn contradicting<'a>(
    options: &'a [LayoutOption<'a>],
    layout: &Layout,
) -> Result<Option<&'a LayoutOption<'a>>, Failure> {
    for option in options {
        if option.apply(layout.clone())? != *layout {
            return Ok(Some(option));
        }
    }
    Ok(None)
}

/// What `init` does about the layout file.
pub enum InitLayout {
    /// No layout option was given.
    NotGiven,
    /// The file exists and matches.
    Kept(PathBuf),
    /// It is to be written.
    New(Box<Layout>),
}

impl InitLayout {
    /// Even if a keyring already exists, the layout can be written.
    pub fn hint_at_write(&self, global: &Global, failure: Failure) -> Failure {
        match self {
            Self::New(_) if global.keyring().symlink_metadata().is_ok() => failure.with_hint(
                "nothing was changed; `retell-vault layout write` with the same options writes the layout alone",
            ),
            _ => failure,
        }
    }
}

/// # Errors
/// An existing file contradicts an option. Nothing was created.
pub fn for_init(global: &Global) -> Result<InitLayout, Failure> {
    let (options, path) = (global.layout.options()?, global.layout_file());
    match written(global)? {
        _ if options.is_empty() => Ok(InitLayout::NotGiven),
        None => Ok(InitLayout::New(Box::new(layout(global)?))),
        Some(layout) => match contradicting(&options, &layout)? {
            None => Ok(InitLayout::Kept(path)),
            Some(option) => Err(contradiction(option, &path).with_hint(
                "nothing was created; remove the option, or change the file (`retell-vault layout write --replace`)",
            )),
        },
    }
}

/// An option contradicts a file.
pub fn contradiction(option: &LayoutOption<'_>, path: &Path) -> Failure {
    let (path, option, member) = (path.display(), option.name(), option.member());
    Failure::new(format!("{path} contradicts {option}: member {member}"), "")
}

/// Writes a layout file, as a whole or not at all. Returns its path.
pub fn write(path: &Path, layout: &Layout) -> Result<String, Failure> {
    write_text(path, &layout.to_toml())
}

/// As [`write`], with the text of the layout.
pub fn write_text(path: &Path, text: &str) -> Result<String, Failure> {
    let failed = |error: io::Error| {
        Failure::new(
            format!("cannot write {}: {error}", path.display()),
            "check free space, owner and mode of its folder",
        )
    };
    save(path, &format!("{HEADING}{text}")).map_err(failed)?;
    Ok(path.display().to_string())
}

fn save(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // the home, which nobody else may use
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", process::id()));
    let new = folder.join(name);
    let saved = put(&new, text).and_then(|()| fs::rename(&new, path));
    if saved.is_err() {
        fs::remove_file(&new).ok();
    }
    saved?;
    File::open(folder)?.sync_all()
}

/// It holds no secret, so others may read it.
fn put(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
