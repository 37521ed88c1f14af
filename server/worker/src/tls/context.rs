//! `TlsContext`: the certificate and the rules of a server, for all its workers.
//!
//! The fork server makes it, so that its errors end the start, and workers inherit it: with the key, which they need not be
//! allowed to read, and with the keys of tickets, so that a session can be resumed by whichever worker a client meets. A
//! worker that finds the files changed reads them anew for the connections that come.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::error::TlsError;
use super::files::Stamps;
use super::material::{Authorities, Material, Recipe};
use super::session::Session;
use crate::error::NotInRustls;

/// What is in use, and what it was made from.
#[derive(Debug)]
struct Current {
    material: Arc<Material>,
    stamps: Stamps,
}

/// `TlsContext(certfile, …)`, for the option `tls` of an engine. Raises `ValueError`, in one sentence, for what cannot be
/// used; `NotInRustls`, which is one, for what OpenSSL may be able to use.
#[pyclass(frozen, module = "podicorn._engine")]
pub(crate) struct TlsContext(pub(crate) Arc<Tls>);

/// See the module's text.
pub(crate) struct Tls {
    recipe: Recipe,
    /// An end without `close_notify` is an error.
    strict_ends: bool,
    current: Mutex<Current>,
}

impl Tls {
    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For a new client.
    pub(crate) fn session(&self) -> Result<Session, rustls::Error> {
        let material = Arc::clone(&self.current().material);
        Session::new(material, self.strict_ends)
    }

    /// Reads the files again if they have changed. `None`: they have not.
    pub(crate) fn refresh(&self) -> Option<Result<(), TlsError>> {
        let stamps = Stamps::of(self.recipe.paths());
        let mut current = self.current();
        if current.stamps == stamps {
            return None;
        }
        current.stamps = stamps;
        // Who was trusted to hold a certificate need not be any more.
        let tickets = (self.recipe.verify == 0).then(|| Arc::clone(&current.material.config.ticketer));
        Some(self.recipe.read(tickets).map(|material| current.material = Arc::new(material)))
    }
}

impl From<TlsError> for PyErr {
    fn from(error: TlsError) -> Self {
        let text = error.to_string();
        match error.lacking() {
            Some(why) => NotInRustls::new_err((text, why)),
            None => PyValueError::new_err(text),
        }
    }
}

#[pymethods]
impl TlsContext {
    #[new]
    #[allow(clippy::fn_params_excessive_bools)] // keywords of Python's
    #[pyo3(signature = (
        certfile,
        *,
        keyfile = None,
        ca_certs = None,
        authorities = None,
        verify = 0,
        ciphers = None,
        older = true,
        newer = true,
        protocols = vec!["http/1.1".to_owned()],
        strict_ends = false
    ))]
    #[allow(clippy::too_many_arguments)] // keywords of Python's
    fn new(
        certfile: String,
        keyfile: Option<String>,
        ca_certs: Option<String>,
        authorities: Option<Vec<Vec<u8>>>,
        verify: u8,
        ciphers: Option<Vec<String>>,
        older: bool,
        newer: bool,
        protocols: Vec<String>,
        strict_ends: bool,
    ) -> PyResult<Self> {
        let authorities = match (ca_certs, authorities) {
            (_, Some(given)) => Authorities::Given(given),
            (Some(path), None) => Authorities::File(path),
            (None, None) => Authorities::None,
        };
        let recipe = Recipe { certfile, keyfile, authorities, verify, ciphers, older, newer, protocols };
        let stamps = Stamps::of(recipe.paths());
        let material = Arc::new(recipe.read(None)?);
        let current = Mutex::new(Current { material, stamps });
        Ok(Self(Arc::new(Tls { recipe, strict_ends, current })))
    }
}
