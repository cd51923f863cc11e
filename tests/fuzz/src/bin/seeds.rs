//! Writes the seeds of every target: `seeds DIRECTORY`.

use std::{env, fs, path::PathBuf};

fn main() -> std::io::Result<()> {
    let Some(directory) = env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: seeds DIRECTORY");
        std::process::exit(2);
    };
    for (target, _) in session_fuzz::TARGETS {
        let directory = directory.join(target);
        fs::create_dir_all(&directory)?;
        for (number, seed) in session_fuzz::seeds::of(target).iter().enumerate() {
            fs::write(directory.join(format!("{number:03}")), seed)?;
        }
    }
    Ok(())
}
