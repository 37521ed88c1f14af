//! The WSGI binding (PEP 3333): what is Python's about a request and its response. Independent of who calls the app.

mod body;
pub(crate) mod client_socket;
pub(crate) mod environ;
pub(crate) mod errors;
pub(crate) mod file_wrapper;
pub(crate) mod hooks;
pub(crate) mod input;
pub(crate) mod response;
pub(crate) mod service;
mod start_response;
pub(crate) mod text;
pub(crate) mod wait;
