//! A control plane for tests.
