//! Logs.

use super::{DefaultValue, Kind, Section, Setting, row};

const fn setting(name: &'static str, kind: Kind, help: &'static str) -> Setting {
    row(name, Section::Logging, kind, help)
}

pub(super) const SETTINGS: &[Setting] = &[
    setting("accesslog", Kind::Text, "Access log: a file, or - for stdout.")
        .flags(&["--access-logfile", "--access-log"])
        .metavar("FILE")
        .example("-"),
    setting("access_log_format", Kind::TextOrDefault, "Format of an access log line, in Gunicorn's atoms; the default is Apache's combined format.")
        .flags(&["--access-logformat"])
        .metavar("FORMAT")
        .default(DefaultValue::Text("%(h)s %(l)s %(u)s %(t)s \"%(r)s\" %(s)s %(b)s \"%(f)s\" \"%(a)s\""))
        .details(
            "Each atom stands as `%(x)s`: h client address, l `-`, u user of basic auth, t time, r request line, m method, \
             U path, q query, H protocol, s status, B bytes of the body, b the same or `-`, f referrer, a user agent, T \
             seconds, M milliseconds, D microseconds, L seconds with fractions, p process id, `{name}i` request header, \
             `{name}o` response header, `{name}e` environ variable. Used with `log_format` text.",
        ),
    setting("errorlog", Kind::Text, "Error log: a file, or - for stderr. Also --log-file.")
        .flags(&["--error-logfile", "--log-file"])
        .metavar("FILE")
        .default(DefaultValue::Text("-")),
    setting("loglevel", Kind::TextOrDefault, "Least level of the error log: debug, info, warning, error or critical.")
        .flags(&["--log-level"])
        .metavar("LEVEL")
        .default(DefaultValue::Text("info"))
        .example("debug")
        .details("Another word means info, as in Gunicorn; a start-up line says so."),
    setting("log_format", Kind::Choice(&["text", "json"]), "Write both logs as text or as one JSON object per line.")
        .flags(&["--log-format"])
        .metavar("text|json")
        .default(DefaultValue::Text("text"))
        .ours()
        .example("json"),
    setting("capture_output", Kind::Flag, "Send the app's stdout and stderr to the error log's file; with `log_format` json, write what is printed as records, wherever the log goes.")
        .flags(&["--capture-output"]),
    setting("logger_class", Kind::Class, "Python class of the logger: a subclass of gunicorn.glogging.Logger, as package.module.Class, or the class itself in the config file.")
        .flags(&["--logger-class"])
        .metavar("CLASS")
        .default(DefaultValue::Text("gunicorn.glogging.Logger"))
        .example("myproject.logs.Logger")
        .details(
            "With this, a logconfig or syslog, all logs go through Python's logging, as in Gunicorn: each worker calls the \
             logger for its requests (`access`, `atoms`) and its own lines, and the fork server for the arbiter's lines, \
             which has no Python. `log_format` is not for these logs. Lines that the arbiter writes while no fork server takes \
             them go to `errorlog`. Where the package gunicorn is not installed, `gunicorn.glogging` in the config file and in the \
             class's module is a stand-in.",
        ),
    setting("logconfig", Kind::Text, "Config file of Python's logging (INI).")
        .flags(&["--log-config"])
        .metavar("FILE")
        .example("/etc/app/logging.conf")
        .details("It must exist. For `logging.config.fileConfig`; `__file__` and `here` may be used in it."),
    setting("logconfig_dict", Kind::Dict, "Config dict of Python's logging.")
        .default(DefaultValue::Dict(&[]))
        .details(
            "For `logging.config.dictConfig`; its keys replace those of Gunicorn's defaults, one by one. It wins over \
             `logconfig_json`, which wins over `logconfig`.",
        ),
    setting("logconfig_json", Kind::Text, "Config file of Python's logging (JSON).")
        .flags(&["--log-config-json"])
        .metavar("FILE")
        .example("/etc/app/logging.json")
        .details("As `logconfig_dict`."),
    setting("syslog", Kind::Flag, "Send the logs to syslog, too.").flags(&["--log-syslog"]),
    setting("syslog_addr", Kind::Text, "Address of syslog: udp://HOST:PORT, tcp://HOST:PORT, unix://PATH#dgram or unix://PATH#stream.")
        .flags(&["--log-syslog-to"])
        .metavar("ADDRESS")
        .default(DefaultValue::Text("udp://localhost:514"))
        .example("unix:///dev/log#dgram"),
    setting("syslog_prefix", Kind::Text, "Program name in syslog entries: gunicorn.PREFIX.error and gunicorn.PREFIX.access; the process name if not set.")
        .flags(&["--log-syslog-prefix"])
        .metavar("NAME")
        .example("shop"),
    setting("syslog_facility", Kind::Text, "Facility of syslog entries.")
        .flags(&["--log-syslog-facility"])
        .metavar("FACILITY")
        .default(DefaultValue::Text("user"))
        .example("local0"),
    setting("disable_redirect_access_to_syslog", Kind::Flag, "Keep the access log out of syslog.")
        .flags(&["--disable-redirect-access-to-syslog"]),
    setting("enable_stdio_inheritance", Kind::Flag, "Keep stdin, stdout and stderr when daemonised.")
        .flags(&["-R", "--enable-stdio-inheritance"])
        .no_effect("the server never daemonises, so that its processes always keep them"),
    setting("statsd_host", Kind::Text, "Address of a StatsD server.")
        .flags(&["--statsd-host"])
        .metavar("HOST:PORT|unix:PATH")
        .example("localhost:8125")
        .details(
            "Datagrams with Gunicorn's names: `gunicorn.requests`, `gunicorn.request.duration`, \
             `gunicorn.request.status.NNN`, `gunicorn.workers`, `gunicorn.log.error` and so on. They come from the arbiter, \
             so that workers wait for no name server.",
        ),
    setting("statsd_prefix", Kind::Text, "Prefix of StatsD metrics.")
        .flags(&["--statsd-prefix"])
        .default(DefaultValue::Text("")),
    setting("dogstatsd_tags", Kind::Text, "Tags of StatsD metrics.")
        .flags(&["--dogstatsd-tags"])
        .metavar("KEY:VALUE,…")
        .default(DefaultValue::Text("")),
    setting("enable_backlog_metric", Kind::Flag, "Send the length of the accept queue to StatsD.")
        .flags(&["--enable-backlog-metric"]),
    setting("slow_request", Kind::Seconds, "Log a request that has run for so long, with the stacks of its worker; 0 logs none.")
        .flags(&["--slow-request"])
        .metavar("SECONDS")
        .default(DefaultValue::Int(0))
        .unit("seconds")
        .ours()
        .example("5")
        .details("Looked for once a second at least; of each worker every five seconds at most."),
];
