//! How many connections wait in a listening socket's accept queue, and how many may.
//!
//! TCP says it by `TCP_INFO`. A unix socket has no such option; the kernel's socket diagnostics (`sock_diag`, over netlink)
//! know it, without any privilege. Where they are not built in or not allowed, nobody knows.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::stat::fstat;
use nix::sys::time::TimeVal;

use crate::kernel;
use crate::status::AcceptQueue;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const UDIAG_SHOW_RQLEN: u32 = 0x10;
const UNIX_DIAG_RQLEN: u16 = 4;
/// Message head, then `unix_diag_req`.
const REQUEST: usize = 16 + 24;
/// Message head, then `unix_diag_msg`.
const ANSWER: usize = 16 + 16;
const ANY_COOKIE: u32 = u32::MAX;

/// Of a TCP socket (`tcp`) or a unix socket.
pub(crate) fn of(listener: impl AsFd, tcp: bool) -> Option<AcceptQueue> {
    if tcp { kernel::accept_queue(listener) } else { of_unix(listener).ok().flatten() }
}

fn of_unix(listener: impl AsFd) -> nix::Result<Option<AcceptQueue>> {
    let inode = u32::try_from(fstat(listener)?.st_ino).map_err(|_| Errno::EOVERFLOW)?;
    let netlink = open()?;
    send(netlink.as_raw_fd(), &request(inode), MsgFlags::empty())?;
    let mut buffer = [0; 512];
    let length = recv(netlink.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
    Ok(parse(&buffer[..length], inode))
}

fn open() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let netlink = socket(AddressFamily::Netlink, SockType::Datagram, flags, SockProtocol::NetlinkSockDiag)?;
    // The kernel answers within the send; should it ever not, the run loop must not hang.
    setsockopt(&netlink, sockopt::ReceiveTimeout, &TimeVal::new(0, 10_000))?;
    Ok(netlink)
}

fn request(inode: u32) -> [u8; REQUEST] {
    let mut bytes = [0; REQUEST];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0, &(REQUEST as u32).to_ne_bytes());
    put(4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    put(6, &NLM_F_REQUEST.to_ne_bytes());
    put(16, &[libc::AF_UNIX as u8]);
    // All states.
    put(20, &u32::MAX.to_ne_bytes());
    put(24, &inode.to_ne_bytes());
    put(28, &UDIAG_SHOW_RQLEN.to_ne_bytes());
    put(32, &ANY_COOKIE.to_ne_bytes());
    put(36, &ANY_COOKIE.to_ne_bytes());
    bytes
}

fn parse(answer: &[u8], inode: u32) -> Option<AcceptQueue> {
    let short = |at: usize| answer.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes);
    let long = |at: usize| answer.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    if short(4)? != SOCK_DIAG_BY_FAMILY || long(20)? != inode {
        return None;
    }
    let mut at = ANSWER;
    loop {
        let length = usize::from(short(at)?);
        if short(at + 2)? == UNIX_DIAG_RQLEN {
            return Some(AcceptQueue { length: long(at + 4)?, limit: long(at + 8)? });
        }
        at += length.max(4).next_multiple_of(4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn both_families_count_what_nobody_has_accepted() {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let _waiting = std::net::TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
        assert_eq!(of(&tcp, true).unwrap().length, 1);

        let path = std::env::temp_dir().join(format!("podicorn-queue-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let unix = UnixListener::bind(&path).unwrap();
        assert_eq!(of(&unix, false).unwrap().length, 0);
        let _waiting = [UnixStream::connect(&path).unwrap(), UnixStream::connect(&path).unwrap()];
        let queue = of(&unix, false).unwrap();
        assert!(queue.length == 2 && queue.limit >= 2, "{queue:?}");
        unix.accept().unwrap();
        assert_eq!(of(&unix, false).unwrap().length, 1);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn what_is_no_listener_has_no_queue() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!((of(&file, false), of(&file, true)), (None, None));
        for cut in 0..ANSWER + 8 {
            assert_eq!(parse(&vec![0; cut], 0), None);
        }
    }
}
