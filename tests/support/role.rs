//! Database users other than the superuser.

use std::thread;

use tokio::runtime;
use url::Url;

use super::TestDb;
use super::cluster::run_sql;
use super::faults::exec;

/// A user of the server with only the rights that a test grants. Dropping it drops the user.
pub struct Role {
    pub name: String,
    /// The test's database as this user.
    pub url: String,
    admin: String,
}

impl Role {
    /// Creates a user, and runs the script with its name in place of `guest`.
    pub async fn create(db: &TestDb, script: &str) -> Self {
        Self::create_at(&db.url, script).await
    }

    /// The same in any database.
    pub async fn create_at(admin: &str, script: &str) -> Self {
        let name = format!("guest_{:016x}", rand::random::<u64>());
        exec(admin, &format!("CREATE ROLE {name} LOGIN; {}", script.replace("guest", &name))).await;
        let mut url = Url::parse(admin).expect("our own URL is valid");
        url.set_username(&name).expect("the URL has a host");
        Self { name, url: url.into(), admin: admin.to_owned() }
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let (sql, url) = (format!("DROP OWNED BY {0}; DROP ROLE {0}", self.name), self.admin.clone());
        let drop_role = move || {
            let Ok(runtime) = runtime::Builder::new_current_thread().enable_all().build() else { return };
            let _ = runtime.block_on(run_sql(&url, &sql));
        };
        let _ = thread::spawn(drop_role).join();
    }
}
