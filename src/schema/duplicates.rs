//! Owners with several rows: which they are, and the way to one row each.

use crate::postgres::catalogue::picture::Picture;
use crate::postgres::sql::names::quote;
use crate::postgres::sql::names::{in_schema, literal, our_name, owner_columns, relation};
use crate::postgres::sql::token::{any_version, member};
use crate::record::field::Field;
use crate::record::layout::Layout;
use crate::schema::index::Wanted;
use crate::schema::journal::lock_down_sql;
use crate::schema::plan::Subject;
use crate::schema::step::{LockLevel, Step};

/// Whether NULL in an owner's column is a value like any other: only where the tenant may be NULL.
pub(super) fn nulls_count(layout: &Layout, picture: &Picture) -> bool {
    let tenant = layout.tenant_column.as_ref().and_then(|name| picture.column(name));
    tenant.is_some_and(|column| !column.not_null)
}

/// All but the newest row of each owner go to a table beside. `index`: what they stand in the way of.
pub(super) fn remove(subject: &Subject<'_>, index: &Wanted) -> Step {
    let (relation, beside) = (subject.relation(), beside(subject));
    let known = match subject.evidence.duplicates {
        Some(_) => "owners have several rows",
        None => "owners may have several rows, which was not found out in the time that there is",
    };
    let columns = columns(subject).join(", ");
    let removed = format!(
        "WITH gone AS (DELETE FROM {relation} AS t USING ({}) AS r \
         WHERE t.ctid = r.ctid AND t.tableoid = r.tableoid AND r.place > 1 RETURNING t.*) \
         INSERT INTO {beside} ({columns}) SELECT {columns} FROM gone",
        ranked(subject)
    );
    let sql = [
        // writers wait, so that what is counted as the newest row stays it
        format!("LOCK TABLE {relation} IN SHARE ROW EXCLUSIVE MODE"),
        // fails where a policy would hide rows
        "SELECT pg_catalog.set_config('row_security', 'off', true)".to_owned(),
        format!("CREATE TABLE {beside} AS SELECT {columns} FROM {relation} WITH NO DATA"),
    ];
    let restored =
        format!("INSERT INTO {relation} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {beside}");
    Step {
        id: "owner.duplicates".to_owned(),
        object: format!("rows of {}", subject.layout.table_name()),
        reason: format!("{known}: all but the newest of each go to a table beside"),
        sql: sql.into_iter().chain(lock_down_sql(&beside)).chain([removed]).collect(),
        undo: vec![all_of(&restored, &beside), format!("DROP TABLE {beside}")],
        lock: LockLevel::ShareRowExclusive,
        rewrites: false,
        concurrent: false,
        instead: None,
        done_if: format!(
            "({} OR NOT {})",
            index.done_if(subject),
            duplicates_exist(subject.layout, subject.picture)
        ),
        stake: None,
    }
}

/// The rows go back, every one: a trigger of the application that drops a row of an owner who has one already
/// must not lose it.
fn all_of(restored: &str, beside: &str) -> String {
    let body = format!(
        "DECLARE n bigint; BEGIN EXECUTE {}; GET DIAGNOSTICS n = ROW_COUNT; \
         IF n <> (SELECT pg_catalog.count(*) FROM {beside}) THEN \
         RAISE EXCEPTION USING ERRCODE = 'triggered_action_exception', MESSAGE = {}; END IF; END",
        literal(restored),
        literal(&format!("a trigger or rule keeps rows of {beside} from coming back"))
    );
    format!("DO {}", literal(&body))
}

/// The table that keeps the rows which were removed: an earlier one is not touched.
fn beside(subject: &Subject<'_>) -> String {
    let table = subject.layout.table.as_str();
    let first = our_name(&["duplicates", table]);
    let others = (2..).map(|number: usize| our_name(&["duplicates", &number.to_string(), table]));
    let is_free = |name: &String| !subject.picture.ours.contains(name);
    let name = [first].into_iter().chain(others).find(is_free).expect("numbers do not end");
    in_schema(subject.layout, &name)
}

/// What can be put back as it was.
fn columns(subject: &Subject<'_>) -> Vec<String> {
    let columns = subject.picture.columns.iter().filter(|column| !column.generated);
    columns.map(|column| quote(&column.name)).collect()
}

/// A condition: an owner has several rows.
pub(super) fn duplicates_exist(layout: &Layout, picture: &Picture) -> String {
    format!(
        "EXISTS (SELECT FROM {} AS t{} GROUP BY {} HAVING pg_catalog.count(*) > 1)",
        relation(layout),
        with_owner(layout, picture),
        owner_columns(layout).join(", ")
    )
}

/// Rows whose owner another row could have too.
fn with_owner(layout: &Layout, picture: &Picture) -> String {
    let named = owner_columns(layout).into_iter().map(|column| format!("t.{column} IS NOT NULL"));
    match nulls_count(layout, picture) {
        true => String::new(),
        false => format!(" WHERE {}", named.collect::<Vec<_>>().join(" AND ")),
    }
}

/// Every row with its place among those of its owner, the newest first.
fn ranked(subject: &Subject<'_>) -> String {
    let updated_at =
        subject.picture.column("updated_at").filter(|column| column.kind.starts_with("timestamp"));
    let newest = [
        Some(format!("{} DESC NULLS LAST", version_of_row(subject))),
        updated_at.map(|_| "t.updated_at DESC NULLS LAST".to_owned()),
        Some("t.tableoid, t.ctid DESC".to_owned()),
    ];
    format!(
        "SELECT t.ctid, t.tableoid, pg_catalog.row_number() OVER (PARTITION BY {} ORDER BY {}) AS place FROM {} AS t{}",
        owner_columns(subject.layout).join(", "),
        newest.into_iter().flatten().collect::<Vec<_>>().join(", "),
        subject.relation(),
        with_owner(subject.layout, subject.picture)
    )
}

/// The newest version that any slot of the row holds, as `postgres::fragments` reads it.
fn version_of_row(subject: &Subject<'_>) -> String {
    let layout = subject.layout;
    let is_there = |name: &str| subject.picture.column(name).is_some();
    let texts = Field::SECRET.into_iter().filter_map(|field| layout.column_of(field));
    let texts =
        texts.filter(|name| is_there(name)).map(|name| any_version(&format!("t.{}::text", quote(name))));
    let config =
        subject.picture.column(&layout.config_column).filter(|column| column.kind.starts_with("json"));
    let config = config.map(|column| {
        let ours = member(&format!("t.{}::jsonb", quote(&column.name)));
        format!(
            "CASE pg_catalog.jsonb_typeof({ours}) WHEN 'object' THEN \
             (SELECT pg_catalog.max({}) FROM pg_catalog.jsonb_each_text({ours}) AS e) END",
            any_version("e.value")
        )
    });
    let versions: Vec<String> = ["NULL::text".to_owned()].into_iter().chain(texts).chain(config).collect();
    format!("greatest({}) COLLATE \"C\"", versions.join(", "))
}
