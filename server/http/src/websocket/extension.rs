//! The Sec-WebSocket-Extensions field and the negotiation of permessage-deflate (RFC 6455 §9.1, RFC 7692 §7.1).

use std::borrow::Cow;
use std::fmt::Write;

use crate::grammar::{is_token, trim_ows};

const NAME: &[u8] = b"permessage-deflate";
/// The largest window, which holds where nothing is said.
const FULL_WINDOW: u8 = 15;
/// The compressor has no smaller one, so an offer that asks for 8 is declined.
const SMALLEST_SERVER_WINDOW: u8 = 9;

/// What the server wants of permessage-deflate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeflatePolicy {
    /// Largest window of the server's compressor, 9 to 15.
    pub server_max_window_bits: u8,
    /// Largest window of the client's, where it lets the server choose; 9 to 15.
    pub client_max_window_bits: u8,
    /// 1 (fast) to 9.
    pub level: u32,
}

impl Default for DeflatePolicy {
    /// Windows of 4 KiB: messages are short, and there may be thousands of connections. Level 1: messages of 150 bytes of
    /// JSON become a tenth larger than with level 3, those of 1 KB a half, for a third of the time.
    fn default() -> Self {
        Self { server_max_window_bits: 12, client_max_window_bits: 12, level: 1 }
    }
}

/// permessage-deflate as agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeflateConfig {
    pub server_no_context_takeover: bool,
    pub client_no_context_takeover: bool,
    pub server_max_window_bits: u8,
    pub client_max_window_bits: u8,
    /// Whether the client said that it can be told its window.
    pub(super) client_window_offered: bool,
    pub(super) level: u32,
}

impl DeflateConfig {
    /// The value of the response's Sec-WebSocket-Extensions.
    pub fn response(&self) -> String {
        let mut value = format!("permessage-deflate; server_max_window_bits={}", self.server_max_window_bits);
        if self.client_window_offered {
            // Writing to a String does not fail.
            let _ = write!(value, "; client_max_window_bits={}", self.client_max_window_bits);
        }
        if self.server_no_context_takeover {
            value.push_str("; server_no_context_takeover");
        }
        if self.client_no_context_takeover {
            value.push_str("; client_no_context_takeover");
        }
        value
    }
}

/// Name and value.
type Parameter<'a> = (&'a [u8], Option<Cow<'a, [u8]>>);

/// One extension that the client offers.
#[derive(Debug)]
pub(super) struct Offer<'a> {
    name: &'a [u8],
    parameters: Vec<Parameter<'a>>,
}

/// Reads the members of one Sec-WebSocket-Extensions field into `offers`; false: it does not match the grammar.
pub(super) fn read_offers<'a>(value: &'a [u8], offers: &mut Vec<Offer<'a>>) -> bool {
    let mut rest = value;
    let mut any = false;
    loop {
        let (name, after) = take_token(rest);
        rest = after;
        if name.is_empty() {
            // Empty members of a list are ignored (RFC 9110 §5.6.1).
            match rest {
                [] => return any,
                [b',', after @ ..] => rest = after,
                _ => return false,
            }
            continue;
        }
        any = true;
        let mut offer = Offer { name, parameters: Vec::new() };
        while let [b';', after @ ..] = rest {
            let Some((parameter, after)) = take_parameter(after) else { return false };
            offer.parameters.push(parameter);
            rest = after;
        }
        offers.push(offer);
        match rest {
            [] => return true,
            [b',', after @ ..] => rest = after,
            _ => return false,
        }
    }
}

/// `token [ "=" ( token / quoted-string ) ]`, and what follows it.
fn take_parameter(bytes: &[u8]) -> Option<(Parameter<'_>, &[u8])> {
    let (name, rest) = take_token(bytes);
    if name.is_empty() {
        return None;
    }
    let [b'=', rest @ ..] = rest else { return Some(((name, None), rest)) };
    let (value, rest) = match trim_ows(rest) {
        [b'"', quoted @ ..] => take_quoted(quoted)?,
        rest => {
            let (value, rest) = take_token(rest);
            (Cow::Borrowed(value), rest)
        }
    };
    // Also what was quoted must be a token (RFC 6455 §9.1).
    is_token(&value).then_some(((name, Some(value)), rest))
}

/// A token with the whitespace around it, and what follows; the token is empty if there is none.
fn take_token(bytes: &[u8]) -> (&[u8], &[u8]) {
    let bytes = trim_ows(bytes);
    let (token, rest) = bytes.split_at(crate::grammar::token_start(bytes).0);
    (token, trim_ows(rest))
}

/// The rest of a quoted string, unescaped, and what follows it.
fn take_quoted(bytes: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let mut value = Vec::new();
    let mut rest = bytes;
    loop {
        rest = match rest {
            [b'"', after @ ..] => return Some((Cow::Owned(value), trim_ows(after))),
            [b'\\', byte, after @ ..] | [byte, after @ ..] => {
                value.push(*byte);
                after
            }
            [] => return None,
        };
    }
}

/// Agrees on the first offer of permessage-deflate that the server can keep.
pub(super) fn negotiate(offers: &[Offer<'_>], policy: DeflatePolicy) -> Option<DeflateConfig> {
    offers.iter().filter(|offer| offer.name == NAME).find_map(|offer| accept(offer, policy))
}

/// `None`: the offer must be declined (RFC 7692 §7).
fn accept(offer: &Offer<'_>, policy: DeflatePolicy) -> Option<DeflateConfig> {
    let mut config = DeflateConfig {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        server_max_window_bits: policy.server_max_window_bits,
        client_max_window_bits: FULL_WINDOW,
        client_window_offered: false,
        level: policy.level,
    };
    let mut server_window = None;
    for (name, value) in &offer.parameters {
        let repeated = match (*name, value.as_deref()) {
            (b"server_no_context_takeover", None) => {
                std::mem::replace(&mut config.server_no_context_takeover, true)
            }
            (b"client_no_context_takeover", None) => {
                std::mem::replace(&mut config.client_no_context_takeover, true)
            }
            (b"server_max_window_bits", Some(value)) => server_window.replace(window_bits(value)?).is_some(),
            (b"client_max_window_bits", value) => {
                let most = value.map_or(Some(FULL_WINDOW), window_bits)?;
                config.client_max_window_bits = most.min(policy.client_max_window_bits);
                std::mem::replace(&mut config.client_window_offered, true)
            }
            _ => return None,
        };
        if repeated {
            return None;
        }
    }
    if let Some(most) = server_window {
        if most < SMALLEST_SERVER_WINDOW {
            return None;
        }
        config.server_max_window_bits = most.min(policy.server_max_window_bits);
    }
    Some(config)
}

/// 8 to 15, in decimal without leading zeros.
fn window_bits(value: &[u8]) -> Option<u8> {
    match value {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}
