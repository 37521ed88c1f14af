//! What the server presents to its clients and asks of them, made from the files.

use std::fs;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, ProducesTickets, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, Error, InconsistentKeys, RootCertStore, ServerConfig};

use super::ciphers;
use super::error::TlsError;

/// Where everything comes from.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    pub(crate) certfile: String,
    /// `None`: the key is in `certfile`.
    pub(crate) keyfile: Option<String>,
    pub(crate) authorities: Authorities,
    /// Gunicorn's `cert_reqs`: 0 no client certificate, 1 if there is one, 2 always.
    pub(crate) verify: u8,
    /// OpenSSL's names; `None`: all.
    pub(crate) ciphers: Option<Vec<String>>,
    pub(crate) older: bool,
    pub(crate) newer: bool,
    /// What ALPN offers, the best first.
    pub(crate) protocols: Vec<String>,
}

/// Whose certificates clients may have.
#[derive(Debug, Clone)]
pub(crate) enum Authorities {
    None,
    File(String),
    /// As DER, from a context of Python's.
    Given(Vec<Vec<u8>>),
}

/// What sessions are made from.
#[derive(Debug)]
pub(crate) struct Material {
    pub(crate) config: Arc<ServerConfig>,
    /// The server's own certificate, as DER.
    pub(crate) certificate: Vec<u8>,
}

impl Recipe {
    /// The files that are read.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        let authorities = match &self.authorities {
            Authorities::File(path) => Some(path.as_str()),
            Authorities::None | Authorities::Given(_) => None,
        };
        [Some(self.certfile.as_str()), self.keyfile.as_deref(), authorities].into_iter().flatten()
    }

    /// Reads the files. `tickets`: those of what was used before, if its sessions may be resumed.
    pub(super) fn read(&self, tickets: Option<Arc<dyn ProducesTickets>>) -> Result<Material, TlsError> {
        let choice = ciphers::choose(self.ciphers.as_deref(), self.older, self.newer)?;
        let provider = Arc::new(rustls::crypto::CryptoProvider {
            cipher_suites: choice.suites,
            ..ring::default_provider()
        });
        let certified = self.certified()?;
        let certificate = certified.cert.first().map(|der| der.to_vec()).unwrap_or_default();
        let verifier = self.verifier(&provider)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&choice.versions)
            .map_err(TlsError::Provider)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        // As Python's contexts for servers have it.
        config.ignore_client_order = true;
        config.alpn_protocols = self.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.ticketer = match tickets {
            Some(tickets) => tickets,
            None => new_tickets()?,
        };
        Ok(Material { config: Arc::new(config), certificate })
    }

    fn certified(&self) -> Result<CertifiedKey, TlsError> {
        let path = &self.certfile;
        let chain = certificates("certfile", path)?;
        let (setting, key_path) = match &self.keyfile {
            Some(path) => ("keyfile", path),
            None => ("certfile", path),
        };
        let key = ring::sign::any_supported_type(&private_key(setting, key_path)?)
            .map_err(|error| TlsError::BadKey { setting, path: key_path.clone(), error })?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            // Certificates of the first version, as `openssl x509 -req` makes them, are never looked into by servers.
            Ok(())
            | Err(
                Error::InconsistentKeys(InconsistentKeys::Unknown)
                | Error::InvalidCertificate(CertificateError::Other(_)),
            ) => Ok(certified),
            Err(Error::InconsistentKeys(_)) => {
                Err(TlsError::Mismatch { setting, key: key_path.clone(), certificate: path.clone() })
            }
            Err(error) => Err(TlsError::BadCertificate { path: path.clone(), error }),
        }
    }

    fn verifier(
        &self,
        provider: &Arc<rustls::crypto::CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let (path, authorities) = match &self.authorities {
            Authorities::None => ("", Vec::new()),
            Authorities::File(path) => (path.as_str(), certificates("ca_certs", path)?),
            Authorities::Given(all) => {
                ("", all.iter().map(|der| CertificateDer::from(der.clone())).collect())
            }
        };
        if self.verify == 0 {
            return Ok(Arc::new(NoClientAuth));
        }
        if authorities.is_empty() {
            return Err(TlsError::NoAuthorities(self.verify));
        }
        let bad = |error: String| TlsError::BadAuthority { path: path.to_owned(), error };
        let mut roots = RootCertStore::empty();
        for der in authorities {
            roots.add(der).map_err(|error| bad(error.to_string()))?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        let builder = if self.verify == 1 { builder.allow_unauthenticated() } else { builder };
        let verifier = builder.build().map_err(|error| bad(error.to_string()))?;
        Ok(verifier)
    }
}

/// Keys for tickets, which all workers share. A ticketer takes none that is longer than those that it has made itself, so
/// that without a first one each worker would refuse those of others for a while.
fn new_tickets() -> Result<Arc<dyn ProducesTickets>, TlsError> {
    /// A session with the certificates of its client.
    const LONGEST: usize = 16 * 1024;
    let tickets = ring::Ticketer::new().map_err(TlsError::Provider)?;
    let _ = tickets.encrypt(&[0; LONGEST]);
    Ok(tickets)
}

fn read(setting: &'static str, path: &str) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| TlsError::Unreadable { setting, path: path.to_owned(), error })
}

fn certificates(setting: &'static str, path: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(setting, path)?;
    let found = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, pem::Error>>()
        .map_err(|error| TlsError::BadPem { setting, path: path.to_owned(), error: error.to_string() })?;
    if found.is_empty() {
        return Err(TlsError::NoCertificate { setting, path: path.to_owned() });
    }
    Ok(found)
}

fn private_key(setting: &'static str, path: &str) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(setting, path)?;
    let encrypted = [&b"BEGIN ENCRYPTED PRIVATE KEY"[..], b"Proc-Type: 4,ENCRYPTED"];
    if encrypted.iter().any(|mark| memchr::memmem::find(&text, mark).is_some()) {
        return Err(TlsError::EncryptedKey { setting, path: path.to_owned() });
    }
    let mut sections = <(SectionKind, Vec<u8>) as PemObject>::pem_slice_iter(&text);
    loop {
        match sections.next() {
            None => return Err(TlsError::NoKey { setting, path: path.to_owned() }),
            Some(Err(error)) => {
                let error = error.to_string();
                return Err(TlsError::BadPem { setting, path: path.to_owned(), error });
            }
            Some(Ok((kind, der))) => {
                if let Some(key) = PrivateKeyDer::from_pem(kind, der) {
                    return Ok(key);
                }
            }
        }
    }
}
