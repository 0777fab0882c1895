//! Several processes, and disks that fail. The child is this test program itself.

use std::process::{Command, Output, Stdio};

use super::*;

const PATH: &str = "RETELL_VAULT_TEST_LOCAL";
/// What the child's users are called before their number.
const NAME: &str = "RETELL_VAULT_TEST_LOCAL_NAME";
/// How many entries it adds, if not `PUTS`.
const NUMBER: &str = "RETELL_VAULT_TEST_LOCAL_NUMBER";
const PUTS: u64 = 80;
const CHILD: [&str; 4] = ["--exact", "local::tests::processes::child", "--nocapture", "--test-threads=1"];

/// As a child of the tests below: adds pending entries until it may not, and prints how many were
/// acknowledged and what went wrong. By itself it does nothing.
#[tokio::test]
async fn child() {
    let Some(path) = std::env::var_os(PATH).map(PathBuf::from) else { return };
    let file = match LocalFile::open(&path).await {
        Ok(file) => file,
        Err(error) => return println!("\nopen: {:?} {error}", error.kind()),
    };
    let puts = std::env::var(NUMBER).map_or(PUTS, |number| number.parse().unwrap());
    for number in 0..puts {
        let name = format!("{}user-{number:03}", std::env::var(NAME).unwrap_or_default());
        if let Err(error) = file.put_pending(&record(&user(&name), number), Basis::Remembered, None).await {
            return println!("\nput {number}: {:?} {error}", error.kind());
        }
    }
    println!("\nput {puts}: done");
}

/// Runs the child in a shell, after this script.
fn run(script: &str, path: &Path, arguments: &[&Path]) -> Output {
    let script = format!("{script}\nexec \"$CHILD\" {}", CHILD.join(" "));
    let mut shell = Command::new("sh");
    shell.args(["-c", &script, "sh"]).args(arguments).env(PATH, path);
    shell.env("CHILD", std::env::current_exe().unwrap()).stdin(Stdio::null()).output().unwrap()
}

/// The line that the child printed, in the words `what`, number, rest.
fn said(output: &Output) -> (String, String) {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.starts_with("put ") || line.starts_with("open:"));
    let line = line.unwrap_or_else(|| panic!("{text} {}", String::from_utf8_lossy(&output.stderr)));
    let (what, rest) = line.split_once(": ").unwrap();
    (what.to_owned(), rest.to_owned())
}

fn acknowledged(what: &str) -> usize {
    what.strip_prefix("put ").unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_handle_sees_what_another_process_adds() {
    let home = Home::new();
    let file = home.open().await;
    settle(&file).await;
    let (what, rest) = said(&run("", &home.path(), &[]));
    assert_eq!((acknowledged(&what), rest.as_str()), (PUTS as usize, "done"));
    assert!(file.pending(&user("user-079")).await.unwrap().is_some());
    assert_eq!(file.pending_after(None, 1000).await.unwrap().len() as u64, PUTS);
}

#[tokio::test]
async fn processes_that_write_and_read_at_once_all_get_through() {
    // long enough for several reads on a busy machine
    const PUTS: u64 = 450;
    let home = Home::new();
    let file = home.open().await;
    let children = ["a-", "b-"].map(|name| {
        let (path, script) = (home.path(), format!("{NAME}={name}; {NUMBER}={PUTS}; export {NAME} {NUMBER}"));
        std::thread::spawn(move || run(&script, &path, &[]))
    });
    let mut reads = 0;
    while children.iter().any(|child| !child.is_finished()) {
        // a page, and everything: readers keep writers out
        file.pending_after(None, 1000).await.unwrap();
        file.tokens_per_key().await.unwrap();
        file.put_pending(&record(&user("own"), reads + 1), Basis::Remembered, None).await.unwrap();
        reads += 1;
    }
    for child in children {
        let (what, rest) = said(&child.join().unwrap());
        assert_eq!((acknowledged(&what), rest.as_str()), (PUTS as usize, "done"));
    }
    assert_eq!(file.pending_after(None, 1000).await.unwrap().len() as u64, 2 * PUTS + 1);
    assert!(reads > 3, "{reads}");
}

#[tokio::test]
async fn a_write_that_fails_is_a_clean_error_and_what_was_acknowledged_is_there() {
    let home = Home::new();
    close(home.open().await).await;
    // a file may not grow beyond 128 KiB: SQLite sees EFBIG, which is an I/O error to it
    let (what, rest) = said(&run("trap '' XFSZ; ulimit -f 256", &home.path(), &[]));
    assert!(rest.starts_with("LocalStore ") && rest.contains("vault.db: input/output error"), "{rest}");
    assert!(acknowledged(&what) > 5, "{what}");

    let file = home.open().await;
    let found = file.pending_after(None, 1000).await.unwrap();
    assert!(found.len() >= acknowledged(&what), "{} of {what}", found.len());
    file.put_pending(&record(&user("next"), 1), Basis::Remembered, None)
        .await
        .expect("it works again when there is room");
}

const MOUNT: &str = "mount -t tmpfs -o size=$SIZE,mode=700 none \"$1\" || exit 77";

/// In a mount name space of its own, which vanishes with the child.
fn run_mounted(script: &str, home: &Home) -> Option<Output> {
    let script = format!(
        "[ -n \"$IN\" ] || IN=1 exec unshare -m sh \"$0\" \"$@\"\n{script}\nexec \"$CHILD\" {}",
        CHILD.join(" ")
    );
    let file = home.folder.path().join("script.sh");
    fs::write(&file, script).unwrap();
    let mount = home.folder.path().join("mount");
    fs::create_dir(&mount).unwrap();
    let mut shell = Command::new("sh");
    shell.arg(file).arg(&mount).env(PATH, mount.join("vault.db"));
    let output = shell.env("CHILD", std::env::current_exe().unwrap()).stdin(Stdio::null()).output().unwrap();
    match output.stdout.is_empty() {
        true => {
            eprintln!("skipped, no mount: {}", String::from_utf8_lossy(&output.stderr));
            None
        }
        false => Some(output),
    }
}

#[test]
fn a_full_disk_is_a_clean_error() {
    let Some(output) = run_mounted(&MOUNT.replace("$SIZE", "160k"), &Home::new()) else { return };
    let (what, rest) = said(&output);
    assert!(acknowledged(&what) > 5, "{what}");
    assert!(rest.starts_with("LocalStore ") && rest.contains("no space left"), "{rest}");
}

#[test]
fn a_read_only_disk_is_a_clean_error() {
    let script = format!(
        "{}\nENV_PATH={PATH}\n\"$CHILD\" {} >/dev/null\nmount -o remount,ro \"$1\" || exit 77",
        MOUNT.replace("$SIZE", "64m"),
        CHILD.join(" ")
    );
    let Some(output) = run_mounted(&script, &Home::new()) else { return };
    let (what, rest) = said(&output);
    assert_eq!(what, "open");
    assert!(rest.starts_with("LocalStore ") && rest.contains("read-only"), "{rest}");
}
