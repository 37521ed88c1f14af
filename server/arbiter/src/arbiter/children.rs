//! Deaths: of workers, of fork servers, and of orphans that are nobody's.

use super::workers::{request_text, trace_text};
use super::{Arbiter, Ending, Forkserver};
use crate::forkserver::message::Hook;
use crate::memory::Suspicion;
use crate::pool::{DeathCause, Event, Exit, HangReason, Phase, RetireReason, signal_name};
use crate::reaper;
use crate::status::Victim;

impl Arbiter {
    /// Takes in every child that has ended.
    pub(super) fn reap(&mut self) {
        for (pid, exit) in reaper::reap() {
            self.on_death(pid, exit);
        }
    }

    fn on_death(&mut self, pid: i32, exit: Exit) {
        if let Some(slot) = self.pool.find(pid) {
            self.on_worker_death(slot, pid, exit);
        } else if let Some(server) = self.forkservers.remove(&pid) {
            self.on_forkserver_death(pid, &server, exit);
        } else if self.is_trial(pid) {
            self.trial_ended(exit);
        } else if self.successor() == Some(pid) {
            self.successor_ended(pid, exit);
        } else if self.pool.awaits_pids() {
            // A worker can die before the fork server has told its pid.
            self.unmatched.push((pid, exit));
        } else {
            self.tally.strays += 1;
            if exit == Exit::Signal(libc::SIGKILL) && self.suspect() == Suspicion::Certain {
                let how = self.killed_for_memory(Victim::Stray, pid, None);
                tracing::error!("A process that the app had left behind (pid:{pid}) {how}");
            }
        }
    }

    /// After each fork reply: which of the unknown dead were workers?
    pub(super) fn match_deaths(&mut self) {
        for (pid, exit) in std::mem::take(&mut self.unmatched) {
            self.on_death(pid, exit);
        }
    }

    fn on_worker_death(&mut self, slot: u32, pid: i32, exit: Exit) {
        let Some(worker) = self.pool.worker(slot) else { return };
        let (phase, age) = (worker.phase, worker.age);
        let attendant = self.attendants.get(&slot);
        let generation = attendant.map_or(0, |attendant| attendant.generation);
        let retired = attendant.and_then(|attendant| attendant.retired);
        if let Some(span) = self.attendants.get_mut(&slot).and_then(|attendant| attendant.boot.take()) {
            span.record("podicorn.worker.pid", pid);
            span.record("otel.status_description", exit.to_string());
        }
        self.harvest_last(slot, phase, exit);
        let suspicion = self.suspicion(phase, exit);
        self.log_death(slot, pid, phase, exit, suspicion);
        if retired.is_none() && exit != Exit::Code(0) {
            self.record_death(slot, pid, exit.to_string());
        }
        match (phase, retired) {
            _ if suspicion == Some(Suspicion::Certain) => self.tally.restarts.oom += 1,
            (_, Some(RetireReason::ScaledDown)) => self.tally.restarts.scale += 1,
            (_, Some(RetireReason::Replaced)) => self.tally.restarts.reload += 1,
            (_, Some(RetireReason::MaxRequests)) => self.tally.restarts.max_requests += 1,
            (_, Some(RetireReason::MaxMemory)) => self.tally.restarts.max_memory += 1,
            (_, Some(RetireReason::MemoryPressure)) => self.tally.restarts.memory_pressure += 1,
            // It asked to be replaced and did not wait for it, as Gunicorn's own classes do.
            (Phase::Ready { .. }, None) if exit == Exit::Code(0) && self.has_asked_to_go(slot) => {
                self.tally.restarts.max_requests += 1;
            }
            (Phase::Spawning { .. } | Phase::Booting { .. } | Phase::Ready { .. }, None) => {
                self.tally.restarts.crash += 1;
            }
            _ => {}
        }
        self.run_hook(generation, Hook::ChildExit { pid, age });
        self.tell_pool(Event::Exited { slot, exit });
    }

    /// Its slot says so still.
    fn has_asked_to_go(&self, slot: u32) -> bool {
        self.map.reader(slot).is_ok_and(|reader| reader.read().recycle)
    }

    /// What is to be thought of a SIGKILL that is not ours; `None` for any other end.
    fn suspicion(&mut self, phase: Phase, exit: Exit) -> Option<Suspicion> {
        let ours = matches!(phase, Phase::Killed { .. } | Phase::Aborting { aborted: true, .. });
        (exit == Exit::Signal(libc::SIGKILL) && !ours).then(|| self.suspect())
    }

    fn log_death(&mut self, slot: u32, pid: i32, phase: Phase, exit: Exit, suspicion: Option<Suspicion>) {
        let asked_to_go = matches!(phase, Phase::Stopping { .. } | Phase::Killed { .. });
        let request = self.running_request(slot);
        let trace_id = request.as_ref().and_then(trace_text);
        let serving = request
            .as_ref()
            .map(|entry| format!(", while serving {}", request_text(entry)))
            .unwrap_or_default();
        match exit {
            Exit::Signal(libc::SIGKILL) if suspicion == Some(Suspicion::Certain) => {
                let how = self.killed_for_memory(Victim::Worker, pid, request.as_ref());
                tracing::error!(slot, trace_id, "Worker (pid:{pid}) {how}");
            }
            Exit::Signal(libc::SIGKILL) if suspicion == Some(Suspicion::Unfounded) => {
                tracing::error!(
                    slot,
                    trace_id,
                    "Worker (pid:{pid}) was sent SIGKILL! Not by the kernel for memory: its count of such kills has not moved{serving}"
                );
            }
            Exit::Code(0) if asked_to_go => tracing::debug!(slot, "Worker (pid:{pid}) has exited"),
            Exit::Signal(libc::SIGKILL) if suspicion.is_some() => {
                tracing::error!(
                    slot,
                    trace_id,
                    "Worker (pid:{pid}) was sent SIGKILL! Perhaps out of memory?{serving}"
                );
            }
            Exit::Signal(libc::SIGTERM) => {
                tracing::info!(slot, trace_id, "Worker (pid:{pid}) was sent SIGTERM!{serving}");
            }
            Exit::Code(code) if matches!(phase, Phase::Aborting { .. }) => {
                tracing::info!(slot, "Worker (pid:{pid}) exited with code {code} after ABRT");
            }
            // Gunicorn's words, since people watch their logs for them.
            Exit::Signal(number) => {
                let name = signal_name(number);
                tracing::warn!(slot, trace_id, "Worker (pid:{pid}) was sent {name}!{serving}");
            }
            Exit::Code(0) => tracing::warn!(slot, trace_id, "Worker (pid:{pid}) {exit}{serving}"),
            Exit::Code(_) => tracing::error!(slot, trace_id, "Worker (pid:{pid}) {exit}{serving}."),
        }
        if let Phase::Aborting { reason: HangReason::Boot, .. } = phase {
            tracing::error!(slot, "Worker (pid:{pid}) never became ready");
        }
    }

    fn on_forkserver_death(&mut self, pid: i32, server: &Forkserver, exit: Exit) {
        if let Some(relay) = &server.relay {
            self.log.relay_ended(relay);
        }
        if server.dismissed || self.ending == Ending::Stopping {
            tracing::debug!("The fork server (pid:{pid}) has exited");
            return;
        }
        self.tally.forkserver_deaths += 1;
        let generation = server.generation;
        if exit == Exit::Signal(libc::SIGKILL) && self.suspect() == Suspicion::Certain {
            let how = self.killed_for_memory(Victim::ForkServer, pid, None);
            tracing::error!("The fork server (pid:{pid}) {how}");
        }
        if !server.ready {
            let message = format!("the fork server (pid:{pid}) {exit} while it started");
            tracing::error!("{message}");
            self.generation_failed(generation, DeathCause::Exit(exit), message);
            return;
        }
        tracing::error!("The fork server (pid:{pid}) {exit}; workers go on, another one is started");
        if self.pool.candidate() == Some(generation) {
            self.generation_failed(generation, DeathCause::ForkserverGone, "the fork server died".into());
        } else {
            self.tell_pool(Event::ForkserverDown { generation, failure: None });
        }
    }
}
