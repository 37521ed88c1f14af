//! TLS on loopback, with certificates of the bed's authority.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::certificates::Identity;
use crate::error::BedError;

/// For a server that asks for no client certificate.
pub(crate) fn acceptor(identity: &Identity) -> Result<TlsAcceptor, BedError> {
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates(&identity.certificate)?, key(&identity.key)?)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// For a client that shows who it is.
pub(crate) fn connector(authority: &Path, identity: &Identity) -> Result<TlsConnector, BedError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authority)? {
        roots.add(certificate)?;
    }
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates(&identity.certificate)?, key(&identity.key)?)?;
    Ok(TlsConnector::from(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, BedError> {
    let read =
        |error: rustls::pki_types::pem::Error| BedError::Unexpected(format!("{}: {error}", path.display()));
    CertificateDer::pem_file_iter(path).map_err(read)?.collect::<Result<_, _>>().map_err(read)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, BedError> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|error| BedError::Unexpected(format!("{}: {error}", path.display())))
}
