//! Scripts, which servers keep by their hash.

use redis::Cmd;

/// A script that servers keep by its hash.
pub(super) struct Script {
    text: &'static str,
    hash: String,
}

impl Script {
    pub(super) fn new(text: &'static str) -> Self {
        Self { text, hash: redis::Script::new(text).get_hash().to_owned() }
    }

    pub(super) fn by_hash(&self, keys: &[&str], arguments: &impl Fn(&mut Cmd)) -> Cmd {
        call("EVALSHA", &self.hash, keys, arguments)
    }

    pub(super) fn by_text(&self, keys: &[&str], arguments: &impl Fn(&mut Cmd)) -> Cmd {
        call("EVAL", self.text, keys, arguments)
    }
}

fn call(name: &str, script: &str, keys: &[&str], arguments: &impl Fn(&mut Cmd)) -> Cmd {
    // Room for what most scripts are given for a key: a name, and some arguments with a record among them.
    let mut command = Cmd::with_capacity(4 + 6 * keys.len(), script.len() + 640 * keys.len());
    command.arg(name).arg(script).arg(keys.len()).arg(keys);
    arguments(&mut command);
    command
}
