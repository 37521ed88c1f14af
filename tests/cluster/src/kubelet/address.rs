//! An address in 127/8 for each pod.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::BedError;

#[derive(Debug, Default)]
pub(super) struct Addresses {
    next: AtomicU32,
}

impl Addresses {
    /// One on which the port is free. Suites that run beside each other begin in different nets.
    pub(super) fn take(&self, port: u16) -> Result<Ipv4Addr, BedError> {
        let net = u8::try_from(16 + std::process::id() % 200).unwrap_or(16);
        for _ in 0..60_000 {
            let [_, _, third, fourth] = self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes();
            if fourth == 0 || fourth == 255 {
                continue;
            }
            let address = Ipv4Addr::new(127, net, third, fourth);
            if TcpListener::bind((address, port)).is_ok() {
                return Ok(address);
            }
        }
        Err(BedError::Unexpected("no address is free".to_owned()))
    }
}
