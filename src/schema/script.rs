//! A plan as a script for an SQL editor.

use crate::display::visible;
use crate::postgres::connection::acting_owner::{Until, act_as_owner};
use crate::postgres::sql::names::{literal, relation};
use crate::postgres::sql::printed;
use crate::schema::journal;
use crate::schema::plan::SchemaPlan;
use crate::schema::step::Step;

/// How long a statement of the script waits for a lock. Sessions that ask for a lock after it wait too.
const LOCK_TIMEOUT: &str = "5s";

impl SchemaPlan {
    /// The plan as a script for an SQL editor. You can run it twice, and undo it with
    /// [`Schema::roll_back`](crate::schema::Schema::roll_back). It does not build indexes concurrently, because editors
    /// run scripts in a transaction. Writes wait while an index is built.
    ///
    /// Invisible characters in names are escaped.
    pub fn script(&self) -> String {
        printed::script(&script(self))
    }
}

fn script(plan: &SchemaPlan) -> String {
    let mut parts = vec![header(plan)];
    if plan.steps.is_empty() {
        parts.push("-- Nothing to do.".to_owned());
    } else {
        parts.push(format!("SET lock_timeout = '{LOCK_TIMEOUT}';"));
        parts.push(journal(plan));
        parts.extend(plan.steps.iter().enumerate().map(|(at, step)| {
            format!(
                "{}\n{}",
                comment(&format!("{}. {}: {}", at + 1, step.id, step.reason)),
                block(plan, step)
            )
        }));
        parts.push("RESET lock_timeout;\nNOTIFY pgrst, 'reload schema';".to_owned());
    }
    parts.join("\n\n") + "\n"
}

fn header(plan: &SchemaPlan) -> String {
    let profile = plan.wanted.profile().as_str();
    let mut lines = vec![
        format!("retell-vault: the schema of {}, profile {profile}.", plan.table),
        "You can run it twice: it does not change what exists. Run it as the owner of the table, or as a role \
         that may act as the owner."
            .to_owned(),
    ];
    if plan.steps.iter().any(|step| step.concurrent) {
        lines.push("Writes to the table wait while an index is built.".to_owned());
    }
    lines.extend(plan.steps.iter().filter(|step| step.rewrites).map(|step| {
        format!("{} rewrites the table and blocks all reads and writes of it meanwhile.", step.id)
    }));
    lines.extend(
        plan.blocked.iter().map(|blocked| {
            format!("Not changed: {}: {} ({}).", blocked.object, blocked.reason, blocked.hint)
        }),
    );
    lines.extend(plan.notes.iter().map(|note| format!("Note: {note}.")));
    lines.iter().map(|line| comment(line)).collect::<Vec<_>>().join("\n")
}

/// Escapes line breaks in names of the application, which would end the comment.
fn comment(text: &str) -> String {
    format!("-- {}", visible(text))
}

fn journal(plan: &SchemaPlan) -> String {
    let statements = journal::create_sql(&plan.layout);
    let statements = statements.iter().map(|sql| format!("EXECUTE {};", dollars(sql)));
    let statements: Vec<String> = [refuse_others(plan)].into_iter().chain(statements).collect();
    format!(
        "-- Every step is recorded, so that `schema rollback` can undo it.\n{}",
        transaction(plan, &statements.join("\n"))
    )
}

/// Fails before any change in the wrong database, or as a role that does not own the table.
fn refuse_others(plan: &SchemaPlan) -> String {
    let (name, table) = (literal(&plan.table), literal(&relation(&plan.layout)));
    format!(
        "IF pg_catalog.to_regclass({table}) IS NULL THEN\n\
         RAISE EXCEPTION 'table % does not exist in database %', {name}, pg_catalog.current_database();\n\
         END IF;\n\
         IF (SELECT NOT pg_catalog.pg_has_role(relowner, 'USAGE') FROM pg_catalog.pg_class \
         WHERE oid = {table}::pg_catalog.regclass) THEN\n\
         RAISE EXCEPTION 'role % does not own table %', CURRENT_USER, {name};\n\
         END IF;"
    )
}

/// One statement that means the same under every search path. It runs as the owner of the table, even in a superuser's
/// session.
fn transaction(plan: &SchemaPlan, statements: &str) -> String {
    let act = act_as_owner(&relation(&plan.layout), Until::TheTransactionEnds);
    let act = act.replacen("SELECT", "PERFORM", 1);
    let body = format!(
        "BEGIN\nPERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true), pg_catalog.set_config('standard_conforming_strings', 'on', true), pg_catalog.set_config('datestyle', 'ISO', true);\n{act};\n{statements}\nEND"
    );
    format!("DO {};", dollars(&format!("\n{body}\n")))
}

// --- One step ---

// Nothing is indented, because blanks would change the function bodies.

fn block(plan: &SchemaPlan, step: &Step) -> String {
    let unless_done = match &step.instead {
        None => apply(plan, step),
        // the other form has its own condition
        Some(instead) => format!(
            "IF ({}) THEN\n{}\nELSE\n{}\nEND IF;",
            instead.when,
            when_not_done(&instead.step, &apply(plan, &instead.step)),
            apply(plan, step)
        ),
    };
    transaction(plan, &when_not_done(step, &unless_done))
}

fn when_not_done(step: &Step, statements: &str) -> String {
    format!("IF ({}) IS NOT TRUE THEN\n{}\nEND IF;", step.done_if, statements)
}

/// The step and its record.
fn apply(plan: &SchemaPlan, step: &Step) -> String {
    let statements = step.sql.iter().map(|sql| format!("EXECUTE {};", dollars(&in_transaction(step, sql))));
    // an editor may continue after an error
    let is_ours = format!("EXECUTE {};", dollars(&journal::is_ours_sql(&plan.layout)));
    let record = journal::record_sql(&plan.layout, plan.wanted.profile(), step, true);
    let record = record.into_iter().map(|sql| format!("{sql};"));
    [is_ours].into_iter().chain(statements).chain(record).collect::<Vec<_>>().join("\n")
}

/// Removes `CONCURRENTLY`: editors run a script in one transaction, which cannot build concurrently.
fn in_transaction(step: &Step, sql: &str) -> String {
    match step.concurrent {
        // the keyword comes before every name
        true => sql.replacen(" CONCURRENTLY", "", 1),
        false => sql.to_owned(),
    }
}

/// The text between dollar quotes whose tag does not occur in it.
fn dollars(text: &str) -> String {
    let tags = (0..).map(|number: usize| match number {
        0 => "$vault$".to_owned(),
        number => format!("$vault{number}$"),
    });
    // a text that ends in part of a tag would close it early
    let fits = |tag: &String| !format!("{text}$").contains(tag.as_str());
    let tag = tags.into_iter().find(fits).expect("numbers do not end");
    format!("{tag}{text}{tag}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_never_occurs_in_what_it_quotes() {
        assert_eq!(dollars("a"), "$vault$a$vault$");
        assert_eq!(dollars("$vault$a$vault$"), "$vault1$$vault$a$vault$$vault1$");
        assert_eq!(dollars("a$vault"), "$vault1$a$vault$vault1$");
    }

    #[test]
    fn a_comment_is_one_line() {
        assert_eq!(comment("a\n; DROP TABLE b"), r"-- a\u{a}; DROP TABLE b");
    }
}
