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
    /// An event loop; a task for each request of an ASGI app.
    Asgi,
    /// Tornado's own HTTP server on an `IOLoop`.
    Tornado,
    /// A class of somebody else, made for Gunicorn; its name is the setting's text.
    ThirdParty,
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
    /// Every type of our own, by its alias.
    const AVAILABLE: &[(&str, Self)] =
        &[("sync", Self::Sync), ("gthread", Self::Gthread), ("asgi", Self::Asgi), ("tornado", Self::Tornado)];

    /// The type that `-k` names: an alias, a dotted class, `module:Class`, `egg:DIST#NAME`, or an entry point's name. What
    /// is none of Gunicorn's own is a class of somebody else; whether there is such a class, only Python can tell.
    pub(crate) fn named(text: &str) -> Option<Self> {
        let alias = alias_of(text);
        let own = Self::AVAILABLE.iter().find(|(name, _)| *name == alias).map(|(_, class)| *class);
        own.or_else(|| (!is_gunicorns(alias) && could_be_a_class(text)).then_some(Self::ThirdParty))
    }

    /// Why `text` is refused and what there is instead.
    pub(crate) fn refusal(text: &str) -> String {
        let available: Vec<&str> = Self::AVAILABLE.iter().map(|(name, _)| *name).collect();
        let available = available.join(", ");
        if is_gunicorns(alias_of(text)) {
            format!(
                "of Gunicorn's worker types this version has {available}; for many requests at a time use -k gthread \
                 --threads N"
            )
        } else {
            format!("name one of {available}, or a class as package.module.Class")
        }
    }

    /// The alias.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Gthread => "gthread",
            Self::Asgi => "asgi",
            Self::Tornado => "tornado",
            Self::ThirdParty => "third-party",
        }
    }
}

fn is_gunicorns(alias: &str) -> bool {
    GUNICORN.iter().any(|(name, _)| *name == alias)
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
    fn other_types_are_refused_by_name() {
        for text in ["gevent", "gunicorn.workers.ggevent.GeventWorker", "eventlet"] {
            assert_eq!(WorkerClass::named(text), None, "{text}");
            assert!(WorkerClass::refusal(text).starts_with("of Gunicorn's worker types"), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_a_class_is_refused() {
        for text in ["", "two words", ".Class", "egg:", "egg:#name"] {
            assert_eq!(WorkerClass::named(text), None, "{text}");
            assert!(WorkerClass::refusal(text).contains("package.module.Class"), "{text}");
        }
    }
}
