//! The ids of all findings, for users, monitors and docs/DOCTOR.md. A released id keeps its name and its area. The tables
//! of docs/DOCTOR.md describe each finding, and the tests below keep both in step.

use crate::doctor::finding::{Area, FindingId};

/// Defines a constant for each id, and the list of all of them.
macro_rules! finding_ids {
    ($($constant:ident = $area:ident $name:literal,)*) => {
        $(pub(crate) const $constant: FindingId = FindingId { name: $name, area: Area::$area };)*

        /// Every id, after the name of its constant.
        #[cfg(test)]
        const ALL: &[(&str, FindingId)] = &[$((stringify!($constant), $constant)),*];
    };
}

finding_ids! {
    // schema
    TABLE_MISSING = Schema "table_missing",
    NOT_A_TABLE = Schema "not_a_table",
    TABLE_NOT_DURABLE = Schema "table_not_durable",
    OWNER_UNUSABLE = Schema "owner_unusable",
    COLUMN_MISSING = Schema "column_missing",
    COLUMN_MISTYPED = Schema "column_mistyped",
    COLUMN_TOO_SHORT = Schema "column_too_short",
    COLUMN_UNGUARDED = Schema "column_unguarded",
    COLUMN_GENERATED = Schema "column_generated",
    MISSING_GRANT = Schema "missing_grant",
    OWNER_NOT_UNIQUE = Schema "owner_not_unique",
    DUPLICATE_OWNERS = Schema "duplicate_owners",
    STATUS_UNCHECKED = Schema "status_unchecked",
    SCHEMA_BLOCKED = Schema "schema_blocked",
    SCHEMA_DIFFERS = Schema "schema_differs",
    INVALID_INDEX = Schema "invalid_index",
    INDEX_ON_CIPHERTEXT = Schema "index_on_ciphertext",
    DUPLICATE_INDEX = Schema "duplicate_index",
    UNUSED_INDEX = Schema "unused_index",
    OWNER_SCANS = Schema "owner_scans",
    ORPHANS = Schema "orphans",
    VAULT_SCHEMA_INCOMPLETE = Schema "vault_schema_incomplete",
    REMOVALS_NOT_NOTED = Schema "removals_not_noted",
    // exposure
    PLAINTEXT = Exposure "plaintext",
    ENCODED_PLAINTEXT = Exposure "encoded_plaintext",
    FOREIGN_CIPHERTEXT = Exposure "foreign_ciphertext",
    MALFORMED_TOKEN = Exposure "malformed_token",
    SECRET_IN_WEBHOOK_CONFIG = Exposure "secret_in_webhook_config",
    OLD_VALUES_LEFT = Exposure "old_values_left",
    OLD_VALUES_NOT_IMPORTED = Exposure "old_values_not_imported",
    OLD_VALUES_COPIED = Exposure "old_values_copied",
    // access
    ROW_SECURITY_OFF = Access "row_security_off",
    ROW_SECURITY_NOT_FORCED = Access "row_security_not_forced",
    ROW_SECURITY_HIDES_ROWS = Access "row_security_hides_rows",
    POLICY_ALWAYS_TRUE = Access "policy_always_true",
    POLICY_IGNORES_ROWS = Access "policy_ignores_rows",
    POLICY_REACHES_ANON = Access "policy_reaches_anon",
    POLICY_RECURSION = Access "policy_recursion",
    AUTH_UID_BREAKS = Access "auth_uid_breaks",
    AUTH_UID_NOT_TRUSTED = Access "auth_uid_not_trusted",
    POLICY_CALLS_OTHERS = Access "policy_calls_others",
    SESSION_IS_SUPERUSER = Access "session_is_superuser",
    GRANTED_TO_ANON = Access "granted_to_anon",
    GRANTED_TO_PUBLIC = Access "granted_to_public",
    BYPASSES_ROW_SECURITY = Access "bypasses_row_security",
    DEFINER_SEARCH_PATH = Access "definer_search_path",
    DEFINER_CALLABLE = Access "definer_callable",
    VIEW_WITHOUT_INVOKER = Access "view_without_invoker",
    MATERIALIZED_VIEW = Access "materialized_view",
    PARTITION_OPEN = Access "partition_open",
    VAULT_TABLE_OPEN = Access "vault_table_open",
    VAULT_SCHEMA_OWNER = Access "vault_schema_owner",
    VAULT_SCHEMA_OPEN = Access "vault_schema_open",
    VAULT_SCHEMA_PLANTED = Access "vault_schema_planted",
    LEDGER_REWRITABLE = Access "ledger_rewritable",
    PROBE_READS = Access "probe_reads",
    PROBE_UPDATES = Access "probe_updates",
    PROBE_DELETES = Access "probe_deletes",
    PROBE_INSERTS = Access "probe_inserts",
    PROBE_MOVES = Access "probe_moves",
    PROBE_WITHOUT_ROW = Access "probe_without_row",
    PROBE_MEANINGLESS = Access "probe_meaningless",
    PROBE_OWN_ROW_HIDDEN = Access "probe_own_row_hidden",
    PROBE_ROWS_CHANGED = Access "probe_rows_changed",
    // keys
    WRONG_KEYRING = Keys "wrong_keyring",
    UNKNOWN_KEY = Keys "unknown_key",
    DESTROYED_KEY = Keys "destroyed_key",
    OLDER_KEYRING = Keys "older_keyring",
    RETIRED_KEY = Keys "retired_key",
    OUTSIDE_LAYOUT = Keys "outside_layout",
    OLD_KEY = Keys "old_key",
    MIXED_RECORD = Keys "mixed_record",
    INCOMPLETE_RECORD = Keys "incomplete_record",
    LEFTOVER_TOKENS = Keys "leftover_tokens",
    LATER_FORMAT = Keys "later_format",
    VERSION_AHEAD = Keys "version_ahead",
    UNREADABLE_RECORD = Keys "unreadable_record",
    DAMAGED_LOCAL_RECORD = Keys "damaged_local_record",
    KEYRING_ROW_LOCKED = Keys "keyring_row_locked",
    KEYRING_ROWS_MIXED = Keys "keyring_rows_mixed",
    // operation
    RESTORE_UNKNOWN = Operation "restore_unknown",
    LEDGER_WENT_BACK = Operation "ledger_went_back",
    LEDGER_BROKEN = Operation "ledger_broken",
    RECORDS_WENT_BACK = Operation "records_went_back",
    DATABASE_UNREACHABLE = Operation "database_unreachable",
    SERVER_TOO_OLD = Operation "server_too_old",
    TLS_OFF = Operation "tls_off",
    TLS_UNVERIFIED = Operation "tls_unverified",
    POOLER_NOT_RECOGNISED = Operation "pooler_not_recognised",
    STANDBY = Operation "standby",
    READ_ONLY = Operation "read_only",
    FSYNC_OFF = Operation "fsync_off",
    VACUUM_LAGS = Operation "vacuum_lags",
    AUTOVACUUM_OFF = Operation "autovacuum_off",
    NEVER_ANALYSED = Operation "never_analysed",
    INDEX_HIT_RATE = Operation "index_hit_rate",
    CLOCK_SKEW = Operation "clock_skew",
    KEYRING_OPEN = Operation "keyring_open",
    LOCAL_FILE_OPEN = Operation "local_file_open",
    PENDING_RECORDS = Operation "pending_records",
    DEAD_LETTERS = Operation "dead_letters",
    KEPT_RECORDS = Operation "kept_records",
    INDEX_INCOMPLETE = Operation "index_incomplete",
    SHARED_VALUES = Operation "shared_values",
    SHARED_SECRETS = Operation "shared_secrets",
    LOCAL_FILE_DAMAGED = Operation "local_file_damaged",
    HOST_GENERATION = Operation "host_generation",
    HOST_NOTES_STALE = Operation "host_notes_stale",
    // in every area that could not be examined
    NOT_EXAMINED = Operation "not_examined",
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    const MANUAL: &str = include_str!("../../docs/DOCTOR.md");
    const AREAS: [Area; 5] = [Area::Schema, Area::Exposure, Area::Access, Area::Keys, Area::Operation];
    /// Ids that are plain words somewhere else: names of columns, of keys in JSON, and of a backup table.
    const WORDS: [(&str, &str); 3] = [
        ("rows/name_patterns.rs", "plaintext"),
        ("rows/json_secrets.rs", "plaintext"),
        ("orphans.rs", "orphans"),
    ];

    /// The ids in the tables of the manual, each after the area of its section.
    fn documented(manual: &str) -> BTreeSet<(&'static str, &str)> {
        let mut documented = BTreeSet::new();
        for section in manual.split("\n## ") {
            let title = section.lines().next().unwrap_or_default().to_lowercase();
            let Some(area) = AREAS.map(Area::as_str).into_iter().find(|area| title == *area) else {
                continue;
            };
            for row in section.lines().filter_map(|line| line.strip_prefix("| `")) {
                let cell = row.split('|').next().unwrap_or_default();
                let ids = cell.split(['`', ',', ' ']).filter(|word| !word.is_empty());
                documented.extend(ids.map(|id| (area, id)));
            }
        }
        documented
    }

    /// Ids that only the manual or only the registry has.
    fn differences(manual: &str) -> Vec<(&'static str, String)> {
        let registered: BTreeSet<_> = ALL.iter().map(|(_, id)| (id.area.as_str(), id.name)).collect();
        let documented = documented(manual);
        let differences = registered.symmetric_difference(&documented);
        differences.map(|(area, id)| (*area, (*id).to_owned())).collect()
    }

    #[test]
    fn the_manual_has_every_id_in_its_area_and_no_other() {
        assert_eq!(differences(MANUAL), []);
        let names: BTreeSet<_> = ALL.iter().map(|(_, id)| id.name).collect();
        assert_eq!(names.len(), ALL.len(), "an id is registered twice");
    }

    #[test]
    fn an_id_that_is_missing_or_in_another_area_is_noticed() {
        let without = MANUAL.replace("| `old_key` |", "| |");
        assert_eq!(differences(&without), [("keys", "old_key".to_owned())]);
        let unknown = MANUAL.replace("| `old_key` |", "| `old_key`, `odd_key` |");
        assert_eq!(differences(&unknown), [("keys", "odd_key".to_owned())]);
        let elsewhere =
            MANUAL.replace("\n## Keys\n", "\n## Others\n").replace("\n## Operation\n", "\n## Keys\n");
        assert!(differences(&elsewhere).contains(&("operation", "standby".to_owned())));
    }

    /// The files of the doctor without this one, by their path, without tests.
    fn sources(folder: &Path, below: &str) -> Vec<(String, String)> {
        let mut sources = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{below}{}", path.file_name().unwrap().display());
            match path.extension().and_then(|extension| extension.to_str()) {
                None => sources.extend(self::sources(&path, &format!("{name}/"))),
                Some("rs") if name != "finding_ids.rs" => {
                    let text = fs::read_to_string(&path).unwrap();
                    let code = text.split("\n#[cfg(test)]\n").next().unwrap_or_default().to_owned();
                    sources.push((name, code));
                }
                Some(_) => {}
            }
        }
        sources
    }

    #[test]
    fn every_id_is_used_and_spelled_nowhere_else() {
        let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/doctor"), "");
        assert!(sources.len() > 15, "only {} files were looked at", sources.len());
        let used: BTreeSet<&str> = sources
            .iter()
            .flat_map(|(_, code)| code.split("ids::").skip(1))
            .filter_map(|rest| rest.split(|char: char| !char.is_ascii_uppercase() && char != '_').next())
            .collect();
        for (constant, id) in ALL {
            assert!(used.contains(constant), "no finding has the id {}", id.name);
            let literal = format!("\"{}\"", id.name);
            let spelled =
                sources.iter().filter(|(_, code)| code.contains(&literal)).map(|(path, _)| path.as_str());
            let spelled: Vec<_> = spelled.filter(|path| !WORDS.contains(&(path, id.name))).collect();
            assert_eq!(spelled, [""; 0], "{} is spelled outside of the registry", id.name);
        }
    }
}
