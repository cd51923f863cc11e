//! A child process that is killed with its owner.

use std::{
    fs::{self, OpenOptions},
    io::ErrorKind,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

/// The server program: `REDIS_SERVER`, or `redis-server`. `valkey-server` does as well.
fn program() -> String {
    std::env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned())
}

/// What the server program says of arguments with which it can't start.
pub(super) fn complaint(arguments: &[&str]) -> String {
    let output = Command::new(program()).args(arguments).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{} can't be started: {error}", program()));
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

pub(super) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts the server program in a directory, where its log goes too.
    pub(super) fn start(directory: &Path, arguments: &[&str]) -> Self {
        let program = program();
        let log = directory.join("log");
        let output = OpenOptions::new().create(true).append(true).open(&log).expect("a log in the directory");
        let errors = output.try_clone().expect("a second handle of the log");
        let child = Command::new(&program)
            .args(arguments)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn();
        match child {
            Ok(child) => Self { child, log },
            Err(error) if error.kind() == ErrorKind::NotFound => panic!(
                "{program} is missing: install it (on Debian as root: apt-get install redis-server), or name one in REDIS_SERVER"
            ),
            Err(error) => panic!("{program} can't be started: {error}"),
        }
    }

    /// Whether it runs; a stopped one does.
    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGKILL: no goodbye, nothing flushed.
    pub(super) fn kill(&mut self) {
        // An error says that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub(super) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("a child that was not waited for takes signals");
    }

    /// The last lines of its log, for messages.
    pub(super) fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
