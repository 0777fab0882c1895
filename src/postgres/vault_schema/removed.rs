//! The table `retell_vault.removed`: which rows of the application's tables were deleted. A trigger writes it, so that the
//! ledger tells a row that the application deleted from one that is missing without a trace.

use crate::postgres::sql::names::literal;

pub(crate) const REMOVED: &str = "retell_vault.removed";
/// The function of all triggers, with its arguments.
pub(crate) const NOTE_REMOVED: &str = "retell_vault.note_removed()";

/// Runs as the owner of the schema, whatever role deletes the row. A deletion of the application must not fail because the vault's
/// table or a column is gone. `concat` calls no cast that somebody defined. A UUID is in lower case, as in entries.
pub(super) const NOTE_REMOVED_BODY: &str = "
DECLARE
  ids pg_catalog.text[];
  id pg_catalog.text;
BEGIN
  IF pg_catalog.to_regclass('retell_vault.removed') IS NULL THEN
    RETURN NULL;
  END IF;
  FOR n IN 1 .. TG_NARGS - 1 LOOP
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE attrelid = TG_RELID
      AND attname::pg_catalog.text = TG_ARGV[n] AND NOT attisdropped) THEN
      RETURN NULL;
    END IF;
    EXECUTE pg_catalog.format('SELECT CASE WHEN ($1).%1$I IS NOT NULL THEN pg_catalog.concat(($1).%1$I) END', TG_ARGV[n])
      INTO id USING OLD;
    IF id ~ '^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$' THEN
      id := pg_catalog.lower(id);
    END IF;
    ids[n] := id;
  END LOOP;
  INSERT INTO retell_vault.removed (place, usr, tenant, role) VALUES (TG_ARGV[0], ids[1], ids[2], SESSION_USER);
  RETURN NULL;
END
";

/// The statement that creates the function. It can be repeated.
pub(super) fn create_function() -> String {
    format!(
        "CREATE OR REPLACE FUNCTION {NOTE_REMOVED} RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS {}",
        literal(NOTE_REMOVED_BODY)
    )
}
