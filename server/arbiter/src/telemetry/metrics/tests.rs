use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::status::sample;
use crate::status::{AcceptQueue, ListenerStatus, RequestsByClass};

/// What a strict reader of OpenMetrics text keeps of it: the kind of every family and the value of every sample.
struct Reading {
    kinds: BTreeMap<String, String>,
    samples: BTreeMap<String, String>,
}

/// Reads with the rules of OpenMetrics 1.0 that a renderer can break: families in one piece, metadata before samples
/// and once each, suffixes and units that fit, no sample twice, buckets that rise, one end mark at the end.
fn read(text: &str) -> Reading {
    let mut reading = Reading { kinds: BTreeMap::new(), samples: BTreeMap::new() };
    let mut current = String::new();
    let mut metadata = BTreeSet::new();
    let body = text.strip_suffix("# EOF\n").expect("the end mark is missing");
    for line in body.lines() {
        assert!(!line.is_empty() && !line.starts_with("# EOF"), "{line:?}");
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            let (keyword, name, value) =
                (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
            assert!(["HELP", "TYPE", "UNIT"].contains(&keyword), "{line}");
            assert!(metadata.insert((keyword.to_owned(), name.to_owned())), "twice: {line}");
            if name != current {
                assert!(!reading.kinds.contains_key(name), "family {name} is in two pieces");
                name.clone_into(&mut current);
            }
            match keyword {
                "TYPE" => {
                    reading.kinds.insert(name.to_owned(), value.to_owned());
                }
                "UNIT" => assert!(name.ends_with(&format!("_{value}")), "{line}"),
                _ => assert!(value.ends_with('.') && !value.ends_with(".."), "{line}"),
            }
            continue;
        }
        let name = line.split(['{', ' ']).next().unwrap();
        let suffix =
            name.strip_prefix(current.as_str()).unwrap_or_else(|| panic!("{line} is not of {current}"));
        let allowed: &[&str] = match reading.kinds[&current].as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "histogram" => &["_bucket", "_count", "_sum"],
            "info" => &["_info"],
            other => panic!("unknown kind {other}"),
        };
        assert!(allowed.contains(&suffix), "{line}");
        let (sample, value) = line.rsplit_once(' ').unwrap();
        let number: f64 = value.parse().unwrap_or_else(|_| panic!("{line}: not a number"));
        assert!(number.is_finite() && number >= 0.0, "{line}");
        assert!(reading.samples.insert(sample.to_owned(), value.to_owned()).is_none(), "twice: {line}");
    }
    for (family, kind) in &reading.kinds {
        if kind == "histogram" {
            check_histogram(body, family);
        }
    }
    reading
}

fn check_histogram(text: &str, family: &str) {
    let value = |line: &str| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap();
    let buckets: Vec<&str> =
        text.lines().filter(|line| line.starts_with(&format!("{family}_bucket{{"))).collect();
    let last = buckets.last().unwrap();
    assert!(last.contains("le=\"+Inf\""), "{last}");
    assert!(buckets.iter().map(|line| value(line)).is_sorted(), "{family} falls");
    let count = text.lines().find(|line| line.starts_with(&format!("{family}_count "))).unwrap();
    assert_eq!(value(last), value(count));
}

#[test]
fn every_field_is_there_with_its_value() {
    let reading = read(&render(&sample::status(), Watched::default()).unwrap());
    for (sample, value) in [
        ("podicorn_build_info{version=\"0.1.0\"}", "1"),
        ("podicorn_start_time_seconds", "1795388320.0"),
        ("podicorn_phase{phase=\"running\"}", "1"),
        ("podicorn_phase{phase=\"draining\"}", "0"),
        ("podicorn_startup_done", "1"),
        ("podicorn_generation", "2"),
        ("podicorn_reloads_total", "3"),
        ("podicorn_reload_failures_total", "1"),
        ("podicorn_log_lines_dropped_total{log=\"error\"}", "13"),
        ("podicorn_log_lines_dropped_total{log=\"access\"}", "19"),
        ("podicorn_workers{state=\"busy\"}", "1"),
        ("podicorn_workers{state=\"idle\"}", "1"),
        ("podicorn_workers{state=\"starting\"}", "1"),
        ("podicorn_workers{state=\"draining\"}", "0"),
        ("podicorn_workers_target", "3"),
        ("podicorn_workers_base_target", "1"),
        ("podicorn_workers_min", "1"),
        ("podicorn_workers_max", "3"),
        ("podicorn_workers_cap", "2"),
        ("podicorn_cap_reason{reason=\"memory_headroom\"}", "1"),
        ("podicorn_cap_reason{reason=\"cpu_throttled\"}", "0"),
        ("podicorn_demand_erlangs", "1.5"),
        ("podicorn_offered_workers", "1.5"),
        ("podicorn_capacity_utilization", "0.75"),
        ("podicorn_scale_decisions_total{direction=\"up\",reason=\"load\"}", "4"),
        ("podicorn_scale_decisions_total{direction=\"hold\",reason=\"leased\"}", "31"),
        ("podicorn_spawn_seconds", "0.25"),
        ("podicorn_cgroup_cpu_quota_cores", "1.5"),
        ("podicorn_cgroup_cpu_used_seconds_total", "12.5"),
        ("podicorn_cgroup_periods_total", "400"),
        ("podicorn_cgroup_throttled_periods_total", "10"),
        ("podicorn_scale_lease_remaining_seconds", "30.0"),
        ("podicorn_control_epoch", "8589934599"),
        ("podicorn_worker_restarts_total{reason=\"max_requests\"}", "1"),
        ("podicorn_worker_restarts_total{reason=\"crash\"}", "4"),
        ("podicorn_worker_restarts_total{reason=\"max_memory\"}", "7"),
        ("podicorn_worker_restarts_total{reason=\"memory_pressure\"}", "8"),
        ("podicorn_worker_restarts_total{reason=\"oom\"}", "9"),
        ("podicorn_cgroup_memory_bytes{kind=\"current\"}", "209715200"),
        ("podicorn_cgroup_memory_bytes{kind=\"working_set\"}", "167772160"),
        ("podicorn_cgroup_memory_bytes{kind=\"unreclaimable\"}", "157286400"),
        ("podicorn_cgroup_memory_bytes{kind=\"limit\"}", "268435456"),
        ("podicorn_cgroup_oom_kills_total", "2"),
        ("podicorn_cgroup_oom_group", "1"),
        ("podicorn_oom_kills_total", "1"),
        ("podicorn_psi_memory_seconds_total{kind=\"some\"}", "2.5"),
        ("podicorn_psi_memory_seconds_total{kind=\"full\"}", "0.5"),
        ("podicorn_psi_cpu_seconds_total{kind=\"some\"}", "7.5"),
        ("podicorn_worker_uss_bytes{slot=\"0\"}", "20971520"),
        ("podicorn_worker_pss_bytes{slot=\"1\"}", "31457280"),
        ("podicorn_worker_rss_bytes{slot=\"1\"}", "52428800"),
        ("podicorn_worker_boot_failures_total", "4"),
        ("podicorn_worker_boot_backoff_seconds", "1.5"),
        ("podicorn_fork_server_up", "1"),
        ("podicorn_fork_server_starts_total", "2"),
        ("podicorn_fork_server_deaths_total", "1"),
        ("podicorn_strays_reaped_total", "11"),
        ("podicorn_scoreboard_corruptions_total", "17"),
        ("podicorn_requests_total{code_class=\"2xx\"}", "100"),
        ("podicorn_requests_total{code_class=\"5xx\"}", "3"),
        ("podicorn_requests_in_flight", "1"),
        ("podicorn_requests_queued", "2"),
        ("podicorn_request_duration_seconds_bucket{le=\"0.001\"}", "10"),
        ("podicorn_request_duration_seconds_bucket{le=\"0.1\"}", "110"),
        ("podicorn_request_duration_seconds_bucket{le=\"+Inf\"}", "120"),
        ("podicorn_request_duration_seconds_sum", "14.5"),
        ("podicorn_request_queue_seconds_count", "120"),
        ("podicorn_worker_busy_seconds_total", "36.75"),
        ("podicorn_worker_in_flight{slot=\"0\"}", "1"),
        ("podicorn_worker_uptime_seconds{slot=\"2\"}", "61.5"),
        ("podicorn_worker_last_beat_seconds{slot=\"1\"}", "0.5"),
        ("podicorn_accept_queue_length{listener=\"http://127.0.0.1:8000\"}", "3"),
        ("podicorn_accept_queue_limit{listener=\"http://127.0.0.1:8000\"}", "2048"),
    ] {
        assert_eq!(reading.samples.get(sample).map(String::as_str), Some(value), "{sample}");
    }
    assert!(!reading.samples.contains_key("podicorn_worker_last_beat_seconds{slot=\"2\"}"));
    assert!(reading.samples.keys().all(|sample| !sample.contains("pid")), "pids are not labels");
}

#[test]
fn an_empty_pool_renders() {
    let mut status = sample::status();
    status.workers.clear();
    status.listeners.clear();
    status.totals = crate::status::Totals::default();
    let reading = read(&render(&status, Watched::default()).unwrap());
    assert_eq!(reading.samples["podicorn_request_duration_seconds_bucket{le=\"+Inf\"}"], "0");
}

#[test]
fn what_a_worker_scribbled_stays_readable() {
    let mut status = sample::status();
    let duration = &mut status.totals.request_duration;
    duration.counts = vec![u64::MAX, u64::MAX, 1];
    duration.sum_seconds = f64::NAN;
    status.totals.requests =
        RequestsByClass { success: u64::MAX, server_error: u64::MAX, ..RequestsByClass::default() };
    status.totals.busy_seconds = f64::NEG_INFINITY;
    for worker in &mut status.workers {
        worker.in_flight = u32::MAX;
        worker.uptime_seconds = f64::INFINITY;
    }
    let reading = read(&render(&status, Watched::default()).unwrap());
    assert_eq!(reading.samples["podicorn_request_duration_seconds_count"], u64::MAX.to_string());
    assert_eq!(reading.samples["podicorn_request_duration_seconds_sum"], "0.0");
}

#[test]
fn label_values_are_escaped() {
    let mut status = sample::status();
    status.listeners = vec![ListenerStatus {
        address: "unix:/a\"b\\c".into(),
        accept_queue: Some(AcceptQueue { length: 1, limit: 2 }),
    }];
    let reading = read(&render(&status, Watched::default()).unwrap());
    assert_eq!(reading.samples[r#"podicorn_accept_queue_length{listener="unix:/a\"b\\c"}"#], "1");
}
