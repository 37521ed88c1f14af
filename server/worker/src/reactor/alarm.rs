//! A timer in the epoll, for a reactor that is a guest in a loop of others: the loop watches one descriptor and needs no
//! timers for the reactor's deadlines and the heartbeat.

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::ALARM;
use crate::clock::{Nanos, SECOND};
use crate::error::EngineError;

pub(super) struct Alarm {
    timer: TimerFd,
    /// When it rings or has rung.
    at: Nanos,
}

impl Alarm {
    /// It rings for the first time at once.
    pub(super) fn new(epoll: &Epoll) -> Result<Self, EngineError> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer =
            TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).map_err(EngineError::system("timerfd_create"))?;
        // Edge-triggered: nobody has to read it.
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, ALARM);
        epoll.add(&timer, event).map_err(EngineError::system("epoll_ctl"))?;
        let mut alarm = Self { timer, at: 0 };
        alarm.ring_at(1);
        Ok(alarm)
    }

    /// To ring at `due` or earlier. Deadlines mostly move to later, so one that is set already mostly does.
    pub(super) fn set(&mut self, due: Nanos, now: Nanos) {
        let pending = self.at > now;
        if !(pending && self.at <= due) {
            self.ring_at(due.max(now + 1));
        }
    }

    fn ring_at(&mut self, at: Nanos) {
        let (seconds, nanos) = (at / SECOND, at % SECOND);
        let moment =
            TimeSpec::new(seconds.try_into().unwrap_or(libc::time_t::MAX), nanos.try_into().unwrap_or(0));
        // It fails for impossible times only, and then the one that is set stays.
        if self.timer.set(Expiration::OneShot(moment), TimerSetTimeFlags::TFD_TIMER_ABSTIME).is_ok() {
            self.at = at;
        }
    }
}
