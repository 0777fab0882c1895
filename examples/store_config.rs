//! Stores a configuration, shows what is on disk, and loads it back.
//!
//!     cargo run --example store_config                    in a folder below the temporary directory
//!     cargo run --example store_config -- FOLDER [USER]   in your own private folder
//!     DATABASE_URL=postgres://… cargo run --example store_config -- FOLDER [USER]
//!
//! It needs no input and no server. With `DATABASE_URL` it stores in the table `public.user_profiles` of that database; the
//! local file is then only the fallback. You can run it repeatedly: the folder keeps the keyring.

use std::error::Error;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::{env, io};

use retell_vault::keyring::RawKey;
use retell_vault::layout::Place;
use retell_vault::records::Source;
use retell_vault::records::Stored;
use retell_vault::{Keyring, Owner, RetellConfig, Vault};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Row};

/// Fits `text` and `uuid` columns.
const EXAMPLE_USER: &str = "00000000-0000-4000-8000-000000000001";

#[tokio::main]
async fn main() {
    let mut arguments = env::args().skip(1);
    let folder = arguments.next().map_or_else(default_folder, PathBuf::from);
    let user = arguments.next().unwrap_or_else(|| EXAMPLE_USER.to_owned());
    if let Err(error) = run(&folder, &user).await {
        eprintln!("error: {error}");
        if let Some(error) = error.downcast_ref::<retell_vault::Error>() {
            eprintln!("hint: {}", error.hint());
        }
        eprintln!("The example's keyring and local file are in {}", folder.display());
        std::process::exit(1);
    }
}

async fn run(folder: &Path, user: &str) -> Result<(), Box<dyn Error>> {
    let database = env::var("DATABASE_URL").ok().filter(|url| !url.is_empty());
    let owner = Owner::user(user)?;
    let json = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/store_config.json"))?;
    let config = RetellConfig::from_json(&json)?;

    let vault = open_vault(folder, database.as_deref()).await?;
    println!("Folder     {}", folder.display());
    println!("Keyring    key {}, opened with wrapping.key", vault.keys()[0].id);
    println!("           (for this demo only: do not keep a wrapping key beside its keyring)");

    if database.is_some() {
        println!(
            "           Records that are stored in the database now open only with this keyring: keep the folder."
        );
    }

    let stored = vault.store(&owner, &config).await?;
    println!("\nStored     {owner}, version {}", stored.version);
    print_places(&stored);

    println!("\nOn disk");
    show_files(folder, &config)?;
    if let (Some(url), None) = (&database, &stored.degraded) {
        show_row(url, &[user, owner.user_id().as_str()], &config).await?;
    }

    let loaded = vault.load(&owner).await?;
    let source = if loaded.source == Source::Local { "local file" } else { "database" };
    println!("\nLoaded     from the {source}, masked");
    println!("           {}", loaded.config.to_json_masked());
    match loaded.config == config {
        true => println!("           every field equals the stored one"),
        false => return Err("the loaded record differs from the stored one".into()),
    }
    Ok(())
}

/// One folder for each user of the machine. The vault refuses a folder that another user created.
fn default_folder() -> PathBuf {
    let user = rustix::process::geteuid().as_raw();
    env::temp_dir().join(format!("retell-vault-example-{user}"))
}

/// Opens the keyring of the folder. The first run creates it.
async fn open_vault(folder: &Path, database: Option<&str>) -> Result<Vault, Box<dyn Error>> {
    let wrapping_key = wrapping_key(folder)?;
    let path = folder.join("keyring.json");
    let is_new = !path.exists();
    let keyring = match is_new {
        true => Keyring::prepare(&path, &wrapping_key).await?,
        false => Keyring::open(&path, &wrapping_key).await?,
    };
    let mut builder = Vault::builder(keyring).local_file(folder.join("local.db"));
    if let Some(url) = database {
        builder = builder.postgres(url);
    }
    // `init` also checks that no values of another keyring exist yet
    let vault = if is_new { builder.init().await } else { builder.build().await };
    Ok(vault?)
}

/// 32 random bytes in a file that only its owner can read. This is for the demo only: in production, use a secret manager,
/// the environment or a passphrase.
fn wrapping_key(folder: &Path) -> Result<RawKey, Box<dyn Error>> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let path = folder.join("wrapping.key");
    match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
        Ok(mut file) => file.write_all(&rand::random::<[u8; 32]>())?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error.into()),
    }
    Ok(RawKey::from_file(path)?)
}

fn print_places(stored: &Stored) {
    for (field, place) in &stored.places {
        let column = place.column().map(|column| format!(" {column}")).unwrap_or_default();
        // the application reads these itself, if they have their own column
        let is_plain = ["phone_number", "webhook_config", "integration_status"].contains(&field.name());
        let sealed = match (is_plain, place) {
            (true, Place::Column(_)) => ", in the clear",
            _ => ", sealed",
        };
        println!("           {:<18} {}{column}{sealed}", field.to_string(), place.kind());
    }
    if let Some(reason) = &stored.degraded {
        println!("           degraded: {reason}");
    }
}

/// Every file of the folder, the first token in it, and the proof that no secret is in its bytes.
fn show_files(folder: &Path, config: &RetellConfig) -> Result<(), Box<dyn Error>> {
    let mut files: Vec<_> = fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    files.sort_by_key(fs::DirEntry::file_name);
    for file in files.iter().filter(|file| file.path().is_file()) {
        let bytes = fs::read(file.path())?;
        show_bytes(&file.file_name().to_string_lossy(), &bytes, config)?;
    }
    Ok(())
}

/// The owner's row, as the database's administrator sees it.
async fn show_row(url: &str, ids: &[&str], config: &RetellConfig) -> Result<(), Box<dyn Error>> {
    // one transaction, no start-up parameter and no named statement, so it also works with a transaction pooler
    let options = PgConnectOptions::from_str(url)?.extra_float_digits(None).statement_cache_capacity(0);
    let mut connection = options.connect().await?;
    let mut transaction = connection.begin().await?;
    let sql = "SELECT to_jsonb(t)::text FROM public.user_profiles AS t WHERE user_id::text = ANY($1)";
    let rows = sqlx::query(sql).bind(ids).fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    for row in rows {
        show_bytes("row of public.user_profiles", row.get::<String, _>(0).as_bytes(), config)?;
    }
    Ok(())
}

fn show_bytes(name: &str, bytes: &[u8], config: &RetellConfig) -> Result<(), Box<dyn Error>> {
    for secret in secrets(config) {
        if bytes.windows(secret.len()).any(|part| part == secret.as_bytes()) {
            return Err(format!("{name} holds a secret in plaintext").into());
        }
    }
    println!("           {name:<18} {} bytes, no credentials among them", bytes.len());
    if let Some(token) = bytes.windows(4).position(|part| part == b"rv1.") {
        let start: Vec<u8> = bytes[token..].iter().copied().take(64).collect();
        println!("           {:<18} {}…", "", String::from_utf8_lossy(&start));
    }
    Ok(())
}

fn secrets(config: &RetellConfig) -> Vec<&str> {
    let agents = [config.call_agent_id(), config.sms_agent_id()];
    let agents = agents.into_iter().flatten().map(|id| id.expose_secret());
    let webhook = config.webhook_key().map(|secret| secret.expose_secret());
    agents.chain(webhook).chain([config.api_key().unwrap().expose_secret()]).collect()
}
