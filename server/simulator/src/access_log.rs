//! A user's access log as a trace.
//!
//! Lines of two kinds, which may be mixed:
//! - Gunicorn's combined format with the duration as the last field, `%(D)s` (microseconds) or `%(L)s` (seconds, with a
//!   point): `--access-logformat '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s" %(L)s'`;
//! - Podicorn's JSON lines, by their `time` and `duration_us`.
//!
//! Both are written when a request ends, so it came so much earlier. `%(t)s` has no fractions of a second: there the
//! request came at some moment of it, at random but the same for the same seed.

use std::path::PathBuf;

use jiff::Timestamp;
use jiff::fmt::strtime;

use crate::random::Random;
use crate::trace::{Request, SECOND, Trace, micros};

/// Why a log cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}:{line}: {problem}", path.display())]
    Line { path: PathBuf, line: usize, problem: String },
    #[error("{} has no requests", .0.display())]
    Empty(PathBuf),
    #[error("{} spans more than {MOST_DAYS} days, from {first} to {last}: cut out what is to be replayed", path.display())]
    TooLong { path: PathBuf, first: Timestamp, last: Timestamp },
}

/// Virtual time is quick, but not that quick.
const MOST_DAYS: i64 = 31;

#[derive(serde::Deserialize)]
struct JsonLine {
    time: Option<String>,
    duration_us: Option<u64>,
    /// Present in the other lines of a mixed log.
    logger: Option<String>,
}

/// When a request ended, in microseconds since 1970, and how long it took.
struct Ended {
    at: i64,
    /// `at` is a whole second.
    coarse: bool,
    duration: u64,
}

/// Reads the log; `text` is its content and `path` its name for messages.
pub fn read(path: &std::path::Path, text: &str, seed: u64) -> Result<Trace, LogError> {
    let mut random = Random::new(seed, 200);
    let mut began = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let ended = if line.starts_with('{') { json(line) } else { combined(line).map(Some) };
        let ended =
            ended.map_err(|problem| LogError::Line { path: path.into(), line: number + 1, problem })?;
        let Some(Ended { at, coarse, duration }) = ended else { continue };
        #[allow(clippy::cast_possible_wrap)] // less than a second
        let at = if coarse { at + micros(random.uniform()).min(SECOND - 1) as i64 } else { at };
        began.push((at.saturating_sub_unsigned(duration), duration.max(1)));
    }
    began.sort_unstable();
    let (Some(first), Some(last)) = (began.first(), began.last()) else {
        return Err(LogError::Empty(path.into()));
    };
    if last.0.saturating_sub(first.0) > MOST_DAYS * 86_400 * 1_000_000 {
        let time = |micros| Timestamp::from_microsecond(micros).unwrap_or_default();
        return Err(LogError::TooLong { path: path.into(), first: time(first.0), last: time(last.0) });
    }
    let start = first.0;
    let requests: Vec<Request> =
        began.iter().map(|(at, service)| Request { at: at.abs_diff(start), service: *service }).collect();
    let name = path.file_name().map_or_else(|| "log".to_owned(), |name| name.to_string_lossy().into_owned());
    let about = format!("{} requests of {}", requests.len(), path.display());
    Ok(Trace { name, about, requests })
}

fn json(line: &str) -> Result<Option<Ended>, String> {
    let line: JsonLine = serde_json::from_str(line).map_err(|error| format!("not JSON: {error}"))?;
    if line.duration_us.is_none() && line.logger.is_some_and(|logger| logger != "gunicorn.access") {
        return Ok(None);
    }
    let time = line.time.ok_or("the member \"time\" is missing")?;
    let at = time.parse::<Timestamp>().map_err(|error| format!("the member \"time\": {error}"))?;
    let duration = line.duration_us.ok_or("the member \"duration_us\" is missing")?;
    Ok(Some(Ended { at: at.as_microsecond(), coarse: false, duration }))
}

fn combined(line: &str) -> Result<Ended, String> {
    let (_, rest) = line.split_once('[').ok_or("no time in brackets, as in [24/Nov/2026:16:40:08 +0000]")?;
    let (time, rest) = rest.split_once(']').ok_or("the bracket of the time is not closed")?;
    let at = strtime::parse("%d/%b/%Y:%H:%M:%S %z", time)
        .and_then(|parsed| parsed.to_timestamp())
        .map_err(|error| format!("the time [{time}] is not as in [24/Nov/2026:16:40:08 +0000]: {error}"))?;
    let last = rest.rsplit(' ').next().unwrap_or_default();
    let duration = duration(last).ok_or_else(|| {
        format!(
            "the last field, {last:?}, is no duration: it must be %(D)s (microseconds, as 41200) or %(L)s (seconds, as \
             0.041200)"
        )
    })?;
    Ok(Ended { at: at.as_microsecond(), coarse: true, duration })
}

/// A number with a point is seconds, one without is microseconds.
fn duration(field: &str) -> Option<u64> {
    if !field.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    match field.split_once('.') {
        Some((whole, fraction)) if !whole.is_empty() && !fraction.is_empty() => {
            field.parse().ok().filter(|seconds: &f64| *seconds < 1e9).map(micros)
        }
        Some(_) => None,
        None => field.parse().ok().filter(|micros| *micros < 1_000_000_000_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const COMBINED: &str =
        r#"10.0.0.1 - - [24/Nov/2026:16:40:08 +0000] "GET /a HTTP/1.1" 200 12 "-" "curl/8""#;

    fn log(text: &str) -> Result<Trace, LogError> {
        read(Path::new("access.log"), text, 1)
    }

    #[test]
    fn both_durations_and_json_are_read() {
        let text = format!(
            "{COMBINED} 41200\n\n{COMBINED} 0.041200\n{{\"time\":\"2026-11-24T16:40:08.500000Z\",\"logger\":\"gunicorn.access\",\"duration_us\":2500000}}\n\
             {{\"time\":\"2026-11-24T16:40:08.5Z\",\"logger\":\"gunicorn.error\",\"message\":\"hello\"}}\n"
        );
        let trace = log(&text).unwrap();
        assert_eq!(trace.requests.len(), 3);
        // The last in the log came first: it took 2.5 s.
        assert_eq!(trace.requests[0], Request { at: 0, service: 2_500_000 });
        assert!(trace.requests[1..].iter().all(|request| request.service == 41_200));
        assert!(
            trace.requests[1..].iter().all(|request| (1_900_000..3_000_000).contains(&request.at)),
            "{trace:?}"
        );
        assert_eq!(trace, log(&text).unwrap());
    }

    #[test]
    fn errors_name_the_line_and_what_is_wanted() {
        for (text, line, words) in [
            (format!("{COMBINED} 5\n{COMBINED}"), 2, "is no duration"),
            (format!("{COMBINED} -"), 1, "is no duration"),
            (format!("{COMBINED} 1.2.3"), 1, "is no duration"),
            (format!("{COMBINED} .5"), 1, "is no duration"),
            ("hello".to_owned(), 1, "no time in brackets"),
            ("\n\n- [24/Nov/2026:16:40:08 +0000".to_owned(), 3, "not closed"),
            ("- [yesterday] 5".to_owned(), 1, "[yesterday]"),
            ("{\"time\":5}".to_owned(), 1, "not JSON"),
            ("{\"duration_us\":5}".to_owned(), 1, "\"time\" is missing"),
            ("{\"time\":\"2026-11-24T16:40:08Z\"}".to_owned(), 1, "\"duration_us\" is missing"),
        ] {
            let message = log(&text).unwrap_err().to_string();
            assert!(
                message.starts_with(&format!("access.log:{line}: ")) && message.contains(words),
                "{message}"
            );
        }
        assert!(log(" \n").unwrap_err().to_string().contains("no requests"));
        let years = format!("{COMBINED} 5\n{} 5", COMBINED.replace("2026", "2020"));
        assert!(log(&years).unwrap_err().to_string().contains("cut out"));
    }
}
