//! Pressure stall information: the share of time in which work waited for a resource.

use std::path::Path;

/// Of one resource.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    /// At least one task waited.
    pub some: Stall,
    /// All of them did.
    pub full: Stall,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Stall {
    /// Percent of the last ten seconds.
    pub percent_of_10s: f64,
    /// Since the group began.
    pub total_seconds: f64,
}

/// A file such as `memory.pressure`. None where the kernel has it turned off: reading then fails.
pub(super) fn read(file: &Path) -> Option<Pressure> {
    parse(&std::fs::read_to_string(file).ok()?)
}

fn parse(text: &str) -> Option<Pressure> {
    let stall = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        let value = |key: &str| line.split(' ').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
        let micros: f64 = value("total")?.parse().ok()?;
        Some(Stall { percent_of_10s: value("avg10")?.parse().ok()?, total_seconds: micros / 1e6 })
    };
    // Kernels before 5.13 have no line `full` for the CPU.
    Some(Pressure { some: stall("some")?, full: stall("full").unwrap_or_default() })
}
