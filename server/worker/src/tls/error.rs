//! Why TLS cannot begin: what is wrong, in which file of which setting, and what to do.

use std::io;

/// Every reason for which certificates and keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error(
        "{setting} {path:?} cannot be read: {error}; check the path (relative ones count from chdir) and who may read it"
    )]
    Unreadable { setting: &'static str, path: String, error: io::Error },
    #[error(
        "{setting} {path:?} has no certificate in it; it must be a PEM file with at least one BEGIN CERTIFICATE block"
    )]
    NoCertificate { setting: &'static str, path: String },
    #[error("{setting} {path:?} is no valid PEM file: {error}; write it again, one block after the other")]
    BadPem { setting: &'static str, path: String, error: String },
    #[error(
        "{setting} {path:?} has no private key in it; it must be a PEM file with a BEGIN PRIVATE KEY block, or name the key's file by keyfile"
    )]
    NoKey { setting: &'static str, path: String },
    #[error(
        "the private key in {setting} {path:?} is encrypted, and there is nobody to ask for its passphrase; decrypt it with: openssl pkey -in {path} -out key.pem, or load it with its passphrase in the hook ssl_context"
    )]
    EncryptedKey { setting: &'static str, path: String },
    #[error(
        "the private key in {setting} {path:?} cannot be used: {error}; use RSA of 2048 bits or more, ECDSA on P-256 or P-384, or Ed25519"
    )]
    BadKey { setting: &'static str, path: String, error: rustls::Error },
    #[error("certfile {path:?} cannot be used: {error}")]
    BadCertificate { path: String, error: rustls::Error },
    #[error(
        "the private key in {setting} {key:?} is not that of the first certificate in certfile {certificate:?}; the server's own certificate comes first, its issuers after it"
    )]
    Mismatch { setting: &'static str, key: String, certificate: String },
    #[error(
        "cert_reqs {0} asks clients for certificates, so ca_certs has to name the file of those who issue them"
    )]
    NoAuthorities(u8),
    #[error("a certificate in ca_certs {path:?} cannot be used: {error}")]
    BadAuthority { path: String, error: String },
    #[error("ciphers: none of {given} is among the cipher suites of this server; it has {known}")]
    NoCiphers { given: String, known: String },
    #[error("TLS 1.2 and 1.3 are what this server speaks; the settings leave neither of them")]
    NoVersion,
    #[error("TLS cannot be set up: {0}")]
    Provider(rustls::Error),
}

impl TlsError {
    /// What rustls does not have, where OpenSSL may have it.
    pub(crate) fn lacking(&self) -> Option<String> {
        match self {
            Self::NoCiphers { .. } => {
                Some("rustls has none of the cipher suites that are asked for".to_owned())
            }
            Self::NoVersion => Some("rustls has none of the versions that are asked for".to_owned()),
            Self::BadKey { setting, path, .. } => {
                Some(format!("rustls does not take a private key as that in {setting} {path:?}"))
            }
            _ => None,
        }
    }
}
