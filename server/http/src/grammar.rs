//! The character classes and small productions of RFC 9110 §5.6, RFC 9112 and RFC 3986.

/// A bit per class of characters that are looked up byte by byte.
const TCHAR: u8 = 1;
const UNDERSCORE: u8 = 2;
const REG_NAME: u8 = 4;

const fn class_of(byte: u8) -> u8 {
    let mut class = 0;
    // tchar of RFC 9110 §5.6.2.
    if byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
    {
        class |= TCHAR;
    }
    if byte == b'_' {
        class |= UNDERSCORE;
    }
    // unreserved and sub-delims of RFC 3986 §2.
    if byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&'..=b',' | b';' | b'=')
    {
        class |= REG_NAME;
    }
    class
}

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte: u8 = 0;
    loop {
        classes[byte as usize] = class_of(byte);
        if byte == u8::MAX {
            break classes;
        }
        byte += 1;
    }
};

fn is(byte: u8, class: u8) -> bool {
    CLASSES[byte as usize] & class != 0
}

pub(crate) fn is_tchar(byte: u8) -> bool {
    is(byte, TCHAR)
}

/// How many bytes at the start are tchar, and whether one of them is an underscore.
pub(crate) fn token_start(bytes: &[u8]) -> (usize, bool) {
    let mut seen = 0;
    for (i, &byte) in bytes.iter().enumerate() {
        let class = CLASSES[byte as usize];
        if class & TCHAR == 0 {
            return (i, seen & UNDERSCORE != 0);
        }
        seen |= class;
    }
    (bytes.len(), seen & UNDERSCORE != 0)
}

/// token of RFC 9110 §5.6.2: one tchar or more.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && token_start(bytes).0 == bytes.len()
}

/// Bytes that a field value may hold: HTAB, SP, VCHAR, obs-text (RFC 9110 §5.5).
pub(crate) fn is_field_value(bytes: &[u8]) -> bool {
    let bad = |byte: u8| u8::from(byte < 0x20) & u8::from(byte != b'\t') | u8::from(byte == 0x7f);
    // No early exit and bytes only: so the loops are vectorised. Blocks of one size need no code for what is left over.
    let (blocks, rest) = bytes.as_chunks::<16>();
    let block = |block: &[u8; 16]| block.iter().fold(0, |any, &byte| any | bad(byte));
    if blocks.iter().fold(0, |any, bytes| any | block(bytes)) != 0 {
        return false;
    }
    let mut last = [b' '; 16];
    last[..rest.len()].copy_from_slice(rest);
    block(&last) == 0
}

/// Whether all bytes are printable ASCII without space: what a URI is written in (RFC 3986 §2).
pub(crate) fn is_visible_ascii(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |any, &byte| any | u8::from(byte <= 0x20) | u8::from(byte >= 0x7f)) == 0
}

pub(crate) fn is_ows(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// Without the spaces and tabs at both ends.
pub(crate) fn trim_ows(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_ows(*first)
    {
        bytes = rest;
    }
    trim_ows_end(bytes)
}

/// Without the spaces and tabs at the end.
pub(crate) fn trim_ows_end(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., last] = bytes
        && is_ows(*last)
    {
        bytes = rest;
    }
    bytes
}

/// The members of a comma-separated list, trimmed, empty ones included (RFC 9110 §5.6.1).
pub fn list_members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim_ows)
}

/// A decimal number of ASCII digits only, that fits 64 bits.
pub(crate) fn decimal(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() {
        return None;
    }
    bytes.iter().try_fold(0_u64, |number, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// `uri-host [ ":" port ]` of RFC 9110 §7.2. An empty host is valid here; the caller knows whether it may be.
pub(crate) fn is_host(bytes: &[u8]) -> bool {
    split_host(bytes).is_some()
}

/// The host (with brackets if it has them) and the port, if the grammar of RFC 3986 §3.2 holds. Port `None`:
/// no colon.
pub(crate) fn split_host(bytes: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let (host, rest) = if bytes.first() == Some(&b'[') {
        let end = memchr::memchr(b']', bytes)?;
        if !is_ip_literal(&bytes[1..end]) {
            return None;
        }
        bytes.split_at(end + 1)
    } else {
        let end = memchr::memchr(b':', bytes).unwrap_or(bytes.len());
        if !is_reg_name(&bytes[..end]) {
            return None;
        }
        bytes.split_at(end)
    };
    match rest {
        [] => Some((host, None)),
        [b':', port @ ..] if port.iter().all(u8::is_ascii_digit) => Some((host, Some(port))),
        _ => None,
    }
}

/// What may stand between brackets (RFC 3986 §3.2.2).
fn is_ip_literal(bytes: &[u8]) -> bool {
    if let [b'v' | b'V', future @ ..] = bytes {
        let dot = memchr::memchr(b'.', future).unwrap_or(0);
        let (version, address) = future.split_at(dot);
        let valid = |byte: u8| is(byte, REG_NAME) || byte == b':';
        return dot > 0
            && version.iter().all(u8::is_ascii_hexdigit)
            && address.len() > 1
            && address[1..].iter().all(|&byte| valid(byte));
    }
    std::str::from_utf8(bytes).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok())
}

fn is_reg_name(bytes: &[u8]) -> bool {
    let plain = |rest: &[u8]| rest.iter().take_while(|&&byte| is(byte, REG_NAME)).count();
    let mut rest = &bytes[plain(bytes)..];
    loop {
        rest = match rest {
            [] => return true,
            [b'%', high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                &tail[plain(tail)..]
            }
            _ => return false,
        }
    }
}

/// Characters of userinfo (RFC 3986 §3.2.1), loosely: percent signs are not checked.
pub(crate) fn is_userinfo(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| is(byte, REG_NAME) || matches!(byte, b':' | b'%'))
}
