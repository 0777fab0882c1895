//! Whose credentials a row holds: the columns of the user and of the tenant.

use crate::detect::names::{Name, words};
use crate::detect::sampled::Sampled;
use crate::postgres::catalogue::all_tables::{FoundColumn, FoundKind, FoundTable, UniqueKey};

/// Groups of users, which may be a tenant. In the singular.
const GROUPS: [&str; 41] = [
    "account",
    "agency",
    "brand",
    "branch",
    "business",
    "center",
    "client",
    "clinic",
    "community",
    "company",
    "customer",
    "dealership",
    "department",
    "facility",
    "firm",
    "franchise",
    "group",
    "hotel",
    "institution",
    "location",
    "merchant",
    "office",
    "org",
    "organisation",
    "organization",
    "partner",
    "pod",
    "practice",
    "property",
    "restaurant",
    "salon",
    "school",
    "shop",
    "site",
    "space",
    "store",
    "studio",
    "team",
    "tenant",
    "venue",
    "workspace",
];

/// Single users, and other things that own credentials.
const USERS: [&str; 12] = [
    "user",
    "owner",
    "profile",
    "member",
    "instance",
    "project",
    "subscriber",
    "person",
    "employee",
    "identity",
    "seller",
    "advisor",
];

/// Words before those of an owner in the names of tables, as in `auth_user`.
const BEFORE_OWNERS: [&str; 8] = ["app", "auth", "base", "core", "crm", "main", "public", "tbl"];

/// What a row refers to without belonging to it.
const NO_OWNERS: [&str; 17] = [
    "created",
    "updated",
    "assigned",
    "approved",
    "provider",
    "plan",
    "role",
    "type",
    "parent",
    "template",
    "connection",
    "integration",
    "country",
    "currency",
    "category",
    "folder",
    "resolver",
];

const LABELS: [&str; 7] = ["name", "label", "title", "nickname", "alias", "displayname", "friendlyname"];

/// The most tables that are named as links to an owner.
const LINKS: usize = 5;

pub(super) struct FoundOwner {
    pub(super) user: Option<String>,
    pub(super) tenant: Option<String>,
    pub(super) why: Vec<String>,
}

/// A column that may be the owner's.
struct Owning<'a> {
    column: &'a FoundColumn,
    is_group: bool,
    /// Whether an owner has at most one row among those that count.
    is_one_row: bool,
    score: i32,
}

/// The constants of the filter and the columns that tell the kind of a row.
pub(super) struct CountedRows<'a> {
    pub(super) filter: Option<(&'a str, &'a str)>,
    /// Columns that may be in a unique key beside the owner's, because one row counts of each.
    pub(super) kinds: Vec<&'a str>,
}

pub(super) fn find(sampled: &Sampled<'_>, rows: &CountedRows<'_>) -> FoundOwner {
    let table = sampled.table;
    let mut owning: Vec<Owning> =
        table.columns.iter().filter_map(|column| owning(table, column, rows)).collect();
    owning.sort_by_key(|owning| -owning.score);
    let own = own_key(table);
    let mut why = Vec::new();
    let Some(best) = owning.first() else {
        why.push(match own {
            Some(key) => format!("no column names an owner: the row's own key {key} is the owner"),
            None => "no column names an owner, and the table has no primary key of one column".to_owned(),
        });
        if !table.links.is_empty() && !is_owner_table(table) && !is_group_table(table) {
            let links = table.links.iter().take(LINKS).map(String::as_str).collect::<Vec<_>>().join(", ");
            why.push(format!("another table may tell whose a row is: {links}"));
        }
        return FoundOwner { user: own.map(str::to_owned), tenant: None, why };
    };
    let column = &best.column.name;
    let label = label(table, column, rows.filter.map(|(filter, _)| filter));
    if !best.column.not_null {
        why.push(format!("{column} may be NULL: such a row has no owner"));
    }
    let repeats = sampled.repeats(column, rows.filter);
    let is_own = own == Some(column);
    let has_several = !best.is_one_row && (label.is_some() || repeats || is_thing(table));
    let stands_for_itself = !is_own && stands_for_itself(table, best, rows);
    match own.filter(|_| !is_own && (has_several || stands_for_itself)) {
        Some(key) => {
            why.push(match (&label, stands_for_itself) {
                (_, true) => format!("a row is a {} of its own: its key {key} is the owner", singular(&last_word(table))),
                (Some(label), _) => format!("one {column} may have several rows, told apart by {label}: the row's own key {key} is the owner"),
                (None, _) => format!("one {column} may have several rows: the row's own key {key} is the owner"),
            });
            // a tenant is never NULL
            let tenant = (best.is_group && best.column.not_null).then(|| column.clone());
            FoundOwner { user: Some(key.to_owned()), tenant, why }
        }
        None => {
            let tenant = tenant(table, best, &owning);
            let each = match &tenant {
                Some(tenant) => format!("each {column} of a {tenant}"),
                None => format!("each {column}"),
            };
            why.push(match best.is_one_row {
                true => format!("a unique key allows one row for {each}"),
                false => format!("no unique key says that there is one row for {each}"),
            });
            FoundOwner { user: Some(column.clone()), tenant, why }
        }
    }
}

/// Whether a row is an owner of its own, and not something that belongs to `best`.
fn stands_for_itself(table: &FoundTable, best: &Owning<'_>, rows: &CountedRows<'_>) -> bool {
    let is_group = is_group_table(table);
    let is_its_row = best.is_one_row && best.is_group == is_group;
    let is_owners = is_owner_table(table) && rows.filter.is_none() && !is_its_row;
    is_owners || (best.is_one_row && is_group && !best.is_group)
}

/// A table of users or of groups: each word of its name is one of theirs, as in `auth_user` or `accounts_organization`.
fn is_owner_table(table: &FoundTable) -> bool {
    let words: Vec<String> = words(&table.name).iter().map(|word| singular(word)).collect();
    let is_owner = |word: &String| GROUPS.contains(&word.as_str()) || USERS.contains(&word.as_str());
    let is_known = |word: &String| is_owner(word) || BEFORE_OWNERS.contains(&word.as_str());
    words.last().is_some_and(is_owner) && words.iter().all(is_known)
}

/// The tenant of a user whose id alone is not unique.
fn tenant(table: &FoundTable, user: &Owning<'_>, owning: &[Owning<'_>]) -> Option<String> {
    let is_tenant =
        |other: &&Owning| other.is_group && other.column.not_null && other.column.name != user.column.name;
    let group = owning.iter().find(is_tenant)?;
    let together = [user.column.name.as_str(), group.column.name.as_str()];
    let is_one =
        |key: &UniqueKey| together.iter().all(|name| key.columns.iter().any(|column| column == name));
    (!user.is_group && table.keys.iter().any(is_one)).then(|| group.column.name.clone())
}

fn owning<'a>(table: &'a FoundTable, column: &'a FoundColumn, rows: &CountedRows<'_>) -> Option<Owning<'a>> {
    let name = Name::of(&column.name);
    let is_in_primary = table.keys.iter().any(|key| key.primary && key.columns.contains(&column.name));
    let foreign = table.foreign.iter().find(|key| key.column == column.name && key.table != table.name);
    let is_for_it = column.is_for_ids && column.kind != FoundKind::Enum;
    let last = name.last();
    let is_id = matches!(last, "id" | "uuid" | "uid" | "ref" | "key" | "slug" | "code");
    let stem = if is_id { name.words.iter().rev().nth(1)?.as_str() } else { last };
    let is_address = last == "email" && is_key_alone(table, &column.name) && !is_owner_table(table);
    let is_group = GROUPS.contains(&singular(stem).as_str());
    let is_user = USERS.contains(&stem) || is_address;
    let is_named = is_id && (is_group || is_user) || is_address;
    // `stripe_customer_id` is somebody at the provider
    let is_named = is_named && name.provider.is_none();
    if !is_for_it || name.has(&NO_OWNERS) || (foreign.is_none() && !is_named) {
        return None;
    }
    // the tables that others refer to by their own key: it is that table's row
    let alone = own_key(table) == Some(&column.name);
    if alone && foreign.is_none() && !(is_group || is_user) {
        return None;
    }
    let is_thing = foreign.is_some() && !is_group && !is_user;
    let is_one_row = is_one_row(table, &column.name, is_user && !is_group, rows);
    if is_thing && !is_one_row && !refers_to_owner(foreign.map(|key| key.table.as_str())) {
        return None;
    }
    let score = 40 * i32::from(is_one_row)
        + 10 * i32::from(foreign.is_some())
        + 12 * i32::from(is_user)
        + 10 * i32::from(is_group)
        - 5 * i32::from(!column.not_null && !is_in_primary);
    Some(Owning { column, is_group, is_one_row, score })
}

fn refers_to_owner(table: Option<&str>) -> bool {
    let Some(word) = table.and_then(|table| words(table).pop()) else { return false };
    let word = singular(&word);
    GROUPS.contains(&word.as_str()) || USERS.contains(&word.as_str())
}

/// Whether a column is a unique key by itself.
fn is_key_alone(table: &FoundTable, column: &str) -> bool {
    table.keys.iter().any(|key| key.columns == [column])
}

/// Whether a unique key has this column, and beside it only constants of the filter, or the group of a user.
fn is_one_row(table: &FoundTable, column: &str, is_user: bool, rows: &CountedRows<'_>) -> bool {
    let is_group = |name: &str| {
        let words = words(name);
        let stem = words.iter().rev().nth(1).map_or("", String::as_str);
        words.last().is_some_and(|last| last == "id") && GROUPS.contains(&singular(stem).as_str())
    };
    let is_constant = |name: &String| {
        name == column
            || rows.kinds.contains(&name.as_str())
            || rows.filter.is_some_and(|(filter, _)| filter == name)
            || (is_user && is_group(name))
    };
    table
        .keys
        .iter()
        .any(|key| key.columns.iter().any(|name| name == column) && key.columns.iter().all(is_constant))
}

/// The primary key, if it is one column that can name an owner; else a unique column.
fn own_key(table: &FoundTable) -> Option<&str> {
    let single = |key: &&UniqueKey| key.columns.len() == 1 && !key.partial;
    let primary = table.keys.iter().filter(single).find(|key| key.primary);
    let named_id =
        || table.keys.iter().filter(single).find(|key| matches!(key.columns[0].as_str(), "id" | "uuid"));
    let name = &primary.or_else(named_id)?.columns[0];
    table
        .column(name)
        .filter(|column| column.is_for_ids && column.not_null)
        .map(|column| column.name.as_str())
}

/// A column that tells the rows of one owner apart.
fn label(table: &FoundTable, owner: &str, filter: Option<&str>) -> Option<String> {
    let is_label = |column: &&FoundColumn| {
        let words = words(&column.name);
        column.kind == FoundKind::Text
            && filter != Some(column.name.as_str())
            && words.last().is_some_and(|last| LABELS.contains(&last.as_str()))
            && !words.iter().any(|word| {
                matches!(
                    word.as_str(),
                    "file"
                        | "agent"
                        | "voice"
                        | "user"
                        | "provider"
                        | "model"
                        | "host"
                        | "first"
                        | "last"
                        | "full"
                        | "company"
                        | "business"
                )
            })
    };
    let by_name = table.columns.iter().find(is_label).map(|column| column.name.clone());
    let by_key = table
        .keys
        .iter()
        .filter(|key| key.columns.len() == 2 && key.columns.iter().any(|name| name == owner));
    let other = by_key.filter_map(|key| key.columns.iter().find(|name| *name != owner)).next().cloned();
    let is_text = |name: &String| table.column(name).is_some_and(|column| column.kind == FoundKind::Text);
    by_name.or_else(|| other.filter(is_text))
}

fn last_word(table: &FoundTable) -> String {
    words(&table.name).pop().unwrap_or_default()
}

/// A table whose rows are groups of users: organizations, restaurants.
fn is_group_table(table: &FoundTable) -> bool {
    GROUPS.contains(&singular(&last_word(table)).as_str())
}

/// A table whose rows are things with a key of their own, such as agents.
fn is_thing(table: &FoundTable) -> bool {
    ["agent", "assistant", "bot", "widget", "number", "campaign", "workflow", "flow"]
        .contains(&singular(&last_word(table)).as_str())
}

pub(super) fn singular(word: &str) -> String {
    match word.strip_suffix("ies") {
        Some(stem) => format!("{stem}y"),
        None if word.ends_with("ss") => word.to_owned(),
        None => ["sses", "ches", "shes", "s"]
            .iter()
            .find_map(|end| {
                let stem = word.strip_suffix(end)?;
                Some(if *end == "s" { stem.to_owned() } else { format!("{stem}{}", &end[..2]) })
            })
            .unwrap_or_else(|| word.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_many() {
        for (many, one) in [
            ("businesses", "business"),
            ("agencies", "agency"),
            ("users", "user"),
            ("branches", "branch"),
            ("business", "business"),
        ] {
            assert_eq!(singular(many), one);
        }
    }
}
