//! USR2 and what follows it: a successor is started, workers are stopped by WINCH and brought back by HUP, and a successor
//! becomes the only server when its predecessor has left.

use std::os::fd::AsFd;
use std::sync::Arc;

use podicorn_settings::{Bind, Settings};
use tokio::sync::mpsc;

use super::Arbiter;
use super::admin_api::AdminApi;
use super::generations::{HOOK_DEADLINE, HookDone};
use super::run::RunError;
use super::setup::open_pidfile;
use super::{Ending, Input};
use crate::admin::Command;
use crate::app_metrics::AppMetrics;
use crate::forkserver::message::Hook;
use crate::kernel;
use crate::listeners::Listener;
use crate::pool::Exit;
use crate::upgrade::{self, Predecessor, Start};

/// What is known of servers before and after this one.
#[derive(Debug, Default)]
pub(super) struct Succession {
    /// Until it has left.
    predecessor: Option<i32>,
    /// Until it has ended.
    successor: Option<i32>,
    /// The hook before its start is running.
    preparing: bool,
    /// Workers are stopped: the successor serves alone.
    stopped: bool,
    /// For the admin API, whose address the predecessor has.
    commands: Option<mpsc::Sender<Command>>,
}

impl Succession {
    /// Opens the admin API, unless a predecessor has its address.
    pub(super) fn begin(
        settings: &Settings,
        predecessor: Option<i32>,
        commands: mpsc::Sender<Command>,
        app_metrics: Option<Arc<AppMetrics>>,
    ) -> Result<(Self, Option<AdminApi>), RunError> {
        let Some(pid) = predecessor else {
            return Ok((Self::default(), AdminApi::open(settings, commands, app_metrics)?));
        };
        tracing::info!("This is a second server, beside the one with pid {pid}");
        if settings.admin_bind.is_some() {
            tracing::info!("The admin API is that one's until it leaves");
        }
        Ok((Self { predecessor, commands: Some(commands), ..Self::default() }, None))
    }
}

impl Arbiter {
    /// The workers that there are to be.
    pub(super) fn wanted(&self) -> u32 {
        if self.succession.stopped { 0 } else { self.scale.target() }
    }

    /// USR2.
    pub(super) fn upgrade(&mut self) {
        if self.succession.successor.is_some() || self.succession.preparing {
            tracing::warn!("USR2 signal ignored. Child exists.");
        } else if self.succession.predecessor.is_some() {
            tracing::warn!("USR2 signal ignored. Parent exists.");
        } else if self.is_being_upgraded() {
            tracing::warn!("USR2 signal ignored. An upgrade is under way.");
        } else if self.ending != Ending::Not {
            tracing::warn!("USR2 signal ignored. The server is shutting down.");
        } else {
            self.prepare_successor();
        }
    }

    /// Runs the hook `pre_exec`, then [`Self::start_successor`].
    fn prepare_successor(&mut self) {
        let generation = self.pool.generation();
        let client = self.client_of(generation).map(|(_, client)| client.clone());
        let Some(client) = client.filter(|_| self.hooks(generation, Hook::PreExec.name())) else {
            return self.start_successor(None);
        };
        self.succession.preparing = true;
        let answer = client.request::<HookDone>("hook", Hook::PreExec.body(), Vec::new(), HOOK_DEADLINE);
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            let error = match answer.await {
                Ok(HookDone { error }) => error,
                Err(error) => Some(error.to_string()),
            };
            let _ = inputs.send(Input::Prepared { error });
        });
    }

    pub(super) fn start_successor(&mut self, failure: Option<String>) {
        self.succession.preparing = false;
        if let Some(error) = failure {
            let what = if is_pid_1() { "this program stays" } else { "no second server is started" };
            tracing::error!("Hook pre_exec failed, so that {what}: {error}");
            return;
        }
        if self.ending != Ending::Not {
            return;
        }
        if is_pid_1() {
            // Its container would end with it, so that there cannot be a second one.
            return self.want_upgrade();
        }
        let listeners = self.listeners();
        let (mut sockets, mut numbered) = (Vec::new(), Vec::new());
        for listener in &listeners {
            match listener.bind {
                Bind::Fd(number) => numbered.extend(kernel::borrow_inherited(number)),
                Bind::Tcp { .. } | Bind::Unix { .. } => sockets.push(listener.socket.as_fd()),
            }
        }
        match upgrade::start(&Start { directory: self.origin.directory(), sockets, numbered }) {
            Ok(pid) => {
                tracing::info!(
                    "A second server (pid:{pid}) is being started on the same sockets; end this one (pid:{}) with TERM once that serves, or that one to stay",
                    std::process::id()
                );
                self.succession.successor = Some(pid);
                lend(&listeners, true);
            }
            Err(error) => tracing::error!("Cannot start a second server: {error}"),
        }
    }

    /// WINCH from a process: Gunicorn heeds it only as a daemon, since terminals send it too; those are not heard here.
    pub(super) fn stop_for_successor(&mut self) {
        if self.succession.successor.is_none() {
            tracing::debug!("SIGWINCH ignored: there is no second server (USR2) that would serve instead");
            return;
        }
        if !self.succession.stopped {
            tracing::info!("graceful stop of workers; HUP brings them back");
            self.succession.stopped = true;
            self.retarget("WINCH");
        }
    }

    /// HUP, or nobody else serves.
    pub(super) fn come_back(&mut self, why: &str) {
        if std::mem::take(&mut self.succession.stopped) {
            self.retarget(why);
        }
    }

    /// The pid of the server that USR2 has started, while it lives.
    pub(super) fn successor(&self) -> Option<i32> {
        self.succession.successor
    }

    pub(super) fn successor_ended(&mut self, pid: i32, exit: Exit) {
        self.succession.successor = None;
        tracing::info!("The second server (pid:{pid}) {exit}; this one serves alone again");
        lend(&self.listeners(), false);
        self.come_back("the second server has ended");
    }

    /// At every beat: has the predecessor left?
    pub(super) fn look_for_promotion(&mut self) {
        let Some(pid) = self.succession.predecessor.filter(|pid| Predecessor::has_left(*pid)) else { return };
        self.succession.predecessor = None;
        tracing::info!("Master has been promoted.");
        tracing::debug!("The server before this one (pid:{pid}) has left");
        lend(&self.listeners(), false);
        // Its file went with it; ours had another name.
        self.pidfile = None;
        self.pidfile = open_pidfile(&self.settings, false)
            .map_err(|error| tracing::error!("{error}"))
            .unwrap_or_default();
        if let Some(commands) = self.succession.commands.take() {
            let opened = AdminApi::open(&self.settings, commands, self.shared.app_metrics.clone());
            self.admin = opened.map_err(|error| crate::critical!("{error}")).unwrap_or_default();
        }
        self.systemd.main_process(nix::unistd::getpid().as_raw());
    }
}

fn is_pid_1() -> bool {
    std::process::id() == 1
}

/// While two servers have a socket neither of them may end it.
fn lend(listeners: &[Arc<Listener>], lent: bool) {
    for listener in listeners {
        listener.lend(lent);
    }
}
