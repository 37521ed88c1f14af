//! One `ssl.SSLObject` over two `MemoryBIO`s, and what its calls come to.

use std::borrow::Cow;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::context::PythonTls;
use crate::tls::describe::{Facts, Grade};

/// Names of the module `ssl`.
pub(super) struct Names {
    memory_bio: Py<PyAny>,
    want_read: Py<PyAny>,
    eof: Py<PyAny>,
    zero_return: Py<PyAny>,
}

impl Names {
    pub(super) fn import(py: Python<'_>) -> PyResult<Self> {
        let ssl = py.import("ssl")?;
        let name = |name: &str| ssl.getattr(name).map(Bound::unbind);
        Ok(Self {
            memory_bio: name("MemoryBIO")?,
            want_read: name("SSLWantReadError")?,
            eof: name("SSLEOFError")?,
            zero_return: name("SSLZeroReturnError")?,
        })
    }
}

/// What a call has come to.
#[derive(Debug)]
pub(super) enum Step<T> {
    Done(T),
    /// More records are needed.
    Wants,
    /// Nothing more comes.
    Ended,
    Failed(String),
}

pub(super) struct Session {
    tls: Py<PyAny>,
    incoming: Py<PyAny>,
    outgoing: Py<PyAny>,
}

impl Session {
    pub(super) fn new(py: Python<'_>, names: &Names, rules: &PythonTls) -> PyResult<Self> {
        let (incoming, outgoing) = (names.memory_bio.call0(py)?, names.memory_bio.call0(py)?);
        let arguments = PyDict::new(py);
        arguments.set_item("server_side", true)?;
        let tls = rules.context(py).call_method(py, "wrap_bio", (&incoming, &outgoing), Some(&arguments))?;
        Ok(Self { tls, incoming, outgoing })
    }

    /// Records have come.
    pub(super) fn feed(&self, py: Python<'_>, records: &[u8]) -> Result<(), String> {
        let bytes = PyBytes::new(py, records);
        self.incoming
            .call_method1(py, intern!(py, "write"), (bytes,))
            .map(|_| ())
            .map_err(|error| words(&error.to_string()))
    }

    pub(super) fn handshake(&self, py: Python<'_>, names: &Names) -> Step<()> {
        let called = self.tls.call_method0(py, intern!(py, "do_handshake"));
        judge(py, names, called).map(|_| Some(()))
    }

    /// Appends up to `most` bytes of what the client has sent.
    pub(super) fn read(&self, py: Python<'_>, names: &Names, most: usize, out: &mut Vec<u8>) -> Step<()> {
        let called = self.tls.call_method1(py, intern!(py, "read"), (most,));
        judge(py, names, called).map(|bytes| {
            let bytes: &[u8] = bytes.extract(py).unwrap_or_default();
            out.extend_from_slice(bytes);
            (!bytes.is_empty()).then_some(())
        })
    }

    /// Encrypts bytes, from their beginning; how many. A call that wants more is repeated with the same bytes.
    pub(super) fn write(&self, py: Python<'_>, names: &Names, bytes: &[u8]) -> Step<usize> {
        let bytes = PyBytes::new(py, bytes);
        let called = self.tls.call_method1(py, intern!(py, "write"), (bytes,));
        judge(py, names, called).map(|count| count.extract(py).ok())
    }

    /// `close_notify`. The client's own is not waited for.
    pub(super) fn say_goodbye(&self, py: Python<'_>) {
        let _ = self.tls.call_method0(py, intern!(py, "unwrap"));
    }

    /// Appends the records that are to go out.
    pub(super) fn take_records(&self, py: Python<'_>, out: &mut Vec<u8>) {
        // Less than Python's memory does not end here.
        if let Ok(records) = self.outgoing.call_method0(py, intern!(py, "read")) {
            out.extend_from_slice(records.extract(py).unwrap_or_default());
        }
    }

    /// After the handshake.
    pub(super) fn facts(&self, py: Python<'_>, rules: &PythonTls) -> PyResult<Facts> {
        type Told =
            (Vec<u8>, Vec<Vec<u8>>, Option<u16>, Option<u16>, Option<(String, String, u16)>, Option<String>);
        let (server, client, version, suite, cipher, protocol): Told =
            rules.facts.call1(py, (&self.tls,))?.extract(py)?;
        let (cipher, grade) = cipher
            .map(|(name, version, bits)| (Cow::Owned(name), Grade { version, bits }))
            .map_or((None, None), |(name, grade)| (Some(name), Some(grade)));
        Ok(Facts { server, client, version, suite, cipher, grade, protocol })
    }
}

impl<T> Step<T> {
    /// `None` from `act`: nothing more comes.
    fn map<U>(self, act: impl FnOnce(T) -> Option<U>) -> Step<U> {
        match self {
            Self::Done(value) => act(value).map_or(Step::Ended, Step::Done),
            Self::Wants => Step::Wants,
            Self::Ended => Step::Ended,
            Self::Failed(why) => Step::Failed(why),
        }
    }
}

fn judge(py: Python<'_>, names: &Names, called: PyResult<Py<PyAny>>) -> Step<Py<PyAny>> {
    let error = match called {
        Ok(value) => return Step::Done(value),
        Err(error) => error,
    };
    let is = |kind: &Py<PyAny>| error.is_instance(py, kind.bind(py));
    if is(&names.want_read) {
        Step::Wants
    } else if is(&names.eof) || is(&names.zero_return) {
        Step::Ended
    } else {
        Step::Failed(words(&error.value(py).to_string()))
    }
}

/// OpenSSL's words, without the line of Python's source behind them.
fn words(text: &str) -> String {
    let text = text.rsplit_once(" (_ssl.c:").map_or(text, |(words, _)| words);
    text.lines().next().unwrap_or_default().to_owned()
}
