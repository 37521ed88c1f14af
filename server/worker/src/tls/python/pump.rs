//! The thread that moves the bytes of all sessions of a worker.
//!
//! It waits without the GIL and takes it for each step. It belongs to the reactor's clients, not to the app: in a child that
//! the app has forked it does not exist, and nobody waits for it there.

use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::sockopt::SndBuf;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair};
use pyo3::prelude::*;

use super::context::PythonTls;
use super::link::Link;
use super::relay::{Life, Relay, STEP, Side, Tools};
use super::session::{Names, Session};
use crate::clock::{MILLISECOND, Nanos, SECOND, monotonic};
use crate::error::EngineError;
use crate::reactor::socket::Socket;
use crate::reactor::wake::Wake;
use crate::tls::session::Failure;

/// epoll's number of the wake-up pipe; relays have two each, from 0 on.
const WAKE: u64 = u64::MAX;
const EVENTS: usize = 256;
/// The send buffers of a pair, as the kernel counts: a client's slowness is to be seen through it.
const PAIR_BUFFER: usize = 64 * 1024;
/// What clients have to take what is left when the worker goes.
const FAREWELL: Nanos = 500 * MILLISECOND;

/// A client that has come.
struct Arrival {
    client: OwnedFd,
    reactor: OwnedFd,
    link: Arc<Link>,
}

struct Shared {
    rules: Arc<PythonTls>,
    /// `stall_timeout`.
    patience: Option<Nanos>,
    epoll: Epoll,
    /// Tells the thread.
    wake: Wake,
    /// Tells the reactor.
    reactor: Arc<Wake>,
    arrivals: Mutex<Vec<Arrival>>,
    /// Clients, arrivals among them.
    count: AtomicUsize,
    /// Somebody waits for the last one to go.
    awaited: AtomicBool,
    /// No more come.
    ending: AtomicBool,
    over: Mutex<bool>,
    ended: Condvar,
}

/// A worker's end of the thread. Dropping it ends the thread.
pub(crate) struct Pump {
    shared: Arc<Shared>,
    /// For the next client: the reactor's end, and ours.
    pair: Mutex<Option<(OwnedFd, OwnedFd)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pump {
    pub(crate) fn start(
        py: Python<'_>,
        rules: Arc<PythonTls>,
        patience: Option<Nanos>,
        reactor: Arc<Wake>,
    ) -> PyResult<Self> {
        let epoll =
            Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(EngineError::system("epoll_create"))?;
        let wake = Wake::new()?;
        epoll
            .add(&wake, EpollEvent::new(EpollFlags::EPOLLIN, WAKE))
            .map_err(EngineError::system("epoll_ctl"))?;
        let names = Names::import(py)?;
        let shared = Arc::new(Shared {
            rules,
            patience,
            epoll,
            wake,
            reactor,
            arrivals: Mutex::default(),
            count: AtomicUsize::new(0),
            awaited: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            over: Mutex::new(false),
            ended: Condvar::new(),
        });
        let thread = Arc::clone(&shared);
        thread::Builder::new()
            .name("podicorn-tls".to_owned())
            .spawn(move || {
                // One thread state for the life of the thread.
                Python::attach(|py| thread.run(py, &names));
                *lock(&thread.over) = true;
                thread.ended.notify_all();
            })
            .map_err(|error| EngineError::System {
                what: "starting the thread of TLS",
                errno: Errno::from_raw(error.raw_os_error().unwrap_or(0)),
            })?;
        Ok(Self { shared, pair: Mutex::default() })
    }

    /// Makes a pair for the next client, so that nobody is taken whom there is none for.
    pub(crate) fn prepare(&self) -> Result<(), Errno> {
        let mut pair = lock(&self.pair);
        if pair.is_none() {
            *pair = Some(new_pair()?);
        }
        Ok(())
    }

    /// What the reactor is to have in a client's place.
    pub(crate) fn admit(&self, client: Socket) -> Result<Socket, Errno> {
        let prepared = lock(&self.pair).take();
        let (theirs, ours) = prepared.map_or_else(new_pair, Ok)?;
        let link = Arc::new(Link::new(client.own_address()));
        let arrival = Arrival { client: client.into_fd(), reactor: ours, link: Arc::clone(&link) };
        self.shared.count.fetch_add(1, Ordering::AcqRel);
        lock(&self.shared.arrivals).push(arrival);
        self.shared.wake.ring();
        Ok(Socket::behind_tls(theirs, link))
    }

    /// Whether all clients have what was sent to them. If not, the reactor is woken when they have.
    pub(crate) fn is_idle(&self) -> bool {
        // First, so that the last one does not go in between.
        self.shared.awaited.store(true, Ordering::SeqCst);
        self.shared.count.load(Ordering::SeqCst) == 0
    }

    /// The reactor has let go of all: waits a moment for what is left. Call it without the GIL.
    pub(crate) fn finish(&self) {
        self.end();
        let over = lock(&self.shared.over);
        // The thread's own patience, and time for a callback of the app's that may be on its way.
        let patience = Duration::from_nanos(2 * FAREWELL);
        let _ = self.shared.ended.wait_timeout_while(over, patience, |over| !*over);
    }

    fn end(&self) {
        self.shared.ending.store(true, Ordering::Release);
        self.shared.wake.ring();
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        // In a child that the app has forked the pipe is the parent's, whose thread looks up and goes on.
        self.end();
    }
}

/// The clients, by the numbers that epoll has for them.
#[derive(Default)]
struct Relays {
    all: Vec<Option<Box<Relay>>>,
    free: Vec<usize>,
    count: usize,
}

impl Relays {
    fn get(&mut self, number: usize) -> Option<&mut Relay> {
        self.all.get_mut(number)?.as_deref_mut()
    }

    fn insert(&mut self, relay: Relay) -> usize {
        let number = self.free.pop().unwrap_or_else(|| {
            self.all.push(None);
            self.all.len() - 1
        });
        self.all[number] = Some(Box::new(relay));
        self.count += 1;
        number
    }

    fn remove(&mut self, number: usize) -> Option<Box<Relay>> {
        let relay = self.all.get_mut(number)?.take()?;
        self.free.push(number);
        self.count -= 1;
        Some(relay)
    }
}

impl Shared {
    fn run(&self, py: Python<'_>, names: &Names) {
        let mut relays = Relays::default();
        let mut events = vec![EpollEvent::empty(); EVENTS];
        let mut scratch = vec![0; STEP];
        // To be driven in the next turn, whatever epoll says.
        let mut due: Vec<usize> = Vec::new();
        let mut end_at: Option<Nanos> = None;
        // When to look who is to be given up; `None`: nobody may be.
        let mut look_at: Option<Nanos> = None;
        loop {
            let next = if due.is_empty() { end_at.or(look_at) } else { Some(0) };
            let patience = patience_until(next);
            let found = py.detach(|| self.epoll.wait(&mut events, patience)).unwrap_or(0);
            let now = monotonic();
            for event in &events[..found] {
                if event.data() == WAKE {
                    self.wake.drain();
                    continue;
                }
                let number = usize::try_from(event.data() / 2).unwrap_or(usize::MAX);
                let side = if event.data() % 2 == 0 { Side::Client } else { Side::Reactor };
                if let Some(relay) = relays.get(number) {
                    relay.note(side, event.events());
                    due.push(number);
                }
            }
            due.extend(self.welcome(py, names, &mut relays));
            due.sort_unstable();
            due.dedup();
            for number in std::mem::take(&mut due) {
                let Some(relay) = relays.get(number) else { continue };
                let (rules, patience) = (&*self.rules, self.patience);
                let mut tools = Tools { names, rules, scratch: &mut scratch, now, patience };
                // A fault of ours costs one client its connection, and not all of them the thread.
                let life =
                    catch_unwind(AssertUnwindSafe(|| relay.drive(py, &mut tools))).unwrap_or(Life::Over);
                if relay.until.is_some() {
                    look_at.get_or_insert(now + SECOND);
                }
                match life {
                    Life::Waits => {}
                    Life::GoesOn => due.push(number),
                    Life::Over => self.forget(relays.remove(number)),
                }
            }
            if look_at.is_some_and(|at| at <= now) {
                look_at = self.give_up(&mut relays, now).then_some(now + SECOND);
            }
            if self.ending.load(Ordering::Acquire) {
                let end_at = *end_at.get_or_insert(now + FAREWELL);
                if relays.count == 0 || now >= end_at {
                    return;
                }
            }
        }
    }

    /// Ends those who have taken nothing for too long; whether there are others that may come to it.
    fn give_up(&self, relays: &mut Relays, now: Nanos) -> bool {
        let mut others = false;
        for number in 0..relays.all.len() {
            match relays.get(number).and_then(|relay| relay.until) {
                Some(until) if until <= now => self.forget(relays.remove(number)),
                until => others |= until.is_some(),
            }
        }
        others
    }

    /// Takes those in who have come; their numbers.
    fn welcome(&self, py: Python<'_>, names: &Names, relays: &mut Relays) -> Vec<usize> {
        let arrivals = std::mem::take(&mut *lock(&self.arrivals));
        let mut numbers = Vec::with_capacity(arrivals.len());
        for Arrival { client, reactor, link } in arrivals {
            let session = match Session::new(py, names, &self.rules) {
                Ok(session) => session,
                // There is no memory: it ends, and the reactor hears of that.
                Err(error) => {
                    link.fail(Failure::Python(error.to_string()));
                    self.forget(None);
                    continue;
                }
            };
            let number = relays.insert(Relay::new(client, reactor, link, session));
            let flags =
                EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
            let watched = relays.get(number).is_some_and(|relay| {
                let word = number as u64 * 2;
                let client = self.epoll.add(relay.socket(Side::Client), EpollEvent::new(flags, word));
                client.is_ok()
                    && self.epoll.add(relay.socket(Side::Reactor), EpollEvent::new(flags, word + 1)).is_ok()
            });
            if watched {
                numbers.push(number);
            } else {
                self.forget(relays.remove(number));
            }
        }
        numbers
    }

    /// A client has gone.
    fn forget(&self, relay: Option<Box<Relay>>) {
        drop(relay);
        if self.count.fetch_sub(1, Ordering::SeqCst) == 1 && self.awaited.load(Ordering::SeqCst) {
            self.reactor.ring();
        }
    }
}

fn new_pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let (theirs, ours) = socketpair(AddressFamily::Unix, SockType::Stream, None, flags)?;
    setsockopt(&theirs, SndBuf, &PAIR_BUFFER)?;
    setsockopt(&ours, SndBuf, &PAIR_BUFFER)?;
    Ok((theirs, ours))
}

/// For a wait; `None`: nothing is due.
fn patience_until(due: Option<Nanos>) -> EpollTimeout {
    let Some(due) = due else { return EpollTimeout::NONE };
    let milliseconds = due.saturating_sub(monotonic()).div_ceil(MILLISECOND);
    EpollTimeout::from(u16::try_from(milliseconds).unwrap_or(u16::MAX))
}
