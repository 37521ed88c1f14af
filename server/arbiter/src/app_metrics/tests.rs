use super::values::{FileName, Kind, Owner, Value};
use super::*;

/// For this process itself, so that `chown` is allowed.
fn metrics() -> Option<AppMetrics> {
    let owner = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    AppMetrics::create(owner).unwrap()
}

fn key(family: &str, sample: &str, labels: &str) -> String {
    format!(r#"["{family}", "{sample}", {{{labels}}}, "Help of {family}"]"#)
}

fn put(metrics: &AppMetrics, file: &str, entries: &[(String, f64, f64)]) {
    let values: Vec<Value> =
        entries.iter().map(|(key, value, at)| Value { key: key.clone(), number: *value, at: *at }).collect();
    values::write(&metrics.path().join(file), &values).unwrap();
}

#[test]
fn counters_and_histograms_add_up() {
    let Some(metrics) = metrics() else { return };
    let orders = || key("orders", "orders_total", r#""kind": "a\"b""#);
    put(&metrics, "counter_slot0.db", &[(orders(), 2.0, 0.0)]);
    put(&metrics, "counter_slot1.db", &[(orders(), 3.5, 0.0)]);
    let bucket = |le: &str| key("seconds", "seconds_bucket", &format!(r#""le": "{le}""#));
    for slot in 0..2 {
        put(
            &metrics,
            &format!("histogram_slot{slot}.db"),
            &[
                (key("seconds", "seconds_sum", ""), 1.5, 0.0),
                (bucket("10.0"), 1.0, 0.0),
                (bucket("0.5"), 2.0, 0.0),
                (bucket("+Inf"), 1.0, 0.0),
            ],
        );
    }
    assert_eq!(
        metrics.render(),
        "# HELP orders Help of orders\n# TYPE orders counter\norders_total{kind=\"a\\\"b\"} 5.5\n\
         # HELP seconds Help of seconds\n# TYPE seconds histogram\n\
         seconds_bucket{le=\"0.5\"} 4.0\nseconds_bucket{le=\"10.0\"} 6.0\nseconds_bucket{le=\"+Inf\"} 8.0\n\
         seconds_count 8.0\nseconds_sum 3.0\n"
    );
}

#[test]
fn gauges_follow_their_mode() {
    let Some(metrics) = metrics() else { return };
    for mode in ["all", "livemin", "max", "sum", "mostrecent"] {
        for (slot, value, at) in [(0, 3.0, 20.0), (1, -1.0, 10.0)] {
            put(&metrics, &format!("gauge_{mode}_slot{slot}.db"), &[(key(mode, mode, ""), value, at)]);
        }
    }
    let text = metrics.render();
    for line in [
        "all{slot=\"0\"} 3.0",
        "all{slot=\"1\"} -1.0",
        "livemin -1.0",
        "max 3.0",
        "sum 2.0",
        "mostrecent 3.0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn a_gauge_of_each_process_is_told_of_workers_only() {
    let Some(metrics) = metrics() else { return };
    let alive = std::process::id();
    put(&metrics, &format!("gauge_all_{alive}.db"), &[(key("level", "level", ""), 7.0, 0.0)]);
    assert_eq!(metrics.render(), "");
    put(&metrics, "gauge_all_slot2.db", &[(key("level", "level", ""), 1.0, 0.0)]);
    put(&metrics, &format!("gauge_max_{alive}.db"), &[(key("highest", "highest", ""), 9.0, 0.0)]);
    let text = metrics.render();
    assert!(text.contains("level{slot=\"2\"} 1.0\n") && text.contains("highest 9.0\n"), "{text}");
    assert!(!text.contains("pid"), "{text}");
}

#[test]
fn what_a_dead_worker_said_of_the_moment_goes_and_its_counts_stay() {
    let Some(metrics) = metrics() else { return };
    put(&metrics, "counter_slot3.db", &[(key("c", "c_total", ""), 4.0, 0.0)]);
    put(&metrics, "gauge_livesum_slot3.db", &[(key("running", "running", ""), 1.0, 0.0)]);
    put(&metrics, "gauge_all_slot3.db", &[(key("each", "each", ""), 1.0, 0.0)]);
    metrics.vacate(3);
    let text = metrics.render();
    assert_eq!(text, "# HELP c Help of c\n# TYPE c counter\nc_total 4.0\n");
    assert!(metrics.path().join("gauge_all_slot3.db").exists());
}

#[test]
fn processes_that_have_ended_leave_no_files() {
    let Some(metrics) = metrics() else { return };
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let dead = child.id();
    child.wait().unwrap();
    let alive = std::process::id();
    for round in 0..3 {
        put(&metrics, &format!("counter_{dead}.db"), &[(key("c", "c_total", ""), 1.0, 0.0)]);
        put(&metrics, &format!("gauge_all_{dead}.db"), &[(key("g", "g", ""), 1.0, 0.0)]);
        put(&metrics, &format!("counter_{alive}.db"), &[(key("c", "c_total", ""), 10.0, 0.0)]);
        let text = metrics.render();
        assert!(text.contains(&format!("c_total {}.0\n", 11 + round)), "{text}");
    }
    let mut names: Vec<String> = metrics.file_names().iter().map(ToString::to_string).collect();
    names.sort();
    let mut expected = [format!("counter_{alive}.db"), "counter_dead.db".to_owned()];
    expected.sort();
    assert_eq!(names, expected);
}

#[test]
fn nonsense_is_left_out() {
    let Some(metrics) = metrics() else { return };
    let good = key("good", "good_total", "");
    put(
        &metrics,
        "counter_slot0.db",
        &[
            ("no JSON".into(), 1.0, 0.0),
            (key("bad name", "bad name_total", ""), 1.0, 0.0),
            (key("podicorn_requests", "podicorn_requests_total", ""), 1.0, 0.0),
            (key("other", "stranger_total", ""), 1.0, 0.0),
            (key("c", "c_total", r#""bad-label": "x""#), 1.0, 0.0),
            (good.clone(), 1.0, 0.0),
        ],
    );
    // The same name as a gauge.
    put(&metrics, "gauge_sum_slot0.db", &[(key("good", "good", ""), 7.0, 0.0)]);
    for (name, bytes) in [
        ("counter_slot1.db", vec![0xff; 64]),
        ("counter_slot2.db", i32::MAX.to_ne_bytes().repeat(16)),
        ("counter_slot3.db", 64_i32.to_ne_bytes().to_vec()),
        ("counter_slot4.db", Vec::new()),
        ("rubbish.db", b"x".to_vec()),
    ] {
        std::fs::write(metrics.path().join(name), bytes).unwrap();
    }
    std::os::unix::fs::symlink("/dev/zero", metrics.path().join("counter_slot5.db")).unwrap();
    nix::unistd::mkfifo(&metrics.path().join("counter_slot6.db"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(metrics.render(), "# HELP good Help of good\n# TYPE good counter\ngood_total 1.0\n");
}

#[test]
fn what_a_killed_server_has_left_is_removed_and_a_living_ones_is_not() {
    let Some(living) = metrics() else { return };
    let place = living.path().parent().unwrap();
    let left = place.join(format!("podicorn-metrics-0-{}", std::process::id()));
    std::fs::create_dir(&left).unwrap();
    std::fs::write(left.join("counter_1.db"), b"x").unwrap();
    let other = metrics().unwrap();
    assert!(!left.exists());
    assert!(living.path().exists());
    assert_ne!(living.path(), other.path());
    let path = other.path().to_owned();
    drop(other);
    assert!(!path.exists());
}

#[test]
fn file_names() {
    for name in ["counter_slot7.db", "gauge_livesum_12.db", "histogram_dead.db", "summary_1.db"] {
        assert_eq!(FileName::parse(name).unwrap().to_string(), name);
    }
    for name in [
        "counter_.db",
        "counter_0.db",
        "counter_-1.db",
        "gauge_1.db",
        "gauge_a/b_1.db",
        "counter_1.new",
        "x_1.db",
    ] {
        assert_eq!(FileName::parse(name), None, "{name}");
    }
    let parsed = FileName::parse("gauge_max_slot2.db").unwrap();
    assert_eq!((parsed.kind, parsed.owner), (Kind::Gauge, Owner::Slot(2)));
}

#[test]
fn a_directory_of_the_users_is_read_and_left_alone() {
    let Some(users) = metrics() else { return };
    put(&users, "counter_999999999.db", &[(key("c", "c_total", ""), 4.0, 0.0)]);
    put(&users, "gauge_livesum_slot3.db", &[(key("g", "g", ""), 1.0, 0.0)]);
    let reader = AppMetrics::of_user(users.path().to_owned());
    assert!(reader.share().is_none());
    reader.vacate(3);
    assert!(reader.render().contains("c_total 4.0\n"));
    reader.remove();
    let mut names: Vec<String> = users.file_names().iter().map(ToString::to_string).collect();
    names.sort();
    assert_eq!(names, ["counter_999999999.db", "gauge_livesum_slot3.db"]);
}

#[test]
fn the_users_directory_is_the_librarys_variable() {
    let said =
        |known: &'static str| users_directory(move |name| (name == known).then(|| "/run/counts".to_owned()));
    assert_eq!(said("PROMETHEUS_MULTIPROC_DIR"), Some("/run/counts".into()));
    assert_eq!(said("prometheus_multiproc_dir"), Some("/run/counts".into()));
    assert_eq!(users_directory(|_| None), None);
    assert_eq!(users_directory(|_| Some(String::new())), None);
}
