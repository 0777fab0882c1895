//! Runs the real binary in a home of its own, and looks for secrets in all that it prints.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// Every field.
pub const FULL: &str = r#"{"api_key":"key_test_canary_4711","call_agent_id":"agent_test_canary_call",
    "sms_agent_id":"agent_test_canary_sms","phone_number":"+14155550100","webhook_key":"whsec_test_canary_4711",
    "webhook_config":{"webhook_url":"https://example.com/hook","events":["call_ended","from_the_future"]},
    "integration_status":"active"}"#;
/// Nothing but the key.
pub const SMALL: &str = r#"{"api_key":"key_test_canary_4711"}"#;
/// What is printed only when it is asked for.
pub const SECRETS: [&str; 4] =
    ["key_test_canary_4711", "agent_test_canary_call", "agent_test_canary_sms", "whsec_test_canary_4711"];
/// 32 bytes of 7 in base64.
pub const WRAPPING_KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

/// A home folder, and the database that its commands are given.
pub struct Home {
    folder: TempDir,
    pub database: String,
}

impl Home {
    /// Without a keyring and without a database.
    pub fn empty() -> Self {
        Self::empty_over("")
    }

    /// Without a keyring.
    pub fn empty_over(database: &str) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), database: database.to_owned() }
    }

    /// With a keyring, and without a database.
    pub fn new() -> Self {
        Self::over("")
    }

    /// With a keyring, over a database.
    pub fn over(database: &str) -> Self {
        let home = Self::empty_over(database);
        home.run(&["init"]).ok();
        home
    }

    /// The folder that `--home` names. It may not exist yet.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// Runs a command with the usual wrapping key.
    pub fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, &[], "")
    }

    /// Runs a command and parses what it prints.
    pub fn json(&self, args: &[&str]) -> Value {
        self.run(&[args, &["--json"]].concat()).ok().json()
    }

    /// Runs `put` with a configuration on standard input.
    pub fn put(&self, args: &[&str], config: &str) -> Ran {
        self.run_with(&[&["put"], args].concat(), &[], config)
    }

    /// Runs `set` of user-1 with a value on standard input.
    pub fn set(&self, field: &str, value: impl AsRef<[u8]>) -> Ran {
        self.run_with(&["set", "--user", "user-1", field], &[], value)
    }

    /// Runs a command with more variables, and this on standard input.
    pub fn run_with(&self, args: &[&str], variables: &[(&str, &str)], input: impl AsRef<[u8]>) -> Ran {
        let mut command = self.command(args);
        command.envs(variables.iter().copied());
        let mut child = command.spawn().unwrap();
        // a command that wants no input may be gone already
        child.stdin.take().unwrap().write_all(input.as_ref()).ok();
        let output = child.wait_with_output().unwrap();
        let ran = Ran {
            code: output.status.code().expect("it ends by itself"),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
        ran.hides_secrets(args.contains(&"--reveal"));
        ran
    }

    /// The command itself, its streams piped, in an environment that nobody else has touched.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_retell-vault"));
        command
            .args(args)
            .env_clear()
            .env("RETELL_VAULT_HOME", self.path())
            .env("RETELL_VAULT_WRAPPING_KEY", WRAPPING_KEY)
            .env("DATABASE_URL", &self.database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    fn hides_secrets(&self, revealed: bool) {
        for secret in SECRETS.into_iter().chain([WRAPPING_KEY, "hunter2"]) {
            assert!(!self.err.contains(secret), "{secret} stands in: {}", self.err);
            assert!(revealed || !self.out.contains(secret), "{secret} stands in: {}", self.out);
        }
    }

    /// It succeeded.
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    /// It failed like this, with `error:` and `hint:`, and printed no result.
    pub fn fails(&self, code: i32, error: &str, hint: &str) {
        assert_eq!(self.code, code, "{self:?}");
        let lines: Vec<_> = self.err.lines().collect();
        let found =
            |label: &str, part: &str| lines.iter().any(|line| line.starts_with(label) && line.contains(part));
        assert!(found("error: ", error) && found("hint: ", hint), "{self:?}");
        assert_eq!(self.out, "");
    }

    /// It warned of this.
    pub fn warns(&self, part: &str) {
        assert!(
            self.err.lines().any(|line| line.starts_with("warning: ") && line.contains(part)),
            "{self:?}"
        );
    }

    pub fn lines(&self) -> std::str::Lines<'_> {
        self.out.lines()
    }

    pub fn json(&self) -> Value {
        assert_eq!(self.lines().count(), 1, "{self:?}");
        serde_json::from_str(&self.out).unwrap()
    }
}
