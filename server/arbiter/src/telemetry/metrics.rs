//! `/metrics`: a snapshot of the pool as OpenMetrics text.
//!
//! Counters are sums over all workers, dead ones included. A worker appears by its slot and never by its pid: slots
//! are few and come again. Values that came out of the shared map are kept finite and their sums from overflowing,
//! because a worker can write anything there.

use std::fmt;
use std::time::UNIX_EPOCH;

use podicorn_policy::VetoKind;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit};

use crate::admin::Watched;
use crate::status::{
    ForkServerState, Histogram, Phase, ProcessMemory, Stalls, Status, WorkerState, WorkerStatus,
};
use crate::telemetry::traces::Exported;

/// The whole exposition, its end mark included.
pub fn render(status: &Status, watched: Watched) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("podicorn");
    registry.register_collector(Box::new(Snapshot(status.clone(), watched)));
    let mut text = String::with_capacity(16 * 1024);
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Snapshot(Status, Watched);

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families(encoder);
        arbiter(&mut families, &self.0)?;
        scale(&mut families, &self.0)?;
        supervision(&mut families, &self.0)?;
        memory(&mut families, &self.0)?;
        requests(&mut families, &self.0)?;
        families.counters(
            "log_records",
            "Records of the error log by level; those with an exception of the app apart",
            self.0.totals.logged.by_level().map(|(level, count)| ([("level", level)], count)),
        )?;
        python(&mut families, &self.0)?;
        workers(&mut families, &self.0.workers)?;
        accept_queues(&mut families, &self.0)?;
        watchers(&mut families, self.1)?;
        self.0.traces.map_or(Ok(()), |exported| traces(&mut families, exported))
    }
}

fn arbiter(families: &mut Families<'_>, status: &Status) -> fmt::Result {
    families.info("build", "What runs", &[("version", status.version)])?;
    let started = status.started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    families.seconds("start_time", "When the arbiter started, in Unix time", started.as_secs_f64())?;
    families.gauges(
        "phase",
        "1 for the phase that the server is in",
        Phase::ALL.map(|phase| ([("phase", phase.name())], u64::from(status.phase == phase))),
    )?;
    families.gauge("startup_done", "1 once a worker has been ready", u64::from(status.startup_done))?;
    families.gauge(
        "generation",
        "The generation that new workers belong to",
        u64::from(status.generation),
    )?;
    families.counter("reloads", "Reloads begun", status.reloads.total)?;
    families.counter(
        "reload_failures",
        "Reloads after which the old generation went on",
        status.reloads.failed,
    )?;
    families.counters(
        "log_lines_dropped",
        "Log lines dropped because the reader did not keep up",
        [
            ([("log", "error")], status.log_lines_dropped),
            ([("log", "access")], status.totals.access_log_lines_dropped),
        ],
    )
}

fn watchers(families: &mut Families<'_>, watched: Watched) -> fmt::Result {
    families.gauge("watch_streams", "Streams of GET /watch that are open", watched.open)?;
    families.counter("watch_streams_opened", "Streams of GET /watch so far", watched.opened)?;
    families.counter(
        "watch_streams_refused",
        "Streams of GET /watch refused because all places were taken",
        watched.refused,
    )
}

fn traces(families: &mut Families<'_>, exported: Exported) -> fmt::Result {
    families.counter("trace_spans_exported", "Spans that the collector has taken", exported.sent)?;
    families.counters(
        "trace_spans_dropped",
        "Spans that were lost: the queue was full, the collector did not take them, or a worker's ring was overwritten \
         before it was read",
        [
            ([("reason", "queue_full")], exported.full),
            ([("reason", "undelivered")], exported.undelivered),
            ([("reason", "ring_overrun")], exported.overrun),
        ],
    )?;
    families.counter(
        "trace_export_failures",
        "Requests to the collector that failed",
        exported.failed_attempts,
    )?;
    families.gauge("trace_spans_waiting", "Spans that wait to be exported", exported.waiting)
}

fn scale(families: &mut Families<'_>, status: &Status) -> fmt::Result {
    let scale = &status.scale;
    families.gauges(
        "workers",
        "Workers by state",
        WorkerState::ALL.map(|state| ([("state", state.name())], status.workers_in(state) as u64)),
    )?;
    families.gauge("workers_target", "Workers wanted now", u64::from(scale.target))?;
    families.gauge("workers_base_target", "Workers wanted without a lease", u64::from(scale.base))?;
    families.gauge("workers_min", "Lower bound of the target", u64::from(scale.min))?;
    families.gauge("workers_max", "Upper bound of the target", u64::from(scale.max))?;
    scale_decision(families, status)?;
    let remaining = scale.lease.as_ref().map_or(0.0, |lease| lease.remaining_seconds);
    families.seconds("scale_lease_remaining", "Time left of the scale lease; 0 without one", remaining)?;
    let epoch = scale.last_epoch.unwrap_or(0);
    families.gauge("control_epoch", "The highest epoch accepted by PUT /scale; 0 for none", epoch)
}

/// What the policy said last, and what it has said so far.
fn scale_decision(families: &mut Families<'_>, status: &Status) -> fmt::Result {
    let Status { scale, scaling, .. } = status;
    let decision = scale.decision.as_ref();
    let cap = decision.map_or(scale.max, |decision| decision.cap.workers);
    families.gauge("workers_cap", "The most workers that can be had now, vetoes included", u64::from(cap))?;
    let vetoed = |kind| decision.is_some_and(|decision| decision.vetoes.iter().any(|veto| veto.kind == kind));
    families.gauges(
        "cap_reason",
        "1 for each veto that is in force",
        VetoKind::ALL.map(|kind| ([("reason", kind.name())], u64::from(vetoed(kind)))),
    )?;
    let inputs = decision.map(|decision| decision.inputs).unwrap_or_default();
    families.ratio(
        "demand_erlangs",
        "Workers that would be busy if no request had to wait: arrival rate times service time",
        inputs.demand_erlangs.unwrap_or(0.0),
    )?;
    families.ratio(
        "offered_workers",
        "Mean of busy workers and requests that wait, over 4 s",
        inputs.offered_fast,
    )?;
    families.ratio(
        "capacity_utilization",
        "Demand over what the workers at the cap can serve",
        inputs.capacity_utilization.unwrap_or(0.0),
    )?;
    families.counters(
        "scale_decisions",
        "Decisions of the scaling policy, by direction and reason",
        scaling
            .decisions
            .iter()
            .map(|made| ([("direction", made.direction.name()), ("reason", made.reason.name())], made.count)),
    )?;
    families.seconds(
        "spawn",
        "Moving mean of the time that a worker takes from the fork to readiness",
        scaling.boot_seconds.unwrap_or(0.0),
    )?;
    let Some(cpu) = scaling.cpu else { return Ok(()) };
    families.ratio("cgroup_cpu_quota_cores", "CPU quota of the container", cpu.quota_cores)?;
    families.seconds_counter("cgroup_cpu_used", "CPU time that the container has used", cpu.used_seconds)?;
    families.counter("cgroup_periods", "Periods of the CPU quota in which something ran", cpu.periods)?;
    families.counter(
        "cgroup_throttled_periods",
        "Periods in which the CPU quota was spent and somebody had to wait",
        cpu.throttled_periods,
    )
}

fn supervision(families: &mut Families<'_>, status: &Status) -> fmt::Result {
    families.counters(
        "worker_restarts",
        "Workers that ended, by why",
        status.totals.restarts.by_reason().map(|(reason, count)| ([("reason", reason)], count)),
    )?;
    families.counter(
        "worker_boot_failures",
        "Workers that ended before they were ready",
        status.boot.failures,
    )?;
    let backoff = status.boot.backoff_seconds.unwrap_or(0.0);
    families.seconds(
        "worker_boot_backoff",
        "Time until the next boot is tried; 0 when none waits",
        backoff,
    )?;
    let up = status.fork_server.state == ForkServerState::Ready;
    families.gauge("fork_server_up", "1 if the fork server can fork workers", u64::from(up))?;
    families.counter("fork_server_starts", "Fork servers started", status.fork_server.starts)?;
    families.counter("fork_server_deaths", "Fork servers that died unasked", status.fork_server.deaths)?;
    families.counter("strays_reaped", "Adopted orphans reaped", status.strays_reaped)?;
    families.counter(
        "scoreboard_corruptions",
        "Reads of the scoreboard that failed a check",
        status.scoreboard_corruptions,
    )
}

fn memory(families: &mut Families<'_>, status: &Status) -> fmt::Result {
    let memory = &status.memory;
    if let Some(group) = &memory.cgroup {
        let kinds = [
            ("current", Some(group.current_bytes)),
            ("working_set", Some(group.working_set_bytes)),
            ("unreclaimable", Some(group.unreclaimable_bytes)),
            ("limit", group.limit_bytes),
        ];
        families.bytes_by(
            "cgroup_memory",
            "Memory of the container, and its limit if it has one",
            kinds.into_iter().filter_map(|(kind, bytes)| Some(([("kind", kind)], bytes?))),
        )?;
        if let Some(kills) = group.oom_kills {
            families.counter(
                "cgroup_oom_kills",
                "Processes of the container that the kernel killed for memory",
                kills,
            )?;
        }
        families.gauge(
            "cgroup_oom_group",
            "1 if the kernel would kill the whole container at once",
            u64::from(group.kills_together),
        )?;
        families.stalls("psi_memory", "Time in which work waited for memory", group.pressure)?;
    }
    families.stalls("psi_cpu", "Time in which work waited for the CPU", memory.cpu_pressure)?;
    families.stalls("psi_io", "Time in which work waited for disks", memory.io_pressure)?;
    families.counter(
        "oom_kills",
        "Workers, fork servers and orphans that the kernel killed for memory",
        memory.oom_kills,
    )
}

fn requests(families: &mut Families<'_>, status: &Status) -> fmt::Result {
    let totals = &status.totals;
    families.counters(
        "requests",
        "Requests finished, by class of status",
        totals.requests.by_class().map(|(class, count)| ([("code_class", class)], count)),
    )?;
    families.counter(
        "request_timeouts",
        "Requests that ran into request_timeout and were answered 504 or cut off",
        totals.request_timeouts,
    )?;
    families.counter(
        "arrivals",
        "Requests that the app was given, those that run included",
        totals.arrivals,
    )?;
    families.counter("connections_accepted", "Client connections accepted", totals.connections_accepted)?;
    families.counter(
        "rejected",
        "Responses that the server gave in the app's place: malformed requests, time-outs, overload",
        totals.rejected,
    )?;
    families.counter(
        "tls_failures",
        "Clients that were to speak TLS and did not: handshakes that failed or were not finished, plain HTTP",
        totals.tls_failures,
    )?;
    let sum =
        |count: fn(&WorkerStatus) -> u32| status.workers.iter().map(|worker| u64::from(count(worker))).sum();
    families.gauge("requests_in_flight", "Requests that run", sum(|worker| worker.in_flight))?;
    families.gauge(
        "requests_queued",
        "Complete requests that wait in a worker",
        sum(|worker| worker.queued),
    )?;
    families.gauge("connections", "Open client connections", sum(|worker| worker.connections))?;
    families.histogram(
        "request_duration",
        "From the call of the app to the end of the response",
        &totals.request_duration,
    )?;
    families.histogram(
        "request_queue",
        "From a request's arrival to the call of the app",
        &totals.request_queue,
    )?;
    families.seconds_counter(
        "worker_busy",
        "Time with a request running, summed over workers",
        totals.busy_seconds,
    )
}

/// What Python itself does, beside the app's code.
fn python(families: &mut Families<'_>, status: &Status) -> fmt::Result {
    let python = &status.totals.python;
    families.counters(
        "python_gc_collections",
        "Runs of the garbage collectors of all workers, by generation",
        ["0", "1", "2"]
            .into_iter()
            .zip(python.gc_runs)
            .map(|(generation, runs)| ([("generation", generation)], runs)),
    )?;
    families.seconds_counter(
        "python_gc_pause",
        "Time that the garbage collectors took",
        python.gc_seconds,
    )?;
    families.counter(
        "python_gc_objects_freed",
        "Objects that the garbage collectors freed",
        python.gc_freed,
    )?;
    families.histogram(
        "python_lag",
        "How late heartbeats were, because the event loop, the hub or the GIL was not to be had",
        &python.lag,
    )
}

fn workers(families: &mut Families<'_>, workers: &[WorkerStatus]) -> fmt::Result {
    let slots: Vec<String> = workers.iter().map(|worker| worker.slot.to_string()).collect();
    let by_slot = || slots.iter().map(|slot| [("slot", slot.as_str())]).zip(workers);
    for (name, help, bytes) in [
        (
            "worker_rss",
            "Resident memory of the worker of a slot",
            (|memory| memory.rss_bytes) as fn(ProcessMemory) -> u64,
        ),
        ("worker_pss", "The same, what it shares counted by its share", |memory| memory.pss_bytes),
        ("worker_uss", "Memory that only the worker of a slot has", |memory| memory.uss_bytes),
    ] {
        let held = by_slot().filter_map(|(labels, worker)| Some((labels, bytes(worker.memory?))));
        families.bytes_by(name, help, held)?;
    }
    families.gauges(
        "worker_in_flight",
        "Requests that run in the worker of a slot",
        by_slot().map(|(labels, worker)| (labels, u64::from(worker.in_flight))),
    )?;
    families.seconds_by(
        "worker_uptime",
        "Age of the worker of a slot",
        by_slot().map(|(labels, worker)| (labels, worker.uptime_seconds)),
    )?;
    families.seconds_by(
        "worker_last_beat",
        "Time since the worker of a slot was last seen alive",
        by_slot().filter_map(|(labels, worker)| Some((labels, worker.last_beat_seconds?))),
    )?;
    families.seconds_by(
        "worker_lag",
        "How late the last heartbeat of the worker of a slot was",
        by_slot().filter_map(|(labels, worker)| Some((labels, worker.lag_seconds?))),
    )
}

fn accept_queues(families: &mut Families<'_>, status: &Status) -> fmt::Result {
    let queues = || {
        status
            .listeners
            .iter()
            .filter_map(|listener| Some(([("listener", listener.address.as_str())], listener.accept_queue?)))
    };
    families.gauges(
        "accept_queue_length",
        "Connections that no worker has accepted yet",
        queues().map(|(labels, queue)| (labels, u64::from(queue.length))),
    )?;
    families.gauges(
        "accept_queue_limit",
        "Connections that the kernel holds at most",
        queues().map(|(labels, queue)| (labels, u64::from(queue.limit))),
    )
}

type Label<'a> = [(&'static str, &'a str); 1];
const NO_EXEMPLAR: Option<&Exemplar<NoLabelSet, f64>> = None;

/// Writes one metric family per call.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn begin<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        unit: Option<&'s Unit>,
        kind: MetricType,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        // The registry adds a full stop to what is registered, a collector has to do it itself.
        self.0.encode_descriptor(name, &format!("{help}."), unit, kind)
    }

    fn info(&mut self, name: &str, help: &str, labels: &Label<'_>) -> fmt::Result {
        self.begin(name, help, None, MetricType::Info)?.encode_info(labels)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.begin(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn gauges<'l>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Label<'l>, u64)>,
    ) -> fmt::Result {
        let mut encoder = self.begin(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            encoder.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn bytes_by<'l>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Label<'l>, u64)>,
    ) -> fmt::Result {
        let mut encoder = self.begin(name, help, Some(&Unit::Bytes), MetricType::Gauge)?;
        for (labels, value) in values {
            encoder.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// Nothing where the kernel does not measure it.
    fn stalls(&mut self, name: &str, help: &str, stalls: Option<Stalls>) -> fmt::Result {
        let Some(stalls) = stalls else { return Ok(()) };
        let mut encoder = self.begin(name, help, Some(&Unit::Seconds), MetricType::Counter)?;
        for (kind, seconds) in [("some", stalls.some_seconds), ("full", stalls.full_seconds)] {
            encoder.encode_family(&[("kind", kind)])?.encode_counter(&finite(seconds), NO_EXEMPLAR)?;
        }
        Ok(())
    }

    fn seconds(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.begin(name, help, Some(&Unit::Seconds), MetricType::Gauge)?.encode_gauge(&finite(value))
    }

    fn seconds_by<'l>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Label<'l>, f64)>,
    ) -> fmt::Result {
        let mut encoder = self.begin(name, help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for (labels, value) in values {
            encoder.encode_family(&labels)?.encode_gauge(&finite(value))?;
        }
        Ok(())
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.begin(name, help, None, MetricType::Counter)?.encode_counter(&value, NO_EXEMPLAR)
    }

    fn ratio(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.begin(name, help, None, MetricType::Gauge)?.encode_gauge(&finite(value))
    }

    fn counters<'l, const LABELS: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = ([(&'static str, &'l str); LABELS], u64)>,
    ) -> fmt::Result {
        let mut encoder = self.begin(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            encoder.encode_family(&labels)?.encode_counter(&value, NO_EXEMPLAR)?;
        }
        Ok(())
    }

    fn seconds_counter(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.begin(name, help, Some(&Unit::Seconds), MetricType::Counter)?
            .encode_counter(&finite(value), NO_EXEMPLAR)
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) -> fmt::Result {
        let (buckets, count) = buckets(histogram);
        self.begin(name, help, Some(&Unit::Seconds), MetricType::Histogram)?.encode_histogram::<NoLabelSet>(
            finite(histogram.sum_seconds),
            count,
            &buckets,
            None,
        )
    }
}

/// Buckets up to infinity, not cumulative, with a sum that fits; and that sum.
fn buckets(histogram: &Histogram) -> (Vec<(f64, u64)>, u64) {
    let mut total = 0_u64;
    let bounds = histogram.bounds.iter().copied().chain([f64::INFINITY]);
    let counts = histogram.counts.iter().copied().chain(std::iter::repeat(0));
    let buckets = bounds
        .zip(counts)
        .map(|(bound, count)| {
            let count = count.min(u64::MAX - total);
            total += count;
            (bound, count)
        })
        .collect();
    (buckets, total)
}

/// Durations and their sums are never negative, infinite or no number.
fn finite(value: f64) -> f64 {
    if value.is_finite() { value.max(0.0) } else { 0.0 }
}

#[cfg(test)]
mod tests;
