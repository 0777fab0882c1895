//! Tables as applications have them (facts from public repositories, every value made up): the whole life of a vault on the
//! layout that `layout detect --write` makes, which is the one that somebody would write by hand. Afterwards the application's
//! rows and its schema are what they were.

use retell_vault::doctor::DoctorOptions;
use retell_vault::schema::{ApplyOptions, DetectOptions, Profile, RollBackOptions};
use retell_vault::{ErrorKind, Layout, Owner, Vault};
use serde_json::Value;

use crate::support::dump::schema_of;
use crate::support::rotation::{at_once, completes, promote, until_taken_up};
use crate::support::rows;
use crate::support::vaults::*;
use crate::support::*;

struct Family {
    sql: &'static str,
    table: &'static str,
    user: &'static str,
    tenant: Option<&'static str>,
    /// Which rows count, as SQL.
    counts: String,
    /// Written by hand.
    layout: Layout,
}

macro_rules! family {
    ($file:literal, $table:literal, $user:literal) => {
        Family::new(include_str!(concat!("../detect/", $file, ".sql")), $table, $user)
    };
}

impl Family {
    fn new(sql: &'static str, table: &'static str, user: &'static str) -> Self {
        let layout = Layout::new().table(table).unwrap().user_column(user).unwrap();
        Self { sql, table, user, tenant: None, counts: "true".to_owned(), layout }
    }

    fn tenant(self, column: &'static str) -> Self {
        Self { tenant: Some(column), layout: self.layout.tenant_column(column).unwrap(), ..self }
    }

    fn only_where(self, column: &str, value: &str) -> Self {
        let counts = format!("\"{column}\" = '{value}'");
        Self { counts, layout: self.layout.where_equals(column, value).unwrap(), ..self }
    }

    fn only_null(self, column: &str) -> Self {
        let counts = format!("\"{column}\" IS NULL");
        Self { counts, layout: self.layout.is_null(column).unwrap(), ..self }
    }

    /// The layout that detection proposes, after it went through its file. Its rows are those of the layout by hand.
    async fn detected(&self, db: &TestDb) -> Layout {
        let options = DetectOptions::new().table(self.table);
        let found = Layout::detect(&db.url, &options).await.unwrap();
        let text = found.proposal().unwrap_or_else(|| panic!("{found:#?}")).to_toml();
        let layout = Layout::from_toml(&text).unwrap();
        let rows = |layout: &Layout| {
            let text = layout.to_toml();
            text.split("[columns]").next().unwrap().split("[[source]]").next().unwrap().trim().to_owned()
        };
        assert_eq!(rows(&layout), rows(&self.layout), "{text}");
        layout
    }

    /// The owners of two rows that count, or of the only one.
    async fn owners(&self, db: &TestDb) -> Vec<Owner> {
        let tenant = self.tenant.map_or("NULL".to_owned(), |tenant| format!("\"{tenant}\""));
        let (table, user, counts) = (self.table, self.user, &self.counts);
        let sql = format!(
            "SELECT jsonb_agg(jsonb_build_array(\"{user}\"::text, {tenant}::text)) FROM
             (SELECT * FROM \"{table}\" WHERE {counts} ORDER BY \"{user}\" LIMIT 2) AS t"
        );
        let rows: Value = rows::value(db, &sql).await;
        let owner = |row: &Value| {
            let user = owner(row[0].as_str().unwrap());
            row[1].as_str().map_or(user.clone(), |tenant| user.in_tenant(tenant).unwrap())
        };
        rows.as_array().unwrap().iter().map(owner).collect()
    }
}

/// Every row of every table of the application, with the columns that it had.
async fn everything(db: &TestDb) -> Value {
    let tables: Value = rows::value(
        db,
        "SELECT jsonb_agg(format('%I.%I', schemaname, tablename) ORDER BY 1) FROM pg_tables
         WHERE schemaname NOT IN ('pg_catalog', 'information_schema') AND tablename NOT LIKE 'retell\\_vault\\_%'",
    )
    .await;
    let mut all = serde_json::Map::new();
    for table in tables.as_array().unwrap() {
        let table = table.as_str().unwrap();
        all.insert(table.to_owned(), rows::table(db, table).await);
    }
    Value::Object(all)
}

/// Whether every member that was there is there with the same value: the vault's own columns are more members.
fn holds(now: &Value, then: &Value) -> bool {
    match (now, then) {
        (Value::Object(now), Value::Object(then)) => {
            then.iter().all(|(name, value)| now.get(name).is_some_and(|now| holds(now, value)))
        }
        (Value::Array(now), Value::Array(then)) => {
            now.len() == then.len() && then.iter().all(|row| now.iter().any(|now| holds(now, row)))
        }
        (now, then) => now == then,
    }
}

async fn lives(family: Family) {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(family.sql).await;
    let (schema, before) = (schema_of(&db).await, everything(&db).await);
    let layout = family.detected(&db).await;
    let vault = hosts.host(0, &db.url).layout(layout.clone()).build().await.unwrap();

    let plan = vault.schema().plan(Profile::Credentials).await.unwrap();
    assert!(plan.blocked.is_empty(), "{:?}", plan.blocked);
    vault.schema().apply(&plan, &ApplyOptions::new(), |_| {}).await.unwrap();
    let verification = vault.schema().verify(Profile::Credentials).await.unwrap();
    assert!(verification.is_good(), "{verification:#?}");
    let again = vault.schema().plan(Profile::Credentials).await.unwrap();
    assert!(again.is_empty(), "{again:#?}");

    let owners = family.owners(&db).await;
    uses(&vault, &owners).await;
    assert!(holds(&everything(&db).await, &before), "the application's rows while records are there");
    let (old, _) = promote(&hosts).await;
    until_taken_up().await;
    completes(&vault).await;
    vault.destroy_key(old, at_once()).await.unwrap();
    let fresh = hosts.host(1, &db.url).layout(layout).build().await.unwrap();
    for (at, of) in owners.iter().enumerate() {
        assert_eq!(fresh.load(of).await.unwrap().config, full_config(at + 20), "after the key is gone");
    }
    let diagnosis = fresh.doctor(&DoctorOptions::new().deep(), |_| {}).await.unwrap();
    let ours = diagnosis.findings.iter().filter(|finding| finding.object.contains("encrypted_"));
    // what the application stored before is still there
    let ours = ours.filter(|finding| !finding.id.starts_with("old_values_"));
    assert_eq!(
        ours.map(|finding| finding.id).collect::<Vec<_>>(),
        [] as [&str; 0],
        "of the columns made for tokens"
    );
    for of in &owners {
        fresh.delete(of).await.unwrap();
        assert_eq!(fresh.load(of).await.unwrap_err().kind(), ErrorKind::NotFound);
    }
    let back = RollBackOptions::new().allow_data_loss();
    let backups = fresh.schema().roll_back(&back, |_| {}).await.unwrap().backups;
    for backup in backups {
        db.exec(&format!("DROP TABLE \"{}\"", backup.replace('.', "\".\""))).await;
    }
    assert_eq!(schema_of(&db).await, schema);
    assert_eq!(everything(&db).await, before);
}

async fn uses(vault: &Vault, owners: &[Owner]) {
    for (at, of) in owners.iter().enumerate() {
        let stored = vault.store(of, &full_config(at)).await.unwrap();
        assert_eq!((stored.degraded, stored.rows), (None, 1));
        assert_eq!(vault.load(of).await.unwrap().config, full_config(at));
    }
    let many: Vec<_> = owners.iter().cloned().zip((10..).map(full_config)).collect();
    assert!(vault.store_many(&many).await.unwrap().iter().all(Result::is_ok));
    for (at, of) in owners.iter().enumerate() {
        let change = |config: &mut retell_vault::RetellConfig| {
            *config = full_config(at + 20);
            Ok(())
        };
        vault.modify(of, change).await.unwrap();
    }
    assert_eq!(vault.list(None, 10).await.unwrap().entries.len(), owners.len());
}

#[tokio::test]
async fn the_owner_is_the_row_itself() {
    lives(family!("organizations_prisma", "organizations", "id")).await;
    lives(family!("customers_integer_drizzle", "customers", "id")).await;
    lives(family!("users_varchar_ciphertext", "users", "id")).await;
    lives(family!("organizations_ciphertext_in_plain_name", "organizations", "id")).await;
}

#[tokio::test]
async fn the_row_holds_much_else() {
    lives(family!("orgs_several_providers", "orgs", "id")).await;
    lives(family!("restaurants_django", "restaurants_restaurant", "id")).await;
    lives(family!("tenants_many_providers", "tenants", "id")).await;
    lives(family!("businesses_thirty_tokens", "businesses", "id")).await;
}

#[tokio::test]
async fn settings_beside_the_owner() {
    lives(family!("connections_with_references", "retell_connections", "id")).await;
    lives(family!("two_configs_pascal_case", "AiReceptionistConfig", "id").tenant("orgId")).await;
    lives(family!("tenant_config_misspelt_twins", "tenant_config", "tenant_id")).await;
    lives(family!("api_settings_of_users", "api_settings", "user_id")).await;
    lives(family!("credentials_of_clinics", "retell_credentials", "clinic_id")).await;
}

#[tokio::test]
async fn rows_for_something_else_beside() {
    lives(family!("integrations_json", "integrations", "org_id").only_where("type", "retell")).await;
    lives(family!("widgets", "widgets", "id").only_where("provider", "retell")).await;
    lives(family!("studios_soft_delete", "studios", "id").only_null("deleted_at")).await;
    lives(family!("key_for_each_agent", "agents", "id")).await;
    lives(family!("agents_and_integrations", "agents", "id").tenant("organization_id")).await;
}
