//! Cipher suites by the names that OpenSSL, and so the setting `ciphers`, has for them.

use rustls::crypto::ring::cipher_suite as suite;
use rustls::{SupportedCipherSuite, SupportedProtocolVersion, version};

use super::error::TlsError;

/// The suites of TLS 1.2, the strongest first.
const OLDER: [(&str, SupportedCipherSuite); 6] = [
    ("ECDHE-ECDSA-AES256-GCM-SHA384", suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-RSA-AES256-GCM-SHA384", suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-ECDSA-AES128-GCM-SHA256", suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("ECDHE-RSA-AES128-GCM-SHA256", suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ("ECDHE-RSA-CHACHA20-POLY1305", suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
];
/// Those of TLS 1.3, which OpenSSL's cipher strings do not choose from.
const NEWER: [(&str, SupportedCipherSuite); 3] = [
    ("TLS_AES_256_GCM_SHA384", suite::TLS13_AES_256_GCM_SHA384),
    ("TLS_AES_128_GCM_SHA256", suite::TLS13_AES_128_GCM_SHA256),
    ("TLS_CHACHA20_POLY1305_SHA256", suite::TLS13_CHACHA20_POLY1305_SHA256),
];

/// What is negotiated from.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) suites: Vec<SupportedCipherSuite>,
    pub(super) versions: Vec<&'static SupportedProtocolVersion>,
}

/// The suites that OpenSSL has made of a cipher string (`None`: all), within a range of versions.
pub(super) fn choose(names: Option<&[String]>, older: bool, newer: bool) -> Result<Choice, TlsError> {
    let mut suites: Vec<_> = NEWER.iter().map(|(_, suite)| *suite).collect();
    match names {
        None => suites.extend(OLDER.iter().map(|(_, suite)| *suite)),
        Some(names) => {
            let named =
                |name: &String| OLDER.iter().find(|(known, _)| known == name).map(|(_, suite)| *suite);
            let before = suites.len();
            suites.extend(names.iter().filter_map(named));
            if older && suites.len() == before {
                let known: Vec<_> = OLDER.iter().map(|(name, _)| *name).collect();
                return Err(TlsError::NoCiphers { given: names.join(":"), known: known.join(":") });
            }
        }
    }
    let mut versions = Vec::new();
    if newer {
        versions.push(&version::TLS13);
    }
    if older {
        versions.push(&version::TLS12);
    }
    if versions.is_empty() {
        return Err(TlsError::NoVersion);
    }
    Ok(Choice { suites, versions })
}

/// OpenSSL's name of a suite.
pub(super) fn name(suite: SupportedCipherSuite) -> &'static str {
    let all = NEWER.iter().chain(&OLDER);
    all.into_iter().find(|(_, known)| *known == suite).map_or("unknown", |(name, _)| name)
}
