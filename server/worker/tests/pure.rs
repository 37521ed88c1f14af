//! The unit tests of the modules that need no interpreter. The crate itself cannot be a test binary: its symbols are
//! resolved by the interpreter that imports it. So these modules are compiled here once more, with their tests.

#![allow(dead_code)] // only what the tests use is used

#[path = "../src/clock.rs"]
mod clock;
#[path = "../src/access_log/format.rs"]
mod format;
#[path = "../src/reactor"]
mod reactor {
    mod courtesy;
    pub(crate) mod socket;
    pub(crate) mod timers;
}
#[path = "../src/tls"]
mod tls {
    mod ciphers;
    pub(crate) mod describe;
    mod error;
    mod material;
    pub(crate) mod python {
        pub(crate) mod link;
    }
    pub(crate) mod session;
}
#[path = "../src/trace.rs"]
mod trace;
#[path = "../src/trust.rs"]
mod trust;
