//! How a connection changes from HTTP/1.1 to HTTP/2 without TLS (RFC 7540 §3.2). RFC 9113 has given it up; Gunicorn has it, and
//! `curl --http2` asks for it.
//!
//! `h2` knows nothing of it. So it is given what a client that had begun with HTTP/2 would have sent: the preface, the
//! settings of the field HTTP2-Settings together with those of the client's own first frame, and the request as stream 1,
//! without its fields. These, and the body, are handed to the engine when `h2` has accepted the stream.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use podicorn_http::{FieldKind, Version, list_members};

use super::{Http2Rules, PREFACE};
use crate::reactor::conn::Connection;

/// RFC 7540 §3.2.1 says base64url without padding; padding does no harm.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// The largest body of a request that asks for it (as Gunicorn's).
const LARGEST_BODY: usize = 65_536;
/// The largest SETTINGS frame that any peer takes (RFC 9113 §4.2).
const LARGEST_FRAME: usize = 16_384;
const FRAME_HEADER: usize = 9;

pub(super) const SWITCHING: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";

/// HEADERS of stream 1, its last frame: `:method: GET`, `:scheme: http`, `:path: /` of HPACK's static table. Nobody looks at
/// them.
const STREAM: &[u8] = b"\x00\x00\x03\x01\x05\x00\x00\x00\x01\x82\x86\x84";

/// A request that is going on by HTTP/2.
#[derive(Debug)]
pub(crate) struct Upgraded {
    /// The payload of a SETTINGS frame.
    pub(super) settings: Vec<u8>,
    /// Head and body as text for the engine.
    pub(super) text: Vec<u8>,
    pub(super) head_only: bool,
    /// What was received behind the request.
    pub(super) early: Vec<u8>,
}

impl Connection {
    /// What the request asks for, if it is a well-formed question for HTTP/2; otherwise it is served as it is.
    pub(in crate::reactor) fn asks_for_http2(&self, rules: &Http2Rules) -> Option<Upgraded> {
        if !rules.upgrade || !self.trusted || self.socket.is_secure() || self.socket.is_stream() {
            return None;
        }
        let (head, raw) = (&self.head, self.raw.as_slice());
        let may = head.version() == Version::HTTP_11
            && head.upgrade(raw).is_some_and(|name| name.trim_ascii().eq_ignore_ascii_case(b"h2c"))
            && self.body_complete
            && self.body.len() <= LARGEST_BODY;
        if !may {
            return None;
        }
        let names = |name: &[u8]| {
            let mut connection = head.fields(raw).filter(|(kind, ..)| *kind == FieldKind::Connection);
            connection.any(|(_, _, value)| list_members(value).any(|token| token.eq_ignore_ascii_case(name)))
        };
        let is_settings = |name: &[u8]| name.eq_ignore_ascii_case(b"http2-settings");
        let mut settings = head.fields(raw).filter(|(_, name, _)| is_settings(name));
        let (Some((_, _, value)), None) = (settings.next(), settings.next()) else { return None };
        if !names(b"upgrade") || !names(b"http2-settings") {
            return None;
        }
        let settings = BASE64.decode(value.trim_ascii()).ok().filter(|payload| are_settings(payload))?;
        let mut text = Vec::with_capacity(head.len() + self.body.len() + 32);
        super::request::write_line(head.method(raw), head.target(raw), &mut text);
        let (mut has_length, framed) = (false, !self.body.is_empty());
        for (kind, name, value) in head.fields(raw) {
            has_length |= kind == FieldKind::ContentLength;
            let about_the_connection = matches!(
                kind,
                FieldKind::Connection | FieldKind::Upgrade | FieldKind::TransferEncoding | FieldKind::Expect
            );
            if !about_the_connection && !is_settings(name) {
                super::request::write_field(name, value, &mut text);
            }
        }
        if framed && !has_length {
            super::request::write_field(b"content-length", self.body.len().to_string().as_bytes(), &mut text);
        }
        text.extend_from_slice(b"\r\n");
        text.extend_from_slice(&self.body);
        let early = raw[head.len()..].to_vec();
        Some(Upgraded { settings, text, head_only: head.method(raw) == b"HEAD", early })
    }
}

/// Whether it is what a SETTINGS frame may hold (RFC 9113 §6.5.2).
fn are_settings(payload: &[u8]) -> bool {
    let valid = |setting: &[u8]| {
        let (6, Some(name), Some(value)) = (setting.len(), setting.first_chunk(), setting.last_chunk())
        else {
            return false;
        };
        let value = u32::from_be_bytes(*value);
        match u16::from_be_bytes(*name) {
            2 => value <= 1,
            4 => i32::try_from(value).is_ok(),
            5 => (16_384..=16_777_215).contains(&value),
            _ => true,
        }
    };
    payload.len() <= LARGEST_FRAME / 2 && payload.chunks(6).all(valid)
}

/// What `h2` gets in place of what the client has sent first; `None`: more of that is needed.
pub(super) fn begin(settings: &[u8], received: &[u8]) -> Option<Vec<u8>> {
    let preface = received.len().min(PREFACE.len());
    if received[..preface] != PREFACE[..preface] {
        // It will say what is wrong with it.
        return Some(received.to_vec());
    }
    let frame = received.get(PREFACE.len()..).filter(|frame| frame.len() >= FRAME_HEADER)?;
    let length = usize::from(frame[0]) << 16 | usize::from(frame[1]) << 8 | usize::from(frame[2]);
    let (kind, flags) = (frame[3], frame[4]);
    if kind != 4
        || flags & 1 != 0
        || frame[5..FRAME_HEADER] != [0; 4]
        || length + settings.len() > LARGEST_FRAME
    {
        return Some(received.to_vec());
    }
    let payload = frame.get(FRAME_HEADER..FRAME_HEADER + length)?;
    let mut begun = PREFACE.to_vec();
    let total = u32::try_from(settings.len() + length).unwrap_or(0).to_be_bytes();
    begun.extend_from_slice(&total[1..]);
    begun.extend_from_slice(&[4, 0, 0, 0, 0, 0]);
    // What the frame says comes later and holds.
    begun.extend_from_slice(settings);
    begun.extend_from_slice(payload);
    begun.extend_from_slice(STREAM);
    begun.extend_from_slice(&frame[FRAME_HEADER + length..]);
    Some(begun)
}
