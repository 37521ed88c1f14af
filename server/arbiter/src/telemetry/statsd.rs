//! `StatsD`, with Gunicorn's names: `gunicorn.requests`, `gunicorn.request.duration`, `gunicorn.request.status.NNN`,
//! `gunicorn.workers`, `gunicorn.backlog`, `gunicorn.log.LEVEL`; with a prefix, and dogstatsd's tags.
//!
//! Gunicorn's workers send three datagrams for each request. Here the arbiter sends, five times a second, what the
//! scoreboard says: sums are exact. Durations and statuses come from the rings; where a ring has turned over since the
//! last look, the rate says how many requests each of them stands for.
//!
//! Datagrams are never waited for: what the socket does not take is lost, as it may be on the network.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;
use std::io;
use std::net::{ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use crate::status::Logged;

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(200);
/// Between two figures of the backlog, as in Gunicorn.
const BACKLOG_PERIOD: Duration = Duration::from_secs(1);
/// What fits the smallest packets of usual networks.
const DATAGRAM: usize = 1400;

#[derive(Debug, thiserror::Error)]
pub enum StatsdError {
    #[error("statsd_host: {0:?} is neither HOST:PORT nor unix:PATH")]
    Address(String),
    #[error("statsd_host: cannot send to {address}: {source}")]
    Socket { address: String, source: io::Error },
}

/// Where the datagrams go.
#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    /// With the path, since the receiver may begin later than we do.
    Unix(UnixDatagram, String),
}

impl Socket {
    /// Looks the name up: not for the run loop once it runs.
    fn open(address: &str) -> Result<Self, StatsdError> {
        let failed = |source| StatsdError::Socket { address: address.to_owned(), source };
        if let Some(path) = address.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path).to_owned();
            let socket = UnixDatagram::unbound().map_err(failed)?;
            socket.set_nonblocking(true).map_err(failed)?;
            return Ok(Self::Unix(socket, path));
        }
        let is_complete = |(host, port): (&str, &str)| !host.is_empty() && port.parse::<u16>().is_ok();
        if !address.rsplit_once(':').is_some_and(is_complete) {
            return Err(StatsdError::Address(address.to_owned()));
        }
        let target = address.to_socket_addrs().map_err(failed)?.next();
        let target = target.ok_or_else(|| StatsdError::Address(address.to_owned()))?;
        let local = if target.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
        let socket = UdpSocket::bind(local).and_then(|socket| {
            socket.connect(target)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        Ok(Self::Udp(socket.map_err(failed)?))
    }

    fn send(&self, datagram: &[u8]) {
        let _ = match self {
            Self::Udp(socket) => socket.send(datagram),
            Self::Unix(socket, path) => socket.send_to(datagram, path),
        };
    }
}

/// A request that has ended, as a ring shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    pub sequence: u64,
    /// 0: without a response.
    pub status: u16,
    pub duration: Duration,
}

/// One slot's ring.
#[derive(Debug, Clone)]
pub struct RingLook {
    pub slot: u32,
    pub epoch: u32,
    /// The first that is kept.
    pub oldest: u64,
    pub ended: Vec<Ended>,
}

/// What is told of the whole server.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sums {
    /// Requests that have ended.
    pub requests: u64,
    pub workers: u64,
    pub logged: Logged,
    /// Only where it is asked for.
    pub backlog: Option<u64>,
}

/// What of a slot's ring has been told.
#[derive(Debug, Default)]
struct Told {
    epoch: u32,
    sequences: BTreeSet<u64>,
}

#[derive(Debug)]
pub struct Statsd {
    socket: Socket,
    prefix: String,
    /// Behind every metric.
    tags: String,
    due: Instant,
    backlog_due: Instant,
    last: Sums,
    rings: HashMap<u32, Told>,
}

impl Statsd {
    pub fn new(address: &str, prefix: &str, tags: &str, now: Instant) -> Result<Self, StatsdError> {
        let tags = if tags.is_empty() { String::new() } else { format!("|#{tags}") };
        Ok(Self {
            socket: Socket::open(address)?,
            prefix: dotted(prefix),
            tags,
            due: now,
            backlog_due: now,
            last: Sums::default(),
            rings: HashMap::new(),
        })
    }

    /// The program before this one has told all of that.
    pub fn resume(&mut self, told: Sums, rings: &[RingLook]) {
        // The number of workers is a gauge: it may be told again.
        self.last = Sums { workers: 0, ..told };
        self.news(rings);
    }

    pub fn deadline(&self) -> Instant {
        self.due
    }

    /// Whether the backlog is due too.
    pub fn wants_backlog(&self, now: Instant) -> bool {
        now >= self.backlog_due
    }

    /// Sends what has happened since the last time.
    pub fn tell(&mut self, sums: Sums, rings: &[RingLook], now: Instant) {
        self.due = now + PERIOD;
        if sums.backlog.is_some() {
            self.backlog_due = now + BACKLOG_PERIOD;
        }
        for datagram in packed(&self.lines(sums, rings)) {
            self.socket.send(datagram.as_bytes());
        }
    }

    fn lines(&mut self, sums: Sums, rings: &[RingLook]) -> Vec<String> {
        let before = std::mem::replace(&mut self.last, sums);
        let mut lines = Vec::new();
        let ended = self.news(rings);
        let requests = sums.requests.saturating_sub(before.requests);
        let rate = rate(ended.len(), requests);
        if requests > 0 {
            lines.push(self.line("gunicorn.requests", requests, "c", Some(1.0)));
        }
        let mut statuses = BTreeMap::<u16, u64>::new();
        for request in &ended {
            let millis = request.duration.as_secs_f64() * 1e3;
            let sampled = (rate < 1.0).then_some(rate);
            lines.push(self.line("gunicorn.request.duration", format_args!("{millis:.3}"), "ms", sampled));
            if request.status != 0 {
                *statuses.entry(request.status).or_default() += 1;
            }
        }
        for (status, count) in statuses {
            lines.push(self.line(&format!("gunicorn.request.status.{status}"), count, "c", Some(rate)));
        }
        if sums.workers != before.workers {
            lines.push(self.line("gunicorn.workers", sums.workers, "g", None));
        }
        for ((level, count), (_, before)) in sums.logged.by_level().into_iter().zip(before.logged.by_level())
        {
            if count > before {
                lines.push(self.line(&format!("gunicorn.log.{level}"), count - before, "c", Some(1.0)));
            }
        }
        lines.extend(sums.backlog.map(|backlog| self.line("gunicorn.backlog", backlog, "h", None)));
        lines
    }

    /// What has ended since the last look and is still in a ring.
    fn news(&mut self, rings: &[RingLook]) -> Vec<Ended> {
        let mut news = Vec::new();
        self.rings.retain(|slot, _| rings.iter().any(|ring| ring.slot == *slot));
        for ring in rings {
            let told = self.rings.entry(ring.slot).or_default();
            if told.epoch != ring.epoch {
                *told = Told { epoch: ring.epoch, sequences: BTreeSet::new() };
            }
            told.sequences = told.sequences.split_off(&ring.oldest);
            news.extend(ring.ended.iter().filter(|request| told.sequences.insert(request.sequence)));
        }
        news
    }

    fn line(&self, name: &str, value: impl Display, kind: &str, rate: Option<f64>) -> String {
        let rate = rate.map(|rate| format!("|@{rate:?}")).unwrap_or_default();
        format!("{}{name}:{value}|{kind}{rate}{}", self.prefix, self.tags)
    }
}

/// The share of the requests that is shown. The sum is looked at first, so there may be one too many.
#[allow(clippy::cast_precision_loss)] // requests of a fifth of a second
fn rate(shown: usize, all: u64) -> f64 {
    if shown == 0 || shown as u64 >= all { 1.0 } else { shown as f64 / all as f64 }
}

/// As Gunicorn has it: with one full stop behind it, unless it is empty or a single character.
fn dotted(prefix: &str) -> String {
    let bare = prefix.trim_end_matches('.');
    if bare.chars().count() < 2 { prefix.to_owned() } else { format!("{bare}.") }
}

/// Lines put together to datagrams.
fn packed(lines: &[String]) -> Vec<String> {
    let mut datagrams: Vec<String> = Vec::new();
    for line in lines {
        match datagrams.last_mut() {
            Some(last) if last.len() + 1 + line.len() <= DATAGRAM => {
                last.push('\n');
                last.push_str(line);
            }
            _ => datagrams.push(line.clone()),
        }
    }
    datagrams
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statsd(prefix: &str, tags: &str) -> Statsd {
        Statsd::new("127.0.0.1:8125", prefix, tags, Instant::now()).unwrap()
    }

    fn ring(epoch: u32, sequences: std::ops::Range<u64>) -> RingLook {
        let ended = |sequence| Ended { sequence, status: 200, duration: Duration::from_millis(2) };
        RingLook { slot: 0, epoch, oldest: sequences.start, ended: sequences.map(ended).collect() }
    }

    #[test]
    fn names_prefix_and_tags_are_gunicorn_s() {
        let mut statsd = statsd("shop..", "env:prod,zone:a");
        let logged = Logged { error: 2, ..Logged::default() };
        let sums = Sums { requests: 2, workers: 4, logged, backlog: Some(3) };
        assert_eq!(
            statsd.lines(sums, &[ring(1, 0..2)]),
            [
                "shop.gunicorn.requests:2|c|@1.0|#env:prod,zone:a",
                "shop.gunicorn.request.duration:2.000|ms|#env:prod,zone:a",
                "shop.gunicorn.request.duration:2.000|ms|#env:prod,zone:a",
                "shop.gunicorn.request.status.200:2|c|@1.0|#env:prod,zone:a",
                "shop.gunicorn.workers:4|g|#env:prod,zone:a",
                "shop.gunicorn.log.error:2|c|@1.0|#env:prod,zone:a",
                "shop.gunicorn.backlog:3|h|#env:prod,zone:a",
            ]
        );
        assert_eq!(statsd.lines(Sums { backlog: None, ..sums }, &[ring(1, 0..2)]), Vec::<String>::new());
    }

    #[test]
    fn each_request_is_told_once_and_a_ring_that_turned_over_by_its_rate() {
        let mut statsd = statsd("", "");
        let sums = |requests| Sums { requests, ..Sums::default() };
        statsd.lines(sums(2), &[ring(1, 0..2)]);
        let lines = statsd.lines(sums(3), &[ring(1, 0..3)]);
        assert_eq!(lines.iter().filter(|line| line.contains("duration")).count(), 1);
        let lines = statsd.lines(sums(11), &[ring(1, 7..11)]);
        assert_eq!(lines[0], "gunicorn.requests:8|c|@1.0");
        assert_eq!(lines[1], "gunicorn.request.duration:2.000|ms|@0.5");
        assert_eq!(lines[5], "gunicorn.request.status.200:4|c|@0.5");
        // The next worker of the slot counts from the beginning.
        let lines = statsd.lines(sums(12), &[ring(2, 0..1)]);
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn addresses() {
        let now = Instant::now();
        for good in ["localhost:8125", "[::1]:8125", "unix:/tmp/statsd.sock", "unix:///tmp/statsd.sock"] {
            assert!(Statsd::new(good, "", "", now).is_ok(), "{good}");
        }
        for bad in ["", "localhost", ":8125", "localhost:port"] {
            assert!(matches!(Statsd::new(bad, "", "", now), Err(StatsdError::Address(_))), "{bad}");
        }
    }

    #[test]
    fn prefixes() {
        for (given, used) in [("", ""), ("a", "a"), ("shop", "shop."), ("shop.", "shop."), ("a.b", "a.b.")] {
            assert_eq!(dotted(given), used);
        }
    }

    #[test]
    fn datagrams_are_small() {
        let lines = vec!["x".repeat(500); 5];
        let sizes: Vec<usize> = packed(&lines).iter().map(String::len).collect();
        assert_eq!(sizes, [1001, 1001, 500]);
    }
}
