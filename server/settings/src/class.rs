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
    /// An event loop; a task for each request of an ASGI app.
    Asgi,
    /// Tornado's own HTTP server on an `IOLoop`.
    Tornado,
    /// A class of somebody else, made for Gunicorn; its name is the setting's text.
    ThirdParty,
}

/// Gunicorn's types, all of which this version has: alias, class, type.
const GUNICORN: &[(&str, &str, WorkerClass)] = &[
    ("sync", "gunicorn.workers.sync.SyncWorker", WorkerClass::Sync),
    ("gthread", "gunicorn.workers.gthread.ThreadWorker", WorkerClass::Gthread),
    ("gevent", "gunicorn.workers.ggevent.GeventWorker", WorkerClass::Gevent),
    ("gevent_wsgi", "gunicorn.workers.ggevent.GeventPyWSGIWorker", WorkerClass::Gevent),
    ("gevent_pywsgi", "gunicorn.workers.ggevent.GeventPyWSGIWorker", WorkerClass::Gevent),
    ("eventlet", "gunicorn.workers.geventlet.EventletWorker", WorkerClass::Eventlet),
    ("asgi", "gunicorn.workers.gasgi.ASGIWorker", WorkerClass::Asgi),
    ("tornado", "gunicorn.workers.gtornado.TornadoWorker", WorkerClass::Tornado),
];

impl WorkerClass {
    /// The type that `-k` names: an alias, a dotted class, `module:Class`, `egg:DIST#NAME`, or an entry point's name. What
    /// is none of Gunicorn's own is a class of somebody else; whether there is such a class, only Python can tell.
    pub(crate) fn named(text: &str) -> Option<Self> {
        let alias = alias_of(text);
        let own = GUNICORN.iter().find(|(name, ..)| *name == alias).map(|(.., class)| *class);
        own.or_else(|| could_be_a_class(text).then_some(Self::ThirdParty))
    }

    /// What to name instead of something that can be no worker type.
    pub(crate) fn refusal() -> String {
        let proper = GUNICORN.iter().filter(|(name, _, class)| *name == class.as_str());
        let available: Vec<&str> = proper.map(|(name, ..)| *name).collect();
        format!("name one of {}, or a class as package.module.Class", available.join(", "))
    }

    /// Settings that have no effect on this type, because the engine would act on them, and it has no part in it.
    pub(crate) fn without(self) -> &'static [&'static str] {
        match self {
            Self::Tornado => &[
                "worker_connections",
                "request_timeout",
                "stall_timeout",
                "min_body_rate",
                "body_buffer",
                "body_budget",
                "forwarded_allow_ips",
                "access_log_format",
                "proxy_protocol",
                "proxy_allow_ips",
                "pre_request",
                "post_request",
            ],
            // What Gunicorn has too, the class may read.
            Self::ThirdParty => &[
                "head_timeout",
                "request_timeout",
                "stall_timeout",
                "min_body_rate",
                "limit_request_body",
                "body_buffer",
                "body_budget",
            ],
            _ => &[],
        }
    }

    /// The engine owns the sockets, not Python.
    pub fn is_engine_type(self) -> bool {
        !matches!(self, Self::Tornado | Self::ThirdParty)
    }

    /// The alias.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Gthread => "gthread",
            Self::Gevent => "gevent",
            Self::Eventlet => "eventlet",
            Self::Asgi => "asgi",
            Self::Tornado => "tornado",
            Self::ThirdParty => "third-party",
        }
    }
}

/// Whether there is any sense in looking for it.
fn could_be_a_class(text: &str) -> bool {
    let name = text.strip_prefix("egg:").unwrap_or(text);
    !name.is_empty() && !name.contains(char::is_whitespace) && !name.starts_with(['.', ':', '#'])
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
    GUNICORN.iter().find(|(_, class, _)| same_class(class)).map_or(name, |(alias, ..)| alias)
}

impl TryFrom<String> for WorkerClass {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::named(&text).ok_or_else(Self::refusal)
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
    fn every_spelling_of_asgi_is_asgi() {
        for text in ["asgi", "egg:gunicorn#asgi", "gunicorn.workers.gasgi.ASGIWorker"] {
            assert_eq!(WorkerClass::named(text), Some(WorkerClass::Asgi), "{text}");
        }
    }

    #[test]
    fn every_spelling_of_tornado_is_tornado() {
        for text in ["tornado", "egg:gunicorn#tornado", "gunicorn.workers.gtornado.TornadoWorker"] {
            assert_eq!(WorkerClass::named(text), Some(WorkerClass::Tornado), "{text}");
        }
    }

    #[test]
    fn classes_of_others_are_third_party() {
        for text in [
            "uvicorn.workers.UvicornWorker",
            "aiohttp.GunicornWebWorker",
            "__config__:Mine",
            "egg:other#sync",
            "egg:other",
            "an-entry-point",
            "gunicorn.workers.sync.Other",
        ] {
            assert_eq!(WorkerClass::named(text), Some(WorkerClass::ThirdParty), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_a_class_is_refused() {
        for text in ["", "two words", ".Class", "egg:", "egg:#name"] {
            assert_eq!(WorkerClass::named(text), None, "{text}");
        }
        assert_eq!(
            WorkerClass::refusal(),
            "name one of sync, gthread, gevent, eventlet, asgi, tornado, or a class as package.module.Class"
        );
    }
}
