//! The reactor's deadlines, where a foreign loop waits for it: a timer descriptor among those that its epoll watches, so
//! that the loop needs no timer of its own for them.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollFlags};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::{ALARM, Reactor};
use crate::clock::{Nanos, SECOND};
use crate::error::EngineError;

/// Set to the earliest time that anybody has asked for. It may go off too early, which costs one turn; it is not set again
/// when a deadline moves away, which would cost a system call per request.
pub(super) struct Alarm {
    timer: TimerFd,
    /// `Nanos::MAX`: it is not set.
    at: Nanos,
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

impl Alarm {
    fn new() -> Result<Self, Errno> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        Ok(Self { timer: TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?, at: Nanos::MAX })
    }

    fn set(&mut self, at: Nanos) {
        // 0 would switch it off.
        let at = at.max(1);
        let seconds = i64::try_from(at / SECOND).unwrap_or(i64::MAX);
        let when = TimeSpec::new(seconds, i64::try_from(at % SECOND).unwrap_or(0));
        // It only refuses times that are none.
        if self.timer.set(Expiration::OneShot(when), TimerSetTimeFlags::TFD_TIMER_ABSTIME).is_ok() {
            self.at = at;
        }
    }
}

impl Reactor {
    /// From now on [`Self::call_at`] makes the reactor's epoll readable in time.
    pub(crate) fn use_alarm(&mut self) -> Result<(), EngineError> {
        if self.alarm.is_none() {
            let alarm = Alarm::new().map_err(EngineError::system("timerfd_create"))?;
            // Edge-triggered, so that nobody has to read it.
            let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
            let event = EpollEvent::new(flags, ALARM);
            self.epoll.add(&alarm, event).map_err(EngineError::system("epoll_ctl"))?;
            self.alarm = Some(alarm);
            self.acceptor.in_foreign_loop = true;
            self.slot.find_peers();
        }
        Ok(())
    }

    /// The alarm has gone off.
    pub(super) fn ring_off(&mut self) {
        if let Some(alarm) = &mut self.alarm {
            alarm.at = Nanos::MAX;
        }
    }

    /// Asks for a turn at the next deadline, by `at_most` at the latest.
    pub(crate) fn call_at(&mut self, at_most: Nanos) {
        let due = [Some(at_most), self.timers.next(), self.acceptor.due(self.table.len())];
        let due = due.into_iter().flatten().min().unwrap_or(at_most);
        if let Some(alarm) = &mut self.alarm
            && due < alarm.at
        {
            alarm.set(due);
        }
    }
}
