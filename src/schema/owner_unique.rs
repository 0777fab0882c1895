//! The unique constraint on the owner, and the removal of an owner's duplicate rows.

use crate::postgres::sql::names::{in_schema, literal, our_name, owner_columns, quote};
use crate::postgres::sql::token::{any_version, member};
use crate::schema::evidence::{duplicates_exist, nulls_count, rows_differ, with_owner};
use crate::schema::indexes::{Predicate, WantedIndex};
use crate::schema::object_owner::{lock_down_sql, without_force};
use crate::schema::plan_input::{PlanDraft, PlanInput};
use crate::schema::step::{LockLevel, Step};

/// The first version with `NULLS NOT DISTINCT`.
const POSTGRES_15: i32 = 150_000;

pub(super) fn draft(input: &PlanInput<'_>, draft: &mut PlanDraft) {
    if input.table.unique {
        return;
    }
    if let Some(key) = foreign_partition_key(input) {
        draft.notes.push(format!(
            "no unique constraint on the owner is possible, because {} is partitioned by {key}, which the \
             constraint would have to contain; without one, the vault creates each row under a lock for its owner",
            input.layout.table_name()
        ));
        return;
    }
    if is_blocked(input, draft) {
        return;
    }
    let index = unique(input);
    match input.evidence.duplicates {
        Some(false) => {}
        _ if input.wanted.remove_duplicates => draft.steps.push(remove_duplicates(input, &index)),
        _ => draft.notes.push(format!(
            "it is not known whether owners have several rows in {}; if they do, building the unique index fails",
            input.layout.table_name()
        )),
    }
    let reason = "no usable unique constraint prevents a second row for an owner";
    index.draft(input, "owner.unique".to_owned(), reason.to_owned(), draft);
}

/// Whether a problem blocks the constraint. Adds the problem to the draft.
fn is_blocked(input: &PlanInput<'_>, draft: &mut PlanDraft) -> bool {
    let (reason, hint) =
        if nulls_count(input.layout, input.table) && input.definitions.server.version < POSTGRES_15 {
            let tenant = input.layout.tenant_column.as_deref().unwrap_or_default();
            (
                format!("{tenant} may be NULL, and before Postgres 15 no unique constraint covers NULL"),
                format!("run `ALTER TABLE {} ALTER COLUMN {} SET NOT NULL`", input.relation(), quote(tenant)),
            )
        } else {
            match duplicates_stand(input) {
                Some(words) => words,
                None => return false,
            }
        };
    draft.block(format!("owner of {}", input.layout.table_name()), reason, hint);
    true
}

fn duplicates_stand(input: &PlanInput<'_>) -> Option<(String, String)> {
    let cascades = &input.definitions.relation.cascades;
    match (input.wanted.remove_duplicates, input.evidence.duplicates) {
        (_, Some(false)) => None,
        (false, Some(true)) => Some((
            "owners have several rows".to_owned(),
            "plan with `--remove-duplicates` (`Wanted::remove_duplicates`) to move all but the newest row of each \
             owner to another table".to_owned(),
        )),
        (true, _) if input.evidence.rows_differ == Some(true) => Some((
            "some owners have several rows that differ in columns of the application".to_owned(),
            "these rows are not duplicates: distinguish them in the layout (`where`), or merge them yourself".to_owned(),
        )),
        (true, _) if !cascades.is_empty() => Some((
            format!("some owners may have several rows, and deleting one would change rows of {}", cascades.join(", ")),
            "remove the rows yourself, or drop ON DELETE CASCADE, SET NULL or SET DEFAULT from the foreign keys".to_owned(),
        )),
        _ => None,
    }
}

/// A column of the partition key that is not one of the owner's columns.
fn foreign_partition_key(input: &PlanInput<'_>) -> Option<String> {
    let layout = input.layout;
    let is_owner = |name: &String| *name == layout.user_column || Some(name) == layout.tenant_column.as_ref();
    let key = input.definitions.relation.partition_key.iter();
    let mut foreign = key.filter(|column| !column.as_ref().is_some_and(is_owner));
    foreign.next().map(|column| column.clone().unwrap_or_else(|| "an expression".to_owned()))
}

fn unique(input: &PlanInput<'_>) -> WantedIndex {
    let names = [input.layout.tenant_column.as_ref(), Some(&input.layout.user_column)];
    let (deciding, predicate) = (input.layout.filter.columns().next(), input.table.filter.index_predicate());
    WantedIndex {
        name: our_name(&[&input.layout.table, "owner", &input.table.filter.mark()]),
        method: "btree",
        columns: names.into_iter().flatten().cloned().collect(),
        unique: true,
        nulls_not_distinct: nulls_count(input.layout, input.table),
        predicate: deciding.zip(predicate).map(|(column, sql)| Predicate { column: column.to_owned(), sql }),
        options: "",
    }
}

/// Moves all but the newest row of each owner to another table, so that `index` can be built.
fn remove_duplicates(input: &PlanInput<'_>, index: &WantedIndex) -> Step {
    let (relation, beside) = (input.relation(), beside(input));
    let known = match input.evidence.duplicates {
        Some(_) => "owners have several rows",
        None => "some owners may have several rows, which the time limit did not allow to check",
    };
    let columns = columns(input).join(", ");
    let removed = format!(
        "WITH gone AS (DELETE FROM {relation} AS t USING ({}) AS r \
         WHERE t.ctid = r.ctid AND t.tableoid = r.tableoid AND r.place > 1 RETURNING t.*) \
         INSERT INTO {beside} ({columns}) SELECT {columns} FROM gone",
        ranked(input)
    );
    let forced = input.definitions.relation.forced;
    let reach_all = |statements| without_force(&relation, forced, statements);
    let sql = [
        // writers wait, so that the newest row stays the newest
        format!("LOCK TABLE {relation} IN SHARE ROW EXCLUSIVE MODE"),
        // fails if a policy would hide rows
        "SELECT pg_catalog.set_config('row_security', 'off', true)".to_owned(),
        unless_different(input),
        format!("CREATE TABLE {beside} AS SELECT {columns} FROM {relation} WITH NO DATA"),
    ];
    let restored =
        format!("INSERT INTO {relation} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {beside}");
    Step {
        id: "owner.duplicates".to_owned(),
        object: format!("rows of {}", input.layout.table_name()),
        reason: format!("{known}: moves all but the newest row of each owner to another table"),
        sql: reach_all(sql.into_iter().chain(lock_down_sql(&beside)).chain([removed]).collect()),
        undo: reach_all(vec![all_of(&restored, &beside), format!("DROP TABLE {beside}")]),
        lock: if forced { LockLevel::AccessExclusive } else { LockLevel::ShareRowExclusive },
        rewrites: false,
        concurrent: false,
        instead: None,
        done_if: format!("({} OR NOT {})", index.done_if(input), duplicates_exist(input.layout, input.table)),
        at_risk: None,
    }
}

/// Fails if rows of one owner differ in columns of the application, because the plan checked only a sample.
fn unless_different(input: &PlanInput<'_>) -> String {
    let body = format!(
        "BEGIN IF {} THEN RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = {}; END IF; END",
        rows_differ(input.layout, input.table),
        literal("rows of one owner differ in columns of the application, so they are not duplicates")
    );
    format!("DO {}", literal(&body))
}

/// Restores every row or fails. A trigger of the application may drop a second row of an owner, which must not be lost.
fn all_of(restored: &str, beside: &str) -> String {
    let body = format!(
        "DECLARE n bigint; BEGIN EXECUTE {}; GET DIAGNOSTICS n = ROW_COUNT; \
         IF n <> (SELECT pg_catalog.count(*) FROM {beside}) THEN \
         RAISE EXCEPTION USING ERRCODE = 'triggered_action_exception', MESSAGE = {}; END IF; END",
        literal(restored),
        literal(&format!("a trigger or rule prevents rows of {beside} from being restored"))
    );
    format!("DO {}", literal(&body))
}

/// The table for the removed rows. An earlier table stays unchanged.
fn beside(input: &PlanInput<'_>) -> String {
    let table = input.layout.table.as_str();
    let first = our_name(&["duplicates", table]);
    let others = (2..).map(|number: usize| our_name(&["duplicates", &number.to_string(), table]));
    let is_free = |name: &String| !input.definitions.ours.contains(name);
    let name = [first].into_iter().chain(others).find(is_free).expect("numbers do not end");
    in_schema(input.layout, &name)
}

/// The columns that can be restored unchanged.
fn columns(input: &PlanInput<'_>) -> Vec<String> {
    let columns = input.table.columns.iter().filter(|column| !column.generated);
    columns.map(|column| quote(&column.name)).collect()
}

/// Every row with its rank among the rows of its owner, newest first.
fn ranked(input: &PlanInput<'_>) -> String {
    let updated_at = input.table.column("updated_at").filter(|column| column.kind.starts_with("timestamp"));
    let newest = [
        Some(format!("{} DESC NULLS LAST", version_of_row(input))),
        updated_at.map(|_| "t.updated_at DESC NULLS LAST".to_owned()),
        Some("t.tableoid, t.ctid DESC".to_owned()),
    ];
    format!(
        "SELECT t.ctid, t.tableoid, pg_catalog.row_number() OVER (PARTITION BY {} ORDER BY {}) AS place FROM {} AS t{}",
        owner_columns(input.layout).join(", "),
        newest.into_iter().flatten().collect::<Vec<_>>().join(", "),
        input.relation(),
        with_owner(input.layout, input.table)
    )
}

/// The newest version that any slot of the row holds, as `Writer::version_of_row` reads it.
fn version_of_row(input: &PlanInput<'_>) -> String {
    let layout = input.layout;
    let is_there = |name: &str| input.table.column(name).is_some();
    let texts = layout.secret_columns();
    let texts =
        texts.filter(|name| is_there(name)).map(|name| any_version(&format!("t.{}::text", quote(name))));
    let config = input.table.column(&layout.config_column).filter(|column| column.kind.starts_with("json"));
    let config = config.map(|column| {
        let ours = member(&format!("t.{}::jsonb", quote(&column.name)), &layout.fields.member());
        format!(
            "CASE pg_catalog.jsonb_typeof({ours}) WHEN 'object' THEN \
             (SELECT pg_catalog.max({}) FROM pg_catalog.jsonb_each_text({ours}) AS e) END",
            any_version("e.value")
        )
    });
    let versions: Vec<String> = ["NULL::text".to_owned()].into_iter().chain(texts).chain(config).collect();
    format!("greatest({}) COLLATE \"C\"", versions.join(", "))
}
