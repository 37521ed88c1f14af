//! The control plane's own certificate authority, and what it signs.
//!
//! Users are client certificates, as in any cluster: the common name is the user, the organisation its group.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};

use crate::error::BedError;

/// A certificate and its key, as files.
#[derive(Debug, Clone)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: PathBuf,
    pub certificate: PathBuf,
    /// What signs the tokens of service accounts.
    pub service_account_key: PathBuf,
    /// What they are checked with.
    pub service_account_public_key: PathBuf,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Authority").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Authority {
    pub fn new(directory: &Path) -> Result<Self, BedError> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = named("podicorn-testbed", None);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate()?;
        let certificate = directory.join("ca.crt");
        write(&certificate, &params.self_signed(&key)?.pem())?;
        let service_account_key = directory.join("service-account.key");
        let signer = KeyPair::generate()?;
        write(&service_account_key, &signer.serialize_pem())?;
        let service_account_public_key = directory.join("service-account.pub");
        write(&service_account_public_key, &signer.public_key_pem())?;
        Ok(Self {
            issuer: Issuer::new(params, key),
            directory: directory.to_owned(),
            certificate,
            service_account_key,
            service_account_public_key,
        })
    }

    /// For a server on the loopback interface.
    pub fn server(&self, file: &str) -> Result<Identity, BedError> {
        let mut params = CertificateParams::new(
            ["localhost", "127.0.0.1", "kubernetes", "kubernetes.default.svc", "10.0.0.1"].map(String::from),
        )?;
        params.distinguished_name = named("kube-apiserver", None);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params, file)
    }

    pub fn client(&self, user: &str, group: Option<&str>) -> Result<Identity, BedError> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = named(user, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, &user.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-"))
    }

    fn sign(&self, mut params: CertificateParams, file: &str) -> Result<Identity, BedError> {
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        let key = KeyPair::generate()?;
        let identity = Identity {
            certificate: self.directory.join(format!("{file}.crt")),
            key: self.directory.join(format!("{file}.key")),
        };
        write(&identity.certificate, &params.signed_by(&key, &self.issuer)?.pem())?;
        write(&identity.key, &key.serialize_pem())?;
        Ok(identity)
    }
}

fn named(user: &str, group: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, user);
    if let Some(group) = group {
        name.push(DnType::OrganizationName, group);
    }
    name
}

fn write(path: &Path, text: &str) -> Result<(), BedError> {
    fs::write(path, text).map_err(BedError::io(format!("writing {}", path.display())))
}
