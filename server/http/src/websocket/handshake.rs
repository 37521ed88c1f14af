//! The server's side of the opening handshake (RFC 6455 §4.2).

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use sha1::{Digest, Sha1};

use super::extension::{self, DeflateConfig, DeflatePolicy};
use crate::fields::FieldKind;
use crate::grammar::{is_token, list_members};
use crate::head::{BodyKind, Head};
use crate::reject::Excerpt;
use crate::response::{InvalidResponse, ResponseHead, write_error_with};

/// What the key is hashed with (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const KEY_BYTES: usize = 16;
const VERSION: &[u8] = b"13";

/// Bits beyond the last byte are ignored: the key only has to decode to 16 bytes.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Why a WebSocket request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    #[error("a WebSocket handshake is a GET request")]
    Method,
    #[error("a WebSocket handshake has no body")]
    Body,
    #[error("Sec-WebSocket-Key must be sent once")]
    KeyCount,
    #[error("Sec-WebSocket-Key is not 16 bytes in base64")]
    Key,
    #[error("Sec-WebSocket-Version must be sent once")]
    VersionCount,
    #[error("only version 13 of WebSocket is spoken here")]
    Version,
    #[error("invalid Sec-WebSocket-Protocol")]
    Subprotocols,
    #[error("invalid Sec-WebSocket-Extensions")]
    Extensions,
}

impl Refusal {
    pub fn status(&self) -> u16 {
        if *self == Self::Version { 426 } else { 400 }
    }

    /// Appends the whole response; the connection closes after it. See [`crate::response::write_error`].
    pub fn write(&self, out: &mut Vec<u8>, server: &[u8], date: &[u8]) {
        let fields: &[(&[u8], &[u8])] = if *self == Self::Version {
            // RFC 6455 §4.4; RFC 9110 §15.5.22 and §7.8.
            &[
                (b"Connection", b"close, upgrade"),
                (b"Upgrade", b"websocket"),
                (b"Sec-WebSocket-Version", VERSION),
            ]
        } else {
            &[(b"Connection", b"close")]
        };
        write_error_with(out, self.status(), &self.to_string(), server, date, fields);
    }
}

/// Whether a request wants to become a WebSocket connection. Others are served as HTTP, as are those before
/// HTTP/1.1, where Upgrade has no meaning (RFC 9110 §7.8).
pub fn is_upgrade(head: &Head, buf: &[u8]) -> bool {
    head.upgrade(buf).is_some()
        && head
            .fields(buf)
            .filter(|field| field.0 == FieldKind::Upgrade)
            .flat_map(|field| list_members(field.2))
            .any(|member| member.eq_ignore_ascii_case(b"websocket"))
}

/// The subprotocols that the client offers, the preferred first.
pub fn subprotocols<'a>(head: &'a Head, buf: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    values(head, buf, "sec-websocket-protocol").flat_map(list_members).filter(|member| !member.is_empty())
}

/// Takes a field of the application for the 101 response, after [`Handshake::accept`]. Those of the handshake are not
/// the application's to set; Connection and Upgrade are left out, as from other responses.
pub fn add_field(response: &mut ResponseHead, name: &[u8], value: &[u8]) -> Result<(), InvalidResponse> {
    const OWN: [&[u8]; 4] = [
        b"sec-websocket-accept",
        b"sec-websocket-protocol",
        b"sec-websocket-extensions",
        b"sec-websocket-version",
    ];
    let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
    if OWN.iter().any(|own| is(own)) {
        return Err(InvalidResponse::HeaderName(Excerpt::of(name)));
    }
    if is(b"connection") || is(b"upgrade") { Ok(()) } else { response.add_header(name, value) }
}

fn values<'a>(head: &'a Head, buf: &'a [u8], name: &'static str) -> impl Iterator<Item = &'a [u8]> {
    head.fields(buf).filter(|field| field.1.eq_ignore_ascii_case(name.as_bytes())).map(|field| field.2)
}

/// A handshake that can be accepted.
#[derive(Debug, Clone)]
pub struct Handshake {
    accept: String,
    deflate: Option<DeflateConfig>,
}

impl Handshake {
    /// Checks a request that [is an upgrade](is_upgrade). Without a policy permessage-deflate is declined.
    pub fn read(head: &Head, buf: &[u8], policy: Option<DeflatePolicy>) -> Result<Self, Refusal> {
        if head.method(buf) != b"GET" {
            return Err(Refusal::Method);
        }
        if !matches!(head.body(), BodyKind::None | BodyKind::Length(0)) {
            return Err(Refusal::Body);
        }
        let mut versions = values(head, buf, "sec-websocket-version");
        if versions.next() != Some(VERSION) {
            return Err(Refusal::Version);
        }
        if versions.next().is_some() {
            return Err(Refusal::VersionCount);
        }
        let mut keys = values(head, buf, "sec-websocket-key");
        let (Some(key), None) = (keys.next(), keys.next()) else { return Err(Refusal::KeyCount) };
        if !is_key(key) {
            return Err(Refusal::Key);
        }
        for value in values(head, buf, "sec-websocket-protocol") {
            let mut members = list_members(value).filter(|member| !member.is_empty()).peekable();
            if members.peek().is_none() || !members.all(is_token) {
                return Err(Refusal::Subprotocols);
            }
        }
        let mut offers = Vec::new();
        for value in values(head, buf, "sec-websocket-extensions") {
            if !extension::read_offers(value, &mut offers) {
                return Err(Refusal::Extensions);
            }
        }
        let deflate = policy.and_then(|policy| extension::negotiate(&offers, policy));
        Ok(Self { accept: accept_value(key), deflate })
    }

    /// permessage-deflate as agreed on.
    pub fn deflate(&self) -> Option<&DeflateConfig> {
        self.deflate.as_ref()
    }

    /// The value of Sec-WebSocket-Accept.
    pub fn accept_value(&self) -> &str {
        &self.accept
    }

    /// Sets status and fields of the 101 response. `subprotocol` must be one of those that the client offers: see
    /// [`subprotocols`]. The application's own fields come after, by [`add_field`].
    pub fn accept(
        &self,
        response: &mut ResponseHead,
        subprotocol: Option<&[u8]>,
    ) -> Result<(), InvalidResponse> {
        response.set_status_code(101)?;
        response.add_header(b"Upgrade", b"websocket")?;
        response.add_header(b"Connection", b"upgrade")?;
        response.add_header(b"Sec-WebSocket-Accept", self.accept.as_bytes())?;
        if let Some(subprotocol) = subprotocol {
            response.add_header(b"Sec-WebSocket-Protocol", subprotocol)?;
        }
        if let Some(deflate) = &self.deflate {
            response.add_header(b"Sec-WebSocket-Extensions", deflate.response().as_bytes())?;
        }
        Ok(())
    }
}

fn is_key(key: &[u8]) -> bool {
    let mut decoded = [0; KEY_BYTES + 2];
    BASE64.decode_slice(key, &mut decoded) == Ok(KEY_BYTES)
}

/// RFC 6455 §4.2.2, step 5.4.
fn accept_value(key: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(GUID);
    BASE64.encode(hash.finalize())
}
