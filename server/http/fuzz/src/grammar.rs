//! The productions of RFC 9110 §5.6, as the RFC lists them.

pub fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_tchar(byte))
}

/// HTAB, SP, VCHAR and obs-text, anywhere.
pub fn is_field_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..=0xff))
}

/// A field value as a recipient sees it: [`is_field_text`] without whitespace at its ends.
pub fn is_field_value(bytes: &[u8]) -> bool {
    is_field_text(bytes) && trim(bytes) == bytes
}

pub fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Without optional whitespace at both ends.
pub fn trim(bytes: &[u8]) -> &[u8] {
    match (bytes.iter().position(|&byte| !is_space(byte)), bytes.iter().rposition(|&byte| !is_space(byte))) {
        (Some(first), Some(last)) => &bytes[first..=last],
        _ => &[],
    }
}

/// A decimal number of 64 bits.
pub fn number(bytes: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(bytes).ok()?;
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// Where `needle` first is.
pub fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}
