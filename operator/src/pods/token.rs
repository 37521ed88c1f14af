//! Bearer tokens that do not end up in logs.

use std::fmt;

use hyper::header::{HeaderValue, InvalidHeaderValue};

/// The value of the field `Authorization`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(HeaderValue);

impl Token {
    /// Refuses what cannot be in a header field. White space around it, as editors leave it in files, is not part of it.
    pub fn new(token: &str) -> Result<Self, InvalidHeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim_ascii()))?;
        value.set_sensitive(true);
        Ok(Self(value))
    }

    pub(super) fn header(&self) -> &HeaderValue {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

/// The token in force, and the one before it: pods learn of a new one up to two minutes late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    current: Token,
    previous: Option<Token>,
}

impl Tokens {
    pub fn new(current: Token, previous: Option<Token>) -> Self {
        let previous = previous.filter(|previous| *previous != current);
        Self { current, previous }
    }

    pub(super) fn current(&self) -> &Token {
        &self.current
    }

    pub(super) fn previous(&self) -> Option<&Token> {
        self.previous.as_ref()
    }
}
