//! The PROXY protocol: what a proxy says of its client before the first byte of HTTP.
//!
//! The document is `proxy-protocol.txt` of the project haproxy (2020/03/05), sections 2.1 (version 1, a line of text) and
//! 2.2 (version 2, binary). A connection without such a header is an ordinary one: whether a peer may send one is the
//! caller's to judge. Addresses that the header does not have, or of no Internet protocol, leave the connection's own in
//! force, as the document asks. Refused is what it lets receivers refuse: datagrams, unix sockets, and what is malformed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::reject::{Excerpt, Reject, RejectReason};

/// Section 2.2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// What comes before the addresses of version 2.
const V2_HEAD: usize = 16;
const V1_PREFIX: &[u8] = b"PROXY ";
/// Section 2.1: the longest line, with its end.
const V1_LONGEST: usize = 107;

/// Which versions are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocol {
    V1,
    V2,
    Auto,
}

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proxied {
    pub family: ProxyFamily,
    /// Client and the address that it has connected to; `None`: those of the connection itself.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
}

/// How the client has come, in the words of version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyFamily {
    Tcp4,
    Tcp6,
    /// The proxy's own connection, for a health check.
    Local,
    /// Version 1: it could not say.
    Unknown,
    /// Version 2: it could not say.
    Unspecified,
}

impl ProxyFamily {
    /// Gunicorn's words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp4 => "TCP4",
            Self::Tcp6 => "TCP6",
            Self::Local => "LOCAL",
            Self::Unknown => "UNKNOWN",
            Self::Unspecified => "UNSPEC",
        }
    }
}

/// What the beginning of a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preamble {
    /// More bytes are needed to tell.
    Incomplete,
    /// It begins with no header.
    Absent,
    /// A header of so many bytes.
    Header { length: usize, proxied: Proxied },
}

/// What is wrong with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyFault {
    #[error("the line is longer than 107 bytes")]
    LineTooLong,
    #[error("it is not PROXY, protocol, two addresses and two ports, with one space between")]
    Shape,
    #[error("the protocol is not TCP4, TCP6 or UNKNOWN")]
    Protocol,
    #[error("an address is not of the protocol")]
    Address,
    #[error("a port is not a number from 0 to 65535")]
    Port,
    #[error("version {0} of the binary header")]
    Version(u8),
    #[error("command {0} of the binary header")]
    Command(u8),
    #[error("address family and protocol 0x{0:02x} are not TCP over IPv4 or IPv6")]
    Family(u8),
    #[error("{0} bytes are too few for the addresses")]
    TooShort(u16),
}

/// Looks for a header in the first bytes of a connection.
pub fn parse_proxy_header(bytes: &[u8], wanted: ProxyProtocol) -> Result<Preamble, Reject> {
    let looks_for = |version| wanted == version || wanted == ProxyProtocol::Auto;
    let begins = |signature: &[u8]| {
        let both = bytes.len().min(signature.len());
        (bytes[..both] == signature[..both]).then_some(both == signature.len())
    };
    let v2 = looks_for(ProxyProtocol::V2).then(|| begins(SIGNATURE)).flatten();
    let v1 = looks_for(ProxyProtocol::V1).then(|| begins(V1_PREFIX)).flatten();
    match (v1, v2) {
        (Some(true), _) => parse_line(bytes),
        (_, Some(true)) => parse_binary(bytes),
        (Some(false), _) | (_, Some(false)) => Ok(Preamble::Incomplete),
        (None, None) => Ok(Preamble::Absent),
    }
}

/// Whether the bytes begin a header, as far as they go: enough to know whose peer may not send one.
pub fn begins_proxy_header(bytes: &[u8], wanted: ProxyProtocol) -> bool {
    let v1 = wanted != ProxyProtocol::V2 && bytes.starts_with(V1_PREFIX);
    v1 || (wanted != ProxyProtocol::V1 && bytes.starts_with(SIGNATURE))
}

fn parse_line(bytes: &[u8]) -> Result<Preamble, Reject> {
    let window = &bytes[..bytes.len().min(V1_LONGEST)];
    let refuse = |fault| Err(refused(window, fault));
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if window.len() < V1_LONGEST {
            Ok(Preamble::Incomplete)
        } else {
            refuse(ProxyFault::LineTooLong)
        };
    };
    let (line, length) = (&window[..end], end + 2);
    let refuse = |fault| Err(refused(line, fault));
    let Ok(text) = std::str::from_utf8(&line[V1_PREFIX.len()..]) else { return refuse(ProxyFault::Shape) };
    let mut words = text.split(' ');
    let family = match words.next() {
        Some("TCP4") => ProxyFamily::Tcp4,
        Some("TCP6") => ProxyFamily::Tcp6,
        // What follows it is to be ignored.
        Some("UNKNOWN") => {
            let proxied = Proxied { family: ProxyFamily::Unknown, addresses: None };
            return Ok(Preamble::Header { length, proxied });
        }
        _ => return refuse(ProxyFault::Protocol),
    };
    let words: Vec<&str> = words.collect();
    let [source, destination, source_port, destination_port] = words[..] else {
        return refuse(ProxyFault::Shape);
    };
    let (Some(source), Some(destination)) = (address(family, source), address(family, destination)) else {
        return refuse(ProxyFault::Address);
    };
    let (Some(source_port), Some(destination_port)) = (port(source_port), port(destination_port)) else {
        return refuse(ProxyFault::Port);
    };
    let addresses =
        Some((SocketAddr::new(source, source_port), SocketAddr::new(destination, destination_port)));
    Ok(Preamble::Header { length, proxied: Proxied { family, addresses } })
}

fn address(family: ProxyFamily, text: &str) -> Option<IpAddr> {
    match family {
        ProxyFamily::Tcp4 => text.parse::<Ipv4Addr>().ok().map(IpAddr::from),
        _ => text.parse::<Ipv6Addr>().ok().map(IpAddr::from),
    }
}

/// Without sign or leading zeros.
fn port(text: &str) -> Option<u16> {
    let plain = text == "0" || (text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

fn parse_binary(bytes: &[u8]) -> Result<Preamble, Reject> {
    let refuse = |fault| Err(refused(&bytes[SIGNATURE.len()..bytes.len().min(V2_HEAD)], fault));
    // Each is judged as soon as it is there, so that no verdict depends on how the bytes were split.
    let Some(&version_command) = bytes.get(12) else { return Ok(Preamble::Incomplete) };
    if version_command >> 4 != 2 {
        return refuse(ProxyFault::Version(version_command >> 4));
    }
    let is_local = match version_command & 15 {
        0 => true,
        1 => false,
        other => return refuse(ProxyFault::Command(other)),
    };
    let Some(&family) = bytes.get(13) else { return Ok(Preamble::Incomplete) };
    let needed = match family {
        _ if is_local => 0,
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        other => return refuse(ProxyFault::Family(other)),
    };
    let Some(length) = bytes.get(14..V2_HEAD) else { return Ok(Preamble::Incomplete) };
    let length = u16::from_be_bytes([length[0], length[1]]);
    if length < needed {
        return refuse(ProxyFault::TooShort(length));
    }
    let whole = V2_HEAD + usize::from(length);
    let Some(body) = bytes.get(V2_HEAD..whole) else { return Ok(Preamble::Incomplete) };
    let proxied = match (is_local, family) {
        (true, _) => Proxied { family: ProxyFamily::Local, addresses: None },
        (_, 0x11) => Proxied { family: ProxyFamily::Tcp4, addresses: pair::<4>(body) },
        (_, 0x21) => Proxied { family: ProxyFamily::Tcp6, addresses: pair::<16>(body) },
        _ => Proxied { family: ProxyFamily::Unspecified, addresses: None },
    };
    Ok(Preamble::Header { length: whole, proxied })
}

/// Two addresses of so many bytes, then two ports.
fn pair<const N: usize>(body: &[u8]) -> Option<(SocketAddr, SocketAddr)>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = body.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk::<2>()?;
    let destination_port = rest.first_chunk::<2>()?;
    let socket =
        |address: [u8; N], port: [u8; 2]| SocketAddr::new(IpAddr::from(address), u16::from_be_bytes(port));
    Some((socket(*source, *source_port), socket(*destination, *destination_port)))
}

fn refused(quoted: &[u8], fault: ProxyFault) -> Reject {
    RejectReason::ProxyHeader { header: Excerpt::of(quoted), fault }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(bytes: &[u8]) -> Proxied {
        match parse_proxy_header(bytes, ProxyProtocol::Auto) {
            Ok(Preamble::Header { length, proxied }) => {
                assert!(bytes[length..].is_empty() || bytes[length..].starts_with(b"GET"), "{length}");
                proxied
            }
            other => panic!("{other:?}"),
        }
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend(body);
        bytes
    }

    fn four() -> Vec<u8> {
        let mut body = vec![192, 0, 2, 1, 198, 51, 100, 2];
        body.extend([0xdc, 0x04, 0x01, 0xbb]);
        body
    }

    #[test]
    fn lines() {
        let said = header(b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\nGET / HTTP/1.1\r\n");
        assert_eq!(said.family, ProxyFamily::Tcp4);
        let (client, server) = ("192.0.2.1:56324".parse().unwrap(), "198.51.100.2:443".parse().unwrap());
        assert_eq!(said.addresses, Some((client, server)));
        let said = header(b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n");
        assert_eq!(said.addresses.unwrap().0, "[2001:db8::1]:1".parse().unwrap());
        for unknown in [&b"PROXY UNKNOWN\r\n"[..], b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n"] {
            assert_eq!(header(unknown), Proxied { family: ProxyFamily::Unknown, addresses: None });
        }
    }

    #[test]
    fn lines_that_are_none() {
        let faults = [
            (&b"PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n"[..], ProxyFault::Shape),
            (b"PROXY TCP4 192.0.2.1  198.51.100.2 56324 443\r\n", ProxyFault::Shape),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 \r\n", ProxyFault::Shape),
            (b"PROXY TCP4 192.0.2.01 198.51.100.2 56324 443\r\n", ProxyFault::Address),
            (b"PROXY TCP4 ::1 198.51.100.2 56324 443\r\n", ProxyFault::Address),
            (b"PROXY TCP6 192.0.2.1 ::1 56324 443\r\n", ProxyFault::Address),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 +1 443\r\n", ProxyFault::Port),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 01 443\r\n", ProxyFault::Port),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n", ProxyFault::Port),
            (b"PROXY UDP4 192.0.2.1 198.51.100.2 1 443\r\n", ProxyFault::Protocol),
            (b"PROXY  TCP4 192.0.2.1 198.51.100.2 1 443\r\n", ProxyFault::Protocol),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 1 443\nGET / HTTP/1.1\r\n", ProxyFault::Shape),
        ];
        for (line, fault) in faults {
            let reject = parse_proxy_header(line, ProxyProtocol::Auto).unwrap_err();
            assert!(
                matches!(&reject.reason, RejectReason::ProxyHeader { fault: found, .. } if *found == fault),
                "{}: {reject}",
                line.escape_ascii()
            );
            assert_eq!(reject.status, 400);
        }
        let long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
        assert!(parse_proxy_header(&long[..106], ProxyProtocol::V1) == Ok(Preamble::Incomplete));
        assert!(parse_proxy_header(&long[..107], ProxyProtocol::V1).is_err());
    }

    #[test]
    fn binary_headers() {
        let said = header(&v2(0x21, 0x11, &four()));
        assert_eq!(said.family, ProxyFamily::Tcp4);
        assert_eq!(said.addresses.unwrap().0, "192.0.2.1:56324".parse().unwrap());
        // What follows the addresses is for others.
        assert_eq!(header(&v2(0x21, 0x11, &[four(), vec![4, 0, 1, 0]].concat())), said);
        let six = [[0x20, 1, 0xd, 0xb8].as_slice(), &[0; 11], &[1], &[0; 15], &[2], &[0, 80, 1, 0]].concat();
        let said = header(&v2(0x21, 0x21, &six));
        assert_eq!(said.family, ProxyFamily::Tcp6);
        assert_eq!(said.addresses.unwrap().0, "[2001:db8::1]:80".parse().unwrap());
        assert_eq!(said.addresses.unwrap().1, "[::2]:256".parse().unwrap());
        for body in [vec![], four()] {
            let local = Proxied { family: ProxyFamily::Local, addresses: None };
            assert_eq!(header(&v2(0x20, 0x11, &body)), local);
            let unspecified = Proxied { family: ProxyFamily::Unspecified, addresses: None };
            assert_eq!(header(&v2(0x21, 0x00, &body)), unspecified);
        }
    }

    #[test]
    fn binary_headers_that_are_none() {
        for (bytes, fault) in [
            (v2(0x11, 0x11, &four()), ProxyFault::Version(1)),
            (v2(0x22, 0x11, &four()), ProxyFault::Command(2)),
            (v2(0x21, 0x12, &four()), ProxyFault::Family(0x12)),
            (v2(0x21, 0x31, &[0; 216]), ProxyFault::Family(0x31)),
            (v2(0x21, 0x11, &four()[..11]), ProxyFault::TooShort(11)),
            (v2(0x21, 0x21, &four()), ProxyFault::TooShort(12)),
        ] {
            let reject = parse_proxy_header(&bytes, ProxyProtocol::V2).unwrap_err();
            assert!(
                matches!(&reject.reason, RejectReason::ProxyHeader { fault: found, .. } if *found == fault),
                "{reject}"
            );
        }
    }

    #[test]
    fn a_part_is_incomplete_or_the_very_error() {
        let wholes = [
            b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n".to_vec(),
            v2(0x21, 0x11, &four()),
            v2(0x21, 0x12, &four()),
            v2(0x31, 0x11, &four()),
        ];
        for whole in wholes {
            let verdict = parse_proxy_header(&whole, ProxyProtocol::Auto);
            for length in 0..whole.len() {
                let part = parse_proxy_header(&whole[..length], ProxyProtocol::Auto);
                let same_fault = match (&part, &verdict) {
                    (Err(part), Err(whole)) => part.status == whole.status,
                    _ => false,
                };
                assert!(part == Ok(Preamble::Incomplete) || same_fault, "{length}: {part:?}");
            }
        }
    }

    #[test]
    fn requests_are_no_headers() {
        for request in [&b"GET / HTTP/1.1\r\n"[..], b"PROPFIND / HTTP/1.1\r\n", b"\r\nGET / HTTP/1.1\r\n"] {
            assert_eq!(parse_proxy_header(request, ProxyProtocol::Auto), Ok(Preamble::Absent));
        }
        let line = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n";
        assert_eq!(parse_proxy_header(line, ProxyProtocol::V2), Ok(Preamble::Absent));
        assert_eq!(parse_proxy_header(&v2(0x21, 0x11, &four()), ProxyProtocol::V1), Ok(Preamble::Absent));
    }
}
