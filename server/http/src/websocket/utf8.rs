//! UTF-8 checked piece by piece (RFC 6455 §5.6, §8.1).

/// Checks text that comes in pieces. A wrong byte is told as soon as it is seen, also when the pieces divide a
/// character.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    /// The beginning of a character whose end has not come.
    begun: [u8; 4],
    len: usize,
}

impl Utf8 {
    /// Whether what was pushed so far can still become UTF-8.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> bool {
        while self.len > 0 {
            let [byte, rest @ ..] = bytes else { return true };
            bytes = rest;
            self.begun[self.len] = *byte;
            self.len += 1;
            match std::str::from_utf8(&self.begun[..self.len]) {
                Ok(_) => self.len = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return false,
            }
        }
        match std::str::from_utf8(bytes) {
            Ok(_) => true,
            Err(error) if error.error_len().is_none() => {
                let begun = &bytes[error.valid_up_to()..];
                self.begun[..begun.len()].copy_from_slice(begun);
                self.len = begun.len();
                true
            }
            Err(_) => false,
        }
    }

    /// Ends the text; whether it ended with a whole character.
    pub(super) fn finish(&mut self) -> bool {
        std::mem::take(&mut self.len) == 0
    }
}
