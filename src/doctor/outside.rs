//! Tokens outside of the layout. No rotation reaches them, and destroying their key would lose them.

use crate::doctor::context::TableContext;
use crate::doctor::finding::{Finding, Fix, Severity};
use crate::doctor::finding_ids;
use crate::error::ErrorKind;
use crate::keyring::keys::KeyState;
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::walk::token_count::counted_columns;
use crate::rotation::evidence::{
    FullSearch, Outside, OutsideExtent, OutsideTokens, look_outside, out_of_reach, search_outside,
};

/// Searches a sample of the rows, or with [`deep`](crate::doctor::DoctorOptions::deep) every row.
pub(super) async fn look(context: &TableContext<'_>) -> Result<Vec<Finding>, DatabaseError> {
    if context.definitions.relation.hides_rows {
        return Ok(Vec::new()); // it is said where the rows are looked at
    }
    let outside = found_outside(context).await?;
    note(context, &outside).await?;
    let keys = context.core.keyring.keys();
    let primary = keys.iter().find(|key| key.state == KeyState::Primary).map(|key| key.id);
    let left = outside.tokens.iter().filter(|found| found.is_left_behind(primary));
    Ok(left.map(finding).collect())
}

async fn found_outside(context: &TableContext<'_>) -> Result<Outside, DatabaseError> {
    let (core, postgres) = (context.core, context.postgres);
    if context.options.deep {
        let wanted = FullSearch { key: None, not_evidence: &[], kinds: &[] };
        match Box::pin(search_outside(core, postgres, &wanted, &mut |_| {})).await {
            Err(fault) if fault.error.kind() == ErrorKind::AccessDenied => {
                context.host.note(format!("not every column was searched for tokens: {}", fault.error));
            }
            done => return done,
        }
    }
    let counted = counted_columns(context.layout, context.plan);
    Box::pin(look_outside(core, postgres, &counted)).await
}

async fn note(context: &TableContext<'_>, outside: &Outside) -> Result<(), DatabaseError> {
    let extent = match outside.extent {
        OutsideExtent::EveryRow(rows) => format!("every row, {rows}"),
        OutsideExtent::Sample(1) => "a sample of 1 row".to_owned(),
        OutsideExtent::Sample(rows) => format!("a sample of {rows} rows"),
        OutsideExtent::Nothing => return Ok(()),
    };
    let found: Vec<_> =
        outside.tokens.iter().filter(|found| !found.in_layout).map(OutsideTokens::to_string).collect();
    let found = if found.is_empty() { "no token".to_owned() } else { found.join("; ") };
    context.host.note(format!("outside of the layout ({extent}): {found}"));
    let out_of_reach = out_of_reach(context.core).await?;
    context.host.note(format!("out of reach of any count: {}", out_of_reach.join("; ")));
    Ok(())
}

fn finding(found: &OutsideTokens) -> Finding {
    let mend = match found.own_table {
        true => {
            "clear or drop the table when you no longer need it, or roll its step back (`retell-vault schema \
             rollback`)"
        }
        false => {
            "if these records are in use, name their column in the layout; otherwise clear or drop the column"
        }
    };
    let meaning = format!(
        "tokens under key {} are in a column that the layout does not name: no rotation reaches them, and they \
         keep the key in use",
        found.key
    );
    let object = format!("column {}", found.place);
    let finding = Finding::new(
        finding_ids::OUTSIDE_LAYOUT,
        Severity::Warning,
        object,
        meaning,
        Fix::Advice(mend.to_owned()),
    );
    finding.of(found.in_use, Vec::new())
}
