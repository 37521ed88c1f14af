//! Why the server fails a connection, and with which close code.

use super::close::CloseCode;

/// What the peer did wrong. The text is the reason of the Close frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    #[error("reserved bits are set")]
    ReservedBits,
    #[error("reserved opcode {0}")]
    ReservedOpcode(u8),
    #[error("frame is not masked")]
    Unmasked,
    #[error("control frame is fragmented")]
    FragmentedControl,
    #[error("control frame has more than 125 bytes")]
    LongControl,
    #[error("frame length is not encoded in the fewest bytes")]
    LengthNotMinimal,
    #[error("frame length has its highest bit set")]
    LengthTooLarge,
    #[error("continuation without a message to continue")]
    NothingToContinue,
    #[error("new message inside a fragmented message")]
    MessageInMessage,
    #[error("Close frame of one byte")]
    CloseLength,
    #[error("close code {0} must not be sent")]
    CloseCode(u16),
    #[error("text is not UTF-8")]
    NotUtf8,
    #[error("close reason is not UTF-8")]
    ReasonNotUtf8,
    #[error("compressed data is invalid")]
    Compression,
    #[error("message has more than {limit} bytes")]
    TooLarge { limit: usize },
}

impl Violation {
    /// The status code of the Close frame (RFC 6455 §7.4.1).
    pub fn code(&self) -> CloseCode {
        match self {
            Self::NotUtf8 | Self::ReasonNotUtf8 | Self::Compression => CloseCode::INVALID_DATA,
            Self::TooLarge { .. } => CloseCode::TOO_LARGE,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }
}
