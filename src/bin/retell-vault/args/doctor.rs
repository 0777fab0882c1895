//! The options of `doctor`, and its help.

use std::time::Duration;

use clap::{Args, value_parser};
use retell_vault::doctor::DoctorOptions;
use retell_vault::{Layout, Owner};

use crate::args::global::{Global, owner};
use crate::args::layout::{column, table};
use crate::failure::Failure;

pub const EXIT_CODES: &str = "\
Exit codes of doctor, which differ from those of other commands:
  0  healthy: no problems found, at most notices
  1  degraded: a protection is missing, or something will fail
  2  critical: credentials leak or are lost. A failed examination and wrong usage also exit with 2, but
     print `error: …` and no verdict";
const DAY: u64 = 24 * 60 * 60;

#[derive(Args)]
pub struct DoctorArgs {
    /// Open every record in the database and in the local file; takes as long as reading the whole table
    #[arg(long)]
    deep: bool,
    /// Verify the ledger too, and report what a restore of the database put back; opens every record
    #[arg(long)]
    after_restore: bool,
    /// Maximum age of the primary key, in days [default: 365]
    #[arg(long, value_name = "DAYS", value_parser = value_parser!(u64).range(1..=36_500))]
    key_age: Option<u64>,
    /// Table of the application's users; doctor reports owners that are not in it
    #[arg(long, value_name = "[SCHEMA.]TABLE", value_parser = table, requires = "users_column")]
    users_table: Option<String>,
    /// Column of that table with the user id
    #[arg(long, value_name = "COLUMN", value_parser = column, requires = "users_table")]
    users_column: Option<String>,
    /// Act as the first owner, and try to read and write the row of the second; always rolled back
    ///
    /// Both must have a row. An owner is USER, or TENANT/USER in a table with tenants.
    #[arg(long, num_args = 2, value_names = ["OWNER_A", "OWNER_B"])]
    probe: Option<Vec<String>>,
}

impl DoctorArgs {
    /// What to examine.
    ///
    /// # Errors
    /// `--probe` does not name two different owners, or no database is named.
    pub fn options(&self, global: &Global, layout: &Layout) -> Result<DoctorOptions, Failure> {
        let mut options = DoctorOptions::new();
        if self.deep {
            options = options.deep();
        }
        if self.after_restore {
            options = options.after_restore();
        }
        if let Some(days) = self.key_age {
            options = options.key_age(Duration::from_secs(days * DAY));
        }
        if let (Some(table), Some(column)) = (&self.users_table, &self.users_column) {
            options = options.users_table(table, column);
        }
        if let Some([actor, other]) = self.probe.as_deref() {
            let (actor, other) = (probed(layout, actor)?, probed(layout, other)?);
            if actor == other {
                return Err(Failure::usage("--probe: both owners are the same", "name two different owners"));
            }
            options = options.probe(actor, other);
        }
        self.check_database(global)?;
        Ok(options)
    }

    /// Without a database, these options would do nothing, and the result would look healthy.
    fn check_database(&self, global: &Global) -> Result<(), Failure> {
        let option = match (&self.probe, &self.users_table) {
            (Some(_), _) => "--probe",
            (None, Some(_)) => "--users-table",
            (None, None) if self.after_restore => "--after-restore",
            (None, None) => return Ok(()),
        };
        match global.database_url() {
            Some(_) => Ok(()),
            None => Err(Failure::usage(
                format!("{option} needs a database"),
                "name it with DATABASE_URL or --database-url",
            )),
        }
    }
}

/// Parses an owner of `--probe`.
fn probed(layout: &Layout, text: &str) -> Result<Owner, Failure> {
    let wrong = |message: String| {
        Failure::usage(
            message,
            "an owner is USER, or TENANT/USER in a table with tenants (--tenant-column, or `tenant` in the layout file)",
        )
    };
    let parsed = match layout.has_tenants() {
        false => owner(text, None),
        true => {
            let split = text.split_once('/');
            let (tenant, user) = split.ok_or_else(|| wrong("--probe: an owner lacks a tenant".to_owned()))?;
            owner(user, Some(tenant))
        }
    };
    parsed.map_err(|failure| wrong(format!("--probe: {}", failure.message())))
}
