//! Answers to the admin API, and changes of the worker count from anywhere.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tokio::sync::oneshot;
use tracing::Span;

use super::{Arbiter, Ending};
use crate::admin::{Command, DrainView, Refusal, StackError};
use crate::forkserver::message::Hook;
use crate::pool::Event;
use crate::scale::{ScaleError, ScaleView, StepView};
use crate::stacks;

/// How long a worker has to write its stacks.
const STACK_DEADLINE: Duration = Duration::from_secs(2);

impl Arbiter {
    /// A receiver that has gone away is no concern of ours.
    pub(super) fn on_command(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Livez(reply) => drop(reply.send(())),
            Command::Status(detail, reply) => drop(reply.send(Box::new(self.status(detail)))),
            Command::ScaleView(reply) => drop(reply.send(self.scale_view(now))),
            Command::Scale(request, span, reply) => {
                // What is done now, the start of workers too, is part of the caller's trace.
                let _entered = span.enter();
                let before = self.scale.target();
                let answer = if self.ending == Ending::Not {
                    self.scale.apply(request, now).map(|_| self.scale_view(now))
                } else {
                    Err(ScaleError::Draining)
                };
                match &answer {
                    Ok(view) => record_scale(&span, before, view),
                    Err(error) => record_refusal(&span, error),
                }
                self.apply_target("PUT /scale");
                let _ = reply.send(answer);
            }
            Command::Step(step, span, reply) => {
                let _entered = span.enter();
                if self.ending != Ending::Not {
                    record_refusal(&span, &Refusal::Draining);
                    let _ = reply.send(Err(Refusal::Draining));
                    return;
                }
                let before = self.scale.target();
                let view = self.scale.step(step.delta(), now);
                record_scale(&span, before, &view.scale);
                tracing::info!("{} by the admin API: {}", step.name(), view.message);
                self.apply_target(step.name());
                let _ = reply.send(Ok(StepView { scale: self.scale_view(now), ..view }));
            }
            Command::Reload(span, reply) => drop(reply.send(self.request_reload(Some(span)))),
            Command::Drain(reply) => {
                let already = self.ending != Ending::Not;
                if !already {
                    tracing::info!("Draining was asked for by POST /drain");
                    self.begin_shutdown(true);
                }
                let graceful_timeout_seconds = self.settings.graceful_timeout.as_secs_f64();
                let _ = reply.send(DrainView { already, graceful_timeout_seconds });
            }
            Command::Config(reply) => drop(reply.send(self.config())),
            Command::Stack(slot, reply) => self.ask_for_stacks(slot, reply),
        }
    }

    /// TTIN and TTOU: `delta` is as many as were delivered.
    pub(super) fn step(&mut self, delta: i64) {
        if self.ending == Ending::Not {
            let view = self.scale.step(delta, Instant::now());
            tracing::info!("{}", view.message);
            self.retarget("signal");
        }
    }

    /// As [`Self::apply_target`], for changes that nobody has asked for by the admin API: they are a span of their own.
    pub(super) fn retarget(&mut self, why: &str) {
        let (old, new) = (self.pool.target(), self.wanted());
        if old == new as usize || self.ending != Ending::Not {
            return;
        }
        let span = tracing::info_span!(
            "scale",
            podicorn.scale.target = i64::from(new),
            podicorn.scale.previous = i64::try_from(old).unwrap_or(i64::MAX),
            podicorn.scale.reason = why,
        );
        span.in_scope(|| self.apply_target(why));
    }

    /// Tells the pool and the hooks if the target is another one now.
    fn apply_target(&mut self, why: &str) {
        let (old, new) = (self.pool.target(), self.wanted());
        if old == new as usize || self.ending != Ending::Not {
            return;
        }
        tracing::info!("Workers wanted: {new} instead of {old} ({why})");
        // Whom to retire depends on who is busy now.
        self.read_scoreboard();
        let old = u32::try_from(old).ok();
        self.record_change(old.unwrap_or(u32::MAX), new, why);
        self.run_hook(self.pool.generation(), Hook::WorkersChanged { new, old });
        self.tell_pool(Event::Target(new as usize));
    }

    /// Every setting with its value and source; of the app's environment only the names, since values may be secrets.
    fn config(&self) -> Value {
        let Value::Object(values) = self.settings.to_json() else { return Value::Null };
        let settings: Map<String, Value> = values
            .into_iter()
            .map(|(name, value)| {
                let value = if name == "raw_env" { names_only(value) } else { value };
                let source = self.settings.source_of(&name).to_string();
                (name, json!({ "value": value, "source": source }))
            })
            .collect();
        Value::Object(settings)
    }

    fn ask_for_stacks(&mut self, slot: u32, reply: oneshot::Sender<Result<String, StackError>>) {
        let Some(pid) = self.pool.worker(slot).and_then(|worker| worker.pid) else {
            let _ = reply.send(Err(StackError::NoWorker(slot)));
            return;
        };
        // One dump is for all who wait: a second one would come when nobody does, and go to the log.
        let waiters = self.stack_waiters.entry(slot).or_default();
        waiters.retain(|waiter| !waiter.is_closed());
        let is_asked = !waiters.is_empty();
        let (waiter, answer) = oneshot::channel();
        waiters.push(waiter);
        if !is_asked && let Err(errno) = self.ask_worker(slot, pid) {
            self.stack_waiters.remove(&slot);
            let _ = reply.send(Err(StackError::Failed(format!("cannot signal worker (pid:{pid}): {errno}"))));
            return;
        }
        tokio::spawn(async move {
            let result = match tokio::time::timeout(STACK_DEADLINE, answer).await {
                Ok(Ok(Ok(text))) => Ok(explain(Some(text), pid).await.unwrap_or_default()),
                Ok(Ok(Err(error))) => Err(error),
                Ok(Err(_)) => Err(StackError::NoWorker(slot)),
                Err(_) => explain(None, pid).await.ok_or(StackError::Silent),
            };
            let _ = reply.send(result);
        });
    }
}

/// What an order has come to. Numbers are signed: tracing-opentelemetry makes text of others.
fn record_scale(span: &Span, before: u32, view: &ScaleView) {
    span.record("podicorn.scale.previous", i64::from(before));
    span.record("podicorn.scale.target", i64::from(view.target));
    span.record("podicorn.scale.reason", view.reason.name());
    if let Some(epoch) = view.lease.as_ref().and_then(|lease| i64::try_from(lease.request.epoch).ok()) {
        span.record("podicorn.scale.epoch", epoch);
    }
    if let Some(clamped) = &view.clamped {
        span.record("podicorn.scale.clamped", clamped.as_str());
    }
}

fn record_refusal(span: &Span, error: &dyn std::error::Error) {
    span.record("otel.status_description", error.to_string());
}

async fn explain(dump: Option<String>, pid: i32) -> Option<String> {
    tokio::task::spawn_blocking(move || stacks::explained(dump.as_deref(), pid)).await.ok().flatten()
}

fn names_only(assignments: Value) -> Value {
    let Value::Array(items) = assignments else { return assignments };
    let name = |item: Value| {
        let text = item.as_str().unwrap_or_default();
        Value::from(format!("{}=…", text.split('=').next().unwrap_or_default()))
    };
    items.into_iter().map(name).collect()
}
