//! Close codes and the payload of a Close frame (RFC 6455 §5.5.1, §7.4).

use super::frame::MAX_CONTROL;
use super::violation::Violation;

/// A status code of the closing handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CloseCode(pub u16);

impl CloseCode {
    pub const NORMAL: Self = Self(1000);
    pub const GOING_AWAY: Self = Self(1001);
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// Told to the application when a Close frame has no code; never sent.
    pub const NONE: Self = Self(1005);
    /// Told to the application when the connection ends without a Close frame; never sent.
    pub const ABNORMAL: Self = Self(1006);
    pub const INVALID_DATA: Self = Self(1007);
    pub const TOO_LARGE: Self = Self(1009);
    pub const INTERNAL_ERROR: Self = Self(1011);
}

/// Whether a Close frame may carry the code: those that RFC 6455 and IANA's registry define for the wire, and the
/// ranges for libraries (3000) and applications (4000).
pub fn may_send(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Reads the payload of a Close frame. No code: `None`.
pub(super) fn read(payload: &[u8]) -> Result<(Option<CloseCode>, &str), Violation> {
    let (code, reason) = match payload {
        [] => return Ok((None, "")),
        [_] => return Err(Violation::CloseLength),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    if !may_send(code) {
        return Err(Violation::CloseCode(code));
    }
    let reason = std::str::from_utf8(reason).map_err(|_| Violation::ReasonNotUtf8)?;
    Ok((Some(CloseCode(code)), reason))
}

/// The part of a reason that fits a Close frame, cut between characters.
pub(super) fn fitting(reason: &str) -> &str {
    let mut end = reason.len().min(MAX_CONTROL - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}
