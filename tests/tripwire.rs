//! Nothing that others planted in a schema of the search path is called: no operator, no function, no type, no relation. Every call of
//! the library and every command runs over planted databases, as an ordinary role that owns its table.
#![cfg(feature = "cli")]

#[path = "tripwire/calls.rs"]
mod calls;
#[path = "tripwire/commands.rs"]
mod commands;
#[path = "tripwire/printed.rs"]
mod printed;
// the tests of the commands use all of it
#[allow(dead_code)]
#[path = "cli/runner.rs"]
mod runner;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use retell_vault::doctor::DoctorOptions;
use retell_vault::schema::Profile;
use retell_vault::{Layout, Owner, Vault};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Executor};
use support::TestDb;
use support::faults::exec;
use support::plants::{Counters, planted};
use support::role::Role;
use support::rotation::primary;
use support::vaults::{ALL_COLUMNS, Hosts, full_config, owner};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Where the built-in objects come on the path: before the planted ones, unless the path says otherwise.
const PATHS: [&str; 2] = [r#""$user", public"#, "public, pg_catalog"];
/// How many tables are tried at a time: more only wait for each other.
const AT_A_TIME: usize = 3;
/// The types of the columns of the owner. Beside the smallint the tenant is an enum.
const OWNERS: [&str; 7] = ["uuid", "text", "varchar", "integer", "app.account", "smallint", "bigint"];
const TENANT: &str = "10000000-0000-4000-8000-000000000000";

/// A table of one kind.
#[derive(Clone, Copy)]
struct Kind {
    path: &'static str,
    /// The type of the columns of the owner.
    owner: &'static str,
    key: Key,
    /// With a column for every field; else with the JSONB column alone.
    dedicated: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    User,
    /// And the tenant.
    Both,
    /// None, and one of the owners has two rows.
    None,
}

impl Kind {
    fn all() -> impl Iterator<Item = Self> {
        let each = |path| OWNERS.map(|owner| (path, owner));
        let owners = PATHS.into_iter().flat_map(each).enumerate();
        owners.flat_map(|(number, (path, owner))| {
            let kinds = [(Key::User, false), (Key::User, true), (Key::Both, true), (Key::None, false)];
            // every type of owner meets all four, half of them on each path; those that differ from others in their size one
            let kinds = match owner {
                "smallint" | "bigint" => vec![kinds[2]],
                _ => vec![kinds[number % 4], kinds[(number + 2) % 4]],
            };
            kinds.into_iter().map(move |(key, dedicated)| Self { path, owner, key, dedicated })
        })
    }

    fn name(self) -> String {
        let columns = if self.dedicated { "a column for every field" } else { "the JSONB column" };
        format!("path {}, owner {}, key {:?}, {columns}", self.path, self.owner, self.key)
    }

    fn table(self) -> String {
        let key = match self.key {
            Key::Both => format!(
                "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant_id {} NOT NULL, user_id {} NOT NULL, UNIQUE (tenant_id, user_id)",
                self.tenant(),
                self.owner
            ),
            Key::User => format!("user_id {} PRIMARY KEY", self.owner),
            Key::None => format!("user_id {} NOT NULL", self.owner),
        };
        let columns = match self.dedicated {
            true => {
                "encrypted_retell_api_key text, encrypted_call_agent_id text, encrypted_sms_agent_id varchar, \
                 encrypted_agent_config jsonb, phone_number varchar, webhook_config jsonb, \
                 retell_integration_status text, last_retell_sync timestamptz"
            }
            false => "encrypted_agent_config jsonb",
        };
        let filtered = match self.is_number() {
            true => "provider varchar NOT NULL DEFAULT 'retell', deleted_at timestamptz,",
            false => "",
        };
        format!(
            "CREATE SCHEMA app; GRANT USAGE ON SCHEMA app TO PUBLIC; CREATE DOMAIN app.account AS bigint;
             CREATE TYPE app.region AS ENUM ('eu', 'us');
             CREATE TABLE public.user_profiles ({key}, full_name varchar, {filtered} {columns})"
        )
    }

    fn is_number(self) -> bool {
        !matches!(self.owner, "uuid" | "text" | "varchar")
    }

    /// The type of the tenant's column.
    fn tenant(self) -> &'static str {
        if self.owner == "smallint" { "app.region" } else { self.owner }
    }

    /// Where the owner is a number, the rows are filtered too.
    fn layout(self) -> Layout {
        let layout = match self.key {
            Key::Both => Layout::new().tenant_column("tenant_id").unwrap(),
            Key::User | Key::None => Layout::new(),
        };
        match self.is_number() {
            true => layout.where_equals("provider", "retell").unwrap().is_null("deleted_at").unwrap(),
            false => layout,
        }
    }

    fn owner(self, number: u8) -> Owner {
        let user = match self.is_number() {
            true => format!("{}", number + 10),
            false => format!("00000000-0000-4000-8000-{number:012}"),
        };
        let tenant = match self.tenant() {
            "app.region" => "eu",
            _ if self.is_number() => "7",
            _ => TENANT,
        };
        let owner = Owner::user(&user).unwrap();
        match self.key {
            Key::Both => owner.in_tenant(tenant).unwrap(),
            Key::User | Key::None => owner,
        }
    }
}

/// A planted database with a table of one kind, and what came of the calls.
struct Stage {
    kind: Kind,
    hosts: Hosts,
    counters: Counters,
    called: BTreeMap<String, BTreeSet<String>>,
    failed: BTreeMap<String, String>,
    role: Role,
    _db: TestDb,
}

impl Stage {
    async fn new(template: &TestDb, kind: Kind) -> Self {
        let db = template.copy().await;
        let script = format!(
            "GRANT CREATE ON SCHEMA public TO guest; GRANT CREATE ON DATABASE {name} TO guest; GRANT authenticated TO guest; SET search_path = ''; {}; \
             ALTER TABLE public.user_profiles OWNER TO guest; GRANT ALL ON public.user_profiles TO authenticated; \
             CREATE TABLE public.app_users AS SELECT user_id AS id FROM public.user_profiles; \
             ALTER TABLE public.app_users OWNER TO guest; \
             ALTER DATABASE {name} SET track_functions = 'pl'; ALTER ROLE guest IN DATABASE {name} SET search_path = {}",
            kind.table(),
            kind.path,
            name = db.name,
        );
        let role = Role::create(&db, &script).await;
        let counters = Counters::of(&db).await;
        let (called, failed) = (BTreeMap::new(), BTreeMap::new());
        Self { kind, hosts: Hosts::new().await, counters, called, failed, role, _db: db }
    }

    /// The same role with nothing on its path.
    fn quiet_url(&self) -> String {
        format!("{}?options=-csearch_path%3Dpg_catalog", self.role.url)
    }

    /// Does something, and notes what of the planted was called. What fails is noted too: it proves nothing.
    async fn watch<T, E: std::fmt::Debug>(
        &mut self,
        what: &str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Option<T> {
        let done = work.await;
        let called = self.counters.called().await;
        if !called.is_empty() {
            self.called.entry(what.to_owned()).or_default().extend(called);
        }
        done.map_err(|error| self.failed.insert(what.to_owned(), format!("{error:?}"))).ok()
    }

    /// Notes what is made of the planted.
    async fn inspect(&mut self, what: &str) {
        let bound = self.counters.bound().await;
        self.called.entry(what.to_owned()).or_default().extend(bound);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_planted_on_the_path_is_called() {
    let template = planted().await;
    let (turns, mut all) = (Arc::new(Semaphore::new(AT_A_TIME)), JoinSet::new());
    for (number, kind) in Kind::all().enumerate() {
        let (template, turns) = (template.clone(), turns.clone());
        // a thread for each: not every future of the library may move to another one
        all.spawn_blocking(move || {
            Handle::current().block_on(async {
                let _turn = turns.acquire().await;
                let mut stage = Stage::new(&template, kind).await;
                calls::run(&mut stage).await;
                let calls = Outcome { kind: kind.name(), called: stage.called, failed: stage.failed };
                // commands make the same calls: once for every path and every type of owner
                if number % 2 == 1 && kind.owner != "bigint" {
                    return vec![calls];
                }
                let mut stage = Stage::new(&template, kind).await;
                commands::run(&mut stage).await;
                let commands = Outcome { kind: kind.name(), called: stage.called, failed: stage.failed };
                vec![calls, commands]
            })
        });
    }
    let report = report(all.join_all().await.into_iter().flatten());
    assert!(report.is_empty(), "{report}");
}

/// What came of a table of one kind.
struct Outcome {
    kind: String,
    /// The plants by call.
    called: BTreeMap<String, BTreeSet<String>>,
    /// The error by call.
    failed: BTreeMap<String, String>,
}

/// By call: the plants and the failures, each with how many kinds of tables it was met over, and one of them.
fn report(outcomes: impl Iterator<Item = Outcome>) -> String {
    let mut by_call: BTreeMap<String, BTreeMap<String, Vec<String>>> = BTreeMap::new();
    for Outcome { kind, called, failed } in outcomes {
        let failed =
            failed.into_iter().map(|(call, error)| (call, BTreeSet::from([format!("failed: {error}")])));
        for (call, what) in called
            .into_iter()
            .chain(failed)
            .flat_map(|(call, all)| all.into_iter().map(move |what| (call.clone(), what)))
        {
            by_call.entry(call).or_default().entry(what).or_default().push(kind.clone());
        }
    }
    let mut text = String::new();
    for (call, found) in by_call {
        writeln!(text, "\n{call}").unwrap();
        for (what, kinds) in found {
            writeln!(text, "  {what}, over {} kinds of tables, as {}", kinds.len(), kinds[0]).unwrap();
        }
    }
    text
}

/// The trip-wire itself: one statement for each kind of plant and for each path is seen, also in a transaction that is rolled back or
/// may not write; and what is written carefully is not.
#[tokio::test]
async fn what_is_called_is_seen() {
    let template = planted().await;
    let before: [(&str, &[&str]); 4] = [
        ("SELECT 'a'::varchar = 'a'::text", &[r#"plants."varchar = text"(character varying,text)"#]),
        ("SELECT 'a'::varchar IN ('a'::text)", &[r#"plants."varchar = text"(character varying,text)"#]),
        ("SELECT left('abc'::varchar, 1)", &[r#"public."left"(character varying,integer)"#]),
        (
            "BEGIN READ ONLY; SELECT 'a'::varchar > 'a'::text; ROLLBACK",
            &[r#"plants."varchar > text"(character varying,text)"#],
        ),
    ];
    let after: [(&str, &[&str]); 5] = [
        ("SELECT 1 = 1", &[r#"plants."int4 = int4"(integer,integer)"#]),
        ("SELECT nullif('a'::pg_catalog.text, 'b')", &[r#"plants."text = text"(text,text)"#]),
        ("SELECT count(*) FROM (VALUES (1)) AS v", &[r#"plants."count(*)"(bigint)"#]),
        ("SELECT '1'::int8", &[r#"plants."type int8"(bigint)"#]),
        ("SELECT FROM pg_class", &[r#"plants."relation pg_class"()"#]),
    ];
    let careful = "SELECT 1 OPERATOR(pg_catalog.=) 1, pg_catalog.count(*), '1'::pg_catalog.int8 FROM pg_catalog.pg_class";
    for (path, statements) in PATHS.into_iter().zip([&before[..], &after[..]]) {
        let db = template.copy().await;
        let script = format!(
            "ALTER DATABASE {} SET track_functions = 'pl'; ALTER ROLE guest SET search_path = {path}",
            db.name
        );
        let role = Role::create(&db, &script).await;
        let mut counters = Counters::of(&db).await;
        for (sql, plants) in statements {
            exec(&role.url, sql).await;
            assert_eq!(counters.called().await, *plants, "{sql}");
        }
        exec(&role.url, careful).await;
        assert_eq!((counters.called().await, counters.bound().await), (Vec::new(), Vec::new()));
    }
}

#[tokio::test]
async fn what_is_made_of_the_planted_is_seen() {
    let db = planted().await.copy().await;
    let mut counters = Counters::of(&db).await;
    db.exec(
        "SET search_path = public, pg_catalog; CREATE TABLE public.t (a pg_catalog.text CHECK (a = 'a'), b int8, c pg_catalog.int4);
        CREATE POLICY own ON public.t USING (c = 1); CREATE INDEX ON public.t (length(a)) WHERE c OPERATOR(pg_catalog.>) 1",
    )
    .await;
    let bound = counters.bound().await;
    for made in ["constraint t_a_check", "column b", "policy own", "index public.t_length_idx"] {
        assert!(bound.iter().any(|bound| bound.contains(made)), "{made} in {bound:?}");
    }
}

/// The temporary objects of a session come before the built-in ones, unless the path says otherwise.
#[tokio::test]
async fn what_a_session_keeps_for_itself_is_not_seen() {
    const HIDDEN: [&str; 6] = ["pg_class", "pg_attribute", "pg_type", "pg_index", "pg_policy", "pg_roles"];
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(ALL_COLUMNS).await;
    let tables = HIDDEN.map(|name| format!("CREATE TEMP TABLE {name} ();"));
    let script =
        format!("{} CREATE DOMAIN pg_temp.text AS int4; CREATE TEMP TABLE user_profiles ()", tables.concat());
    let pool = PgPoolOptions::new().max_connections(1).after_connect(move |connection, _| {
        let script = script.clone();
        Box::pin(async move { connection.execute(AssertSqlSafe(script)).await.map(drop) })
    });
    let vault =
        Vault::builder(hosts.keyring()).pool(pool.connect_lazy(&db.url).unwrap()).build().await.unwrap();
    vault.store(&owner("user-1"), &full_config(1)).await.unwrap();
    assert_eq!(vault.load(&owner("user-1")).await.unwrap().config, full_config(1));
    assert_eq!(vault.list(None, 10).await.unwrap().entries.len(), 1);
    assert_eq!(vault.count_tokens().await.unwrap().tokens_of(primary(&hosts)), 5);
    assert!(vault.schema().plan(Profile::Credentials).await.unwrap().blocked.is_empty());
    let diagnosis = vault.doctor(&DoctorOptions::new().deep(), |_| {}).await.unwrap();
    assert!(diagnosis.findings.iter().all(|finding| finding.id != "column_missing"), "{diagnosis:?}");
}
