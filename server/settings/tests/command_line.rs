//! The command line, as a user and as argparse would have it.
#![allow(clippy::unwrap_used)] // helpers outside #[test] functions unwrap, too

use podicorn_settings::{Exit, Layer, help, parse_command_line, table};
use serde_json::{Value, json};

fn parse(args: &[&str]) -> Result<Layer, Exit> {
    parse_command_line(args.iter().map(Into::into)).map(|command_line| command_line.layer)
}

fn value(args: &[&str], name: &str) -> Value {
    parse(args).unwrap().get(name).cloned().unwrap()
}

#[test]
fn flags_set_their_settings() {
    for (args, name, expected) in [
        (&["-w", "4"][..], "workers", json!(4)),
        (&["-w4"], "workers", json!(4)),
        (&["--workers=4"], "workers", json!(4)),
        (&["--workers", "4", "--workers", "5"], "workers", json!(5)),
        (&["--workers", "007"], "workers", json!(7)),
        (&["-w", "2..8"], "workers", json!("2..8")),
        (&["-b", ":1", "--bind=[::]:2"], "bind", json!([":1", "[::]:2"])),
        (&["-b", ":1,:2"], "bind", json!([":1", ":2"])),
        (&["-e", "A=1", "--env", "B=2 3"], "raw_env", json!(["A=1", "B=2 3"])),
        (&["--preload"], "preload_app", json!(true)),
        (&["--preload", "--preload"], "preload_app", json!(true)),
        (&["--no-sendfile"], "sendfile", json!(false)),
        (&["-m", "022"], "umask", json!(0o22)),
        (&["-m", "0x12"], "umask", json!(0x12)),
        (&["-t", "0"], "timeout", json!(0)),
        (&["--head-timeout", "0.5"], "head_timeout", json!(0.5)),
        (&["--body-buffer", "2m"], "body_buffer", json!(2 << 20)),
        (&["--access-logfile", "-"], "accesslog", json!("-")),
        (&["--log-file", "x"], "errorlog", json!("x")),
        (&["--header-map", " Refuse "], "header_map", json!("refuse")),
        (&["--limit-request-field-size", "9"], "limit_request_field_size", json!(9)),
        (&["--proxy-protocol"], "proxy_protocol", json!("auto")),
        (&["--proxy-protocol", "v2"], "proxy_protocol", json!("v2")),
        (&["--admin-bind", "127.0.0.1"], "admin_bind", json!("127.0.0.1:9099")),
        (&["--admin-bind", "off"], "admin_bind", json!(null)),
        (&["--forwarded-allow-ips", "10.0.0.0/8, ::1"], "forwarded_allow_ips", json!(["10.0.0.0/8", "::1"])),
        (&["-DR"], "daemon", json!(true)),
        (&["-u", "1000"], "user", json!(1000)),
    ] {
        assert_eq!(value(args, name), expected, "{args:?}");
    }
}

#[test]
fn the_app_may_stand_anywhere() {
    for args in [
        &["app:app", "-w", "2"][..],
        &["-w", "2", "app:app"],
        &["-w", "2", "--", "app:app"],
        &["app:app", "-w2", "more"],
    ] {
        let command_line = parse_command_line(args.iter().map(Into::into)).unwrap();
        assert_eq!(command_line.app.as_deref(), Some("app:app"), "{args:?}");
        assert_eq!(command_line.layer.get("workers"), Some(&json!(2)), "{args:?}");
    }
}

#[test]
fn an_absent_flag_sets_nothing() {
    assert!(parse(&["app"]).unwrap().is_empty());
}

#[test]
fn what_is_wrong_is_said_with_gunicorns_exit_code() {
    for (args, code, says) in [
        (&["--wrokers", "3"][..], 2, "--workers"),
        (&["-w"], 2, "-w"),
        (&["-w", "abc"], 2, "'abc' (command line --workers): it must be a number from 1 to 512"),
        (&["-w", "0"], 1, "for example --workers 4"),
        (&["-w", "-1"], 1, "'-1'"),
        (&["-t", "2.5"], 2, "a whole number, 0 or more (seconds)"),
        (&["-t", "-5"], 1, "a whole number, 0 or more (seconds)"),
        (&["--timeout", "99999999999"], 1, "a whole number from 0 to 4294967295"),
        (&["--head-timeout", "soon"], 2, "a number of seconds"),
        (&["--boot-timeout", "-1"], 2, "a number of seconds"),
        (&["--body-buffer", "1x"], 2, "suffix k, m or g"),
        (&["-b", "host:port"], 1, "\"port\" is not a port number"),
        (&["-b", "::1"], 1, "[::1]:PORT"),
        (&["-e", "FOO"], 1, "KEY=VALUE"),
        (&["--header-map", "no"], 1, "one of drop, refuse, dangerous"),
        (&["--forwarded-allow-ips", "10.0.0.1/8"], 1, "write 10.0.0.0/8"),
        (&["--work", "1"], 2, "--workers, --worker-class"),
        (&["--preload=yes"], 2, "--preload"),
        (&["-z"], 2, "-z"),
        (&["--admin-bind", "fd://3"], 1, "unix:PATH or off"),
    ] {
        let exit = parse(args).unwrap_err();
        assert_eq!((exit.code, exit.to_stderr), (code, true), "{args:?}: {}", exit.text);
        assert!(exit.text.starts_with("Error: ") && exit.text.contains(says), "{args:?}: {}", exit.text);
        assert!(exit.text.ends_with("All settings: podicorn --help\n"), "{args:?}: {}", exit.text);
    }
}

#[test]
fn help_and_version_are_no_errors() {
    for flag in ["-v", "--version", "--vers"] {
        let exit = parse(&[flag]).unwrap_err();
        assert_eq!(
            exit,
            Exit {
                code: 0,
                text: format!("podicorn (version {})\n", podicorn_settings::VERSION),
                to_stderr: false
            }
        );
    }
    for flag in ["-h", "--help"] {
        let exit = parse(&["-w", "2", flag]).unwrap_err();
        assert_eq!((exit.code, exit.to_stderr), (0, false));
        assert!(exit.text.contains("\nTime limits:\n"));
    }
}

#[test]
fn help_lists_what_works_and_nothing_else() {
    let help = help();
    for setting in table() {
        let Some(flag) = setting.long_flag() else { continue };
        let works = setting.status == podicorn_settings::Status::Works;
        let listed = help.lines().any(|line| {
            line.split([' ', ',']).any(|word| word == flag) && line.trim_start().starts_with('-')
        });
        assert_eq!(listed, works, "{flag}");
    }
}
