//! What may come before the first request of a connection: the PROXY protocol, by which a load balancer names its client.
//!
//! From then on the connection's peer is that client; whether headers of the request are believed still depends on who
//! has connected, as in Gunicorn.

use std::net::SocketAddr;

use podicorn_http::{Preamble, ProxyProtocol, Reject, RejectReason, begins_proxy_header, parse_proxy_header};

use super::conn::Connection;
use super::socket::Peer;
use crate::trust::TrustedPeers;

/// `proxy_protocol` and `proxy_allow_ips`.
#[derive(Debug, Clone)]
pub(crate) struct Proxies {
    /// `None`: nothing is looked for.
    pub(crate) wanted: Option<ProxyProtocol>,
    pub(crate) allowed: TrustedPeers,
}

/// What is still to be looked for on a connection.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Expected {
    wanted: Option<ProxyProtocol>,
    /// The peer may send a header.
    allowed: bool,
}

/// What a header has said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Introduced {
    /// `PROXY_PROTOCOL` of environ.
    pub(crate) protocol: &'static str,
    /// Where the client has connected to.
    pub(crate) destination: Option<SocketAddr>,
    /// Who has connected to us.
    pub(crate) proxy: Peer,
}

impl Proxies {
    /// For a connection that has just been accepted.
    pub(super) fn expect_from(&self, peer: &Peer) -> Expected {
        Expected { wanted: self.wanted, allowed: self.wanted.is_some() && self.allowed.trusts(peer) }
    }
}

impl Connection {
    /// True: there is no header, or none any more.
    pub(super) fn read_preamble(&mut self) -> Result<bool, Reject> {
        let Some(wanted) = self.expected.wanted else { return Ok(true) };
        if self.raw.is_empty() {
            return Ok(false);
        }
        if !self.expected.allowed && begins_proxy_header(&self.raw, wanted) {
            return Err(RejectReason::ProxyForbidden.into());
        }
        match parse_proxy_header(&self.raw, wanted)? {
            Preamble::Incomplete => return Ok(false),
            Preamble::Absent => {}
            Preamble::Header { length, proxied } => {
                self.raw.drain(..length);
                let destination = proxied.addresses.map(|(_, destination)| destination);
                let protocol = proxied.family.as_str();
                self.introduced = Some(Box::new(Introduced { protocol, destination, proxy: self.peer }));
                if let Some((client, _)) = proxied.addresses {
                    self.peer = Peer::Internet(client);
                }
            }
        }
        self.expected.wanted = None;
        Ok(true)
    }

    /// Who has connected: the proxy, where one has introduced its client.
    pub(crate) fn neighbour(&self) -> Peer {
        self.introduced.as_ref().map_or(self.peer, |introduced| introduced.proxy)
    }
}
