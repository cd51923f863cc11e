//! Writes the test vectors of the token format, `tests/vectors/*.json`, from a second implementation of `core/FORMAT.md`.
//!
//! ```text
//! cargo run -p session-core --example vectors             # writes them
//! cargo run -p session-core --example vectors -- --check  # compares; exits with 1 if a file differs
//! ```
//!
//! That `session-core` agrees with them is checked by `core/tests/vectors.rs`.

mod cookies;
mod format;
mod keys;
mod payloads;
mod records;
mod rejected;
mod secrets;
mod tokens;

use std::{fs, path::Path, process::ExitCode};

use serde::Serialize;

fn main() -> ExitCode {
    let check = std::env::args().any(|argument| argument == "--check");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors");
    let files = [
        ("tokens.json", pretty(&tokens::file())),
        ("rejected.json", pretty(&rejected::file())),
        ("payloads.json", pretty(&payloads::file())),
        ("records.json", pretty(&records::file())),
        ("secrets.json", pretty(&secrets::file())),
        ("keys.json", pretty(&keys::file())),
        ("cookies.json", pretty(&cookies::file())),
    ];
    let mut stale = 0;
    for (name, text) in &files {
        let path = folder.join(name);
        if fs::read_to_string(&path).is_ok_and(|there| there == *text) {
            continue;
        }
        stale += 1;
        if check {
            eprintln!("{name} differs from what the format gives");
        } else if let Err(error) = fs::write(&path, text) {
            eprintln!("{name} can't be written: {error}");
            return ExitCode::FAILURE;
        } else {
            println!("{name} written");
        }
    }
    if check && stale > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn pretty(file: &impl Serialize) -> String {
    serde_json::to_string_pretty(file).expect("vectors are plain structs") + "\n"
}
