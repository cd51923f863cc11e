//! What the figures were taken on.

use std::{fs, process::Command};

use serde::Deserialize;

/// Processor, operating system, compiler and the state of the tree, in one line.
pub fn describe() -> String {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let unknown = || "unknown".to_owned();
    let model = fs::read_to_string("/proc/cpuinfo").ok().and_then(|info| {
        let line = info.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let profile = if cfg!(debug_assertions) { ", **debug build**" } else { "" };
    format!(
        "{cpus} × {}, {} {}, {}, {}{profile}; tree {}",
        model.unwrap_or_else(unknown),
        std::env::consts::OS,
        std::env::consts::ARCH,
        said_by("rustc", &["--version"]).unwrap_or_else(unknown),
        said_by("redis-server", &["--version"]).map_or_else(unknown, |text| text
            .split(" sha")
            .next()
            .unwrap_or_default()
            .to_owned()),
        said_by("git", &["describe", "--always", "--dirty"]).unwrap_or_else(unknown),
    )
}

/// How busy the machine is with others.
pub fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

fn said_by(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).current_dir(crate::root()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The versions of everyone who is measured, as they stand in the lock file.
pub fn versions() -> String {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        version: String,
    }
    const NAMES: [&str; 20] = [
        "actix-session",
        "actix-web",
        "aes",
        "axum",
        "axum-extra",
        "axum_session",
        "cbc",
        "cookie",
        "dashmap",
        "fred",
        "hmac",
        "moka",
        "quick_cache",
        "redis",
        "session-core",
        "session-native",
        "sha2",
        "tower-sessions",
        "tower-sessions-memory-store",
        "tower-sessions-redis-store",
    ];
    let lock: Lock = toml::from_str(include_str!("../Cargo.lock")).expect("cargo's lock file");
    let named = lock.package.iter().filter(|package| NAMES.contains(&&*package.name));
    named.map(|package| format!("{} {}", package.name, package.version)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn everyone_has_a_version() {
        for name in ["axum_session 0.", "tower-sessions 0.14", "tower-sessions 0.15", "cookie 0.18"] {
            assert!(super::versions().contains(name), "{name}");
        }
    }
}
