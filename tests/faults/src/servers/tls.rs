//! Certificates of a test's own.

use core::sync::atomic::{AtomicU32, Ordering};
use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

/// Who issues certificates, known to nobody but the test.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, both PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// If the system gives no random bytes.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "no two are equal")]
    pub fn new() -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let mut params = CertificateParams::default();
        // Names are how an issuer is found: no two of a test are the same.
        let name = format!("authority {}", LAST.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("random bytes"));
        Self { issuer: issuer.expect("parameters of a certificate") }
    }

    /// Its own certificate (PEM): who trusts it, trusts all that it issued.
    #[must_use]
    pub fn certificate(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for a name or an IP address.
    ///
    /// # Panics
    /// If it is no name.
    #[must_use]
    pub fn issue(&self, name: &str) -> Identity {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("random bytes");
        let certificate = params.signed_by(&key, &self.issuer).expect("parameters of a certificate");
        Identity { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

/// How a server speaks TLS.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) authority: String,
    pub(super) identity: Identity,
    pub(super) wants_clients: bool,
}

impl Tls {
    /// Writes what the configuration names into the server's directory.
    pub(super) fn write(&self, directory: &Path) {
        let files = [
            ("ca.pem", &self.authority),
            ("cert.pem", &self.identity.certificate),
            ("key.pem", &self.identity.key),
        ];
        for (name, text) in files {
            fs::write(directory.join(name), text).expect("a file in the temporary directory");
        }
    }

    /// Among themselves the servers speak TLS too.
    pub(super) fn config(&self, port: u16) -> Vec<String> {
        vec![
            "port 0".to_owned(),
            format!("tls-port {port}"),
            "tls-ca-cert-file ca.pem".to_owned(),
            "tls-cert-file cert.pem".to_owned(),
            "tls-key-file key.pem".to_owned(),
            format!("tls-auth-clients {}", if self.wants_clients { "yes" } else { "no" }),
            "tls-replication yes".to_owned(),
        ]
    }
}
