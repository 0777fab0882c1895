//! The options for the layout, which every command has, and those of `layout`, and their help.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use retell_vault::Layout;
use retell_vault::config::Field;
use retell_vault::layout::FilterValue;

use crate::failure::Failure;

pub const INIT_HELP: &str = "\
With --layout FILE, init uses and keeps that file, and writes no other layout file.
If an option contradicts an existing layout file, init fails and creates nothing.

";
pub const LAYOUT_HELP: &str = "\
The layout file is TOML; docs/LAYOUT.md describes it. None of these commands opens the keyring.

";
pub const CHECK_HELP: &str = "\
Checks the catalogue, not the rows. Exit code 0 if the database matches the layout, 1 if it does not.

";
pub const WRITE_HELP: &str = "\
Writes --table, --user-column, --tenant-column, --column and --where into the file that --layout names, or into
layout.toml in the home. --replace changes an existing file. It keeps the members that no option names, but drops
the comments.

";

pub const DETECT_HELP: &str = "\
Reads names and samples of values of all tables that the role sees, for up to 30 s, and changes nothing in the database.
No value is shown. Exit code 0, also if nothing is found; with --write, 1 if no table was chosen.

";

/// Options that override the layout file.
#[derive(Args)]
pub struct LayoutArgs {
    /// Layout file: table, columns and filter [default: layout.toml in the home, if it exists]
    ///
    /// The options below override the file, for this one command.
    #[arg(
        long = "layout",
        global = true,
        value_name = "FILE",
        env = "RETELL_VAULT_LAYOUT",
        hide_env_values = true
    )]
    layout_file: Option<OsString>,
    /// Table that holds the credentials [default: public.user_profiles]
    #[arg(long, global = true, value_name = "[SCHEMA.]TABLE", value_parser = table)]
    table: Option<String>,
    /// Column of that table with the user id [default: user_id]
    #[arg(long, global = true, value_name = "COLUMN", value_parser = column)]
    user_column: Option<String>,
    /// Column of that table with the tenant id [default: none]
    #[arg(long, global = true, value_name = "COLUMN", value_parser = column)]
    tenant_column: Option<String>,
    /// The column of a field, as in api_key=retell_api_key; may be repeated
    ///
    /// `config` is the JSONB column for fields without a column of their own. `sync` is the column for the time of the
    /// last write. `index` is the column of the index by which owners are found.
    #[arg(long = "column", global = true, value_name = "FIELD=COLUMN", value_parser = field_column)]
    field_columns: Vec<(Field, String)>,
    /// Use only rows with this constant, as in provider=retell; may be repeated
    ///
    /// Digits are an integer, true and false are booleans, and everything else is text. Put a value in double quotes to
    /// make it text: --where 'code="42"'.
    #[arg(long = "where", global = true, value_name = "COLUMN=VALUE", value_parser = constant)]
    constants: Vec<(String, FilterValue)>,
}

/// One of these options.
pub enum LayoutOption<'a> {
    Table(&'a str),
    UserColumn(&'a str),
    TenantColumn(&'a str),
    Column(Field, &'a str),
    Where(&'a str, &'a FilterValue),
}

impl LayoutArgs {
    /// The file that is named. An empty variable names none.
    pub fn named_file(&self) -> Option<&Path> {
        self.layout_file.as_deref().filter(|path| !path.is_empty()).map(Path::new)
    }

    /// Fails where an option that may be given several times stands before the command and after it: clap would drop those
    /// before it, and a filter must not get lost.
    pub fn check_none_lost(&self, typed: impl Iterator<Item = OsString>) -> Result<(), Failure> {
        let typed: Vec<_> = typed.skip(1).take_while(|text| text != "--").collect();
        for (option, kept) in [("--column", self.field_columns.len()), ("--where", self.constants.len())] {
            let is_it = |text: &&OsString| {
                let rest = text.as_encoded_bytes().strip_prefix(option.as_bytes());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"="))
            };
            if typed.iter().filter(is_it).count() != kept {
                return Err(Failure::usage(
                    format!("{option} is given both before and after the command"),
                    "give all of them after the command",
                ));
            }
        }
        Ok(())
    }

    /// The table that is named. Nothing else may be: `command` finds it.
    pub fn only_table(&self, command: &str) -> Result<Option<&str>, Failure> {
        match self.options()?.iter().find(|option| !matches!(option, LayoutOption::Table(_))) {
            Some(option) => Err(Failure::usage(
                format!("{} is an option that {command} does not take", option.name()),
                "it finds the columns itself; to name them, use `retell-vault layout write`",
            )),
            None => Ok(self.table.as_deref()),
        }
    }

    /// The other options that are given.
    ///
    /// # Errors
    /// A field or a column of the filter is given twice.
    pub fn options(&self) -> Result<Vec<LayoutOption<'_>>, Failure> {
        let twice = |option: &str| {
            Failure::usage(format!("{option} is given twice for the same name"), "remove one of them")
        };
        let fields = self.field_columns.iter().map(|(field, _)| field);
        if has_twice(fields) {
            return Err(twice("--column"));
        }
        if has_twice(self.constants.iter().map(|(column, _)| column)) {
            return Err(twice("--where"));
        }
        let table = self.table.as_deref().map(LayoutOption::Table);
        let user = self.user_column.as_deref().map(LayoutOption::UserColumn);
        let tenant = self.tenant_column.as_deref().map(LayoutOption::TenantColumn);
        let columns = self.field_columns.iter().map(|(field, column)| LayoutOption::Column(*field, column));
        let constants = self.constants.iter().map(|(column, value)| LayoutOption::Where(column, value));
        Ok([table, user, tenant].into_iter().flatten().chain(columns).chain(constants).collect())
    }
}

fn has_twice<T: PartialEq>(names: impl Iterator<Item = T>) -> bool {
    let names: Vec<T> = names.collect();
    names.iter().enumerate().any(|(at, name)| names[..at].contains(name))
}

impl LayoutOption<'_> {
    /// The layout as this option changes it.
    pub fn apply(&self, layout: Layout) -> Result<Layout, Failure> {
        let changed = match *self {
            Self::Table(name) => layout.table(name),
            Self::UserColumn(name) => layout.user_column(name),
            Self::TenantColumn(name) => layout.tenant_column(name),
            Self::Column(field, name) if field.name() == "config" => layout.config_column(name),
            Self::Column(field, name) if field.name() == "sync" => layout.sync_column(name),
            Self::Column(field, name) if field.name() == "index" => layout.index_column(name),
            Self::Column(field, name) => layout.column(field, name),
            Self::Where(column, value) => layout.where_equals(column, value.clone()),
        };
        changed.map_err(|error| match self {
            // the library repeats the field, which may be a secret here
            Self::Column(..) => {
                Failure::usage("--column: there is no such field, or it cannot have a column", error.hint())
            }
            _ => Failure::from(error).about(self.name()),
        })
    }

    /// The option as it is typed.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Table(_) => "--table",
            Self::UserColumn(_) => "--user-column",
            Self::TenantColumn(_) => "--tenant-column",
            Self::Column(..) => "--column",
            Self::Where(..) => "--where",
        }
    }

    /// The corresponding member of the layout file.
    pub fn member(&self) -> String {
        match self {
            Self::Table(_) => "table.name".to_owned(),
            Self::UserColumn(_) => "table.user".to_owned(),
            Self::TenantColumn(_) => "table.tenant".to_owned(),
            Self::Column(field, _) => format!("columns.{field}"),
            Self::Where(..) => "table.where".to_owned(),
        }
    }
}

/// Show, check or write the layout.
#[derive(Subcommand)]
pub enum LayoutCommand {
    /// Show where every field would be stored, which columns are not touched, and why
    Show,
    /// Compare the layout with the database; fails if they differ
    Check(LayoutCheckArgs),
    /// Write the options for the layout into the layout file
    Write(LayoutWriteArgs),
    /// Find the table and columns that hold credentials today; with --write, write a layout for them
    Detect(LayoutDetectArgs),
}

#[derive(Args)]
pub struct LayoutDetectArgs {
    /// Look at this schema only
    #[arg(long, value_name = "SCHEMA")]
    pub schema: Option<String>,
    /// Write a layout for the table that was found, or for the one that --table names
    #[arg(long)]
    pub write: bool,
    /// With --write: replace an existing layout file
    #[arg(long, requires = "write")]
    pub replace: bool,
}

#[derive(Args)]
pub struct LayoutCheckArgs {
    /// Another layout file for this database; fails if both would write the same columns of the same rows. May be
    /// repeated
    #[arg(long, value_name = "FILE")]
    pub beside: Vec<PathBuf>,
}

#[derive(Args)]
pub struct LayoutWriteArgs {
    /// Change an existing layout file; its comments are lost
    #[arg(long)]
    pub replace: bool,
}

// --- Values are checked here, so that an invalid one is a usage error ---

pub fn table(text: &str) -> retell_vault::Result<String> {
    Layout::new().table(text).map(|_| text.to_owned())
}

pub fn column(text: &str) -> retell_vault::Result<String> {
    Layout::new().user_column(text).map(|_| text.to_owned())
}

fn field_column(text: &str) -> Result<(Field, String), String> {
    let (field, name) =
        text.split_once('=').ok_or("give a field and its column, as in api_key=retell_api_key")?;
    let field = field.parse::<Field>().map_err(|error| error.to_string())?;
    column(name).map(|name| (field, name)).map_err(|error| error.to_string())
}

fn constant(text: &str) -> Result<(String, FilterValue), String> {
    let (name, value) = text.split_once('=').ok_or("give a column and its value, as in provider=retell")?;
    let name = column(name).map_err(|error| error.to_string())?;
    let value = filter_value(value)?;
    let checked = Layout::new().where_equals(&name, value.clone());
    checked
        .map(|_| (name, value))
        .map_err(|_| "text must have at most 255 bytes and no control characters".to_owned())
}

fn filter_value(text: &str) -> Result<FilterValue, String> {
    let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match (quoted, text) {
        (Some(text), _) => Ok(FilterValue::from(text)),
        (None, "") => Err("the value is empty; write an empty text as \"\"".to_owned()),
        (None, "true" | "false") => Ok(FilterValue::from(text == "true")),
        (None, _) if is_number && is_canonical(digits, text) => {
            text.parse().map(FilterValue::Integer).map_err(|_| "an integer has at most 64 bits".to_owned())
        }
        (None, _) if is_number => {
            Err("an integer has no leading zero; put text that consists of digits in double quotes"
                .to_owned())
        }
        _ => Ok(FilterValue::from(text)),
    }
}

fn is_canonical(digits: &str, text: &str) -> bool {
    text == "0" || !digits.starts_with('0')
}
