//! One server.

use core::{net::SocketAddr, time::Duration};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, FromRedisValue, RedisError, RedisResult, TlsCertificates,
    aio::MultiplexedConnection,
};
use rustix::process::Signal;
use tempfile::TempDir;

use super::{
    PATIENCE, ports,
    process::{self, Process},
    tls::{Authority, Tls},
};

/// A Redis (or Valkey) server on a port of 127.0.0.1, with a directory of its own.
pub struct RedisServer {
    process: Process,
    directory: TempDir,
    port: u16,
    options: RedisServerBuilder,
}

/// What a server is to be like; [`RedisServer::builder`] makes one.
#[derive(Clone, Default)]
pub struct RedisServerBuilder {
    lines: Vec<String>,
    user: Option<(String, String)>,
    unix_socket: bool,
    sentinel: bool,
    tls: Option<Tls>,
}

impl RedisServerBuilder {
    /// A line of the configuration file, such as `maxmemory 10mb`.
    #[must_use]
    pub fn config(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// Every write is in the append-only file before it is acknowledged: a kill loses nothing.
    #[must_use]
    pub fn durable(self) -> Self {
        self.config("appendonly yes").config("appendfsync always")
    }

    /// A replica of the server on this port of 127.0.0.1.
    #[must_use]
    pub fn replica_of(self, port: u16) -> Self {
        self.config(format!("replicaof 127.0.0.1 {port}"))
    }

    /// A password of the default user (`requirepass`), with which replicas sign in too.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.user = Some((String::new(), password.to_owned()));
        self.config(format!("requirepass {password}")).config(format!("masterauth {password}"))
    }

    /// What a Sentinel has to know to sign in.
    pub(super) fn sentinels_password(&self) -> Option<&str> {
        self.user.as_ref().map(|(_, password)| password.as_str())
    }

    /// A user who may do everything; the default user may do nothing.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.user = Some((name.to_owned(), password.to_owned()));
        self.config("user default off").config(format!("user {name} on >{password} ~* &* +@all"))
    }

    /// Listens on a Unix socket too: [`RedisServer::unix_url`].
    #[must_use]
    pub const fn unix_socket(mut self) -> Self {
        self.unix_socket = true;
        self
    }

    /// Speaks TLS and nothing else, with a certificate for 127.0.0.1. Not every build of a server can: [`RedisServer::has_tls`].
    #[must_use]
    pub fn tls(mut self, authority: &Authority) -> Self {
        let (identity, authority) = (authority.issue("127.0.0.1"), authority.certificate());
        self.tls = Some(Tls { authority, identity, wants_clients: false });
        self
    }

    /// Turns away clients without a certificate of the same authority.
    #[must_use]
    pub fn client_certificates(mut self) -> Self {
        if let Some(tls) = &mut self.tls {
            tls.wants_clients = true;
        }
        self
    }

    /// A line for servers that speak TLS.
    pub(super) fn with_tls(self, line: &str) -> Self {
        if self.tls.is_some() { self.config(line) } else { self }
    }

    /// A Sentinel that is reached as these servers are.
    pub(super) fn sentinel(&self) -> Self {
        Self { sentinel: true, tls: self.tls.clone(), ..Self::default() }
    }

    /// Starts it, and waits until it answers.
    ///
    /// # Panics
    /// If the program is missing or doesn't start.
    pub async fn start(self) -> RedisServer {
        // Another process may be faster at a free port.
        for _ in 0..10 {
            let mut server = self.clone().launch();
            if server.is_ready().await {
                return server;
            }
            let words = server.process.last_words();
            assert!(words.contains("Address already in use"), "the server has ended:\n{words}");
        }
        panic!("ten free ports were taken by others before a server had them");
    }

    /// Starts it, and waits for nothing.
    fn launch(self) -> RedisServer {
        let directory = tempfile::Builder::new().prefix("session-").tempdir().expect("a temporary directory");
        let port = ports::free();
        if let Some(tls) = &self.tls {
            tls.write(directory.path());
        }
        fs::write(directory.path().join("server.conf"), self.file(port, directory.path()))
            .expect("a file in the temporary directory");
        let process = Process::start(directory.path(), &self.arguments());
        RedisServer { process, directory, port, options: self }
    }

    fn arguments(&self) -> Vec<&'static str> {
        if self.sentinel { vec!["server.conf", "--sentinel"] } else { vec!["server.conf"] }
    }

    fn file(&self, port: u16, directory: &Path) -> String {
        let mut lines =
            self.tls.as_ref().map_or_else(|| vec![format!("port {port}")], |tls| tls.config(port));
        lines.push("bind 127.0.0.1".to_owned());
        if !self.sentinel {
            lines.extend(["save \"\"".to_owned(), "repl-diskless-sync-delay 0".to_owned()]);
        }
        if self.unix_socket {
            lines.push(format!("unixsocket {}", socket(directory).display()));
        }
        lines.extend(self.lines.iter().cloned());
        lines.push(String::new());
        lines.join("\n")
    }
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("socket")
}

impl RedisServer {
    /// A server that keeps nothing on disk.
    ///
    /// # Panics
    /// As [`RedisServerBuilder::start`].
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// A server with options.
    #[must_use]
    pub fn builder() -> RedisServerBuilder {
        RedisServerBuilder::default()
    }

    /// Whether the server program was built with TLS.
    #[must_use]
    pub fn has_tls() -> bool {
        // It ends in all cases; if it can, because there is none.
        process::complaint(&["--port", "0", "--tls-port", "1"]).contains("No tls-cert-file configured")
    }

    /// SIGKILL: no goodbye, nothing flushed.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts a killed server again, on the same port and with its files, and waits until it answers (and has loaded its data).
    ///
    /// # Panics
    /// As [`RedisServerBuilder::start`].
    pub async fn restart(&mut self) {
        self.relaunch();
        assert!(self.is_ready().await, "the server has ended:\n{}", self.process.last_words());
    }

    /// Starts a killed server again, and waits for nothing.
    pub fn relaunch(&mut self) {
        self.process.kill();
        self.process = Process::start(self.directory.path(), &self.options.arguments());
    }

    /// SIGSTOP: connections stay, nothing is answered.
    pub fn stop(&self) {
        self.process.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn cont(&self) {
        self.process.signal(Signal::CONT);
    }

    /// The port, on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// `redis://…`, or `rediss://…`, with user and password if there are.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_at(self.port)
    }

    /// The same, by way of another port: that of a [`Proxy`](crate::proxy::Proxy).
    #[must_use]
    pub fn url_at(&self, port: u16) -> String {
        let scheme = if self.options.tls.is_some() { "rediss" } else { "redis" };
        match &self.options.user {
            Some((name, password)) => format!("{scheme}://{name}:{password}@127.0.0.1:{port}"),
            None => format!("{scheme}://127.0.0.1:{port}"),
        }
    }

    /// `redis+unix://…`, for a server with [`RedisServerBuilder::unix_socket`].
    #[must_use]
    pub fn unix_url(&self) -> String {
        format!("redis+unix://{}", socket(self.directory.path()).display())
    }

    /// Where its files are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A connection of the test's own.
    ///
    /// # Errors
    /// Those of the client.
    pub async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(1)))
            .set_response_timeout(Some(Duration::from_secs(10)));
        let client = match &self.options.tls {
            Some(Tls { authority, identity, .. }) => {
                let own = identity.clone();
                let client_tls = ClientTlsConfig {
                    client_cert: own.certificate.into_bytes(),
                    client_key: own.key.into_bytes(),
                };
                let root_cert = Some(authority.clone().into_bytes());
                Client::build_with_tls(
                    self.url(),
                    TlsCertificates { client_tls: Some(client_tls), root_cert },
                )?
            }
            None => Client::open(self.url())?,
        };
        client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// Sends one command, on a connection of its own.
    ///
    /// # Errors
    /// Those of the client and the server's.
    pub async fn try_command<R: FromRedisValue>(&self, command: &[&str]) -> RedisResult<R> {
        self::command(&mut self.connect().await?, command).await
    }

    /// Sends one command, on a connection of its own.
    ///
    /// # Panics
    /// If it fails.
    pub async fn command<R: FromRedisValue>(&self, command: &[&str]) -> R {
        let answer = self.try_command(command).await;
        answer.unwrap_or_else(|error| panic!("{} on port {}: {error}", command.join(" "), self.port))
    }

    /// A line of `INFO`, such as `role` or `master_link_status`.
    ///
    /// # Errors
    /// Those of [`RedisServer::try_command`].
    pub async fn info(&self, field: &str) -> RedisResult<Option<String>> {
        let info: String = self.try_command(&["INFO", "everything"]).await?;
        Ok(info
            .lines()
            .find_map(|line| line.split_once(':').filter(|(name, _)| *name == field))
            .map(|(_, value)| value.trim_end().to_owned()))
    }

    /// Waits until it answers; `false` if it has ended.
    async fn is_ready(&mut self) -> bool {
        let start = Instant::now();
        while self.process.is_alive() {
            if self.answers().await.is_ok() {
                return true;
            }
            assert!(start.elapsed() < PATIENCE, "no answer in a minute:\n{}", self.process.last_words());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        false
    }

    async fn answers(&self) -> Result<(), RedisError> {
        // A server that took the port of another one is known by its directory; Sentinels have no such setting.
        if self.options.sentinel {
            return self.try_command(&["PING"]).await;
        }
        let [_, directory]: [String; 2] = self.try_command(&["CONFIG", "GET", "dir"]).await?;
        let own = self.directory.path().canonicalize().ok();
        if own.is_some_and(|own| own == Path::new(&directory)) {
            self.try_command(&["PING"]).await
        } else {
            Err((redis::ErrorKind::Client, "another server").into())
        }
    }
}

/// Sends one command.
pub(super) async fn command<R: FromRedisValue>(
    connection: &mut MultiplexedConnection,
    command: &[&str],
) -> RedisResult<R> {
    let (name, arguments) = command.split_first().expect("a command has a name");
    redis::cmd(name).arg(arguments).query_async(connection).await
}
