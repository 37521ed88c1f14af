//! Layers over layers, and what comes out.
#![allow(clippy::unwrap_used)] // helpers outside #[test] functions unwrap, too

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use podicorn_settings::{
    Bind, CommandLine, HeaderMap, Host, Layer, LogFormat, LogLevel, LogTarget, Settings, SettingsError,
    Source, WorkerClass, Workers, early, environment_layers, layer_from_config_file, merge,
    parse_command_line, table,
};
use serde_json::{Value, json};

/// The origins of one test.
#[derive(Default)]
struct Given<'a> {
    args: &'a [&'a str],
    vars: &'a [(&'a str, &'a str)],
    file: Option<Value>,
    python: &'a [&'a str],
}

impl Given<'_> {
    fn command_line(&self) -> CommandLine {
        parse_command_line(self.args.iter().map(Into::into)).unwrap()
    }

    fn file(&self) -> Result<Option<Layer>, SettingsError> {
        let python: Vec<String> = self.python.iter().map(ToString::to_string).collect();
        let layer = |file: &Value| {
            layer_from_config_file(file.as_object().unwrap(), &python, "/app/gunicorn.conf.py")
        };
        self.file.as_ref().map(layer).transpose()
    }

    fn merge(&self) -> Result<Settings, SettingsError> {
        let vars: HashMap<_, _> = self.vars.iter().copied().collect();
        let environment = environment_layers(|name| vars.get(name).map(ToString::to_string))?;
        merge(&environment, self.file()?.as_ref(), &self.command_line(), &host())
    }
}

fn host() -> Host {
    Host {
        working_directory: PathBuf::from("/srv"),
        user: 10,
        group: 20,
        user_by_name: |name| (name == "www-data").then_some(33),
        group_by_name: |name| (name == "www-data").then_some(34),
        exists: |path| !path.starts_with("/missing"),
    }
}

fn from_args(args: &[&str]) -> Settings {
    Given { args, ..Given::default() }.merge().unwrap()
}

fn refused(given: &Given<'_>) -> String {
    let error = given.merge().unwrap_err();
    assert_eq!(error.exit_code(), 1, "{error}");
    error.to_string()
}

#[test]
fn defaults() {
    let settings = from_args(&["app"]);
    assert_eq!(settings.app, "app");
    assert_eq!(settings.bind, ["127.0.0.1:8000".parse::<Bind>().unwrap()]);
    assert_eq!(settings.workers, Workers::Fixed(1));
    assert_eq!(settings.worker_class, WorkerClass::Sync);
    assert_eq!(settings.max_requests, None);
    assert_eq!(settings.timeout, Some(Duration::from_secs(30)));
    assert_eq!(settings.graceful_timeout, Duration::from_secs(30));
    assert_eq!(settings.keepalive, Duration::from_secs(2));
    assert_eq!(settings.boot_timeout, Some(Duration::from_secs(120)));
    assert_eq!(settings.head_timeout, Some(Duration::from_secs(10)));
    assert_eq!(settings.drain_delay, Duration::ZERO);
    assert_eq!(settings.body_buffer, 1 << 20);
    assert_eq!(settings.chdir, Path::new("/srv"));
    assert_eq!((settings.user, settings.group, settings.umask), (10, 20, 0));
    assert_eq!((settings.accesslog.as_ref(), settings.errorlog.as_ref()), (None, Some(&LogTarget::Standard)));
    assert_eq!((settings.loglevel, settings.log_format), (LogLevel::Info, LogFormat::Text));
    assert_eq!(settings.header_map, HeaderMap::Drop);
    assert!(settings.sendfile);
    assert_eq!(settings.proc_name, "app");
    assert_eq!(settings.admin_bind, None);
    assert!(settings.forwarded_allow_ips.contains("127.0.0.1".parse().unwrap()));
    assert_eq!(settings.secure_scheme_headers["X-FORWARDED-PROTO"], "https");
    assert!(settings.notices().is_empty());
}

#[test]
fn each_origin_wins_over_those_below() {
    let vars = [("WEB_CONCURRENCY", "2"), ("PODICORN_WORKERS", "4"), ("GUNICORN_CMD_ARGS", "--workers 5")];
    let source = |settings: &Settings| settings.source_of("workers").to_string();
    let run = |args, vars, file| Given { args, vars, file, ..Given::default() }.merge().unwrap();
    for (args, vars, file, workers, says) in [
        (&["app", "-w6"][..], &vars[..], Some(json!({"workers": 3})), 6, "command line --workers"),
        (
            &["app"],
            &vars[..],
            Some(json!({"workers": 3})),
            5,
            "--workers in environment variable GUNICORN_CMD_ARGS",
        ),
        (&["app"], &vars[..2], Some(json!({"workers": 3})), 4, "environment variable PODICORN_WORKERS"),
        (&["app"], &vars[..1], Some(json!({"workers": 3})), 3, "config file /app/gunicorn.conf.py"),
        (&["app"], &vars[..1], Some(json!({})), 2, "environment variable WEB_CONCURRENCY"),
        (&["app"], &[], None, 1, "the default"),
    ] {
        let settings = run(args, vars, file);
        assert_eq!(settings.workers, Workers::Fixed(workers));
        assert_eq!(source(&settings), says);
    }
}

#[test]
fn the_environment_changes_defaults_as_in_gunicorn() {
    let vars = &[
        ("PORT", "5000"),
        ("FORWARDED_ALLOW_IPS", ""),
        ("SENDFILE", "no"),
        ("WEB_CONCURRENCY", ""),
        ("PODICORN_BACKLOG", ""),
    ];
    let settings = Given { args: &["app"], vars, ..Given::default() }.merge().unwrap();
    assert_eq!(settings.bind, [Bind::Tcp { host: "0.0.0.0".to_owned(), port: 5000 }]);
    assert!(!settings.forwarded_allow_ips.contains("127.0.0.1".parse().unwrap()), "empty means nobody");
    assert!(!settings.sendfile);
    assert_eq!(settings.workers, Workers::Fixed(1), "empty means not set");
    assert_eq!(settings.backlog, 2048, "empty means not set");
    let given = Given {
        args: &["app"],
        vars,
        file: Some(json!({"bind": ":80", "sendfile": true})),
        ..Given::default()
    };
    let settings = given.merge().unwrap();
    assert_eq!(settings.bind, [Bind::Tcp { host: "0.0.0.0".to_owned(), port: 80 }]);
    assert!(settings.sendfile);
}

#[test]
fn a_pod_changes_defaults_only() {
    let vars = &[("KUBERNETES_SERVICE_HOST", "10.0.0.1")];
    let settings = Given { args: &["app"], vars, ..Given::default() }.merge().unwrap();
    assert!(settings.in_pod);
    assert_eq!(settings.keepalive, Duration::from_secs(75));
    assert_eq!(settings.admin_bind, Some(Bind::Tcp { host: "::".to_owned(), port: 9099 }));
    let args = &["app", "--keep-alive", "2", "--admin-bind", "off"];
    let settings = Given { args, vars, ..Given::default() }.merge().unwrap();
    assert_eq!((settings.keepalive, settings.admin_bind), (Duration::from_secs(2), None));
}

#[test]
fn variables_take_every_kind_of_setting() {
    let vars = &[
        ("PODICORN_BIND", "127.0.0.1:1,unix:/run/a.sock"),
        ("PODICORN_RAW_ENV", "A=1 'B=two words'"),
        ("PODICORN_PRELOAD_APP", "Yes"),
        ("PODICORN_SENDFILE", "off"),
        ("PODICORN_UMASK", "022"),
        ("PODICORN_HEAD_TIMEOUT", "2.5"),
        ("PODICORN_BODY_BUFFER", "64k"),
        ("PODICORN_LOG_FORMAT", "json"),
        ("PODICORN_ACCESSLOG", "/log"),
        ("PODICORN_WSGI_APP", "pkg.mod"),
        ("PODICORN_USER", "www-data"),
    ];
    let settings = Given { vars, ..Given::default() }.merge().unwrap();
    assert_eq!(settings.bind.len(), 2);
    assert_eq!(settings.raw_env, ["A=1", "B=two words"]);
    assert!(settings.preload_app && !settings.sendfile);
    assert_eq!(settings.umask, 0o22);
    assert_eq!(settings.head_timeout, Some(Duration::from_millis(2500)));
    assert_eq!(settings.body_buffer, 65536);
    assert_eq!(settings.log_format, LogFormat::Json);
    assert_eq!(settings.accesslog, Some(LogTarget::File("/log".into())));
    assert_eq!(settings.app, "pkg.mod");
    assert_eq!(settings.user, 33);
}

#[test]
fn wrong_variables_are_named() {
    for (name, text, code, says) in [
        (
            "PODICORN_WORKERS",
            "x",
            1,
            "'x' (environment variable PODICORN_WORKERS): it must be a number from 1 to 512",
        ),
        ("PODICORN_WORKERS", "x", 1, "for example PODICORN_WORKERS=4"),
        ("PODICORN_PRELOAD_APP", "maybe", 1, "true or false"),
        ("PODICORN_RAW_ENV", "'A=1", 1, "closed quotes"),
        ("WEB_CONCURRENCY", "many", 1, "environment variable WEB_CONCURRENCY"),
        ("PORT", "tcp://10.0.0.1:80", 1, "environment variable PORT"),
        ("GUNICORN_CMD_ARGS", "--workers 'x", 2, "a quote is not closed"),
        ("GUNICORN_CMD_ARGS", "--wrokers 2", 2, "unexpected argument '--wrokers'"),
        ("GUNICORN_CMD_ARGS", "-w x", 2, "--workers in environment variable GUNICORN_CMD_ARGS"),
        ("GUNICORN_CMD_ARGS", "--help", 2, "belong on the command line"),
    ] {
        let error = Given { args: &["app"], vars: &[(name, text)], ..Given::default() }.merge().unwrap_err();
        assert_eq!(error.exit_code(), code, "{error}");
        assert!(error.to_string().contains(says), "{error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn a_config_file_is_checked_as_gunicorn_does() {
    for (file, name, expected) in [
        (json!({"workers": "3"}), "workers", json!(3)),
        (json!({"workers": "0x3"}), "workers", json!(3)),
        (json!({"workers": true}), "workers", json!(1)),
        (json!({"workers": "2..4"}), "workers", json!("2..4")),
        (json!({"bind": ":1"}), "bind", json!([":1"])),
        (json!({"bind": ":1,:2"}), "bind", json!([":1", ":2"])),
        (json!({"bind": [":1", "unix:/a"]}), "bind", json!([":1", "unix:/a"])),
        (json!({"preload_app": " True "}), "preload_app", json!(true)),
        (json!({"preload_app": null}), "preload_app", json!(null)),
        (json!({"errorlog": null}), "errorlog", json!(null)),
        (json!({"loglevel": null}), "loglevel", json!("info")),
        (json!({"raw_env": "A=1"}), "raw_env", json!(["A=1"])),
        (json!({"raw_env": null}), "raw_env", json!([])),
        (json!({"forwarder_headers": "A, B,"}), "forwarder_headers", json!(["A", "B"])),
        (json!({"forwarded_allow_ips": "*"}), "forwarded_allow_ips", json!(["*"])),
        (json!({"proxy_protocol": true}), "proxy_protocol", json!("auto")),
        (json!({"http_protocols": "h2, h1"}), "http_protocols", json!(["h2", "h1"])),
        (json!({"ssl_version": "TLS"}), "ssl_version", json!("TLS")),
        (json!({"user": "7"}), "user", json!(7)),
        (json!({"head_timeout": 1.5}), "head_timeout", json!(1.5)),
        (json!({"body_buffer": "2k"}), "body_buffer", json!(2048)),
        (json!({"admin_bind": "[::1]"}), "admin_bind", json!("[::1]:9099")),
        (
            json!({"worker_class": "gunicorn.workers.sync:SyncWorker"}),
            "worker_class",
            json!("gunicorn.workers.sync:SyncWorker"),
        ),
    ] {
        let given = Given { file: Some(file.clone()), ..Given::default() };
        assert_eq!(given.file().unwrap().unwrap().get(name), Some(&expected), "{file}");
    }
    for file in [
        json!({"workers": 2.5}),
        json!({"workers": 0}),
        json!({"workers": "010"}),
        json!({"workers": null}),
        json!({"timeout": 2.5}),
        json!({"timeout": -1}),
        json!({"preload_app": 1}),
        json!({"preload_app": "yes"}),
        json!({"bind": []}),
        json!({"bind": 8000}),
        json!({"raw_env": ["A"]}),
        json!({"forwarded_allow_ips": ["127.0.0.1"]}),
        json!({"secure_scheme_headers": {"X": 1}}),
        json!({"secure_scheme_headers": []}),
        json!({"umask": "022"}),
        json!({"user": -1}),
        json!({"post_fork": "name"}),
        json!({"post_fork": null}),
        json!({"http_protocols": "h1,h1"}),
        json!({"head_timeout": -1}),
        json!({"accesslog": 1}),
    ] {
        let error = Given { file: Some(file.clone()), ..Given::default() }.file().unwrap_err();
        let name = file.as_object().unwrap().keys().next().unwrap();
        assert!(error.to_string().contains(&format!("invalid value for {name}: ")), "{error}");
        assert!(error.to_string().contains("(config file /app/gunicorn.conf.py)"), "{error}");
        assert_eq!(error.exit_code(), 1);
    }
}

#[test]
fn what_a_config_file_may_not_set_is_ignored() {
    let file =
        json!({"config": "other.py", "python": "/usr/bin/python", "DATABASES": {"a": 1}, "unknown": 1});
    let given = Given { args: &["app"], file: Some(file), ..Given::default() };
    assert!(given.file().unwrap().unwrap().is_empty());
    assert_eq!(given.merge().unwrap().python, None);
}

#[test]
fn hooks_stay_in_python() {
    let given = Given {
        args: &["app"],
        file: Some(json!({"when_ready": "pkg.hooks.ready"})),
        python: &["post_fork", "child_exit", "unknown"],
        ..Given::default()
    };
    let settings = given.merge().unwrap();
    assert_eq!(settings.hooks(), ["child_exit", "post_fork", "when_ready"]);
    assert_eq!(settings.to_json()["post_fork"], Value::Null);
    assert!(settings.print_config().contains("= <post_fork()>\n"));
    let given = Given { file: Some(json!({})), python: &["workers"], ..Given::default() };
    assert!(given.file().unwrap_err().to_string().contains("workers: a Python object"));
}

#[test]
fn the_app_of_the_command_line_wins() {
    let file = || Some(json!({"wsgi_app": "of.file"}));
    assert_eq!(Given { file: file(), ..Given::default() }.merge().unwrap().app, "of.file");
    let settings = Given { args: &["of.args"], file: file(), ..Given::default() }.merge().unwrap();
    assert_eq!(settings.app, "of.args");
    assert_eq!(settings.to_json()["wsgi_app"], "of.args");
    assert_eq!(*settings.source_of("wsgi_app"), Source::CommandLine("[APP_MODULE]".to_owned()));
    assert_eq!(refused(&Given::default()), SettingsError::NoApp.to_string());
}

#[test]
fn accounts_and_directories_are_resolved() {
    let settings = from_args(&["app", "-u", "www-data", "-g", "www-data", "--chdir", "../app/./src/.."]);
    assert_eq!((settings.user, settings.group), (33, 34));
    assert_eq!(settings.chdir, Path::new("/app"));
    assert_eq!(settings.to_json()["chdir"], "/app");
    for (args, says) in [
        (&["app", "-u", "nobody-here"][..], "user: 'nobody-here' (command line --user)"),
        (&["app", "-g", "nobody-here"], "group: 'nobody-here'"),
        (&["app", "--chdir", "/missing/dir"], "chdir: '/missing/dir'"),
    ] {
        let message = refused(&Given { args, ..Given::default() });
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn threads_turn_sync_into_gthread() {
    assert_eq!(from_args(&["app", "--threads", "4"]).worker_class, WorkerClass::Gthread);
    assert_eq!(from_args(&["app", "-k", "sync", "--threads", "4"]).worker_class, WorkerClass::Gthread);
    assert_eq!(from_args(&["app", "-k", "gthread"]).worker_class, WorkerClass::Gthread);
    let settings = from_args(&["app", "--threads", "1"]);
    assert_eq!(settings.worker_class, WorkerClass::Sync);
    assert_eq!(settings.to_json()["worker_type"], "sync");
}

#[test]
fn a_class_of_somebody_else_keeps_its_name() {
    let settings = from_args(&["app", "-k", "uvicorn.workers.UvicornWorker", "--threads", "4"]);
    assert_eq!(settings.worker_class, WorkerClass::ThirdParty);
    assert_eq!(settings.worker_name(), "uvicorn.workers.UvicornWorker");
    let values = settings.to_json();
    assert_eq!(values["worker_type"], "third-party");
    assert_eq!(values["worker_class"], "uvicorn.workers.UvicornWorker");
    let file = json!({"worker_class": "__config__:Mine"});
    let settings = Given { args: &["app"], file: Some(file), ..Given::default() }.merge().unwrap();
    assert_eq!(settings.worker_name(), "__config__:Mine");
    assert_eq!(from_args(&["app", "-k", "egg:gunicorn#tornado"]).worker_name(), "tornado");
}

#[test]
fn what_only_the_engine_keeps_is_told_of_types_without_it() {
    let args = ["app", "--request-timeout", "5", "--head-timeout", "5", "-k"];
    let notices = |class| from_args(&[&args[..], &[class]].concat()).notices().join("\n");
    assert_eq!(notices("gthread"), "");
    assert!(
        notices("tornado")
            .contains("request_timeout (command line --request-timeout) has no effect on tornado")
    );
    assert!(!notices("tornado").contains("head_timeout"));
    assert!(
        notices("pkg.mod.Class")
            .contains("head_timeout (command line --head-timeout) has no effect on third-party")
    );
    let given = Given {
        args: &["app", "-k", "tornado"],
        file: Some(json!({})),
        python: &["pre_request"],
        ..Given::default()
    };
    assert!(given.merge().unwrap().notices()[0].starts_with("pre_request ("));
}

#[test]
fn what_is_not_supported_is_refused_with_an_alternative() {
    for (args, file, says) in [
        (
            &["app", "-k", "two words"][..],
            json!({}),
            "worker_class = 'two words' (command line --worker-class)",
        ),
        (
            &["app", "-k", "two words"],
            json!({}),
            "name one of sync, gthread, gevent, eventlet, asgi, tornado, or",
        ),
        (&["app", "--daemon"], json!({}), "foreground"),
        (&["app", "--paste", "x.ini"], json!({}), "paste.deploy.loadapp"),
        (&["app", "--protocol", "uwsgi"], json!({}), "proxy_pass"),
        (&["app"], json!({"dirty_workers": 1}), "task queue"),
        (&["app"], json!({"dirty_apps": ["a:B"]}), "task queue"),
    ] {
        let message = refused(&Given { args, file: Some(file), ..Given::default() });
        assert!(message.contains(says) && message.contains("not supported by Podicorn"), "{message}");
    }
}

#[test]
fn http2_says_where_it_will_not_be_spoken() {
    let notices = |args: &'static [&'static str]| {
        let settings = Given { args, file: Some(json!({})), ..Given::default() }.merge().unwrap();
        settings.notices().to_vec()
    };
    let secure = ["app", "--certfile", "c", "--http-protocols", "h2,h1", "-k"];
    for (class, says) in
        [("sync", true), ("tornado", true), ("gthread", false), ("asgi", false), ("gevent", false)]
    {
        let args: &'static [&'static str] = [&secure[..], &[class]].concat().leak();
        let found = notices(args);
        assert_eq!(found.iter().any(|line| line.contains("speak HTTP/1.1 only")), says, "{class}: {found:?}");
    }
    let [plain] = &notices(&["app", "-k", "gthread", "--http-protocols", "h2"])[..] else { panic!() };
    assert!(plain.contains("which nobody will speak"), "{plain}");
    let clear: &'static [&'static str] =
        &["app", "-k", "gthread", "--http-protocols", "h2", "--http2-cleartext", "both"];
    assert!(notices(clear).is_empty());
    let [vain] = &notices(&["app", "--http2-cleartext", "both"])[..] else { panic!() };
    assert!(vain.contains("it needs h2 in http_protocols"), "{vain}");
    let [vain] = &notices(&["app", "--http2-max-frame-size", "20000"])[..] else { panic!() };
    assert!(vain.starts_with("http2_max_frame_size (command line"), "{vain}");
    let threaded: &'static [&'static str] =
        &["app", "--threads", "2", "--http-protocols", "h2", "--http2-cleartext", "both"];
    assert!(notices(threaded).is_empty());
}

#[test]
fn settings_of_tls_have_no_effect_without_a_certificate() {
    let of = |args: &'static [&'static str], python: &'static [&'static str]| {
        Given { args, python, file: Some(json!({})), ..Given::default() }.merge().unwrap()
    };
    let plain = of(&["app", "--cert-reqs", "2", "--ciphers", "HIGH"], &["ssl_context"]);
    assert!(!plain.is_secure());
    let [reqs, ciphers, hook] = plain.notices() else { panic!("{:?}", plain.notices()) };
    assert_eq!(reqs, "cert_reqs (command line --cert-reqs) has no effect: it needs certfile");
    assert!(ciphers.starts_with("ciphers (") && hook.starts_with("ssl_context ("), "{ciphers} {hook}");
    let secure = of(&["app", "--certfile", "c", "--cert-reqs", "2"], &["ssl_context"]);
    assert!(secure.is_secure() && secure.notices().is_empty(), "{:?}", secure.notices());
    assert!(of(&["app", "--keyfile", "k"], &[]).is_secure());
}

#[test]
fn what_only_pythons_logging_can_do_is_left_to_it() {
    let logging = |args: &[&str], file: Value, python: &[&str]| {
        let settings = Given { args, file: Some(file), python, ..Given::default() }.merge().unwrap();
        assert_eq!(settings.to_json()["python_logging"], settings.python_logging());
        settings.python_logging()
    };
    assert!(!logging(&["app", "--log-syslog-to", "tcp://x", "--log-format", "json"], json!({}), &[]));
    for own in ["gunicorn.glogging.Logger", "gunicorn.instrument.statsd.Statsd", "simple"] {
        assert!(!logging(&["app", "--logger-class", own], json!({"logconfig_dict": {}}), &[]), "{own}");
    }
    for args in [
        &["app", "--log-syslog"][..],
        &["app", "--log-config", "logging.ini"],
        &["app", "--log-config-json", "logging.json"],
        &["app", "--logger-class", "logs.Logger"],
    ] {
        assert!(logging(args, json!({}), &[]), "{args:?}");
    }
    assert!(logging(&["app"], json!({"logconfig_dict": {"version": 1}}), &[]));
    assert!(logging(&["app"], json!({}), &["logconfig_dict"]), "a dictionary of Python objects");
    let settings = from_args(&["app", "--log-syslog", "--log-format", "json"]);
    assert!(settings.notices()[0].starts_with("log_format json (command line --log-format) has no effect"));
}

#[test]
fn unsupported_settings_may_say_their_defaults() {
    let file = json!({
        "daemon": false, "reload": false, "paste": null, "protocol": "http", "http_protocols": "h1", "dirty_apps": [],
        "logger_class": "gunicorn.glogging.Logger", "proxy_protocol": "off", "syslog": false, "threads": 1, "certfile": null,
    });
    let settings = Given { args: &["app"], file: Some(file), ..Given::default() }.merge().unwrap();
    assert!(settings.notices().is_empty(), "{:?}", settings.notices());
}

#[test]
fn what_has_no_effect_says_so_once() {
    let args = &[
        "app",
        "extra",
        "--worker-tmp-dir",
        "/dev/shm",
        "--no-control-socket",
        "--http-parser",
        "fast",
        "--log-level",
        "loud",
    ];
    let file = json!({"tmp_upload_dir": "/tmp"});
    let settings = Given { args, file: Some(file), ..Given::default() }.merge().unwrap();
    assert_eq!(settings.notices().len(), 6, "{:?}", settings.notices());
    let notices: Vec<&String> =
        settings.notices().iter().filter(|notice| !notice.starts_with("tmp_upload_dir (")).collect();
    assert_eq!(notices.len(), 5, "{notices:?}");
    for (notice, says) in notices.iter().zip([
        "control_socket_disable (command line --no-control-socket) has no effect",
        "http_parser (command line --http-parser) has no effect: there is one parser",
        "worker_tmp_dir (command line --worker-tmp-dir) has no effect: heartbeats are in shared memory",
        "loglevel 'loud' (command line --log-level) is not a level",
        "extra",
    ]) {
        assert!(notice.contains(says), "{notice}");
    }
    assert_eq!(settings.loglevel, LogLevel::Info);
}

#[test]
fn json_holds_every_setting_in_force() {
    let settings = from_args(&["app", "-w", "2..8", "-n", "site"]);
    let json = settings.to_json();
    for setting in table() {
        assert!(json.get(setting.name).is_some(), "{}", setting.name);
    }
    for (name, expected) in [
        ("workers", json!(2)),
        ("workers_max", json!(8)),
        ("proc_name", json!("site")),
        ("sendfile", json!(true)),
        ("user", json!(10)),
    ] {
        assert_eq!(json[name], expected, "{name}");
    }
}

#[test]
fn print_config_shows_values_as_gunicorn_and_their_places() {
    let printed = from_args(&["app", "-w2", "--preload"]).print_config();
    for line in [
        "workers                            = 2",
        "bind                               = ['127.0.0.1:8000']",
        "preload_app                        = True",
        "accesslog                          = None",
        "workers                            : command line --workers",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line}\n{printed}");
    }
}

#[test]
fn early_settings_come_before_the_file() {
    let vars: HashMap<_, _> = [
        ("PODICORN_CHDIR", "/a"),
        ("GUNICORN_CMD_ARGS", "-c file.py --chdir /b"),
        ("PODICORN_PYTHON", "/py"),
    ]
    .into_iter()
    .collect();
    let environment = environment_layers(|name| vars.get(name).map(ToString::to_string)).unwrap();
    let command_line =
        Given { args: &["app", "-e", "A=1", "--log-format", "json"], ..Given::default() }.command_line();
    let early = early(&environment, &command_line);
    assert_eq!(early.config.as_deref(), Some("file.py"));
    assert_eq!(early.chdir.as_deref(), Some("/b"));
    assert_eq!(early.python, Some("/py".into()));
    assert_eq!(early.raw_env, ["A=1"]);
    assert_eq!(
        (early.log_format, early.loglevel, early.errorlog),
        (LogFormat::Json, LogLevel::Info, LogTarget::Standard)
    );
    assert_eq!(early.pythonpath, None);
}
