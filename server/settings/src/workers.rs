//! How many workers.

use std::fmt;
use std::str::FromStr;

/// The most workers that can be asked for: the scoreboard has 1024 slots, and a reload needs two for each worker.
pub const MAX_WORKERS: u32 = 512;

/// A fixed number, a range that the pool stays in, or a range that follows from what the container may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(try_from = "serde_json::Value")]
pub enum Workers {
    Fixed(u32),
    /// `1 <= min < max`.
    Range {
        min: u32,
        max: u32,
    },
    /// From 1 to 2 × cores + 1.
    Auto,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a number from 1 to {MAX_WORKERS}, a range MIN..MAX such as 2..8, or auto")]
pub struct WorkersError;

impl Workers {
    /// The number to start with.
    pub fn initial(self) -> u32 {
        self.min()
    }

    pub fn min(self) -> u32 {
        match self {
            Self::Fixed(count) => count,
            Self::Range { min, .. } => min,
            Self::Auto => 1,
        }
    }

    pub fn max(self) -> u32 {
        match self {
            Self::Fixed(count) => count,
            Self::Range { max, .. } => max,
            Self::Auto => MAX_WORKERS,
        }
    }
}

fn count(digits: &str) -> Result<u32, WorkersError> {
    let count = crate::number::decimal(digits).ok_or(WorkersError)?;
    u32::try_from(count).ok().filter(|count| (1..=MAX_WORKERS).contains(count)).ok_or(WorkersError)
}

impl FromStr for Workers {
    type Err = WorkersError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim() == "auto" {
            return Ok(Self::Auto);
        }
        let Some((min, max)) = text.split_once("..") else { return count(text).map(Self::Fixed) };
        match (count(min)?, count(max)?) {
            (min, max) if min == max => Ok(Self::Fixed(min)),
            (min, max) if min < max => Ok(Self::Range { min, max }),
            _ => Err(WorkersError),
        }
    }
}

impl TryFrom<serde_json::Value> for Workers {
    type Error = WorkersError;

    fn try_from(value: serde_json::Value) -> Result<Self, Self::Error> {
        match value {
            serde_json::Value::Number(number) => number.to_string().parse(),
            serde_json::Value::String(text) => text.parse(),
            _ => Err(WorkersError),
        }
    }
}

impl fmt::Display for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(count) => write!(f, "{count}"),
            Self::Range { min, max } => write!(f, "{min}..{max}"),
            Self::Auto => f.write_str("auto"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_a_range_or_auto() {
        for (text, expected) in [
            ("1", Some(Workers::Fixed(1))),
            (" 4 ", Some(Workers::Fixed(4))),
            ("512", Some(Workers::Fixed(512))),
            ("2..8", Some(Workers::Range { min: 2, max: 8 })),
            ("2 .. 8", Some(Workers::Range { min: 2, max: 8 })),
            ("3..3", Some(Workers::Fixed(3))),
            ("0", None),
            ("-1", None),
            ("513", None),
            ("8..2", None),
            ("0..2", None),
            ("2..", None),
            ("..2", None),
            ("2...3", None),
            ("abc", None),
            ("auto", Some(Workers::Auto)),
            (" auto ", Some(Workers::Auto)),
            ("Auto", None),
            ("auto..8", None),
            ("1..auto", None),
            ("", None),
            ("1.5", None),
        ] {
            assert_eq!(text.parse::<Workers>().ok(), expected, "{text:?}");
        }
    }
}
