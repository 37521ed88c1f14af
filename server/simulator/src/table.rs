//! The comparison as text or Markdown.

use std::fmt::Write as _;

use crate::compare::{Comparison, Outcome};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    Markdown,
}

const HEAD: [&str; 9] =
    ["policy", "worker-seconds", "wait mean", "p95", "p99", "too late", "rejected", "reversals", "peak"];

/// One table for each trace.
pub fn table(comparisons: &[Comparison], format: Format) -> String {
    let mut text = String::new();
    for comparison in comparisons {
        if !text.is_empty() {
            text.push('\n');
        }
        let Comparison { trace, about, requests, busy_seconds, outcomes } = comparison;
        let title = match format {
            Format::Text => trace.clone(),
            Format::Markdown => format!("**{trace}**"),
        };
        // Writing into a String cannot fail.
        let _ = writeln!(
            text,
            "{title}: {about}; {requests} requests that take {busy_seconds:.0} s of workers.\n"
        );
        let rows: Vec<[String; HEAD.len()]> = outcomes.iter().map(row).collect();
        match format {
            Format::Text => plain(&mut text, &rows),
            Format::Markdown => markdown(&mut text, &rows),
        }
    }
    text
}

fn row(outcome: &Outcome) -> [String; HEAD.len()] {
    [
        outcome.policy.clone(),
        format!("{:.0}", outcome.worker_seconds),
        wait(outcome.mean_wait),
        wait(outcome.p95_wait),
        wait(outcome.p99_wait),
        format!("{:.2} %", outcome.violations * 100.0),
        outcome.rejected.to_string(),
        outcome.reversals.to_string(),
        outcome.peak.to_string(),
    ]
}

fn wait(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1000.0) } else { format!("{seconds:.1} s") }
}

fn plain(text: &mut String, rows: &[[String; HEAD.len()]]) {
    let widths: Vec<usize> = (0..HEAD.len())
        .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0).max(HEAD[column].len()))
        .collect();
    let mut line = |cells: &[&str]| {
        for (column, cell) in cells.iter().enumerate() {
            let width = widths[column];
            let _ =
                if column == 0 { write!(text, "  {cell:width$}") } else { write!(text, "  {cell:>width$}") };
        }
        text.push('\n');
    };
    line(&HEAD);
    for row in rows {
        line(&row.each_ref().map(String::as_str));
    }
}

fn markdown(text: &mut String, rows: &[[String; HEAD.len()]]) {
    let _ = writeln!(text, "| {} |", HEAD.join(" | "));
    let _ = writeln!(text, "|---|{}", "---:|".repeat(HEAD.len() - 1));
    for row in rows {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
}
