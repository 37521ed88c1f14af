//! What `podicorn ctl top` shows: from two looks at the pool to the figures of one screen. Pure.

use crate::pool::{Pool, Worker};

/// The figures between two looks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rates {
    pub(crate) requests_per_second: f64,
    pub(crate) errors_per_second: f64,
    /// The share of its time that each worker was busy, in the order of the pool; None for one that is new.
    pub(crate) busy: Vec<Option<f64>>,
}

/// `seconds` lie between the two looks.
pub(crate) fn rates(before: &Pool, now: &Pool, seconds: f64) -> Rates {
    let per_second = |before: u64, now: u64| {
        let count = u32::try_from(now.saturating_sub(before)).unwrap_or(u32::MAX);
        if seconds > 0.0 { f64::from(count) / seconds } else { 0.0 }
    };
    let same = |worker: &Worker| {
        before.workers.iter().find(|other| other.slot == worker.slot && other.pid == worker.pid)
    };
    let share = |worker: &Worker| {
        let before = same(worker)?;
        let busy = (worker.busy_seconds - before.busy_seconds) / seconds;
        // Busy time is added when a request has ended; what runs all the time between two looks is busy, too.
        let through = worker.current_request.as_ref().is_some_and(|request| request.seconds >= seconds);
        Some(if through { 1.0 } else { busy.clamp(0.0, 1.0) })
    };
    Rates {
        requests_per_second: per_second(before.totals.requests.total(), now.totals.requests.total()),
        errors_per_second: per_second(before.totals.requests.server_error, now.totals.requests.server_error),
        busy: now.workers.iter().map(|worker| share(worker).filter(|share| share.is_finite())).collect(),
    }
}

/// A bar of `width` cells, in eighths.
pub(crate) fn bar(share: f64, width: usize) -> String {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a screen is narrow, a share is not negative"
    )]
    let eighths = (share.clamp(0.0, 1.0) * (width * 8) as f64).round() as usize;
    let mut bar: String = std::iter::repeat_n('█', eighths / 8).collect();
    if eighths / 8 < width {
        bar.push(EIGHTHS[eighths % 8]);
    }
    let missing = width.saturating_sub(bar.chars().count());
    bar + &" ".repeat(missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::sample;

    #[test]
    fn rates_are_of_the_time_between() {
        let before = sample();
        let mut now = sample();
        now.workers[0].busy_seconds += 0.5;
        now.workers[1].pid = Some(18);
        now.totals =
            serde_json::from_str(r#"{"requests": {"1xx": 0, "2xx": 1300, "3xx": 0, "4xx": 4, "5xx": 3}}"#)
                .unwrap();
        let rates = rates(&before, &now, 4.0);
        assert!((rates.requests_per_second - 25.5).abs() < 1e-9);
        assert!((rates.errors_per_second - 0.5).abs() < 1e-9);
        // The request of 2.25 s began after the first look; the other worker is a new one.
        assert_eq!(rates.busy, [Some(0.125), None]);
    }

    #[test]
    fn one_long_request_is_busy_all_the_time() {
        let pool = sample();
        assert_eq!(rates(&pool, &pool, 1.0).busy[0], Some(1.0));
    }

    #[test]
    fn no_time_between_two_looks_is_no_rate() {
        let pool = sample();
        let rates = rates(&pool, &pool, 0.0);
        assert!(rates.requests_per_second.abs() < f64::EPSILON);
    }

    #[test]
    fn bars_have_their_width() {
        for (share, expected) in
            [(0.0, "    "), (0.5, "██  "), (1.0, "████"), (0.28, "█▏  "), (7.0, "████"), (f64::NAN, "    ")]
        {
            assert_eq!(bar(share, 4), expected, "{share}");
        }
    }
}
