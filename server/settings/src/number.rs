//! Numbers as Python reads them from text.

/// `int(text)`: decimal, with a sign, underscores between digits and blanks around.
pub(crate) fn decimal(text: &str) -> Option<i64> {
    signed(text, |digits| digits_of(digits, 10))
}

/// `int(text, 0)`: as Python source; `0x`, `0o` and `0b` are prefixes, other leading zeros an error.
pub(crate) fn literal(text: &str) -> Option<i64> {
    signed(text, |digits| {
        let lower = digits.to_ascii_lowercase();
        for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
            if let Some(rest) = lower.strip_prefix(prefix) {
                return digits_of(rest.strip_prefix('_').unwrap_or(rest), radix);
            }
        }
        let value = digits_of(&lower, 10)?;
        (value == 0 || !lower.starts_with('0')).then_some(value)
    })
}

/// As [`literal`], but `022` is octal, as in a shell's umask.
pub(crate) fn mode(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.first() == Some(&b'0') && bytes.get(1).is_some_and(u8::is_ascii_digit) {
        return digits_of(text.trim_end(), 8);
    }
    literal(text)
}

/// A number that is not negative, with or without a fraction. Kept whole where it is, so that it prints as it was given.
pub(crate) fn seconds(text: &str) -> Option<serde_json::Number> {
    if let Some(whole) = decimal(text) {
        return u64::try_from(whole).ok().map(Into::into);
    }
    let value: f64 = text.trim().parse().ok()?;
    if value.is_sign_negative() { None } else { serde_json::Number::from_f64(value) }
}

/// A number of bytes, with an optional suffix k, m or g (powers of 1024; `kb` and `KiB` mean the same).
pub(crate) fn size(text: &str) -> Option<i64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor: i64 = match &lower[digits.len()..] {
        "" | "b" => 1,
        "k" | "kb" | "ki" | "kib" => 1 << 10,
        "m" | "mb" | "mi" | "mib" => 1 << 20,
        "g" | "gb" | "gi" | "gib" => 1 << 30,
        _ => return None,
    };
    decimal(digits)?.checked_mul(factor)
}

fn signed(text: &str, magnitude: impl FnOnce(&str) -> Option<i64>) -> Option<i64> {
    let text = text.trim();
    match text.strip_prefix('-') {
        Some(rest) => magnitude(rest).map(|value| -value),
        None => magnitude(text.strip_prefix('+').unwrap_or(text)),
    }
}

/// Digits with single underscores between them.
fn digits_of(text: &str, radix: u32) -> Option<i64> {
    let well_formed =
        text.split('_').all(|group| !group.is_empty() && group.chars().all(|c| c.is_digit(radix)));
    if !well_formed {
        return None;
    }
    i64::from_str_radix(&text.replace('_', ""), radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_reads_what_python_int_reads() {
        for (text, expected) in [
            ("4", Some(4)),
            (" 4 ", Some(4)),
            ("+4", Some(4)),
            ("-4", Some(-4)),
            ("007", Some(7)),
            ("1_000", Some(1000)),
            ("1__0", None),
            ("_1", None),
            ("1_", None),
            ("", None),
            ("-", None),
            ("4.0", None),
            ("0x10", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(decimal(text), expected, "{text:?}");
        }
    }

    #[test]
    fn literal_reads_what_python_int_base_0_reads() {
        for (text, expected) in [
            ("16", Some(16)),
            ("0x10", Some(16)),
            ("0X1F", Some(31)),
            ("0o22", Some(18)),
            ("0b11", Some(3)),
            ("0x_f", Some(15)),
            ("022", None),
            ("00", Some(0)),
            ("-0x10", Some(-16)),
            ("0x", None),
        ] {
            assert_eq!(literal(text), expected, "{text:?}");
        }
    }

    #[test]
    fn mode_reads_leading_zeros_as_octal() {
        for (text, expected) in [
            ("0", Some(0)),
            ("022", Some(18)),
            ("0022", Some(18)),
            ("0x12", Some(18)),
            ("18", Some(18)),
            ("08", None),
        ] {
            assert_eq!(mode(text), expected, "{text:?}");
        }
    }

    #[test]
    fn sizes_take_suffixes() {
        for (text, expected) in [
            ("512", Some(512)),
            ("1k", Some(1024)),
            ("1KiB", Some(1024)),
            (" 2 m", Some(2 << 20)),
            ("2M", Some(2 << 20)),
            ("1g", Some(1 << 30)),
            ("1t", None),
            ("k", None),
            ("9223372036854775807k", None),
        ] {
            assert_eq!(size(text), expected, "{text:?}");
        }
    }

    #[test]
    fn seconds_keep_whole_numbers_whole() {
        let read = |text| seconds(text).map(|number| number.to_string());
        for (text, expected) in [
            ("10", Some("10")),
            ("0.5", Some("0.5")),
            ("0", Some("0")),
            ("-1", None),
            ("-0.5", None),
            ("nan", None),
            ("inf", None),
            ("ten", None),
        ] {
            assert_eq!(read(text).as_deref(), expected, "{text:?}");
        }
    }
}
