//! The presets have the values that `core/PRESETS.md` says.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod common;

use core::time::Duration;
use std::{fs, path::Path};

use session_core::{ClientBinding, Config, SameSite};

/// Ours of a cell `seed's → **ours**`, or of one that both have.
fn ours(cell: &str) -> &str {
    cell.split_once("**").map_or(cell, |(_, ours)| ours.trim_end_matches("**"))
}

fn duration(text: &str) -> Duration {
    let (number, unit) = text.split_once(' ').unwrap();
    let seconds = if unit == "h" { 3_600 } else { 60 };
    Duration::from_secs(number.parse::<u64>().unwrap() * seconds)
}

#[test]
fn the_document_and_the_code_agree() {
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("PRESETS.md")).unwrap();
    let rows: Vec<Vec<&str>> = document
        .lines()
        .filter(|line| line.starts_with("| "))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let mut checked = 0;
    for (column, preset) in rows[0].iter().enumerate().take(6).skip(1) {
        let config = Config::preset(preset.parse().unwrap(), &common::secret(0));
        let yes = |on: bool| if on { "yes" } else { "no" };
        let (ip, user_agent) =
            config.client_binding.map_or((false, false), |it| (it.uses_ip(), it.uses_user_agent()));
        let records = if config.compress_records_from == Some(256) { "from 256 bytes" } else { "no" };
        for row in &rows[1..] {
            let value = ours(row[column]);
            let same = match row[0] {
                "idle timeout" => config.expiry.idle() == duration(value),
                "absolute timeout" => config.expiry.absolute() == duration(value),
                "sliding" => value == yes(config.expiry.is_sliding()),
                "cookie name" => config.cookie.name == value.trim_matches('`'),
                "cookie Domain" => value == "none" && config.cookie.domain.is_none(),
                "cookie Secure" => value == yes(config.cookie.secure),
                "cookie SameSite" => {
                    value == if config.cookie.same_site == SameSite::Strict { "Strict" } else { "Lax" }
                }
                "cookie HttpOnly, Path" => config.cookie.http_only && config.cookie.path == "/",
                "records encrypted at rest" => value == yes(config.encrypt_at_rest),
                "records compressed" => {
                    value == records && config.compress_records_from.is_none_or(|least| least == 256)
                }
                "cookie-held sessions compressed" => value == yes(config.compress_cookies),
                "bound to the IP address" => value.starts_with(yes(ip)) && (!ip || value.ends_with("/64")),
                "bound to the User-Agent" => value == yes(user_agent),
                "unreadable session is an error" => value == yes(config.fail_on_unreadable),
                // The same for every configuration; tested where secrets and tokens are.
                "weak or default secret" => value == "error",
                "passphrase derivation (PBKDF2)" => value == "600,000",
                "MAC" => value == "HMAC-SHA256",
                "SHA-1 accepted" => value == "no",
                other => panic!("no check for {other:?}"),
            };
            assert!(same, "{preset}: {}: {value}", row[0]);
            checked += 1;
        }
        if ip {
            assert_eq!(config.client_binding, Some(ClientBinding::ip().and_user_agent()));
        }
    }
    assert_eq!(checked, 5 * 18);
}
