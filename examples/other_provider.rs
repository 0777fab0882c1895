//! Stores another provider's credentials beside Retell's: the same owners, table and keyring, without a fork of the crate.
//!
//!     cargo run --example other_provider                    in a folder below the temporary directory
//!     cargo run --example other_provider -- FOLDER [USER]   in your own private folder
//!     DATABASE_URL=postgres://… cargo run --example other_provider -- FOLDER [USER]
//!
//! It needs no input and no server. With `DATABASE_URL`, both kinds are stored in the table `public.user_profiles` of that
//! database: Retell's in its columns, Twilio's in `twilio_account_sid`, `twilio_auth_token` and `twilio_phone_number`. A
//! field whose column is missing goes to the JSONB column that both share. You can run it repeatedly, and in the folder of
//! `store_config`: one database has one keyring.

use std::error::Error;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::{env, fmt, fs, io};

use retell_vault::config::{Credentials, ExtraSecret, Field, FieldSpec, PhoneNumber, Values};
use retell_vault::keyring::RawKey;
use retell_vault::layout::Place;
use retell_vault::records::Stored;
use retell_vault::{ErrorKind, Keyring, Owner, RetellConfig, Vault};
use sqlx::{Connection, PgConnection};

// --- What the vault must know of Twilio ---
/// One owner's Twilio credentials.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Twilio {
    pub(crate) account_sid: ExtraSecret,
    pub(crate) auth_token: ExtraSecret,
    pub(crate) phone_number: Option<PhoneNumber>,
}

impl Credentials for Twilio {
    const NAMESPACE: &'static str = "twilio";
    const FIELDS: &'static [FieldSpec] = &[
        FieldSpec::secret("account_sid").column("twilio_account_sid"),
        FieldSpec::secret("auth_token").column("twilio_auth_token"),
        FieldSpec::plain("phone_number").column("twilio_phone_number").longest(18).checked_by(|json| {
            serde_json::from_str::<String>(json).is_ok_and(|text| text.parse::<PhoneNumber>().is_ok())
        }),
    ];

    fn to_values(&self) -> Values {
        let mut values = Values::new();
        values.put_text(Field::named("account_sid"), Some(self.account_sid.expose_secret()));
        values.put_text(Field::named("auth_token"), Some(self.auth_token.expose_secret()));
        values.put_text(Field::named("phone_number"), self.phone_number.as_ref().map(PhoneNumber::as_str));
        values
    }
    fn from_values(mut values: Values) -> retell_vault::Result<Self> {
        let mut take = |name| values.take_text(Field::named(name));
        Ok(Self {
            account_sid: take("account_sid")?.ok_or(ErrorKind::Incomplete)?.parse()?,
            auth_token: take("auth_token")?.ok_or(ErrorKind::Incomplete)?.parse()?,
            phone_number: take("phone_number")?.map(|number| number.parse()).transpose()?,
        })
    }
}

impl fmt::Debug for Twilio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Twilio({:?}, {:?}, {:?})", self.account_sid, self.auth_token, self.phone_number)
    }
}
// --- The end of that part ---

/// Fits `text` and `uuid` columns.
const EXAMPLE_USER: &str = "00000000-0000-4000-8000-000000000001";

#[tokio::main]
async fn main() {
    let mut arguments = env::args().skip(1);
    let folder = arguments.next().map_or_else(default_folder, PathBuf::from);
    let user = arguments.next().unwrap_or_else(|| EXAMPLE_USER.to_owned());
    let database = env::var("DATABASE_URL").ok().filter(|url| !url.is_empty());
    if let Err(error) = run(&folder, &user, database.as_deref()).await {
        eprintln!("error: {error}");
        if let Some(error) = error.downcast_ref::<retell_vault::Error>() {
            eprintln!("hint: {}", error.hint());
        }
        eprintln!("The example's keyring and local files are in {}", folder.display());
        std::process::exit(1);
    }
}

pub(crate) async fn run(folder: &Path, user: &str, database: Option<&str>) -> Result<(), Box<dyn Error>> {
    let owner = Owner::user(user)?;
    let (retell, twilio) = open_vaults(folder, database).await?;
    println!("Folder     {}", folder.display());

    let config = RetellConfig::from_json(include_str!("store_config.json"))?;
    let credentials = Twilio {
        account_sid: "AC_test_00000000000000000000000000000000".parse()?,
        auth_token: "token_test_000000000000000000000000".parse()?,
        phone_number: Some("+14155550101".parse()?),
    };
    print_places("Retell", &retell.store(&owner, &config).await?);
    let stored = twilio.store(&owner, &credentials).await?;
    print_places("Twilio", &stored);

    match (database, &stored.degraded) {
        (Some(url), None) => show_row(url, &owner, &credentials).await?,
        _ => println!("\nOn disk    local.db holds Retell's tokens, twilio.db holds Twilio's"),
    }

    let (of_retell, of_twilio) = (retell.load(&owner).await?, twilio.load(&owner).await?);
    println!("\nLoaded     {}", of_retell.config.to_json_masked());
    println!("           {:?}", of_twilio.config);
    if of_retell.config != config || of_twilio.config != credentials {
        return Err("the loaded record differs from the stored one".into());
    }

    twilio.delete(&owner).await?;
    let is_gone = twilio.load(&owner).await.is_err_and(|error| error.kind() == ErrorKind::NotFound);
    match is_gone && retell.load(&owner).await?.config == config {
        true => println!("\nDeleted    Twilio's; Retell's is unchanged"),
        false => return Err("deleting one kind must remove its own record and leave the other's".into()),
    }
    retell.close().await;
    twilio.close().await;
    Ok(())
}

/// One folder for each user of the machine. The vault refuses a folder that another user created.
fn default_folder() -> PathBuf {
    let user = rustix::process::geteuid().as_raw();
    env::temp_dir().join(format!("retell-vault-example-{user}"))
}

/// Both vaults over the keyring of the folder, each with its own local file. The first run creates the keyring.
async fn open_vaults(
    folder: &Path,
    database: Option<&str>,
) -> Result<(Vault, Vault<Twilio>), Box<dyn Error>> {
    let wrapping_key = wrapping_key(folder)?;
    let path = folder.join("keyring.json");
    let is_new = !path.exists();
    let keyring = match is_new {
        true => Keyring::prepare(&path, &wrapping_key).await?,
        false => Keyring::open(&path, &wrapping_key).await?,
    };
    let mut retell = Vault::builder(keyring.clone()).local_file(folder.join("local.db"));
    let mut twilio = Vault::builder(keyring).credentials::<Twilio>().local_file(folder.join("twilio.db"));
    if let Some(url) = database {
        (retell, twilio) = (retell.postgres(url), twilio.postgres(url));
    }
    // `init` also checks that no values of another keyring exist yet
    let retell = if is_new { retell.init().await? } else { retell.build().await? };
    Ok((retell, twilio.build().await?))
}

/// 32 random bytes in a file that only its owner can read. This is for the demo only: in production, use a secret manager,
/// the environment or a passphrase.
fn wrapping_key(folder: &Path) -> Result<RawKey, Box<dyn Error>> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let path = folder.join("wrapping.key");
    match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
        Ok(mut file) => file.write_all(&rand::random::<[u8; 32]>())?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error.into()),
    }
    Ok(RawKey::from_file(path)?)
}

fn print_places(kind: &str, stored: &Stored) {
    println!("\n{kind:<10} version {}", stored.version);
    for (field, place) in &stored.places {
        let column = match place {
            Place::Local => String::new(),
            place => format!(" {}", place.column().unwrap_or_default()),
        };
        println!("           {:<18} {}{column}", field.to_string(), place.kind());
    }
    if let Some(reason) = &stored.degraded {
        println!("           degraded: {reason}");
    }
}

/// The start of every token in the owner's row, as the database's administrator sees it. Nothing else is printed, because
/// the rest belongs to the application.
async fn show_row(url: &str, owner: &Owner, credentials: &Twilio) -> Result<(), Box<dyn Error>> {
    let mut connection = PgConnection::connect(url).await?;
    let sql =
        "SELECT to_jsonb(t)::text FROM public.user_profiles AS t WHERE lower(user_id::text) = lower($1)";
    let row: String =
        sqlx::query_scalar(sql).bind(owner.user_id().as_str()).fetch_one(&mut connection).await?;
    connection.close().await?;
    if row.contains(credentials.account_sid.expose_secret())
        || row.contains(credentials.auth_token.expose_secret())
    {
        return Err("the row holds a secret in plaintext".into());
    }
    println!("\nIn the row");
    show_tokens("", &serde_json::from_str(&row)?);
    Ok(())
}

fn show_tokens(name: &str, value: &serde_json::Value) {
    match value {
        serde_json::Value::Object(members) => {
            members.iter().for_each(|(member, value)| show_tokens(&format!("{name}.{member}"), value));
        }
        serde_json::Value::String(text) if text.starts_with("rv1.") => {
            println!("           {:<50} {:.48}…", name.trim_start_matches('.'), text);
        }
        _ => {}
    }
}
