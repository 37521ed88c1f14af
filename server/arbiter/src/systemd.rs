//! What systemd and its service share, without its library: sockets that it has opened (`sd_listen_fds(3)`), the service's
//! state (`sd_notify(3)`) and the watchdog. Elsewhere none of the variables is set, and nothing of this happens.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use podicorn_settings::Bind;

/// The first socket that systemd passes.
const FIRST: i32 = 3;

/// What is ours alone: the app and what it starts must not take it for theirs.
pub const OURS: [&str; 5] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID", "WATCHDOG_USEC"];

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "LISTEN_FDS is {0:?}, which is not a number of sockets; systemd sets it with LISTEN_PID, anything else should leave both \
     unset"
)]
pub struct ActivationError(String);

/// The sockets that systemd has opened for this process. As in Gunicorn they are served instead of what `bind` names.
pub fn activated(
    variable: impl Fn(&str) -> Option<String>,
    predecessor: Option<i32>,
) -> Result<Vec<Bind>, ActivationError> {
    let pid = variable("LISTEN_PID");
    if !is_meant_for_us(pid.clone()) && !is_handed_on(pid, predecessor) {
        return Ok(Vec::new());
    }
    let text = variable("LISTEN_FDS").unwrap_or_default();
    let count = text.trim().parse::<u16>().map_err(|_| ActivationError(text))?;
    Ok((FIRST..FIRST + i32::from(count)).map(Bind::Fd).collect())
}

fn is_meant_for_us(pid: Option<String>) -> bool {
    pid.and_then(|pid| pid.trim().parse().ok()) == Some(std::process::id())
}

/// In an upgrade (USR2) they were meant for the server that hands them on.
fn is_handed_on(pid: Option<String>, predecessor: Option<i32>) -> bool {
    predecessor.is_some() && pid.and_then(|pid| pid.trim().parse().ok()) == predecessor
}

/// Tells systemd how we are. Everything is a no-op where it has not asked.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    /// Half of what it gives us between two signs of life, and when the next one is due.
    watchdog: Option<(Duration, Instant)>,
    ready: bool,
    stopping: bool,
}

impl Notifier {
    pub fn new(variable: impl Fn(&str) -> Option<String>, now: Instant) -> Self {
        let socket = variable("NOTIFY_SOCKET").filter(|address| !address.is_empty()).and_then(|address| {
            let connected = connect(&address);
            if let Err(error) = &connected {
                tracing::warn!("Cannot tell systemd how we are: NOTIFY_SOCKET is {address}: {error}");
            }
            connected.ok()
        });
        let for_us = variable("WATCHDOG_PID").is_none_or(|pid| is_meant_for_us(Some(pid)));
        let micros = variable("WATCHDOG_USEC").and_then(|text| text.trim().parse().ok());
        let watchdog = micros
            .filter(|micros| *micros > 0 && for_us && socket.is_some())
            .map(|micros| (Duration::from_micros(micros) / 2, now));
        Self { socket, watchdog, ready: false, stopping: false }
    }

    /// The program before this one has told all there was to tell.
    #[must_use]
    pub fn resume(self) -> Self {
        Self { ready: true, ..self }
    }

    /// A worker serves: for the first time, or again after a reload.
    pub fn ready(&mut self, status: &str) {
        if !self.stopping {
            self.ready = true;
            self.send(&format!("READY=1\nSTATUS={status}"));
        }
    }

    /// The first worker serves.
    pub fn first_ready(&mut self, status: &str) {
        if !self.ready {
            self.ready(status);
        }
    }

    /// [`Self::ready`] follows when the reload is over, however it has ended.
    pub fn reloading(&self) {
        if self.ready && !self.stopping {
            // `Type=notify-reload` goes by the time.
            let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
            self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}\nSTATUS=Reloading", now.as_micros()));
        }
    }

    pub fn stopping(&mut self) {
        if !self.stopping {
            self.stopping = true;
            self.send("STOPPING=1\nSTATUS=Shutting down");
        }
    }

    /// The service is another process from now on.
    pub fn main_process(&self, pid: i32) {
        self.send(&format!("MAINPID={pid}"));
    }

    /// When the next sign of life is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.watchdog.map(|(_, due)| due)
    }

    /// Gives a sign of life, if one is due. Called by the run loop: one that stands still gives none.
    pub fn keep_alive(&mut self, now: Instant) {
        if let Some((interval, due)) = &mut self.watchdog
            && now >= *due
        {
            *due = now + *interval;
            self.send("WATCHDOG=1");
        }
    }

    /// A reader that does not keep up misses messages; it does not hold us up.
    fn send(&self, state: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(state.as_bytes())
        {
            tracing::debug!("Cannot tell systemd {state:?}: {error}");
        }
    }
}

fn connect(address: &str) -> std::io::Result<UnixDatagram> {
    let address = match address.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(address)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables<'a>(pairs: &'a [(&'a str, String)]) -> impl Fn(&str) -> Option<String> + 'a {
        move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone())
    }

    fn own() -> String {
        std::process::id().to_string()
    }

    #[test]
    fn sockets_are_ours_only_if_they_are_meant_for_us() {
        let activated = |pid: &str, count: &str| {
            super::activated(variables(&[("LISTEN_PID", pid.into()), ("LISTEN_FDS", count.into())]), Some(77))
        };
        assert_eq!(activated("77", "1"), Ok(vec![Bind::Fd(3)]), "handed on in an upgrade");
        assert_eq!(activated(&own(), "2"), Ok(vec![Bind::Fd(3), Bind::Fd(4)]));
        assert_eq!(activated(&own(), "0"), Ok(vec![]));
        for pid in ["1", "", "x"] {
            assert_eq!(activated(pid, "2"), Ok(vec![]), "{pid:?}");
        }
        for count in ["", "-1", "two", "70000"] {
            assert_eq!(activated(&own(), count), Err(ActivationError(count.into())));
        }
        assert_eq!(super::activated(|_| None, None), Ok(vec![]));
    }

    fn service(name: &str) -> (UnixDatagram, String) {
        let address = format!("podicorn-test-{name}-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&address).unwrap()).unwrap();
        socket.set_nonblocking(true).unwrap();
        (socket, format!("@{address}"))
    }

    fn heard(socket: &UnixDatagram) -> Option<String> {
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    #[test]
    fn a_life_as_systemd_hears_it() {
        let (socket, address) = service("life");
        let now = Instant::now();
        let mut notifier = Notifier::new(variables(&[("NOTIFY_SOCKET", address)]), now);
        notifier.reloading();
        assert_eq!(heard(&socket), None, "it is not ready yet");
        notifier.first_ready("Serving");
        notifier.first_ready("Serving");
        assert_eq!(heard(&socket).unwrap(), "READY=1\nSTATUS=Serving");
        notifier.reloading();
        assert!(heard(&socket).unwrap().starts_with("RELOADING=1\nMONOTONIC_USEC="));
        notifier.ready("Serving anew");
        assert_eq!(heard(&socket).unwrap(), "READY=1\nSTATUS=Serving anew");
        notifier.stopping();
        notifier.stopping();
        notifier.ready("too late");
        assert_eq!(heard(&socket).unwrap(), "STOPPING=1\nSTATUS=Shutting down");
        notifier.keep_alive(now + Duration::from_secs(100));
        assert_eq!((heard(&socket), notifier.deadline()), (None, None));
    }

    #[test]
    fn the_watchdog_is_fed_twice_in_its_time() {
        let (socket, address) = service("watchdog");
        let now = Instant::now();
        let asked = |pid: String| {
            [("NOTIFY_SOCKET", address.clone()), ("WATCHDOG_USEC", "3000000".into()), ("WATCHDOG_PID", pid)]
        };
        let mut notifier = Notifier::new(variables(&asked(own())), now);
        assert_eq!(notifier.deadline(), Some(now));
        notifier.keep_alive(now);
        notifier.keep_alive(now + Duration::from_secs(1));
        assert_eq!((heard(&socket).as_deref(), heard(&socket)), (Some("WATCHDOG=1"), None));
        assert_eq!(notifier.deadline(), Some(now + Duration::from_millis(1500)));
        notifier.keep_alive(now + Duration::from_secs(2));
        assert_eq!(heard(&socket).as_deref(), Some("WATCHDOG=1"));
        assert_eq!(Notifier::new(variables(&asked("1".into())), now).deadline(), None);
    }

    #[test]
    fn without_systemd_nothing_happens() {
        let now = Instant::now();
        for address in ["", "/nonexistent/notify", "@podicorn-nobody-listens"] {
            let mut notifier = Notifier::new(variables(&[("NOTIFY_SOCKET", address.into())]), now);
            notifier.ready("Serving");
            notifier.keep_alive(now);
            assert_eq!(notifier.deadline(), None);
        }
    }

    #[test]
    fn a_reader_that_sleeps_does_not_hold_us_up() {
        let (_socket, address) = service("asleep");
        let notifier = Notifier::new(variables(&[("NOTIFY_SOCKET", address)]), Instant::now());
        for _ in 0..10_000 {
            notifier.send("STATUS=again");
        }
    }
}
