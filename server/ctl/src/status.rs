//! The pool as text: pure.

use std::fmt::Write;

use crate::pool::{Pool, Scale, Worker};

/// What `podicorn ctl status` prints.
pub(crate) fn text(pool: &Pool) -> String {
    let mut text = format!("{}\n", headline(pool));
    for problem in problems(pool) {
        let _ = writeln!(text, "{problem}");
    }
    text += &scale(&pool.scale);
    for listener in &pool.listeners {
        let queue = listener.accept_queue.map_or_else(String::new, |queue| {
            format!(", {} of {} waiting to be accepted", queue.length, queue.limit)
        });
        let _ = writeln!(text, "Listening at {}{queue}", listener.address);
    }
    text.push('\n');
    let rows: Vec<[String; 9]> = pool.workers.iter().map(cells).collect();
    text += &table(&HEADINGS, &rows);
    text
}

pub(crate) fn headline(pool: &Pool) -> String {
    let memory = pool.memory.cgroup.as_ref().map_or_else(String::new, |cgroup| {
        match (cgroup.working_set_bytes, cgroup.limit_bytes) {
            (Some(used), Some(limit)) => format!(", memory {} of {}", mebibytes(used), mebibytes(limit)),
            _ => String::new(),
        }
    });
    format!(
        "podicorn {} (pid {}), {} for {}, generation {}{memory}",
        pool.version,
        pool.pid,
        pool.phase,
        duration(pool.uptime_seconds),
        pool.generation
    )
}

/// What somebody should look at.
pub(crate) fn problems(pool: &Pool) -> Vec<String> {
    let mut problems = Vec::new();
    if pool.boot.consecutive_failures > 0 {
        let why = pool.boot.last_error.as_ref().map_or("", |error| error.message.as_str());
        problems.push(format!("! {} boots failed in a row: {why}", pool.boot.consecutive_failures));
    }
    if let Some(error) = &pool.reloads.last_error {
        problems.push(format!("! The last reload failed, the old generation goes on: {}", error.message));
    }
    if pool.reloads.in_progress {
        problems.push("A reload is under way.".to_owned());
    }
    problems
}

/// What `podicorn ctl scale` prints.
pub(crate) fn scale(scale: &Scale) -> String {
    let Scale { target, min, max, reason, lease, decision, clamped, last_epoch: _ } = scale;
    let mut text = format!("{target} workers wanted, of {min} to {max} (by {reason}");
    if let Some(lease) = lease {
        let _ = write!(text, " for another {}", duration(lease.remaining_seconds));
    }
    text += ")\n";
    if let Some(clamped) = clamped {
        let _ = writeln!(text, "  {clamped}");
    }
    if let Some(decision) = decision {
        let _ = writeln!(text, "  {}", decision.message);
        for veto in &decision.vetoes {
            let _ = writeln!(text, "  No more: {}", veto.message);
        }
    }
    text
}

pub(crate) const HEADINGS: [&str; 9] =
    ["SLOT", "PID", "STATE", "UP", "REQUESTS", "RUNNING", "QUEUED", "MEMORY", "NOW"];

pub(crate) fn cells(worker: &Worker) -> [String; 9] {
    let memory = worker.memory.as_ref().and_then(|memory| memory.pss_bytes.or(memory.rss_bytes));
    [
        worker.slot.to_string(),
        worker.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
        worker.state.clone(),
        duration(worker.uptime_seconds),
        worker.requests.to_string(),
        worker.in_flight.to_string(),
        worker.queued.to_string(),
        memory.map_or_else(|| "-".to_owned(), mebibytes),
        worker.current_request.as_ref().map_or_else(String::new, |request| {
            let path = printable(&request.path);
            format!("{} {path} {}", printable(&request.method), duration(request.seconds))
        }),
    ]
}

/// Columns as wide as their widest cell; the last is not padded.
fn table<const N: usize>(headings: &[&str; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([headings[column].chars().count()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .zip(&widths)
            .map(|(cell, width)| format!("{cell}{}", " ".repeat(width.saturating_sub(cell.chars().count()))))
            .collect();
        padded.join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = line(&mut headings.iter().copied());
    for row in rows {
        text += &line(&mut row.iter().map(String::as_str));
    }
    text
}

/// Clients choose paths: nothing of them may steer a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

pub(crate) fn mebibytes(bytes: u64) -> String {
    let tenths = (u128::from(bytes) * 10) >> 20;
    if tenths >= 1000 {
        format!("{} MiB", tenths / 10)
    } else {
        format!("{}.{} MiB", tenths / 10, tenths % 10)
    }
}

/// Two units at most; a fraction only below ten seconds.
pub(crate) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "?".to_owned();
    }
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    #[expect(clippy::cast_sign_loss, reason = "it is not negative")]
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3600),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample() -> Pool {
        let text = r#"{
            "version": "0.1.0", "pid": 1, "uptimeSeconds": 3725.2, "phase": "running", "generation": 2,
            "scale": {"target": 3, "min": 1, "max": 8, "reason": "lease", "lastEpoch": 7, "clamped": null,
                "lease": {"remainingSeconds": 12.4},
                "decision": {"message": "Work for 1.9.", "vetoes": [{"message": "memory is short"}]}},
            "reloads": {"inProgress": false, "lastError": {"message": "SyntaxError: x"}},
            "boot": {"consecutiveFailures": 0, "lastError": null},
            "memory": {"cgroup": {"limitBytes": 536870912, "workingSetBytes": 99614720}},
            "totals": {"requests": {"1xx": 0, "2xx": 1200, "3xx": 0, "4xx": 4, "5xx": 1}},
            "listeners": [{"address": "http://0.0.0.0:8000", "acceptQueue": {"length": 3, "limit": 2048}}],
            "workers": [
                {"slot": 0, "pid": 17, "generation": 2, "state": "busy", "uptimeSeconds": 61, "requests": 1200,
                 "inFlight": 1, "queued": 2, "busySeconds": 9.5, "memory": {"pssBytes": 20971520, "rssBytes": 1},
                 "currentRequest": {"method": "GET", "path": "/report\u001b[2J", "seconds": 2.25}},
                {"slot": 1, "pid": null, "generation": 2, "state": "starting", "uptimeSeconds": 0.31, "requests": 0,
                 "inFlight": 0, "queued": 0, "busySeconds": 0, "memory": null, "currentRequest": null}
            ]}"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn status_tells_what_matters() {
        let expected = "\
podicorn 0.1.0 (pid 1), running for 1 h 2 min, generation 2, memory 95.0 MiB of 512 MiB
! The last reload failed, the old generation goes on: SyntaxError: x
3 workers wanted, of 1 to 8 (by lease for another 12 s)
  Work for 1.9.
  No more: memory is short
Listening at http://0.0.0.0:8000, 3 of 2048 waiting to be accepted

SLOT  PID  STATE     UP         REQUESTS  RUNNING  QUEUED  MEMORY    NOW
0     17   busy      1 min 1 s  1200      1        2       20.0 MiB  GET /report\u{fffd}[2J 2.2 s
1     -    starting  0.3 s      0         0        0       -
";
        assert_eq!(text(&sample()), expected);
    }

    #[test]
    fn durations() {
        for (seconds, expected) in [
            (0.0, "0.0 s"),
            (9.96, "10 s"),
            (59.7, "1 min 0 s"),
            (86_399.0, "23 h 59 min"),
            (200_000.0, "2 d 7 h"),
            (f64::NAN, "?"),
            (-1.0, "?"),
        ] {
            assert_eq!(duration(seconds), expected);
        }
    }
}
