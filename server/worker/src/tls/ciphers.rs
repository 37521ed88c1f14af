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
            let before = suites.len();
            let find = |name: &String| OLDER.iter().find(|(known, _)| known == name).map(|(_, suite)| *suite);
            suites.extend(names.iter().filter_map(find));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn names(choice: &Choice) -> Vec<&'static str> {
        choice.suites.iter().map(|suite| name(*suite)).collect()
    }

    #[test]
    fn without_a_string_there_are_all() {
        let choice = choose(None, true, true).unwrap();
        assert_eq!(names(&choice).len(), NEWER.len() + OLDER.len());
        assert_eq!(choice.versions.len(), 2);
    }

    #[test]
    fn a_string_chooses_in_its_order_among_those_of_version_1_2() {
        let given =
            ["AES256-SHA", "ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-RSA-AES128-GCM-SHA256"].map(str::to_owned);
        let choice = choose(Some(&given), true, true).unwrap();
        assert_eq!(
            names(&choice)[NEWER.len()..],
            ["ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-RSA-AES128-GCM-SHA256"]
        );
    }

    #[test]
    fn nothing_left_is_an_error_unless_version_1_3_is_all_that_is_spoken() {
        let given = ["AES256-SHA".to_owned()];
        assert!(matches!(choose(Some(&given), true, true), Err(TlsError::NoCiphers { .. })));
        assert_eq!(choose(Some(&given), false, true).unwrap().versions.len(), 1);
        assert!(matches!(choose(None, false, false), Err(TlsError::NoVersion)));
    }
}
