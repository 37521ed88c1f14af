//! Which worker types there are.

use std::fmt;

/// A worker type of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(try_from = "String")]
#[non_exhaustive]
pub enum WorkerClass {
    /// One request at a time; the connection ends with the response.
    Sync,
    /// `threads` requests at a time; connections are kept.
    Gthread,
    /// A greenlet of gevent for each request.
    Gevent,
    /// A green thread of eventlet for each request.
    Eventlet,
}

/// The name of a worker type as Gunicorn writes it: alias, class.
const GUNICORN: &[(&str, &str)] = &[
    ("sync", "gunicorn.workers.sync.SyncWorker"),
    ("gthread", "gunicorn.workers.gthread.ThreadWorker"),
    ("gevent", "gunicorn.workers.ggevent.GeventWorker"),
    ("gevent_wsgi", "gunicorn.workers.ggevent.GeventPyWSGIWorker"),
    ("gevent_pywsgi", "gunicorn.workers.ggevent.GeventPyWSGIWorker"),
    ("eventlet", "gunicorn.workers.geventlet.EventletWorker"),
    ("tornado", "gunicorn.workers.gtornado.TornadoWorker"),
    ("asgi", "gunicorn.workers.gasgi.ASGIWorker"),
];

impl WorkerClass {
    /// Every type, by its alias.
    const AVAILABLE: &[(&str, Self)] = &[
        ("sync", Self::Sync),
        ("gthread", Self::Gthread),
        ("gevent", Self::Gevent),
        ("gevent_wsgi", Self::Gevent),
        ("gevent_pywsgi", Self::Gevent),
        ("eventlet", Self::Eventlet),
    ];

    /// The type that `-k` names: an alias, a dotted class, `module:Class`, or `egg:gunicorn#alias`.
    pub(crate) fn named(text: &str) -> Option<Self> {
        let alias = alias_of(text);
        Self::AVAILABLE.iter().find(|(name, _)| *name == alias).map(|(_, class)| *class)
    }

    /// Why `text` is refused and what there is instead.
    pub(crate) fn refusal(text: &str) -> String {
        let proper = |(name, class): &&(&str, Self)| *name == class.as_str();
        let available: Vec<&str> = Self::AVAILABLE.iter().filter(proper).map(|(name, _)| *name).collect();
        let available = available.join(", ");
        let alias = alias_of(text);
        if GUNICORN.iter().any(|(name, _)| *name == alias) {
            format!(
                "of Gunicorn's worker types this version has {available}; for many requests at a time use -k gthread \
                 --threads N"
            )
        } else {
            format!("worker classes other than its own are not loaded; this version has {available}")
        }
    }

    /// The alias.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Gthread => "gthread",
            Self::Gevent => "gevent",
            Self::Eventlet => "eventlet",
        }
    }
}

fn alias_of(text: &str) -> &str {
    let name = match text.strip_prefix("egg:") {
        Some(entry) => entry.strip_prefix("gunicorn#").unwrap_or(text),
        None => text,
    };
    let name = name.trim_start_matches('#');
    let same_class = |class: &str| {
        class == name
            || class.rsplit_once('.').is_some_and(|(module, class)| name == format!("{module}:{class}"))
    };
    GUNICORN.iter().find(|(_, class)| same_class(class)).map_or(name, |(alias, _)| alias)
}

impl TryFrom<String> for WorkerClass {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::named(&text).ok_or_else(|| Self::refusal(&text))
    }
}

impl fmt::Display for WorkerClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_sync_is_sync() {
        for text in [
            "sync",
            "#sync",
            "egg:gunicorn#sync",
            "gunicorn.workers.sync.SyncWorker",
            "gunicorn.workers.sync:SyncWorker",
        ] {
            assert_eq!(WorkerClass::named(text), Some(WorkerClass::Sync), "{text}");
        }
    }

    #[test]
    fn every_spelling_of_gthread_is_gthread() {
        for text in ["gthread", "egg:gunicorn#gthread", "gunicorn.workers.gthread.ThreadWorker"] {
            assert_eq!(WorkerClass::named(text), Some(WorkerClass::Gthread), "{text}");
        }
    }

    #[test]
    fn every_spelling_of_the_green_types_is_theirs() {
        for text in [
            "gevent",
            "gevent_wsgi",
            "gevent_pywsgi",
            "egg:gunicorn#gevent",
            "gunicorn.workers.ggevent.GeventWorker",
            "gunicorn.workers.ggevent:GeventPyWSGIWorker",
        ] {
            assert_eq!(WorkerClass::named(text), Some(WorkerClass::Gevent), "{text}");
        }
        for text in ["eventlet", "egg:gunicorn#eventlet", "gunicorn.workers.geventlet.EventletWorker"] {
            assert_eq!(WorkerClass::named(text), Some(WorkerClass::Eventlet), "{text}");
        }
    }

    #[test]
    fn other_types_are_refused_by_name() {
        for text in ["tornado", "gunicorn.workers.gtornado.TornadoWorker", "egg:gunicorn#asgi"] {
            assert_eq!(WorkerClass::named(text), None, "{text}");
            assert!(WorkerClass::refusal(text).starts_with("of Gunicorn's worker types"), "{text}");
        }
        for text in ["pkg.mod.Class", "egg:other#sync", "nonsense", "", "uvicorn.workers.UvicornWorker"] {
            assert_eq!(WorkerClass::named(text), None, "{text}");
            assert!(WorkerClass::refusal(text).starts_with("worker classes other"), "{text}");
        }
    }
}
