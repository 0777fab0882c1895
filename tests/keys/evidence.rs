//! A key that was destroyed was never needed: over random tables, layouts, renames, copies, hidden tokens, filters and soft
//! deletes, every record loads after each `destroy` that succeeded.
//!
//! `RETELL_VAULT_TEST_SEED=17 scripts/test --test keys evidence::` runs one case again.

use std::sync::Arc;

use retell_vault::config::Field;
use retell_vault::keyring::KeyId;
use retell_vault::layout::Rows;
use retell_vault::{Layout, Owner, Vault};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::TestDb;
use crate::support::faults::number;
use crate::support::rotation::{at_once, promote, rotate, small};
use crate::support::vaults::{Hosts, full_config};

const CASES: u64 = 60;
/// A rotation waits for a second and a half; several cases wait together.
const AT_A_TIME: usize = 8;
const OWNERS: u64 = 4;

/// Types that a token can lie in; how a text becomes such a value, and how it is read again.
const HIDING_PLACES: [(&str, &str, &str); 7] = [
    ("text", "'see ' || {}", "substr({}, 5)"),
    ("varchar(9000)", "{}", "{}::text"),
    ("json", "json_build_object('old', {})", "{} ->> 'old'"),
    (
        "jsonb",
        "jsonb_build_object('a', jsonb_build_array(1, jsonb_build_object('b', {})))",
        "{} #>> '{a,1,b}'",
    ),
    ("text[]", "ARRAY['first', {}]", "{}[2]"),
    ("bytea", "convert_to({}, 'UTF8')", "convert_from({}, 'UTF8')"),
    ("jsonb[]", "ARRAY[to_jsonb({})]", "{}[1] #>> '{}'"),
];

/// SplitMix64: the same seed makes the same case on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.roll(chances) == 0
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.roll(all.len() as u64) as usize]
    }
}

fn filled(template: &str, value: &str) -> String {
    template.replacen("{}", value, 1)
}

/// A column of the layout, under the name that it has in the table.
#[derive(Clone)]
struct Slot {
    field: Option<&'static str>,
    name: String,
}

impl Slot {
    fn is_json(&self) -> bool {
        self.field.is_none()
    }
}

enum Undo {
    /// Of a slot: the column where its tokens are, and how they are read there.
    Hidden { slot: usize, column: String, read: &'static str },
    /// A table with a row.
    Aside(String),
}

/// A table, the layout that describes it, and what happened to it.
struct Case {
    dice: Dice,
    db: TestDb,
    hosts: Hosts,
    slots: Vec<Slot>,
    /// The names that the operator's layout has, which may be those of before.
    known: Vec<Slot>,
    user: &'static str,
    filtered: bool,
    owners: Vec<Owner>,
    /// What brings the records back to their columns, the last first.
    undo: Vec<Undo>,
    /// Why the key has to stay, in words.
    needed: Vec<&'static str>,
    story: Vec<String>,
}

impl Case {
    async fn new(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x1000_0000_01b3));
        let (db, hosts) = (TestDb::create().await, Hosts::new().await);
        let defaults = [
            (Some("api_key"), "encrypted_retell_api_key"),
            (Some("call_agent_id"), "encrypted_call_agent_id"),
            (Some("sms_agent_id"), "encrypted_sms_agent_id"),
            (None, "encrypted_agent_config"),
        ];
        let mut slots = Vec::new();
        for (field, default) in defaults {
            let is_needed = field == Some("api_key") && slots.is_empty();
            if is_needed || !dice.one_in(3) {
                let name = if dice.one_in(2) { default.to_owned() } else { format!("Own \"{default}") };
                slots.push(Slot { field, name });
            }
        }
        let user = dice.one_of(&["user_id", "id"]);
        let kind = dice.one_of(&["text", "varchar(80)", "uuid"]);
        let columns = slots.iter().map(|slot| {
            format!(", {} {}", quoted(&slot.name), if slot.is_json() { "jsonb" } else { "text" })
        });
        let columns: String = columns.collect();
        db.exec(&format!(
            "CREATE TABLE accounts ({user} {kind} PRIMARY KEY, name text DEFAULT 'somebody', deleted_at timestamptz, \
             provider text DEFAULT 'retell' {columns})"
        ))
        .await;
        let owner = |n| Owner::user(&format!("00000000-0000-4000-8000-{n:012}")).unwrap();
        let filtered = dice.one_in(2);
        let (known, owners) = (slots.clone(), (0..OWNERS).map(owner).collect());
        let (undo, needed, story) =
            (Vec::new(), Vec::new(), vec![format!("{kind} {user}, filter: {filtered}")]);
        Self { dice, db, hosts, slots, known, user, filtered, owners, undo, needed, story }
    }

    fn layout(&self, slots: &[Slot], filtered: bool) -> Layout {
        let layout = Layout::new().table("accounts").unwrap().user_column(self.user).unwrap();
        let mut layout = layout.rows(Rows::Create);
        for slot in slots {
            layout = match slot.field {
                Some(field) => layout.column(Field::named(field), &slot.name).unwrap(),
                None => layout.config_column(&slot.name).unwrap(),
            };
        }
        if filtered {
            layout = layout.is_null("deleted_at").unwrap().where_equals("provider", "retell").unwrap();
        }
        layout
    }

    /// A vault that knows every column by its name of now, and all rows.
    async fn true_vault(&self, host: usize) -> Vault {
        let builder = self.hosts.host(host, &self.db.url).layout(self.layout(&self.slots, false));
        builder.build().await.unwrap()
    }

    async fn store_all(&self) {
        let vault = self.true_vault(1).await;
        for (number, owner) in self.owners.iter().enumerate() {
            assert_eq!(vault.store(owner, &full_config(number)).await.unwrap().degraded, None);
        }
        vault.close().await;
    }

    async fn exec(&mut self, sql: String) {
        self.db.exec(&sql).await;
        self.story.push(sql);
    }

    /// Something that happens to real tables.
    async fn something_happens(&mut self) {
        match self.dice.roll(8) {
            0 | 1 => self.rename().await,
            2 | 3 => self.copy().await,
            4 => self.hide_everything().await,
            5 => self.move_aside().await,
            _ => self.soft_delete().await,
        }
    }

    /// Every column, or one of them; the operator may not be told; the old names may come back empty.
    async fn rename(&mut self) {
        let all = self.dice.one_in(2);
        let is_told = self.dice.one_in(2);
        let only = self.dice.roll(self.slots.len() as u64) as usize;
        for at in (0..self.slots.len()).filter(|at| all || *at == only) {
            let (old, is_json) = (self.slots[at].name.clone(), self.slots[at].is_json());
            let new = format!("renamed_{}_{at}", self.story.len());
            self.exec(format!("ALTER TABLE accounts RENAME {} TO {new}", quoted(&old))).await;
            self.slots[at].name = new.clone();
            if is_told {
                self.known[at].name = new;
            }
            if self.dice.one_in(3) && self.known[at].name == old {
                let kind = if is_json { "jsonb" } else { "text" };
                self.exec(format!("ALTER TABLE accounts ADD {} {kind}", quoted(&old))).await;
            }
        }
    }

    /// A token in a column of the application's own: in the row of its owner, or of somebody else.
    async fn copy(&mut self) {
        let Some(slot) = self.slots.iter().find(|slot| !slot.is_json()).cloned() else { return };
        let (place, of_its_owner) = (self.dice.one_of(&HIDING_PLACES), self.dice.one_in(2));
        let (column, token) = (format!("copy_{}", self.story.len()), format!("s.{}", quoted(&slot.name)));
        let first = format!("split_part({token}, ' ', 1)");
        let whose = if of_its_owner { "=" } else { "<>" };
        let user = self.user;
        self.exec(format!("ALTER TABLE accounts ADD {column} {}", place.0)).await;
        self.exec(format!(
            "UPDATE accounts AS t SET {column} = {} FROM accounts AS s WHERE s.{user} {whose} t.{user} \
             AND t.{user}::text LIKE '%1' AND s.{user}::text ~ '[12]$' AND {token} IS NOT NULL",
            filled(place.1, &first)
        ))
        .await;
        let has = format!("SELECT count(*) FROM accounts WHERE {column} IS NOT NULL");
        if of_its_owner && number(&self.db.url, &has).await > 0 {
            self.needed.push("a copy opens for its row's owner");
        }
    }

    /// All tokens of all rows lie in columns of other types now.
    async fn hide_everything(&mut self) {
        for (at, slot) in self.slots.clone().into_iter().enumerate() {
            let place = self.dice.one_of(&HIDING_PLACES);
            let (column, name) = (format!("hidden_{}", self.story.len()), quoted(&slot.name));
            let is_there = format!("SELECT count(*) FROM accounts WHERE {name} IS NOT NULL");
            if number(&self.db.url, &is_there).await == 0 {
                continue;
            }
            self.exec(format!("ALTER TABLE accounts ADD {column} {}", place.0)).await;
            let hidden = filled(place.1, &format!("{name}::text"));
            self.exec(format!(
                "UPDATE accounts SET {column} = {hidden}, {name} = NULL WHERE {name} IS NOT NULL"
            ))
            .await;
            self.undo.insert(0, Undo::Hidden { slot: at, column, read: place.2 });
            self.needed.push("the records are in other columns");
        }
    }

    /// A row lies in one of our own tables.
    async fn move_aside(&mut self) {
        let table = format!("retell_vault_duplicates_{}", self.story.len());
        let which = format!("accounts WHERE {}::text LIKE '%2'", self.user);
        if number(&self.db.url, &format!("SELECT count(*) FROM {which}")).await == 0 {
            return;
        }
        self.exec(format!("CREATE TABLE {table} AS SELECT * FROM {which}")).await;
        self.exec(format!("DELETE FROM {which}")).await;
        self.undo.insert(0, Undo::Aside(table));
        self.needed.push("a row was moved aside");
    }

    /// Rows that do not pass the filter, and may come back.
    async fn soft_delete(&mut self) {
        let set = self.dice.one_of(&["deleted_at = now()", "provider = 'twilio'", "provider = NULL"]);
        let last = self.dice.roll(OWNERS);
        self.exec(format!("UPDATE accounts SET {set} WHERE {}::text LIKE '%{last}'", self.user)).await;
    }

    async fn bring_back(&self) {
        for undo in &self.undo {
            match undo {
                Undo::Hidden { slot, column, read } => {
                    let slot = &self.slots[*slot];
                    let (name, kind) = (quoted(&slot.name), if slot.is_json() { "::jsonb" } else { "" });
                    let found = filled(read, column);
                    let set =
                        format!("UPDATE accounts SET {name} = ({found}){kind} WHERE {column} IS NOT NULL");
                    self.db.exec(&set).await;
                }
                Undo::Aside(table) => {
                    // columns were renamed and added meanwhile
                    let (then, now) = (self.columns(table).await, self.columns("accounts").await);
                    let (now, then) = (now[..then.len()].join(", "), then.join(", "));
                    self.db.exec(&format!("INSERT INTO accounts ({now}) SELECT {then} FROM {table}")).await;
                }
            }
        }
    }

    async fn columns(&self, table: &str) -> Vec<String> {
        let sql = "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 ORDER BY attnum";
        sqlx::query_scalar(sql).bind(table).fetch_all(&self.db.pool()).await.unwrap()
    }

    /// The layout of the operator has a name that is not the column's.
    fn has_wrong_names(&self) -> bool {
        self.slots.iter().zip(&self.known).any(|(slot, known)| slot.name != known.name)
    }

    async fn all_load(&self, when: &str) {
        let vault = self.true_vault(2).await;
        for (number, owner) in self.owners.iter().enumerate() {
            let loaded = vault.load(owner).await.unwrap_or_else(|error| panic!("{when}: {owner}: {error}"));
            assert_eq!(loaded.config, full_config(number), "{when}");
        }
        vault.close().await;
    }

    /// Rotates and destroys as an operator does, with the layout that is known. Answers with whether the key is gone.
    async fn rotate_and_destroy(&self, old: KeyId) -> bool {
        let layout = self.layout(&self.known, self.filtered);
        let vault = self.hosts.host(0, &self.db.url).layout(layout).build().await.unwrap();
        rotate(&vault, &small()).await.unwrap();
        let destroyed = vault.destroy_key(old, at_once()).await;
        vault.close().await;
        destroyed.is_ok()
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Answers with whether the key was destroyed.
async fn run(seed: u64) -> bool {
    let mut case = Case::new(seed).await;
    case.store_all().await;
    for _ in 0..case.dice.roll(4) {
        case.something_happens().await;
    }
    if case.has_wrong_names() {
        case.needed.push("a column has another name");
    }
    let (old, _) = promote(&case.hosts).await;
    let is_gone = case.rotate_and_destroy(old).await;
    println!("seed {seed}: destroyed {is_gone}, needed {:?}, {:#?}", case.needed, case.story);
    // exactly what is needed keeps it
    assert_eq!(is_gone, case.needed.is_empty(), "seed {seed}");
    case.bring_back().await;
    case.all_load("after the destroy").await;
    is_gone
}

#[tokio::test(flavor = "multi_thread")]
async fn after_every_destroy_that_succeeds_every_record_loads() {
    let seeds: Vec<u64> = match std::env::var("RETELL_VAULT_TEST_SEED") {
        Ok(seed) => vec![seed.parse().expect("a number")],
        Err(_) => (1..=CASES).collect(),
    };
    let (turns, mut cases, all) = (Arc::new(Semaphore::new(AT_A_TIME)), JoinSet::new(), seeds.len());
    for seed in seeds {
        let turns = turns.clone();
        cases.spawn(async move {
            let _turn = turns.acquire().await;
            run(seed).await
        });
    }
    let destroyed = cases.join_all().await.into_iter().filter(|is_gone| *is_gone).count();
    println!("{destroyed} of {all} keys were destroyed");
    // otherwise this could not fail
    assert!(all == 1 || (destroyed >= all / 4 && all - destroyed >= all / 4), "{destroyed} of {all}");
}
