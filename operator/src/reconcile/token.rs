//! The admin token: 32 random bytes, as hexadecimal digits.

use std::fmt::Write as _;
use std::io::Read as _;

use super::live::{SecretFacts, Tokens};

/// What the Secret is to hold: what it holds, unless there is none or another one was asked for.
pub(crate) fn next(
    kept: Option<&SecretFacts>,
    asked: Option<&str>,
    random: impl FnOnce() -> std::io::Result<String>,
) -> std::io::Result<SecretFacts> {
    match kept.filter(|kept| !kept.tokens.current.is_empty()) {
        None => Ok(SecretFacts {
            tokens: Tokens { current: random()?, previous: None },
            rotation: asked.map(str::to_owned),
        }),
        Some(kept) => match asked {
            Some(asked) if kept.rotation.as_deref() != Some(asked) => Ok(SecretFacts {
                tokens: Tokens { current: random()?, previous: Some(kept.tokens.current.clone()) },
                rotation: Some(asked.to_owned()),
            }),
            _ => Ok(kept.clone()),
        },
    }
}

pub(crate) fn random() -> std::io::Result<String> {
    let mut bytes = [0_u8; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let mut text = String::with_capacity(64);
    for byte in bytes {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(current: &str, previous: Option<&str>, rotation: Option<&str>) -> SecretFacts {
        SecretFacts {
            tokens: Tokens { current: current.to_owned(), previous: previous.map(str::to_owned) },
            rotation: rotation.map(str::to_owned),
        }
    }

    fn next(kept: Option<&SecretFacts>, asked: Option<&str>) -> SecretFacts {
        super::next(kept, asked, || Ok("new".to_owned())).unwrap()
    }

    #[test]
    fn a_token_is_made_once() {
        assert_eq!(next(None, None), facts("new", None, None));
        let kept = facts("old", Some("older"), Some("1"));
        assert_eq!(next(Some(&kept), Some("1")), kept);
        assert_eq!(next(Some(&kept), None), kept);
    }

    #[test]
    fn another_value_of_the_annotation_makes_another_token_and_keeps_the_old_one() {
        let kept = facts("old", None, None);
        assert_eq!(next(Some(&kept), Some("1")), facts("new", Some("old"), Some("1")));
    }

    #[test]
    fn an_emptied_secret_is_filled() {
        assert_eq!(next(Some(&facts("", None, Some("1"))), Some("1")), facts("new", None, Some("1")));
    }

    #[test]
    fn tokens_are_64_digits_and_differ() {
        let (one, other) = (random().unwrap(), random().unwrap());
        assert_eq!(one.len(), 64);
        assert!(one.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(one, other);
    }
}
