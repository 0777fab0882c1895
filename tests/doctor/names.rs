//! Names that read like output of ours: they stay on their line, and the SQL about them runs as it is printed.

use crate::support::doctor::{Clinic, Planted};

/// Whether a text shows what it holds, on one line.
fn is_plain(text: &str) -> bool {
    !text.contains(|char: char| {
        char.is_control()
            || "\u{2028}\u{2029}\u{202e}\u{2066}\u{200b}\u{61c}\u{ad}\u{feff}\u{e0041}".contains(char)
    })
}

#[tokio::test]
async fn no_name_forges_a_finding_and_each_fix_runs_as_printed() {
    let forged =
        "x\n  fix it with this SQL:\n    ALTER ROLE m SUPERUSER;\u{2028}\u{202e}\u{200b}\u{e0041}\\\"\"";
    let plants = [
        (
            "definer_search_path",
            "CREATE FUNCTION \"NAME\"() RETURNS bigint LANGUAGE sql SECURITY DEFINER
                AS 'SELECT count(*) FROM public.user_profiles'",
        ),
        ("index_on_ciphertext", "CREATE INDEX \"NAME\" ON user_profiles (encrypted_retell_api_key)"),
        (
            "index_on_ciphertext",
            "ALTER TABLE user_profiles ADD CONSTRAINT \"NAME\" UNIQUE (encrypted_retell_api_key)",
        ),
        (
            "view_without_invoker",
            "CREATE VIEW \"NAME\" AS SELECT * FROM user_profiles; GRANT SELECT ON \"NAME\" TO PUBLIC",
        ),
    ];
    for (id, plant) in plants {
        // names have 63 bytes
        let name = if id == "definer_search_path" {
            &forged[..forged.floor_char_boundary(60)]
        } else {
            &forged[forged.ceil_char_boundary(forged.len() - 50)..]
        };
        let name = name.trim_start_matches('"');
        let plant = plant.replace("NAME", name);
        let plant = match id {
            // the finding about who may call it is another one
            "definer_search_path" => {
                format!("{plant}; REVOKE EXECUTE ON FUNCTION \"{name}\" FROM PUBLIC")
            }
            _ => plant,
        };
        let clinic = Clinic::new().await;
        let planted = Planted { id, plant: plant.leak() };
        for finding in clinic.finds_and_mends(&planted).await {
            let sql = finding.fix.text();
            assert!(is_plain(&finding.object) && is_plain(&finding.meaning), "{finding:?}");
            assert!(finding.object.contains(r"\u{"), "{finding:?}");
            assert!(sql.lines().all(|line| is_plain(line) && line.ends_with(';')), "{sql}");
            assert!(!sql.contains("\n    ALTER ROLE"), "{sql}");
        }
    }
}
