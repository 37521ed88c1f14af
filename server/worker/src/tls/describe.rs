//! What an app is told of a session: the ASGI extension `tls`, and the getters of Python's `SSLSocket`.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::ciphers;
use super::session::Session;

/// Characters of a line of a PEM block (RFC 7468 §2).
const LINE: usize = 64;

/// What OpenSSL says of a cipher suite beside its name.
#[derive(Debug, Clone)]
pub(crate) struct Grade {
    /// The version of TLS that has brought it.
    pub(crate) version: String,
    pub(crate) bits: u16,
}

/// Facts of a session.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// As DER; empty: it is not known.
    pub(crate) server: Vec<u8>,
    /// The client's certificate and those of its issuers, as DER; empty: it has sent none.
    pub(crate) client: Vec<Vec<u8>>,
    /// The number on the wire: 0x0303 is TLS 1.2, 0x0304 is TLS 1.3.
    pub(crate) version: Option<u16>,
    /// The number of the cipher suite at IANA.
    pub(crate) suite: Option<u16>,
    /// OpenSSL's name of it.
    pub(crate) cipher: Option<Cow<'static, str>>,
    /// `None`: the name says it.
    pub(crate) grade: Option<Grade>,
    pub(crate) protocol: Option<String>,
}

impl Session {
    pub(crate) fn facts(&self) -> Facts {
        let tls = self.connection();
        let suite = tls.negotiated_cipher_suite();
        let client = tls.peer_certificates().unwrap_or_default();
        Facts {
            server: self.material().certificate.clone(),
            client: client.iter().map(|der| der.to_vec()).collect(),
            version: tls.protocol_version().map(u16::from),
            suite: suite.map(|suite| u16::from(suite.suite())),
            cipher: suite.map(|suite| Cow::Borrowed(ciphers::name(suite))),
            grade: None,
            protocol: tls.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
        }
    }
}

/// A certificate as a PEM block.
pub(crate) fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = String::with_capacity(text.len() + text.len() / LINE + 64);
    pem.push_str("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(LINE) {
        pem.extend(line.iter().map(|byte| char::from(*byte)));
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

/// The subject of a certificate as a text (RFC 4514); `None`: it is no certificate that can be read.
pub(crate) fn subject(der: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let mut text = String::new();
    let names: Vec<_> = certificate.subject().iter_rdn().collect();
    // RFC 4514 §2.1: the last one first.
    for (place, name) in names.into_iter().rev().enumerate() {
        if place > 0 {
            text.push(',');
        }
        for (place, attribute) in name.iter().enumerate() {
            if place > 0 {
                text.push('+');
            }
            let oid = attribute.attr_type();
            match oid2abbrev(oid, oid_registry()) {
                Ok(name) => text.push_str(name),
                Err(_) => text.push_str(&oid.to_id_string()),
            }
            text.push('=');
            if let Ok(value) = attribute.as_str() {
                escape(value, &mut text);
            } else {
                // RFC 4514 §2.4: what is no text.
                text.push('#');
                for byte in attribute.as_slice() {
                    let _ = write!(text, "{byte:02x}");
                }
            }
        }
    }
    Some(text)
}

/// RFC 4514 §2.4.
fn escape(value: &str, out: &mut String) {
    let last = value.chars().count().saturating_sub(1);
    for (place, letter) in value.chars().enumerate() {
        let edge = (place == 0 && matches!(letter, ' ' | '#')) || (place == last && letter == ' ');
        match letter {
            '\0' => out.push_str("\\00"),
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => out.extend(['\\', letter]),
            _ if edge => out.extend(['\\', letter]),
            _ => out.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped() {
        for (value, expected) in [
            ("plain", "plain"),
            ("A+B, \"C\"", "A\\+B\\, \\\"C\\\""),
            (" #1 ", "\\ #1\\ "),
            ("#1", "\\#1"),
            ("a\0b", "a\\00b"),
        ] {
            let mut out = String::new();
            escape(value, &mut out);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn a_block_has_lines_of_64_characters() {
        let block = pem(&[0; 60]);
        let lines: Vec<_> = block.lines().map(str::len).collect();
        assert_eq!(lines, [27, 64, 16, 25]);
        assert_eq!(subject(b"nothing"), None);
    }
}
