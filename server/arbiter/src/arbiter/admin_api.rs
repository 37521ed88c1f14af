//! The admin API as the run loop has it: opened at the start, closed and opened again around an upgrade in place.

use std::sync::Arc;
use std::time::Duration;

use podicorn_settings::Settings;
use tokio::sync::mpsc;

use super::Input;
use super::run::RunError;
use crate::admin::{
    self, Access, AdminListener, AdminState, BindAddress, Closing, Command, Spare, Watched, Watchers,
};
use crate::app_metrics::AppMetrics;
use crate::token::TokenFile;

/// What those who are being answered have, once the API closes.
const LAST_ANSWERS: Duration = Duration::from_millis(300);

#[derive(Debug)]
pub(super) struct AdminApi {
    state: AdminState,
    /// The socket is open for as long as this is here.
    pub(super) spare: Spare,
    task: tokio::task::JoinHandle<()>,
}

impl AdminApi {
    /// `None` where the settings want none.
    pub(super) fn open(
        settings: &Settings,
        commands: mpsc::Sender<Command>,
        app_metrics: Option<Arc<AppMetrics>>,
    ) -> Result<Option<Self>, RunError> {
        let Some(bind) = &settings.admin_bind else { return Ok(None) };
        let listener = AdminListener::bind(&BindAddress::parse(&bind.to_string())?)?;
        Self::begin(settings, listener, commands, app_metrics, Watched::default()).map(Some)
    }

    /// On the socket of the program before this one.
    pub(super) fn resume(
        settings: &Settings,
        spare: Spare,
        commands: mpsc::Sender<Command>,
        app_metrics: Option<Arc<AppMetrics>>,
        before: Watched,
    ) -> Result<Self, RunError> {
        Self::begin(settings, spare.listener(), commands, app_metrics, before)
    }

    fn begin(
        settings: &Settings,
        listener: AdminListener,
        commands: mpsc::Sender<Command>,
        app_metrics: Option<Arc<AppMetrics>>,
        before: Watched,
    ) -> Result<Self, RunError> {
        let token =
            settings.admin_token_file.as_ref().map(TokenFile::open).transpose()?.map(admin::TokenGate::new);
        let access = listener
            .tcp_address()
            .map_or(Access::Trusted, |address| Access::for_tcp(address, token.as_ref()));
        tracing::info!("Admin API at {}: {}", listener.address()?, access.note());
        let spare = listener.spare()?;
        let watchers = Arc::new(Watchers::resume(before));
        let state = AdminState { app_metrics, watchers, ..AdminState::new(commands, access) };
        let task = serve(listener, state.clone());
        Ok(Self { state, spare, task })
    }

    pub(super) fn watched(&self) -> Watched {
        self.state.watchers.watched()
    }

    /// Nobody new is taken; [`Input::AdminClosed`] comes when the last one has been answered or has had its time.
    pub(super) fn close(&mut self, inputs: mpsc::UnboundedSender<Input>) {
        self.state.closing.begin();
        let aborting = self.task.abort_handle();
        let task = std::mem::replace(&mut self.task, tokio::spawn(std::future::ready(())));
        tokio::spawn(async move {
            if tokio::time::timeout(LAST_ANSWERS, task).await.is_err() {
                aborting.abort();
            }
            let _ = inputs.send(Input::AdminClosed);
        });
    }

    /// As if it had not been closed.
    pub(super) fn reopen(&mut self) -> std::io::Result<()> {
        self.state.closing = Closing::default();
        self.task = serve(self.spare.try_clone()?.listener(), self.state.clone());
        Ok(())
    }
}

fn serve(listener: AdminListener, state: AdminState) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        if let Err(error) = admin::serve(listener, state).await {
            crate::critical!("The admin API has stopped: {error}");
        }
    })
}
