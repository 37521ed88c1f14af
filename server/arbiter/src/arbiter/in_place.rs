//! USR2 as PID 1: the arbiter becomes the program that lies in its file now, with all that it has (`crate::handover`).
//!
//! Step by step, each at the end of a turn of the run loop: wait until nothing is under way that a state cannot hold, try the
//! program, let the admin API give its last answers, write the state, exec. Whatever fails, this program goes on as before.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Arbiter, Ending, Input};
use crate::handover::{self, HandoverError, Luggage, trial::Trial};
use crate::kernel;
use crate::pool::Exit;
use crate::signals;
use crate::upgrade;

/// What a program has to say what it is.
const TRIAL_TIME: Duration = Duration::from_secs(10);
/// For so long nobody is answered by the admin API while a worker is being forked; then it is opened again for a while.
const CLOSED_TIME: Duration = Duration::from_secs(2);
/// What a slow reader of the log and a slow collector of traces have, each.
const FLUSH_TIME: Duration = Duration::from_millis(250);

/// How far an upgrade in place has come.
#[derive(Debug, Default)]
pub(super) enum InPlace {
    #[default]
    Not,
    /// Something is under way. `told`: the log says so.
    Wanted {
        told: bool,
    },
    Trying {
        trial: Trial,
        program: PathBuf,
    },
    /// The program is good.
    Tried {
        program: PathBuf,
        version: String,
    },
    /// The admin API comes to its end.
    Closing {
        program: PathBuf,
        version: String,
        closed: bool,
        until: Instant,
    },
}

impl Arbiter {
    pub(super) fn want_upgrade(&mut self) {
        self.in_place = InPlace::Wanted { told: false };
    }

    pub(super) fn is_being_upgraded(&self) -> bool {
        !matches!(self.in_place, InPlace::Not)
    }

    /// At the end of each turn of the run loop; `idle`: nothing has come in meanwhile.
    pub(super) fn go_on_upgrading(&mut self, idle: bool) {
        if !self.is_being_upgraded() {
            return;
        }
        if self.ending != Ending::Not {
            tracing::info!("There is no upgrade: the server is shutting down");
            return self.leave_upgrade();
        }
        let quiet = idle && self.has_nothing_under_way();
        match std::mem::take(&mut self.in_place) {
            InPlace::Wanted { told } if !quiet => {
                if !told {
                    tracing::info!("The upgrade follows when what is under way (a reload, a boot) is over");
                }
                self.in_place = InPlace::Wanted { told: true };
            }
            InPlace::Wanted { .. } => self.try_program(),
            InPlace::Tried { program, version } if quiet => self.close_admin(program, version),
            InPlace::Closing { program, version, closed: true, until } if quiet => {
                self.become_program(program, version, until);
            }
            InPlace::Closing { until, .. } if Instant::now() >= until => {
                self.reopen_admin();
                self.want_upgrade();
            }
            before => self.in_place = before,
        }
    }

    fn has_nothing_under_way(&self) -> bool {
        let settled =
            |server: &super::Forkserver| server.dismissed || (server.ready && server.client.is_idle());
        self.pool.can_be_saved()
            && self.reload.under_way.is_none()
            && self.unmatched.is_empty()
            && self.stack_waiters.is_empty()
            && self.forkservers.values().all(settled)
    }

    fn try_program(&mut self) {
        let begin = || {
            let program =
                upgrade::program().map_err(HandoverError::system("cannot tell which program this is"))?;
            let Some(state) = self.pack(Vec::new(), &mut Luggage { goes: false })? else { return Ok(None) };
            let trial = Trial::begin(&program, self.origin.directory(), &handover::seal(&state)?)
                .map_err(HandoverError::system("it cannot be run"))?;
            Ok::<_, HandoverError>(Some((trial, program)))
        };
        match begin() {
            Ok(Some((trial, program))) => {
                tracing::info!("Upgrade: trying the program {}", program.display());
                let (pid, inputs) = (trial.pid, self.inputs.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(TRIAL_TIME).await;
                    let _ = inputs.send(Input::TrialOverdue { pid });
                });
                self.in_place = InPlace::Trying { trial, program };
            }
            Ok(None) => self.want_upgrade(),
            Err(error) => self.refuse_upgrade(&error.to_string()),
        }
    }

    /// Its death, which follows, is its answer.
    pub(super) fn trial_is_overdue(&self, pid: i32) {
        if self.is_trial(pid) {
            tracing::error!("The program on trial (pid:{pid}) does not say what it is: killing it");
            let _ = signals::send(pid, libc::SIGKILL);
        }
    }

    pub(super) fn is_trial(&self, pid: i32) -> bool {
        matches!(&self.in_place, InPlace::Trying { trial, .. } if trial.pid == pid)
    }

    pub(super) fn trial_ended(&mut self, exit: Exit) {
        let InPlace::Trying { trial, program } = std::mem::take(&mut self.in_place) else { return };
        match trial.end(exit) {
            Ok(version) => self.in_place = InPlace::Tried { program, version },
            Err(refusal) => self.refuse_upgrade(&refusal.to_string()),
        }
    }

    fn close_admin(&mut self, program: PathBuf, version: String) {
        let inputs = self.inputs.clone();
        match &mut self.admin {
            Some(admin) => admin.close(inputs),
            // For another turn of the loop.
            None => drop(inputs.send(Input::AdminClosed)),
        }
        let until = Instant::now() + CLOSED_TIME;
        self.in_place = InPlace::Closing { program, version, closed: false, until };
    }

    pub(super) fn admin_closed(&mut self) {
        if let InPlace::Closing { closed, .. } = &mut self.in_place {
            *closed = true;
        }
    }

    /// Comes back only if it fails, or not yet.
    fn become_program(&mut self, program: PathBuf, version: String, until: Instant) {
        self.tell_statsd_now(Instant::now());
        self.read_scoreboard();
        if !self.has_nothing_under_way() {
            self.in_place = InPlace::Closing { program, version, closed: true, until };
            return;
        }
        tracing::info!(
            "Upgrading in place: podicorn {} becomes podicorn {version}, with its sockets and {} workers",
            env!("CARGO_PKG_VERSION"),
            self.pool.workers().count()
        );
        self.log.flush(FLUSH_TIME);
        if let Some(traces) = &self.traces {
            traces.finish(FLUSH_TIME);
        }
        signals::hold_back();
        let unheard = signals::take();
        let error = match self.hand_over(&program, unheard.clone()) {
            Ok(never) => match never {},
            Err(error) => error,
        };
        kernel::keep_descriptors_to_ourselves();
        signals::put_back(&unheard);
        signals::let_through();
        let _ = std::env::set_current_dir(&self.settings.chdir);
        if self.traces.is_some() {
            tracing::error!(
                "Traces are not exported any more: their end was part of the upgrade that has failed"
            );
        }
        self.reopen_admin();
        self.refuse_upgrade(&error.to_string());
    }

    fn hand_over(
        &self,
        program: &Path,
        unheard: Vec<(i32, u32)>,
    ) -> Result<std::convert::Infallible, HandoverError> {
        let nothing = || HandoverError::System {
            what: "something has come up",
            source: std::io::Error::from(std::io::ErrorKind::Interrupted),
        };
        let state = self.pack(unheard, &mut Luggage { goes: true })?.ok_or_else(nothing)?;
        handover::execute(program, self.origin.directory(), &state)
    }

    fn reopen_admin(&mut self) {
        if let Some(Err(error)) = self.admin.as_mut().map(super::admin_api::AdminApi::reopen) {
            crate::critical!("The admin API has stopped: {error}");
        }
    }

    fn leave_upgrade(&mut self) {
        if matches!(std::mem::take(&mut self.in_place), InPlace::Closing { .. }) {
            self.reopen_admin();
        }
    }

    fn refuse_upgrade(&mut self, why: &str) {
        self.leave_upgrade();
        let program =
            upgrade::program().map_or_else(|_| "the program".to_owned(), |path| path.display().to_string());
        tracing::error!(
            "USR2: {program} does not take this server's place: {why}. Nothing has changed; install a version that fits, or roll \
             out a new pod"
        );
    }
}
