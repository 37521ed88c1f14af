//! What becomes of a Gunicorn config file: a verdict for each setting and hook in it, from the table.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::gate::differs;
use crate::table::{Kind, Setting, Status, find};
use crate::{Source, WorkerClass, value};

/// What Podicorn makes of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The server does not start with it.
    Refused,
    /// Accepted and without effect.
    Ignored,
    /// It does what it does in Gunicorn, and something that Gunicorn leaves out.
    Better,
    Same,
}

impl Verdict {
    /// All of them, the ones to act on first.
    pub const ALL: [Self; 4] = [Self::Refused, Self::Ignored, Self::Better, Self::Same];

    /// The word in the report.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Ignored => "ignored",
            Self::Better => "better",
            Self::Same => "same",
        }
    }
}

/// One setting or hook of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub name: &'static str,
    /// As Python would write it; a hook is a callable.
    pub value: String,
    pub verdict: Verdict,
    /// Why, or what to do instead; empty for what is the same.
    pub note: String,
}

/// What is better, beside the setting being kept: a sentence each.
const BETTER: &[(&str, &str)] = &[
    (
        "preload_app",
        "HUP loads new code even so: in a new fork server, and the old code serves until it is ready",
    ),
    (
        "timeout",
        "the stacks of a hung worker are in the log, and importing the app has a limit of its own (boot_timeout)",
    ),
    (
        "graceful_timeout",
        "requests that wait in the accept queue are answered, too, and it fits into a pod's grace period",
    ),
    ("max_requests", "a worker goes when its replacement serves, and not before"),
    ("worker_connections", "it holds on every worker type, asgi too"),
    (
        "reload",
        "a change loses no request, and any exception while the app is loaded is shown, not only syntax errors",
    ),
    (
        "proxy_protocol",
        "it holds for the whole connection on gthread, too, and a health check of the proxy has an address",
    ),
    ("statsd_host", "workers never wait for its name server"),
    ("accesslog", "a reader that has stopped costs lines, which are counted, and never requests"),
    ("errorlog", "a reader that has stopped costs lines, which are counted, and never requests"),
    ("logconfig_json", "a file that is not there is told in the log"),
];

/// The verdicts on a file that the fork server has read, the ones to act on first. `values` are its plain values by
/// setting name, `python` the names whose values stayed in Python, as in [`crate::layer_from_config_file`].
pub fn assess(values: &Map<String, Value>, python: &[String], path: &str) -> Vec<Finding> {
    let source = Source::ConfigFile(path.to_owned());
    let class = values.get("worker_class").and_then(Value::as_str).and_then(WorkerClass::named);
    let without = class.map(WorkerClass::without).unwrap_or_default();
    let mut findings: Vec<Finding> = values
        .iter()
        .filter_map(|(name, value)| Some(judge(find(name)?, value, &source, without)))
        .chain(python.iter().filter_map(|name| Some(judge_object(find(name)?, without))))
        .collect();
    findings.sort_by_key(|finding| (finding.verdict, finding.name));
    findings.dedup_by_key(|finding| finding.name);
    findings
}

fn judge(setting: &'static Setting, given: &Value, source: &Source, without: &[&str]) -> Finding {
    let finding = |verdict, note: &str| Finding {
        name: setting.name,
        value: value::shown(given),
        verdict,
        note: note.to_owned(),
    };
    if !setting.in_config_file {
        return finding(Verdict::Ignored, "it counts on the command line and in the environment only");
    }
    let checked = match value::from_json(setting, given) {
        Ok(checked) => checked,
        Err(problem) => return finding(Verdict::Refused, &problem.at(setting, source).to_string()),
    };
    if setting.name == "worker_class"
        && checked.as_str().is_some_and(|name| WorkerClass::named(name).is_none())
    {
        return finding(Verdict::Refused, &WorkerClass::refusal());
    }
    let (verdict, note) = standing(setting, without, differs(setting.default, &checked, source));
    finding(verdict, note)
}

/// Hooks, and objects that have no plain form.
fn judge_object(setting: &'static Setting, without: &[&str]) -> Finding {
    let (verdict, note) = match setting.kind {
        Kind::Hook | Kind::Dict | Kind::Any => standing(setting, without, true),
        _ if setting.status == Status::Works => (Verdict::Refused, "a Python object is no value for it"),
        _ => standing(setting, without, true),
    };
    let value = if setting.kind == Kind::Hook { "a callable" } else { "a Python object" };
    Finding { name: setting.name, value: value.to_owned(), verdict, note: note.to_owned() }
}

fn standing(setting: &Setting, without: &[&str], is_set: bool) -> (Verdict, &'static str) {
    let better = BETTER.iter().find(|(name, _)| *name == setting.name);
    match setting.status {
        // Its default, written out, asks for nothing.
        _ if !is_set => (Verdict::Same, ""),
        Status::Unsupported(instead) => (Verdict::Refused, instead),
        Status::NoEffect(why) => (Verdict::Ignored, why),
        Status::Works if without.contains(&setting.name) => {
            (Verdict::Ignored, "the HTTP engine, which would keep it, has no part in this worker class")
        }
        Status::Works => better.map_or((Verdict::Same, ""), |(_, note)| (Verdict::Better, note)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn verdicts(values: Value, python: &[&str]) -> Vec<(&'static str, Verdict)> {
        let Value::Object(values) = values else { panic!("an object") };
        let python: Vec<_> = python.iter().map(|name| (*name).to_owned()).collect();
        let findings = assess(&values, &python, "gunicorn.conf.py");
        for finding in &findings {
            assert_eq!(finding.note.is_empty(), finding.verdict == Verdict::Same, "{finding:?}");
        }
        findings.into_iter().map(|finding| (finding.name, finding.verdict)).collect()
    }

    #[test]
    fn each_setting_has_its_verdict_the_worst_first() {
        let values = json!({
            "workers": 4, "timeout": 60, "worker_tmp_dir": "/dev/shm", "daemon": true, "threads": "many", "config": "x",
            "protocol": "http", "nonsense": 1,
        });
        assert_eq!(
            verdicts(values, &["post_fork", "on_dirty_starting", "logconfig_dict", "bind"]),
            [
                ("bind", Verdict::Refused),
                ("daemon", Verdict::Refused),
                ("threads", Verdict::Refused),
                ("config", Verdict::Ignored),
                ("on_dirty_starting", Verdict::Ignored),
                ("worker_tmp_dir", Verdict::Ignored),
                ("timeout", Verdict::Better),
                ("logconfig_dict", Verdict::Same),
                ("post_fork", Verdict::Same),
                ("protocol", Verdict::Same),
                ("workers", Verdict::Same),
            ]
        );
    }

    #[test]
    fn the_worker_class_decides_too() {
        let values = json!({"worker_class": "tornado", "worker_connections": 5});
        assert_eq!(
            verdicts(values, &["post_request"]),
            [
                ("post_request", Verdict::Ignored),
                ("worker_connections", Verdict::Ignored),
                ("worker_class", Verdict::Same),
            ]
        );
        assert_eq!(verdicts(json!({"worker_class": "two words"}), &[])[0].1, Verdict::Refused);
    }

    #[test]
    fn what_is_better_is_in_the_table_and_works() {
        for (name, note) in BETTER {
            let setting = find(name).unwrap();
            assert_eq!(setting.status, Status::Works, "{name}");
            assert!(!note.ends_with('.') && note.len() < 120, "{name}");
        }
    }
}
