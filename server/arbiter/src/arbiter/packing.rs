//! What the arbiter hands over to the program that takes its place.

use std::sync::Arc;

use podicorn_scoreboard::layout;

use super::{Arbiter, Attendant, Forkserver};
use crate::handover::{self, FORMAT, HandoverError, Luggage, State};
use crate::listeners::Listener;
use crate::moment::{Clock, unix_nanos};
use crate::stacks::StackReader;
use crate::telemetry::log_counts;
use crate::telemetry::traces::Traces;
use crate::{kernel, title};

impl Arbiter {
    /// `None` where something is under way that a state cannot hold.
    pub(super) fn pack(
        &self,
        signals: Vec<(i32, u32)>,
        luggage: &mut Luggage,
    ) -> Result<Option<State>, HandoverError> {
        let clock = Clock::now();
        let Some(pool) = self.pool.save(&clock) else { return Ok(None) };
        let (listeners, generations) = self.pack_generations(luggage)?;
        let fork_servers =
            self.forkservers.iter().map(|(pid, server)| pack_fork_server(*pid, server, luggage));
        let fork_servers = fork_servers.collect::<Result<_, _>>()?;
        let attendants = self.attendants.iter();
        let attendants =
            attendants.map(|(slot, attendant)| self.pack_attendant(*slot, attendant, luggage, &clock));
        let attendants = attendants.collect::<Result<_, _>>()?;
        let admin = self.admin.as_ref().map(|admin| {
            Ok::<_, HandoverError>(handover::Admin {
                socket: luggage.pack(&admin.spare.socket)?,
                file: admin.spare.file.clone(),
                watched: admin.watched(),
            })
        });
        let app_metrics =
            self.shared.app_metrics.as_ref().and_then(|metrics| metrics.place()).map(|(path, lock)| {
                Ok::<_, HandoverError>(handover::Directory {
                    path: path.to_owned(),
                    lock: luggage.pack(lock)?,
                })
            });
        Ok(Some(State {
            format: FORMAT,
            scoreboard: layout::VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            arguments: title::arguments().to_vec(),
            signals,
            started: clock.stamp(self.started),
            started_at: unix_nanos(self.started_at),
            interpreter: handover::Interpreter {
                program: self.python.program.clone(),
                arguments: self.python.arguments.clone(),
            },
            descriptors: handover::Descriptors {
                scoreboard: luggage.pack(&self.shared.memfd)?,
                doorbell: luggage.pack(&self.shared.doorbell)?,
                nudge: luggage.pack(&self.shared.nudge)?,
            },
            listeners,
            generations,
            newest_generation: self.newest_generation,
            fork_servers,
            admin: admin.transpose()?,
            pidfile: self.pidfile.as_ref().map(|file| file.path().to_owned()),
            app_metrics: app_metrics.transpose()?,
            pool,
            attendants,
            scale: self.scale.save(&clock),
            ledger: self.ledger.clone(),
            memory: self.memory.save(),
            autoscale: self.autoscale.save(),
            reloads: handover::Reloads {
                total: self.reload.total,
                failed: self.reload.failed,
                last_error: self.reload.last_error.clone(),
            },
            tally: self.pack_tally(),
            logged: log_counts::so_far(),
            log_lines_dropped: self.log.dropped(),
            traces: self.traces.as_ref().map(Traces::exported),
        }))
    }

    fn pack_tally(&self) -> handover::Tally {
        let restarts = self.tally.restarts.by_reason().into_iter();
        handover::Tally {
            restarts: restarts.map(|(reason, count)| (reason.to_owned(), count)).collect(),
            strays: self.tally.strays,
            forkserver_starts: self.tally.forkserver_starts,
            forkserver_deaths: self.tally.forkserver_deaths,
            last_boot_error: self.tally.last_boot_error.clone(),
            deaths: self.tally.deaths.clone(),
            changes: self.tally.changes.clone(),
        }
    }

    /// Generations share the sockets that a reload has kept.
    fn pack_generations(
        &self,
        luggage: &mut Luggage,
    ) -> Result<(Vec<handover::Listener>, Vec<handover::Generation>), HandoverError> {
        let mut all: Vec<&Arc<Listener>> = Vec::new();
        let mut generations = Vec::new();
        for (number, blueprint) in &self.blueprints {
            let mut places = Vec::new();
            for listener in &blueprint.listeners {
                let place = all.iter().position(|known| Arc::ptr_eq(known, listener)).unwrap_or(all.len());
                if place == all.len() {
                    all.push(listener);
                }
                places.push(place);
            }
            let configured = (*blueprint.configured).clone();
            generations.push(handover::Generation { number: *number, configured, listeners: places });
        }
        let listeners = all.into_iter().map(|listener| {
            if let Some(number) = listener.inherited().and_then(kernel::borrow_inherited) {
                luggage.pack(number)?;
            }
            Ok(handover::Listener {
                bind: listener.bind.to_string(),
                socket: luggage.pack(&listener.socket)?,
                secure: listener.is_secure(),
                file: listener.file(),
            })
        });
        Ok((listeners.collect::<Result<_, HandoverError>>()?, generations))
    }

    fn pack_attendant(
        &self,
        slot: u32,
        attendant: &Attendant,
        luggage: &mut Luggage,
        clock: &Clock,
    ) -> Result<handover::Attendant, HandoverError> {
        let stacks = attendant.stacks.as_ref().and_then(StackReader::pipe);
        Ok(handover::Attendant {
            slot,
            generation: attendant.generation,
            retired: attendant.retired,
            observed: clock.stamp(attendant.observed),
            timed_out: attendant.timed_out,
            slow_told: attendant.slow_told.map(|(from, _)| from),
            stacks: stacks.map(|pipe| luggage.pack(pipe.get_ref())).transpose()?,
            ring: self.harvesting.place(slot),
        })
    }
}

fn pack_fork_server(
    pid: i32,
    server: &Forkserver,
    luggage: &mut Luggage,
) -> Result<handover::ForkServer, HandoverError> {
    let relay = server.relay.as_ref().map(|relay| {
        let [ours, theirs] = relay.ends();
        Ok::<_, HandoverError>([luggage.pack(ours)?, luggage.pack(theirs)?])
    });
    let (control, stacks) = (server.client.socket(), server.stacks.as_ref().and_then(StackReader::pipe));
    Ok(handover::ForkServer {
        pid,
        generation: server.generation,
        control: control.map(|socket| luggage.pack(socket.get_ref())).transpose()?,
        stacks: stacks.map(|pipe| luggage.pack(pipe.get_ref())).transpose()?,
        relay: relay.transpose()?,
    })
}
