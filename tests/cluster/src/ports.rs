//! Free ports for servers that are started again on the port they had.
//!
//! They lie below the range that the kernel gives to outgoing connections: none of those can take one meanwhile.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::error::BedError;

const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

pub(crate) fn free() -> Result<u16, BedError> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Suites that run beside each other begin at different places.
    let begin = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap_or(0);
    for _ in 0..COUNT {
        let offset =
            (u32::from(begin) * 7 + u32::from(NEXT.fetch_add(1, Ordering::Relaxed))) % u32::from(COUNT);
        let port = FIRST + u16::try_from(offset).unwrap_or(0);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(BedError::Unexpected("no port is free".to_owned()))
}
