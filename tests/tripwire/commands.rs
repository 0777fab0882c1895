//! Every command.

use std::collections::BTreeSet;

use retell_vault::layout::OldSource;
use retell_vault::ledger::LedgerSigningKey;

use super::runner::{FULL, Home, Ran, SECRETS};
use super::support::faults::exec;
use super::support::webhook::signed;
use super::{Key, Stage};

/// Commands that never ask the database.
const OFFLINE: [&str; 2] = ["init", "help"];

const SOURCES: &str = r#"
[[source]]
table = "public.user_profiles"
user = "user_id"
column = "user_id"
field = "api_key"
decryptor = "plaintext"
"#;

/// The home of the commands of one stage, and those that were tried.
struct Commands<'a> {
    stage: &'a mut Stage,
    home: Home,
    tried: BTreeSet<String>,
}

/// One after the other, as an operator would.
pub async fn run(stage: &mut Stage) {
    let home = Home::over(&stage.role.url);
    let mut commands = Commands { stage, home, tried: BTreeSet::new() };
    commands.records().await;
    commands.keys().await;
    commands.schema().await;
    commands.layout().await;
    commands.import().await;
    commands.keyring().await;
    commands.misses_none();
}

impl Commands<'_> {
    async fn records(&mut self) {
        for number in [1, 2] {
            self.of_owner(&["put"], number, FULL).await;
        }
        self.of_owner(&["put", "--expect", "absent"], 3, FULL).await;
        self.of_owner(&["set", "phone_number"], 1, "+14155550101").await;
        self.of_owner(&["unset", "phone_number"], 1, "").await;
        self.of_owner(&["get"], 1, "").await;
        let header = signed(SECRETS[3], b"{}", 1_795_000_000_000);
        let verify = ["webhook", "verify", "--header", &header, "--at", "1795000000000"];
        self.of_owner(&verify, 1, "{}").await;
        self.moves(2, 4).await;
        self.moves(4, 2).await;
        self.of_owner(&["delete"], 3, "").await;
        self.of_owner(&["forget"], 3, "").await;
        self.ok(&["list"]).await;
        self.ok(&["keyring", "adopt"]).await;
        self.ok(&["status"]).await;
        self.ok(&["sync"]).await;
        self.ok(&["sync", "--retry-dead-letters"]).await;
    }

    async fn keys(&mut self) {
        self.ok(&["key", "list"]).await;
        let text = std::fs::read_to_string(self.home.path().join("keyring.json")).unwrap();
        let listed = self.home.run_with(&["key", "list"], &[("RETELL_VAULT_KEYRING_TEXT", &text)], "");
        self.note(&["key", "list"], listed, &[0]).await;
        self.ok(&["key", "check"]).await;
        self.ok(&["key", "check", "--deep"]).await;
        let spare = self.ok(&["key", "add", "--json"]).await;
        let spare = id_of(&spare);
        self.ok(&["key", "retire", &spare]).await;
        let new = self.ok(&["key", "add", "--json"]).await;
        self.ok(&["key", "promote", &id_of(&new)]).await;
        self.ok(&["rotate", "--dry-run"]).await;
        self.ok(&["rotate", "--max-replica-lag", "1000"]).await;
        self.ok(&["rotate", "--new-key"]).await;
        let (spare, now) = (spare.as_str(), ["--force", "--other-hosts-synced"]);
        self.ok(&[&["key", "destroy", spare][..], &now].concat()).await;
        let new_secret = [("RETELL_VAULT_NEW_WRAPPING_KEY", super::runner::WRAPPING_KEY)];
        let rewrap = self.home.run_with(&["key", "rewrap"], &new_secret, "");
        self.note(&["key", "rewrap"], rewrap, &[0]).await;
    }

    async fn schema(&mut self) {
        let wanted = [
            "--profile",
            "full-profile",
            "--row-security",
            "on",
            "--every-row",
            "--remove-duplicates",
            "--vault-schema",
        ];
        for command in ["plan", "apply", "verify"] {
            self.ok(&[&["schema", command][..], &wanted].concat()).await;
        }
        self.ok(&["schema", "promote"]).await;
        let index = ["--column", "index=retell_vault_index"];
        self.ok(&[&["schema", "apply", "--every-row"][..], &index].concat()).await;
        for command in ["build", "rotate"] {
            self.any(&["index", command]).await;
        }
        let find = ["find", "--agent", "agent_test_canary_call"];
        let found = self.home.run(&self.with_layout(&find));
        self.note(&find, found, &[0]).await;
        self.of_owner(&["put"], 1, FULL).await;
        self.stage.inspect("schema apply").await;
        self.any(&["doctor"]).await;
        let [one, other] = [1, 2].map(|number| self.stage.kind.owner(number).to_string());
        let users = ["--users-table", "public.app_users", "--users-column", "id"];
        self.any(&[&["doctor", "--deep", "--probe", &one, &other][..], &users].concat()).await;
        self.ledger().await;
        self.ok(&["schema", "rollback", "--allow-data-loss"]).await;
    }

    async fn layout(&mut self) {
        self.ok(&["layout", "show"]).await;
        self.ok(&["layout", "check"]).await;
        self.ok(&["layout", "write", "--table", "public.user_profiles"]).await;
        self.ok(&["layout", "check"]).await;
        // it takes no columns: it finds them
        let detected = self.home.run(&["layout", "detect"]);
        self.note(&["layout", "detect"], detected, &[0]).await;
    }

    /// The owner's column is in every kind of table.
    async fn import(&mut self) {
        let file = self.home.path().join("sources.toml");
        std::fs::write(&file, SOURCES).unwrap();
        let ran = self.home.run(&["import", "scan", "--layout", file.to_str().unwrap()]);
        self.note(&["import", "scan"], ran, &[0]).await;
        self.imports_one().await;
    }

    /// Of an owner without a record, from a column that is then cleared.
    async fn imports_one(&mut self) {
        let (kind, url) = (self.stage.kind, self.stage.role.url.clone());
        let source = OldSource::new("user_profiles", "user_id", "full_name", "plaintext").unwrap();
        let source = source.field("api_key".parse().unwrap());
        let owner = kind.owner(9);
        let (names, values, source) = match (kind.key, owner.tenant_id()) {
            (Key::Both, Some(tenant)) => (
                "tenant_id, user_id",
                format!("'{tenant}', '{}'", owner.user_id()),
                source.tenant_column("tenant_id").unwrap(),
            ),
            _ => ("user_id", format!("'{}'", owner.user_id()), source),
        };
        // beside the layout of the home
        let file = self.home.path().join("layout.toml");
        let layout = std::fs::read_to_string(&file).unwrap();
        let sources = kind.layout().source(source).unwrap().to_toml();
        let sources = &sources[sources.find("[[source]]").unwrap()..];
        std::fs::write(&file, format!("{layout}\n{sources}")).unwrap();
        exec(&url, "UPDATE public.user_profiles SET full_name = NULL").await;
        let old = "key_test_0000000000000009";
        exec(
            &url,
            &format!("INSERT INTO public.user_profiles ({names}, full_name) VALUES ({values}, '{old}')"),
        )
        .await;
        let run = self.with_layout(&["import", "run", "--clear-source", "--json"]);
        let ran = self.home.run_with(&run, &[], "");
        assert!(ran.out.contains(r#""cleared":1"#), "{ran:?}");
        std::fs::write(&file, layout).unwrap();
        self.note(&["import", "run"], ran, &[0]).await;
    }

    async fn keyring(&mut self) {
        for command in ["push", "show", "restore", "repair"] {
            self.ok(&["keyring", command]).await;
        }
        let file = self.home.path().join("pulled.json");
        self.ok(&["keyring", "pull", file.to_str().unwrap()]).await;
        self.ok(&["key", "add"]).await;
    }

    /// From here on every change of a record has an entry.
    async fn ledger(&mut self) {
        self.ok(&["ledger", "begin"]).await;
        self.of_owner(&["put"], 1, FULL).await;
        self.of_owner(&["get", "--fresh"], 1, "").await;
        self.any(&["ledger", "verify"]).await;
        self.any(&["ledger", "accept", "--reason", "a test"]).await;
        self.ok(&["ledger", "list"]).await;
        self.ok(&["ledger", "export"]).await;
        let folder = tempfile::tempdir().unwrap();
        let (key, sink) = (folder.path().join("signing-key"), folder.path().join("sink"));
        let (key, sink) = (key.to_str().unwrap(), sink.to_str().unwrap());
        for command in ["init", "show"] {
            self.ok(&["ledger", "signing-key", command, key]).await;
        }
        self.any(&["ledger", "checkpoint", "--signing-key", key, "--to", sink]).await;
        let verifying = LedgerSigningKey::open(key).unwrap().verifying_text();
        self.any(&["ledger", "prune", "--with", sink, "--verifying-key", &verifying, "--before", "0s"]).await;
    }

    /// For one of the owners, with something on standard input.
    async fn of_owner(&mut self, args: &[&str], number: u8, input: &str) {
        let owner = self.stage.kind.owner(number);
        let mut all = [args, &["--user", owner.user_id().as_str()]].concat();
        if self.stage.kind.key == Key::Both {
            all.extend(["--tenant", owner.tenant_id().unwrap().as_str()]);
        }
        let ran = self.home.run_with(&self.with_layout(&all), &[], input);
        self.note(args, ran, &[0]).await;
    }

    /// The record of one owner to another.
    async fn moves(&mut self, from: u8, to: u8) {
        let [from, to] = [from, to].map(|number| self.stage.kind.owner(number));
        let mut args = vec!["move", "--from", from.user_id().as_str(), "--to", to.user_id().as_str()];
        if self.stage.kind.key == Key::Both {
            let [from, to] = [&from, &to].map(|owner| owner.tenant_id().unwrap().as_str());
            args.extend(["--from-tenant", from, "--to-tenant", to]);
        }
        let ran = self.home.run(&self.with_layout(&args));
        self.note(&["move"], ran, &[0]).await;
    }

    async fn ok(&mut self, args: &[&str]) -> Ran {
        let ran = self.home.run(&self.with_layout(args));
        self.note(args, ran, &[0]).await
    }

    /// As [`ok`](Self::ok), for the doctor, whose exit code is what he found.
    async fn any(&mut self, args: &[&str]) -> Ran {
        let ran = self.home.run(&self.with_layout(args));
        self.note(args, ran, &[0, 1, 2]).await
    }

    fn with_layout<'a>(&self, args: &[&'a str]) -> Vec<&'a str> {
        match self.stage.kind.key {
            Key::Both => [args, &["--tenant-column", "tenant_id"]].concat(),
            Key::User | Key::None => args.to_vec(),
        }
    }

    async fn note(&mut self, args: &[&str], ran: Ran, codes: &[i32]) -> Ran {
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
        let names = args.iter().take_while(|arg| !arg.starts_with('-') && arg.bytes().all(is_name));
        let names = names.copied().collect::<Vec<_>>().join(" ");
        let options: Vec<_> = args.iter().filter(|arg| arg.starts_with("--")).copied().collect();
        let what = format!("command {names} {}", options.join(" "));
        self.tried.insert(names);
        let is_error = ran.err.starts_with("error:");
        let ended = match codes.contains(&ran.code) && !is_error {
            true => Ok(ran),
            false => Err(ran),
        };
        self.stage.watch(&what, async { ended.as_ref().map_err(|ran| format!("{ran:?}")).map(drop) }).await;
        ended.unwrap_or_else(|ran| ran)
    }

    /// The help names every command.
    fn misses_none(&mut self) {
        let mut missing = Vec::new();
        for name in self.names(&[]).into_iter().filter(|name| !OFFLINE.contains(&name.as_str())) {
            let below = self.names(&[&name]);
            let below: Vec<_> = below.into_iter().filter(|below| below != "help").collect();
            let names = match below.is_empty() {
                true => vec![name],
                false => below.into_iter().map(|below| format!("{name} {below}")).collect(),
            };
            missing.extend(
                names
                    .into_iter()
                    .filter(|name| !self.tried.iter().any(|tried| tried.starts_with(name.as_str()))),
            );
        }
        if !missing.is_empty() {
            self.stage.failed.insert("every command".to_owned(), format!("not tried: {missing:?}"));
        }
    }

    /// The commands below a command, as its help lists them.
    fn names(&self, command: &[&str]) -> Vec<String> {
        let help = self.home.run(&[command, &["--help"]].concat()).ok().out;
        let list =
            help.split_once("\nCommands:\n").map(|(_, rest)| rest.split("\n\n").next().unwrap_or_default());
        let lines = list.unwrap_or_default().lines().filter(|line| !line.starts_with("   "));
        lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
    }
}

/// Of the key that a command has made.
fn id_of(ran: &Ran) -> String {
    if ran.code != 0 {
        return "none".to_owned();
    }
    ran.json()["key"]["id"].as_str().unwrap().to_owned()
}
