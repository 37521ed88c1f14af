//! `GET /watch`: the pool as a stream, one snapshot a second, each a line of JSON.
//!
//! However many watch, the run loop is asked once a second, and only while somebody does. A watcher that does not keep up
//! misses snapshots; one that takes nothing for a while loses its place.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use http_body_util::channel::{Channel, Sender};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::ask::status;
use super::{AdminState, Closing, Command, Detail};
use crate::problem::Problem;
use crate::status::Status;

/// One JSON text a line, as `application/json-seq`'s plain relatives have it.
pub(super) const NDJSON: &str = "application/x-ndjson";

const PERIOD: Duration = Duration::from_secs(1);
/// Streams at a time.
pub(super) const PLACES: usize = 16;
/// A client that has taken nothing for so long is not there any more.
const PATIENCE: Duration = Duration::from_secs(20);
/// A stream ends after this time, and its client asks again: with the token that is in force then.
const LONGEST: Duration = Duration::from_secs(900);
/// As far as the page goes; `GET /workers` has more.
const RECENT: usize = 1;

/// All who watch on one server.
#[derive(Debug)]
pub struct Watchers {
    places: Arc<Semaphore>,
    latest: watch::Sender<Option<Bytes>>,
    /// Whether a task takes snapshots.
    looking: Mutex<bool>,
    opened: AtomicU64,
    refused: AtomicU64,
}

/// What has been watched so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// Streams that are open now.
    pub open: u64,
    pub opened: u64,
    /// Because all places were taken.
    pub refused: u64,
}

impl Default for Watchers {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(PLACES)),
            latest: watch::Sender::new(None),
            looking: Mutex::default(),
            opened: AtomicU64::default(),
            refused: AtomicU64::default(),
        }
    }
}

impl Watchers {
    /// So many were seen by the program before this one.
    pub fn resume(before: Watched) -> Self {
        let (opened, refused) = (before.opened.into(), before.refused.into());
        Self { opened, refused, ..Self::default() }
    }

    pub fn watched(&self) -> Watched {
        Watched {
            open: (PLACES - self.places.available_permits().min(PLACES)) as u64,
            opened: self.opened.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    fn place(&self) -> Option<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok();
        let count = if place.is_some() { &self.opened } else { &self.refused };
        count.fetch_add(1, Ordering::Relaxed);
        place
    }

    /// The snapshots from now on. The first who comes starts the looking.
    fn subscribe(&self, state: &AdminState) -> watch::Receiver<Option<Bytes>> {
        let mut looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshots = self.latest.subscribe();
        if !*looking {
            *looking = true;
            tokio::spawn(look(state.clone()));
        }
        snapshots
    }

    /// Whether the looking may end: nobody is left. What was seen last is forgotten, since it would be old for the next.
    fn nobody_left(&self) -> bool {
        let mut looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        if self.latest.receiver_count() > 0 {
            return false;
        }
        *looking = false;
        self.latest.send_replace(None);
        true
    }
}

pub(super) async fn watch(State(state): State<AdminState>) -> Result<Response, Problem> {
    let Some(place) = state.watchers.place() else {
        let full =
            format!("{PLACES} streams are open, which is all there may be. GET /workers always answers.");
        return Err(Problem::blank(StatusCode::SERVICE_UNAVAILABLE, full)
            .with_header(RETRY_AFTER, HeaderValue::from_static("5")));
    };
    let snapshots = state.watchers.subscribe(&state);
    let (sender, body) = Channel::<Bytes, std::io::Error>::new(1);
    tokio::spawn(deliver(snapshots, sender, state.commands, state.closing, place));
    let headers = [
        (CONTENT_TYPE, NDJSON),
        (CACHE_CONTROL, "no-store"),
        // nginx would collect the lines.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::new(body)).into_response())
}

/// Takes a snapshot each second while anybody watches and the run loop is there.
async fn look(state: AdminState) {
    let mut seconds = interval(PERIOD);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = seconds.tick() => {}
            () = state.commands.closed() => {}
        }
        if state.commands.is_closed() || state.watchers.nobody_left() {
            return;
        }
        // A run loop that stands still sends nothing: who watches sees the figures grow old.
        if let Ok(status) = status(&state, Detail::Full).await
            && let Some(line) = line(*status)
        {
            state.watchers.latest.send_replace(Some(line));
        }
    }
}

fn line(mut status: Status) -> Option<Bytes> {
    for worker in &mut status.workers {
        worker.recent_requests.truncate(RECENT);
    }
    let mut line = serde_json::to_vec(&status).ok()?;
    line.push(b'\n');
    Some(line.into())
}

/// One stream, until its client leaves, its time is up or the run loop has ended. Then the body is complete, so that the
/// client can tell an end from a breakdown.
async fn deliver(
    mut snapshots: watch::Receiver<Option<Bytes>>,
    mut body: Sender<Bytes, std::io::Error>,
    commands: mpsc::Sender<Command>,
    closing: Closing,
    _place: OwnedSemaphorePermit,
) {
    let end = Instant::now() + LONGEST;
    loop {
        let newest = snapshots.borrow_and_update().clone();
        if let Some(line) = newest {
            match timeout(PATIENCE, body.send_data(line)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) => {
                    body.abort(std::io::ErrorKind::TimedOut.into());
                    return;
                }
            }
        }
        tokio::select! {
            changed = snapshots.changed() => if changed.is_err() { return },
            () = commands.closed() => return,
            () = closing.begun() => return,
            () = sleep_until(end) => return,
        }
    }
}
