//! Between figures and counts.

/// A figure that is none (negative, infinite, not a number) counts as zero.
pub(crate) fn sound(value: f64) -> f64 {
    if value.is_finite() { value.max(0.0) } else { 0.0 }
}

/// The nearest count below; what does not fit is cut off.
#[allow(clippy::cast_sign_loss)] // below zero is zero: `as` saturates
pub(crate) fn floor(value: f64) -> u32 {
    value.floor() as u32
}

/// The nearest count above, where the last millionth is taken for a rounding error.
pub(crate) fn ceil(value: f64) -> u32 {
    floor((value - 1e-6).ceil())
}

/// A share for people: 0.7 is "70 %".
pub(crate) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// Bytes for people, in MiB.
#[allow(clippy::cast_precision_loss)] // shown with no digits behind the point
pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20))
}

/// "1 worker", "3 workers".
pub(crate) fn workers(count: u32) -> String {
    if count == 1 { "1 worker".to_owned() } else { format!("{count} workers") }
}
